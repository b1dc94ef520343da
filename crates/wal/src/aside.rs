//! The folder for quarantined files: copies of damaged data, kept for a person or for a tool that can recover
//! more than this crate can.
//!
//! ```text
//! damaged/
//!   000001-wal-00000007              a segment in which something was damaged
//!   000002-wal-00000009-from-40213   what was cut from the end of a segment, from this byte on
//!   000003-positions-NAME            another file, which was written again from scratch
//! ```
//!
//! The numbers in front give the order in which the files were quarantined. A segment is quarantined by a
//! hard link. The link costs no time, and no disk space until retention deletes the segment. The size of the
//! folder is limited: the oldest files are deleted first.

use crate::fs::Filesystem;
use std::io;
use std::path::{Path, PathBuf};

/// Quarantines files in one folder; see the module's documentation.
#[derive(Debug, Clone)]
pub struct Aside {
    dir: PathBuf,
    max_bytes: u64,
}

struct Kept {
    order: u64,
    /// The file's name without the number.
    name: String,
    path: PathBuf,
    bytes: u64,
}

impl Aside {
    pub const MAX_FILES: usize = 32;
    /// Bytes that [`Aside::copy`] copies at a time.
    const STEP: usize = 1 << 20;

    /// Quarantines files in the folder `dir`, which is created when it is first needed. The folder holds at
    /// most `max_bytes`, or a single file that is larger.
    pub fn new(dir: PathBuf, max_bytes: u64) -> Self {
        Aside { dir, max_bytes }
    }

    /// Links the file at `path` into the folder under `name` and returns the new path. If the folder already
    /// has a file of that name, the older file stays and its path is returned.
    pub fn keep(&self, fs: &dyn Filesystem, path: &Path, name: &str) -> io::Result<PathBuf> {
        let mut there = self.list(fs)?;
        if let Some(kept) = there.iter().find(|kept| kept.name == name) {
            return Ok(kept.path.clone());
        }
        self.link(fs, path, &mut there, name)
    }

    /// Links the file like [`Aside::keep`], even if the folder already has a file of that name. For a file
    /// that is about to be replaced by a new one with the same name.
    pub fn keep_each(&self, fs: &dyn Filesystem, path: &Path, name: &str) -> io::Result<PathBuf> {
        let mut there = self.list(fs)?;
        self.link(fs, path, &mut there, name)
    }

    fn link(
        &self,
        fs: &dyn Filesystem,
        path: &Path,
        there: &mut Vec<Kept>,
        name: &str,
    ) -> io::Result<PathBuf> {
        let bytes = fs.metadata(path)?.ok_or(io::ErrorKind::NotFound)?.len;
        let to = self.make_room(fs, there, bytes, name)?;
        fs.hard_link(path, &to)?;
        fs.sync_dir(&self.dir)?;
        Ok(to)
    }

    /// Copies the bytes of the file at `path`, starting at `offset`, to a file called `name`, and returns the
    /// path of the copy. An older copy of the same name is replaced. If there are more bytes than the folder
    /// may hold, only the first ones are copied.
    pub fn copy(&self, fs: &dyn Filesystem, path: &Path, offset: u64, name: &str) -> io::Result<PathBuf> {
        let from = fs.open(path, false)?;
        let bytes = from.len()?.saturating_sub(offset).min(self.max_bytes);
        let mut there = self.list(fs)?;
        for old in there.extract_if(.., |kept| kept.name == name) {
            fs.remove_file(&old.path)?;
        }
        let path = self.make_room(fs, &mut there, bytes, name)?;
        let to = fs.create_new(&path)?;
        let copied = (|| {
            let mut buf = vec![0; Self::STEP.min(bytes as usize)];
            let mut done = 0;
            while done < bytes {
                let want = (bytes - done).min(buf.len() as u64) as usize;
                let part = buf.get_mut(..want).unwrap_or_default();
                let read = from.read_full_at(part, offset + done)?;
                if read == 0 {
                    break;
                }
                to.write_all_at(part.get(..read).unwrap_or_default(), done)?;
                done += read as u64;
            }
            to.sync_data()?;
            fs.sync_dir(&self.dir)
        })();
        if let Err(error) = copied {
            // An incomplete copy would only take up space.
            let _ = fs.remove_file(&path);
            return Err(error);
        }
        Ok(path)
    }

    /// Lists the quarantined files, oldest first. Files whose names do not start with a number are ignored.
    fn list(&self, fs: &dyn Filesystem) -> io::Result<Vec<Kept>> {
        if fs.metadata(&self.dir)?.is_none() {
            return Ok(Vec::new());
        }
        let mut there = Vec::new();
        for name in fs.read_dir(&self.dir)? {
            let Some((order, name)) = name.to_str().and_then(|name| name.split_once('-')) else { continue };
            let Ok(number) = order.parse() else { continue };
            let path = self.dir.join(format!("{order}-{name}"));
            let Some(metadata) = fs.metadata(&path)?.filter(|metadata| !metadata.is_dir) else { continue };
            there.push(Kept { order: number, name: name.to_string(), path, bytes: metadata.len });
        }
        there.sort_by_key(|kept| kept.order);
        Ok(there)
    }

    /// Deletes the oldest files until another one with `bytes` fits. Returns the path for the new file.
    fn make_room(
        &self,
        fs: &dyn Filesystem,
        there: &mut Vec<Kept>,
        bytes: u64,
        name: &str,
    ) -> io::Result<PathBuf> {
        fs.create_dir_all(&self.dir)?;
        let order = there.last().map_or(1, |kept| kept.order.saturating_add(1));
        let mut total: u64 = there.iter().map(|kept| kept.bytes).sum();
        let mut files = there.len();
        for kept in there.drain(..) {
            if files < Self::MAX_FILES && total.saturating_add(bytes) <= self.max_bytes {
                break;
            }
            fs.remove_file(&kept.path)?;
            (total, files) = (total - kept.bytes, files - 1);
        }
        Ok(self.dir.join(format!("{order:06}-{name}")))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "helper functions of tests")]
    use super::*;
    use crate::sim::{Op, SimFilesystem};

    fn names(fs: &SimFilesystem) -> Vec<String> {
        let mut names: Vec<_> =
            fs.read_dir(Path::new("/d")).unwrap().iter().map(|name| name.to_str().unwrap().into()).collect();
        names.sort();
        names
    }

    #[test]
    fn quarantined_files_survive_deletion_from_the_log() {
        let fs = SimFilesystem::new(1);
        let aside = Aside::new("/d".into(), 100);
        fs.plant(Path::new("/wal/7"), b"damaged");
        let path = aside.keep(&fs, Path::new("/wal/7"), "wal-7").unwrap();
        assert_eq!(aside.keep(&fs, Path::new("/wal/7"), "wal-7").unwrap(), path);
        let again = aside.keep_each(&fs, Path::new("/wal/7"), "wal-7").unwrap();
        assert_ne!(again, path);
        fs.remove_file(&again).unwrap();
        fs.remove_file(Path::new("/wal/7")).unwrap();
        fs.sync_dir(Path::new("/wal")).unwrap();
        fs.power_cut();
        assert_eq!(names(&fs), ["000001-wal-7"]);
        assert_eq!(fs.contents(&path).unwrap(), b"damaged");
    }

    #[test]
    fn the_oldest_files_are_deleted_at_either_limit() {
        let fs = SimFilesystem::new(1);
        let aside = Aside::new("/d".into(), 100);
        for number in 0..Aside::MAX_FILES + 3 {
            fs.plant(Path::new("/wal/x"), &[0; 2]);
            aside.copy(&fs, Path::new("/wal/x"), 0, &format!("wal-{number}")).unwrap();
        }
        let there = names(&fs);
        assert_eq!((there.len(), there[0].as_str()), (Aside::MAX_FILES, "000004-wal-3"));
        fs.plant(Path::new("/wal/y"), &[0; 95]);
        aside.keep(&fs, Path::new("/wal/y"), "wal-y").unwrap();
        assert_eq!(names(&fs), ["000034-wal-33", "000035-wal-34", "000036-wal-y"]);
        fs.plant(Path::new("/wal/z"), &[0; 1000]);
        aside.keep(&fs, Path::new("/wal/z"), "wal-z").unwrap();
        assert_eq!(names(&fs), ["000037-wal-z"], "the newest is kept whole");
        let copy = aside.copy(&fs, Path::new("/wal/z"), 10, "tail").unwrap();
        assert_eq!(fs.contents(&copy).unwrap().len(), 100, "a copy is cut at the limit");
        assert_eq!(names(&fs), ["000038-tail"]);
    }

    #[test]
    fn failed_copies_leave_no_file_and_copies_replace_their_namesake() {
        let fs = SimFilesystem::new(1);
        let aside = Aside::new("/d".into(), 100);
        fs.plant(Path::new("/state"), b"first");
        aside.copy(&fs, Path::new("/state"), 0, "state").unwrap();
        fs.plant(Path::new("/state"), b"second");
        let path = aside.copy(&fs, Path::new("/state"), 2, "state").unwrap();
        assert_eq!(fs.contents(&path).unwrap(), b"cond");
        fs.fail(Op::Write, 0, 1);
        assert!(aside.copy(&fs, Path::new("/state"), 0, "other").is_err());
        fs.set_space(Some(0));
        assert!(aside.copy(&fs, Path::new("/state"), 0, "another").is_err());
        assert_eq!(names(&fs).len(), 1);
    }
}
