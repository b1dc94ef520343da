//! The reserve: a file that is only there to be removed when the disk is full, so that delivery, which frees the
//! log, never lacks room for its own small writes.

use crate::options::Options;
use std::path::PathBuf;
use wal::Filesystem;

/// See the module.
pub(crate) struct Reserve {
    path: PathBuf,
    bytes: u64,
}

/// The free bytes that a disk needs after it was full: for the reserve and for a commit.
pub(crate) fn bytes_to_go_on(options: &Options) -> u64 {
    options.reserve_bytes + (options.group_bytes as u64).min(options.reserve_bytes)
}

impl Reserve {
    /// The reserve of a storage with these options, there or not.
    pub(crate) fn new(options: &Options) -> Reserve {
        Reserve { path: options.dir.join("reserve"), bytes: options.reserve_bytes }
    }

    /// Makes the file; on a failure there is none.
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

    /// Makes it again, where there is room for it and for a commit.
    pub(crate) fn retake(&self, fs: &dyn Filesystem, options: &Options) -> bool {
        fs.available(&options.dir).is_ok_and(|available| available >= bytes_to_go_on(options))
            && self.take(fs)
    }

    /// Removes it.
    pub(crate) fn release(&self, fs: &dyn Filesystem) {
        if matches!(fs.metadata(&self.path), Ok(Some(_)))
            && let Err(error) = fs.remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "the reserve could not be released");
        }
    }
}
