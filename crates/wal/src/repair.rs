//! Repairs a damaged log for readers that stop at damage, such as Prometheus.
//!
//! Missing segments are replaced by empty files, or by an empty checkpoint if they are before the first
//! segment. Files that Prometheus mistakes for a segment are renamed.
//!
//! A damaged file is kept as `NNNNNNNN.damaged`. It is replaced by a copy in which each damaged range is
//! overwritten by a filler. The readable bytes stay at their offsets, so that positions in the log stay
//! valid. The filler is a record of tombstones for series 0, which does not exist: every Prometheus reads and
//! ignores it.

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

/// How many times a copy is filled and read again before the repair fails.
const ROUNDS: u32 = 8;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repaired {
    pub file: PathBuf,
    /// Where the damaged file is now.
    pub set_aside: PathBuf,
    /// The damage that was filled or cut.
    pub damage: Vec<Damage>,
    /// Bytes of complete records that were lost because no filler fits into so small a gap.
    pub sacrificed_bytes: u64,
    /// Bytes that were cut because they are after the end of a segment that was closed by a failure.
    pub cut_bytes: u64,
}

/// Result of [`repair`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepairReport {
    pub repaired: Vec<Repaired>,
    /// Files and folders whose names Prometheus misinterprets, and their new names.
    pub renamed: Vec<(Misnamed, PathBuf)>,
    /// Missing segments that were created, empty.
    pub filled: Vec<PathBuf>,
    /// The empty checkpoint that was created because segments before the first one are missing.
    pub checkpoint: Option<u64>,
    /// The result of [`verify`] after the repair. `None` if nothing had to be repaired.
    pub verified: Option<VerifyReport>,
}

/// Repairs a log. No other process may write it at the same time. A crash at any moment leaves either the
/// damaged file or the repaired one under its name.
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

/// Fails if too many segments are missing, before anything is changed.
fn check_missing(fs: &dyn Filesystem, dir: &Path, missing: &[Missing]) -> Result<(), ToolError> {
    let listing = dir::list(fs, dir)?;
    // An empty checkpoint replaces any number of segments before the first one.
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

/// Gives a file or folder a name that Prometheus ignores. Returns the new path.
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
    // Filling a small gap may overwrite a part of the next record, whose other part then has to be filled
    // too. Hence several rounds.
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

/// Returns `wanted`, with a number appended if the name is taken.
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

/// Copies a file durably. Bytes that cannot be read become zeros.
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

/// Fills a damaged range page by page, or cuts it if it ends the file. Returns the number of good bytes after
/// the range that were lost too.
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
            // Prometheus accepts zeros only if they extend to the end of the page.
            None => {
                file.write_all_at(&vec![0; (page_end.min(length) - at) as usize], at)?;
                sacrificed += page_end.min(length) - end;
            }
        }
        at = end;
    }
    Ok(sacrificed)
}

/// Returns a fragment of exactly `length` bytes, at most a page, that readers ignore. Returns `None` if no
/// fragment has this length.
fn filler(length: usize) -> Option<Vec<u8>> {
    // An entry has a reference of 8 bytes and two varints of 1 to 10 bytes each.
    const ENTRY: std::ops::RangeInclusive<usize> = 10..=28;
    let mut left =
        length.checked_sub(HEADER_BYTES + 1).filter(|&left| left == 0 || left >= *ENTRY.start())?;
    let mut record = vec![RecordType::Tombstones as u8];
    while left > 0 {
        let entry = match left {
            entry if ENTRY.contains(&entry) => entry,
            // Leave enough bytes for at least the smallest entry.
            more => (*ENTRY.end()).min(more - *ENTRY.start()),
        };
        record.extend_from_slice(&[0; 8]);
        for bytes in [(entry - 8) / 2, (entry - 8).div_ceil(2)] {
            // A varint 0 with leading zero groups.
            record.resize(record.len() + bytes - 1, 0x80);
            record.push(0);
        }
        left -= entry;
    }
    let mut fragment = Header::of(FragmentType::Full, Compression::None, &record).to_bytes().to_vec();
    fragment.append(&mut record);
    Some(fragment)
}

/// Returns the damage of a segment whose file may have another name.
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
    fn fillers_of_any_length_are_tombstones_of_series_zero() {
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
