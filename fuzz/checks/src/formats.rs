//! Checks of the decoders in `formats`: no input makes them panic, and what they accept is whole and comes
//! through encoding and decoding unchanged.

use formats::compress::{Compressor, Decompressor, Encoding};
use formats::remote_write::{DecodeOptions, Encoder, Protocol, decode};
use formats::statsd;
use formats::text::{Format, ParseOptions, parse, parse_recognising};
use formats::{Parsed, Recognise, Unknown};
use model::{Batch, LabelsRef, Limits, Value};
use std::collections::HashMap;

/// Remote write 1.0, decompressed.
pub fn remote_write_1(bytes: &[u8]) {
    remote_write(Protocol::V1, bytes);
}

/// Remote write 2.0, decompressed.
pub fn remote_write_2(bytes: &[u8]) {
    remote_write(Protocol::V2, bytes);
}

/// The text format 0.0.4.
pub fn text(bytes: &[u8]) {
    let extra = [("job", "fuzz"), ("a", "")];
    check_text(bytes, &ParseOptions { extra_labels: &extra, ..ParseOptions::new(Format::Text, 1) });
}

/// Graphite plaintext. Each line is one sample, is rejected, or is skipped as NaN or empty.
pub fn graphite(bytes: &[u8]) {
    let parse = |known: &mut dyn Recognise| formats::graphite::parse(bytes, 1, &Limits::default(), known);
    let Parsed { batch, rejected } = parse(&mut Unknown);
    let mut known = Known::default();
    for _ in 0..2 {
        let Parsed { batch: same, rejected: also } = parse(&mut known);
        assert!(same == batch && also == rejected);
    }
    check_whole(&batch);
    let lines = bytes.split(|byte| *byte == b'\n').count() as u64;
    assert!(batch.points.len() as u64 + rejected.samples <= lines);
}

/// A datagram of StatsD. Numbers are finite, a value stands for at least one event, and names are valid.
pub fn statsd(bytes: &[u8]) {
    for line in statsd::lines(bytes) {
        let Ok(statsd::Line::Metric(metric)) = statsd::parse(line) else { continue };
        assert!(!metric.name.is_empty());
        let mut samples = 0;
        for sample in metric.samples() {
            samples += 1;
            assert!(samples <= line.len());
            let Ok(sample) = sample else { continue };
            assert!(sample.weight.is_finite() && sample.weight >= 1.0);
            assert!(sample.timestamp_s.is_none_or(|time| time > 0));
            if sample.kind != statsd::Kind::Set {
                assert!(sample.numbers().count() >= 1);
                assert!(sample.numbers().flatten().all(|number| number.value.is_finite()));
            }
            let described = statsd::describe(metric.name, sample.tags, statsd::TagStyles::default());
            for (name, value) in described.iter().flat_map(|described| &described.labels) {
                let is_allowed = |c: char| c.is_ascii_alphanumeric() || c == '_';
                assert!(!name.is_empty() && name.chars().all(is_allowed) && !value.is_empty());
            }
        }
    }
}

/// OpenMetrics.
pub fn openmetrics(bytes: &[u8]) {
    check_text(bytes, &ParseOptions::new(Format::OpenMetrics, 1));
}

/// What is accepted is whole, and the result is the same if all series are known.
fn check_text(bytes: &[u8], options: &ParseOptions<'_>) {
    let parsed = parse(bytes, options);
    let mut known = Known::default();
    for _ in 0..2 {
        let recognised = parse_recognising(bytes, options, &mut known);
        assert_eq!(format!("{recognised:?}"), format!("{parsed:?}"));
    }
    if let Ok(Parsed { batch, .. }) = parsed {
        check_whole(&batch);
    }
}

/// All series of a text, by their raw bytes.
#[derive(Default)]
struct Known(HashMap<(Vec<u8>, u8), Vec<u8>>);

impl Recognise for Known {
    fn find(&mut self, raw: &[u8], variant: u8, out: &mut Vec<u8>) -> bool {
        let labels = self.0.get(&(raw.to_vec(), variant));
        out.extend(labels.into_iter().flatten());
        labels.is_some()
    }
    fn learn(&mut self, raw: &[u8], variant: u8, labels: &[u8]) {
        self.0.insert((raw.to_vec(), variant), labels.to_vec());
    }
    fn assign(&mut self, _: u32) {}
}

/// The protobuf exposition format.
pub fn exposition(bytes: &[u8]) {
    let options = ParseOptions::new(Format::Text, 1);
    if let Ok(Parsed { batch, .. }) = formats::exposition::decode(bytes, &options) {
        check_whole(&batch);
    }
}

/// Every compression: the limit holds, and what is compressed comes back.
pub fn decompress(bytes: &[u8]) {
    const LIMIT: usize = 1 << 16;
    let mut decompressor = Decompressor::new();
    let mut out = Vec::new();
    for encoding in
        [Encoding::Snappy, Encoding::SnappyFramed, Encoding::Zstd, Encoding::Gzip, Encoding::Identity]
    {
        let result = decompressor.decode(encoding, bytes, LIMIT, &mut out);
        assert!(out.len() <= LIMIT && (result.is_ok() || out.is_empty()), "{encoding:?}");
    }
    let mut compressor = Compressor::new();
    for encoding in [Encoding::Snappy, Encoding::Zstd, Encoding::Identity] {
        let packed = compressor.encode(encoding, bytes).expect("anything can be compressed").to_vec();
        decompressor.decode(encoding, &packed, bytes.len(), &mut out).expect("and decompressed");
        assert!(out == bytes, "{encoding:?}");
    }
}

fn remote_write(protocol: Protocol, bytes: &[u8]) {
    let options = DecodeOptions::default();
    let Ok(decoded) = decode(protocol, bytes, &options) else { return };
    check_whole(&decoded.batch);
    assert!(decoded.rejected.reasons.is_empty() == decoded.rejected.is_empty());

    let mut encoder = Encoder::new(protocol);
    let mut points = decoded.batch.points.iter().peekable();
    for (index, series) in decoded.batch.series.iter().enumerate() {
        let index = index as u32;
        let metadata = decoded.batch.metadata.get(series.metadata as usize);
        encoder.push_series(decoded.batch.labels(index), metadata);
        while let Some(point) = points.next_if(|point| point.series == index) {
            if encoder.push_point(&decoded.batch, point).is_err() {
                return; // Custom buckets, which 1.0 doesn't have but narthex takes.
            }
        }
    }
    assert!(points.next().is_none(), "points are in the order of their series");
    let again = decode(protocol, encoder.finish(), &options).expect("what is encoded can be decoded");
    assert!(again.rejected.is_empty(), "{}", again.rejected);
    for exemplars in [false, true] {
        assert_eq!(stream(&decoded.batch, exemplars), stream(&again.batch, exemplars));
    }
}

/// The points of all series in order: labels, timestamps, value.
fn stream(batch: &Batch, exemplars: bool) -> Vec<(String, i64, i64, String)> {
    let points = batch.points.iter();
    let points = points.filter(|point| matches!(point.value, Value::Exemplar(_)) == exemplars);
    let show = |point: &model::Point| {
        let labels = format!("{:?}", batch.labels(point.series).as_bytes());
        let value = match point.value {
            Value::Float(value) => format!("{:x}", value.to_bits()),
            Value::Histogram(index) => format!("{:?}", batch.histograms.get(index as usize)),
            Value::Exemplar(index) => {
                let exemplar = batch.exemplars.get(index as usize).expect("it is there");
                format!("{:?} {:x}", batch.slice(exemplar.labels), exemplar.value.to_bits())
            }
        };
        (labels, point.timestamp, point.start_timestamp, value)
    };
    points.map(show).collect()
}

/// Every reference leads somewhere, every label set is canonical, every series has a name.
pub(crate) fn check_whole(batch: &Batch) {
    for index in 0..batch.series.len() as u32 {
        let labels = LabelsRef::parse(batch.labels(index).as_bytes()).expect("canonical labels");
        assert!(labels.metric_name().is_some());
    }
    for series in &batch.series {
        let none = series.metadata == model::Series::NO_METADATA;
        assert!(none || (series.metadata as usize) < batch.metadata.len());
    }
    for point in &batch.points {
        assert!((point.series as usize) < batch.series.len());
        match point.value {
            Value::Float(_) => {}
            Value::Histogram(index) => assert!((index as usize) < batch.histograms.len()),
            Value::Exemplar(index) => {
                let exemplar = batch.exemplars.get(index as usize).expect("it is there");
                LabelsRef::parse(batch.slice(exemplar.labels)).expect("canonical labels");
            }
        }
    }
}
