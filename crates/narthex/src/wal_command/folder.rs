//! Which folder is meant, and what narthex keeps in it beside the log.

use crate::data_dir;
use crate::failure::Failure;
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
pub(super) struct Folder {
    /// The folder of the log.
    pub(super) wal: PathBuf,
    /// The data folder: the one above it.
    pub(super) data: PathBuf,
    /// What narthex' state file says; none in a folder of Prometheus.
    pub(super) state: Option<State>,
}

/// The folder that the user named, else the default data folder.
pub(super) fn or_default(named: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(path) = named {
        return Ok(path.to_path_buf());
    }
    let path = data_dir::default_path(|name| std::env::var(name).ok()).map_err(|_| {
        Failure::usage("no folder is named, and there is no default one without HOME: give the data folder")
    })?;
    if path.is_dir() {
        return Ok(path);
    }
    let shown = path.display();
    Err(Failure::usage(format!(
        "no folder is named, and the default data folder {shown} does not exist: give the folder that \
         narthex run has as --data"
    )))
}

/// Where a destination stands.
#[derive(Debug)]
pub(super) struct Standing {
    /// The name of its file.
    pub(super) destination: String,
    /// Its lane that is furthest behind; none where no lane could be read.
    pub(super) lowest: Option<Position>,
    /// Lanes that cannot be read. They begin at the oldest segment.
    pub(super) unreadable: usize,
    /// Bytes of the log from there to its end.
    pub(super) behind_bytes: u64,
}

impl Folder {
    /// Finds the log that a user means by `path`.
    pub(super) fn find(path: &Path) -> Result<Folder, Failure> {
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
    pub(super) fn log(&self) -> LogSource<'_> {
        let ends = self.state.as_ref().map_or(&[][..], |state| &state.closed);
        LogSource { dir: &self.wal, ends }
    }

    /// Whose it is.
    pub(super) fn owner(&self) -> &'static str {
        if self.state.is_some() { "narthex" } else { "Prometheus" }
    }

    /// Takes the lock that narthex and Prometheus hold on their data folder while they run, if there is one
    /// to take; says who has it.
    pub(super) fn lock(&self) -> Result<Option<File>, InUse> {
        let path = self.data.join(crate::data_dir::LOCK_FILE);
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
    pub(super) fn damaged(&self) -> PathBuf {
        self.data.join("damaged")
    }

    /// What is there, with sizes. It is no part of the log any more, so nothing there makes a log damaged.
    pub(super) fn set_aside(&self) -> Vec<(String, u64)> {
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
    pub(super) fn standings(&self) -> Result<Vec<Standing>, Failure> {
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
pub(super) struct InUse {
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
pub(super) fn failed(error: impl Into<ToolError>) -> Failure {
    let error = error.into();
    match &error {
        ToolError::Log(WalError::NoLog(_) | WalError::NoFolder(_)) => Failure::usage(error),
        _ => Failure::running(error),
    }
}
