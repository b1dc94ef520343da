//! Files that are read, and noticed when they change.

use super::{FILE_BYTES_MAX, SecurityError};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What tells a changed file: its number, its length and when it was written. A link that is moved to
/// another file, as Kubernetes does with secrets, changes the number.
type Stamp = Option<(u64, u64, Option<SystemTime>)>;

/// The files that were read, and what each looked like just before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Files(Vec<(PathBuf, Stamp)>);

fn stamp(path: &Path) -> Stamp {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.ino(), metadata.len(), metadata.modified().ok()))
}

impl Files {
    /// Whether nothing was read.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same files as they look now.
    pub(super) fn again(&self) -> Files {
        Files(self.0.iter().map(|(path, _)| (path.clone(), stamp(path))).collect())
    }

    /// Reads a file, `what` being the key that names it.
    pub(super) fn bytes(&mut self, what: &'static str, path: &Path) -> Result<Vec<u8>, SecurityError> {
        let failed = |source| SecurityError::File { what, path: path.to_path_buf(), source };
        // Before it is read: what is written meanwhile is then seen as a change.
        self.0.push((path.to_path_buf(), stamp(path)));
        let length = std::fs::metadata(path).map_err(failed)?.len();
        if length > FILE_BYTES_MAX {
            let reason = format!("it has {length} bytes, the limit is {FILE_BYTES_MAX}");
            return Err(SecurityError::Content { what, path: path.to_path_buf(), reason });
        }
        std::fs::read(path).map_err(failed)
    }

    /// Reads a text.
    pub(super) fn text(&mut self, what: &'static str, path: &Path) -> Result<String, SecurityError> {
        String::from_utf8(self.bytes(what, path)?).map_err(|_| SecurityError::Content {
            what,
            path: path.to_path_buf(),
            reason: "it is not UTF-8".into(),
        })
    }
}
