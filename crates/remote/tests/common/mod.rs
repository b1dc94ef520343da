//! A log, a receiver, and destinations between them.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    dead_code,
    unreachable_pub,
    reason = "helper functions of tests; no test file uses all of them"
)]

pub mod network;

use model::{Batch, Clock, Labels, Series, SystemClock};
use remote::{Destination, RemoteWrite, State, Stats, Url};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use storage::{Options, Storage};
use support::FakeReceiver;
use support::receiver::Tally;
use tokio::runtime::Runtime;
use wal::RealFilesystem;
use wal::sim::SimFilesystem;

/// The machine's clock, which a test can move forward.
#[derive(Debug)]
pub struct JumpingClock {
    real: SystemClock,
    jumped_ms: AtomicU64,
}

impl JumpingClock {
    pub fn new(real: SystemClock) -> JumpingClock {
        JumpingClock { real, jumped_ms: AtomicU64::new(0) }
    }

    pub fn jump(&self, by: Duration) {
        self.jumped_ms.fetch_add(by.as_millis() as u64, Ordering::SeqCst);
    }
}

impl Clock for JumpingClock {
    fn now_ms(&self) -> i64 {
        self.real.now_ms() + self.jumped_ms.load(Ordering::SeqCst) as i64
    }
    fn monotonic(&self) -> Duration {
        self.real.monotonic() + Duration::from_millis(self.jumped_ms.load(Ordering::SeqCst))
    }
}

pub struct World {
    pub runtime: Runtime,
    pub clock: Arc<JumpingClock>,
    pub storage: Option<Storage>,
    pub receiver: FakeReceiver,
    pub expected: Mutex<BTreeMap<support::Labels, Vec<i64>>>,
    pub options: Options,
    pub dir: tempfile::TempDir,
    time: AtomicU64,
}

pub const EPOCH_MS: u64 = 1_700_000_000_000;

impl World {
    pub fn new() -> World {
        Self::with(|_| {})
    }

    pub fn with(options: impl FnOnce(&mut Options)) -> World {
        let dir = tempfile::tempdir().unwrap();
        let mut own = Options::new(dir.path());
        own.reserve_bytes = 0;
        own.durability = wal::Durability::Os;
        options(&mut own);
        let mut world = World {
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap(),
            clock: Arc::new(JumpingClock::new(SystemClock::new())),
            storage: None,
            receiver: FakeReceiver::start(),
            expected: Mutex::default(),
            options: own,
            dir,
            time: AtomicU64::new(EPOCH_MS),
        };
        world.open();
        world
    }

    pub fn open(&mut self) {
        let opened = Storage::open(Arc::new(RealFilesystem), self.clock.clone(), self.options.clone());
        self.storage = Some(opened.unwrap().0);
    }

    /// Closes the log and opens it again, as a restart does.
    pub fn reopen(&mut self) {
        let storage = self.storage.take().unwrap();
        storage.close();
        drop(storage);
        self.open();
    }

    pub fn storage(&self) -> &Storage {
        self.storage.as_ref().unwrap()
    }

    /// Returns a configuration that is fast enough for a test.
    pub fn config(&self) -> RemoteWrite {
        let mut config = RemoteWrite::to(Url::parse(&self.receiver.write_url()).unwrap());
        config.queue_config.batch_send_deadline = Duration::from_millis(20);
        config.queue_config.max_backoff = Duration::from_millis(60);
        config.remote_timeout = Duration::from_secs(10);
        config
    }

    pub fn start(&self, config: RemoteWrite) -> Destination {
        self.start_with(config, &[])
    }

    pub fn start_with(&self, config: RemoteWrite, external: &[(String, String)]) -> Destination {
        let _guard = self.runtime.enter();
        let fs = Arc::new(RealFilesystem);
        let storage = self.storage().clone();
        Destination::start(config, external, storage, fs, self.clock.clone(), self.dir.path()).unwrap()
    }

    /// Appends one sample for each of `series` series, one step later than the last time.
    pub fn push(&self, series: usize) {
        self.push_at(series, self.time.fetch_add(1000, Ordering::SeqCst) as i64);
    }

    /// Appends one sample for each of `series` series.
    pub fn push_at(&self, series: usize, timestamp: i64) {
        let mut batch = Batch::new();
        let mut expected = self.expected.lock().unwrap();
        for number in 0..series {
            let instance = format!("{number}");
            let pairs = [("__name__", "test_metric"), ("job", "test"), ("instance", instance.as_str())];
            let series = batch.add_series(Labels::from_pairs(pairs).as_ref(), Series::NO_METADATA);
            batch.push_float(series, timestamp, timestamp as f64);
            expected.entry(support::query::labels(pairs)).or_default().push(timestamp);
        }
        self.runtime.block_on(self.storage().append(batch)).unwrap();
    }

    pub fn tally(&self) -> Tally {
        self.receiver.tally(&self.expected.lock().unwrap())
    }

    /// Waits until all pushed samples have arrived, and compares them with the expected ones.
    pub fn wait_for_all(&self) -> Tally {
        support::wait_for("all samples to arrive", support::SOON, || {
            let tally = self.tally();
            if tally.lost == 0 { Ok(tally) } else { Err(format!("{tally:?}")) }
        })
    }

    /// Returns the dead letters of all destinations.
    pub fn dead_letters(&self) -> Vec<serde_json::Value> {
        let Ok(files) = std::fs::read_dir(self.dir.path().join("dead")) else { return Vec::new() };
        let paths = files.map(|file| file.unwrap().path());
        let letters = paths.filter(|path| !path.to_string_lossy().contains(".aside-"));
        let texts = letters.map(|path| std::fs::read_to_string(path).unwrap());
        let text: String = texts.collect();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Stops without flushing.
    pub fn stop_now(&self, destination: Destination) -> remote::ShutdownReport {
        self.runtime.block_on(destination.shutdown(Duration::ZERO))
    }

    pub fn stop(&self, destination: Destination) -> remote::ShutdownReport {
        self.runtime.block_on(destination.shutdown(Duration::from_secs(20)))
    }
}

/// A log and a destination on a simulated file system, in a runtime of their own.
pub struct Life {
    pub runtime: Runtime,
    pub storage: Storage,
    pub destination: Destination,
}

impl Life {
    pub const DATA: &str = "/data";

    /// Returns `None` if the disk prevents the start.
    pub fn begin(
        fs: SimFilesystem,
        clock: Arc<JumpingClock>,
        config: impl FnOnce() -> RemoteWrite,
    ) -> Option<Life> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let mut options = Options::new(Self::DATA);
        options.reserve_bytes = 0;
        let fs = Arc::new(fs);
        let (storage, _) = Storage::open(fs.clone(), clock.clone(), options).ok()?;
        let started = {
            let _guard = runtime.enter();
            Destination::start(config(), &[], storage.clone(), fs, clock, Path::new(Self::DATA))
        };
        Some(Life { runtime, storage, destination: started.ok()? })
    }

    /// Stops like a kill. No task runs afterwards.
    pub fn kill(self) {
        let Life { runtime, storage, destination } = self;
        drop(destination);
        drop(storage);
        runtime.shutdown_timeout(Duration::from_secs(10));
    }

    /// Sends for a moment, and stops.
    pub fn end(self) {
        let Life { runtime, storage, destination } = self;
        runtime.block_on(destination.shutdown(Duration::from_millis(20)));
        storage.close();
        drop(storage);
        runtime.shutdown_timeout(Duration::from_secs(10));
    }
}

/// Waits until delivery waits for the destination, with these words in the reason.
#[track_caller]
pub fn wait_until_waiting(stats: &Stats, words: &str) {
    let waits = || matches!(stats.state(), State::Waiting { reason } if reason.contains(words));
    support::wait_until(words, support::SOON, waits);
}

/// Waits until the destination denies access, with these words in the reason.
#[track_caller]
pub fn wait_until_denied(stats: &Stats, words: &str) {
    let denies = || matches!(stats.state(), State::Denied { reason } if reason.contains(words));
    support::wait_until(words, support::SOON, denies);
}

/// Waits until the destination has certainly decided by the present time of its clock, and has sent the
/// requests of that decision.
///
/// It reads the clock each second and sets this number after its decision. The first time it may have read
/// the clock before; the second time it has read it since; by the third it has sent the requests.
pub fn wait_for_decisions(stats: &Stats) {
    for _ in 0..3 {
        stats.lanes_behind.set(-1);
        support::wait_until("what is done each second", support::SOON, || stats.lanes_behind.get() >= 0);
    }
}

/// Waits until a number has this value.
#[track_caller]
pub fn wait_for_number(what: &str, right: u64, mut number: impl FnMut() -> u64) {
    support::wait_for(what, support::SOON, || {
        let is = number();
        if is == right { Ok(()) } else { Err(format!("{is} instead of {right}")) }
    });
}
