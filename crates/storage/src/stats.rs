//! What the log has to tell of itself, as numbers that are read without waiting.

pub use model::Counter;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Sets.
    pub fn set(&self, to: u64) {
        self.0.store(to as i64, Ordering::Relaxed);
    }
    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed).max(0) as u64
    }
}

/// Upper bounds of [`Stats::fsync`]'s buckets, in microseconds.
pub const FSYNC_BUCKETS_US: [u64; 10] = [50, 100, 250, 500, 1_000, 2_500, 10_000, 50_000, 250_000, 1_000_000];

/// How long something took: counts per bucket (the last is for all above), sum in nanoseconds.
#[derive(Debug, Default)]
pub struct Durations {
    /// Counts, not cumulative.
    pub buckets: [Counter; FSYNC_BUCKETS_US.len() + 1],
    /// Sum in nanoseconds.
    pub sum_ns: Counter,
}

impl Durations {
    /// Counts one.
    pub fn observe(&self, duration: Duration) {
        let micros = duration.as_micros() as u64;
        let bucket = FSYNC_BUCKETS_US.partition_point(|bound| *bound < micros);
        if let Some(bucket) = self.buckets.get(bucket) {
            bucket.add(1);
        }
        self.sum_ns.add(duration.as_nanos() as u64);
    }
}

/// The log's own numbers.
#[derive(Debug, Default)]
pub struct Stats {
    /// Float samples acknowledged.
    pub samples: Counter,
    /// Native histograms acknowledged.
    pub histograms: Counter,
    /// Exemplars acknowledged.
    pub exemplars: Counter,
    /// Batches acknowledged.
    pub batches: Counter,
    /// Batches refused, for whatever reason.
    pub refused: Counter,
    /// Commits (groups of batches written and synced together).
    pub commits: Counter,
    /// Commits that failed.
    pub commits_failed: Counter,
    /// Series in the registry.
    pub series: Gauge,
    /// Series that were given a reference.
    pub series_created: Counter,
    /// Bytes of the registry in memory.
    pub registry_bytes: Gauge,
    /// Bytes of all segments on disk.
    pub log_bytes: Gauge,
    /// Bytes written to the log.
    pub bytes_written: Counter,
    /// Pages (32 KiB) of the log that were written to, each time that they were.
    pub page_flushes: Counter,
    /// Pages of the log that became full.
    pub pages_completed: Counter,
    /// Fragments of records framed for the log.
    pub record_parts: Gauge,
    /// Bytes of those fragments, headers included.
    pub record_bytes: Gauge,
    /// Bytes that compression saved in the log.
    pub record_bytes_saved: Gauge,
    /// Number of the oldest segment kept.
    pub oldest_segment: Gauge,
    /// Number of the segment being written.
    pub segment: Gauge,
    /// How long fsync took.
    pub fsync: Durations,
    /// Segments removed because all had acknowledged them.
    pub segments_truncated: Counter,
    /// Segments removed by the budget or by age, whether or not they had been delivered.
    pub segments_dropped: Counter,
    /// How often retention looked.
    pub sweeps: Counter,
    /// Truncations that failed.
    pub truncations_failed: Counter,
    /// 1 while nothing is accepted because the disk is full.
    pub disk_full: Gauge,
    /// 1 while nothing is accepted because the log's budget is used up.
    pub budget_full: Gauge,
    /// Bytes of batches that wait for the committer.
    pub waiting_bytes: Gauge,
    /// Reads of the log that the disk refused; they are tried again.
    pub reads_failed: Counter,
    /// Stretches of the log, of the journals and of the state file that could not be read.
    pub damages: Counter,
    /// Of these stretches: torn ends that a start cut off, as after a kill in the middle of a write. Nothing in
    /// them was acknowledged.
    pub torn_ends: Counter,
    /// Bytes of all stretches that could not be read.
    pub damaged_bytes: Counter,
    /// Points read back whose series record could not be read.
    pub points_without_series: Counter,
    /// Records read back from the log by followers.
    pub records_read: Counter,
    /// Metadata entries known.
    pub metadata: Gauge,
}

impl Stats {
    /// Whether nothing is accepted because there is no room, for whichever reason.
    pub fn is_full(&self) -> bool {
        self.disk_full.get() > 0 || self.budget_full.get() > 0
    }
}
