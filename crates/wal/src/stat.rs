//! Statistics of a log: its records, entries and bytes, and its largest metrics.

use crate::error::{Damage, WalError};
use crate::fs::Filesystem;
use crate::log::{self, LogFile, LogSource, ProgressFn};
use crate::record::{self, RecordType};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Largest number of references whose metric is remembered. Samples of further references count as
/// [`StatReport::other`].
pub const MAX_REFERENCES: usize = 4 << 20;

/// Largest number of metrics that are counted separately. Samples of further metrics count as
/// [`StatReport::other`].
pub const MAX_METRICS: usize = 100_000;

/// Result of [`stat`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StatReport {
    /// The files in reading order.
    pub files: Vec<LogFile>,
    /// Total size of the files.
    pub bytes: u64,
    /// Number of records, their decompressed bytes and their entries, by type.
    pub records: BTreeMap<RecordType, RecordStat>,
    /// Number of references with a series record, up to [`MAX_REFERENCES`].
    pub references: u64,
    /// Number of different label sets, by their hash, up to [`MAX_REFERENCES`].
    pub series: u64,
    /// The earliest and latest timestamp of samples and histograms, in milliseconds since 1970.
    pub time_range: Option<(i64, i64)>,
    /// The metrics with the most samples of any kind, in descending order.
    pub top: Vec<MetricStat>,
    /// Number of metrics, up to [`MAX_METRICS`].
    pub metrics: u64,
    /// Samples whose metric is unknown, or beyond the limits.
    pub other: u64,
    /// What could not be read.
    pub damage: Vec<Damage>,
}

/// Statistics of one type of record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RecordStat {
    pub records: u64,
    /// Decompressed bytes of these records.
    pub bytes: u64,
    pub entries: u64,
}

/// Statistics of a metric.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MetricStat {
    pub name: String,
    /// Number of references with a series record.
    pub references: u64,
    /// Number of samples and histograms.
    pub samples: u64,
}

impl StatReport {
    /// Number of entries of the types for which `of` returns true.
    fn entries(&self, of: impl Fn(RecordType) -> bool) -> u64 {
        self.records.iter().filter(|(kind, _)| of(**kind)).map(|(_, stat)| stat.entries).sum()
    }

    /// Number of float samples.
    pub fn floats(&self) -> u64 {
        self.entries(|kind| matches!(kind, RecordType::Samples | RecordType::SamplesWithStart))
    }

    /// Number of native histograms.
    pub fn histograms(&self) -> u64 {
        self.entries(RecordType::is_histograms)
    }

    /// Number of exemplars.
    pub fn exemplars(&self) -> u64 {
        self.entries(|kind| kind == RecordType::Exemplars)
    }

    /// Samples and histograms per second, by their timestamps. `None` if all have the same timestamp.
    pub fn rate(&self) -> Option<f64> {
        let (from, to) = self.time_range?;
        let seconds = to.checked_sub(from).filter(|&range| range > 0)? as f64 / 1000.0;
        Some((self.floats() + self.histograms()) as f64 / seconds)
    }

    /// Bytes on disk per sample, histogram and exemplar.
    pub fn bytes_per_sample(&self) -> Option<f64> {
        let samples = self.floats() + self.histograms() + self.exemplars();
        (samples > 0).then(|| self.bytes as f64 / samples as f64)
    }
}

/// Computes the statistics of a log, checkpoint included, with the `top` largest metrics.
pub fn stat<'a>(
    fs: &dyn Filesystem,
    log: impl Into<LogSource<'a>>,
    top: usize,
    progress: ProgressFn<'_>,
) -> Result<StatReport, WalError> {
    let files = log.into().files(fs)?;
    let mut counts = Counts::default();
    let damage = log::for_each_record(fs, &files, progress, |_, record| {
        counts.add(record.kind, record.bytes);
        Ok::<_, WalError>(())
    })?;
    let Counts { mut report, mut metrics, by_reference, label_sets, .. } = counts;
    report.references = by_reference.len() as u64;
    report.series = label_sets.len() as u64;
    report.metrics = metrics.len() as u64;
    metrics.sort_by(|a, b| (b.samples, b.references, &a.name).cmp(&(a.samples, a.references, &b.name)));
    metrics.truncate(top);
    report.bytes = files.iter().map(|file| file.bytes).sum();
    Ok(StatReport { files, top: metrics, damage, ..report })
}

#[derive(Default)]
struct Counts {
    report: StatReport,
    metrics: Vec<MetricStat>,
    by_name: HashMap<String, u32>,
    by_reference: HashMap<u64, u32>,
    label_sets: HashSet<u64>,
}

impl Counts {
    fn add(&mut self, kind: RecordType, bytes: &[u8]) {
        let stat = self.report.records.entry(kind).or_default();
        stat.records += 1;
        stat.bytes += bytes.len() as u64;
        let before = stat.entries;
        let mut entries = 0;
        if let Ok(found) = record::series(bytes) {
            for (reference, labels) in found.map_while(Result::ok) {
                entries += 1;
                self.add_series(reference, labels);
            }
        } else if let Ok(found) = record::samples(bytes) {
            for entry in found.map_while(Result::ok) {
                entries += 1;
                self.add_sample(entry.reference, entry.timestamp);
            }
        } else if let Ok(found) = record::histograms(bytes) {
            for entry in found.map_while(Result::ok) {
                entries += 1;
                self.add_sample(entry.reference, entry.timestamp);
            }
        } else {
            entries = record::check(bytes).map_or(0, u64::from);
        }
        self.report.records.entry(kind).or_default().entries = before + entries;
    }

    fn add_series(&mut self, reference: u64, labels: model::LabelsRef<'_>) {
        if self.label_sets.len() < MAX_REFERENCES {
            self.label_sets.insert(xxhash_rust::xxh3::xxh3_64(labels.as_bytes()));
        }
        if self.by_reference.contains_key(&reference) || self.by_reference.len() >= MAX_REFERENCES {
            return;
        }
        let name = String::from_utf8_lossy(labels.metric_name().unwrap_or_default());
        let metric = match self.by_name.get(name.as_ref()) {
            Some(&metric) => metric,
            None if self.metrics.len() >= MAX_METRICS => return,
            None => {
                let metric = self.metrics.len() as u32;
                self.metrics.push(MetricStat { name: name.to_string(), ..MetricStat::default() });
                self.by_name.insert(name.into_owned(), metric);
                metric
            }
        };
        self.by_reference.insert(reference, metric);
        if let Some(metric) = self.metrics.get_mut(metric as usize) {
            metric.references += 1;
        }
    }

    fn add_sample(&mut self, reference: u64, timestamp: i64) {
        let range = self.report.time_range.get_or_insert((timestamp, timestamp));
        *range = (range.0.min(timestamp), range.1.max(timestamp));
        let metric =
            self.by_reference.get(&reference).and_then(|&metric| self.metrics.get_mut(metric as usize));
        match metric {
            Some(metric) => metric.samples += 1,
            None => self.report.other += 1,
        }
    }
}
