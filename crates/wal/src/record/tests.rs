#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // Helpers of tests.

use super::*;
use model::{BucketSpan, Counts, Histogram, Labels, LabelsRef, MetricType, ResetHint};
use proptest::prelude::*;

fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::from_pairs(pairs.iter().copied())
}

fn all<T>(entries: impl Iterator<Item = Result<T, DecodeError>>) -> Vec<T> {
    entries.collect::<Result<_, _>>().unwrap()
}

#[test]
fn series_records_are_encoded_as_in_prometheus() {
    let mut builder = SeriesBuilder::new();
    builder.push(1, labels(&[("__name__", "up"), ("job", "a")]).as_ref());
    builder.push(0x0102_0304_0506_0708, labels(&[("x", "é")]).as_ref());
    let golden = b"\x01\
        \0\0\0\0\0\0\0\x01\x02\x08__name__\x02up\x03job\x01a\
        \x01\x02\x03\x04\x05\x06\x07\x08\x01\x01x\x02\xc3\xa9";
    assert_eq!(builder.bytes(), golden);
    let read: Vec<_> = all(series(golden).unwrap()).iter().map(|(r, l)| (*r, l.to_string())).collect();
    assert_eq!(read, [(1, r#"up{job="a"}"#.into()), (0x0102_0304_0506_0708, r#"{x="é"}"#.into())]);
    assert_eq!(builder.len(), 2);
    builder.clear();
    assert!(builder.is_empty() && builder.bytes() == [1]);
}

#[test]
fn sample_records_are_encoded_as_in_prometheus() {
    let mut builder = SamplesBuilder::new();
    builder.push(10, 1000, 77, 1.5);
    builder.push(7, 1130, 0, -0.0);
    let golden = b"\x02\
        \0\0\0\0\0\0\0\x0a\0\0\0\0\0\0\x03\xe8\
        \0\0\x3f\xf8\0\0\0\0\0\0\
        \x05\x84\x02\x80\0\0\0\0\0\0\0";
    assert_eq!(builder.bytes(), golden);
    let read = all(samples(golden).unwrap());
    assert_eq!(read[0], SampleEntry { reference: 10, timestamp: 1000, start_timestamp: 0, value: 1.5 });
    assert_eq!((read[1].reference, read[1].timestamp, read[1].value.to_bits()), (7, 1130, 1 << 63));
}

#[test]
fn sample_records_with_start_timestamps_are_encoded_as_in_prometheus() {
    let mut builder = SamplesBuilder::with_start_timestamps();
    let entries = [(10, 1000, 900, 1.5), (7, 1130, 900, 0.0), (8, 1130, 0, 0.0), (9, 990, 905, 0.0)];
    for (reference, timestamp, start, value) in entries {
        builder.push(reference, timestamp, start, value);
    }
    let golden = b"\x0b\
        \x14\xd0\x0f\x88\x0e\x3f\xf8\0\0\0\0\0\0\
        \x05\x84\x02\x01\0\0\0\0\0\0\0\0\
        \x02\x84\x02\x00\0\0\0\0\0\0\0\0\
        \x02\x13\x02\x0a\0\0\0\0\0\0\0\0";
    assert_eq!(builder.bytes(), golden);
    let read = all(samples(golden).unwrap());
    let read: Vec<_> = read.iter().map(|s| (s.reference, s.timestamp, s.start_timestamp, s.value)).collect();
    assert_eq!(read, entries);
}

#[test]
fn exemplar_records_are_encoded_as_in_prometheus() {
    let mut builder = ExemplarsBuilder::new();
    builder.push(10, 1000, 1.5, labels(&[("trace_id", "ab")]).as_ref());
    builder.push(12, 999, 1.5, LabelsRef::EMPTY);
    let golden = b"\x04\
        \0\0\0\0\0\0\0\x0a\0\0\0\0\0\0\x03\xe8\
        \0\0\x3f\xf8\0\0\0\0\0\0\x01\x08trace_id\x02ab\
        \x04\x01\x3f\xf8\0\0\0\0\0\0\0";
    assert_eq!(builder.bytes(), golden);
    let read: Vec<_> = all(exemplars(golden).unwrap())
        .iter()
        .map(|e| (e.reference, e.timestamp, e.value, e.labels.to_string()))
        .collect();
    assert_eq!(read, [(10, 1000, 1.5, r#"{trace_id="ab"}"#.into()), (12, 999, 1.5, String::new())]);
}

#[test]
fn metadata_records_are_encoded_as_in_prometheus() {
    let mut builder = MetadataBuilder::new();
    let entry = MetadataEntry { reference: 300, kind: MetricType::Counter, unit: b"s", help: b"Runs." };
    builder.push(entry);
    let golden = b"\x06\xac\x02\x01\x02\x04UNIT\x01s\x04HELP\x05Runs.";
    assert_eq!(builder.bytes(), golden);
    assert_eq!(all(metadata(golden).unwrap()), [entry]);
    // An unknown field is skipped, a missing one is empty.
    let other = b"\x06\x01\x02\x01\x05COLOR\x03red\x02\x03\x00";
    let read = all(metadata(other).unwrap());
    assert_eq!(read[0], MetadataEntry { reference: 1, kind: MetricType::Gauge, unit: b"", help: b"" });
    assert_eq!(read[1].kind, MetricType::Histogram);
}

#[test]
fn tombstones_mmap_markers_and_valid_times_are_decoded() {
    let record = b"\x03\0\0\0\0\0\0\0\x05\x14\xc8\x01\0\0\0\0\0\0\0\x06\x01\x00";
    let read = all(tombstones(record).unwrap());
    assert_eq!(read[0], Tombstone { reference: 5, from: 10, to: 100 });
    assert_eq!(read[1], Tombstone { reference: 6, from: -1, to: 0 });
    assert_eq!(check(record), Ok(2));
    assert_eq!(check(&[5; 33]), Ok(2));
    assert!(check(&[5; 34]).is_err());
    assert_eq!(check(&[14, 0, 0, 0, 0, 0, 0, 0, 9]), Ok(1));
}

/// A histogram with negative buckets, a negative offset and a gap.
fn exponential() -> Histogram {
    Histogram {
        reset_hint: ResetHint::No,
        schema: -1,
        zero_threshold: 0.5,
        sum: 2.0,
        positive_spans: vec![BucketSpan { offset: -2, length: 1 }, BucketSpan { offset: 3, length: 1 }],
        negative_spans: vec![BucketSpan { offset: 1, length: 1 }],
        counts: Counts::Integer { count: 300, zero: 1, positive: vec![2, -1], negative: vec![3] },
        custom_values: vec![],
    }
}

fn custom() -> Histogram {
    Histogram {
        reset_hint: ResetHint::Gauge,
        schema: -53,
        zero_threshold: 0.0,
        sum: 2.0,
        positive_spans: vec![BucketSpan { offset: 0, length: 2 }],
        negative_spans: vec![],
        counts: Counts::Float { count: 1.5, zero: 0.0, positive: vec![0.5, 1.0], negative: vec![] },
        custom_values: vec![2.0],
    }
}

#[test]
fn histogram_records_are_encoded_as_in_prometheus() {
    let mut builder = HistogramsBuilder::new(RecordType::Histograms).unwrap();
    assert!(builder.push(10, 1000, 0, &exponential()));
    let golden = b"\x07\
        \0\0\0\0\0\0\0\x0a\0\0\0\0\0\0\x03\xe8\
        \0\0\
        \x02\x01\x3f\xe0\0\0\0\0\0\0\
        \x01\xac\x02\x40\0\0\0\0\0\0\0\
        \x02\x03\x01\x06\x01\
        \x01\x02\x01\
        \x02\x04\x01\
        \x01\x06";
    assert_eq!(builder.bytes(), golden);
    let entry =
        HistogramEntry { reference: 10, timestamp: 1000, start_timestamp: 0, histogram: exponential() };
    assert_eq!(all(histograms(golden).unwrap()), [entry]);

    let mut builder = HistogramsBuilder::new(RecordType::FloatHistogramsWithStart).unwrap();
    assert!(builder.push(10, 1000, 900, &custom()));
    let golden = b"\x0d\
        \x14\xd0\x0f\x88\x0e\
        \x03\x69\0\0\0\0\0\0\0\0\
        \0\0\0\0\0\0\0\0\x3f\xf8\0\0\0\0\0\0\x40\0\0\0\0\0\0\0\
        \x01\x00\x02\
        \x00\
        \x02\x3f\xe0\0\0\0\0\0\0\x3f\xf0\0\0\0\0\0\0\
        \x00\
        \x01\x40\0\0\0\0\0\0\0";
    assert_eq!(builder.bytes(), golden);
    let entry = HistogramEntry { reference: 10, timestamp: 1000, start_timestamp: 900, histogram: custom() };
    assert_eq!(all(histograms(golden).unwrap()), [entry]);
}

#[test]
fn a_histogram_is_accepted_only_by_records_of_its_type() {
    let kinds = [
        (exponential(), 0, RecordType::Histograms),
        (exponential(), 5, RecordType::HistogramsWithStart),
        (custom(), 0, RecordType::CustomFloatHistograms),
        (custom(), 5, RecordType::FloatHistogramsWithStart),
    ];
    for (histogram, start, kind) in kinds {
        assert_eq!(HistogramsBuilder::kind(&histogram, start), kind);
        for other in RecordType::ALL {
            let Some(mut builder) = HistogramsBuilder::new(other) else { continue };
            let with_start =
                matches!(other, RecordType::HistogramsWithStart | RecordType::FloatHistogramsWithStart);
            // A record with start timestamps also accepts histograms without one.
            let fits = other == kind || (with_start && HistogramsBuilder::kind(&histogram, 1) == other);
            assert_eq!(builder.push(1, 2, start, &histogram), fits, "{histogram:?} in {other}");
            assert_eq!(builder.is_empty(), !fits);
        }
    }
    assert!(HistogramsBuilder::new(RecordType::Samples).is_none());
}

#[test]
fn a_truncated_record_reports_the_malformed_entry() {
    for kind in RecordType::ALL {
        let expected = if kind == RecordType::MinValidTime { Err(()) } else { Ok(0) };
        assert_eq!(check(&[kind as u8]).map_err(drop), expected, "{kind}");
    }
    assert_eq!(check(&[]), Err(DecodeError { kind: None, entry: 0 }));
    assert_eq!(check(&[99, 1, 2]), Err(DecodeError { kind: None, entry: 0 }));
    let mut builder = SamplesBuilder::new();
    (0..3).for_each(|i| builder.push(i, 5, 0, 1.0));
    let cut = &builder.bytes()[..builder.bytes().len() - 1];
    assert_eq!(check(cut), Err(DecodeError { kind: Some(RecordType::Samples), entry: 2 }));
    assert_eq!(samples(cut).unwrap().filter(Result::is_ok).count(), 2, "what was before it is good");
    assert!(series(builder.bytes()).is_err(), "a record of another type");
}

#[test]
fn wrong_lengths_allocate_nothing() {
    let mut builder = HistogramsBuilder::new(RecordType::Histograms).unwrap();
    assert!(builder.push(10, 1000, 0, &exponential()));
    let mut record = builder.bytes().to_vec();
    record.truncate(record.len() - 2);
    record.extend_from_slice(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 6]);
    assert!(check(&record).is_err());
}

prop_compose! {
    fn any_spans()(spans in prop::collection::vec((any::<i32>(), any::<u32>()), 0..4)) -> Vec<BucketSpan> {
        spans.into_iter().map(|(offset, length)| BucketSpan { offset, length }).collect()
    }
}

fn any_counts() -> impl Strategy<Value = Counts> {
    let float = || prop::num::f64::NORMAL | prop::num::f64::ZERO;
    prop_oneof![
        (any::<u64>(), any::<u64>(), any::<Vec<i64>>(), any::<Vec<i64>>()).prop_map(
            |(count, zero, positive, negative)| Counts::Integer { count, zero, positive, negative }
        ),
        (float(), float(), prop::collection::vec(float(), 0..5), prop::collection::vec(float(), 0..5))
            .prop_map(|(count, zero, positive, negative)| Counts::Float { count, zero, positive, negative }),
    ]
}

prop_compose! {
    fn any_histogram()(
        counts in any_counts(),
        positive_spans in any_spans(),
        negative_spans in any_spans(),
        schema in prop_oneof![Just(-53), any::<i32>()],
        custom in prop::collection::vec(prop::num::f64::NORMAL, 0..4),
        hint in 0u64..4,
        sum in prop::num::f64::NORMAL,
    ) -> Histogram {
        let custom_values = if schema == -53 { custom } else { vec![] };
        let reset_hint = ResetHint::from_number(hint);
        Histogram {
            reset_hint, schema, zero_threshold: sum / 2.0, sum, positive_spans, negative_spans, counts,
            custom_values,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn series_round_trip(entries in prop::collection::vec((any::<u64>(),
        prop::collection::vec(("[a-z]{1,3}", ".{1,9}"), 0..5)), 0..20)) {
        let entries: Vec<(u64, Labels)> = entries.into_iter().map(|(reference, pairs)|
            (reference, Labels::from_pairs(pairs.iter().map(|(n, v)| (n.as_str(), v.as_str()))))).collect();
        let mut builder = SeriesBuilder::new();
        entries.iter().for_each(|(reference, labels)| builder.push(*reference, labels.as_ref()));
        let read = all(series(builder.bytes()).unwrap());
        prop_assert_eq!(read, entries.iter().map(|(r, l)| (*r, l.as_ref())).collect::<Vec<_>>());
    }

    #[test]
    fn samples_round_trip(entries: Vec<(u64, i64, i64, u64)>, near in any::<(u64, i64)>(), with_start: bool) {
        let mut builder =
            if with_start { SamplesBuilder::with_start_timestamps() } else { SamplesBuilder::new() };
        // For each entry, add one with a near reference and timestamp, which is the usual case, and the same
        // start.
        let entries: Vec<_> = entries.into_iter().flat_map(|(r, t, s, v)| [(r, t, s, v),
            (r.wrapping_add(near.0 % 9), t.wrapping_add(near.1 % 99), s, v + near.0 % 2)]).collect();
        for &(r, t, s, v) in &entries {
            builder.push(r, t, s, f64::from_bits(v));
        }
        let read: Vec<_> = all(samples(builder.bytes()).unwrap()).iter()
            .map(|s| (s.reference, s.timestamp, s.start_timestamp, s.value.to_bits())).collect();
        let want: Vec<_> = entries.iter()
            .map(|&(r, t, s, v)| (r, t, if with_start { s } else { 0 }, v)).collect();
        prop_assert_eq!(read, want);
        prop_assert_eq!(check(builder.bytes()), Ok(entries.len() as u32));
    }

    #[test]
    fn exemplars_round_trip(entries: Vec<(u64, i64, u64, String)>) {
        let mut builder = ExemplarsBuilder::new();
        let label = |text: &String| Labels::from_pairs([("id", text.as_str())]);
        for (reference, timestamp, value, text) in &entries {
            builder.push(*reference, *timestamp, f64::from_bits(*value), label(text).as_ref());
        }
        let read: Vec<_> = all(exemplars(builder.bytes()).unwrap()).iter()
            .map(|e| (e.reference, e.timestamp, e.value.to_bits(), e.labels.to_labels())).collect();
        prop_assert_eq!(read, entries.iter().map(|(r, t, v, l)| (*r, *t, *v, label(l))).collect::<Vec<_>>());
    }

    #[test]
    fn metadata_round_trips(entries: Vec<(u64, u8, Vec<u8>, Vec<u8>)>) {
        let mut builder = MetadataBuilder::new();
        let entries: Vec<_> = entries.iter().map(|(reference, kind, unit, help)| MetadataEntry {
            reference: *reference, kind: MetricType::from_number(u64::from(*kind)), unit, help }).collect();
        entries.iter().for_each(|entry| builder.push(*entry));
        prop_assert_eq!(all(metadata(builder.bytes()).unwrap()), entries);
    }

    #[test]
    fn histograms_round_trip(entries in prop::collection::vec((any::<u64>(), any::<i64>(),
        prop_oneof![Just(0), any::<i64>()], any_histogram()), 1..9)) {
        for kind in RecordType::ALL {
            let Some(mut builder) = HistogramsBuilder::new(kind) else { continue };
            let mut want = Vec::new();
            for (reference, timestamp, start, histogram) in &entries {
                if builder.push(*reference, *timestamp, *start, histogram) {
                    want.push(HistogramEntry { reference: *reference, timestamp: *timestamp,
                        start_timestamp: *start, histogram: histogram.clone() });
                }
            }
            prop_assert_eq!(all(histograms(builder.bytes()).unwrap()), want);
        }
    }

    #[test]
    fn any_bytes_decode_or_are_refused(kind in 0u8..16, mut bytes: Vec<u8>) {
        bytes.insert(0, kind);
        let _ = check(&bytes);
    }
}
