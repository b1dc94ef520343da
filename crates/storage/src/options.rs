//! What a user may set about the log, with the defaults.

use std::path::PathBuf;
use std::time::Duration;
use wal::{Aside, Compression, Durability};

/// What to do when the log's budget is used up by what some destination has not acknowledged yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenFull {
    /// Drop the oldest segment, and count what each destination loses by it.
    #[default]
    DropOldest,
    /// Refuse what is pushed until a destination has made room.
    Refuse,
}

/// Settings of a [`crate::Storage`].
#[derive(Debug, Clone)]
pub struct Options {
    /// The data folder. The log goes into `wal` below it.
    pub dir: PathBuf,
    /// How records are compressed.
    pub compression: Compression,
    /// What an acknowledgement promises.
    pub durability: Durability,
    /// Budget of the log in bytes.
    pub max_size: u64,
    /// Segments closed longer ago than this, in running time, are dropped. Off where absent.
    pub max_age: Option<Duration>,
    /// What gives way at `max_size`.
    pub when_full: WhenFull,
    /// Most bytes of committed batches kept in memory for destinations that keep up.
    pub tail_bytes: usize,
    /// Most bytes of batches that wait for the commit; more get [`crate::AppendError::Busy`]. More than what the
    /// intake admits, so that requests wait there.
    pub waiting_bytes: usize,
    /// Most bytes of batches that are committed as one group.
    pub group_bytes: usize,
    /// Most series in the registry: those seen in this segment and the one before it.
    pub max_series: usize,
    /// Most bytes of damaged files that are set aside, beside the budget; never more than a quarter of
    /// [`Options::max_size`], or one file.
    pub damaged_bytes: u64,
    /// Kept aside on disk and released when the disk is full, so that delivery can go on writing.
    pub reserve_bytes: u64,
}

impl Options {
    /// A segment is closed when it has reached this size; more with many series, less with a small
    /// budget: see `segment_limit`.
    pub const SEGMENT_BYTES: u64 = 128 << 20;
    /// The smallest budget that is taken seriously.
    pub const MIN_SIZE: u64 = 8 << 20;

    /// The defaults, for the data folder `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Options {
            dir: dir.into(),
            compression: Compression::Snappy,
            durability: Durability::Fsync,
            max_size: 10 << 30,
            max_age: None,
            when_full: WhenFull::DropOldest,
            tail_bytes: 32 << 20,
            waiting_bytes: 256 << 20,
            group_bytes: 8 << 20,
            max_series: 10_000_000,
            damaged_bytes: 256 << 20,
            reserve_bytes: 16 << 20,
        }
    }

    /// The folder for damaged files.
    pub(crate) fn aside(&self) -> Aside {
        Aside::new(self.dir.join("damaged"), self.damaged_bytes.min(self.max_size / 4))
    }

    /// The size at which a segment with this many bytes of series records is closed. Every segment
    /// repeats the series it has samples of, so one with many series must be large for that to stay cheap;
    /// it must also be small beside the budget, since a segment is what gets freed.
    pub(crate) fn segment_limit(&self, series_bytes: u64) -> u64 {
        Self::SEGMENT_BYTES
            .max(series_bytes.saturating_mul(10))
            .min(self.max_size / 8)
            .max(Self::MIN_SIZE / 8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_grows_with_its_series_and_never_above_an_eighth_of_the_budget() {
        let options = Options::new("x");
        assert_eq!(options.segment_limit(0), 128 << 20);
        assert_eq!(options.segment_limit(30 << 20), 300 << 20);
        assert_eq!(options.segment_limit(1 << 40), 1280 << 20);
        let small = Options { max_size: 16 << 20, ..options };
        assert_eq!(small.segment_limit(0), 2 << 20);
    }
}
