//! Acknowledged points are read back identically from memory, from disk, and after a restart.

#![allow(clippy::unwrap_used, clippy::expect_used)] // Tests and their helpers.

mod common;

use common::{drain, floats, open, open_on, options};
use model::{Batch, BucketSpan, Counts, Histogram, Labels, Metadata, MetricType, ResetHint, Series};
use proptest::prelude::*;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use storage::{Options, Storage};
use wal::RealFilesystem;
use wal::sim::{Op, SimFilesystem};

/// A batch with one point for each of `kinds`, of any type.
fn mixed(kinds: &[(u8, u8)], timestamp: i64) -> Batch {
    let mut batch = Batch::new();
    for (number, (series, kind)) in kinds.iter().enumerate() {
        let labels = Labels::from_pairs([("__name__", "mixed"), ("s", &series.to_string())]);
        let series = batch.add_series(labels.as_ref(), Series::NO_METADATA);
        let timestamp = timestamp + number as i64;
        let histogram = |schema: i32, counts| Histogram {
            reset_hint: ResetHint::No,
            schema,
            zero_threshold: 0.0,
            sum: 3.5,
            positive_spans: vec![BucketSpan { offset: 0, length: 1 }],
            negative_spans: vec![],
            counts,
            custom_values: if schema == -53 { vec![1.0] } else { vec![] },
        };
        let integer = Counts::Integer { count: 2, zero: 0, positive: vec![2], negative: vec![] };
        let float = Counts::Float { count: 2.0, zero: 0.0, positive: vec![2.0], negative: vec![] };
        match kind % 6 {
            0 => batch.push_float(series, timestamp, f64::from(*kind)),
            1 => batch.push_histogram(series, timestamp, 0, histogram(3, integer)),
            2 => batch.push_histogram(series, timestamp, 77, histogram(-53, float)),
            3 => batch.push_histogram(series, timestamp, 0, histogram(-53, integer)),
            4 => {
                batch.push_float(series, timestamp, model::stale_nan());
                batch.points.last_mut().unwrap().start_timestamp = 5;
            }
            _ => {
                let start = batch.bytes.len();
                batch.bytes.extend_from_slice(Labels::from_pairs([("trace_id", "x")]).as_ref().as_bytes());
                batch.push_exemplar(series, timestamp, start, 0.25);
            }
        }
    }
    batch
}

/// Small segments, and a tail in memory of `tail_bytes`, possibly none.
fn small(dir: &std::path::Path, tail_bytes: usize) -> Options {
    Options { max_size: 8 << 20, tail_bytes, ..options(dir) }
}

async fn all(storage: &Storage) -> Vec<common::Seen> {
    let mut follower = storage.follow(storage.oldest());
    drain(storage, &mut follower).await
}

#[tokio::test]
async fn batches_that_arrive_during_a_sync_share_the_next_one() {
    const PUSHES: u32 = 200;
    let fs = SimFilesystem::new(1);
    let storage =
        open_on(Arc::new(fs.clone()), Options { reserve_bytes: 4096, ..options(Path::new("/data")) });
    storage.begin_truncating();
    let _pin = storage.pin("all", storage.end());
    let mut follower = storage.follow(storage.end());
    // The first sync also creates the files.
    storage.append(floats([0], 999, 1.0)).await.unwrap();
    let (commits, syncs) = (storage.stats().commits.get(), fs.count(Op::Sync));
    let busy = fs.hold();
    let asked = Arc::new(AtomicU32::new(0));
    let pushes: Vec<_> = (0..PUSHES)
        .map(|n| {
            let (storage, asked) = (storage.clone(), asked.clone());
            tokio::spawn(async move {
                asked.fetch_add(1, Ordering::Relaxed);
                storage.append(floats([n], 1000, 1.0)).await
            })
        })
        .collect();
    while asked.load(Ordering::Relaxed) < PUSHES {
        tokio::task::yield_now().await;
    }
    drop(busy);
    for push in pushes {
        push.await.unwrap().unwrap();
    }
    let seen = drain(&storage, &mut follower).await;
    assert_eq!(seen.len(), 1 + PUSHES as usize);
    assert!(seen.is_sorted_by_key(|(position, ..)| *position));
    assert_eq!(storage.stats().samples.get(), 1 + u64::from(PUSHES));
    // One commit may have been running; the batches that arrived meanwhile are one group.
    let (commits, syncs) = (storage.stats().commits.get() - commits, fs.count(Op::Sync) - syncs);
    assert!(commits <= 3 && syncs <= 3, "{commits} commits, {syncs} syncs");
}

#[tokio::test]
async fn after_a_restart_points_are_there_and_positions_continue() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(options(dir.path()));
    // A destination that is away, so it holds everything.
    let pin = storage.pin("away", storage.end());
    for timestamp in 0..50 {
        storage.append(floats(0..10, timestamp, 1.0)).await.unwrap();
    }
    let before = all(&storage).await;
    assert_eq!(before.len(), 500);
    let middle = before[123].0;
    storage.close();
    assert!(storage.append(floats([1], 1, 1.0)).await.is_err());
    drop((pin, storage));

    // The same again, and then a kill: nothing is saved at the end.
    let storage = open_on(Arc::new(RealFilesystem), options(dir.path()));
    let _pin = storage.pin("away", middle);
    storage.begin_truncating();
    storage.append(floats(0..10, 50, 1.0)).await.unwrap();
    let mut follower = storage.follow(middle);
    let after = drain(&storage, &mut follower).await;
    assert_eq!(after[..377], before[123..]);
    assert_eq!(after.len(), 387);
}

#[tokio::test]
async fn metadata_is_known_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut batch = floats([1], 1, 1.0);
    batch.metadata.push(Metadata {
        family: "m".into(),
        kind: MetricType::Gauge,
        help: "what it is".into(),
        unit: String::new(),
    });
    let storage = open(options(dir.path()));
    storage.append(batch.clone()).await.unwrap();
    storage.append(batch).await.unwrap();
    drop(storage);
    let storage = open(options(dir.path()));
    assert_eq!(storage.metadata(b"m").unwrap().help, "what it is");
}

#[tokio::test]
async fn a_journal_is_durable_with_its_samples_and_rewritable() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(options(dir.path()));
    let (journal, entries) = storage.journal("groups").await.unwrap();
    assert!(entries.is_empty() && storage.journal("groups").await.is_err());
    for n in 0..5u8 {
        storage.append_with(floats([1], 1, 1.0), &journal, vec![n; 3]).await.unwrap();
    }
    drop(storage);
    let storage = open(options(dir.path()));
    let (journal, entries) = storage.journal("groups").await.unwrap();
    assert_eq!(entries, (0..5u8).map(|n| vec![n; 3]).collect::<Vec<_>>());
    storage.rewrite(&journal, vec![b"whole".to_vec()]).await.unwrap();
    storage.append_with(Batch::new(), &journal, b"later".to_vec()).await.unwrap();
    drop(storage);
    let storage = open(options(dir.path()));
    let (_, entries) = storage.journal("groups").await.unwrap();
    assert_eq!(entries, [b"whole".to_vec(), b"later".to_vec()]);
}

#[tokio::test]
async fn too_many_waiting_bytes_are_refused_without_loss() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(Options { waiting_bytes: 20_000, ..options(dir.path()) });
    let large = storage.append(floats(0..10_000, 1, 1.0)).await;
    assert!(matches!(large, Err(storage::AppendError::TooLarge { limit: 20_000, .. })), "{large:?}");
    let storage = open(Options { max_series: 5, ..options(&dir.path().join("b")) });
    assert!(storage.append(floats(0..5, 1, 1.0)).await.is_ok());
    let more = storage.append(floats(3..8, 1, 1.0)).await;
    assert_eq!(more, Err(storage::AppendError::TooManySeries { limit: 5 }));
    assert!(storage.append(floats(0..5, 2, 1.0)).await.is_ok());
    let mut follower = storage.follow(storage.oldest());
    assert_eq!(drain(&storage, &mut follower).await.len(), 10);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// For any batches, reads from memory, from disk and from disk after a restart return the same points at
    /// the same positions.
    #[test]
    fn memory_and_disk_agree(batches in prop::collection::vec(
        prop::collection::vec((0u8..4, any::<u8>()), 1..12), 1..12)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let storage = open(small(dir.path(), 32 << 20));
            let pin = storage.pin("all", storage.end());
            let mut live = storage.follow(storage.end());
            for (number, kinds) in batches.iter().enumerate() {
                storage.append(mixed(kinds, 1000 * number as i64)).await.unwrap();
            }
            assert!(!live.is_behind());
            let memory = drain(&storage, &mut live).await;
            let disk = all(&storage).await;
            assert_eq!(memory, disk);
            assert_eq!(memory.len(), batches.iter().map(Vec::len).sum::<usize>());
            drop((pin, live, storage));
            let storage = open_on(Arc::new(RealFilesystem), small(dir.path(), 0));
            let _pin = storage.pin("all", memory[0].0);
            storage.begin_truncating();
            assert_eq!(all(&storage).await, memory);
        });
    }
}
