//! The folder of a log: listing its segments and checkpoints, and truncation.
//!
//! ```text
//! wal/
//!   checkpoint.00000002/    what is still needed of the segments up to 2; itself a log
//!   00000003                segments, without a gap
//!   00000004
//! ```
//!
//! Segments of narthex need no checkpoint, because each segment repeats the series that its samples refer to.
//! But Prometheus does not start on a log whose first segment is above 0 unless there is a checkpoint for the
//! segments before it. So truncation leaves an empty checkpoint. Prometheus does not start either if a number
//! is missing between two segments. So `close_gaps` creates an empty segment for each missing number.

use crate::error::WalError;
use crate::fs::Filesystem;
use crate::position::DurableEnd;
use std::ops::Range;
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    pub number: u64,
    /// Size of the file.
    pub bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The checkpoint replaces the segments up to and including this number.
    pub number: u64,
    pub path: PathBuf,
    /// Total size of the checkpoint's segments. It is 0 for an empty checkpoint, which only marks deleted
    /// segments.
    pub bytes: u64,
}

/// The segments and checkpoints in the folder of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Sorted by number.
    pub segments: Vec<Segment>,
    /// Sorted by number.
    pub checkpoints: Vec<Checkpoint>,
}

/// Prefix of a checkpoint's name.
pub(crate) const CHECKPOINT: &str = "checkpoint.";

/// Largest number of missing segments that are replaced by empty ones. A larger gap has another cause, such
/// as a file that was copied in from another log.
pub const MAX_FILLED: u64 = 1024;

pub fn segment_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:08}"))
}

/// Returns a name for a file of a log that is unique among several logs: the name of its folder, a dash, and
/// its own name.
pub fn name_of(path: &Path) -> String {
    let last =
        |path: Option<&Path>| path.and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    [last(path.parent()), last(Some(path))].into_iter().flatten().collect::<Vec<_>>().join("-")
}

fn checkpoint_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{CHECKPOINT}{number:08}"))
}

/// Returns the number of the segment with this name, or `None` if it is not the name of a segment.
fn parse_number(name: &str) -> Option<u64> {
    let number = name.parse().ok().filter(|_| name.bytes().all(|byte| byte.is_ascii_digit()))?;
    (format!("{number:08}") == name).then_some(number)
}

/// Lists the segments and checkpoints in the folder. Other files are ignored.
pub fn list(fs: &dyn Filesystem, dir: &Path) -> Result<Listing, WalError> {
    let mut listing = Listing::default();
    for name in fs.read_dir(dir).map_err(WalError::io("list", dir))? {
        let Some(name) = name.to_str() else { continue };
        let path = dir.join(name);
        let (number, is_checkpoint) = match name.strip_prefix(CHECKPOINT) {
            // Old versions of Prometheus wrote fewer digits.
            Some(number) => (number.parse().ok(), true),
            None => (parse_number(name), false),
        };
        let Some(number) = number else { continue };
        let metadata = fs.metadata(&path).map_err(WalError::io("look at", &path))?;
        // The file was deleted since `read_dir`, or it is a folder named like a segment or a file named like
        // a checkpoint.
        let Some(metadata) = metadata.filter(|metadata| metadata.is_dir == is_checkpoint) else { continue };
        if is_checkpoint {
            let bytes = list(fs, &path)?.segments.iter().map(|segment| segment.bytes).sum();
            listing.checkpoints.push(Checkpoint { number, path, bytes });
        } else {
            listing.segments.push(Segment { number, bytes: metadata.len });
        }
    }
    listing.segments.sort_by_key(|segment| segment.number);
    listing.checkpoints.sort_by_key(|checkpoint| checkpoint.number);
    Ok(listing)
}

/// Lists the segments in the folder, sorted by number.
pub fn segments(fs: &dyn Filesystem, dir: &Path) -> Result<Vec<Segment>, WalError> {
    Ok(list(fs, dir)?.segments)
}

/// Result of [`truncate_below`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Truncated {
    /// Segments deleted.
    pub segments: u64,
    pub bytes: u64,
}

/// Deletes the segments below `number`, oldest first. Before that, it creates an empty checkpoint for them. A
/// crash at any moment leaves a log without gaps. A checkpoint that Prometheus wrote stays, because later
/// segments may need its series.
pub fn truncate_below(fs: &dyn Filesystem, dir: &Path, number: u64) -> Result<Truncated, WalError> {
    let listing = list(fs, dir)?;
    let mut truncated = Truncated::default();
    let Some(last) = number.checked_sub(1) else { return Ok(truncated) };
    let doomed = listing.segments.iter().filter(|segment| segment.number <= last);
    if doomed.clone().next().is_none() {
        return Ok(truncated);
    }
    let newest = listing.checkpoints.iter().map(|checkpoint| checkpoint.number).max();
    if newest.is_none_or(|newest| newest < last) {
        let path = checkpoint_path(dir, last);
        // An empty checkpoint holds no data, so it can be renamed instead of creating another one.
        match listing.checkpoints.iter().rfind(|checkpoint| is_empty_dir(fs, &checkpoint.path)) {
            Some(old) => fs.rename(&old.path, &path).map_err(WalError::io("rename", &old.path))?,
            None => fs.create_dir_all(&path).map_err(WalError::io("create", &path))?,
        }
        fs.sync_dir(dir).map_err(WalError::io("sync", dir))?;
    }
    for segment in doomed {
        let path = segment_path(dir, segment.number);
        fs.remove_file(&path).map_err(WalError::io("remove", &path))?;
        truncated.segments += 1;
        truncated.bytes += segment.bytes;
    }
    fs.sync_dir(dir).map_err(WalError::io("sync", dir))?;
    Ok(truncated)
}

fn is_empty_dir(fs: &dyn Filesystem, dir: &Path) -> bool {
    fs.read_dir(dir).is_ok_and(|names| names.is_empty())
}

/// Cuts a segment that was closed by a failure to its stored end, if the file is longer. Called at a start:
/// narthex's readers stop at the stored end anyway, but Prometheus does not know it.
pub fn cut(fs: &dyn Filesystem, dir: &Path, closed: DurableEnd) -> Result<(), WalError> {
    let path = segment_path(dir, closed.segment);
    let Some(metadata) = fs.metadata(&path).map_err(WalError::io("look at", &path))? else { return Ok(()) };
    if metadata.len > closed.offset {
        let file = fs.open(&path, true).map_err(WalError::io("open", &path))?;
        file.set_len(closed.offset).map_err(WalError::io("cut", &path))?;
        file.sync_data().map_err(WalError::io("sync", &path))?;
    }
    Ok(())
}

/// Returns the numbers of the segments that Prometheus needs in order to start and that are missing: between
/// two segments, and between the newest checkpoint (or 0) and the first segment.
pub fn missing(listing: &Listing) -> Vec<Range<u64>> {
    let Some(first) = listing.segments.first() else { return Vec::new() };
    let expected = after_checkpoint(listing);
    let leading = Some(expected..first.number).filter(|missing| !missing.is_empty());
    leading.into_iter().chain(gaps(&listing.segments)).collect()
}

/// Returns the numbers that are missing between two segments.
pub(crate) fn gaps(segments: &[Segment]) -> impl Iterator<Item = Range<u64>> {
    let pairs = segments.iter().zip(segments.iter().skip(1));
    pairs.map(|(this, next)| this.number + 1..next.number).filter(|missing| !missing.is_empty())
}

fn after_checkpoint(listing: &Listing) -> u64 {
    listing.checkpoints.last().map_or(0, |checkpoint| checkpoint.number.saturating_add(1))
}

/// Result of [`close_gaps`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Closed {
    /// Missing numbers for which an empty segment was created.
    pub(crate) filled: Vec<u64>,
    /// The empty checkpoint that was created because segments before the first one are missing.
    pub(crate) checkpoint: Option<u64>,
}

/// Creates what Prometheus needs to accept the segments below `below`: empty segments in gaps, and an empty
/// checkpoint before the first segment. If the newest checkpoint has contents, it must remain the newest,
/// because Prometheus reads only that one; the missing numbers after it get empty segments instead. If more
/// than [`MAX_FILLED`] segments are needed, none are created.
pub(crate) fn close_gaps(
    fs: &dyn Filesystem,
    dir: &Path,
    listing: &Listing,
    below: u64,
) -> Result<Closed, WalError> {
    let mut closed = Closed::default();
    let Some(first) = listing.segments.first() else { return Ok(closed) };
    let mut from = first.number;
    let expected = after_checkpoint(listing);
    if expected < first.number {
        if listing.checkpoints.last().is_some_and(|newest| newest.bytes > 0) {
            from = expected;
        } else {
            begin_at(fs, dir, first.number)?;
            closed.checkpoint = first.number.checked_sub(1);
        }
    }
    closed.filled = fill(fs, dir, &listing.segments, from..below)?;
    Ok(closed)
}

/// Creates an empty segment for each missing number and returns these numbers. If more than [`MAX_FILLED`]
/// are missing, none are created.
pub(crate) fn fill(
    fs: &dyn Filesystem,
    dir: &Path,
    segments: &[Segment],
    numbers: Range<u64>,
) -> Result<Vec<u64>, WalError> {
    let there = segments.iter().filter(|segment| numbers.contains(&segment.number)).count() as u64;
    let missing = numbers.end.saturating_sub(numbers.start).saturating_sub(there);
    if missing == 0 || missing > MAX_FILLED {
        return Ok(Vec::new());
    }
    let mut filled = Vec::new();
    for number in numbers {
        if segments.binary_search_by_key(&number, |segment| segment.number).is_err() {
            let path = segment_path(dir, number);
            fs.create_new(&path).map_err(WalError::io("create", &path))?;
            filled.push(number);
        }
    }
    fs.sync_dir(dir).map_err(WalError::io("sync", dir))?;
    Ok(filled)
}

/// Creates an empty checkpoint for the segments before `number`, the first segment of the log.
pub(crate) fn begin_at(fs: &dyn Filesystem, dir: &Path, number: u64) -> Result<(), WalError> {
    let Some(last) = number.checked_sub(1) else { return Ok(()) };
    let path = checkpoint_path(dir, last);
    fs.create_dir_all(&path).map_err(WalError::io("create", &path))?;
    fs.sync_dir(dir).map_err(WalError::io("sync", dir))
}

#[cfg(test)]
mod tests;
