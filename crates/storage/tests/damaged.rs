//! Segments that are all zeros, empty, missing or too short, positions that point into them, and clocks that
//! jump. All readable points are delivered, the others are counted, and no number is reused.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // Tests and their helpers.

mod common;

use common::{TestClock, drain, floats, options};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use storage::{Options, Storage};
use wal::sim::SimFilesystem;
use wal::{Filesystem, Position};

const SEGMENTS: u64 = 4;
const RECORDS: usize = 3;
const SERIES: usize = 10;
/// Samples per segment.
const SEGMENT: usize = RECORDS * SERIES;

fn small() -> Options {
    Options { max_size: 8 << 20, reserve_bytes: 4096, ..options(Path::new("/data")) }
}

/// Opens the storage without allowing truncation.
fn open(fs: &SimFilesystem, clock: &Arc<TestClock>) -> Storage {
    Storage::open(Arc::new(fs.clone()), clock.clone(), small()).unwrap().0
}

async fn append(storage: &Storage) {
    for record in 0..RECORDS {
        let time = (storage.end().segment as usize * RECORDS + record) as i64;
        storage.append(floats(0..SERIES as u32, time, 1.0)).await.unwrap();
    }
}

/// Writes a log of some complete segments, and closes it.
async fn written() -> (SimFilesystem, Arc<TestClock>) {
    let (fs, clock) = (SimFilesystem::new(1), TestClock::new());
    for _ in 0..SEGMENTS {
        let storage = open(&fs, &clock);
        append(&storage).await;
        storage.close();
    }
    (fs, clock)
}

fn segment(number: u64) -> PathBuf {
    wal::dir::segment_path(Path::new("/data/wal"), number)
}

/// Counts the samples from `from` on by segment.
async fn seen(storage: &Storage, from: Position) -> BTreeMap<u64, usize> {
    let mut follower = storage.follow(from);
    let mut seen = BTreeMap::new();
    for (position, ..) in drain(storage, &mut follower).await {
        *seen.entry(position.segment).or_default() += 1;
    }
    seen
}

fn damage(storage: &Storage) -> (u64, u64) {
    (storage.stats().damages.get(), storage.stats().damaged_bytes.get())
}

#[tokio::test(start_paused = true)]
async fn a_segment_of_zeros_loses_only_its_samples() {
    let (fs, clock) = written().await;
    let bytes = fs.contents(&segment(1)).unwrap().len();
    // At least a page: fewer zeros are valid at the end of a segment.
    fs.plant(&segment(1), &vec![0; bytes.max(32 << 10)]);
    let storage = open(&fs, &clock);
    let seen = seen(&storage, storage.oldest()).await;
    assert_eq!(seen, [(0, SEGMENT), (2, SEGMENT), (3, SEGMENT)].into());
    assert_eq!(damage(&storage), (1, bytes.max(32 << 10) as u64));
}

#[tokio::test(start_paused = true)]
async fn an_empty_segment_loses_only_its_samples() {
    let (fs, clock) = written().await;
    fs.plant(&segment(2), &[]);
    let storage = open(&fs, &clock);
    let seen = seen(&storage, storage.oldest()).await;
    assert_eq!(seen, [(0, SEGMENT), (1, SEGMENT), (3, SEGMENT)].into());
}

#[tokio::test(start_paused = true)]
async fn an_empty_newest_segment_is_counted_at_the_start() {
    for zeros in [0, 32 << 10] {
        let (fs, clock) = written().await;
        let bytes = fs.contents(&segment(SEGMENTS - 1)).unwrap().len() as u64;
        fs.plant(&segment(SEGMENTS - 1), &vec![0; zeros]);
        let storage = open(&fs, &clock);
        // A start reads only what is after the known end.
        let at_start = if zeros == 0 { (1, bytes) } else { (0, 0) };
        assert_eq!(damage(&storage), at_start);
        let seen = seen(&storage, storage.oldest()).await;
        assert_eq!(seen, [(0, SEGMENT), (1, SEGMENT), (2, SEGMENT)].into());
        assert_eq!(damage(&storage), (1, bytes.max(zeros as u64)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_missing_segment_is_counted_once() {
    let (fs, clock) = written().await;
    fs.remove_file(&segment(1)).unwrap();
    let storage = open(&fs, &clock);
    assert_eq!(damage(&storage).0, 1);
    fs.remove_file(&segment(2)).unwrap();
    for _ in 0..2 {
        assert_eq!(seen(&storage, storage.oldest()).await, [(0, SEGMENT), (3, SEGMENT)].into());
    }
    assert_eq!(damage(&storage).0, 2);
    append(&storage).await;
    assert_eq!(seen(&storage, Position::start_of(4)).await, [(4, SEGMENT)].into());
}

#[tokio::test(start_paused = true)]
async fn a_position_in_a_lost_segment_continues_after_it() {
    let (fs, clock) = written().await;
    let length = fs.contents(&segment(2)).unwrap().len() as u64;
    let inside = Position { segment: 2, offset: length / 2, index: 3 };
    let all_behind: BTreeMap<u64, usize> = [(3, SEGMENT), (4, SEGMENT)].into();
    for left in [None, Some(0), Some(10)] {
        let fs = {
            // Each case needs its own copy.
            let (copy, _) = written().await;
            copy
        };
        match left {
            None => fs.remove_file(&segment(2)).unwrap(),
            Some(bytes) => fs.plant(&segment(2), &fs.contents(&segment(2)).unwrap()[..bytes]),
        }
        let storage = open(&fs, &clock);
        append(&storage).await;
        assert_eq!(seen(&storage, inside).await, all_behind, "{left:?} bytes left");
        assert_eq!(seen(&storage, Position { offset: 1 << 40, ..inside }).await, all_behind);
    }
    // In a complete segment, in the middle of a record: delivery continues after that record.
    let storage = open(&fs, &clock);
    append(&storage).await;
    let seen = seen(&storage, inside).await;
    assert_eq!((seen[&3], seen[&4]), (SEGMENT, SEGMENT));
    assert!(seen.get(&2).is_none_or(|count| *count < SEGMENT && count.is_multiple_of(SERIES)), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn clock_jumps_across_restarts_reuse_no_numbers() {
    let (fs, clock) = (SimFilesystem::new(1), TestClock::new());
    let mut segments = BTreeSet::new();
    let mut references: BTreeMap<u64, String> = BTreeMap::new();
    let mut expected = 0;
    const YEAR_MS: i64 = 365 * 86_400_000;
    for (start, by_ms) in
        [0, YEAR_MS, -5 * YEAR_MS, 60_000, 9 * YEAR_MS, -20 * YEAR_MS].into_iter().enumerate()
    {
        clock.set_back(by_ms);
        let storage = open(&fs, &clock);
        assert!(segments.insert(storage.end().segment), "start {start} used a segment's number again");
        // Some series are new after each start, and some are shared.
        let first = start as u32 * 5;
        for _ in 0..3 {
            storage.append(floats(first..first + 10, model::Clock::now_ms(&*clock), 1.0)).await.unwrap();
            clock.set_back(by_ms / 3);
            expected += 10;
        }
        let mut follower = storage.follow(storage.oldest());
        let mut delivered = 0;
        while follower.position() < storage.end() {
            let next = tokio::time::timeout(std::time::Duration::from_millis(2), follower.next()).await;
            let Ok(chunk) = next else { continue };
            let chunk = chunk.unwrap();
            for (series, reference) in chunk.refs.iter().enumerate() {
                let labels = chunk.batch.labels(series as u32).to_string();
                let known = references.entry(*reference).or_insert_with(|| labels.clone());
                assert_eq!(*known, labels, "reference {reference} stands for two series");
            }
            delivered += chunk.points().len();
        }
        assert_eq!(delivered, expected);
        storage.close();
    }
}
