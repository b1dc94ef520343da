//! The reported sizes of the log match its files.

#![allow(clippy::unwrap_used, clippy::expect_used)] // Tests and their helpers.

mod common;

use common::{floats, open, options};
use storage::Options;
use wal::Position;

#[tokio::test(flavor = "multi_thread")]
async fn bytes_from_a_position_match_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(Options { max_size: 8 << 20, ..options(dir.path()) });
    let start = storage.end();
    let pin = storage.pin("away", start);
    assert_eq!(storage.bytes_from(&[start]), [0]);
    storage.append(floats(0..500, 1, 0.5)).await.unwrap();
    let middle = storage.end();
    let mut time = 2;
    while storage.end().segment == start.segment {
        storage.append(floats(0..2000, time, 0.1 * time as f64)).await.unwrap();
        time += 1;
    }
    storage.append(floats(0..500, time, 0.5)).await.unwrap();
    let end = storage.end();
    let size = |number: u64| {
        std::fs::metadata(wal::dir::segment_path(&dir.path().join("wal"), number)).unwrap().len()
    };
    let all: u64 = (start.segment..end.segment).map(size).sum::<u64>() + end.offset;
    let next = Position::start_of(start.segment + 1);
    assert_eq!(
        storage.bytes_from(&[start, middle, next, end]),
        [all, all - middle.offset, all - size(start.segment), 0]
    );
    pin.release();

    let stats = storage.stats();
    let page = wal::page::PAGE_BYTES as u64;
    let full: u64 = (start.segment..=end.segment).map(|number| size(number) / page).sum();
    assert_eq!(stats.pages_completed.get(), full);
    assert!(stats.page_flushes.get() >= full.max(stats.commits.get()));
    // Framed bytes are written bytes, except for the ends of pages where no header fits.
    let (framed, written) = (stats.record_bytes.get(), stats.bytes_written.get());
    assert!(framed <= written && written - framed < 7 * (full + 1), "{framed} of {written}");
    assert!(stats.record_parts.get() > full && stats.record_bytes_saved.get() > 0);
}
