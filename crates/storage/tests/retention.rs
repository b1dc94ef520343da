//! Segments that nobody needs are deleted. If a needed segment has to be deleted, its samples are counted
//! first.

#![allow(clippy::unwrap_used, clippy::expect_used)] // Tests and their helpers.

mod common;

use common::{TestClock, drain, floats, open, open_on, options};
use std::sync::Arc;
use std::time::Duration;
use storage::{AppendError, Options, Storage, WhenFull};
use wal::{Position, RealFilesystem};

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if condition() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("never happened: {what}");
}

/// Appends until `segments` new segments have been begun. Returns the number of samples.
async fn fill(storage: &Storage, segments: u64) -> u64 {
    let first = storage.end().segment;
    let mut samples = 0;
    let mut random = fastrand_like(7);
    while storage.end().segment < first + segments {
        // Values that hardly compress.
        let mut batch = floats(0..2000, samples as i64, 0.0);
        for point in &mut batch.points {
            point.value = model::Value::Float(f64::from_bits(random()));
        }
        storage.append(batch).await.unwrap();
        samples += 2000;
    }
    samples
}

fn fastrand_like(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        state ^ (state >> 29)
    }
}

#[tokio::test]
async fn a_segment_is_deleted_once_the_pin_has_passed_it() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(Options { max_size: 64 << 20, ..options(dir.path()) });
    let pin = storage.pin("slow", storage.end());
    fill(&storage, 2).await;
    assert_eq!(storage.oldest(), Position::start_of(0));
    pin.set(Position::start_of(1));
    until("segment 0 goes", || storage.oldest() == Position::start_of(1)).await;
    assert_eq!(pin.lost(), model::Kinds::default());
    pin.release();
    until("a removed destination holds nothing", || storage.oldest().segment == storage.end().segment).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_budget_the_oldest_segment_is_deleted_and_losses_counted() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(Options { max_size: 8 << 20, ..options(dir.path()) });
    let pin = storage.pin("away", storage.end());
    let appended = fill(&storage, 12).await;
    until("the budget is kept", || storage.stats().log_bytes.get() <= 8 << 20 && pin.lost().samples > 0)
        .await;
    // Nothing more is appended, so once sweeping has ended, remaining and lost samples must add up.
    let mut left = 0;
    until("lost and left add up", || {
        let mut follower = storage.follow(storage.oldest());
        let seen = futures_block(drain(&storage, &mut follower));
        left = seen.len() as u64;
        pin.lost().samples + left == appended
    })
    .await;
    assert!(pin.lost().samples > 0 && left > 0);
}

fn futures_block<T>(future: impl Future<Output = T>) -> T {
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(future))
}

#[tokio::test]
async fn when_full_refuse_drops_nothing_and_accepts_again_later() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(Options { max_size: 8 << 20, when_full: WhenFull::Refuse, ..options(dir.path()) });
    let pin = storage.pin("away", storage.end());
    let mut refused = None;
    let mut samples = 0u64;
    let mut random = fastrand_like(3);
    while refused.is_none() && samples < 20_000_000 {
        let mut batch = floats(0..2000, samples as i64, 0.0);
        for point in &mut batch.points {
            point.value = model::Value::Float(f64::from_bits(random()));
        }
        match storage.append(batch).await {
            Ok(()) => samples += 2000,
            Err(error) => refused = Some(error),
        }
    }
    assert!(matches!(refused, Some(AppendError::LogFull)), "{refused:?}");
    assert_eq!(pin.lost(), model::Kinds::default());
    let mut follower = storage.follow(storage.oldest());
    assert_eq!(drain(&storage, &mut follower).await.len() as u64, samples);
    pin.set(storage.end());
    let mut taken = false;
    for _ in 0..1000 {
        taken = storage.append(floats([1], 0, 1.0)).await.is_ok();
        if taken {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert!(taken, "there is room again");
}

#[tokio::test]
async fn a_start_with_a_smaller_budget_counts_each_destinations_losses() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(Options { max_size: 64 << 20, ..options(dir.path()) });
    let _pin = storage.pin("away", storage.end());
    let appended = fill(&storage, 3).await;
    storage.close();
    drop(storage);
    let storage = open_on(Arc::new(RealFilesystem), Options { max_size: 8 << 20, ..options(dir.path()) });
    until("the first sweep", || storage.stats().sweeps.get() > 0).await;
    assert_eq!(storage.oldest(), Position::start_of(0), "the destination has not pinned what it needs");
    let pin = storage.pin("away", Position::start_of(0));
    storage.begin_truncating();
    until("the budget is kept", || storage.stats().log_bytes.get() <= 8 << 20).await;
    let mut follower = storage.follow(storage.oldest());
    let left = drain(&storage, &mut follower).await.len() as u64;
    assert!(left < appended);
    assert_eq!(pin.lost().samples, appended - left);
}

/// Only running time counts: an agent that was off for a month could not deliver.
#[tokio::test]
async fn max_age_counts_running_time_not_the_wall_clock() {
    const DAY: Duration = Duration::from_secs(86_400);
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::new();
    let limits = || Options { max_age: Some(DAY), ..options(dir.path()) };
    let open = || Storage::open(Arc::new(RealFilesystem), clock.clone(), limits()).unwrap().0;
    let storage = open();
    storage.append(floats(0..10, 1, 1.0)).await.unwrap();
    storage.close();
    // The agent is off for a year, and the wall clock is wrong.
    clock.set_back(-365 * 86_400_000);
    let storage = open();
    let pin = storage.pin("away", storage.oldest());
    storage.begin_truncating();
    storage.append(floats(0..10, 2, 1.0)).await.unwrap();
    let swept = || {
        let before = storage.stats().sweeps.get();
        storage.pin("bell", storage.end()).release();
        // A sweep that was running may not have seen the new time, so wait for another one.
        let mut rung = before;
        while storage.stats().sweeps.get() < before + 2 {
            if storage.stats().sweeps.get() > rung {
                rung = storage.stats().sweeps.get();
                storage.pin("bell", storage.end()).release();
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    swept();
    clock.set_back(-365 * 86_400_000);
    swept();
    clock.set_back(3 * 365 * 86_400_000);
    clock.pass(DAY - Duration::from_secs(1));
    swept();
    assert_eq!(storage.oldest(), Position::start_of(0), "its age counts from the start on");
    assert_eq!(pin.lost(), model::Kinds::default());
    clock.pass(Duration::from_secs(2));
    swept();
    assert_eq!(storage.oldest(), Position::start_of(1));
    assert_eq!(pin.lost().samples, 10);
    assert_eq!(storage.stats().segments_dropped.get(), 1);
    // The current segment is not closed, so it has no age.
    clock.pass(30 * DAY);
    swept();
    assert_eq!(storage.oldest(), Position::start_of(1));
    let mut follower = storage.follow(storage.oldest());
    assert_eq!(drain(&storage, &mut follower).await.len(), 10);
}

/// A kill loses the running time since the last save, a clean stop loses nothing. The wall clock does not
/// matter.
#[tokio::test]
async fn max_age_applies_across_frequent_restarts() {
    const HOUR: Duration = Duration::from_secs(3600);
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::new();
    let limits = || Options { max_age: Some(24 * HOUR), ..options(dir.path()) };
    let open = || Storage::open(Arc::new(RealFilesystem), clock.clone(), limits()).unwrap().0;
    let storage = open();
    storage.append(floats(0..10, 1, 1.0)).await.unwrap();
    storage.close();
    let mut dropped = 0;
    // The segment is closed by this start. Each run takes an hour.
    for run in 0..=24 {
        clock.set_back(if run % 2 == 0 { 400 } else { -400 } * 86_400_000);
        let storage = open();
        let pin = storage.pin("away", Position::start_of(0));
        storage.begin_truncating();
        assert_eq!(storage.oldest(), Position::start_of(0), "run {run}");
        while storage.stats().sweeps.get() == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        clock.pass(HOUR);
        storage.close();
        dropped += storage.stats().segments_dropped.get();
        drop(pin);
    }
    let storage = open();
    let _pin = storage.pin("away", Position::start_of(0));
    storage.begin_truncating();
    for _ in 0..10_000 {
        if dropped + storage.stats().segments_dropped.get() > 0 {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(dropped + storage.stats().segments_dropped.get() > 0);
    assert!(storage.oldest() > Position::start_of(0));
}
