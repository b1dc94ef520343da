//! Repair: makes a damaged log whole again for readers that give up at damage, as Prometheus does.
//!
//! Segments that are missing get an empty file, or an empty checkpoint if they are in front of the first one.
//! What Prometheus takes for a segment by mistake gets another name.
//!
//! A damaged file is set aside as `NNNNNNNN.damaged`; in its place comes a copy in which every damaged
//! stretch is filled. What can be read stays at its place, byte for byte, so that positions in the log stay
//! true. The filling is a record of tombstones of series 0, which there is not: every Prometheus reads it
//! and does nothing.

use crate::dir;
use crate::error::{Damage, DamageKind, WalError};
use crate::fs::{File, Filesystem};
use crate::log::{self, LogFile, LogSource, ProgressFn, ToolError};
use crate::opening::Misnamed;
use crate::page::{FragmentType, HEADER_BYTES, Header, PAGE_BYTES};
use crate::record::RecordType;
use crate::verify::{Missing, VerifyReport, verify};
use crate::{Compression, SegmentReader, record};
use std::path::{Path, PathBuf};

/// How often a copy is filled and read again before giving up.
const ROUNDS: u32 = 8;

/// A file that was repaired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repaired {
    /// The file.
    pub file: PathBuf,
    /// Where the damaged one is now.
    pub set_aside: PathBuf,
    /// What was damaged and is filled or cut now.
    pub damage: Vec<Damage>,
    /// Bytes of whole records that had to go too, since nothing fits into so small a gap.
    pub sacrificed_bytes: u64,
    /// Bytes that were cut since they are behind the end of a segment that was closed by a failure.
    pub cut_bytes: u64,
}

/// What [`repair`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepairReport {
    /// The files that were damaged.
    pub repaired: Vec<Repaired>,
    /// Files and folders with a name that Prometheus takes for a segment or a checkpoint, and their new name.
    pub renamed: Vec<(Misnamed, PathBuf)>,
    /// Segments that were missing and are there now, empty.
    pub filled: Vec<PathBuf>,
    /// The empty checkpoint that was made for the segments that are missing in front of the first one.
    pub checkpoint: Option<u64>,
    /// What [`verify`] says of the log now; nothing where nothing had to be repaired.
    pub verified: Option<VerifyReport>,
}

/// Repairs a log. Nobody may be writing it. A crash at any moment leaves the damaged file, or the repaired
/// one, under its name.
pub fn repair<'a>(
    fs: &dyn Filesystem,
    log: impl Into<LogSource<'a>>,
    progress: ProgressFn<'_>,
) -> Result<RepairReport, ToolError> {
    let log = log.into();
    let found = verify(fs, log, progress)?;
    let dir = log::find(fs, log.dir)?;
    check_missing(fs, &dir, &found.missing)?;
    let mut report = RepairReport::default();
    for misnamed in &found.misnamed {
        report.renamed.push((misnamed.clone(), rename(fs, &misnamed.path)?));
    }
    for file in &found.files {
        let path = file.path();
        let damage: Vec<Damage> = found.damage.iter().filter(|damage| damage.file == path).cloned().collect();
        if !damage.is_empty() || file.end.is_some() {
            report.repaired.push(repair_file(fs, file, damage)?);
        }
    }
    fill_missing(fs, &dir, &found.missing, &mut report)?;
    if report != RepairReport::default() {
        report.verified = Some(verify(fs, log, progress)?);
    }
    Ok(report)
}

/// Fails where there are too many segments to replace, before anything is changed.
fn check_missing(fs: &dyn Filesystem, dir: &Path, missing: &[Missing]) -> Result<(), ToolError> {
    let listing = dir::list(fs, dir)?;
    // An empty checkpoint stands for any number of segments in front of the first one.
    let by_checkpoint = listing.checkpoints.last().is_none_or(|newest| newest.bytes == 0);
    let first = listing.segments.first().map_or(0, |segment| segment.number);
    let is_leading = |missing: &Missing| missing.dir == *dir && missing.numbers.end == first;
    let to_fill = || missing.iter().filter(|missing| !(by_checkpoint && is_leading(missing)));
    let count = |missing: &Missing| missing.numbers.end.saturating_sub(missing.numbers.start);
    match to_fill().max_by_key(|missing| count(missing)) {
        Some(largest) if to_fill().map(count).sum::<u64>() > dir::MAX_FILLED => {
            Err(ToolError::TooManyMissing { dir: largest.dir.clone(), numbers: largest.numbers.clone() })
        }
        _ => Ok(()),
    }
}

fn fill_missing(
    fs: &dyn Filesystem,
    dir: &Path,
    missing: &[Missing],
    report: &mut RepairReport,
) -> Result<(), ToolError> {
    for missing in missing.iter().filter(|missing| missing.dir != *dir) {
        let filled = dir::fill(fs, &missing.dir, &[], missing.numbers.clone())?;
        report.filled.extend(filled.into_iter().map(|number| dir::segment_path(&missing.dir, number)));
    }
    if missing.iter().any(|missing| missing.dir == *dir) {
        let listing = dir::list(fs, dir)?;
        let last = listing.segments.last().map_or(0, |segment| segment.number);
        let closed = dir::close_gaps(fs, dir, &listing, last)?;
        report.filled.extend(closed.filled.into_iter().map(|number| dir::segment_path(dir, number)));
        report.checkpoint = closed.checkpoint;
    }
    Ok(())
}

/// Gives a file or folder a name that Prometheus ignores; says which.
fn rename(fs: &dyn Filesystem, path: &Path) -> Result<PathBuf, WalError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let to = free_name(fs, &path.with_file_name(format!("misnamed-{name}")))?;
    fs.rename(path, &to).map_err(WalError::io("rename", path))?;
    if let Some(dir) = path.parent() {
        fs.sync_dir(dir).map_err(WalError::io("sync", dir))?;
    }
    Ok(to)
}

fn repair_file(fs: &dyn Filesystem, file: &LogFile, damage: Vec<Damage>) -> Result<Repaired, ToolError> {
    let path = file.path();
    let set_aside = free_name(fs, &path.with_extension("damaged"))?;
    copy(fs, &path, &set_aside)?;
    let patched = free_name(fs, &path.with_extension("repair"))?;
    let whole = copy(fs, &path, &patched)?;
    let copy = fs.open(&patched, true).map_err(WalError::io("open", &patched))?;
    let length = file.end.map_or(whole, |end| end.min(whole));
    copy.set_len(length).map_err(WalError::io("cut", &patched))?;
    let (mut left, mut sacrificed_bytes) = (damage.clone(), 0);
    // Where a whole record had to go, a part of another may have gone with it, hence the rounds.
    for _ in 0..ROUNDS {
        for damage in &left {
            let end = (damage.offset + damage.bytes).min(length);
            sacrificed_bytes +=
                fill(&*copy, damage.offset, end, length).map_err(WalError::io("write", &patched))?;
        }
        left = damage_of(fs, &patched, file.segment)?;
        if left.is_empty() {
            break;
        }
    }
    if let Some(damage) = left.into_iter().next() {
        return Err(ToolError::StillDamaged { file: path, damage });
    }
    copy.sync_data().map_err(WalError::io("sync", &patched))?;
    drop(copy);
    fs.rename(&patched, &path).map_err(WalError::io("rename", &patched))?;
    fs.sync_dir(&file.dir).map_err(WalError::io("sync", &file.dir))?;
    Ok(Repaired { file: path, set_aside, damage, sacrificed_bytes, cut_bytes: whole - length })
}

/// `wanted`, with a number behind it if there is something of that name.
fn free_name(fs: &dyn Filesystem, wanted: &Path) -> Result<PathBuf, WalError> {
    let mut name = wanted.to_path_buf();
    for number in 1.. {
        if fs.metadata(&name).map_err(WalError::io("look at", &name))?.is_none() {
            break;
        }
        let mut numbered = wanted.as_os_str().to_owned();
        numbered.push(format!(".{number}"));
        name = numbered.into();
    }
    Ok(name)
}

/// Copies a file, durably. What cannot be read becomes zeros.
fn copy(fs: &dyn Filesystem, from: &Path, to: &Path) -> Result<u64, WalError> {
    let source = fs.open(from, false).map_err(WalError::io("open", from))?;
    let target = fs.create_new(to).map_err(WalError::io("create", to))?;
    let length = source.len().map_err(WalError::io("look at", from))?;
    let mut page = vec![0; PAGE_BYTES];
    for offset in (0..length).step_by(PAGE_BYTES) {
        let wanted = (length - offset).min(PAGE_BYTES as u64) as usize;
        let page = page.get_mut(..wanted).unwrap_or_default();
        if source.read_full_at(page, offset).is_err() {
            page.fill(0);
        }
        target.write_all_at(page, offset).map_err(WalError::io("write", to))?;
    }
    target.sync_data().map_err(WalError::io("sync", to))?;
    if let Some(dir) = to.parent() {
        fs.sync_dir(dir).map_err(WalError::io("sync", dir))?;
    }
    Ok(length)
}

/// Fills a damaged stretch page by page, or cuts it where nothing follows; says how many bytes behind it
/// had to go too.
fn fill(file: &dyn File, from: u64, to: u64, length: u64) -> std::io::Result<u64> {
    if to >= length {
        file.set_len(from)?;
        return Ok(0);
    }
    let (mut at, mut sacrificed) = (from, 0);
    while at < to {
        let page_end = (at / PAGE_BYTES as u64 + 1) * PAGE_BYTES as u64;
        let end = to.min(page_end);
        match filler((end - at) as usize) {
            Some(filler) => file.write_all_at(&filler, at)?,
            // Zeros are only understood up to the page's end.
            None => {
                file.write_all_at(&vec![0; (page_end.min(length) - at) as usize], at)?;
                sacrificed += page_end.min(length) - end;
            }
        }
        at = end;
    }
    Ok(sacrificed)
}

/// A fragment of exactly `length` bytes, at most a page, that means nothing.
fn filler(length: usize) -> Option<Vec<u8>> {
    // An entry has 8 bytes of reference and two varints of 1 to 10.
    const ENTRY: std::ops::RangeInclusive<usize> = 10..=28;
    let mut left =
        length.checked_sub(HEADER_BYTES + 1).filter(|&left| left == 0 || left >= *ENTRY.start())?;
    let mut record = vec![RecordType::Tombstones as u8];
    while left > 0 {
        let entry = match left {
            entry if ENTRY.contains(&entry) => entry,
            // So that at least a smallest entry is left.
            more => (*ENTRY.end()).min(more - *ENTRY.start()),
        };
        record.extend_from_slice(&[0; 8]);
        for bytes in [(entry - 8) / 2, (entry - 8).div_ceil(2)] {
            // A zero with leading zeros.
            record.resize(record.len() + bytes - 1, 0x80);
            record.push(0);
        }
        left -= entry;
    }
    let mut fragment = Header::of(FragmentType::Full, Compression::None, &record).to_bytes().to_vec();
    fragment.append(&mut record);
    Some(fragment)
}

/// What is wrong with a segment, whatever its file is called.
fn damage_of(fs: &dyn Filesystem, path: &Path, segment: u64) -> Result<Vec<Damage>, WalError> {
    let file = fs.open(path, false).map_err(WalError::io("open", path))?;
    let mut reader = SegmentReader::new(file, path.to_path_buf(), segment, 0);
    let mut damage = Vec::new();
    while let Some(found) = reader.next()? {
        if let Err(error) = record::check(found.bytes) {
            let kind = DamageKind::Record { kind: found.kind, entry: error.entry };
            let (offset, bytes) = (found.start, found.end - found.start);
            damage.push(Damage { file: path.to_path_buf(), offset, bytes, kind });
        }
    }
    damage.append(&mut reader.take_damage());
    Ok(damage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filler_of_any_length_is_a_record_without_meaning() {
        for length in 0..=PAGE_BYTES {
            let Some(filler) = filler(length) else {
                assert!(length < 8 || (9..18).contains(&length), "{length}");
                continue;
            };
            assert_eq!(filler.len(), length);
            let entries = record::tombstones(&filler[HEADER_BYTES..]).unwrap();
            assert!(
                entries.map(Result::unwrap).all(|t| t == record::Tombstone { reference: 0, from: 0, to: 0 })
            );
        }
    }
}
