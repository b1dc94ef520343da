//! Finds the folder of a log, and the other files of narthex there.

use command::Failure;
use command::data_dir;
use remote::disk::{claims, positions};
use rustix::fs::{FlockOperation, flock};
use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use storage::State;
use wal::log::{LogSource, ToolError};
use wal::{Filesystem, Position, RealFilesystem, WalError, dir, log};

/// A log and its data folder.
#[derive(Debug)]
pub(crate) struct Folder {
    /// The folder of the log.
    pub(crate) wal: PathBuf,
    /// The data folder, which contains the folder of the log.
    pub(crate) data: PathBuf,
    /// narthex' state file; `None` in a folder of Prometheus.
    pub(crate) state: Option<State>,
}

/// The data folder of the packaged service. systemd sets STATE_DIRECTORY to it, which is not set in a shell.
const SERVICE_DATA: &str = "/var/lib/narthex";

/// The folder that the user named, or else the default data folder, or else that of the packaged service.
pub(crate) fn or_default(named: Option<&Path>) -> Result<PathBuf, Failure> {
    choose(named, |name| std::env::var(name).ok(), Path::new(SERVICE_DATA))
}

fn choose(
    named: Option<&Path>,
    variable: impl Fn(&str) -> Option<String>,
    service: &Path,
) -> Result<PathBuf, Failure> {
    if let Some(path) = named {
        return Ok(path.to_path_buf());
    }
    // STATE_DIRECTORY names one folder, and no other one is tried then.
    let service = variable("STATE_DIRECTORY").is_none().then_some(service);
    let default = data_dir::default_path(variable).ok();
    if let Some(path) = default.as_deref().into_iter().chain(service).find(|path| has_data(path)) {
        return Ok(path.to_path_buf());
    }
    let Some(default) = default else {
        return Err(Failure::usage(
            "no folder is named, and there is no default one without HOME: give the data folder",
        ));
    };
    let shown = default.display();
    let what = if default.is_dir() { "has no log" } else { "does not exist" };
    Err(Failure::usage(format!(
        "no folder is named, and the default data folder {shown} {what}: give the folder that narthex run has \
         as --data"
    )))
}

/// Returns true if narthex has kept a log or dead letters in a folder. The default folder may have nothing
/// but the spool of `narthex push`. A folder that this user may not read counts, so that the error says so.
fn has_data(path: &Path) -> bool {
    [path.join("wal"), claims::dead_folder(path)].iter().any(|path| path.try_exists().unwrap_or(true))
}

/// The position of a destination.
#[derive(Debug)]
pub(crate) struct Standing {
    /// The name of its file.
    pub(crate) destination: String,
    /// The position of the lane that is furthest behind; `None` if no lane could be read.
    pub(crate) lowest: Option<Position>,
    /// The number of lanes whose position can't be read. They begin at the oldest segment.
    pub(crate) unreadable: usize,
    /// The bytes of the log after that position.
    pub(crate) behind_bytes: u64,
}

impl Folder {
    /// Finds the log at `path`.
    pub(crate) fn find(path: &Path) -> Result<Folder, Failure> {
        let path = std::path::absolute(path).map_err(Failure::usage)?;
        let wal = log::find(&RealFilesystem, &path).map_err(failed)?;
        let data = match wal.parent().filter(|_| wal.file_name() == Some(OsStr::new("wal"))) {
            Some(parent) => parent.to_path_buf(),
            // A log that is not in a data folder.
            None => wal.clone(),
        };
        let state = storage::read_state(&RealFilesystem, &data).map_err(Failure::running)?;
        Ok(Folder { wal, data, state })
    }

    /// The log, with the ends of its segments.
    pub(crate) fn log(&self) -> LogSource<'_> {
        let ends = self.state.as_ref().map_or(&[][..], |state| &state.closed);
        LogSource { dir: &self.wal, ends }
    }

    /// The program that the log belongs to.
    pub(crate) fn owner(&self) -> &'static str {
        if self.state.is_some() { "narthex" } else { "Prometheus" }
    }

    /// Takes the lock that narthex and Prometheus hold on their data folder while they run, if the folder has
    /// one. The error names the process that holds it.
    pub(crate) fn lock(&self) -> Result<Option<File>, InUse> {
        let path = self.data.join(command::data_dir::LOCK_FILE);
        // Prometheus' lock file is empty, so its holder is not known.
        let Ok(file) = File::open(&path) else { return Ok(None) };
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let text = std::fs::read_to_string(&path).unwrap_or_default();
                Err(InUse { process: text.trim().parse().ok() })
            }
            _ => Ok(Some(file)),
        }
    }

    /// The folder of quarantined files.
    pub(crate) fn damaged(&self) -> PathBuf {
        self.data.join("damaged")
    }

    /// The quarantined files with their sizes. They are not part of the log any more, so they do not make a
    /// log damaged.
    pub(crate) fn set_aside(&self) -> Vec<(String, u64)> {
        let fs = &RealFilesystem;
        let names =
            if self.state.is_some() { fs.read_dir(&self.damaged()).unwrap_or_default() } else { Vec::new() };
        let mut files: Vec<_> = names
            .into_iter()
            .filter_map(|name| {
                let bytes = fs.metadata(&self.damaged().join(&name)).ok()??.len;
                Some((name.to_string_lossy().into_owned(), bytes))
            })
            .collect();
        files.sort();
        files
    }

    /// The positions of all destinations, by name.
    pub(crate) fn standings(&self) -> Result<Vec<Standing>, Failure> {
        let folder = claims::folder(&self.data);
        let fs = &RealFilesystem;
        if self.state.is_none() || fs.metadata(&folder).map_err(Failure::running)?.is_none() {
            return Ok(Vec::new());
        }
        let segments = dir::segments(fs, &self.wal).map_err(failed)?;
        let mut standings = Vec::new();
        for name in fs.read_dir(&folder).map_err(Failure::running)? {
            // Other files are temporary, or hold no positions.
            let Ok(Some(content)) = positions::read(fs, &folder.join(&name)) else { continue };
            let known = content.lanes.iter().flatten();
            let lowest = known.clone().min().copied();
            let unreadable = content.lanes.len() - known.count();
            let behind_bytes = positions::bytes_after(&segments, content.lowest());
            let destination = name.to_string_lossy().into_owned();
            standings.push(Standing { destination, lowest, unreadable, behind_bytes });
        }
        standings.sort_by(|a, b| a.destination.cmp(&b.destination));
        Ok(standings)
    }
}

/// A running narthex or Prometheus uses the folder.
#[derive(Debug)]
pub(crate) struct InUse {
    /// Its process, if it has written its number.
    process: Option<u32>,
}

impl std::fmt::Display for InUse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.process {
            Some(process) => write!(f, "in use by process {process}"),
            None => write!(f, "in use by another process"),
        }
    }
}

/// The failure for an error of a tool. A folder without a log is a mistake of the user's.
pub(crate) fn failed(error: impl Into<ToolError>) -> Failure {
    let error = error.into();
    match &error {
        ToolError::Log(WalError::NoLog(_) | WalError::NoFolder(_)) => Failure::usage(error),
        _ => Failure::running(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{WalArgs, WalCommand};
    use clap::Parser;

    /// The command alone.
    #[derive(Debug, Parser)]
    struct Wal {
        #[command(flatten)]
        args: WalArgs,
    }

    #[test]
    fn the_folder_may_be_given_by_the_flag_of_run() {
        for command in ["stat", "dump", "verify", "repair"] {
            for named in [&["d1"][..], &["--data", "d1"]] {
                let words = ["wal", command].into_iter().chain(named.iter().copied());
                let Wal { args } =
                    Wal::try_parse_from(words).unwrap_or_else(|error| panic!("{command}: {error}"));
                let named = match &args.command {
                    WalCommand::Stat(args) => args.folder.named(),
                    WalCommand::Dump(args) => args.named(),
                    WalCommand::Verify(args) | WalCommand::Repair(args) => args.named(),
                };
                assert_eq!(named, Some(Path::new("d1")), "{command}");
            }
            assert!(Wal::try_parse_from(["wal", command, "d1", "--data", "d2"]).is_err());
        }
    }

    #[test]
    fn the_default_is_a_folder_with_a_log() {
        let root = tempfile::tempdir().unwrap();
        let (default, service) = (root.path().join("narthex"), root.path().join("service"));
        let state = root.path().display().to_string();
        let chosen_by = |set: &str, to: &str| {
            let variable = |name: &str| (name == set).then(|| to.to_string());
            choose(None, variable, &service).map_err(|failure| failure.to_string())
        };
        let chosen = || chosen_by("XDG_STATE_HOME", &state);
        let error = chosen().unwrap_err();
        assert!(error.contains(&format!("{} does not exist", default.display())), "{error}");
        // The folder that `narthex push` creates.
        std::fs::create_dir_all(default.join("spool")).unwrap();
        let error = chosen().unwrap_err();
        assert!(error.contains(&format!("{} has no log", default.display())), "{error}");
        std::fs::create_dir_all(service.join("dead")).unwrap();
        assert_eq!(chosen(), Ok(service.clone()), "the packaged service's");
        assert!(chosen_by("STATE_DIRECTORY", &default.display().to_string()).is_err(), "another is named");
        std::fs::create_dir_all(default.join("wal")).unwrap();
        assert_eq!(chosen(), Ok(default.clone()));
    }
}
