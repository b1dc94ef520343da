//! Compares the hand-written remote-write codec with prost: each reads the output of the other, in every form that
//! protocol buffers allow. And no input makes the codec panic.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // helpers of tests

#[path = "../oracle/mod.rs"]
mod oracle;

mod common_pairs;
mod exact;
mod messages;
mod plain;
mod scramble;

use formats::remote_write::{DecodeError, DecodeOptions, Encoder, Protocol, decode};
use plain::{PlainSeries, PlainValue};
use proptest::prelude::*;
use proptest::test_runner::TestRng;
use prost::Message;

fn options() -> DecodeOptions {
    DecodeOptions {
        // These limits accept fourteen labels with the longest generated values.
        limits: model::Limits { name_bytes: 1 << 16, set_bytes: 1 << 20, ..model::Limits::default() },
        ..DecodeOptions::default()
    }
}

fn encode(protocol: Protocol, all: &[PlainSeries]) -> Vec<u8> {
    let batch = plain::to_batch(all);
    let mut encoder = Encoder::new(protocol);
    for (index, series) in batch.series.iter().enumerate() {
        encoder.push_series(batch.labels(index as u32), batch.metadata.get(series.metadata as usize));
        for point in batch.points.iter().filter(|point| point.series == index as u32) {
            encoder.push_point(&batch, point).unwrap();
        }
    }
    let expected = encoder.encoded_bytes();
    let body = encoder.finish().to_vec();
    assert!(body.len().abs_diff(expected) <= 8, "{} announced, {} written", expected, body.len());
    encoder.clear();
    assert!(encoder.is_empty() && encoder.finish().is_empty());
    body
}

/// The encoder leaves out empty metadata in 2.0.
fn without_empty_metadata(mut all: Vec<PlainSeries>) -> Vec<PlainSeries> {
    for series in &mut all {
        series.metadata = series.metadata.take().filter(|entry| *entry != (0, String::new(), String::new()));
    }
    all
}

/// Merges floats and histograms by time, as the decoder does.
fn merged(mut all: Vec<PlainSeries>) -> Vec<PlainSeries> {
    for series in &mut all {
        let (mut floats, mut histograms): (Vec<_>, Vec<_>) =
            series.points.drain(..).partition(|point| matches!(point.value, PlainValue::Float(_)));
        while !floats.is_empty() || !histograms.is_empty() {
            let float_first = match (floats.first(), histograms.first()) {
                (Some(float), Some(histogram)) => float.timestamp <= histogram.timestamp,
                (float, _) => float.is_some(),
            };
            series.points.push(if float_first { floats.remove(0) } else { histograms.remove(0) });
        }
    }
    all
}

fn check_decoded(protocol: Protocol, body: &[u8], all: Vec<PlainSeries>) {
    let decoded = decode(protocol, body, &options()).unwrap();
    assert!(decoded.rejected.is_empty(), "{}", decoded.rejected);
    let count = |float: bool| -> u64 {
        let points = all.iter().flat_map(|series| &series.points);
        points.filter(|point| matches!(point.value, PlainValue::Float(_)) == float).count() as u64
    };
    let exemplars = all.iter().map(|series| series.exemplars.len() as u64).sum();
    let sent = model::Kinds { samples: count(true), histograms: count(false), exemplars };
    assert_eq!(decoded.batch.kinds(), sent);
    assert_eq!(plain::of_batch(&decoded.batch), merged(without_empty_metadata(all)));
}

fn batches(v2: bool) -> impl Strategy<Value = Vec<PlainSeries>> {
    proptest::collection::vec(plain::series(v2), 0..6)
}

/// Removes neighbours with the same labels: a receiver sees them as one series, and the comparison joins them.
fn distinct(all: Vec<PlainSeries>) -> Vec<PlainSeries> {
    let mut all = all;
    all.dedup_by(|one, other| one.labels == other.labels);
    all
}

proptest! {
    #[test]
    fn prost_reads_what_the_encoder_writes_in_1_0(all in batches(false)) {
        let all = distinct(all);
        let request = oracle::v1::WriteRequest::decode(&*encode(Protocol::V1, &all)).unwrap();
        prop_assert_eq!(plain::join(messages::of_v1(&request)), all);
    }

    #[test]
    fn prost_reads_what_the_encoder_writes_in_2_0(all in batches(true)) {
        let all = without_empty_metadata(distinct(all));
        let body = encode(Protocol::V2, &all);
        let request = oracle::v2::Request::decode(&*body).unwrap();
        for series in &request.timeseries {
            prop_assert!(series.samples.is_empty() || series.histograms.is_empty());
        }
        let mut symbols = request.symbols.clone();
        prop_assert!(symbols.is_empty() || symbols[0].is_empty());
        symbols.sort();
        symbols.dedup();
        prop_assert_eq!(symbols.len(), request.symbols.len(), "each symbol once");
        prop_assert_eq!(plain::join(messages::of_v2(&request)), all);
    }

    #[test]
    fn the_decoder_reads_what_prost_writes_in_1_0(all in batches(false)) {
        check_decoded(Protocol::V1, &messages::to_v1(&all).encode_to_vec(), all);
    }

    #[test]
    fn the_decoder_reads_what_prost_writes_in_2_0(all in batches(true)) {
        check_decoded(Protocol::V2, &messages::to_v2(&all).encode_to_vec(), all);
    }

    #[test]
    fn order_of_fields_and_labels_and_unknown_fields_change_nothing(
        v1 in batches(false), v2 in batches(true), mut dice in scramble::dice()
    ) {
        let body = messages::to_v1(&unsorted(&v1, &mut dice)).encode_to_vec();
        check_decoded(Protocol::V1, &scramble::scramble(&body, &scramble::V1, &mut dice), v1);
        let body = messages::to_v2(&unsorted(&v2, &mut dice)).encode_to_vec();
        check_decoded(Protocol::V2, &scramble::scramble(&body, &scramble::V2, &mut dice), v2);
    }

    #[test]
    fn the_decoder_reads_what_the_encoder_writes(all in batches(true)) {
        let all = distinct(all);
        let body = encode(Protocol::V2, &all);
        let decoded = decode(Protocol::V2, &body, &options()).unwrap();
        let all = without_empty_metadata(all);
        prop_assert_eq!(plain::join(plain::of_batch(&decoded.batch)), all);
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(bytes: Vec<u8>) {
        for protocol in [Protocol::V1, Protocol::V2] {
            let _ = decode(protocol, &bytes, &options());
        }
    }

    #[test]
    fn damaged_requests_are_decoded_or_refused(
        v1 in batches(false),
        v2 in batches(true),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
    ) {
        let bodies = [
            (Protocol::V1, messages::to_v1(&v1).encode_to_vec()),
            (Protocol::V2, messages::to_v2(&v2).encode_to_vec()),
        ];
        for (protocol, mut body) in bodies {
            if body.is_empty() {
                continue;
            }
            for (at, to) in &damage {
                let at = at.index(body.len());
                body[at] = *to;
            }
            if let Ok(decoded) = decode(protocol, &body, &options()) {
                // Everything that was kept is valid.
                for index in 0..decoded.batch.series.len() {
                    let labels = decoded.batch.labels(index as u32);
                    model::LabelsRef::parse(labels.as_bytes()).unwrap();
                    prop_assert!(labels.metric_name().is_some());
                }
                plain::of_batch(&decoded.batch);
            }
        }
    }

    #[test]
    fn a_cut_request_is_refused_or_ends_at_a_field(all in proptest::collection::vec(plain::series(true), 1..3)) {
        for (protocol, body) in [
            (Protocol::V1, messages::to_v1(&all).encode_to_vec()),
            (Protocol::V2, messages::to_v2(&all).encode_to_vec()),
        ] {
            let whole = decode(protocol, &body, &options()).unwrap();
            // Long label values need not be cut at each byte.
            for cut in (0..body.len()).step_by(1 + body.len() / 2000) {
                match decode(protocol, &body[..cut], &options()) {
                    Ok(part) => {
                        let series = part.batch.series.len();
                        let (part, whole) = (plain::of_batch(&part.batch), plain::of_batch(&whole.batch));
                        prop_assert_eq!(&part[..], &whole[..series]);
                        prop_assert!(series < all.len());
                    }
                    Err(error) => {
                        let expected = matches!(error, DecodeError::Malformed { .. });
                        prop_assert!(expected, "{error}");
                    }
                }
            }
        }
    }
}

#[test]
fn minus_zero_stays_minus_zero() {
    let labels = model::Labels::from_pairs([("__name__", "x")]);
    for protocol in [Protocol::V1, Protocol::V2] {
        let mut encoder = Encoder::new(protocol);
        encoder.push_series(labels.as_ref(), None);
        encoder.push_float(1, 0, -0.0);
        let decoded = decode(protocol, encoder.finish(), &options()).unwrap();
        let model::Value::Float(value) = decoded.batch.points[0].value else { panic!() };
        assert_eq!(value.to_bits(), (-0.0f64).to_bits());
    }
}

fn unsorted(all: &[PlainSeries], dice: &mut TestRng) -> Vec<PlainSeries> {
    let mut all = all.to_vec();
    for series in &mut all {
        let lists = series.exemplars.iter_mut().map(|exemplar| &mut exemplar.labels);
        for labels in lists.chain([&mut series.labels]) {
            if dice.random_bool(0.5) && !labels.is_empty() {
                let by = dice.random_range(0..labels.len());
                labels.rotate_left(by);
            }
            if dice.random_bool(0.1) {
                labels.push(("an_empty_value_is_no_label".into(), String::new()));
            }
        }
    }
    all
}
