//! Reads logs that the real Prometheus wrote: with all compressions, as a server and as an agent, by old and
//! new versions, with checkpoints. `fixtures/README.md` says how they were made; their expected contents
//! follow from `fixtures/make.py`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // Helpers of tests.

mod support;

use model::{BucketSpan, Counts, MetricType};
use std::path::Path;
use support::{Census, census, fixture};
use wal::record::RecordType;
use wal::verify::verify;

/// Checks a log of six rounds in two segments. Each round has 40 series of floats and, with `all`, six native
/// histograms and three exemplars.
fn check_rounds(name: &str, all: bool) -> Census {
    let fs = fixture(name);
    let (census, files, damage) = census(&fs, Path::new("/"));
    assert_eq!(damage, [], "{name}");
    assert_eq!(files.iter().map(|file| file.segment).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(files[0].bytes, 32 * 1024, "a segment that Prometheus closed ends with zeros");
    assert!(census.unknown.is_empty());
    let counters: Vec<_> =
        census.samples.iter().filter(|(name, _)| name.starts_with("requests_total")).collect();
    assert_eq!(counters.len(), 40, "{name}");
    let first = counters[0].1[0].0;
    for (labels, samples) in counters {
        let number: f64 =
            labels.split("/päth/").nth(1).unwrap().trim_end_matches(['"', '}']).parse().unwrap();
        let expected: Vec<_> =
            (0..6).map(|round| (first + round * 15_000, 100.0 * number + round as f64)).collect();
        assert_eq!(*samples, expected, "{name}: {labels}");
    }
    let kinds = |kind| census.count(kind);
    let some = if all { 1 } else { 0 };
    assert_eq!(kinds(RecordType::Histograms), 12 * some, "{name}");
    assert_eq!(kinds(RecordType::FloatHistograms), 12 * some);
    assert_eq!(kinds(RecordType::CustomHistograms), 6 * some);
    assert_eq!(kinds(RecordType::CustomFloatHistograms), 6 * some);
    if all {
        check_histograms(&census);
    }
    let report = verify(&fs, Path::new("/"), &mut |_| {}).unwrap();
    assert!(report.is_clean(), "{name}: {report:?}");
    census
}

fn check_histograms(census: &Census) {
    let (_, integer) = &census.histograms[r#"latency{kind="integer-1"}"#][0];
    assert_eq!((integer.schema, integer.zero_threshold, integer.sum), (1, 0.001, 18.4 * 2.0));
    assert_eq!(integer.positive_spans, [0, 1].map(|offset| BucketSpan { offset, length: 2 - offset as u32 }));
    let counts = Counts::Integer { count: 13, zero: 2, positive: vec![2, 2, 0], negative: vec![1] };
    assert_eq!(integer.counts, counts);
    let (_, float) = &census.histograms[r#"latency{kind="float-0"}"#][5];
    assert_eq!(float.positive_spans, [BucketSpan { offset: -1, length: 2 }]);
    let counts = Counts::Float { count: 8.5, zero: 1.0, positive: vec![2.5, 5.0], negative: vec![] };
    assert_eq!(float.counts, counts);
    let (_, custom) = &census.histograms[r#"custom{kind="integer"}"#][0];
    assert_eq!((custom.schema, &custom.custom_values[..]), (-53, &[0.5, 1.0][..]));
    let (_, custom) = &census.histograms[r#"custom{kind="float"}"#][0];
    assert_eq!((custom.schema, &custom.custom_values[..]), (-53, &[0.25, 2.5][..]));
}

#[test]
fn server_logs_are_read_completely_with_every_compression() {
    for name in ["server-snappy", "server-zstd", "server-none"] {
        let census = check_rounds(name, true);
        assert_eq!(census.distinct_series(), 49);
        assert_eq!(census.sample_count(), 6 * 40 + 3);
        assert_eq!(census.count(RecordType::Exemplars), 18);
        let exemplars = census.exemplars.values().next().unwrap();
        assert_eq!((exemplars[5].1, &*exemplars[5].2), (0.5, r#"{trace_id="trace 5 0"}"#));
        let metadata = [
            ("with_metadata_0", MetricType::Counter, "", "Help for 0."),
            ("with_metadata_1", MetricType::Gauge, "seconds", "Help for 1."),
            ("with_metadata_2", MetricType::Counter, "", "Help for 2."),
        ];
        let metadata = metadata.map(|(name, kind, unit, help)| {
            (format!(r#"{name}{{job="fixture"}}"#), kind, unit.to_owned(), help.to_owned())
        });
        assert_eq!(census.metadata, metadata);
    }
}

#[test]
fn agent_logs_are_read_completely_with_every_compression() {
    for name in ["agent-snappy", "agent-zstd", "agent-none"] {
        let census = check_rounds(name, true);
        assert_eq!(census.distinct_series(), 46);
        assert_eq!(census.sample_count(), 6 * 40);
        assert_eq!(census.count(RecordType::Metadata), 0);
        // An agent drops the exemplars of a remote write 1.0 request.
        assert_eq!(census.count(RecordType::Exemplars), 0);
    }
}

#[test]
fn logs_of_2023_are_read_completely() {
    for name in ["server-2.42", "agent-2.42"] {
        let census = check_rounds(name, false);
        assert_eq!((census.distinct_series(), census.sample_count()), (40, 6 * 40));
    }
}

#[test]
fn a_server_checkpoint_replaces_its_segments() {
    let fs = fixture("server-checkpoint");
    let (census, files, damage) = census(&fs, Path::new("/"));
    assert_eq!(damage, []);
    let found: Vec<_> = files.iter().map(|file| (file.checkpoint, file.segment)).collect();
    assert_eq!(found, [(Some(2), 0), (None, 3), (None, 4), (None, 5)]);
    assert_eq!(census.distinct_series(), 40);
    assert!(census.unknown.is_empty());
    // Four pushes after the fourth start and one after the fifth. The older samples are in blocks.
    assert!(census.samples.values().all(|samples| samples.len() == 5));
}

#[test]
fn an_agent_checkpoint_names_the_series_of_later_segments() {
    let fs = fixture("agent-checkpoint");
    let (census, files, damage) = census(&fs, Path::new("/"));
    assert_eq!(damage, []);
    let found: Vec<_> = files.iter().map(|file| (file.checkpoint, file.segment)).collect();
    assert_eq!(found, [(Some(1), 0), (None, 2), (None, 3), (None, 4)]);
    assert_eq!(census.distinct_series(), 46);
    // Three pushes after the third start, one after the fourth.
    assert_eq!(census.sample_count(), 4 * 40);
    assert_eq!(census.histograms.values().map(Vec::len).sum::<usize>(), 4 * 6);
    assert!(census.unknown.is_empty());
}

#[test]
fn checkpoints_of_2023_are_read() {
    let fs = fixture("agent-2.42-checkpoint");
    let (agent, files, damage) = census(&fs, Path::new("/"));
    assert_eq!(damage, []);
    let found: Vec<_> = files.iter().map(|file| (file.checkpoint, file.segment)).collect();
    assert_eq!(found, [(Some(1), 0), (None, 2), (None, 3), (None, 4)]);
    assert_eq!((agent.distinct_series(), agent.sample_count()), (40, 4 * 40));
    assert!(agent.unknown.is_empty());
    let fs = fixture("server-2.42-checkpoint");
    let (server, files, damage) = census(&fs, Path::new("/"));
    assert_eq!(damage, []);
    let found: Vec<_> = files.iter().map(|file| (file.checkpoint, file.segment)).collect();
    assert_eq!(found, [(Some(2), 0), (None, 3), (None, 4), (None, 5)]);
    assert_eq!(server.distinct_series(), 40);
    assert!(server.unknown.is_empty());
    // Five samples of the head that was cut, 20 minutes apart, and the last one.
    let minutes = server.samples.values().map(|samples| {
        let first = samples[0].0;
        samples.iter().map(|(time, _)| (time - first) / 60_000).collect::<Vec<_>>()
    });
    assert!(
        minutes.clone().count() == 40 && minutes.clone().all(|minutes| minutes == [0, 20, 40, 60, 80, 140])
    );
}

#[test]
fn deletions_of_a_server_are_read_as_tombstones() {
    let fs = fixture("server-deleted");
    let (census, _, damage) = census(&fs, Path::new("/"));
    assert_eq!(damage, []);
    assert_eq!((census.distinct_series(), census.sample_count()), (40, 3 * 40));
    // Every fourth series, and the first two samples of each.
    assert_eq!(census.count(RecordType::Tombstones), 10);
}

#[test]
fn the_log_of_out_of_order_samples_is_read() {
    let fs = fixture("server-out-of-order");
    let (census, _, damage) = census(&fs, Path::new("/"));
    assert_eq!(damage, []);
    // Two series, whose label sets are in the other log. Each has a marker where a chunk begins: at the first
    // sample, and after 32 samples.
    assert_eq!(census.count(RecordType::Samples), 2 * 40);
    assert_eq!(census.count(RecordType::MmapMarkers), 2 * 2);
    assert_eq!((census.distinct_series(), census.unknown.len()), (0, 2));
}
