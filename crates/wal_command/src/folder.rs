//! Finds the folder that the user means, and what narthex keeps in it beside the log.

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

/// A log, and the data folder around it.
#[derive(Debug)]
pub(crate) struct Folder {
    /// The folder of the log.
    pub(crate) wal: PathBuf,
    /// The data folder: the one above it.
    pub(crate) data: PathBuf,
    /// What narthex' state file says; none in a folder of Prometheus.
    pub(crate) state: Option<State>,
}

/// The data folder of the packaged service. systemd names it by STATE_DIRECTORY, which a shell does not have.
const SERVICE_DATA: &str = "/var/lib/narthex";

/// The folder that the user named, else the default data folder, else that of the packaged service.
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
    // STATE_DIRECTORY names one folder; no other one is tried then.
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

/// Whether narthex has kept a log or dead letters in a folder. `narthex push` makes only its spool in the
/// default one. A folder that this user may not read counts, so that the error says so.
fn has_data(path: &Path) -> bool {
    [path.join("wal"), claims::dead_folder(path)].iter().any(|path| path.try_exists().unwrap_or(true))
}

/// Where a destination stands.
#[derive(Debug)]
pub(crate) struct Standing {
    /// The name of its file.
    pub(crate) destination: String,
    /// Its lane that is furthest behind; none where no lane could be read.
    pub(crate) lowest: Option<Position>,
    /// Lanes that cannot be read. They begin at the oldest segment.
    pub(crate) unreadable: usize,
    /// Bytes of the log from there to its end.
    pub(crate) behind_bytes: u64,
}

impl Folder {
    /// Finds the log that a user means by `path`.
    pub(crate) fn find(path: &Path) -> Result<Folder, Failure> {
        let path = std::path::absolute(path).map_err(Failure::usage)?;
        let wal = log::find(&RealFilesystem, &path).map_err(failed)?;
        let data = match wal.parent().filter(|_| wal.file_name() == Some(OsStr::new("wal"))) {
            Some(parent) => parent.to_path_buf(),
            // A log that lies somewhere by itself.
            None => wal.clone(),
        };
        let state = storage::read_state(&RealFilesystem, &data).map_err(Failure::running)?;
        Ok(Folder { wal, data, state })
    }

    /// The log, and where its segments end.
    pub(crate) fn log(&self) -> LogSource<'_> {
        let ends = self.state.as_ref().map_or(&[][..], |state| &state.closed);
        LogSource { dir: &self.wal, ends }
    }

    /// Whose it is.
    pub(crate) fn owner(&self) -> &'static str {
        if self.state.is_some() { "narthex" } else { "Prometheus" }
    }

    /// Takes the lock that narthex and Prometheus hold on their data folder while they run, if there is one
    /// to take; says who has it.
    pub(crate) fn lock(&self) -> Result<Option<File>, InUse> {
        let path = self.data.join(command::data_dir::LOCK_FILE);
        // Prometheus' own lock cannot be asked for its holder; the file is empty then.
        let Ok(file) = File::open(&path) else { return Ok(None) };
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let text = std::fs::read_to_string(&path).unwrap_or_default();
                Err(InUse { process: text.trim().parse().ok() })
            }
            _ => Ok(Some(file)),
        }
    }

    /// Where narthex sets damaged files aside.
    pub(crate) fn damaged(&self) -> PathBuf {
        self.data.join("damaged")
    }

    /// What is there, with sizes. It is no part of the log any more, so nothing there makes a log damaged.
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

    /// Where each destination stands, by name.
    pub(crate) fn standings(&self) -> Result<Vec<Standing>, Failure> {
        let folder = claims::folder(&self.data);
        let fs = &RealFilesystem;
        if self.state.is_none() || fs.metadata(&folder).map_err(Failure::running)?.is_none() {
            return Ok(Vec::new());
        }
        let segments = dir::segments(fs, &self.wal).map_err(failed)?;
        let mut standings = Vec::new();
        for name in fs.read_dir(&folder).map_err(Failure::running)? {
            // Others are there for a moment only, or are none.
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

/// A running narthex or Prometheus has the folder.
#[derive(Debug)]
pub(crate) struct InUse {
    /// Its process, where it wrote its number.
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

/// Why a tool could not do its work: a folder without a log is the user's mistake.
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

    /// The command by itself.
    #[derive(Debug, Parser)]
    struct Wal {
        #[command(flatten)]
        args: WalArgs,
    }

    #[test]
    fn the_folder_may_be_named_as_for_run() {
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
    fn without_a_name_the_folder_with_a_log_is_found() {
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
        // What `narthex push` makes.
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
