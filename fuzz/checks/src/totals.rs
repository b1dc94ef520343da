//! Checks of what reads the journal of totals.

use std::time::Duration;
use totals::{Begin, Limits, Now, Replay, Totals};

/// An entry of the journal of totals: what is read makes totals that can be sent, and is written and read the same.
pub fn entry(bytes: &[u8]) {
    let replay = |entries: &[Vec<u8>]| {
        let mut replay = Replay::new(Totals::new(Limits::default()), Duration::ZERO);
        let read = entries.iter().all(|entry| replay.entry(entry).is_ok());
        (read, replay.finish())
    };
    let (read, totals) = replay(&[bytes.to_vec()]);
    if !read {
        return;
    }
    let snapshot = totals.snapshot();
    let (read, mut again) = replay(&snapshot);
    assert!(read, "an entry of our own");
    assert!(again.snapshot() == snapshot);
    assert!((again.len(), again.series(), again.bytes()) == (totals.len(), totals.series(), totals.bytes()));
    let now = Now { wall_ms: 1_800_000_000_000, monotonic: Duration::from_secs(100) };
    if let Some(flush) = again.flush(now, Begin::WithZero, 10_000) {
        crate::formats::check_whole(&flush.batch);
        again.confirm(flush);
    }
}
