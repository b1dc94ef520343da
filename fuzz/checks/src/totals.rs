//! Checks of what reads the journal of totals, and of what makes totals of lines.

use mapping::{File, Mapping};
use statsd::{Aggregator, Counters, Options};
use std::sync::Arc;
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

/// A mapping file, a NUL, and lines of StatsD: what the rules make of them can be sent.
pub fn mapping(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let (file, lines) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let Ok(file) = std::str::from_utf8(file) else { return };
    let Ok(file) = serde_saphyr::from_str::<Option<File>>(file) else { return };
    let Ok(mapping) = Mapping::new(file.unwrap_or_default()) else { return };
    let (mut aggregator, mut totals) = (Aggregator::default(), Totals::new(Limits::default()));
    aggregator.set(&Arc::new(Options::default()), Some(&Arc::new(mapping)), model::Limits::default());
    let counters = Counters::default();
    let counts = counters.counts(&|_| {});
    for second in [100, 110, 10_000] {
        let now =
            Now { wall_ms: 1_800_000_000_000 + second * 1000, monotonic: Duration::from_secs(second as u64) };
        aggregator.apply(lines, &mut totals, now, &counts);
        aggregator.before_flush(&mut totals, now);
        aggregator.take_direct().iter().for_each(crate::formats::check_whole);
        while let Some(flush) = totals.flush(now, Begin::WithZero, 10_000) {
            crate::formats::check_whole(&flush.batch);
            let (mut replay, more) = (Replay::new(Totals::new(Limits::default()), now.monotonic), flush.more);
            assert!(replay.entry(&flush.entry).is_ok(), "an entry of our own");
            totals.confirm(flush);
            if !more {
                break;
            }
        }
    }
    assert!(totals.series() <= Limits::default().series);
}
