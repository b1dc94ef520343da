//! The reserve: a file that is deleted when the disk is full. Delivery frees space in the log, and the
//! deleted file leaves it room for its own small writes.

use crate::options::Options;
use std::path::PathBuf;
use wal::Filesystem;

/// The reserve of one data folder.
pub(crate) struct Reserve {
    path: PathBuf,
    bytes: u64,
}

/// Free bytes that a disk needs, after it was full, before samples are accepted: for the reserve and for a
/// commit.
pub(crate) fn bytes_to_go_on(options: &Options) -> u64 {
    options.reserve_bytes + (options.group_bytes as u64).min(options.reserve_bytes)
}

impl Reserve {
    /// Describes the reserve; the file may exist or not.
    pub(crate) fn new(options: &Options) -> Reserve {
        Reserve { path: options.dir.join("reserve"), bytes: options.reserve_bytes }
    }

    /// Creates the file if it is missing. Returns true if the file exists; after a failure it does not.
    pub(crate) fn take(&self, fs: &dyn Filesystem) -> bool {
        let path = &self.path;
        if self.bytes == 0 || matches!(fs.metadata(path), Ok(Some(there)) if there.len >= self.bytes) {
            return true;
        }
        let _ = fs.remove_file(path);
        let taken = fs.create_new(path).and_then(|file| file.allocate(self.bytes));
        if taken.is_err() {
            let _ = fs.remove_file(path);
        }
        taken.is_ok()
    }

    /// Creates the file again if the disk has room for it and for a commit.
    pub(crate) fn retake(&self, fs: &dyn Filesystem, options: &Options) -> bool {
        fs.available(&options.dir).is_ok_and(|available| available >= bytes_to_go_on(options))
            && self.take(fs)
    }

    pub(crate) fn release(&self, fs: &dyn Filesystem) {
        if matches!(fs.metadata(&self.path), Ok(Some(_)))
            && let Err(error) = fs.remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "the reserve could not be released");
        }
    }
}
