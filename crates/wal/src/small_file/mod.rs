//! Small files that outlast a power cut: what narthex keeps beside its log.
//!
//! There are two ways to write one.
//!
//! - **As a new file**: [`write()`], or [`create`] where the caller goes on with the open file. The file is written under
//!   another name, synced, renamed, and its folder is synced. After a power cut at any moment there is the file before
//!   or the new one, whole. It needs room on the disk.
//! - **In place**: [`SlotFile`]. It needs room only once, so a full disk does not prevent it. For files that are saved
//!   often, and for those that have to be saved when the disk is full.
//!
//! Both are read by one rule: a read that fails is tried again, as [`fs::Patience`](crate::fs::Patience) says, and a file
//! that is not there is nothing, and no error. Whether the content is whole is known only to the one who reads it: each
//! format has a checksum, or is text.
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

/// How the name of a file usually ends until it is whole and gets its own name.
pub const UNFINISHED: &str = ".new";

/// A name with an ending more.
pub fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut longer = path.as_os_str().to_owned();
    longer.push(ending);
    longer.into()
}

/// Reads a file: at most `bytes_max` bytes of it, so that a damaged length costs no memory. A caller for whom a longer
/// file is an error asks for one byte more than is right. Nothing where there is no such file.
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

/// Writes a file, in the place of one that is there. It is durable afterwards. `unfinished` is the name, in the same
/// folder, that it has until then.
pub fn write(fs: &dyn Filesystem, path: &Path, unfinished: &Path, bytes: &[u8]) -> io::Result<()> {
    create(fs, path, unfinished, |file| {
        file.write_all_at(bytes, 0)?;
        file.sync_data()
    })
}

/// The same; `fill` writes the file and syncs it.
pub fn create<T>(
    fs: &dyn Filesystem,
    path: &Path,
    unfinished: &Path,
    fill: impl FnOnce(Box<dyn File>) -> io::Result<T>,
) -> io::Result<T> {
    // Left by a kill.
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

/// Makes a folder and those above it, so that they outlast a power cut. The folder above this one is synced even if this
/// one is there already: an earlier try may have made it and failed to sync it.
pub fn make_folder(fs: &dyn Filesystem, folder: &Path) -> io::Result<()> {
    if make_folder_by(fs, folder, || fs.create_dir_all(folder))? {
        return Ok(());
    }
    sync_above(fs, folder)
}

/// The same by `make`, such as with a mode of its own. Returns whether the folder was missing; one that is there is left
/// alone.
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
        // This user may add to the folder and not read it: only its owner could sync it.
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
    fn after_a_failure_at_any_step_and_a_power_cut_the_file_is_the_old_or_the_new_one() {
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
    fn what_a_kill_left_does_not_prevent_the_next_write() {
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
    fn a_read_is_tried_again_and_a_missing_file_is_nothing() {
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
    fn a_folder_and_those_above_it_survive_a_power_cut() {
        let below = Path::new("/a/b/c");
        for seed in 0..20 {
            let fs = SimFilesystem::new(seed);
            make_folder(&fs, Path::new("/a/b")).unwrap();
            // The first try makes the folder and can't sync it.
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
