//! The file system of the operating system.

use super::{File, Filesystem, Metadata};
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Performs each operation with the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealFilesystem;

impl Filesystem for RealFilesystem {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn read_dir(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name())).collect()
    }

    fn create_new(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        Ok(Box::new(RealFile(file)))
    }

    fn open(&self, path: &Path, write: bool) -> io::Result<Box<dyn File>> {
        Ok(Box::new(RealFile(OpenOptions::new().read(true).write(write).open(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn hard_link(&self, path: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(path, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        fs::remove_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        fs::File::open(dir)?.sync_all()
    }

    fn metadata(&self, path: &Path) -> io::Result<Option<Metadata>> {
        match fs::metadata(path) {
            Ok(metadata) => Ok(Some(Metadata { is_dir: metadata.is_dir(), len: metadata.len() })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn available(&self, dir: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(dir)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

#[derive(Debug)]
struct RealFile(fs::File);

impl File for RealFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(&self.0, buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        FileExt::write_at(&self.0, buf, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    #[cfg(target_os = "linux")]
    fn allocate(&self, len: u64) -> io::Result<()> {
        use rustix::fs::{FallocateFlags, fallocate};
        match fallocate(&self.0, FallocateFlags::empty(), 0, len) {
            // A file system that does not support it (NFS, FUSE) at least sets the length.
            Err(rustix::io::Errno::OPNOTSUPP) if self.len()? < len => self.set_len(len),
            Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
            other => Ok(other?),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn allocate(&self, len: u64) -> io::Result<()> {
        if self.len()? < len { self.set_len(len) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_created_read_written_renamed_and_removed() {
        let temp = tempfile::tempdir().unwrap();
        let fs = RealFilesystem;
        let dir = temp.path().join("a/b");
        fs.create_dir_all(&dir).unwrap();
        let path = dir.join("one");
        let file = fs.create_new(&path).unwrap();
        assert_eq!(fs.create_new(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        file.write_all_at(b"hello", 3).unwrap();
        file.allocate(10).unwrap();
        file.sync_data().unwrap();
        let mut buf = [9; 20];
        assert_eq!(file.read_full_at(&mut buf, 0).unwrap(), 10);
        assert_eq!(&buf[..11], b"\0\0\0hello\0\0\x09");
        file.set_len(4).unwrap();
        fs.rename(&path, &dir.join("two")).unwrap();
        fs.sync_dir(&dir).unwrap();
        fs.hard_link(&dir.join("two"), &dir.join("three")).unwrap();
        let again = fs.hard_link(&dir.join("two"), &dir.join("three"));
        assert_eq!(again.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        fs.remove_file(&dir.join("three")).unwrap();
        assert_eq!(fs.metadata(&path).unwrap(), None);
        assert_eq!(fs.metadata(&dir.join("two")).unwrap(), Some(Metadata { is_dir: false, len: 4 }));
        assert!(fs.open(&dir.join("two"), false).unwrap().write_at(b"x", 0).is_err());
        assert_eq!(fs.read_dir(&dir).unwrap(), ["two"]);
        fs.remove_file(&dir.join("two")).unwrap();
        fs.remove_dir(&dir).unwrap();
        assert!(fs.available(temp.path()).unwrap() > 0);
    }
}
