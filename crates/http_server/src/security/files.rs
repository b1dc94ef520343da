//! Reads files, and notices when they change.

use super::{FILE_BYTES_MAX, SecurityError};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Identifies the version of a file: inode number, length and time of the last write. If a link is changed to
/// another file, as Kubernetes does with secrets, the number changes.
type Stamp = Option<(u64, u64, Option<SystemTime>)>;

/// The files that were read, with their stamps from just before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Files(Vec<(PathBuf, Stamp)>);

fn stamp(path: &Path) -> Stamp {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.ino(), metadata.len(), metadata.modified().ok()))
}

impl Files {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the same files with their present stamps.
    pub(super) fn again(&self) -> Files {
        Files(self.0.iter().map(|(path, _)| (path.clone(), stamp(path))).collect())
    }

    /// Reads a file. `what` is the key that names it.
    pub(super) fn bytes(&mut self, what: &'static str, path: &Path) -> Result<Vec<u8>, SecurityError> {
        let failed = |source| SecurityError::File { what, path: path.to_path_buf(), source };
        // The stamp is taken before the read, so that a write during the read counts as a change.
        self.0.push((path.to_path_buf(), stamp(path)));
        let length = std::fs::metadata(path).map_err(failed)?.len();
        if length > FILE_BYTES_MAX {
            let reason = format!("it has {length} bytes, the limit is {FILE_BYTES_MAX}");
            return Err(SecurityError::Content { what, path: path.to_path_buf(), reason });
        }
        std::fs::read(path).map_err(failed)
    }

    pub(super) fn text(&mut self, what: &'static str, path: &Path) -> Result<String, SecurityError> {
        String::from_utf8(self.bytes(what, path)?).map_err(|_| SecurityError::Content {
            what,
            path: path.to_path_buf(),
            reason: "it is not UTF-8".into(),
        })
    }
}
