//! Failures between two segments, and over many starts.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // Tests and their helpers.

mod common;

use common::{drain, floats, open_on, options};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use storage::{AppendError, Options, Storage, read_state};
use wal::sim::{Op, SimFilesystem};
use wal::{Durability, Filesystem};

fn small() -> Options {
    Options { max_size: 8 << 20, reserve_bytes: 4096, ..options(Path::new("/data")) }
}

/// Pushes until the segment has its full size, so that the next push begins another one. Returns the number
/// of pushes.
async fn fill(storage: &Storage) -> i64 {
    let mut pushes = 0;
    while storage.end().offset < 1 << 20 {
        storage.append(floats(0..2000, pushes, pushes as f64 * 1.7e-3)).await.unwrap();
        pushes += 1;
    }
    pushes
}

/// Nothing was synced so far (`durability: os`), or the file was cut back. So the segment is synced before
/// the next one begins, and this sync fails.
#[tokio::test]
async fn a_failed_last_sync_closes_the_segment_durably() {
    let fs = SimFilesystem::new(1);
    let storage = open_on(Arc::new(fs.clone()), Options { durability: Durability::Os, ..small() });
    let _pin = storage.pin("a", storage.oldest());
    let pushes = fill(&storage).await;
    let end = storage.end();
    fs.fail(Op::Sync, 0, 1);
    assert!(matches!(storage.append(floats(0..1, pushes, 0.0)).await, Err(AppendError::Failed(_))));
    let state = read_state(&fs, Path::new("/data")).unwrap().unwrap();
    let closed: Vec<_> = state.closed.iter().map(|closed| closed.position()).collect();
    assert_eq!(closed, [end], "where the segment ends");
    storage.append(floats(0..1, pushes, 0.0)).await.unwrap();
    assert_eq!(storage.end().segment, end.segment + 1);
    let mut follower = storage.follow(storage.oldest());
    assert_eq!(drain(&storage, &mut follower).await.len() as i64, pushes * 2000 + 1);
}

#[tokio::test]
async fn no_room_for_the_next_segment_counts_as_full_disk() {
    let fs = SimFilesystem::new(1);
    let storage = open_on(Arc::new(fs.clone()), small());
    let _pin = storage.pin("a", storage.oldest());
    let pushes = fill(&storage).await;
    fs.set_space(Some(0));
    let refused = storage.append(floats(0..1, pushes, 0.0)).await;
    assert!(matches!(refused, Err(AppendError::DiskFull)), "{refused:?}");
    assert_eq!((storage.stats().disk_full.get(), storage.stats().budget_full.get()), (1, 0));
    assert!(fs.metadata(Path::new("/data/reserve")).unwrap().is_none(), "it is there for delivery now");
    fs.set_space(None);
    // A full disk is checked regularly, without a push.
    while storage.stats().is_full() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    storage.append(floats(0..1, pushes, 0.0)).await.unwrap();
    assert!(fs.metadata(Path::new("/data/reserve")).unwrap().is_some());
    let mut follower = storage.follow(storage.oldest());
    assert_eq!(drain(&storage, &mut follower).await.len() as i64, pushes * 2000 + 1);
}

#[tokio::test]
async fn a_thousand_starts_leave_few_journal_segments() {
    let fs = SimFilesystem::new(1);
    for start in 0..1000 {
        let storage = open_on(Arc::new(fs.clone()), small());
        let (journal, entries) = storage.journal("door").await.unwrap();
        assert_eq!(entries, [b"kept".to_vec()][..usize::from(start > 0)], "at start {start}");
        if start == 0 {
            storage.append_with(floats(0..1, 0, 0.0), &journal, b"kept".to_vec()).await.unwrap();
        }
        storage.begin_truncating();
        storage.close();
    }
    for journal in ["door", "meta"] {
        let segments = wal::dir::segments(&fs, &Path::new("/data").join(journal)).unwrap();
        assert!(segments.len() <= 34, "{journal}: {}", segments.len());
    }
}

/// A failure to cut a closed segment must not prevent a start.
#[tokio::test]
async fn a_closed_segment_that_cannot_be_cut_allows_a_start() {
    let fs = SimFilesystem::new(3);
    let storage = open_on(Arc::new(fs.clone()), small());
    let _pin = storage.pin("a", storage.oldest());
    storage.append(floats(0..10, 0, 0.0)).await.unwrap();
    // Neither the sync nor the cut succeeds.
    fs.fail(Op::Sync, 0, 1);
    fs.fail(Op::SetLen, 0, 1);
    assert!(storage.append(floats(0..10, 1, 0.0)).await.is_err());
    storage.append(floats(0..10, 2, 0.0)).await.unwrap();
    drop(storage);
    // The first one is that of the state file.
    fs.fail(Op::SetLen, 1, 1);
    let storage = open_on(Arc::new(fs.clone()), small());
    let mut follower = storage.follow(storage.oldest());
    let times: Vec<i64> =
        drain(&storage, &mut follower).await.into_iter().map(|(_, _, time, _)| time).collect();
    assert_eq!(times, [[0; 10], [2; 10]].concat());
}
