//! The settings of the log and their defaults.

use std::path::PathBuf;
use std::time::Duration;
use wal::{Aside, Compression, Durability};

/// What to do when the log's budget is used up by samples that a destination has not acknowledged yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenFull {
    /// Delete the oldest segment, and count what each destination loses.
    #[default]
    DropOldest,
    /// Refuse pushes until a destination has freed space.
    Refuse,
}

#[derive(Debug, Clone)]
pub struct Options {
    /// The data folder. The log is in its subfolder `wal`.
    pub dir: PathBuf,
    pub compression: Compression,
    /// What must have happened before a batch is acknowledged.
    pub durability: Durability,
    /// Budget of the log in bytes.
    pub max_size: u64,
    /// Segments that were closed longer ago than this, in running time, are deleted. `None` means no limit.
    pub max_age: Option<Duration>,
    /// What happens at `max_size`.
    pub when_full: WhenFull,
    /// Limit on the bytes of committed batches in memory, for destinations that keep up.
    pub tail_bytes: usize,
    /// Limit on the bytes of batches that wait for the commit. Further batches get
    /// [`crate::AppendError::Busy`]. The limit is above what the intake admits, so that requests wait in the
    /// intake.
    pub waiting_bytes: usize,
    /// Limit on the bytes of batches that are committed as one group.
    pub group_bytes: usize,
    /// Limit on the series in the registry: those of the current segment and the one before it.
    pub max_series: usize,
    /// Limit on the bytes of quarantined files, in addition to the budget. At most a quarter of
    /// [`Options::max_size`], or a single file that is larger.
    pub damaged_bytes: u64,
    /// Bytes of the file that is deleted when the disk is full, so that delivery can continue to write.
    pub reserve_bytes: u64,
}

impl Options {
    /// A segment is closed when it reaches this size. The size is larger with many series and smaller with a
    /// small budget: see `segment_limit`.
    pub const SEGMENT_BYTES: u64 = 128 << 20;
    /// The smallest accepted budget.
    pub const MIN_SIZE: u64 = 8 << 20;

    /// Returns the defaults for the data folder `dir`.
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

    /// The folder for quarantined files.
    pub(crate) fn aside(&self) -> Aside {
        Aside::new(self.dir.join("damaged"), self.damaged_bytes.min(self.max_size / 4))
    }

    /// Returns the size at which a segment with this many bytes of series records is closed. Each segment
    /// repeats the series that it has samples of. So with many series, segments must be large to keep that
    /// overhead small. They must also be small compared with the budget, because space is freed by whole
    /// segments.
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
    fn segments_grow_with_series_within_an_eighth_of_the_budget() {
        let options = Options::new("x");
        assert_eq!(options.segment_limit(0), 128 << 20);
        assert_eq!(options.segment_limit(30 << 20), 300 << 20);
        assert_eq!(options.segment_limit(1 << 40), 1280 << 20);
        let small = Options { max_size: 16 << 20, ..options };
        assert_eq!(small.segment_limit(0), 2 << 20);
    }
}
