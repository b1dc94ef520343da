//! Compares the hand-written decoder of the protobuf exposition format with prost's messages.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // helpers of tests

mod oracle;

use formats::Parsed;
use formats::exposition::{ExpositionError, decode as decode_parts};
use formats::text::{Format, ParseOptions, Timestamps};
use model::{Batch, Counts, Histogram, LabelsRef, Value};
use oracle::client::{self as pb, MetricType};
use proptest::prelude::*;
use prost::Message;

const NOW: i64 = 1_700_000_000_000;

/// The batch of a body without rejected parts.
fn decode(body: &[u8], options: &ParseOptions<'_>) -> Result<Batch, ExpositionError> {
    decode_parts(body, options).map(|parsed| parsed.whole().unwrap())
}

fn options() -> ParseOptions<'static> {
    ParseOptions::new(Format::Text, NOW)
}

fn pair(name: &str, value: &str) -> pb::LabelPair {
    pb::LabelPair { name: Some(name.into()), value: Some(value.into()) }
}

fn time(seconds: i64, nanos: i32) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds, nanos })
}

fn family(name: &str, kind: MetricType, metric: pb::Metric) -> pb::MetricFamily {
    pb::MetricFamily {
        name: Some(name.into()),
        help: Some(format!("What {name} is.")),
        r#type: Some(kind as i32),
        metric: vec![metric],
        unit: Some("things".into()),
    }
}

fn body(families: &[pb::MetricFamily]) -> Vec<u8> {
    families.iter().flat_map(Message::encode_length_delimited_to_vec).collect()
}

fn show(batch: &Batch) -> Vec<String> {
    let each = batch.points.iter().map(|point| {
        let mut line = batch.labels(point.series).to_string();
        match point.value {
            Value::Float(value) => line += &format!(" {value}"),
            Value::Exemplar(index) => {
                let exemplar = batch.exemplars[index as usize];
                let labels = LabelsRef::parse(batch.slice(exemplar.labels)).unwrap();
                line += &format!(" # {labels} {}", exemplar.value);
            }
            Value::Histogram(index) => line += &format!(" native({})", batch.histograms[index as usize].sum),
        }
        if point.timestamp != NOW {
            line += &format!(" @{}", point.timestamp);
        }
        if point.start_timestamp != 0 {
            line += &format!(" since {}", point.start_timestamp);
        }
        let metadata = &batch.metadata[batch.series[point.series as usize].metadata as usize];
        line + &format!(" ({} {})", metadata.kind.as_str(), metadata.family)
    });
    each.collect()
}

fn simple() -> Vec<pb::MetricFamily> {
    let exemplar =
        pb::Exemplar { label: vec![pair("trace_id", "x")], value: Some(0.5), timestamp: time(9, 7_000_000) };
    let counter = pb::Metric {
        label: vec![pair("z", "1"), pair("a", "2"), pair("empty", "")],
        counter: Some(pb::Counter {
            value: Some(3.0),
            exemplar: Some(exemplar),
            created_timestamp: time(1, 500_000_000),
        }),
        timestamp_ms: Some(77),
        ..Default::default()
    };
    let gauge = pb::Metric { gauge: Some(pb::Gauge { value: Some(-1.5) }), ..Default::default() };
    let untyped = pb::Metric { untyped: Some(pb::Untyped { value: None }), ..Default::default() };
    let quantile = |quantile, value| pb::Quantile { quantile: Some(quantile), value: Some(value) };
    let summary = pb::Metric {
        summary: Some(pb::Summary {
            sample_count: Some(2),
            sample_sum: Some(0.25),
            quantile: vec![quantile(0.5, 1.0), quantile(1.0, f64::INFINITY)],
            created_timestamp: None,
        }),
        ..Default::default()
    };
    vec![
        family("hits_total", MetricType::Counter, counter),
        family("température", MetricType::Gauge, gauge),
        family("something", MetricType::Untyped, untyped),
        family("size", MetricType::Summary, summary),
    ]
}

#[test]
fn simple_metrics_become_the_series_of_a_scrape() {
    let batch = decode(&body(&simple()), &options()).unwrap();
    assert_eq!(
        show(&batch),
        [
            "hits_total{a=\"2\",z=\"1\"} 3 @77 since 1500 (counter hits_total)",
            "hits_total{a=\"2\",z=\"1\"} # {trace_id=\"x\"} 0.5 @9007 (counter hits_total)",
            "température -1.5 (gauge température)",
            "something 0 (unknown something)",
            "size{quantile=\"0.5\"} 1 (summary size)",
            "size{quantile=\"1.0\"} inf (summary size)",
            "size_sum 0.25 (summary size)",
            "size_count 2 (summary size)",
        ]
    );
    assert_eq!(batch.metadata[0].help, "What hits_total is.");
    assert_eq!(batch.metadata[0].unit, "things");
}

fn classic() -> pb::Histogram {
    let bucket = |count, bound| pb::Bucket {
        cumulative_count: Some(count),
        upper_bound: Some(bound),
        exemplar: (bound == 1.0).then(|| pb::Exemplar {
            label: vec![pair("id", "7")],
            value: Some(0.75),
            timestamp: None,
        }),
        ..Default::default()
    };
    pb::Histogram {
        sample_count: Some(4),
        sample_sum: Some(2.5),
        bucket: vec![bucket(1, 0.5), bucket(3, 1.0)],
        created_timestamp: time(2, 0),
        ..Default::default()
    }
}

fn native() -> pb::Histogram {
    let span = |offset, length| pb::BucketSpan { offset: Some(offset), length: Some(length) };
    pb::Histogram {
        sample_count: Some(10),
        sample_sum: Some(12.5),
        schema: Some(3),
        zero_threshold: Some(0.001),
        zero_count: Some(1),
        negative_span: vec![span(-2, 1)],
        negative_delta: vec![4],
        positive_span: vec![span(0, 1), span(3, 1)],
        positive_delta: vec![2, 1],
        exemplars: vec![pb::Exemplar { label: vec![], value: Some(1.0), timestamp: time(5, 0) }],
        ..Default::default()
    }
}

fn histogram(kind: MetricType, histogram: pb::Histogram) -> pb::MetricFamily {
    let metric =
        pb::Metric { label: vec![pair("job", "x")], histogram: Some(histogram), ..Default::default() };
    family("took", kind, metric)
}

#[test]
fn a_classic_histogram_gets_its_infinite_bucket() {
    let batch = decode(&body(&[histogram(MetricType::Histogram, classic())]), &options()).unwrap();
    assert_eq!(
        show(&batch),
        [
            "took_bucket{job=\"x\",le=\"0.5\"} 1 since 2000 (histogram took)",
            "took_bucket{job=\"x\",le=\"1.0\"} 3 since 2000 (histogram took)",
            "took_bucket{job=\"x\",le=\"1.0\"} # {id=\"7\"} 0.75 (histogram took)",
            "took_bucket{job=\"x\",le=\"+Inf\"} 4 since 2000 (histogram took)",
            "took_sum{job=\"x\"} 2.5 since 2000 (histogram took)",
            "took_count{job=\"x\"} 4 since 2000 (histogram took)",
        ]
    );
}

#[test]
fn a_native_histogram_becomes_one_series() {
    let batch = decode(&body(&[histogram(MetricType::GaugeHistogram, native())]), &options()).unwrap();
    assert_eq!(
        show(&batch),
        [
            "took{job=\"x\"} native(12.5) (gaugehistogram took)",
            "took{job=\"x\"} #  1 @5000 (gaugehistogram took)"
        ]
    );
    let span = |offset, length| model::BucketSpan { offset, length };
    assert_eq!(
        batch.histograms[0],
        Histogram {
            reset_hint: model::ResetHint::Gauge,
            schema: 3,
            zero_threshold: 0.001,
            sum: 12.5,
            positive_spans: vec![span(0, 1), span(3, 1)],
            negative_spans: vec![span(-2, 1)],
            counts: Counts::Integer { count: 10, zero: 1, positive: vec![2, 1], negative: vec![4] },
            custom_values: vec![],
        }
    );
}

#[test]
fn a_histogram_in_both_forms_is_kept_in_both() {
    let both = pb::Histogram { bucket: classic().bucket, exemplars: vec![], ..native() };
    let batch = decode(&body(&[histogram(MetricType::Histogram, both)]), &options()).unwrap();
    let lines = show(&batch);
    assert_eq!(lines.len(), 7);
    assert_eq!(lines[6], "took{job=\"x\"} native(12.5) (histogram took)");
    assert_eq!(lines[3], "took_bucket{job=\"x\",le=\"+Inf\"} 10 (histogram took)");
}

#[test]
fn float_counts_override_integers() {
    let floats = pb::Histogram {
        sample_count_float: Some(3.5),
        zero_count_float: Some(0.5),
        positive_span: vec![pb::BucketSpan { offset: Some(0), length: Some(1) }],
        positive_count: vec![3.0],
        sample_count: Some(9),
        ..Default::default()
    };
    let batch = decode(&body(&[histogram(MetricType::Histogram, floats)]), &options()).unwrap();
    let expected = Counts::Float { count: 3.5, zero: 0.5, positive: vec![3.0], negative: vec![] };
    assert_eq!(batch.histograms[0].counts, expected);
}

#[test]
fn extra_labels_replace_those_of_the_metric() {
    let extra = [("job", "backup"), ("a", "")];
    let options = ParseOptions { extra_labels: &extra, created_as_start: false, ..options() };
    let batch = decode(&body(&simple()), &options).unwrap();
    assert_eq!(show(&batch)[0], "hits_total{job=\"backup\",z=\"1\"} 3 @77 (counter hits_total)");
    assert_eq!(
        show(&batch)[1],
        "hits_total{job=\"backup\",z=\"1\"} # {trace_id=\"x\"} 0.5 @9007 (counter hits_total)"
    );
}

#[test]
fn content_types_name_the_format() {
    let is = formats::exposition::is_content_type;
    let full = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";
    assert!(is(Some(full)));
    assert!(is(Some(&full.replace("; ", ";").replace("delimited", "\"delimited\""))));
    assert!(!is(Some(&full.replace("delimited", "text"))));
    assert!(!is(Some("application/vnd.google.protobuf")));
    assert!(!is(Some("text/plain")) && !is(None));
}

#[test]
fn errors_name_their_reason_and_place() {
    let refuse = ParseOptions { timestamps: Timestamps::Refuse, ..options() };
    let error = |families: &[pb::MetricFamily], options: &ParseOptions<'_>| {
        decode(&body(families), options).unwrap_err().to_string()
    };
    assert_eq!(
        error(&simple(), &refuse),
        "a metric of \"hits_total\" has a timestamp: a pushed value counts from when it is pushed"
    );
    let mut wrong = simple();
    wrong[1].r#type = Some(MetricType::Summary as i32);
    assert_eq!(error(&wrong, &options()), "a metric of \"température\" lacks its summary");
    wrong[1].r#type = Some(9);
    assert_eq!(error(&wrong, &options()), "\"température\" is of type 9, which does not exist");
    wrong[1].name = None;
    assert_eq!(error(&wrong, &options()), "metric family 1 has no name, or one that is not UTF-8");
    let mut twice = simple();
    twice[0].metric[0].label.push(pair("z", "3"));
    assert_eq!(error(&twice, &options()), "a metric of \"hits_total\": label \"z\" is there twice");
    let broken = pb::Histogram { positive_delta: vec![1], ..native() };
    assert_eq!(
        error(&[histogram(MetricType::Histogram, broken)], &options()),
        "a metric of \"took\": positive spans need 2 buckets, have 1"
    );
    let few = ParseOptions { max_points: 3, ..options() };
    assert_eq!(error(&simple(), &few), "more than 3 samples");
    let cut = body(&simple());
    assert_eq!(
        decode(&cut[..cut.len() - 1], &options()).unwrap_err(),
        ExpositionError::Malformed {
            what: "a message is longer than the rest of the body",
            offset: body(&simple()[..3]).len()
        }
    );
}

#[test]
fn a_metric_over_a_limit_costs_only_itself() {
    let long_name = "n".repeat(1025);
    let metric = |labels: Vec<pb::LabelPair>| {
        let exemplar = pb::Exemplar { label: vec![pair("id", "1")], value: Some(2.0), timestamp: time(9, 0) };
        let counter = pb::Counter { value: Some(1.0), exemplar: Some(exemplar), ..pb::Counter::default() };
        pb::Metric { label: labels, counter: Some(counter), ..pb::Metric::default() }
    };
    let counter = |name: &str, labels| family(name, MetricType::Counter, metric(labels));
    let many = (0..200).map(|index| pair(&format!("l{index}"), "")).collect();
    for (bad, reason) in [
        (counter("a", many), "a metric of \"a\": the number of labels is 200, the limit is 128".to_string()),
        (
            counter("a", vec![pair("l", &"x".repeat(16_385))]),
            "a metric of \"a\": the length of the value of label \"l\" is 16385, the limit is 16384".into(),
        ),
        (
            counter(&long_name, vec![]),
            format!(
                "a metric of {:?}: the length of the metric name \"{}…\" is 1025, the limit is 1024",
                &long_name[..64],
                &long_name[..64]
            ),
        ),
    ] {
        let families = [counter("first", vec![]), bad, counter("last", vec![])];
        let Parsed { batch, rejected } = decode_parts(&body(&families), &options()).unwrap();
        assert_eq!(show(&batch).len(), 4, "{:?}", show(&batch));
        assert_eq!((rejected.series, rejected.samples, rejected.exemplars), (1, 1, 1));
        assert_eq!(rejected.reasons, [reason]);
    }
    let small = ParseOptions { limits: model::Limits { buckets: 1, ..Default::default() }, ..options() };
    let families = [histogram(MetricType::Histogram, native()), counter("last", vec![])];
    let Parsed { batch, rejected } = decode_parts(&body(&families), &small).unwrap();
    assert_eq!(show(&batch).len(), 2, "{:?}", show(&batch));
    assert_eq!((rejected.series, rejected.histograms), (1, 1));
    assert_eq!(rejected.reasons, ["a metric of \"took\": histogram has 2 buckets, the limit is 1"]);
    let mut long = counter("a", vec![]);
    long.metric[0].counter.as_mut().unwrap().exemplar.as_mut().unwrap().label[0] =
        pair("id", &"x".repeat(16_385));
    let Parsed { batch, rejected } = decode_parts(&body(&[long]), &options()).unwrap();
    assert_eq!(show(&batch), ["a 1 (counter a)"]);
    assert_eq!((rejected.series, rejected.samples, rejected.exemplars), (0, 0, 1));
}

#[test]
fn an_exemplar_keeps_its_timestamp_where_samples_may_have_none() {
    let refuse = ParseOptions { timestamps: Timestamps::Refuse, ..options() };
    let exemplar = pb::Exemplar { label: vec![], value: Some(2.0), timestamp: time(9, 7_000_000) };
    let counter = pb::Counter { value: Some(1.0), exemplar: Some(exemplar), ..pb::Counter::default() };
    let metric = pb::Metric { counter: Some(counter), ..pb::Metric::default() };
    let batch = decode(&body(&[family("a", MetricType::Counter, metric)]), &refuse).unwrap();
    assert_eq!(show(&batch), ["a 1 (counter a)", "a #  2 @9007 (counter a)"]);
}

#[test]
fn the_error_for_a_compressed_body_names_the_encoding() {
    let said = decode(b"\x1f\x8b\x08\x00\x00", &options()).unwrap_err().to_string();
    assert_eq!(said, "the body is compressed with gzip: send the header Content-Encoding: gzip");
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_or_refused(bytes: Vec<u8>) {
        let _ = decode(&bytes, &options());
    }

    #[test]
    fn damaged_bodies_are_decoded_or_refused(
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut: prop::sample::Index,
    ) {
        let mut families = simple();
        families.push(histogram(MetricType::Histogram, native()));
        families.push(histogram(MetricType::Histogram, classic()));
        let mut bytes = body(&families);
        for (at, to) in damage {
            let at = at.index(bytes.len());
            bytes[at] = to;
        }
        for bytes in [&bytes[..], &bytes[..cut.index(bytes.len())]] {
            if let Ok(batch) = decode(bytes, &options()) {
                show(&batch);
                for index in 0..batch.series.len() {
                    prop_assert!(LabelsRef::parse(batch.labels(index as u32).as_bytes()).is_ok());
                }
            }
        }
    }

    #[test]
    fn a_body_cut_inside_of_a_family_is_refused(cut: prop::sample::Index) {
        let families = simple();
        let bytes = body(&families);
        let cut = cut.index(bytes.len());
        let between = (0..families.len()).any(|count| body(&families[..count]).len() == cut);
        prop_assert_eq!(decode(&bytes[..cut], &options()).is_ok(), between);
    }
}
