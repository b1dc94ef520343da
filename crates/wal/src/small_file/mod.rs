//! Small files that survive a power cut: the files that narthex keeps next to its log.
//!
//! There are two ways to write one.
//!
//! - **As a new file**: [`write()`], or [`create`] if the caller continues to use the open file. The file is
//!   written under another name, synced and renamed, and its folder is synced. After a power cut at any
//!   moment, either the old or the new file exists, complete. Each write needs free space on the disk.
//! - **In place**: [`SlotFile`]. It needs free space only when the file is created, so a full disk does not
//!   prevent later writes. For files that are saved often, and for those that must be saved when the disk is
//!   full.
//!
//! Both are read by one rule: a failed read is retried, as [`fs::Patience`](crate::fs::Patience) says, and a
//! missing file is not an error. Only the caller can tell whether the content is complete: each format has a
//! checksum, or is text.
//!
//! | file | written | read by |
//! | --- | --- | --- |
//! | `state`, `ages`, `last-hour` in the data folder | in place | [`SlotFile`] |
//! | positions of a destination | as a new file, then in place by areas of its own, which are synced without waiting | [`read`] |
//! | rings of members, entries of the side queue | as a new file | [`read`] |
//! | entries in the spool of `narthex push` | as a new file | [`read`] |

mod slots;

pub use slots::{Content, SlotFile};

use crate::fs::{File, Filesystem, patiently};
use std::io;
use std::path::{Path, PathBuf};

/// Usual suffix of a file's name until the file is complete and gets its own name.
pub const UNFINISHED: &str = ".new";

/// Returns `path` with `ending` appended to its name.
pub fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut longer = path.as_os_str().to_owned();
    longer.push(ending);
    longer.into()
}

/// Reads a file: at most its first `bytes_max` bytes, so that a damaged length costs no memory. A caller for
/// whom a longer file is an error passes its limit plus 1. Returns `None` if there is no such file.
pub fn read(fs: &dyn Filesystem, path: &Path, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
    let read = patiently(|| {
        let file = fs.open(path, false)?;
        let length = usize::try_from(file.len()?.min(bytes_max)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; length];
        let read = file.read_full_at(&mut bytes, 0)?;
        bytes.truncate(read);
        Ok(bytes)
    });
    match read {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some),
    }
}

/// Writes a file and replaces an existing one. The file is durable afterwards. Until it is complete it is
/// called `unfinished`, a name in the same folder.
pub fn write(fs: &dyn Filesystem, path: &Path, unfinished: &Path, bytes: &[u8]) -> io::Result<()> {
    create(fs, path, unfinished, |file| {
        file.write_all_at(bytes, 0)?;
        file.sync_data()
    })
}

/// Writes a file like [`write()`]. `fill` writes the content and syncs it.
pub fn create<T>(
    fs: &dyn Filesystem,
    path: &Path,
    unfinished: &Path,
    fill: impl FnOnce(Box<dyn File>) -> io::Result<T>,
) -> io::Result<T> {
    // A killed process left it.
    if fs.metadata(unfinished)?.is_some() {
        fs.remove_file(unfinished)?;
    }
    let filled = fill(fs.create_new(unfinished)?)?;
    fs.rename(unfinished, path)?;
    if let Some(folder) = path.parent() {
        fs.sync_dir(folder)?;
    }
    Ok(filled)
}

/// Creates a folder and its parents durably. The parent of `folder` is synced even if `folder` already
/// exists: an earlier call may have created it and failed to sync.
pub fn make_folder(fs: &dyn Filesystem, folder: &Path) -> io::Result<()> {
    if make_folder_by(fs, folder, || fs.create_dir_all(folder))? {
        return Ok(());
    }
    sync_above(fs, folder)
}

/// Creates a folder like [`make_folder`] by calling `make`, which can set a mode, for example. Returns true
/// if the folder was missing; an existing one is not changed.
pub fn make_folder_by(
    fs: &dyn Filesystem,
    folder: &Path,
    make: impl FnOnce() -> io::Result<()>,
) -> io::Result<bool> {
    let mut missing = Vec::new();
    for path in folder.ancestors().filter(|path| !path.as_os_str().is_empty()) {
        if patiently(|| fs.metadata(path))?.is_some() {
            break;
        }
        missing.push(path);
    }
    make()?;
    for made in missing.iter().rev() {
        sync_above(fs, made)?;
    }
    Ok(!missing.is_empty())
}

fn sync_above(fs: &dyn Filesystem, folder: &Path) -> io::Result<()> {
    let Some(above) = folder.parent().filter(|above| !above.as_os_str().is_empty()) else { return Ok(()) };
    match fs.sync_dir(above) {
        // This user may add to the folder but not read it. Only the folder's owner could sync it.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        synced => synced,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::READ_TRIES;
    use crate::sim::{Op, SimFilesystem};

    const PATH: &str = "/data/small";

    fn write_in(fs: &SimFilesystem, bytes: &[u8]) -> io::Result<()> {
        let path = Path::new(PATH);
        write(fs, path, &with_ending(path, UNFINISHED), bytes)
    }

    fn read_in(fs: &SimFilesystem) -> io::Result<Option<Vec<u8>>> {
        read(fs, Path::new(PATH), 100)
    }

    fn folder(seed: u64) -> SimFilesystem {
        let fs = SimFilesystem::new(seed);
        make_folder(&fs, Path::new("/data")).unwrap();
        fs
    }

    #[test]
    fn a_failed_write_leaves_the_old_or_the_new_file() {
        let ops = [Op::Remove, Op::Create, Op::Write, Op::Sync, Op::Rename, Op::SyncDir];
        for op in ops {
            for seed in 0..40 {
                let fs = folder(seed);
                write_in(&fs, b"old").unwrap();
                fs.fail(op, seed % 2, 1);
                let written = write_in(&fs, b"new");
                fs.heal();
                if written.is_ok() && seed % 3 == 0 {
                    write_in(&fs, b"newer").unwrap();
                }
                fs.power_cut();
                let found = read_in(&fs).unwrap().unwrap();
                match written {
                    Ok(()) if seed % 3 == 0 => assert_eq!(found, b"newer", "{op:?} {seed}"),
                    Ok(()) => assert_eq!(found, b"new", "{op:?} {seed}"),
                    Err(_) => assert!(found == b"old" || found == b"new", "{op:?} {seed}: {found:?}"),
                }
            }
        }
    }

    #[test]
    fn an_unfinished_file_does_not_prevent_the_next_write() {
        let fs = folder(1);
        fs.create_new(&with_ending(Path::new(PATH), UNFINISHED))
            .unwrap()
            .write_all_at(b"half of it", 0)
            .unwrap();
        write_in(&fs, b"new").unwrap();
        assert_eq!(read_in(&fs).unwrap().unwrap(), b"new");
        assert_eq!(fs.read_dir(Path::new("/data")).unwrap().len(), 1);
    }

    #[test]
    fn reads_are_retried_and_a_missing_file_is_none() {
        let fs = folder(1);
        assert_eq!(read_in(&fs).unwrap(), None);
        write_in(&fs, b"new").unwrap();
        for op in [Op::Open, Op::Read] {
            fs.fail(op, 0, u64::from(READ_TRIES) - 1);
            assert_eq!(read_in(&fs).unwrap().unwrap(), b"new", "{op:?}");
            fs.fail(op, 0, u64::from(READ_TRIES));
            assert!(read_in(&fs).is_err(), "{op:?}");
            fs.heal();
        }
        let start = read(&fs, Path::new(PATH), 2).unwrap();
        assert_eq!(start.unwrap(), b"ne", "at most as many bytes as are asked for");
    }

    #[test]
    fn a_folder_and_its_parents_survive_a_power_cut() {
        let below = Path::new("/a/b/c");
        for seed in 0..20 {
            let fs = SimFilesystem::new(seed);
            make_folder(&fs, Path::new("/a/b")).unwrap();
            // The first call creates the folder but cannot sync it.
            fs.fail(Op::SyncDir, 0, 1);
            assert!(make_folder(&fs, below).is_err());
            make_folder(&fs, below).unwrap();
            let file = below.join("f");
            write(&fs, &file, &with_ending(&file, UNFINISHED), b"x").unwrap();
            fs.power_cut();
            assert!(fs.contents(&file).is_some(), "seed {seed}");
        }
    }
}
