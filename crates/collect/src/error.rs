//! Why a collector returned no metrics, or not all.

use std::io;
use std::path::{Path, PathBuf};

/// Why a collector failed. The other collectors are not affected.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// A file or directory could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// A file is larger than expected.
    #[error("{} has more than {limit} bytes", path.display())]
    TooLarge {
        path: PathBuf,
        /// The limit in bytes.
        limit: usize,
    },
    /// A file does not have the documented format.
    #[error("{path}: {expected} expected, found {found:?}")]
    Malformed {
        /// The file, relative to the root.
        path: String,
        expected: &'static str,
        /// The text in the file, shortened.
        found: String,
    },
    /// The machine does not have it: no such hardware, or not in this kernel.
    #[error("nothing to collect: {0}")]
    NoData(&'static str),
    /// A call other than reading a file failed.
    #[error("{call}: {source}")]
    System { call: &'static str, source: io::Error },
}

impl CollectError {
    pub(crate) fn read(path: &Path, source: io::Error) -> Self {
        CollectError::Read { path: path.to_path_buf(), source }
    }

    pub(crate) fn malformed(path: impl Into<String>, expected: &'static str, found: &str) -> Self {
        let found = found.chars().take(80).collect();
        CollectError::Malformed { path: path.into(), expected, found }
    }

    /// Returns true if this machine, kernel or container does not have the thing that is collected. This is
    /// no failure, and no warning is logged.
    pub fn is_absence(&self) -> bool {
        match self {
            CollectError::NoData(_) => true,
            CollectError::Read { source, .. } => {
                matches!(
                    source.kind(),
                    io::ErrorKind::NotFound
                        | io::ErrorKind::NotADirectory
                        | io::ErrorKind::PermissionDenied
                        | io::ErrorKind::Unsupported
                )
            }
            _ => false,
        }
    }

    /// Returns true if a file or directory does not exist, and false if it can't be read.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, CollectError::Read { source, .. }
            if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory))
    }
}
