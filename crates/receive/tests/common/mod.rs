//! Doors onto a storage in a folder of its own, with a clock that the test sets.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "test helpers, of which each test uses some"
)]

pub mod history;

use axum::body::Body;
use axum::response::Response;
use http::Request;
use model::{Clock, Value, is_stale};
use receive::{Doors, Options};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;
use storage::{Follower, Storage};
use tower::ServiceExt;

/// A clock that stands still until it is told otherwise.
#[derive(Debug)]
pub struct TestClock {
    wall: AtomicI64,
    monotonic: AtomicU64,
}

/// Where test clocks begin.
pub const START: i64 = 1_800_000_000_000;

impl TestClock {
    pub fn new() -> Arc<Self> {
        Arc::new(TestClock { wall: AtomicI64::new(START), monotonic: AtomicU64::new(1_000_000) })
    }

    /// Time passes.
    pub fn pass(&self, time: Duration) {
        self.step(time.as_millis() as i64);
        self.monotonic.fetch_add(time.as_millis() as u64, Ordering::SeqCst);
    }

    /// The wall clock is set.
    pub fn step(&self, by_ms: i64) {
        self.wall.fetch_add(by_ms, Ordering::SeqCst);
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

/// A sample as it came out of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    pub series: String,
    pub time: i64,
    pub value: String,
}

pub struct World {
    pub dir: Arc<tempfile::TempDir>,
    pub clock: Arc<TestClock>,
    pub storage: Storage,
    pub doors: Doors,
    follower: Follower,
}

impl World {
    pub async fn new() -> World {
        World::with(|_| {}, |_| {}).await
    }

    pub async fn with(
        set: impl FnOnce(&mut Options),
        set_storage: impl FnOnce(&mut storage::Options),
    ) -> World {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let mut options = Options::default();
        set(&mut options);
        World::open(dir, TestClock::new(), options, set_storage).await
    }

    pub async fn open(
        dir: Arc<tempfile::TempDir>,
        clock: Arc<TestClock>,
        options: Options,
        set_storage: impl FnOnce(&mut storage::Options),
    ) -> World {
        let mut storage_options = storage::Options::new(dir.path());
        storage_options.reserve_bytes = 0;
        set_storage(&mut storage_options);
        let fs = Arc::new(wal::fs::RealFilesystem);
        let (storage, _) = Storage::open(fs, clock.clone(), storage_options).unwrap();
        let follower = storage.follow(storage.end());
        let doors = Doors::open(storage.clone(), clock.clone(), options).await.unwrap();
        World { dir, clock, storage, doors, follower }
    }

    /// Stops, and starts again from what is on disk.
    pub async fn restart(self) -> World {
        let options = (*self.doors.options()).clone();
        let World { dir, clock, storage, doors, follower } = self;
        drop((doors, follower));
        let closing = storage.clone();
        tokio::task::spawn_blocking(move || closing.close()).await.unwrap();
        drop(storage);
        World::open(dir, clock, options, |_| {}).await
    }

    pub async fn request(&self, request: Request<Body>) -> Response {
        self.doors.router().oneshot(request).await.unwrap()
    }

    /// Status and text of the answer.
    pub async fn send(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let request = Request::builder().method(method).uri(path).body(Body::from(body.to_string())).unwrap();
        answer(self.request(request).await).await
    }

    pub async fn put(&self, path: &str, body: &str) -> u16 {
        self.send("PUT", path, body).await.0
    }

    pub async fn post(&self, path: &str, body: &str) -> u16 {
        self.send("POST", path, body).await.0
    }

    pub async fn delete(&self, path: &str) -> u16 {
        self.send("DELETE", path, "").await.0
    }

    /// What came into the log since this was last asked, in order.
    pub async fn lines(&mut self) -> Vec<Line> {
        let end = self.storage.end();
        let mut lines = Vec::new();
        while self.follower.position() < end {
            // Behind the last chunk there may be a segment without any, at which the follower waits.
            let next = tokio::time::timeout(Duration::from_secs(5), self.follower.next());
            let Ok(chunk) = next.await else { break };
            let chunk = chunk.unwrap();
            for point in chunk.points() {
                let value = match point.value {
                    Value::Float(value) if is_stale(value) => "stale".into(),
                    Value::Float(value) => value.to_string(),
                    Value::Histogram(index) => {
                        let histogram = &chunk.batch.histograms[index as usize];
                        if histogram.is_stale() { "stale histogram".into() } else { format!("{histogram:?}") }
                    }
                    Value::Exemplar(index) => {
                        let exemplar = chunk.batch.exemplars[index as usize];
                        let labels = model::LabelsRef::trusted(chunk.batch.slice(exemplar.labels));
                        format!("exemplar {labels} {}", exemplar.value)
                    }
                };
                let series = chunk.batch.labels(point.series).to_string();
                lines.push(Line { series, time: point.timestamp, value });
            }
        }
        lines
    }

    /// The same as sorted text, `series value +ms`, the time counted from [`START`], without push times.
    pub async fn texts(&mut self) -> Vec<String> {
        let lines = self.lines().await;
        let mut texts: Vec<String> = lines
            .iter()
            .filter(|line| !line.series.starts_with("push_"))
            .map(|line| format!("{} {} +{}", line.series, line.value, line.time - START))
            .collect();
        texts.sort();
        texts
    }
}

pub async fn answer(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    let bytes = axum::body::to_bytes(response.into_body(), 64 << 20).await.unwrap();
    (status, String::from_utf8(bytes.to_vec()).unwrap())
}
