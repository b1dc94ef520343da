//! The data folder: its path, a check that it can be written, and a lock so that only one process uses it.

use rustix::fs::{FlockOperation, flock};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use wal::RealFilesystem;
use wal::small_file::make_folder_by;

/// The file whose lock shows that the folder is in use. It contains the number of the process.
pub const LOCK_FILE: &str = "lock";

/// Why the data folder can't be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// No flag and no variable names the folder.
    #[error("no data folder: give --data DIR, or set STATE_DIRECTORY, XDG_STATE_HOME or HOME")]
    Unknown,
    /// The folder can't be created or written.
    #[error("the data folder {} can't be used: {what}: {source}", path.display())]
    Io {
        path: PathBuf,
        /// The step that failed.
        what: &'static str,
        source: std::io::Error,
    },
    /// There is a file in place of a folder.
    #[error("the data folder {} can't be used: {} is not a folder; choose another with --data", path.display(), file.display())]
    NotFolder {
        path: PathBuf,
        /// The file: it has the path of the folder or of one above it.
        file: PathBuf,
    },
    /// The folder belongs to another user.
    #[error("the data folder {} can't be used: {} belongs to user {owner}, and narthex runs as user {own}; \
        run it as user {owner}, change the owner (chown -R {own} {}), or choose another folder with --data",
        path.display(), of.display(), of.display())]
    Foreign {
        path: PathBuf,
        /// The path that belongs to the other user: the folder, a file in it, or a folder above it.
        of: PathBuf,
        /// The other user's number.
        owner: u32,
        /// The number of this process' user.
        own: u32,
    },
    /// Another process uses the folder.
    #[error("the data folder {} is in use by another narthex{}: stop that one, or choose another folder with --data", path.display(), process(*pid))]
    InUse {
        path: PathBuf,
        /// The other process, if it has written its number.
        pid: Option<u32>,
    },
}

fn process(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
}

/// A data folder that this process has to itself until the value is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Creates the folder if it does not exist (mode 0700), checks that it can be written, and locks it.
    pub fn open(path: &Path) -> Result<DataDir, DataDirError> {
        let failed = |what| move |source| explain(path, what, source);
        let make = || DirBuilder::new().recursive(true).mode(0o700).create(path);
        make_folder_by(&RealFilesystem, path, make).map_err(failed("making it"))?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join(LOCK_FILE))
            .map_err(failed("writing to it"))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut text = String::new();
                // The number is only additional information, so errors are ignored.
                let _ = Read::by_ref(&mut file).take(32).read_to_string(&mut text);
                return Err(DataDirError::InUse { path: path.to_path_buf(), pid: text.trim().parse().ok() });
            }
            Err(error) => return Err(failed("locking it")(error.into())),
        }
        let number = format!("{}\n", std::process::id());
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(number.as_bytes()))
            .map_err(failed("writing to it"))?;
        Ok(DataDir { path: path.to_path_buf(), _lock: file })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The size of its file system in bytes.
    pub fn file_system_bytes(&self) -> std::io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.path)?;
        Ok(stat.f_blocks.saturating_mul(stat.f_frsize))
    }
}

/// Turns an I/O error into a more specific one, if the file system shows its cause.
fn explain(path: &Path, what: &'static str, source: std::io::Error) -> DataDirError {
    let path_buf = path.to_path_buf();
    match source.kind() {
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => {
            let file = path.ancestors().find(|above| above.exists() && !above.is_dir());
            if let Some(file) = file {
                return DataDirError::NotFolder { path: path_buf, file: file.to_path_buf() };
            }
        }
        ErrorKind::PermissionDenied => {
            let lock = path.join(LOCK_FILE);
            let own = rustix::process::geteuid().as_raw();
            let owner = |of: &Path| of.metadata().ok().map(|data| data.uid());
            let seen = std::iter::once(lock.as_path()).chain(path.ancestors());
            // Only the nearest existing folder matters: folders above it often belong to other users.
            let mut there = seen.filter_map(|of| Some((of, owner(of)?))).take(2);
            if let Some((of, owner)) = there.find(|(_, owner)| *owner != own) {
                return DataDirError::Foreign { path: path_buf, of: of.to_path_buf(), owner, own };
            }
        }
        _ => {}
    }
    DataDirError::Io { path: path_buf, what, source }
}

/// The data folder if no flag names one. `variable` looks up the environment.
pub fn default_path(variable: impl Fn(&str) -> Option<String>) -> Result<PathBuf, DataDirError> {
    let absolute = |name| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    if let Some(paths) = variable("STATE_DIRECTORY") {
        // systemd separates several folders by colons; narthex uses the first one.
        let first = paths.split(':').next().map(PathBuf::from).filter(|path| path.is_absolute());
        if let Some(path) = first {
            return Ok(path);
        }
    }
    if let Some(path) = absolute("XDG_STATE_HOME") {
        return Ok(path.join("narthex"));
    }
    let home = absolute("HOME").ok_or(DataDirError::Unknown)?;
    Ok(home.join(".local/state/narthex"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_folder_is_made_private_and_locked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        let held = DataDir::open(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        let error = DataDir::open(&path).unwrap_err().to_string();
        let want = format!("is in use by another narthex (process {})", std::process::id());
        assert!(error.contains(&want), "{error}");
        drop(held);
        DataDir::open(&path).expect("free again");
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = DataDir::open(&file.join("x")).unwrap_err().to_string();
        assert!(
            error.contains("file/x can't be used: ") && error.contains("file is not a folder"),
            "{error}"
        );
        let error = DataDir::open(&file).unwrap_err().to_string();
        assert!(error.ends_with("file is not a folder; choose another with --data"), "{error}");
    }

    #[test]
    fn the_default_folder_follows_the_environment() {
        let path = |variables: &[(&str, &str)]| {
            default_path(|name| variables.iter().find(|(key, _)| *key == name).map(|(_, v)| (*v).to_string()))
                .ok()
                .map(|path| path.display().to_string())
        };
        let home = ("HOME", "/home/u");
        assert_eq!(path(&[home]).as_deref(), Some("/home/u/.local/state/narthex"));
        assert_eq!(path(&[home, ("XDG_STATE_HOME", "/s")]).as_deref(), Some("/s/narthex"));
        assert_eq!(path(&[home, ("STATE_DIRECTORY", "/v/n:/v/m")]).as_deref(), Some("/v/n"));
        assert_eq!(
            path(&[home, ("XDG_STATE_HOME", "relative")]).as_deref(),
            Some("/home/u/.local/state/narthex")
        );
        assert_eq!(path(&[]), None);
    }
}
