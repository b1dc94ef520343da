//! Why a collector gave nothing, or not all.

use std::io;
use std::path::{Path, PathBuf};

/// Why a collector failed. The others go on.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// A file or directory could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is larger than anything that is expected of it.
    #[error("{} has more than {limit} bytes", path.display())]
    TooLarge {
        /// Which one.
        path: PathBuf,
        /// The limit.
        limit: usize,
    },
    /// A file's text is not what the kernel's documentation says.
    #[error("{path}: {expected} expected, found {found:?}")]
    Malformed {
        /// Which file, from the root.
        path: String,
        /// What should stand there.
        expected: &'static str,
        /// What does, shortened.
        found: String,
    },
    /// This machine has not got it: no such hardware, or not in this kernel.
    #[error("nothing to collect: {0}")]
    NoData(&'static str),
    /// A call other than reading a file failed.
    #[error("{call}: {source}")]
    System {
        /// The call.
        call: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl CollectError {
    pub(crate) fn read(path: &Path, source: io::Error) -> Self {
        CollectError::Read { path: path.to_path_buf(), source }
    }

    pub(crate) fn malformed(path: impl Into<String>, expected: &'static str, found: &str) -> Self {
        let found = found.chars().take(80).collect();
        CollectError::Malformed { path: path.into(), expected, found }
    }

    /// Whether the reason is that this machine, kernel or container has no such thing, which is no fault
    /// and worth no warning.
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

    /// Whether a file or directory is not there (and not: unreadable).
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, CollectError::Read { source, .. }
            if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory))
    }
}
