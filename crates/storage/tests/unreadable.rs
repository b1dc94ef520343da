//! A disk whose reads fail, for a while or for good.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // Tests and their helpers.

mod common;

use common::{TestClock, drain, floats, options};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use storage::{GIVE_UP_TRIES, Options, READ_PATIENCE, ReadError, Storage};
use wal::Position;
use wal::sim::{Op, SimFilesystem};

const ALWAYS: u64 = 1 << 60;

fn small() -> Options {
    Options { max_size: 8 << 20, reserve_bytes: 4096, ..options(Path::new("/data")) }
}

fn open(fs: &SimFilesystem, clock: &Arc<TestClock>) -> Storage {
    let storage = Storage::open(Arc::new(fs.clone()), clock.clone(), small()).unwrap().0;
    // Keeps everything that exists at the start.
    storage.pin("reader", storage.oldest());
    storage.begin_truncating();
    storage
}

/// A log of `segments` segments with three records each, and the segment that follows them.
async fn written(segments: u64) -> (SimFilesystem, Arc<TestClock>, Storage) {
    let (fs, clock) = (SimFilesystem::new(1), TestClock::new());
    for segment in 0..segments {
        let storage = open(&fs, &clock);
        for record in 0..3 {
            storage.append(floats(0..10, (segment * 3 + record) as i64, 1.0)).await.unwrap();
        }
        storage.close();
    }
    let storage = open(&fs, &clock);
    (fs, clock, storage)
}

fn aside(fs: &SimFilesystem) -> Vec<String> {
    let names = wal::Filesystem::read_dir(fs, Path::new("/data/damaged")).unwrap_or_default();
    let mut names: Vec<String> = names.into_iter().map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

fn segment(number: u64) -> PathBuf {
    wal::dir::segment_path(Path::new("/data/wal"), number)
}

#[tokio::test(start_paused = true)]
async fn a_temporary_read_failure_is_no_damage() {
    for op in [Op::Read, Op::Open] {
        let (fs, _, storage) = written(2).await;
        let mut follower = storage.follow(storage.oldest());
        let stats = storage.stats();
        fs.fail(op, 0, ALWAYS);
        while stats.reads_failed.get() < 2 * u64::from(GIVE_UP_TRIES) {
            assert!(matches!(follower.next().await, Err(ReadError::Wal(_))), "{op:?}");
        }
        fs.heal();
        assert_eq!(drain(&storage, &mut follower).await.len(), 60);
        assert_eq!((stats.damages.get(), stats.damaged_bytes.get()), (0, 0));
        assert_eq!(aside(&fs), [""; 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_permanently_unreadable_page_is_given_up_and_counted_once() {
    for op in [Op::Read, Op::Open] {
        let (fs, clock, storage) = written(2).await;
        let bytes = fs.contents(&segment(0)).unwrap().len() as u64;
        fs.fail(op, 0, ALWAYS);
        let mut follower = storage.follow(storage.oldest());
        for _ in 0..GIVE_UP_TRIES + 3 {
            assert!(matches!(follower.next().await, Err(ReadError::Wal(_))));
        }
        clock.pass(READ_PATIENCE - Duration::from_secs(1));
        assert!(matches!(follower.next().await, Err(ReadError::Wal(_))));
        assert_eq!(storage.stats().damages.get(), 0);
        clock.pass(Duration::from_secs(2));
        // The first segment is given up here. The time limit of the second one starts separately.
        assert!(matches!(follower.next().await, Err(ReadError::Wal(_))));
        fs.heal();
        assert_eq!(drain(&storage, &mut follower).await.len(), 30, "the rest is delivered");
        assert_eq!(storage.stats().damages.get(), 1);
        // A segment that can't be opened has no known size.
        if op == Op::Read {
            assert!(storage.stats().damaged_bytes.get() >= bytes);
            assert_eq!(aside(&fs), ["000001-wal-00000000"]);
        }
        // Another reader may succeed, because the disk may work again by then.
        let mut other = storage.follow(storage.oldest());
        assert_eq!(drain(&storage, &mut other).await.len(), 60);
        assert_eq!(storage.stats().damages.get(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn closing_does_not_wait_for_a_failing_disk() {
    let (fs, _, storage) = written(1).await;
    fs.fail(Op::Read, 0, ALWAYS);
    let mut follower = storage.follow(storage.oldest());
    for _ in 0..20 {
        assert!(follower.next().await.is_err());
    }
    let began = std::time::Instant::now();
    // In the middle of a pause between tries.
    assert!(tokio::time::timeout(Duration::from_millis(1), follower.next()).await.is_err());
    drop(follower);
    storage.close();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn damage_found_by_two_readers_is_counted_once() {
    let (fs, _, storage) = written(2).await;
    let mut bytes = fs.contents(&segment(0)).unwrap();
    let last = bytes.len() - 3;
    bytes[last] ^= 1;
    fs.plant(&segment(0), &bytes);
    let pin = storage.pin("reader", storage.oldest());
    for _ in 0..2 {
        let mut follower = storage.follow(storage.oldest());
        assert_eq!(drain(&storage, &mut follower).await.len(), 50);
    }
    assert_eq!(storage.stats().damages.get(), 1);
    assert!(storage.stats().damaged_bytes.get() > 0);
    pin.set(storage.end());
    while storage.oldest() < Position::start_of(2) {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(aside(&fs), ["000001-wal-00000000"]);
    assert_eq!(fs.contents(Path::new("/data/damaged/000001-wal-00000000")).unwrap(), bytes);
}

#[tokio::test(start_paused = true)]
async fn damage_found_by_a_start_is_counted_and_quarantined() {
    let (fs, clock, storage) = written(2).await;
    storage.append(floats(0..10, 100, 1.0)).await.unwrap();
    storage.append(floats(0..10, 101, 1.0)).await.unwrap();
    drop(storage);
    // The end is torn, the state file contains random bytes, and a segment is missing.
    let mut bytes = fs.contents(&segment(2)).unwrap();
    bytes.truncate(bytes.len() - 3);
    fs.plant(&segment(2), &bytes);
    fs.plant(Path::new("/data/state"), &[7; 8192]);
    wal::Filesystem::remove_file(&fs, &segment(1)).unwrap();
    let storage = open(&fs, &clock);
    assert_eq!(storage.stats().damages.get(), 3);
    assert!(storage.stats().damaged_bytes.get() > 0);
    let aside = aside(&fs);
    assert_eq!(aside.len(), 2, "{aside:?}");
    assert_eq!(aside[0], "000001-state");
    let tail = fs.contents(&Path::new("/data/damaged").join(&aside[1])).unwrap();
    let kept = fs.contents(&segment(2)).unwrap();
    assert_eq!([kept, tail].concat(), bytes, "what was cut is kept");
    let mut follower = storage.follow(storage.oldest());
    assert_eq!(drain(&storage, &mut follower).await.len(), 30 + 10);
    assert_eq!(storage.stats().damages.get(), 3, "what was counted at the start isn't counted again");
}

#[tokio::test(start_paused = true)]
async fn on_a_full_disk_nothing_is_quarantined() {
    let (fs, clock, storage) = written(2).await;
    drop(storage);
    let mut bytes = fs.contents(&segment(1)).unwrap();
    bytes[40] ^= 1;
    fs.plant(&segment(1), &bytes);
    let storage = open(&fs, &clock);
    fs.set_space(Some(0));
    assert!(storage.append(floats(0..10, 100, 1.0)).await.is_err());
    let mut follower = storage.follow(storage.oldest());
    drain(&storage, &mut follower).await;
    assert!(storage.stats().damages.get() > 0);
    assert_eq!(aside(&fs), [""; 0]);
}
