//! Measures the codecs with one request of 2000 series with 12 labels and one sample each, about as Prometheus sends
//! it. Prints nanoseconds per series: the fastest and the median of many rounds.
//!
//!     cargo bench -p formats [-- PART OF A NAME]

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a program for people")]

use formats::compress::{Compressor, Decompressor, Encoding};
use formats::remote_write::{DecodeOptions, Encoder, Protocol, decode};
use formats::text::{Format, ParseOptions, parse};
use model::{Batch, Labels};
use std::hint::black_box;
use std::time::{Duration, Instant};

const SERIES: usize = 2000;
const LIMIT: usize = 32 << 20;

/// The series of one target after the other, as in a sender's shard.
fn batch() -> Batch {
    let mut batch = Batch::new();
    for index in 0..SERIES {
        let (target, metric) = (index / 100, index % 100);
        let name = format!("http_server_requests_{metric}_seconds_total");
        let pod = format!("checkout-{:x}-{target}", 0x5f2c_91d7_u32.wrapping_mul(target as u32 + 7));
        let instance = format!("10.24.{}.{}:9090", target / 8, target * 7 % 251);
        let path = format!("/api/v1/items/{}", metric % 20);
        let labels = Labels::from_pairs([
            ("__name__", name.as_str()),
            ("cluster", "production-eu-west-1"),
            ("container", "checkout"),
            ("instance", &instance),
            ("job", "kubernetes-pods"),
            ("method", if metric % 2 == 0 { "GET" } else { "POST" }),
            ("namespace", "shop"),
            ("node", "ip-10-24-3-17.eu-west-1.compute.internal"),
            ("path", &path),
            ("pod", &pod),
            ("status", "200"),
            ("zone", "eu-west-1b"),
        ]);
        let series = batch.add_series(labels.as_ref(), model::Series::NO_METADATA);
        batch.push_float(
            series,
            1_700_000_000_000 + target as i64 * 137,
            metric as f64 * 17.25 + index as f64,
        );
    }
    batch
}

fn encode(encoder: &mut Encoder, batch: &Batch) {
    encoder.clear();
    for (index, point) in batch.points.iter().enumerate() {
        encoder.push_series(batch.labels(index as u32), None);
        encoder.push_point(batch, point).unwrap();
    }
}

fn text(batch: &Batch) -> String {
    let mut out = String::new();
    for (index, point) in batch.points.iter().enumerate() {
        let model::Value::Float(value) = point.value else { continue };
        out += &format!("{} {value}\n", batch.labels(index as u32));
    }
    out
}

fn measure(filter: &str, name: &str, note: &str, mut run: impl FnMut()) {
    if !name.contains(filter) {
        return;
    }
    let started = Instant::now();
    let mut rounds: Vec<Duration> = Vec::new();
    while started.elapsed() < Duration::from_millis(1500) {
        let round = Instant::now();
        run();
        rounds.push(round.elapsed());
    }
    rounds.sort();
    let per_series = |round: Duration| round.as_nanos() as f64 / SERIES as f64;
    let (fastest, median) = (rounds.first().unwrap(), rounds.get(rounds.len() / 2).unwrap());
    println!("{name:28} {:8.1} {:8.1}   {note}", per_series(*fastest), per_series(*median));
}

fn main() {
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with("--")).unwrap_or_default();
    let batch = batch();
    println!("{:28} {:>8} {:>8}   ns per series; {SERIES} series", "", "fastest", "median");
    let note = |bytes: usize| format!("{:.1} bytes a series", bytes as f64 / SERIES as f64);

    for protocol in [Protocol::V1, Protocol::V2] {
        let mut encoder = Encoder::new(protocol);
        encode(&mut encoder, &batch);
        let body = encoder.finish().to_vec();
        let options = DecodeOptions::default();
        assert_eq!(decode(protocol, &body, &options).unwrap().batch.points, batch.points);
        measure(&filter, &format!("decode {protocol:?}"), &note(body.len()), || {
            black_box(decode(protocol, black_box(&body), &options).unwrap());
        });
        measure(&filter, &format!("encode {protocol:?}"), &note(body.len()), || {
            encode(&mut encoder, black_box(&batch));
            black_box(encoder.finish());
        });
        for encoding in [Encoding::Snappy, Encoding::Zstd] {
            let mut compressor = Compressor::new();
            let packed = compressor.encode(encoding, &body).unwrap().to_vec();
            let mut out = Vec::new();
            measure(&filter, &format!("decompress {encoding:?} {protocol:?}"), &note(packed.len()), || {
                Decompressor::new().decode(encoding, black_box(&packed), LIMIT, &mut out).unwrap();
            });
            measure(&filter, &format!("compress {encoding:?} {protocol:?}"), &note(packed.len()), || {
                black_box(compressor.encode(encoding, black_box(&body)).unwrap());
            });
        }
    }
    let text = text(&batch);
    let options = ParseOptions::new(Format::Text, 0);
    assert_eq!(parse(text.as_bytes(), &options).unwrap().batch.series.len(), SERIES);
    measure(&filter, "parse text", &note(text.len()), || {
        black_box(parse(black_box(text.as_bytes()), &options).unwrap());
    });
}
