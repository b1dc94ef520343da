//! A panic in a destination: another worker replaces it, and all samples are delivered.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use common::World;
use model::Clock;
use remote::{Base, Destinations, RemoteWrite, State};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::{Answer, SOON, wait_until};
use wal::{Filesystem, RealFilesystem};

const MEMORY: usize = 8 << 20;

fn start(world: &World, name: &str, fs: Arc<dyn Filesystem>, clock: Arc<dyn Clock>) -> Destinations {
    let mut config = RemoteWrite::to(remote::Url::parse(&world.receiver.write_url()).unwrap());
    config.queue_config.batch_send_deadline = Duration::from_millis(20);
    config.protobuf_message = Some(remote::config::Message::V1);
    config.name = Some(name.into());
    let (storage, data_dir) = (world.storage().clone(), world.dir.path().to_path_buf());
    let _guard = world.runtime.enter();
    Destinations::start(vec![config], &[], MEMORY, Base { storage, fs, clock, data_dir }).unwrap()
}

fn restarts(name: &str) -> u64 {
    supervisor::restarts().get(&supervisor::Task::of("destination", name)).copied().unwrap_or_default()
}

/// A clock that, once armed, panics the next time it is read.
#[derive(Debug)]
struct Trap {
    clock: Arc<common::JumpingClock>,
    armed: AtomicBool,
}

impl Clock for Trap {
    fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }
    fn monotonic(&self) -> Duration {
        assert!(!self.armed.swap(false, Ordering::SeqCst), "a mistake");
        self.clock.monotonic()
    }
}

#[test]
fn destination_restarts_after_a_panic_and_delivers_everything() {
    let world = World::new();
    let trap = Arc::new(Trap { clock: world.clock.clone(), armed: AtomicBool::new(false) });
    let all = start(&world, "a", Arc::new(RealFilesystem), trap.clone());
    world.push(10);
    world.wait_for_all();
    trap.armed.store(true, Ordering::SeqCst);
    let stats = all.iter().next().unwrap().stats().clone();
    let error = || stats.last_error().unwrap_or_default();
    wait_until("the worker to panic", SOON, || error().contains("by a mistake in narthex"));
    world.push(10);
    let tally = world.wait_for_all();
    assert_eq!((tally.out_of_order, tally.unexpected), (0, 0));
    assert_eq!(world.storage().orphans(), Vec::<String>::new());
    wait_until("it to say so", SOON, || stats.state() == State::Delivering);
    assert_eq!(restarts("a"), 1);
}

/// A disk that, once armed, panics when the folder of dead letters, or a file in it, is created.
#[derive(Debug)]
struct PanickingDisk {
    disk: RealFilesystem,
    armed: AtomicBool,
}

impl PanickingDisk {
    fn spring(&self, path: &Path) {
        let is_dead = path.components().any(|part| part.as_os_str() == "dead");
        assert!(!is_dead || !self.armed.swap(false, Ordering::SeqCst), "a mistake");
    }
}

impl Filesystem for PanickingDisk {
    fn create_dir_all(&self, dir: &Path) -> std::io::Result<()> {
        self.spring(dir);
        self.disk.create_dir_all(dir)
    }
    fn read_dir(&self, dir: &Path) -> std::io::Result<Vec<std::ffi::OsString>> {
        self.disk.read_dir(dir)
    }
    fn create_new(&self, path: &Path) -> std::io::Result<Box<dyn wal::File>> {
        self.spring(path);
        self.disk.create_new(path)
    }
    fn open(&self, path: &Path, write: bool) -> std::io::Result<Box<dyn wal::File>> {
        self.disk.open(path, write)
    }
    fn rename(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        self.disk.rename(from, to)
    }
    fn hard_link(&self, path: &Path, to: &Path) -> std::io::Result<()> {
        self.disk.hard_link(path, to)
    }
    fn remove_file(&self, path: &Path) -> std::io::Result<()> {
        self.disk.remove_file(path)
    }
    fn remove_dir(&self, dir: &Path) -> std::io::Result<()> {
        self.disk.remove_dir(dir)
    }
    fn sync_dir(&self, dir: &Path) -> std::io::Result<()> {
        self.disk.sync_dir(dir)
    }
    fn metadata(&self, path: &Path) -> std::io::Result<Option<wal::fs::Metadata>> {
        self.disk.metadata(path)
    }
    fn available(&self, dir: &Path) -> std::io::Result<u64> {
        self.disk.available(dir)
    }
}

#[test]
fn panic_while_writing_dead_letters_loses_none() {
    let world = World::new();
    let disk = Arc::new(PanickingDisk { disk: RealFilesystem, armed: AtomicBool::new(false) });
    let all = start(&world, "dead", disk.clone(), world.clock.clone());
    world.push(10);
    world.wait_for_all();
    world.receiver.answer(|_| Answer::status(400).body("out of bounds"));
    disk.armed.store(true, Ordering::SeqCst);
    world.push(1);
    wait_until("the dead letter", SOON, || {
        !disk.armed.load(Ordering::SeqCst) && !world.dead_letters().is_empty()
    });
    assert_eq!(world.dead_letters().len(), 1);
    assert_eq!(restarts("dead"), 1);
    drop(all);
}
