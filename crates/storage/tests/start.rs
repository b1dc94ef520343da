//! A start reads the newest segment from its stored end on, and none of the others.

#![allow(clippy::unwrap_used, clippy::expect_used)] // Tests and their helpers.

mod common;

use common::{drain, floats, open_on, options};
use std::path::Path;
use std::sync::Arc;
use storage::Options;
use wal::sim::{Op, SimFilesystem};

/// Number of file reads of a start on a log with this many segments, all of which a pin needs.
async fn reads_of_a_start(segments: u64) -> u64 {
    let fs = SimFilesystem::new(1);
    let small = || Options { max_size: 64 << 20, reserve_bytes: 4096, ..options(Path::new("/data")) };
    let storage = open_on(Arc::new(fs.clone()), small());
    let _pin = storage.pin("away", storage.oldest());
    let (mut time, mut samples) = (0, 0);
    while storage.end().segment + 1 < segments {
        storage.append(floats(0..5000, time, time as f64 * 1.7e-3)).await.unwrap();
        (time, samples) = (time + 1, samples + 5000);
    }
    storage.close();
    drop((_pin, storage));
    // Opens are not counted, because their number depends on what the threads save meanwhile.
    let before = fs.count(Op::Read);
    let storage = open_on(Arc::new(fs.clone()), small());
    // An append is accepted before anything in the log was read.
    storage.append(floats(0..1, time, 0.0)).await.unwrap();
    let after = fs.count(Op::Read);
    assert_eq!(storage.oldest().segment, 0);
    let mut follower = storage.follow(storage.oldest());
    assert_eq!(drain(&storage, &mut follower).await.len(), samples + 1, "and all of it is there");
    after - before
}

#[tokio::test]
async fn a_start_reads_equally_much_of_short_and_long_logs() {
    let (short, long) = (reads_of_a_start(2).await, reads_of_a_start(6).await);
    assert_eq!(short, long, "reads");
    assert!(long < 40, "{long}");
}
