//! Statistics of the log, which can be read without locking.

pub use model::Counter;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    pub fn set(&self, to: u64) {
        self.0.store(to as i64, Ordering::Relaxed);
    }
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed).max(0) as u64
    }
}

/// Upper bounds of [`Stats::fsync`]'s buckets, in microseconds.
pub const FSYNC_BUCKETS_US: [u64; 10] = [50, 100, 250, 500, 1_000, 2_500, 10_000, 50_000, 250_000, 1_000_000];

/// A histogram of durations.
#[derive(Debug, Default)]
pub struct Durations {
    /// Counts per bucket, not cumulative. The last bucket is for all longer durations.
    pub buckets: [Counter; FSYNC_BUCKETS_US.len() + 1],
    /// Sum in nanoseconds.
    pub sum_ns: Counter,
}

impl Durations {
    pub fn observe(&self, duration: Duration) {
        let micros = duration.as_micros() as u64;
        let bucket = FSYNC_BUCKETS_US.partition_point(|bound| *bound < micros);
        if let Some(bucket) = self.buckets.get(bucket) {
            bucket.add(1);
        }
        self.sum_ns.add(duration.as_nanos() as u64);
    }
}

/// Statistics of the log.
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
    /// Batches refused for any reason.
    pub refused: Counter,
    /// Commits: groups of batches that were written and synced together.
    pub commits: Counter,
    /// Commits that failed.
    pub commits_failed: Counter,
    /// Series in the registry.
    pub series: Gauge,
    /// Series that got a new reference.
    pub series_created: Counter,
    /// Bytes of memory that the registry uses.
    pub registry_bytes: Gauge,
    /// Bytes of all segments on disk.
    pub log_bytes: Gauge,
    /// Bytes written to the log.
    pub bytes_written: Counter,
    /// Number of times that a page (32 KiB) of the log was written to.
    pub page_flushes: Counter,
    /// Pages of the log that were filled.
    pub pages_completed: Counter,
    /// Fragments of records framed for the log.
    pub record_parts: Gauge,
    /// Bytes of these fragments, headers included.
    pub record_bytes: Gauge,
    /// Bytes that compression saved in the log.
    pub record_bytes_saved: Gauge,
    /// Number of the oldest segment.
    pub oldest_segment: Gauge,
    /// Number of the segment that is being written.
    pub segment: Gauge,
    /// Durations of commits: writing and syncing the journals and the log.
    pub fsync: Durations,
    /// Segments deleted because all destinations had acknowledged them.
    pub segments_truncated: Counter,
    /// Segments deleted because of the budget or their age, delivered or not.
    pub segments_dropped: Counter,
    /// Sweeps of the retention thread.
    pub sweeps: Counter,
    /// Sweeps that failed to delete segments.
    pub truncations_failed: Counter,
    /// 1 while appends are refused because the disk is full.
    pub disk_full: Gauge,
    /// 1 while appends are refused because the log's budget is used up.
    pub budget_full: Gauge,
    /// Bytes of batches that wait for the committer.
    pub waiting_bytes: Gauge,
    /// Reads of the log that failed. They are retried.
    pub reads_failed: Counter,
    /// Damaged ranges of the log, of the journals and of the state file.
    pub damages: Counter,
    /// The part of `damages` that was a torn end, which a start cut off: for example after a kill in the
    /// middle of a write. Nothing in a torn end was acknowledged.
    pub torn_ends: Counter,
    /// Bytes of all damaged ranges.
    pub damaged_bytes: Counter,
    /// Points read from disk whose series record could not be read.
    pub points_without_series: Counter,
    /// Records that followers read from disk.
    pub records_read: Counter,
    /// Metric families with known metadata.
    pub metadata: Gauge,
}

impl Stats {
    /// Returns true if appends are refused because the disk or the budget is full.
    pub fn is_full(&self) -> bool {
        self.disk_full.get() > 0 || self.budget_full.get() > 0
    }
}
