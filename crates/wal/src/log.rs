//! A whole log, as a tool reads it: the newest checkpoint, then the segments behind it, whatever damage
//! there is. Of Prometheus as well as of narthex.

use crate::dir::{self, Listing};
use crate::error::{Damage, WalError};
use crate::fs::Filesystem;
use crate::position::DurableEnd;
use crate::reader::{RawRecord, SegmentReader};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A file of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFile {
    /// The folder it is in: that of the log, or that of a checkpoint.
    pub dir: PathBuf,
    /// Number of the segment.
    pub segment: u64,
    /// Its size.
    pub bytes: u64,
    /// The checkpoint it is part of.
    pub checkpoint: Option<u64>,
    /// Where it ends although the file is longer: it was closed there by a failure, and what is behind was
    /// never acknowledged.
    pub end: Option<u64>,
}

impl LogFile {
    /// The file.
    pub fn path(&self) -> PathBuf {
        dir::segment_path(&self.dir, self.segment)
    }
}

/// How far a tool has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes read.
    pub done: u64,
    /// Bytes to read in all.
    pub total: u64,
}

/// What a tool calls now and then, about once a MiB.
pub type ProgressFn<'a> = &'a mut dyn FnMut(Progress);

/// The log that a tool is to read. Just a folder becomes one whose segments end where their files do.
#[derive(Debug, Clone, Copy)]
pub struct LogSource<'a> {
    /// The folder of the log, or one with the log in `wal`.
    pub dir: &'a Path,
    /// Where segments end that were closed by a failure.
    pub ends: &'a [DurableEnd],
}

impl<'a> From<&'a Path> for LogSource<'a> {
    fn from(dir: &'a Path) -> Self {
        LogSource { dir, ends: &[] }
    }
}

impl LogSource<'_> {
    /// Its files, as [`files`] lists them.
    pub fn files(self, fs: &dyn Filesystem) -> Result<Vec<LogFile>, WalError> {
        let mut files = files(fs, &find(fs, self.dir)?)?;
        for file in files.iter_mut().filter(|file| file.checkpoint.is_none()) {
            let end = self.ends.iter().find(|end| end.segment == file.segment).map(|end| end.offset);
            file.end = end.filter(|&end| end < file.bytes);
        }
        Ok(files)
    }
}

/// Why a tool stopped.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// The log cannot be read, or not be written.
    #[error(transparent)]
    Log(#[from] WalError),
    /// The output cannot be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
    /// More segments are missing than [`dir::MAX_FILLED`].
    #[error(
        "segments {} to {} are missing in {}, more than the {} that a repair replaces by empty segments: move the \
         segments that do not belong to this log out of the folder, then repair again",
        numbers.start, numbers.end.saturating_sub(1), dir.display(), dir::MAX_FILLED
    )]
    TooManyMissing {
        /// The folder.
        dir: PathBuf,
        /// The largest gap.
        numbers: Range<u64>,
    },
    /// A repaired file is still damaged.
    #[error("{} could not be repaired: {damage}", file.display())]
    StillDamaged {
        /// The file.
        file: PathBuf,
        /// The first damage that is left.
        damage: Damage,
    },
}

/// The folder of the log that a user means with `dir`: that itself, or `wal` in it, as in the data folder of
/// Prometheus or narthex.
pub fn find(fs: &dyn Filesystem, dir: &Path) -> Result<PathBuf, WalError> {
    let is_log = |listing: &Listing| !listing.segments.is_empty() || !listing.checkpoints.is_empty();
    let is_dir = |path: &Path| {
        let metadata = fs.metadata(path).map_err(WalError::io("look at", path))?;
        Ok::<_, WalError>(metadata.is_some_and(|metadata| metadata.is_dir))
    };
    if !is_dir(dir)? {
        return Err(WalError::NoFolder(dir.to_path_buf()));
    }
    for candidate in [dir.to_path_buf(), dir.join("wal")] {
        if is_dir(&candidate)? && is_log(&dir::list(fs, &candidate)?) {
            return Ok(candidate);
        }
    }
    Err(WalError::NoLog(dir.to_path_buf()))
}

/// The files of the log in `dir` in the order in which they are to be read. Segments that the checkpoint
/// stands for are left out, as Prometheus does; a checkpoint that is empty stands for nothing.
pub fn files(fs: &dyn Filesystem, dir: &Path) -> Result<Vec<LogFile>, WalError> {
    let listing = dir::list(fs, dir)?;
    let checkpoint = listing.checkpoints.iter().rfind(|checkpoint| checkpoint.bytes > 0);
    let mut files = Vec::new();
    if let Some(checkpoint) = checkpoint {
        for segment in dir::segments(fs, &checkpoint.path)? {
            files.push(LogFile {
                dir: checkpoint.path.clone(),
                segment: segment.number,
                bytes: segment.bytes,
                checkpoint: Some(checkpoint.number),
                end: None,
            });
        }
    }
    let from = checkpoint.map_or(0, |checkpoint| checkpoint.number + 1);
    let behind = listing.segments.iter().filter(|segment| segment.number >= from);
    files.extend(behind.map(|segment| LogFile {
        dir: dir.to_path_buf(),
        segment: segment.number,
        bytes: segment.bytes,
        checkpoint: None,
        end: None,
    }));
    Ok(files)
}

/// Hands each record of `files` to `visit`, in order; says what was damaged in between. A page that the disk
/// cannot read is damage too.
pub fn for_each_record<E: From<WalError>>(
    fs: &dyn Filesystem,
    files: &[LogFile],
    progress: ProgressFn<'_>,
    mut visit: impl FnMut(&LogFile, RawRecord<'_>) -> Result<(), E>,
) -> Result<Vec<Damage>, E> {
    const STEP: u64 = 1 << 20;
    let total = files.iter().map(|file| file.bytes).sum();
    let (mut before, mut next) = (0, 0);
    let mut damage = Vec::new();
    for file in files {
        let mut reader = SegmentReader::open(fs, &file.dir, file.segment, 0)?;
        reader.set_limit(file.end.unwrap_or(u64::MAX));
        loop {
            let done = before + reader.offset().min(file.bytes);
            if done >= next {
                progress(Progress { done, total });
                next = done + STEP;
            }
            match reader.next_readable() {
                Some(record) => visit(file, record)?,
                None => break,
            }
        }
        before += file.bytes;
        damage.append(&mut reader.take_damage());
    }
    progress(Progress { done: total, total });
    Ok(damage)
}
