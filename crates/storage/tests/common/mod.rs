//! Helpers of the storage's tests.
#![allow(dead_code, clippy::unwrap_used, clippy::indexing_slicing, unreachable_pub)] // Each test uses a part of this module.

use model::{Batch, Clock, Labels, Series, SystemClock, Value};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;
use storage::{Follower, NO_SERIES, Options, Storage};
use wal::{Filesystem, Position, RealFilesystem};

/// A delivered point: its position, series, timestamp, and the bits of its value.
pub type Seen = (Position, String, i64, String);

pub fn options(dir: &Path) -> Options {
    Options { reserve_bytes: 64 << 10, ..Options::new(dir) }
}

pub fn open(options: Options) -> Storage {
    let storage = open_on(Arc::new(RealFilesystem), options);
    storage.begin_truncating();
    storage
}

/// Opens the storage without allowing truncation, so that a test can set a pin first.
pub fn open_on(fs: Arc<dyn Filesystem>, options: Options) -> Storage {
    Storage::open(fs, Arc::new(SystemClock::new()), options).unwrap().0
}

/// A batch with one float sample for each of these series.
pub fn floats(series: impl IntoIterator<Item = u32>, timestamp: i64, value: f64) -> Batch {
    let mut batch = Batch::new();
    for number in series {
        let number = number.to_string();
        let labels = Labels::from_pairs([("__name__", "m"), ("n", number.as_str())]);
        let series = batch.add_series(labels.as_ref(), Series::NO_METADATA);
        batch.push_float(series, timestamp, value);
    }
    batch
}

/// Reads everything from the follower's position to the durable end.
pub async fn drain(storage: &Storage, follower: &mut Follower) -> Vec<Seen> {
    let (from, end) = (follower.position(), storage.end());
    let mut seen = Vec::new();
    while follower.position() < end {
        // An empty segment may follow the last chunk. Then the follower waits at the end.
        let next = tokio::time::timeout(std::time::Duration::from_millis(2), follower.next());
        let Ok(chunk) = next.await else { continue };
        // After an error of the disk, the next call tries again.
        let chunk = match chunk {
            Err(storage::ReadError::Wal(_)) => continue,
            chunk => chunk.unwrap(),
        };
        for index in chunk.first_point_from(from)..chunk.points().len() as u32 {
            let point = chunk.points()[index as usize];
            let value = match point.value {
                Value::Float(value) => format!("{value}"),
                Value::Histogram(h) => format!("{:?}", chunk.batch.histograms[h as usize]),
                Value::Exemplar(e) => {
                    let exemplar = chunk.batch.exemplars[e as usize];
                    format!("{} {:?}", exemplar.value, chunk.batch.slice(exemplar.labels))
                }
            };
            let series = if point.series == NO_SERIES {
                "?".to_string()
            } else {
                chunk.batch.labels(point.series).to_string()
            };
            let stamped = format!("{value} from {}", point.start_timestamp);
            seen.push((chunk.position(index), series, point.timestamp, stamped));
        }
    }
    seen
}

/// A clock that moves only when a test moves it.
#[derive(Debug)]
pub struct TestClock {
    wall: AtomicI64,
    monotonic: AtomicU64,
}

impl TestClock {
    pub fn new() -> Arc<Self> {
        Arc::new(TestClock { wall: AtomicI64::new(1_800_000_000_000), monotonic: AtomicU64::new(1_000_000) })
    }

    /// Advances the monotonic clock.
    pub fn pass(&self, time: Duration) {
        self.set_back(-(time.as_millis() as i64));
        self.monotonic.fetch_add(time.as_millis() as u64, Ordering::SeqCst);
    }

    /// Sets the wall clock back, or forward.
    pub fn set_back(&self, by_ms: i64) {
        self.wall.fetch_sub(by_ms, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now_ms(&self) -> i64 {
        self.wall.load(Ordering::SeqCst)
    }
    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.monotonic.load(Ordering::SeqCst))
    }
}
