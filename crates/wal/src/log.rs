//! Reads a whole log for a tool: the newest checkpoint, then the segments after it. Damage does not stop it.
//! Logs of Prometheus and of narthex are both supported.

use crate::dir::{self, Listing};
use crate::error::{Damage, WalError};
use crate::fs::Filesystem;
use crate::position::DurableEnd;
use crate::reader::{RawRecord, SegmentReader};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFile {
    /// The folder that contains the file: the log's, or a checkpoint's.
    pub dir: PathBuf,
    pub segment: u64,
    /// Size of the file.
    pub bytes: u64,
    /// The checkpoint that the file belongs to.
    pub checkpoint: Option<u64>,
    /// Where the segment ends if the file is longer: the segment was closed there by a failure, and the bytes
    /// after it were never acknowledged.
    pub end: Option<u64>,
}

impl LogFile {
    pub fn path(&self) -> PathBuf {
        dir::segment_path(&self.dir, self.segment)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes read.
    pub done: u64,
    /// Bytes to read in all.
    pub total: u64,
}

/// Called about once per MiB that a tool reads.
pub type ProgressFn<'a> = &'a mut dyn FnMut(Progress);

/// The log that a tool reads. Made from a folder alone, its segments end where their files end.
#[derive(Debug, Clone, Copy)]
pub struct LogSource<'a> {
    /// The folder of the log, or a folder that has the log in `wal`.
    pub dir: &'a Path,
    /// The ends of segments that were closed by a failure.
    pub ends: &'a [DurableEnd],
}

impl<'a> From<&'a Path> for LogSource<'a> {
    fn from(dir: &'a Path) -> Self {
        LogSource { dir, ends: &[] }
    }
}

impl LogSource<'_> {
    /// Lists the files of the log, as [`files`] does, and sets their ends.
    pub fn files(self, fs: &dyn Filesystem) -> Result<Vec<LogFile>, WalError> {
        let mut files = files(fs, &find(fs, self.dir)?)?;
        for file in files.iter_mut().filter(|file| file.checkpoint.is_none()) {
            let end = self.ends.iter().find(|end| end.segment == file.segment).map(|end| end.offset);
            file.end = end.filter(|&end| end < file.bytes);
        }
        Ok(files)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// The log cannot be read or written.
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
        dir: PathBuf,
        /// The largest gap.
        numbers: Range<u64>,
    },
    /// A file is still damaged after the repair.
    #[error("{} could not be repaired: {damage}", file.display())]
    StillDamaged {
        file: PathBuf,
        /// The first remaining damage.
        damage: Damage,
    },
}

/// Finds the log that a user means by `dir`: `dir` itself, or its subfolder `wal`, as in a data folder of
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

/// Lists the files of the log in `dir` in reading order. Segments that the newest checkpoint replaces are
/// left out, as Prometheus does. An empty checkpoint replaces none.
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

/// Calls `visit` for each record of `files`, in order, and returns the damage. A page that the disk cannot
/// read counts as damage.
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
