//! The series that each scrape reports of itself. They have the labels of the target only, and no rules apply to them.

use model::labels::METRIC_NAME;
use model::{Batch, Labels, LabelsRef, Series, stale};
use std::time::Duration;
use storage::registry::Hasher;

/// The numbers of a scrape.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Report {
    pub up: bool,
    pub duration: Duration,
    pub scraped: u64,
    pub kept: u64,
    pub added: u64,
    /// Bytes of the page, uncompressed; -1 if it was too large.
    pub body_bytes: i64,
}

/// What only extra metrics tell.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Extra {
    pub timeout: Duration,
    pub sample_limit: u64,
}

const NAMES: [&str; 8] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
    "scrape_timeout_seconds",
    "scrape_sample_limit",
    "scrape_body_size_bytes",
];
/// The first of the names that only extra metrics have.
const EXTRA: usize = 5;

/// The series of one target's reports.
#[derive(Debug)]
pub struct ReportSeries {
    series: Vec<(Labels, u128)>,
    extra: Option<Extra>,
}

impl ReportSeries {
    pub fn new(target: &Labels, extra: Option<Extra>, hasher: &Hasher) -> Self {
        let count = if extra.is_some() { NAMES.len() } else { EXTRA };
        let own: Vec<_> = target.as_ref().iter().collect();
        let series = NAMES.iter().take(count).map(|name| {
            let pairs = own.iter().map(|(name, value)| (name.as_ref(), value.as_ref()));
            let labels = Labels::from_pairs(pairs.chain([(METRIC_NAME, *name)]));
            let hash = hasher.hash(labels.as_ref().as_bytes());
            (labels, hash)
        });
        ReportSeries { series: series.collect(), extra }
    }

    /// Adds the report of a scrape.
    pub fn push(&self, report: &Report, timestamp: i64, batch: &mut Batch) {
        let extra = self.extra.map_or([0.0; 3], |extra| {
            [extra.timeout.as_secs_f64(), extra.sample_limit as f64, report.body_bytes as f64]
        });
        let [timeout, limit, body] = extra;
        let values = [
            if report.up { 1.0 } else { 0.0 },
            report.duration.as_secs_f64(),
            report.scraped as f64,
            report.kept as f64,
            report.added as f64,
            timeout,
            limit,
            body,
        ];
        self.add(&values, timestamp, batch);
    }

    /// Adds the markers of the reports of a target that is gone.
    pub fn push_markers(&self, timestamp: i64, batch: &mut Batch) {
        self.add(&[stale::stale_nan(); NAMES.len()], timestamp, batch);
    }

    fn add(&self, values: &[f64], timestamp: i64, batch: &mut Batch) {
        for ((labels, hash), value) in self.series.iter().zip(values) {
            let series =
                batch.add_series(LabelsRef::trusted(labels.as_ref().as_bytes()), Series::NO_METADATA);
            batch.hashes.push(*hash);
            batch.push_float(series, timestamp, *value);
        }
    }
}
