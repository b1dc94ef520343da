//! State that the storage's threads and its users share.

use crate::arrivals::{Arrivals, Waiting};
use crate::damage::Damages;
use crate::metadata::MetadataStore;
use crate::options::Options;
use crate::pins::Pins;
use crate::registry::Hasher;
use crate::stats::Stats;
use crate::tail::Tail;
use model::Clock;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use wal::{Aside, DurableEnd, Filesystem};

pub(crate) struct Shared {
    pub(crate) fs: Arc<dyn Filesystem>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) options: Options,
    /// The folder of the segments.
    pub(crate) wal_dir: PathBuf,
    pub(crate) stats: Stats,
    pub(crate) tail: Tail,
    pub(crate) pins: Arc<Pins>,
    pub(crate) metadata: MetadataStore,
    pub(crate) hasher: Hasher,
    pub(crate) damages: Damages,
    /// The folder for quarantined files.
    pub(crate) aside: Aside,
    /// Bytes of batches that wait for the committer.
    pub(crate) waiting: AtomicUsize,
    /// Number of the oldest segment that readers may use.
    pub(crate) oldest: AtomicU64,
    /// The budget is used up and `log.when_full` is `refuse`.
    pub(crate) over_budget: AtomicBool,
    /// All destinations have pinned what they need, so segments may be deleted.
    pub(crate) truncating: AtomicBool,
    /// The committer has ended.
    pub(crate) closed: AtomicBool,
    /// The end of the log when it was opened. `None` if the log is new.
    pub(crate) recovered: Option<wal::Position>,
    /// Ends of segments whose file is longer.
    ends: Mutex<HashMap<u64, u64>>,
    arrivals: Mutex<Arrivals>,
}

impl Shared {
    /// `end` is where the next append begins, `recovered` the end of the log when it was opened.
    pub(crate) fn new(
        fs: Arc<dyn Filesystem>,
        clock: Arc<dyn Clock>,
        options: Options,
        end: wal::Position,
        recovered: Option<wal::Position>,
        closed: &[DurableEnd],
    ) -> Shared {
        let ends = closed.iter().map(|closed| (closed.segment, closed.offset)).collect();
        let opened = clock.monotonic();
        Shared {
            fs,
            clock,
            wal_dir: options.dir.join("wal"),
            tail: Tail::new(end, options.tail_bytes),
            stats: Stats::default(),
            pins: Arc::default(),
            metadata: MetadataStore::default(),
            hasher: Hasher::new(),
            damages: Damages::default(),
            aside: options.aside(),
            waiting: AtomicUsize::new(0),
            oldest: AtomicU64::new(end.segment),
            over_budget: AtomicBool::new(false),
            truncating: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            recovered,
            ends: Mutex::new(ends),
            arrivals: Mutex::new(Arrivals::new(opened, recovered.unwrap_or(end))),
            options,
        }
    }

    /// Stores the end of a segment that was closed after a failure.
    pub(crate) fn close_segment(&self, closed: DurableEnd) {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner).insert(closed.segment, closed.offset);
    }

    /// Records when the `points` that begin at `start` arrived.
    pub(crate) fn note_arrival(&self, start: wal::Position, arrived: Duration, points: u64) {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner).note(start, arrived, points);
    }

    /// Returns when the point at `position` arrived, by the monotonic clock.
    pub(crate) fn arrived(&self, position: wal::Position) -> Duration {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner).at(position)
    }

    /// Returns the points from `position` to the end of the log.
    pub(crate) fn waiting(&self, position: wal::Position) -> Waiting {
        let arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        arrivals.waiting(position, self.tail.end())
    }

    /// Number of points committed since the log was opened.
    pub(crate) fn committed(&self) -> u64 {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner).points()
    }

    /// Returns the end of segment `number`, if its file is known to be longer.
    pub(crate) fn end_of(&self, number: u64) -> Option<u64> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner).get(&number).copied()
    }
}
