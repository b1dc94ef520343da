//! Opening an existing log: finding its end, and cutting a torn record.

use crate::aside::Aside;
use crate::dir;
use crate::error::{Damage, DamageKind, WalError};
use crate::fs::Filesystem;
use crate::page::PAGE_BYTES;
use crate::position::DurableEnd;
use crate::reader::SegmentReader;
use crate::small_file::make_folder;
use std::path::{Path, PathBuf};

/// What [`crate::Writer::open`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// Number of the new segment.
    pub segment: u64,
    /// The end of the newest existing segment, after cutting. `None` if the log was empty.
    pub end: Option<DurableEnd>,
    /// The byte from which that segment was read.
    pub scanned_from: u64,
    /// Number of records that were read.
    pub records: u64,
    /// Bytes of a torn record that were cut from its end.
    pub cut_bytes: u64,
    /// The damage found, both what was cut and what stays because complete records follow it.
    pub damage: Vec<Damage>,
    /// Where the bytes that were cut are quarantined, or why they could not be. `None` if nothing was cut, or
    /// no folder was given.
    pub cut_kept: Option<Result<PathBuf, String>>,
    /// Missing numbers for which an empty segment was created.
    pub filled: Vec<u64>,
}

pub(crate) fn recover(
    fs: &dyn Filesystem,
    dir: &Path,
    at_least: u64,
    known_end: Option<DurableEnd>,
    aside: Option<&Aside>,
) -> Result<OpenReport, WalError> {
    make_folder(fs, dir).map_err(WalError::io("create", dir))?;
    let listing = dir::list(fs, dir)?;
    let mut report = OpenReport { segment: at_least, ..OpenReport::default() };
    let after_known = known_end.map_or(0, |end| end.segment + 1);
    let after_checkpoint = listing.checkpoints.last().map_or(0, |checkpoint| checkpoint.number + 1);
    report.segment = at_least.max(after_known).max(after_checkpoint);
    match listing.segments.last() {
        None => dir::begin_at(fs, dir, report.segment)?,
        Some(newest) => {
            report.segment = report.segment.max(newest.number + 1);
            let known = known_end.filter(|end| end.segment == newest.number).map_or(0, |end| end.offset);
            find_end(fs, dir, *newest, known, aside, &mut report)?;
            report.filled = dir::close_gaps(fs, dir, &listing, report.segment)?.filled;
        }
    }
    Ok(report)
}

/// Reads the newest segment from `from` on and cuts it after its last complete record.
fn find_end(
    fs: &dyn Filesystem,
    dir: &Path,
    newest: dir::Segment,
    from: u64,
    aside: Option<&Aside>,
    report: &mut OpenReport,
) -> Result<(), WalError> {
    let path = dir::segment_path(dir, newest.number);
    let mut scan = if from > newest.bytes {
        let bytes = from - newest.bytes;
        report.damage.push(Damage {
            file: path.clone(),
            offset: newest.bytes,
            bytes,
            kind: DamageKind::Short,
        });
        Scan::read(fs, dir, newest.number, 0)?
    } else {
        Scan::read(fs, dir, newest.number, from)?
    };
    // Damage exactly at the known end may also mean that the known end is wrong. Cutting there would then
    // delete good records.
    if from > 0 && scan.damage.first().is_some_and(|damage| damage.offset == from) {
        scan = Scan::read(fs, dir, newest.number, 0)?;
    }
    let end = scan.end.min(newest.bytes);
    let torn = scan.damage.iter().any(|damage| damage.offset + damage.bytes > end);
    let file = fs.open(&path, true).map_err(WalError::io("open", &path))?;
    // A page that cannot be read now may be readable later, and may hold acknowledged samples. So it is not
    // cut.
    if torn && end < newest.bytes && !scan.hidden {
        report.cut_kept = aside.map(|aside| {
            let name = format!("{}-from-{end}", dir::name_of(&path));
            aside.copy(fs, &path, end, &name).map_err(|error| error.to_string())
        });
        file.set_len(end).map_err(WalError::io("cut", &path))?;
        report.cut_bytes = newest.bytes - end;
    } else if end < newest.bytes && !scan.hidden && (scan.records > 0 || scan.from == 0) {
        // Zeros: the file grew before a power cut, but its content was not written. After cutting, the size
        // of the file is again the end of the written data.
        file.set_len(end).map_err(WalError::io("cut", &path))?;
    }
    // Sync even if nothing was cut: the records that were read, or a cut before the program was killed, may
    // not be on disk yet.
    file.sync_data().map_err(WalError::io("sync", &path))?;
    report.end = Some(DurableEnd { segment: newest.number, offset: end });
    report.scanned_from = scan.from;
    report.records = scan.records;
    report.damage.append(&mut scan.damage);
    Ok(())
}

struct Scan {
    from: u64,
    end: u64,
    records: u64,
    /// A page after the last complete record could not be read.
    hidden: bool,
    damage: Vec<Damage>,
}

impl Scan {
    fn read(fs: &dyn Filesystem, dir: &Path, segment: u64, from: u64) -> Result<Self, WalError> {
        let mut reader = SegmentReader::open(fs, dir, segment, from)?;
        let mut scan = Scan { from, end: from, records: 0, hidden: false, damage: Vec::new() };
        while let Some(record) = reader.next_readable() {
            scan.end = record.end;
            scan.records += 1;
        }
        scan.hidden = reader.given_up().is_some_and(|page| page + PAGE_BYTES as u64 > scan.end);
        scan.damage = reader.take_damage();
        Ok(scan)
    }
}

#[cfg(test)]
mod tests;
