//! The folder of a log: which segments there are, and truncation.
//!
//! ```text
//! wal/
//!   checkpoint.00000002/    what is still needed of the segments up to 2; itself a log
//!   00000003                segments, without a gap
//!   00000004
//! ```
//!
//! Segments of narthex need no checkpoint: each repeats the series that its samples refer to. But
//! Prometheus does not start on a log whose first segment is above 0 unless there is a checkpoint for the
//! segments before it, so truncation leaves an empty one. It does not start where a number is missing between
//! two segments either, so `close_gaps` puts an empty segment there.

use crate::error::WalError;
use crate::fs::Filesystem;
use crate::position::DurableEnd;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A segment of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Its number.
    pub number: u64,
    /// Its size.
    pub bytes: u64,
}

/// A checkpoint of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// It stands for the segments up to this one.
    pub number: u64,
    /// Its folder.
    pub path: PathBuf,
    /// Size of its segments; 0 for one that only fills the place.
    pub bytes: u64,
}

/// What is in the folder of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Its segments, by number.
    pub segments: Vec<Segment>,
    /// Its checkpoints, by number.
    pub checkpoints: Vec<Checkpoint>,
}

/// How the name of a checkpoint begins.
pub(crate) const CHECKPOINT: &str = "checkpoint.";

/// The most missing numbers that are filled with empty segments. More are a mistake somewhere else, such as a
/// file that was copied in from another log.
pub const MAX_FILLED: u64 = 1024;

/// The file of segment `number`.
pub fn segment_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:08}"))
}

/// What a file of a log is called where there are files of several logs: with the name of its folder in front.
pub fn name_of(path: &Path) -> String {
    let last =
        |path: Option<&Path>| path.and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    [last(path.parent()), last(Some(path))].into_iter().flatten().collect::<Vec<_>>().join("-")
}

fn checkpoint_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{CHECKPOINT}{number:08}"))
}

/// The number in a file's name, if it is that of a segment.
fn parse_number(name: &str) -> Option<u64> {
    let number = name.parse().ok().filter(|_| name.bytes().all(|byte| byte.is_ascii_digit()))?;
    (format!("{number:08}") == name).then_some(number)
}

/// What is in the folder. Other files are left alone.
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
        // Removed in between, or not what its name says.
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

/// The segments in the folder, by number.
pub fn segments(fs: &dyn Filesystem, dir: &Path) -> Result<Vec<Segment>, WalError> {
    Ok(list(fs, dir)?.segments)
}

/// What [`truncate_below`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Truncated {
    /// Segments removed.
    pub segments: u64,
    /// Bytes freed.
    pub bytes: u64,
}

/// Removes the segments below `number`, oldest first, after leaving an empty `checkpoint` for them. A crash
/// at any moment leaves a log without gaps. A checkpoint of Prometheus' own stays, since segments behind it
/// may need its series.
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
        // One that is empty has nothing to lose, so it moves along.
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

/// Cuts a segment that was closed by a failure to its stored end, if it is longer. For a start: readers stop
/// there anyway, but Prometheus does not know of it.
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

/// The numbers that have to be there so that Prometheus starts, and are not: between two segments, and between
/// the newest checkpoint (or 0) and the first segment.
pub fn missing(listing: &Listing) -> Vec<Range<u64>> {
    let Some(first) = listing.segments.first() else { return Vec::new() };
    let expected = after_checkpoint(listing);
    let leading = Some(expected..first.number).filter(|missing| !missing.is_empty());
    leading.into_iter().chain(gaps(&listing.segments)).collect()
}

/// The numbers that are missing between two segments.
pub(crate) fn gaps(segments: &[Segment]) -> impl Iterator<Item = Range<u64>> {
    let pairs = segments.iter().zip(segments.iter().skip(1));
    pairs.map(|(this, next)| this.number + 1..next.number).filter(|missing| !missing.is_empty())
}

fn after_checkpoint(listing: &Listing) -> u64 {
    listing.checkpoints.last().map_or(0, |checkpoint| checkpoint.number.saturating_add(1))
}

/// What [`close_gaps`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Closed {
    /// Numbers that were missing and have an empty segment now.
    pub(crate) filled: Vec<u64>,
    /// The empty checkpoint that was made for the segments that are missing in front of the first one.
    pub(crate) checkpoint: Option<u64>,
}

/// Makes what is missing up to `below`: empty segments in gaps, and in front of the first segment an empty
/// checkpoint. A checkpoint with contents must remain the newest one, because Prometheus reads only that; then
/// the numbers behind it get empty segments, too. Where more than [`MAX_FILLED`] segments are needed, none is made.
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

/// Makes empty segments for the numbers that are missing; says for which. Beyond [`MAX_FILLED`] none are made.
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

/// Makes an empty checkpoint for the segments before `number`, with which the log begins.
pub(crate) fn begin_at(fs: &dyn Filesystem, dir: &Path, number: u64) -> Result<(), WalError> {
    let Some(last) = number.checked_sub(1) else { return Ok(()) };
    let path = checkpoint_path(dir, last);
    fs.create_dir_all(&path).map_err(WalError::io("create", &path))?;
    fs.sync_dir(dir).map_err(WalError::io("sync", dir))
}

#[cfg(test)]
mod tests;
