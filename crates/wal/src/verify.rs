//! Verification: exactly what of a log is damaged.

use crate::error::{Damage, DamageKind, WalError};
use crate::fs::Filesystem;
use crate::log::{self, LogFile, LogSource, ProgressFn};
use crate::record::{self, RecordType};
use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

/// The most references of series that are remembered. A log with more is read all the same, but samples of
/// unknown series are no longer noticed.
pub const MAX_REFERENCES: usize = 8 << 20;

/// What [`verify`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// The files, in the order in which they were read.
    pub files: Vec<LogFile>,
    /// Whole records, by type.
    pub records: BTreeMap<RecordType, u64>,
    /// Their entries, by type.
    pub entries: BTreeMap<RecordType, u64>,
    /// What cannot be read: file, offset, length and why.
    pub damage: Vec<Damage>,
    /// Numbers of segments that are missing.
    pub missing: Vec<std::ops::Range<u64>>,
    /// Files with entries of series that nothing before them names, and how many. What a damaged series record
    /// takes with it; at the beginning of a log that was truncated by hand, no damage.
    pub unknown_series: Vec<(PathBuf, u64)>,
    /// Whether there were more than [`MAX_REFERENCES`].
    pub references_left_out: bool,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.damage.is_empty() && self.missing.is_empty() && self.unknown_series.is_empty()
    }

    /// Bytes that cannot be read.
    pub fn damaged_bytes(&self) -> u64 {
        self.damage.iter().map(|damage| damage.bytes).sum()
    }
}

/// Reads a log, checkpoint included, and checks every record's contents.
pub fn verify<'a>(
    fs: &dyn Filesystem,
    log: impl Into<LogSource<'a>>,
    progress: ProgressFn<'_>,
) -> Result<VerifyReport, WalError> {
    let files = log.into().files(fs)?;
    let mut report = VerifyReport { missing: log::gaps(&files), ..VerifyReport::default() };
    let mut known = HashSet::new();
    let mut malformed = Vec::new();
    report.damage = log::for_each_record(fs, &files, progress, |file, record| {
        match record::check(record.bytes) {
            Ok(entries) => {
                *report.records.entry(record.kind).or_default() += 1;
                *report.entries.entry(record.kind).or_default() += u64::from(entries);
            }
            Err(error) => {
                let (offset, bytes) = (record.start, record.end - record.start);
                let kind = DamageKind::Record { kind: record.kind, entry: error.entry };
                malformed.push(Damage { file: file.path(), offset, bytes, kind });
            }
        }
        let mut unknown = 0;
        references(record.kind, record.bytes, |reference, names_it| {
            if !names_it {
                unknown += u64::from(!known.contains(&reference));
            } else if known.len() < MAX_REFERENCES {
                known.insert(reference);
            } else {
                report.references_left_out |= !known.contains(&reference);
            }
        });
        if unknown > 0 && !report.references_left_out {
            let path = file.path();
            match report.unknown_series.last_mut().filter(|last| last.0 == path) {
                Some(last) => last.1 += unknown,
                None => report.unknown_series.push((path, unknown)),
            }
        }
        Ok::<_, WalError>(())
    })?;
    if !malformed.is_empty() {
        report.damage.append(&mut malformed);
        let number: BTreeMap<PathBuf, usize> =
            files.iter().enumerate().map(|(index, file)| (file.path(), index)).collect();
        report.damage.sort_by_key(|damage| (number.get(&damage.file).copied(), damage.offset));
    }
    report.files = files;
    Ok(report)
}

/// The references in a record, and whether it names their series.
fn references(kind: RecordType, bytes: &[u8], mut each: impl FnMut(u64, bool)) {
    match kind {
        RecordType::Series => {
            record::series(bytes)
                .into_iter()
                .flatten()
                .flatten()
                .for_each(|(reference, _)| each(reference, true));
        }
        RecordType::Samples | RecordType::SamplesWithStart => {
            record::samples(bytes)
                .into_iter()
                .flatten()
                .flatten()
                .for_each(|entry| each(entry.reference, false));
        }
        RecordType::Exemplars => {
            record::exemplars(bytes)
                .into_iter()
                .flatten()
                .flatten()
                .for_each(|entry| each(entry.reference, false));
        }
        kind if kind.is_histograms() => {
            record::histograms(bytes)
                .into_iter()
                .flatten()
                .flatten()
                .for_each(|entry| each(entry.reference, false));
        }
        _ => {}
    }
}
