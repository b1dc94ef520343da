//! Tests every error of a remote-write request and its exact text: errors that refuse the whole request, and errors
//! that cost one series or one point while the rest is kept.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // helpers of tests

use formats::remote_write::{DecodeOptions, Protocol, Rejected, decode};
use model::{Kinds, varint};
use proptest::prelude::*;

/// A field with a length.
fn field(number: u64, content: impl AsRef<[u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    varint::put_u64(&mut out, number << 3 | 2);
    varint::put_bytes(&mut out, content.as_ref());
    out
}

fn number(number: u64, value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    varint::put_u64(&mut out, number << 3);
    varint::put_u64(&mut out, value);
    out
}

fn double(number: u64, value: f64) -> Vec<u8> {
    let mut out = vec![(number << 3 | 1) as u8];
    out.extend(value.to_le_bytes());
    out
}

/// A `Label` of 1.0.
fn label(name: &str, value: &str) -> Vec<u8> {
    field(1, [field(1, name), field(2, value)].concat())
}

/// A `Sample` as field 2, which is the same in both versions.
fn sample(timestamp: i64) -> Vec<u8> {
    field(2, [double(1, 1.0), number(2, timestamp as u64)].concat())
}

/// A `TimeSeries` of 1.0.
fn v1(parts: &[Vec<u8>]) -> Vec<u8> {
    field(1, parts.concat())
}

/// A `TimeSeries` of 2.0.
fn v2(references: &[u8], parts: &[Vec<u8>]) -> Vec<u8> {
    field(5, [field(1, references), parts.concat()].concat())
}

fn symbols(symbols: &[&str]) -> Vec<u8> {
    symbols.iter().flat_map(|symbol| field(4, symbol)).collect()
}

fn whole(protocol: Protocol, body: &[u8], options: &DecodeOptions) -> String {
    decode(protocol, body, options).unwrap_err().to_string()
}

#[test]
fn a_damaged_1_0_request_is_refused_as_a_whole() {
    let up = label("__name__", "up");
    let cases: &[(&str, Vec<u8>, &str)] = &[
        ("a tag without a field", vec![0x0a], "byte 0: a field is longer than the rest of the message"),
        ("a tag cut short", vec![0x8a], "byte 0: an integer is cut short or too long"),
        ("field number 0", vec![0x02, 0], "byte 0: a field number is out of range"),
        ("a huge field number", [vec![0xff; 9], vec![1]].concat(), "byte 0: a field number is out of range"),
        ("a group", vec![0x0b, 0x0c], "byte 0: a field has no known wire type"),
        ("a series that is an integer", vec![0x08, 1], "byte 0: a field with a length was expected"),
        ("a label that is an integer", v1(&[number(1, 5)]), "byte 2: a field with a length was expected"),
        (
            "a name that is an integer",
            v1(&[field(1, number(1, 5))]),
            "byte 4: a field with a length was expected",
        ),
        (
            "a sample whose value is an integer",
            v1(&[up.clone(), field(2, number(1, 5))]),
            "byte 20: a 64-bit float was expected",
        ),
        (
            "a sample whose time is a float",
            v1(&[up.clone(), field(2, double(2, 5.0))]),
            "byte 20: an integer was expected",
        ),
        (
            "a sample that is cut short",
            v1(&[up.clone(), field(2, [9, 0, 0])]),
            "byte 20: a 64-bit field is cut short",
        ),
        (
            "packed floats of 7 bytes",
            v1(&[up.clone(), field(4, field(13, [0; 7]))]),
            "byte 22: packed floats are cut short",
        ),
        (
            "packed integers that are cut short",
            v1(&[up.clone(), field(4, field(12, [2, 0x80]))]),
            "byte 23: an integer is cut short or too long",
        ),
        ("a 32-bit field that is cut short", vec![0x45, 0], "byte 0: a 32-bit field is cut short"),
    ];
    for (what, body, error) in cases {
        let expected = format!("malformed protobuf at {error}");
        let options = DecodeOptions::default();
        assert_eq!(whole(Protocol::V1, body, &options), expected, "{what}");
    }
}

#[test]
fn a_damaged_2_0_request_is_refused_as_a_whole() {
    let table = || symbols(&["", "__name__", "up"]);
    let good = || v2(&[1, 2], &[sample(1)]);
    let cases: &[(&str, Vec<u8>, &str)] = &[
        ("no table", good(), "symbols[0] must be the empty string"),
        (
            "a table that begins with a word",
            [symbols(&["__name__", "", "up"]), good()].concat(),
            "symbols[0] must be the empty string",
        ),
        (
            "a label reference past the table",
            [table(), good(), v2(&[1, 3], &[sample(1)])].concat(),
            "time series 1: label reference 3 is outside of the table of 3 symbols",
        ),
        (
            "a label reference past 32 bits",
            [table(), v2(&[1, 0xff, 0xff, 0xff, 0xff, 0xff, 1], &[sample(1)])].concat(),
            "time series 0: label reference 68719476735 is outside of the table of 3 symbols",
        ),
        (
            "an odd number of references",
            [table(), v2(&[1, 2, 1], &[sample(1)])].concat(),
            "time series 0: 3 label references can't be pairs of name and value",
        ),
        (
            "a reference of an exemplar past the table",
            [table(), v2(&[1, 2], &[field(4, field(1, [9, 9]))])].concat(),
            "time series 0: label reference 9 is outside of the table of 3 symbols",
        ),
        (
            "an odd number of references of an exemplar",
            [table(), v2(&[1, 2], &[field(4, field(1, [1]))])].concat(),
            "time series 0: 1 label reference can't be pairs of name and value",
        ),
        (
            "a help reference past the table",
            [table(), v2(&[1, 2], &[sample(1), field(5, number(3, 4))])].concat(),
            "time series 0: help reference 4 is outside of the table of 3 symbols",
        ),
        (
            "a unit reference past the table",
            [table(), v2(&[1, 2], &[sample(1), field(5, number(4, 3))])].concat(),
            "time series 0: unit reference 3 is outside of the table of 3 symbols",
        ),
        (
            "references past the table in a series without samples",
            [table(), v2(&[1, 3], &[])].concat(),
            "time series 0: label reference 3 is outside of the table of 3 symbols",
        ),
        (
            "references that are floats",
            [table(), field(5, double(1, 1.0))].concat(),
            "malformed protobuf at byte 18: integers were expected",
        ),
        (
            "a reference that is cut short",
            [table(), v2(&[1, 0x82], &[sample(1)])].concat(),
            "malformed protobuf at byte 21: an integer is cut short or too long",
        ),
        (
            "a symbol that is an integer",
            [number(4, 1)].concat(),
            "malformed protobuf at byte 0: a field with a length was expected",
        ),
    ];
    for (what, body, error) in cases {
        assert_eq!(whole(Protocol::V2, body, &DecodeOptions::default()), *error, "{what}");
    }
}

#[test]
fn a_request_over_a_limit_is_refused_as_a_whole() {
    let up = label("__name__", "up");
    let options = DecodeOptions {
        max_series: 2,
        max_points: 3,
        max_symbols: 4,
        max_label_bytes: 30,
        ..DecodeOptions::default()
    };
    let three = [v1(&[]), v1(&[]), v1(&[])].concat();
    assert_eq!(whole(Protocol::V1, &three, &options), "more than 2 time series in one request");
    let points = [v1(&[up.clone(), sample(1), sample(2)]), v1(&[up.clone(), sample(1), sample(2)])].concat();
    let error = "more than 3 samples, histograms and exemplars in one request";
    assert_eq!(whole(Protocol::V1, &points, &options), error);
    let metadata = field(3, field(2, "up")).repeat(3);
    assert_eq!(whole(Protocol::V1, &metadata, &options), "more than 2 metadata entries in one request");
    let long = v1(&[label("__name__", "a_metric_with_a_rather_long_name"), sample(1)]);
    assert_eq!(whole(Protocol::V1, &long, &options), "more than 30 bytes of labels in one request");
    let table = symbols(&["", "a", "b", "c", "d"]);
    assert_eq!(whole(Protocol::V2, &table, &options), "more than 4 symbols in one request");
    let long = [
        symbols(&["", "__name__", "up", "a help text that is rather long for the limit"]),
        v2(&[1, 2], &[sample(1), field(5, number(3, 3))]),
    ];
    assert_eq!(
        whole(Protocol::V2, &long.concat(), &options),
        "more than 30 bytes of metadata in one request"
    );
}

/// Puts a bad time series between two good ones.
fn between(protocol: Protocol, bad: &[u8], options: &DecodeOptions) -> (Rejected, Kinds, usize) {
    let table = symbols(&["", "__name__", "up", "a", "1", "b"]);
    let good = match protocol {
        Protocol::V1 => v1(&[label("__name__", "up"), sample(50)]),
        Protocol::V2 => v2(&[1, 2], &[sample(50)]),
    };
    let table = if protocol == Protocol::V2 { table } else { Vec::new() };
    let body = [&table, &good, bad, &good].concat();
    let decoded = decode(protocol, &body, options).unwrap();
    let first = decoded.batch.points.first().unwrap();
    let last = decoded.batch.points.last().unwrap();
    assert_eq!((first.timestamp, last.timestamp), (50, 50));
    assert_eq!(decoded.batch.labels(last.series).to_string(), "up", "the good ones are kept");
    let wire = decoded.batch.series.len();
    (decoded.rejected, decoded.batch.kinds(), wire)
}

/// A histogram with two observations in its only bucket.
fn histogram(more: &[Vec<u8>]) -> Vec<u8> {
    let span = field(11, [number(1, 0), number(2, 1)].concat());
    [number(1, 2), span, field(12, [4]), number(15, 50), more.concat()].concat()
}

#[test]
fn an_invalid_series_costs_only_itself() {
    let up = || label("__name__", "up");
    let long = "x".repeat(20_000);
    let long_name = format!(
        "time series 1: the length of the metric name \"{}…\" is 1025, the limit is 1024",
        "n".repeat(64)
    );
    let cases: &[(&str, Vec<Vec<u8>>, &str)] = &[
        (
            "no name",
            vec![label("a", "1")],
            "time series 1 {a=\"1\"}: a series without a metric name (__name__)",
        ),
        ("nothing at all", vec![], "time series 1: a series without labels"),
        ("only empty labels", vec![label("a", "")], "time series 1: a series without labels"),
        (
            "an empty name",
            vec![up(), label("", "1")],
            "time series 1: a label without a name (its value is \"1\")",
        ),
        (
            "a repeated name",
            vec![up(), label("a", "1"), label("a", "1")],
            "time series 1: label \"a\" is there twice",
        ),
        (
            "a name that is not UTF-8",
            vec![up(), field(1, [field(1, b"\xffname"), field(2, "1")].concat())],
            "time series 1: label name is not valid UTF-8: \"\u{fffd}name\"",
        ),
        (
            "a value that is not UTF-8",
            vec![up(), field(1, [field(1, "a"), field(2, b"\xe9")].concat())],
            "time series 1: the value of label \"a\" is not valid UTF-8: \"\u{fffd}\"",
        ),
        (
            "a value that is too long",
            vec![up(), label("a", &long)],
            "time series 1: the length of the value of label \"a\" is 20000, the limit is 16384",
        ),
        (
            "a metric name that is too long",
            vec![label("__name__", &"n".repeat(1025)), label("a", "1")],
            &long_name,
        ),
        (
            "too many labels",
            [vec![up()], (0..128).map(|index| label(&format!("l{index}"), "1")).collect()].concat(),
            "time series 1: the number of labels is 129, the limit is 128",
        ),
    ];
    let points = || {
        let exemplar = field(3, [label("id", "1"), number(3, 50)].concat());
        vec![sample(50), sample(51), exemplar, field(4, histogram(&[]))]
    };
    for (what, labels, reason) in cases {
        let bad = v1(&[labels.clone(), points()].concat());
        let (rejected, accepted, series) = between(Protocol::V1, &bad, &DecodeOptions::default());
        let expected = Rejected {
            series: 1,
            samples: 2,
            histograms: 1,
            exemplars: 1,
            reasons: vec![reason.to_string()],
            ..Rejected::default()
        };
        assert_eq!(rejected, expected, "{what}");
        assert_eq!((accepted.samples, series), (2, 2), "{what}");
    }
}

#[test]
fn an_invalid_series_of_2_0_costs_only_itself() {
    for (references, parts, samples, reason) in [
        (
            &[3, 4][..],
            vec![sample(1)],
            1,
            "time series 1 {a=\"1\"}: a series without a metric name (__name__)",
        ),
        (&[][..], vec![sample(1)], 1, "time series 1: a series without labels"),
        (&[1, 2, 3, 4, 3, 5][..], vec![sample(1)], 1, "time series 1: label \"a\" is there twice"),
        (&[1, 2, 0, 4][..], vec![sample(1)], 1, "time series 1: a label without a name (its value is \"1\")"),
        (&[1, 2][..], vec![], 0, "time series 1: no sample, histogram or exemplar"),
    ] {
        let (rejected, _, series) = between(Protocol::V2, &v2(references, &parts), &DecodeOptions::default());
        let expected = Rejected { series: 1, samples, reasons: vec![reason.into()], ..Rejected::default() };
        assert_eq!((rejected, series), (expected, 2));
    }
    let table = [field(4, ""), field(4, "__name__"), field(4, "up"), field(4, b"\xff")].concat();
    let body = [table, v2(&[1, 3], &[sample(1)]), v2(&[1, 2], &[sample(1)])].concat();
    let decoded = decode(Protocol::V2, &body, &DecodeOptions::default()).unwrap();
    assert_eq!(
        decoded.rejected.reasons,
        ["time series 0: the value of label \"__name__\" is not valid UTF-8: \"\u{fffd}\""]
    );
    assert_eq!(
        decoded.batch.series.len(),
        1,
        "a symbol that is not UTF-8 affects only series that refer to it"
    );
}

#[test]
fn a_long_metric_name_costs_only_its_series_in_2_0() {
    for (length, series) in [(1024, 1), (1025, 0)] {
        let table = symbols(&["", "__name__", &"n".repeat(length)]);
        let body = [table, v2(&[1, 2], &[sample(1)])].concat();
        let decoded = decode(Protocol::V2, &body, &DecodeOptions::default()).unwrap();
        assert_eq!((decoded.batch.series.len(), decoded.rejected.series), (series, 1 - series as u64));
    }
}

#[test]
fn a_body_of_the_other_version_is_refused_and_named() {
    let of_v1 = v1(&[label("__name__", "up"), sample(50)]);
    let of_v2 = [symbols(&["", "__name__", "up"]), v2(&[1, 2], &[sample(50)])].concat();
    for (body, announced, wanted) in [
        (
            &of_v2,
            Protocol::V1,
            "the body is remote write 2.0 (it has field 4 or 5), but the header Content-Type says \
             \"application/x-protobuf\": send \"application/x-protobuf;proto=io.prometheus.write.v2.Request\"",
        ),
        (
            &of_v1,
            Protocol::V2,
            "the body is remote write 1.0 (it has field 1 or 3), but the header Content-Type says \
             \"application/x-protobuf;proto=io.prometheus.write.v2.Request\": send \"application/x-protobuf\"",
        ),
    ] {
        assert_eq!(decode(announced, body, &DecodeOptions::default()).unwrap_err().to_string(), wanted);
    }
    let both = [of_v1.clone(), of_v2].concat();
    let decoded = decode(Protocol::V1, &both, &DecodeOptions::default()).unwrap();
    assert_eq!(decoded.batch.points.len(), 1, "unknown fields beside known ones are ignored");
}

#[test]
fn an_empty_time_series_of_1_0_is_ignored() {
    let (rejected, accepted, series) = between(Protocol::V1, &v1(&[]), &DecodeOptions::default());
    assert!(rejected.is_empty());
    assert_eq!((accepted.samples, series), (2, 2));
    let labels_only = v1(&[label("__name__", "up")]);
    assert_eq!(between(Protocol::V1, &labels_only, &DecodeOptions::default()).2, 2);
}

/// A case: its name; the field; how many samples, histograms and exemplars are rejected; the reason; the options.
type PointCase<'a> = (&'a str, Vec<u8>, [u64; 3], &'a str, &'a DecodeOptions);

#[test]
fn an_invalid_point_costs_only_itself() {
    let options = DecodeOptions::default();
    let too_many =
        DecodeOptions { limits: model::Limits { buckets: 3, ..model::Limits::default() }, ..options.clone() };
    let exemplar = |labels: &[Vec<u8>], time| field(3, [labels.concat(), number(3, time)].concat());
    let cases: &[PointCase<'_>] = &[
        (
            "an exemplar with a label twice",
            exemplar(&[label("x", "1"), label("x", "2")], 50),
            [0, 0, 1],
            "exemplar: label \"x\" is there twice",
            &options,
        ),
        (
            "a histogram that does not add up",
            field(4, histogram(&[number(1, 3)])),
            [0, 1, 0],
            "2 observations in buckets, but a count of 3",
            &options,
        ),
        (
            "a histogram of an unknown schema",
            field(4, histogram(&[number(4, varint::zigzag(53))])),
            [0, 1, 0],
            "histogram schema 53 is none of -53 and -9 to 52",
            &options,
        ),
        (
            "spans without buckets",
            field(4, histogram(&[field(8, number(2, 9))])),
            [0, 1, 0],
            "negative spans need 9 buckets, have 0",
            &options,
        ),
        (
            "more buckets than the limit",
            field(4, histogram(&[field(12, [0; 9])])),
            [0, 1, 0],
            "histogram has 10 buckets, the limit is 3",
            &too_many,
        ),
    ];
    for (what, bad, [samples, histograms, exemplars], reason, options) in cases {
        let bad = v1(&[label("__name__", "up"), label("a", "1"), sample(60), bad.clone()]);
        let (rejected, accepted, series) = between(Protocol::V1, &bad, options);
        let reasons = vec![format!("time series 1 up{{a=\"1\"}}: {reason}")];
        let expected = Rejected {
            series: 0,
            samples: *samples,
            histograms: *histograms,
            exemplars: *exemplars,
            reasons,
            ..Rejected::default()
        };
        assert_eq!(rejected, expected, "{what}");
        assert_eq!((accepted.samples, series), (3, 3), "{what}: the other sample is kept");
    }
}

#[test]
fn a_series_without_a_single_valid_point_is_not_kept() {
    let histogram = || field(4, histogram(&[number(1, 3)]));
    let bad = v1(&[label("__name__", "bad"), histogram(), histogram()]);
    let (rejected, accepted, series) = between(Protocol::V1, &bad, &DecodeOptions::default());
    assert_eq!((rejected.histograms, rejected.series, accepted.samples, series), (2, 0, 2, 2));
}

#[test]
fn the_text_of_many_errors_is_limited() {
    let long = "é".repeat(8000);
    let bad = v1(&[label("a", &long), sample(1)]).repeat(1000);
    let decoded = decode(Protocol::V1, &bad, &DecodeOptions::default()).unwrap();
    assert_eq!((decoded.rejected.series, decoded.rejected.samples), (1000, 1000));
    assert_eq!(decoded.rejected.reasons.len(), Rejected::MAX_REASONS);
    assert!(decoded.rejected.reasons.iter().all(|reason| reason.len() <= Rejected::MAX_REASON_BYTES));
    let text = decoded.rejected.to_string();
    assert!(text.starts_with("left out 1,000 series, 1,000 samples: time series 0 "));
    assert!(text.len() < 3000);
}

#[test]
fn a_small_2_0_body_cannot_use_much_memory() {
    // 100 bytes per series stand for 16 KiB of labels each, a hundred thousand times.
    let long = "x".repeat(16 << 10);
    let table = symbols(&["", "__name__", "up", "a", &long]);
    let body = [table, v2(&[1, 2, 3, 4], &[sample(1)]).repeat(100_000)].concat();
    let options = DecodeOptions { max_label_bytes: 1 << 20, ..DecodeOptions::default() };
    assert_eq!(whole(Protocol::V2, &body, &options), "more than 1048576 bytes of labels in one request");
}

#[test]
fn exemplars_alone_keep_a_series() {
    let exemplar = field(3, [label("id", "1"), double(2, 0.5), number(3, 50)].concat());
    let alone = v1(&[label("__name__", "up"), exemplar]);
    let decoded = decode(Protocol::V1, &alone, &DecodeOptions::default()).unwrap();
    assert_eq!(decoded.batch.kinds(), Kinds { samples: 0, histograms: 0, exemplars: 1 });
    assert!(decoded.rejected.is_empty());
    assert_eq!(decoded.batch.series.len(), 1);
}

#[test]
fn metadata_of_families_is_kept_and_cut_to_size() {
    let long = "é".repeat(10_000);
    let good = field(3, [number(1, 1), field(2, "up"), field(4, &long), field(5, "seconds")].concat());
    let nameless = field(3, field(4, "help"));
    let decoded = decode(Protocol::V1, &[nameless, good].concat(), &DecodeOptions::default()).unwrap();
    let [metadata] = &decoded.batch.metadata[..] else { panic!() };
    assert_eq!((metadata.family.as_str(), metadata.kind as u8, metadata.unit.as_str()), ("up", 1, "seconds"));
    assert_eq!(metadata.help, "é".repeat(8192));
}

#[test]
fn series_of_one_family_share_their_metadata() {
    let table = symbols(&["", "__name__", "took_bucket", "took_sum", "took_count", "other", "help"]);
    let series =
        |name: u8, kind| v2(&[1, name], &[sample(1), field(5, [number(1, kind), number(3, 6)].concat())]);
    let body = [
        table,
        series(2, 3),
        series(3, 3),
        series(4, 3),
        series(5, 1),
        series(2, 3),
        v2(&[1, 5], &[sample(1)]),
    ];
    let decoded = decode(Protocol::V2, &body.concat(), &DecodeOptions::default()).unwrap();
    let families: Vec<&str> = decoded.batch.metadata.iter().map(|entry| entry.family.as_str()).collect();
    assert_eq!(families, ["took", "other"]);
    let numbers: Vec<u32> = decoded.batch.series.iter().map(|series| series.metadata).collect();
    assert_eq!(numbers, [0, 0, 0, 1, 0, model::Series::NO_METADATA]);
}

proptest! {
    /// One invalid series among valid ones costs only itself, at any position.
    #[test]
    fn one_bad_series_costs_one_series(before in 0usize..20, after in 0usize..20) {
        let good = |index: usize| v1(&[label("__name__", "up"), label("n", &index.to_string()), sample(1)]);
        let bad = v1(&[label("n", "1"), sample(1)]);
        let body = [(0..before).flat_map(good).collect(), bad, (0..after).flat_map(good).collect()].concat();
        let decoded = decode(Protocol::V1, &body, &DecodeOptions::default()).unwrap();
        prop_assert_eq!(decoded.rejected.series, 1);
        prop_assert_eq!(decoded.batch.series.len(), before + after);
        prop_assert_eq!(decoded.batch.kinds().samples, (before + after) as u64);
    }
}
