//! Predicts what a real Prometheus does with a log when it starts: it opens the log, deletes a part of it, or
//! fails.
//!
//! Prometheus is stricter than narthex. It stops at the first damaged byte. Then its *repair* deletes the
//! rest of that segment and every later segment. It does not start at all if segments are missing. The rules
//! in this module are those of Prometheus 3.5 (`wlog.Segments`, `wlog.LastCheckpoint`, `wlog.Reader`,
//! `WL.Repair`); 2.42 behaves the same. `tests/prometheus_opens_logs.rs` of this workspace compares each rule
//! with the real agent and the real server.
//!
//! The rules for names are in `folder`, those for bytes in `strict`.

mod folder;
pub(crate) mod strict;

pub use folder::Misnamed;
pub(crate) use folder::misnamed;

use crate::error::WalError;
use crate::fs::Filesystem;
use crate::log::LogFile;
use crate::record::RecordType;
use folder::Folder;
use std::path::{Path, PathBuf};

/// What Prometheus does with a log when it starts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Opening {
    /// It reads the log and does not change it.
    #[default]
    Opens,
    /// It starts after it deleted everything beyond this offset: the rest of the file and all later segments.
    Deletes {
        /// The file in which it stops reading.
        file: PathBuf,
        /// The byte up to which it can read.
        offset: u64,
    },
    /// It does not start.
    Fails {
        reason: String,
        /// Whether it deletes segments before it fails.
        deletes: bool,
    },
}

impl Opening {
    /// Returns true if Prometheus starts, even if it deletes a part of the log.
    pub fn starts(&self) -> bool {
        !matches!(self, Opening::Fails { .. })
    }
}

/// The mode in which Prometheus runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    /// `prometheus --agent`.
    Agent,
    /// Prometheus without `--agent`.
    Server,
}

impl Program {
    /// Returns true if the program stops at records of this type, even if they are well-formed.
    pub(crate) fn refuses(self, kind: Option<RecordType>) -> bool {
        use RecordType as T;
        match (self, kind) {
            (Program::Server, _) => false,
            (Program::Agent, None | Some(T::MmapMarkers | T::Metadata | T::MinValidTime)) => true,
            (Program::Agent, Some(kind)) => {
                matches!(kind, T::SamplesWithStart | T::HistogramsWithStart | T::FloatHistogramsWithStart)
            }
        }
    }

    /// Returns true if the program decodes records of this type, so that it stops at malformed ones.
    fn decodes(self, kind: RecordType) -> bool {
        use RecordType as T;
        match kind {
            T::Series | T::Samples => true,
            T::Histograms | T::FloatHistograms | T::CustomHistograms | T::CustomFloatHistograms => true,
            T::Tombstones | T::Exemplars | T::Metadata => self == Program::Server,
            _ => false,
        }
    }
}

/// Returns what `program` does with the log in `dir`. Only `suspects` are read again: the files with damage,
/// and those with records that `program` refuses. No other file can stop Prometheus, because every other byte
/// that stops it is damage for narthex too.
pub(crate) fn opening<'a>(
    fs: &dyn Filesystem,
    dir: &Path,
    suspects: impl Iterator<Item = &'a LogFile>,
    program: Program,
) -> Result<Opening, WalError> {
    let folder = Folder::read(fs, dir)?;
    if let Some(reason) = folder.obstacle(fs)? {
        return Ok(Opening::Fails { reason, deletes: false });
    }
    let mut stop = None;
    for file in suspects.filter(|file| folder.reads(file)) {
        let opened = fs.open(&file.path(), false).map_err(WalError::io("open", &file.path()))?;
        if let Some(offset) = strict::first_stop(&*opened, program) {
            stop = Some((file, offset));
            break;
        }
    }
    let subfolder = folder.first_subfolder();
    let before =
        |number: i64| stop.is_none_or(|(file, _)| file.checkpoint.is_none() && number <= file.segment as i64);
    if let Some((number, path)) = subfolder.filter(|(number, _)| before(*number)) {
        return folder.opening_at_subfolder(fs, number, path);
    }
    Ok(match stop {
        None => Opening::Opens,
        // Prometheus mistakes the number of the checkpoint's file for that of a segment. It deletes the
        // segments above that number, and then fails because there is no such segment.
        Some((file, _)) if file.checkpoint.is_some() && !folder.has(file.segment) => {
            Opening::Fails { reason: format!("{} is damaged", file.path().display()), deletes: true }
        }
        Some((file, offset)) => Opening::Deletes { file: file.path(), offset },
    })
}

#[cfg(test)]
mod tests;
