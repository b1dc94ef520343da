//! Measures the CPU time per sample, in nanoseconds, of each step on the way into and out of the log: build
//! the record, frame and compress it, read and decompress it, decode its entries. The disk is not part of the
//! measurement.
//!
//! `cargo bench -p wal` prints a line for each compression and kind of values.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // Prints a table.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wal::record::{self, SamplesBuilder};
use wal::sim::SimFilesystem;
use wal::{Compression, Durability, Filesystem, SegmentReader, Writer, WriterOptions};

const SAMPLES: u64 = 2000;
const RECORDS: u64 = 400;

/// Realistic values: mostly integer counters with small increments, and some gauges that use the full
/// precision of a float.
fn value(kind: &str, series: u64, round: u64) -> f64 {
    match (kind, series % 4) {
        ("counters", _) | ("mixed", 0..=2) => (series * 1000 + round * (series % 7)) as f64,
        _ => (series as f64 * 0.37).sin() * 1000.0 + round as f64 / 3.0,
    }
}

fn main() {
    println!("ns per sample            build   append   read   decode   bytes per sample");
    for compression in [Compression::None, Compression::Snappy, Compression::Zstd] {
        for kind in ["counters", "mixed"] {
            run(compression, kind);
        }
    }
}

fn run(compression: Compression, kind: &str) {
    let fs: Arc<dyn Filesystem> = Arc::new(SimFilesystem::new(1));
    let options = WriterOptions { compression, durability: Durability::Os };
    let (mut writer, _) = Writer::open(fs.clone(), Path::new("/wal"), options, 0, None).unwrap();
    let (mut build, mut append) = (Duration::ZERO, Duration::ZERO);
    let mut builder = SamplesBuilder::new();
    for round in 0..RECORDS {
        let started = Instant::now();
        builder.clear();
        for series in 0..SAMPLES {
            builder.push(
                5000 + series,
                1_700_000_000_000 + round as i64 * 15_000,
                0,
                value(kind, series, round),
            );
        }
        build += started.elapsed();
        let started = Instant::now();
        writer.append(black_box(builder.bytes())).unwrap();
        append += started.elapsed();
        writer.commit().unwrap();
    }
    let bytes = writer.segment_bytes();
    let mut reader = SegmentReader::open(&*fs, Path::new("/wal"), 0, 0).unwrap();
    let (mut read, mut decode) = (Duration::ZERO, Duration::ZERO);
    loop {
        let started = Instant::now();
        let Some(record) = reader.next().unwrap() else { break };
        read += started.elapsed();
        let started = Instant::now();
        let sum: f64 = record::samples(record.bytes).unwrap().map(|entry| entry.unwrap().value).sum();
        black_box(sum);
        decode += started.elapsed();
    }
    let total = (SAMPLES * RECORDS) as f64;
    let each = |time: Duration| time.as_nanos() as f64 / total;
    println!(
        "{:<8} {kind:<12} {:>8.1} {:>8.1} {:>6.1} {:>8.1} {:>10.2}",
        format!("{compression:?}"),
        each(build),
        each(append),
        each(read),
        each(decode),
        bytes as f64 / total
    );
}
