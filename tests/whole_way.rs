//! All data of a remote write 2.0 request passes through narthex unchanged: from the input to the log on disk, through
//! a kill, to a destination with 2.0. A destination with 1.0 gets the data that 1.0 can represent, and the rest is
//! counted.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is how a test reports")]

use formats::remote_write::{DecodeOptions, Encoder, Protocol, decode};
use model::{Batch, BucketSpan, Counts, Histogram, Labels, Metadata, MetricType, ResetHint, Value};
use std::collections::BTreeSet;
use support::narthex::config;
use support::{FakeReceiver, Narthex, SOON, now_ms, wait_for, wait_until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_narthex");
const V2: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";

fn histogram(counts: Counts, custom: bool, reset_hint: ResetHint) -> Histogram {
    let negative_spans = if custom { vec![] } else { vec![BucketSpan { offset: -2, length: 1 }] };
    Histogram {
        reset_hint,
        schema: if custom { -53 } else { 3 },
        zero_threshold: if custom { 0.0 } else { 1e-128 },
        sum: -12.5,
        positive_spans: vec![BucketSpan { offset: 0, length: 2 }, BucketSpan { offset: 1, length: 1 }],
        negative_spans,
        counts,
        custom_values: if custom { vec![-1.5, 0.25, 10.0, 1e9] } else { vec![] },
    }
}

fn integers(negative: Vec<i64>) -> Counts {
    let (zero, below) = if negative.is_empty() { (0, 0) } else { (2, 3) };
    Counts::Integer { count: 6 + zero + below, zero, positive: vec![1, 2, -1], negative }
}

fn floats(negative: Vec<f64>) -> Counts {
    let (zero, below) = if negative.is_empty() { (0.0, 0.0) } else { (0.75, 0.5) };
    Counts::Float { count: 3.5 + zero + below, zero, positive: vec![0.5, 1.0, 2.0], negative }
}

/// Two points of each series, a second apart, with start timestamps and exemplars: floats, and histograms of every
/// kind.
fn message(now: i64) -> Vec<u8> {
    let mut encoder = Encoder::new(Protocol::V2);
    let start = now - 3_600_000;
    let metadata = |family: &str, kind| Metadata {
        family: family.into(),
        kind,
        help: format!("What {family} is: \\ \"é\"."),
        unit: "seconds".into(),
    };
    let labels = |name: &str| Labels::from_pairs([("__name__", name), ("job", "a"), ("dotted.näme", "x y")]);
    let trace = Labels::from_pairs([("span_id", "7"), ("trace_id", "abc")]);
    encoder.push_series(labels("done_total").as_ref(), Some(&metadata("done_total", MetricType::Counter)));
    for (time, value) in [(now - 1000, 5e-324), (now, f64::INFINITY)] {
        encoder.push_float(time, start, value);
    }
    encoder.push_exemplar(now - 1, trace.as_ref(), 0.5);
    for (name, counts, custom, hint) in [
        ("int", integers(vec![3]), false, ResetHint::No),
        ("float", floats(vec![0.5]), false, ResetHint::Unknown),
        ("gauge", floats(vec![0.5]), false, ResetHint::Gauge),
        ("int_custom", integers(vec![]), true, ResetHint::Yes),
        ("float_custom", floats(vec![]), true, ResetHint::Unknown),
    ] {
        let kind = if hint == ResetHint::Gauge { MetricType::GaugeHistogram } else { MetricType::Histogram };
        encoder.push_series(labels(name).as_ref(), Some(&metadata(name, kind)));
        for time in [now - 1000, now] {
            encoder.push_histogram(time, start, &histogram(counts.clone(), custom, hint)).unwrap();
        }
        encoder.push_exemplar(now - 1, trace.as_ref(), -0.25);
    }
    encoder.finish().to_vec()
}

/// All points of a batch as text.
fn words(batch: &Batch) -> BTreeSet<String> {
    let word = |point: &model::Point| {
        let series = &batch.series[point.series as usize];
        let metadata = batch.metadata.get(series.metadata as usize);
        let metadata = metadata.map(|known| (&known.family, known.kind, &known.help, &known.unit));
        let value = match point.value {
            Value::Float(value) => format!("{:x}", value.to_bits()),
            Value::Histogram(index) => format!("{:?}", batch.histograms[index as usize]),
            Value::Exemplar(index) => {
                let exemplar = &batch.exemplars[index as usize];
                format!("exemplar {:?} {}", batch.slice(exemplar.labels), exemplar.value)
            }
        };
        let labels = batch.labels(point.series);
        format!("{labels} {} since {} {value} {metadata:?}", point.timestamp, point.start_timestamp)
    };
    batch.points.iter().map(word).collect()
}

/// The points that a destination received and accepted.
fn arrived(receiver: &FakeReceiver, protocol: Protocol) -> BTreeSet<String> {
    let requests = receiver.requests();
    let taken = requests.iter().filter(|request| request.stored);
    let batches =
        taken.map(|request| decode(protocol, &request.content, &DecodeOptions::default()).unwrap().batch);
    batches.flat_map(|batch| words(&batch)).collect()
}

#[test]
fn all_data_of_2_0_passes_input_disk_and_kill_unchanged() {
    let (new, old) = (FakeReceiver::start(), FakeReceiver::start());
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "collect: {{host: {{collectors: none}}, self: false}}\nremote_write:\n\
         - {{url: \"{}\", name: new, protobuf_message: io.prometheus.write.v2.Request, send_exemplars: true, \
         send_native_histograms: true}}\n\
         - {{url: \"{}\", name: old, protobuf_message: prometheus.WriteRequest, send_exemplars: true, \
         send_native_histograms: true}}\n",
        new.write_url(),
        old.write_url()
    );
    let config = config(folder.path(), &text);
    let arguments = ["--config", &config, "--flush-deadline", "1s"];
    let data = folder.path().join("data");
    new.go_away();
    old.go_away();
    let narthex = Narthex::start_in(PROGRAM, "run", &data, &arguments);
    let now = now_ms();
    let message = message(now);
    let wanted = words(&decode(Protocol::V2, &message, &DecodeOptions::default()).unwrap().batch);
    assert_eq!(wanted.len(), 6 * 3);
    let headers = [("content-type", V2), ("content-encoding", "snappy")];
    let answer = narthex.post("/api/v1/write", &headers, &support::wire::snappy(&message));
    assert_eq!(answer.status, 204, "{}", answer.text());
    let written = |kind: &str| answer.header(&format!("x-prometheus-remote-write-{kind}-written")).unwrap();
    assert_eq!([written("samples"), written("histograms"), written("exemplars")], ["2", "10", "6"]);
    narthex.process.kill();

    new.come_back();
    old.come_back();
    let narthex = Narthex::start_in(PROGRAM, "run", &data, &arguments);
    wait_for("all of it at the new destination", SOON, || {
        let there = arrived(&new, Protocol::V2);
        let missing: Vec<_> = wanted.difference(&there).collect();
        let more: Vec<_> = there.difference(&wanted).collect();
        if missing.is_empty() && more.is_empty() { Ok(()) } else { Err(format!("{missing:#?}\n{more:#?}")) }
    });
    // 1.0 has neither custom buckets nor start timestamps.
    let unsupported = |name: &str, of: &str| {
        let page = narthex.get("/metrics").text();
        let mine = page.lines().filter(|line| {
            line.starts_with(&format!("{name}{{"))
                && line.contains(&format!("remote_name=\"{of}\""))
                && line.contains("reason=\"unsupported\"")
        });
        mine.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum::<f64>()
    };
    let histograms = "prometheus_remote_storage_histograms_dropped_total";
    let starts = "narthex_remote_start_timestamps_dropped_total";
    let counted = || [histograms, starts].map(|name| unsupported(name, "old"));
    wait_until("what 1.0 can't carry is counted", SOON, || counted() == [4.0, 2.0 + 3.0 * 2.0]);
    assert_eq!([histograms, starts].map(|name| unsupported(name, "new")), [0.0, 0.0]);
    let there = arrived(&old, Protocol::V1);
    let points = there.iter().filter(|word| !word.contains("exemplar"));
    assert_eq!(points.clone().count(), 2 + 3 * 2, "{there:#?}");
    assert!(points.clone().all(|word| word.contains(" since 0 ") && !word.contains("_custom")), "{there:#?}");
}

/// An unusual snappy block: one literal without compression.
fn literal(plain: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    model::varint::put_u64(&mut body, plain.len() as u64);
    body.push(61 << 2);
    body.extend(u16::try_from(plain.len() - 1).unwrap().to_le_bytes());
    body.extend(plain);
    body
}

#[test]
fn a_request_without_changes_is_forwarded_byte_for_byte() {
    let receivers = [FakeReceiver::start(), FakeReceiver::start(), FakeReceiver::start()];
    let [same, labelled, without] = &receivers;
    let folder = tempfile::tempdir().unwrap();
    let common = "protobuf_message: io.prometheus.write.v2.Request, send_exemplars: true";
    let text = format!(
        "collect: {{host: {{collectors: none}}, self: false}}\nremote_write:\n\
         - {{url: \"{}\", name: same, {common}}}\n\
         - {{url: \"{}\", name: labelled, {common}, \
         write_relabel_configs: [{{target_label: region, replacement: eu}}]}}\n\
         - {{url: \"{}\", name: without, {common}, send_native_histograms: false}}\n",
        same.write_url(),
        labelled.write_url(),
        without.write_url(),
    );
    let config = config(folder.path(), &text);
    let narthex = Narthex::start_in(PROGRAM, "run", &folder.path().join("data"), &["--config", &config]);
    let message = message(now_ms());
    let headers = [("content-type", V2), ("content-encoding", "snappy")];
    let body = literal(&message);
    assert_eq!(narthex.post("/api/v1/write", &headers, &body).status, 204);
    let wanted = words(&decode(Protocol::V2, &message, &DecodeOptions::default()).unwrap().batch);
    wait_until("all at the first", SOON, || arrived(same, Protocol::V2) == wanted);
    wait_until("all at the second", SOON, || arrived(labelled, Protocol::V2).len() == wanted.len());
    wait_until("floats and exemplars at the third", SOON, || arrived(without, Protocol::V2).len() == 2 + 6);
    let requests = same.requests();
    assert_eq!(requests.iter().filter(|request| request.body == body).count(), 1);
    assert!(arrived(labelled, Protocol::V2).iter().all(|word| word.contains("region=\"eu\"")));
    let verbatim = |name: &str| {
        let page = narthex.get("/metrics").text();
        let mut lines =
            page.lines().filter(|line| line.starts_with("narthex_remote_requests_verbatim_total{"));
        let mine = lines.find(|line| line.contains(&format!("remote_name=\"{name}\""))).unwrap().to_string();
        mine.rsplit_once(' ').unwrap().1.to_string()
    };
    assert_eq!(["same", "labelled", "without"].map(verbatim), ["1", "0", "0"]);
}
