//! A start reads the newest segment, from the end that was last noted, and nothing of the others.

#![allow(clippy::unwrap_used, clippy::expect_used)] // A test; its helpers too may fail loudly.

mod common;

use common::{drain, floats, open_on, options};
use std::path::Path;
use std::sync::Arc;
use storage::Options;
use wal::sim::{Op, SimFilesystem};

/// How often files are read by a start on a log of so many segments, all of which somebody wants.
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
    // How often files are opened depends on what its threads save meanwhile, and would say less.
    let before = fs.count(Op::Read);
    let storage = open_on(Arc::new(fs.clone()), small());
    // The doors are open: what comes is taken before anybody has read what lies there.
    storage.append(floats(0..1, time, 0.0)).await.unwrap();
    let after = fs.count(Op::Read);
    assert_eq!(storage.oldest().segment, 0);
    let mut follower = storage.follow(storage.oldest());
    assert_eq!(drain(&storage, &mut follower).await.len(), samples + 1, "and all of it is there");
    after - before
}

#[tokio::test]
async fn a_start_reads_as_much_of_a_long_log_as_of_a_short_one() {
    let (short, long) = (reads_of_a_start(2).await, reads_of_a_start(6).await);
    assert_eq!(short, long, "reads");
    assert!(long < 40, "{long}");
}
