//! The file system interface that the log uses. It has only the operations that narthex needs, so that tests
//! can replace it by a hostile file system ([`crate::sim`]). All code of narthex that stores data uses this
//! interface.

mod patience;
mod real;

pub use patience::{Patience, READ_TRIES, patiently};
pub use real::RealFilesystem;

use std::ffi::OsString;
use std::fmt::Debug;
use std::io;
use std::path::Path;

/// Operations on folders and on names in them.
pub trait Filesystem: Send + Sync + Debug {
    /// Creates a folder and its missing parents.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// Lists the names in a folder, in any order.
    fn read_dir(&self, dir: &Path) -> io::Result<Vec<OsString>>;

    /// Creates a file for reading and writing. Fails with `AlreadyExists` if the name is taken.
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn File>>;

    /// Opens an existing file for reading and, with `write`, for writing.
    fn open(&self, path: &Path, write: bool) -> io::Result<Box<dyn File>>;

    /// Renames a file or an empty folder within its folder. An existing file with the new name is replaced.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file a second name. Fails with `AlreadyExists` if that name is taken. The file exists until
    /// both names are removed. Not every file system supports this.
    fn hard_link(&self, path: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file. Handles that are open can still read it.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty folder.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;

    /// Makes creations, renames and removals in this folder durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Returns the metadata of a file or folder, or `None` if it does not exist.
    fn metadata(&self, path: &Path) -> io::Result<Option<Metadata>>;

    /// Returns the free bytes, for this user, of the file system that holds `dir`.
    fn available(&self, dir: &Path) -> io::Result<u64>;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// Whether it is a folder.
    pub is_dir: bool,
    /// Size in bytes. Undefined for a folder.
    pub len: u64,
}

/// An open file with positioned reads and writes.
pub trait File: Send + Sync + Debug {
    /// Reads some bytes at `offset`: at least one, unless `buf` is empty or the file ends there.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes some bytes of `buf` at `offset`. The file grows if necessary.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize>;

    /// Makes all written data and the file's length durable. After a failure it is unknown which of the data
    /// written since the last successful sync is on disk. A later sync that succeeds does not prove that it
    /// is.
    fn sync_data(&self) -> io::Result<()>;

    /// Sets the length: cuts the file, or extends it with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;

    fn len(&self) -> io::Result<u64>;

    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Makes the file at least `len` bytes long, filled with zeros, and reserves disk space for all of them,
    /// so that writing there cannot fail for lack of space.
    fn allocate(&self, len: u64) -> io::Result<()>;

    /// Writes all of `buf` at `offset`.
    fn write_all_at(&self, mut buf: &[u8], mut offset: u64) -> io::Result<()> {
        while !buf.is_empty() {
            match self.write_at(buf, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    buf = buf.get(count..).unwrap_or_default();
                    offset += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads until `buf` is full or the file ends. Returns the number of bytes read.
    fn read_full_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.read_at(rest, offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }
}
