//! Opening a log again: finding its end, and cutting what was torn.

use crate::aside::Aside;
use crate::dir;
use crate::error::{Damage, DamageKind, WalError};
use crate::fs::Filesystem;
use crate::page::PAGE_BYTES;
use crate::position::DurableEnd;
use crate::reader::SegmentReader;
use crate::small_file::make_folder;
use std::path::{Path, PathBuf};

/// What opening a log found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// Number of the segment that was begun.
    pub segment: u64,
    /// Where the newest segment that was there ends, after cutting; `None` in an empty log.
    pub end: Option<DurableEnd>,
    /// From which byte it was read.
    pub scanned_from: u64,
    /// How many records were read there.
    pub records: u64,
    /// How many bytes were cut from its end: a torn record.
    pub cut_bytes: u64,
    /// What was damaged: what was cut, and what stays because whole records follow it.
    pub damage: Vec<Damage>,
    /// Where what was cut is kept, or why it isn't; `None` where nothing was cut, or nothing was to be kept.
    pub cut_kept: Option<Result<PathBuf, String>>,
    /// Numbers that were missing and got empty segments.
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

/// Reads the newest segment from `from` on and cuts it behind its last whole record.
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
    // Damage right at the known end may as well mean that the known end is wrong, and then cutting there
    // would cut good records.
    if from > 0 && scan.damage.first().is_some_and(|damage| damage.offset == from) {
        scan = Scan::read(fs, dir, newest.number, 0)?;
    }
    let end = scan.end.min(newest.bytes);
    let torn = scan.damage.iter().any(|damage| damage.offset + damage.bytes > end);
    let file = fs.open(&path, true).map_err(WalError::io("open", &path))?;
    // What cannot be read now may be readable some other time, and hold what was acknowledged.
    if torn && end < newest.bytes && !scan.hidden {
        report.cut_kept = aside.map(|aside| {
            let name = format!("{}-from-{end}", dir::name_of(&path));
            aside.copy(fs, &path, end, &name).map_err(|error| error.to_string())
        });
        file.set_len(end).map_err(WalError::io("cut", &path))?;
        report.cut_bytes = newest.bytes - end;
    } else if end < newest.bytes && !scan.hidden && (scan.records > 0 || scan.from == 0) {
        // Zeros: the file grew before a power cut, and its content did not get there. The size says from here on how far
        // the segment was written.
        file.set_len(end).map_err(WalError::io("cut", &path))?;
    }
    // Also where nothing is cut: what was read, or cut before the program was killed, may not be on disk yet.
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
    /// Behind the last whole record there is a page that could not be read.
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
