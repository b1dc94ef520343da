//! The seeds for fuzzing the decoders (`fuzz/corpus`), written by our encoders and by others.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // helpers of tests

mod oracle;

use formats::compress::{Compressor, Encoding};
use formats::remote_write::{Encoder, Protocol};
use model::{Counts, Histogram, Labels, Metadata};
use oracle::client as pb;
use prost::Message;
use std::path::PathBuf;

fn corpus(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target)
}

/// The seeds: one small example of each feature of a format.
fn seeds() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let text = "# HELP up Is it \\\\ up?\n# TYPE up gauge\nup{job=\"a\\\"b\\n\"} 1 1700000000000\n\
                {\"dotted.name\",x=\"y\"} NaN\n# TYPE took histogram\ntook_bucket{le=\"+Inf\"} 1\ntook_sum 0.5\n";
    let open_metrics = "# TYPE took histogram\n# UNIT took seconds\n\
                        took_bucket{le=\"1.0\"} 1 1700000000.5 # {trace_id=\"x\"} 0.5 1700000000.1\n\
                        took_count 1\ntook_created 1600000000\n# EOF\n";
    let mut seeds = vec![
        ("text", "everything", text.into()),
        ("openmetrics", "everything", open_metrics.into()),
        ("exposition", "everything", exposition()),
    ];
    for (target, protocol) in [("remote_write_1", Protocol::V1), ("remote_write_2", Protocol::V2)] {
        seeds.push((target, "everything", request(protocol)));
    }
    let body = request(Protocol::V1);
    for (name, encoding) in [("snappy", Encoding::Snappy), ("zstd", Encoding::Zstd)] {
        seeds.push(("decompress", name, Compressor::new().encode(encoding, &body).unwrap().to_vec()));
    }
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut gzip, &body).unwrap();
    seeds.push(("decompress", "gzip", gzip.finish().unwrap()));
    let mut framed = snap::write::FrameEncoder::new(Vec::new());
    std::io::Write::write_all(&mut framed, &body).unwrap();
    seeds.push(("decompress", "snappy_framed", framed.into_inner().unwrap()));
    seeds
}

fn histogram() -> Histogram {
    Histogram {
        reset_hint: model::ResetHint::No,
        schema: 2,
        zero_threshold: 0.001,
        sum: 10.0,
        positive_spans: vec![model::BucketSpan { offset: -1, length: 2 }],
        negative_spans: vec![model::BucketSpan { offset: 3, length: 1 }],
        counts: Counts::Integer { count: 9, zero: 1, positive: vec![2, 1], negative: vec![3] },
        custom_values: vec![],
    }
}

fn request(protocol: Protocol) -> Vec<u8> {
    let mut encoder = Encoder::new(protocol);
    let metadata = Metadata {
        family: "took".into(),
        kind: model::MetricType::Histogram,
        help: "How long.".into(),
        unit: "seconds".into(),
    };
    let exemplar = Labels::from_pairs([("trace_id", "abc")]);
    for job in ["one", "two"] {
        let labels = Labels::from_pairs([("__name__", "took"), ("job", job), ("path", "/é")]);
        encoder.push_series(labels.as_ref(), Some(&metadata));
        encoder.push_float(1_700_000_000_000, 1_600_000_000_000, 1.5);
        encoder.push_exemplar(1_700_000_000_001, exemplar.as_ref(), 0.5);
        encoder.push_histogram(1_700_000_000_002, 0, &histogram()).unwrap();
    }
    encoder.push_metadata(&metadata);
    encoder.finish().to_vec()
}

fn exposition() -> Vec<u8> {
    let label = |name: &str| pb::LabelPair { name: Some(name.into()), value: Some("1".into()) };
    let time = Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 5_000_000 });
    let exemplar = pb::Exemplar { label: vec![label("id")], value: Some(0.5), timestamp: time };
    let span = pb::BucketSpan { offset: Some(-1), length: Some(1) };
    let histogram = pb::Histogram {
        sample_count: Some(2),
        sample_sum: Some(1.0),
        bucket: vec![pb::Bucket {
            cumulative_count: Some(2),
            upper_bound: Some(1.0),
            exemplar: Some(exemplar.clone()),
            ..Default::default()
        }],
        schema: Some(1),
        positive_span: vec![span],
        positive_delta: vec![2],
        exemplars: vec![exemplar.clone()],
        created_timestamp: time,
        ..Default::default()
    };
    let counter = pb::Counter { value: Some(1.0), exemplar: Some(exemplar), created_timestamp: time };
    let summary = pb::Summary {
        sample_count: Some(1),
        quantile: vec![pb::Quantile { quantile: Some(0.5), value: Some(1.0) }],
        ..Default::default()
    };
    let labels = || vec![label("a"), label("b")];
    let metrics = [
        pb::Metric { label: labels(), counter: Some(counter), timestamp_ms: Some(1), ..Default::default() },
        pb::Metric { gauge: Some(pb::Gauge { value: Some(1.0) }), ..Default::default() },
        pb::Metric { label: labels(), summary: Some(summary), ..Default::default() },
        pb::Metric { untyped: Some(pb::Untyped { value: Some(1.0) }), ..Default::default() },
        pb::Metric { label: labels(), histogram: Some(histogram), ..Default::default() },
    ];
    let families = metrics.into_iter().enumerate().map(|(kind, metric)| pb::MetricFamily {
        name: Some(format!("family_{kind}")),
        help: Some("Help.".into()),
        r#type: Some(kind as i32),
        metric: vec![metric],
        unit: None,
    });
    families.flat_map(|family| family.encode_length_delimited_to_vec()).collect()
}

/// Set this variable to write the seeds again after a change.
const WRITE: &str = "WRITE_CORPUS";

#[test]
fn the_seeds_are_in_the_corpus() {
    for (target, name, bytes) in seeds() {
        let file = corpus(target).join(name);
        if std::env::var_os(WRITE).is_some() {
            std::fs::create_dir_all(corpus(target)).unwrap();
            std::fs::write(&file, &bytes).unwrap();
        }
        let committed = std::fs::read(&file).unwrap_or_default();
        // The output of compressors may change, so these files only have to exist.
        let same = if target == "decompress" { !committed.is_empty() } else { committed == bytes };
        assert!(same, "{} differs: run this test with {WRITE}=1", file.display());
    }
}
