#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // Helpers of tests.

use super::*;
use crate::record::{HistogramsBuilder, SamplesBuilder, SeriesBuilder};
use crate::sim::SimFilesystem;
use crate::{Writer, WriterOptions};
use model::{BucketSpan, Counts, Histogram, Labels, ResetHint};
use std::path::Path;
use std::sync::Arc;

fn log() -> SimFilesystem {
    let fs = SimFilesystem::new(1);
    let dir = Path::new("/wal");
    let (mut writer, _) = Writer::open(Arc::new(fs.clone()), dir, WriterOptions::default(), 0, None).unwrap();
    let mut series = SeriesBuilder::new();
    let sets: [&[(&str, &str)]; 4] = [
        &[("__name__", "up"), ("job", "a \"b\" \\ c\nd")],
        &[("__name__", "température"), ("à côté", "é"), ("zone", "1")],
        &[("job", "nameless")],
        &[("__name__", "latency")],
    ];
    for (reference, set) in sets.iter().enumerate() {
        series.push(reference as u64, Labels::from_pairs(set.iter().copied()).as_ref());
    }
    writer.append(series.bytes()).unwrap();
    let mut samples = SamplesBuilder::with_start_timestamps();
    samples.push(0, 1_700_000_000_123, 1_600_000_000_000, 1.5);
    samples.push(1, -1, 0, f64::INFINITY);
    samples.push(0, 1_700_000_000_123, 0, 2.5);
    samples.push(0, 1_700_000_001_000, 0, model::stale_nan());
    samples.push(2, 5, 0, 1.0);
    samples.push(77, 5, 0, f64::NAN);
    writer.append(samples.bytes()).unwrap();
    let histogram = Histogram {
        reset_hint: ResetHint::No,
        schema: 1,
        zero_threshold: 0.5,
        sum: 2.0,
        positive_spans: vec![BucketSpan { offset: 0, length: 1 }],
        negative_spans: vec![],
        counts: Counts::Integer { count: 3, zero: 1, positive: vec![2], negative: vec![] },
        custom_values: vec![],
    };
    let mut histograms = HistogramsBuilder::new(RecordType::Histograms).unwrap();
    assert!(histograms.push(3, 7, 0, &histogram));
    writer.append(histograms.bytes()).unwrap();
    writer.commit().unwrap();
    fs
}

fn dumped(options: DumpOptions) -> (String, DumpReport) {
    let mut out = Vec::new();
    let report = dump(&log(), Path::new("/wal"), options, &mut out, &mut |_| {}).unwrap();
    (String::from_utf8(out).unwrap(), report)
}

#[test]
fn text_has_a_line_for_each_entry() {
    let (text, report) = dumped(DumpOptions::default());
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines.len(), report.written), (11, 11));
    assert_eq!(lines[1], r#"series    #1 température{zone="1",à côté="é"}"#);
    assert_eq!(lines[4], r#"sample    up{job="a \"b\" \\ c\nd"} 1700000000123 1.5 since 1600000000000"#);
    assert_eq!(lines[7], r#"sample    up{job="a \"b\" \\ c\nd"} 1700000001000 NaN (stale)"#);
    assert_eq!(lines[9], "sample    #77 5 NaN");
    assert_eq!(lines[10], "histogram latency 7 count=3 sum=2 schema=1 buckets=1");
}

#[test]
fn json_lines_contain_every_field() {
    let (text, _) = dumped(DumpOptions { format: DumpFormat::Json, ..DumpOptions::default() });
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 11);
    assert_eq!(
        lines[4],
        serde_json::json!({"kind": "sample", "reference": 0, "timestamp": 1_700_000_000_123_i64,
            "start_timestamp": 1_600_000_000_000_i64, "value": 1.5,
            "labels": {"__name__": "up", "job": "a \"b\" \\ c\nd"}})
    );
    assert_eq!((&lines[5]["value"], &lines[7]["value"]), (&"inf".into(), &"stale".into()));
    assert_eq!(lines[9]["labels"], serde_json::Value::Null);
    assert_eq!(lines[10]["histogram"]["positive_deltas"], serde_json::json!([2]));
}

#[test]
fn open_metrics_sorts_by_time_and_omits_inexpressible_entries() {
    let (text, report) = dumped(DumpOptions { format: DumpFormat::OpenMetrics, ..DumpOptions::default() });
    let expected = concat!(
        r#"up{job="a \"b\" \\ c\nd"} 1.5 1700000000.123"#,
        "\n",
        r#"{"température",zone="1","à côté"="é"} +Inf -0.001"#,
        "\n# EOF\n"
    );
    assert_eq!(text, expected);
    assert_eq!((report.written, report.out_of_order, report.unknown_series), (2, 1, 1));
    // A staleness marker, a series without a name, a native histogram.
    assert_eq!(report.inexpressible, 3);
}

#[test]
fn time_range_and_label_memory_limit_are_applied() {
    let options = DumpOptions { from: 5, to: 7, ..DumpOptions::default() };
    assert_eq!(dumped(options).0.lines().filter(|line| !line.starts_with("series")).count(), 3);
    let (text, report) = dumped(DumpOptions { label_bytes: 150, ..DumpOptions::default() });
    assert_eq!(report.series_left_out, 3);
    assert!(text.contains("sample    #1 -1 inf") && text.contains("sample    up{"));
    let options = DumpOptions { label_bytes: 150, format: DumpFormat::OpenMetrics, ..DumpOptions::default() };
    assert_eq!(dumped(options).1.unknown_series, 3);
}
