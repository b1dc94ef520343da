//! A start reads the newest segment, from the end that was last noted, and nothing of the others.

#![allow(clippy::unwrap_used, clippy::expect_used)] // A test; its helpers too may fail loudly.

mod common;

use common::{drain, floats, open_on, options};
use std::path::Path;
use std::sync::Arc;
use storage::Options;
use wal::sim::{Op, SimFilesystem};

/// How often files are read and opened by a start on a log of so many segments, all of which somebody wants.
async fn reads_of_a_start(segments: u64) -> [u64; 2] {
    let fs = SimFilesystem::new(1);
    let small = || Options { max_size: 64 << 20, reserve_bytes: 4096, ..options(Path::new("/data")) };
    let storage = open_on(Arc::new(fs.clone()), small());
    let _pin = storage.pin("away", storage.oldest());
    let (mut time, mut samples) = (0, 0);
    while storage.end().segment + 1 < segments {
        storage.append(floats(0..5000, time, time as f64 * 1.7e-3)).await.unwrap();
        (time, samples) = (time + 1, samples + 5000);
    }
    drop((_pin, storage));
    let counts = || [Op::Read, Op::Open].map(|op| fs.count(op));
    let before = counts();
    let storage = open_on(Arc::new(fs.clone()), small());
    // The doors are open: what comes is taken before anybody has read what lies there.
    storage.append(floats(0..1, time, 0.0)).await.unwrap();
    let after = counts();
    assert_eq!(storage.oldest().segment, 0);
    let mut follower = storage.follow(storage.oldest());
    assert_eq!(drain(&storage, &mut follower).await.len(), samples + 1, "and all of it is there");
    [after[0] - before[0], after[1] - before[1]]
}

#[tokio::test]
async fn a_start_reads_as_much_of_a_long_log_as_of_a_short_one() {
    let (short, long) = (reads_of_a_start(2).await, reads_of_a_start(6).await);
    assert_eq!(short, long, "reads and opens");
    assert!(long[0] < 40, "{long:?}");
}
