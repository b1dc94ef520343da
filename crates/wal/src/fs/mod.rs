//! The seam between the log and the disk: the few operations it needs, so that a test can put a hostile
//! file system underneath ([`crate::sim`]). Whatever stores bytes in narthex goes through it.

mod patience;
mod real;

pub use patience::{Patience, READ_TRIES, patiently};
pub use real::RealFilesystem;

use std::ffi::OsString;
use std::fmt::Debug;
use std::io;
use std::path::Path;

/// Folders and names.
pub trait Filesystem: Send + Sync + Debug {
    /// Makes a folder, and those above it.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// The names in a folder, in any order.
    fn read_dir(&self, dir: &Path) -> io::Result<Vec<OsString>>;

    /// Makes a file, for reading and writing; fails with `AlreadyExists` if it is there.
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn File>>;

    /// Opens a file that is there, for reading and, with `write`, for writing too.
    fn open(&self, path: &Path, write: bool) -> io::Result<Box<dyn File>>;

    /// Renames a file or an (empty) folder within its folder, replacing a file that has the new name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file a second name; fails with `AlreadyExists` if that is taken. The file is there until both
    /// are removed. Not every file system can.
    fn hard_link(&self, path: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file. Who has it open can still read it.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty folder.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;

    /// Makes creations, renames and removals in this folder durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// What is there under a name; `None` where there is nothing.
    fn metadata(&self, path: &Path) -> io::Result<Option<Metadata>>;

    /// Free bytes (for this user) of the file system that holds `dir`.
    fn available(&self, dir: &Path) -> io::Result<u64>;
}

/// What is there under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// Whether it is a folder.
    pub is_dir: bool,
    /// Size in bytes; of a folder, anything.
    pub len: u64,
}

/// An open file, read and written at positions.
pub trait File: Send + Sync + Debug {
    /// Reads some bytes at `offset`: at least one, unless `buf` is empty or the file ends there.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes some bytes of `buf` at `offset`; the file grows as needed.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize>;

    /// Makes all that was written durable, with the file's length. After a failure nobody knows what
    /// is on disk of what was written since the last success; trying again proves nothing.
    fn sync_data(&self) -> io::Result<()>;

    /// Cuts the file, or fills it with zeros, to `len` bytes.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// The file's length.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file is empty.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Makes the file at least `len` bytes long, of zeros, with room on disk for all of them, so that
    /// writing there cannot fail for lack of room.
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

    /// Reads until `buf` is full or the file ends; says how many bytes there were.
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
