//! Verification: finds what is damaged in a log, and what Prometheus would do with the log.

use crate::dir;
use crate::error::{Damage, DamageKind, WalError};
use crate::fs::Filesystem;
use crate::log::{self, LogFile, LogSource, ProgressFn};
use crate::opening::{self, Misnamed, Opening, Program};
use crate::record::{self, RecordType};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Largest number of references of series that are remembered. A log with more is still verified, but samples
/// of unknown series are no longer detected.
pub const MAX_REFERENCES: usize = 8 << 20;

/// Result of [`verify`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// The files in reading order.
    pub files: Vec<LogFile>,
    /// Number of complete records, by type.
    pub records: BTreeMap<RecordType, u64>,
    /// Number of their entries, by type.
    pub entries: BTreeMap<RecordType, u64>,
    /// What cannot be read: file, offset, length and cause.
    pub damage: Vec<Damage>,
    /// Segments that are missing between two others, or before the first one.
    pub missing: Vec<Missing>,
    /// Files and folders that Prometheus mistakes for a segment or a checkpoint, and that narthex does not
    /// read.
    pub misnamed: Vec<Misnamed>,
    /// Files with fillers that an earlier repair wrote, and the bytes of these fillers.
    pub filled: Vec<(PathBuf, u64)>,
    /// Files with entries of series that have no earlier series record, and the number of these entries. The
    /// series record was in damage that was repaired, or in a segment that was deleted. All readers skip such
    /// entries, and nothing can restore their series, so they do not count as damage.
    pub unknown_series: Vec<(PathBuf, u64)>,
    /// Whether the log has more references than [`MAX_REFERENCES`].
    pub references_left_out: bool,
    /// What a Prometheus agent would do with the log.
    pub agent: Opening,
    /// What a Prometheus server would do with the log.
    pub server: Opening,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The folder of the log, or of a checkpoint.
    pub dir: PathBuf,
    pub numbers: Range<u64>,
}

impl VerifyReport {
    /// Returns true if nothing is wrong with the log.
    pub fn is_clean(&self) -> bool {
        self.damage.is_empty() && self.missing.is_empty() && self.misnamed.is_empty()
    }

    pub fn damaged_bytes(&self) -> u64 {
        self.damage.iter().map(|damage| damage.bytes).sum()
    }
}

/// Reads a log, checkpoint included, and decodes every record.
pub fn verify<'a>(
    fs: &dyn Filesystem,
    log: impl Into<LogSource<'a>>,
    progress: ProgressFn<'_>,
) -> Result<VerifyReport, WalError> {
    let source = log.into();
    let (files, dir) = (source.files(fs)?, log::find(fs, source.dir)?);
    let mut report = VerifyReport {
        missing: missing(fs, &dir, &files)?,
        misnamed: opening::misnamed(fs, &dir)?,
        ..VerifyReport::default()
    };
    // Files with well-formed records that an agent refuses.
    let mut refused_by_agent = BTreeSet::new();
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
        if Program::Agent.refuses(Some(record.kind)) {
            refused_by_agent.insert(file.path());
        }
        if is_filling(record.kind, record.bytes) {
            count(&mut report.filled, file, record.end - record.start);
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
            count(&mut report.unknown_series, file, unknown);
        }
        Ok::<_, WalError>(())
    })?;
    if !malformed.is_empty() {
        report.damage.append(&mut malformed);
        let number: BTreeMap<PathBuf, usize> =
            files.iter().enumerate().map(|(index, file)| (file.path(), index)).collect();
        report.damage.sort_by_key(|damage| (number.get(&damage.file).copied(), damage.offset));
    }
    let damaged: BTreeSet<PathBuf> = report.damage.iter().map(|damage| damage.file.clone()).collect();
    // Prometheus also reads the bytes after the end of a segment that was closed by a failure.
    let suspect = |file: &&LogFile| file.end.is_some() || damaged.contains(&file.path());
    report.server = opening::opening(fs, &dir, files.iter().filter(suspect), Program::Server)?;
    let suspect = |file: &&LogFile| suspect(file) || refused_by_agent.contains(&file.path());
    report.agent = opening::opening(fs, &dir, files.iter().filter(suspect), Program::Agent)?;
    report.files = files;
    Ok(report)
}

/// Returns the segments that are missing in the folder of the log and in the checkpoint that is read.
fn missing(fs: &dyn Filesystem, dir: &Path, files: &[LogFile]) -> Result<Vec<Missing>, WalError> {
    let in_dir = |dir: &Path, numbers| Missing { dir: dir.to_path_buf(), numbers };
    let mut missing = Vec::new();
    if let Some(file) = files.iter().find(|file| file.checkpoint.is_some()) {
        let segments = dir::segments(fs, &file.dir)?;
        missing.extend(dir::gaps(&segments).map(|numbers| in_dir(&file.dir, numbers)));
    }
    missing.extend(dir::missing(&dir::list(fs, dir)?).into_iter().map(|numbers| in_dir(dir, numbers)));
    Ok(missing)
}

/// Adds to the count of a file. Files are visited in order.
fn count(counts: &mut Vec<(PathBuf, u64)>, file: &LogFile, more: u64) {
    let path = file.path();
    match counts.last_mut().filter(|last| last.0 == path) {
        Some(last) => last.1 += more,
        None => counts.push((path, more)),
    }
}

/// Returns true if the record is a filler that [`crate::repair`] wrote over damage: tombstones of series 0.
fn is_filling(kind: RecordType, bytes: &[u8]) -> bool {
    let nothing = record::Tombstone { reference: 0, from: 0, to: 0 };
    kind == RecordType::Tombstones
        && record::tombstones(bytes).is_ok_and(|mut entries| entries.all(|entry| entry == Ok(nothing)))
}

/// Calls `each` for every reference in a record; the flag is true if the record names the reference's series.
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
