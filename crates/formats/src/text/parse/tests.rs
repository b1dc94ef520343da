#![allow(clippy::unwrap_used)] // helpers of tests

use super::*;
use model::Value;
use proptest::prelude::*;

const NOW: i64 = 1_700_000_000_000;

fn text() -> ParseOptions<'static> {
    ParseOptions::new(Format::Text, NOW)
}

fn open_metrics() -> ParseOptions<'static> {
    ParseOptions::new(Format::OpenMetrics, NOW)
}

/// The batch of a text without rejected parts.
fn parse(text: &[u8], options: &ParseOptions<'_>) -> Result<Batch, ParseError> {
    super::parse(text, options).map(|parsed| parsed.whole().unwrap())
}

/// Each point on a line: labels, value, timestamp, start timestamp, family and type.
fn show(batch: &Batch) -> Vec<String> {
    let each = batch.points.iter().map(|point| {
        let series = &batch.series[point.series as usize];
        let mut line = batch.labels(point.series).to_string();
        match point.value {
            Value::Float(value) => line += &format!(" {value}"),
            Value::Exemplar(index) => {
                let exemplar = batch.exemplars[index as usize];
                let labels = LabelsRef::parse(batch.slice(exemplar.labels)).unwrap();
                line += &format!(" # {labels} {}", exemplar.value);
            }
            Value::Histogram(_) => unreachable!(),
        }
        if point.timestamp != NOW {
            line += &format!(" @{}", point.timestamp);
        }
        if point.start_timestamp != 0 {
            line += &format!(" since {}", point.start_timestamp);
        }
        if let Some(metadata) = batch.metadata.get(series.metadata as usize) {
            line += &format!(" ({} {})", metadata.kind.as_str(), metadata.family);
        }
        line
    });
    each.collect()
}

fn parsed(input: &str, options: &ParseOptions<'_>) -> Vec<String> {
    show(&parse(input.as_bytes(), options).unwrap_or_else(|error| panic!("{error}")))
}

fn error(input: &str, options: &ParseOptions<'_>) -> String {
    parse(input.as_bytes(), options).unwrap_err().to_string()
}

#[test]
fn bounds_of_known_types_are_written_as_by_prometheus() {
    let input = "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"1e6\"} 1\nh_bucket{le=\"inf\"} 1\n\
                 h_sum{quantile=\"1\"} 1\n# TYPE s summary\ns{quantile=\"0\"} 1\ns{le=\"1\",quantile=\"x\"} 1\n\
                 u_bucket{le=\"1\",quantile=\"1\"} 1\n";
    let wanted = [
        "h_bucket{le=\"1.0\"} 1 (histogram h)",
        "h_bucket{le=\"1e+06\"} 1 (histogram h)",
        "h_bucket{le=\"+Inf\"} 1 (histogram h)",
        "h_sum{quantile=\"1\"} 1 (histogram h)",
        "s{quantile=\"0.0\"} 1 (summary s)",
        "s{le=\"1\",quantile=\"x\"} 1 (summary s)",
        "u_bucket{le=\"1\",quantile=\"1\"} 1",
    ];
    assert_eq!(parsed(input, &text()), wanted);
    let closed = format!("{input}# EOF\n");
    assert_eq!(parsed(&closed, &open_metrics()), wanted);
}

#[test]
fn samples_have_labels_values_and_timestamps() {
    let input = "a 1\n  b{x=\"1\"}\t-2.5e3 \nc { x = \"1\" , y = \"2\" , } +Inf 123\nd{} NaN -5\n\n \ne 0x";
    assert_eq!(error(input, &text()), "line 7, column 3: expected a value, found \"0x\"");
    let input = input.trim_end_matches("e 0x");
    assert_eq!(
        parsed(input, &text()),
        ["a 1", "b{x=\"1\"} -2500", "c{x=\"1\",y=\"2\"} inf @123", "d NaN @-5"]
    );
}

#[test]
fn any_nan_is_stored_as_prometheus_stores_it() {
    let batch = parse(b"a NaN", &text()).unwrap();
    let Value::Float(value) = batch.points[0].value else { panic!() };
    assert_eq!(value.to_bits(), 0x7ff8_0000_0000_0001);
}

#[test]
fn families_give_their_samples_metadata() {
    let input = r#"# HELP up Is it \\ up?\nYes "maybe"
# TYPE up gauge
up 1
untyped_right_after 2
# A comment, and #TYPE too
# TYPE took_seconds histogram
took_seconds_bucket{le="1"} 1
took_seconds_sum 0.5
took_seconds_count 1
took_seconds_total 1
# TYPE size summary
size{quantile="0.5"} 3
size_count 1
late 5
# TYPE late counter
late{x="1"} 6"#;
    let batch = parse(input.as_bytes(), &text()).unwrap();
    assert_eq!(
        show(&batch),
        [
            "up 1 (gauge up)",
            "untyped_right_after 2",
            "took_seconds_bucket{le=\"1.0\"} 1 (histogram took_seconds)",
            "took_seconds_sum 0.5 (histogram took_seconds)",
            "took_seconds_count 1 (histogram took_seconds)",
            "took_seconds_total 1",
            "size{quantile=\"0.5\"} 3 (summary size)",
            "size_count 1 (summary size)",
            "late 5",
            "late{x=\"1\"} 6 (counter late)",
        ]
    );
    assert_eq!(batch.metadata[0].help, "Is it \\ up?\nYes \"maybe\"");
}

#[test]
fn names_outside_of_the_legacy_pattern_are_quoted() {
    let input = r#"# TYPE "my.metric" counter
{"my.metric"} 1
{"my.metric", "label.one"="a", two="b"} 2
{a="x", "naïve \"name\""} 3
plain{"dotted.label"="x"} 4
"#;
    assert_eq!(
        parsed(input, &text()),
        [
            "my.metric 1 (counter my.metric)",
            "my.metric{label.one=\"a\",two=\"b\"} 2 (counter my.metric)",
            "naïve \"name\"{a=\"x\"} 3",
            "plain{dotted.label=\"x\"} 4",
        ]
    );
}

#[test]
fn label_values_are_unescaped() {
    let batch = parse(br#"a{p="C:\\dir\n\"x\"",q="\d",r="plain"} 1"#, &text()).unwrap();
    let labels = batch.labels(0);
    assert_eq!(labels.get("p").unwrap(), b"C:\\dir\n\"x\"");
    assert_eq!(labels.get("q").unwrap(), b"\\d", "an unknown escape is kept");
    assert_eq!(labels.get("r").unwrap(), b"plain");
}

#[test]
fn extra_labels_replace_or_remove_those_in_the_text() {
    let extra = [("job", "backup"), ("instance", ""), ("zone", "a\"b")];
    let options = ParseOptions { extra_labels: &extra, ..text() };
    assert_eq!(
        parsed("x{job=\"mine\",instance=\"i\",l=\"\\n\"} 1\ny 2", &options),
        ["x{job=\"backup\",l=\"\\n\",zone=\"a\\\"b\"} 1", "y{job=\"backup\",zone=\"a\\\"b\"} 2"]
    );
    let options = ParseOptions { extra_labels: &extra, ..open_metrics() };
    let exemplar = "x_total 1 # {id=\"7\"} 0.5\n# EOF\n";
    assert_eq!(parsed(exemplar, &options)[1], "x_total{job=\"backup\",zone=\"a\\\"b\"} # {id=\"7\"} 0.5");
}

#[test]
fn timestamps_can_be_refused_or_ignored() {
    let refuse = ParseOptions { timestamps: Timestamps::Refuse, ..text() };
    assert_eq!(
        error("a 1\nb{é=\"1\"} 1", &refuse),
        "line 2, column 3: expected a label name or a closing brace, found \"é=\\\"1\\\"} 1\""
    );
    assert_eq!(
        error("a 1\nb 1 123", &refuse),
        "line 2, column 5: timestamps are not accepted here: a pushed value counts from when it is pushed"
    );
    let ignore = ParseOptions { timestamps: Timestamps::Ignore, ..text() };
    assert_eq!(parsed("b 1 123", &ignore), ["b 1"]);
    assert!(error("b 1 x", &ignore).contains("expected a timestamp in whole milliseconds"));
}

#[test]
fn open_metrics_has_seconds_exemplars_and_units() {
    let input = r#"# TYPE took_seconds histogram
# UNIT took_seconds seconds
# HELP took_seconds How "long"\, \"quoted\".
took_seconds_bucket{le="1.0"} 1 1700000001.5 # {trace_id="abc"} 0.25 1700000001.123
took_seconds_bucket{le="+Inf"} 2 # {trace_id="d\"ef"} 2
took_seconds_created 1699999999.5
took_seconds_count 2
# EOF"#;
    let batch = parse(input.as_bytes(), &open_metrics()).unwrap();
    assert_eq!(
        show(&batch),
        [
            "took_seconds_bucket{le=\"1.0\"} 1 @1700000001500 since 1699999999500 (histogram took_seconds)",
            "took_seconds_bucket{le=\"1.0\"} # {trace_id=\"abc\"} 0.25 @1700000001123 (histogram took_seconds)",
            "took_seconds_bucket{le=\"+Inf\"} 2 since 1699999999500 (histogram took_seconds)",
            "took_seconds_bucket{le=\"+Inf\"} # {trace_id=\"d\\\"ef\"} 2 (histogram took_seconds)",
            "took_seconds_count 2 since 1699999999500 (histogram took_seconds)",
        ]
    );
    assert_eq!(batch.metadata[0].unit, "seconds");
    assert_eq!(batch.metadata[0].help, "How \"long\"\\, \"quoted\".");
}

#[test]
fn created_applies_to_equal_labels_and_only_if_enabled() {
    let input = "# TYPE hits counter\nhits_created{a=\"1\"} 5\nhits_total{a=\"1\"} 1\nhits_total{a=\"2\"} 1\n\
                 # TYPE temperature gauge\ntemperature_created 3\n# EOF\n";
    assert_eq!(
        parsed(input, &open_metrics()),
        [
            "hits_total{a=\"1\"} 1 since 5000 (counter hits)",
            "hits_total{a=\"2\"} 1 (counter hits)",
            "temperature_created 3",
        ]
    );
    let plain = ParseOptions { created_as_start: false, ..open_metrics() };
    assert_eq!(parsed(input, &plain)[0], "hits_created{a=\"1\"} 5 (counter hits)");
}

#[test]
fn open_metrics_must_end_with_its_mark() {
    assert_eq!(error("a 1\n", &open_metrics()), "line 2, column 1: the text does not end with # EOF");
    assert_eq!(error("", &open_metrics()), "line 1, column 1: the text does not end with # EOF");
    assert_eq!(error("# EOF\na 1", &open_metrics()), "line 2, column 1: text after # EOF");
    assert_eq!(parsed("a 1\n# EOF", &open_metrics()), ["a 1"]);
    assert_eq!(parsed("a 1\n# EOF\nb 2", &text()), ["a 1", "b 2"], "a comment in the text format");
}

#[test]
fn errors_have_a_reason_and_a_position() {
    for (input, expected) in [
        ("a", "line 1, column 2: expected a value, found the end of the line"),
        ("a 1\n1b 2", "line 2, column 1: expected a metric name, found \"1b 2\""),
        ("a{ 1", "line 1, column 4: expected a label name or a closing brace, found \"1\""),
        ("a{b} 1", "line 1, column 4: expected = after the label name, found \"} 1\""),
        ("a{b=c} 1", "line 1, column 5: expected a string in quotes, found \"c} 1\""),
        (
            "a{b=\"c} 1\nd 2",
            "line 1, column 5: expected a closing quote for this string on the same line, found \"\\\"c} 1\"",
        ),
        (
            "a{b=\"c\" d=\"e\"} 1",
            "line 1, column 9: expected a comma or a closing brace, found \"d=\\\"e\\\"} 1\"",
        ),
        ("a{b=\"1\",b=\"2\"} 1", "line 1, column 1: label \"b\" is there twice"),
        ("a{\"b\"} 1", "line 1, column 3: a second metric name in one sample"),
        ("{b=\"1\"} 1", "line 1, column 8: a series without a metric name (__name__)"),
        ("{\"\"=\"1\"} 1", "line 1, column 2: expected a label name, found \"\\\"\\\"=\\\"1\\\"} 1\""),
        ("a 1,5", "line 1, column 3: expected a value, found \"1,5\""),
        ("a 1 1.5", "line 1, column 5: expected a timestamp in whole milliseconds, found \"1.5\""),
        ("a 1 2 3", "line 1, column 7: expected the end of the line, found \"3\""),
        ("a 1 # {b=\"c\"} 1", "line 1, column 5: expected the end of the line, found \"# {b=\\\"c\\\"} 1\""),
        ("# TYPE a rate", "line 1, column 10: \"rate\" is no metric type"),
        ("# TYPE a", "line 1, column 9: \"\" is no metric type"),
        ("# TYPE a gauge x", "line 1, column 16: expected the end of the line, found \"x\""),
        ("# HELP a-b c", "line 1, column 8: expected a metric name, found \"a-b c\""),
    ] {
        assert_eq!(error(input, &text()), expected, "{input:?}");
    }
    for (input, expected) in [
        ("a 1 x", "line 1, column 5: expected a timestamp in seconds, found \"x\""),
        ("a 1 1e300", "line 1, column 5: expected a timestamp in seconds, found \"1e300\""),
        ("a 1 # 1", "line 1, column 7: expected the exemplar's labels, found \"1\""),
        ("a 1 # {} ", "line 1, column 10: expected the exemplar's value, found the end of the line"),
        (
            "a 1 # {\"x\"} 1",
            "line 1, column 7: expected labels without a metric name, found \"{\\\"x\\\"} 1\"",
        ),
    ] {
        assert_eq!(error(input, &open_metrics()), expected, "{input:?}");
    }
}

#[test]
fn bytes_that_are_not_utf8_are_refused() {
    let refused = parse(b"a{b=\"\xff\"} 1", &text()).unwrap_err().to_string();
    assert_eq!(refused, "line 1, column 1: the value of label \"b\" is not valid UTF-8: \"\u{fffd}\"");
}

#[test]
fn limits_on_families_samples_and_labels_refuse_the_text() {
    let few = ParseOptions { max_points: 2, ..text() };
    assert_eq!(error("a 1\nb 1\nc 1", &few), "line 3, column 4: more than 2 samples");
    let types = "# TYPE a gauge\n# TYPE b gauge\n# TYPE c gauge\n";
    assert_eq!(error(types, &few), "line 3, column 10: more than 2 families");
    let small = ParseOptions { max_label_bytes: 20, ..text() };
    assert_eq!(error("a 1\nb 1", &small), "line 2, column 4: more than 20 bytes of labels");
}

/// The points that are kept of a text, and the rejected parts.
fn left(input: &str, options: &ParseOptions<'_>) -> (Vec<String>, Rejected) {
    let Parsed { batch, rejected } = super::parse(input.as_bytes(), options).unwrap();
    (show(&batch), rejected)
}

#[test]
fn a_series_over_a_limit_costs_only_itself() {
    let labels: String = (0..200).map(|index| format!("l{index}=\"\",")).collect();
    let set: String = (0..5).map(|index| format!("l{index}=\"{}\",", "x".repeat(16_000))).collect();
    let name = "n".repeat(1025);
    for (bad, reason) in [
        (format!("a{{{labels}}} 1"), "the number of labels is 201, the limit is 128"),
        (format!("a{{{set}}} 1"), "the label set's size in bytes is 80037, the limit is 65536"),
        (
            format!("a{{l=\"{}\"}} 1", "x".repeat(16_385)),
            "the length of the value of label \"l\" is 16385, the limit is 16384",
        ),
        (
            format!("a{{l=\"{}\\n\"}} 1", "x".repeat(16_384)),
            "the length of the value of label \"l\" is 16385, the limit is 16384",
        ),
        (
            format!("a{{{name}=\"1\"}} 1"),
            &format!("the length of label name \"{}…\" is 1025, the limit is 1024", &name[..64]),
        ),
        (
            format!("{name} 1"),
            &format!("the length of the metric name \"{}…\" is 1025, the limit is 1024", &name[..64]),
        ),
        (
            format!("# HELP {name} x\n# TYPE {name} gauge\n{{\"{name}\"}} 1"),
            &format!("the length of the metric name \"{}…\" is 1025, the limit is 1024", &name[..64]),
        ),
    ] {
        for (options, more, end) in [(text(), "", ""), (open_metrics(), " # {id=\"1\"} 2", "\n# EOF")] {
            let input = format!("first 1\n{bad}{more}\nlast 3{end}");
            let (lines, rejected) = left(&input, &options);
            let line = if bad.starts_with('#') { 4 } else { 2 };
            let expected = Rejected {
                series: 1,
                samples: 1,
                exemplars: u64::from(!more.is_empty()),
                reasons: vec![format!("line {line}, column 1: {reason}")],
                ..Rejected::default()
            };
            assert_eq!((lines, rejected), (vec!["first 1".to_string(), "last 3".to_string()], expected));
        }
    }
}

#[test]
fn an_exemplar_over_a_limit_costs_only_itself() {
    let long = "x".repeat(16_385);
    let input = format!("a_total 1 # {{id=\"{long}\"}} 2 3\nb_total 1 # {{id=\"1\"}} 2\n# EOF");
    let (lines, rejected) = left(&input, &open_metrics());
    assert_eq!(lines, ["a_total 1", "b_total 1", "b_total # {id=\"1\"} 2"]);
    assert_eq!((rejected.series, rejected.samples, rejected.exemplars), (0, 0, 1));
    assert!(rejected.to_string().starts_with("left out 1 exemplar: line 1, column "), "{rejected}");
}

#[test]
fn a_line_over_a_limit_must_still_be_well_formed() {
    let long = "x".repeat(16_385);
    let end = error(&format!("a{{l=\"{long}\"}} x"), &text());
    assert!(end.ends_with("expected a value, found \"x\""), "{end}");
}

#[test]
fn numbers_beyond_a_float_are_refused_as_by_prometheus() {
    let expected = "1e400 is beyond the largest 64-bit float, about 1.8e308: write +Inf or -Inf for infinity";
    assert_eq!(error("a 1e400", &text()), format!("line 1, column 3: {expected}"));
    assert_eq!(error("a 1e400\n# EOF", &open_metrics()), format!("line 1, column 3: {expected}"));
    assert_eq!(error("a 1 # {} 1e400\n# EOF", &open_metrics()), format!("line 1, column 10: {expected}"));
    assert_eq!(parsed("a 1e-400\nb -Inf", &text()), ["a 0", "b -inf"]);
    let bound = "# TYPE h histogram\nh_bucket{le=\"1e400\"} 1";
    assert_eq!(error(bound, &text()), format!("line 2, column 1: {expected}"));
    let quantile = "# TYPE s summary\ns{quantile=\"1e400\"} 1\n# EOF";
    assert_eq!(error(quantile, &open_metrics()), format!("line 2, column 1: {expected}"));
    let of_no_type = "h_bucket{le=\"1e400\"} 1";
    assert_eq!(parsed(of_no_type, &text()), [of_no_type], "a label as any other where no type is known");
}

#[test]
fn an_exemplar_keeps_its_timestamp_where_samples_may_have_none() {
    for timestamps in [Timestamps::Refuse, Timestamps::Ignore] {
        let options = ParseOptions { timestamps, ..open_metrics() };
        let input = "a_total 1 # {id=\"1\"} 2 3.5\nb_total 1 # {id=\"2\"} 2\n# EOF";
        assert_eq!(
            parsed(input, &options),
            ["a_total 1", "a_total # {id=\"1\"} 2 @3500", "b_total 1", "b_total # {id=\"2\"} 2"]
        );
    }
    let refuse = ParseOptions { timestamps: Timestamps::Refuse, ..open_metrics() };
    assert_eq!(
        error("a_total 1 2 # {id=\"1\"} 2 3.5\n# EOF", &refuse),
        "line 1, column 11: timestamps are not accepted here: a pushed value counts from when it is pushed"
    );
}

#[test]
fn text_in_another_encoding_is_named() {
    let utf16: Vec<u8> = "a 1\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let with_mark = [&b"\xff\xfe"[..], &utf16].concat();
    let big: Vec<u8> = "a 1\n".encode_utf16().flat_map(u16::to_be_bytes).collect();
    let dos = "line ends with a carriage return (DOS line ends): end lines with a line feed alone, \\n";
    for (input, wanted) in [
        (
            &b"\xef\xbb\xbfa 1\n"[..],
            "the text begins with a byte-order mark (EF BB BF): save it as UTF-8 without one",
        ),
        (&utf16, "the text is in UTF-16: send it in UTF-8, without a byte-order mark"),
        (&with_mark, "the text is in UTF-16: send it in UTF-8, without a byte-order mark"),
        (&big, "the text is in UTF-16: send it in UTF-8, without a byte-order mark"),
        (b"\x1f\x8b\x08\x00", "the body is compressed with gzip: send the header Content-Encoding: gzip"),
        (b"\x28\xb5\x2f\xfd", "the body is compressed with zstd: send the header Content-Encoding: zstd"),
        (
            b"\xff\x06\x00\x00sNaPpY",
            "the body is compressed with snappy: send the header Content-Encoding: snappy",
        ),
        (b"a 1\r\nb 2\r\n", dos),
        (b"\r\n", dos),
        (b"# TYPE a gauge\r\na 1\r\n", dos),
    ] {
        for options in [text(), open_metrics()] {
            let said = parse(input, &options).unwrap_err().to_string();
            assert!(said.ends_with(wanted), "{said}");
        }
    }
    assert!(error("a 1\n# EOF\r\n", &open_metrics()).ends_with(dos));
}

#[test]
fn content_types_choose_the_format() {
    let parse = Format::from_content_type;
    assert_eq!(parse(None), Format::Text);
    assert_eq!(parse(Some("text/plain; version=0.0.4")), Format::Text);
    assert_eq!(parse(Some("application/x-www-form-urlencoded")), Format::Text);
    assert_eq!(parse(Some("application/openmetrics-text; version=1.0.0")), Format::OpenMetrics);
}

proptest! {
    #[test]
    fn any_bytes_are_parsed_or_refused(bytes: Vec<u8>) {
        for options in [text(), open_metrics()] {
            let _ = parse(&bytes, &options);
        }
    }

    /// Pieces of the format get further into the parser than random bytes.
    #[test]
    fn any_pieces_are_parsed_or_refused(pieces in prop::collection::vec(prop::sample::select(vec![
        "a", "b_total", "{", "}", "\"", "\\", "=", ",", " ", "\n", "1", "1e9", "NaN", "# ", "TYPE ", "HELP ", "EOF",
        "counter", "le=\"1\"", "é", "\t", "a{x=\"y\"} 1", "_created ", "\"q\"",
    ]), 0..40)) {
        let input = pieces.concat();
        for options in [text(), open_metrics()] {
            if let Ok(batch) = parse(input.as_bytes(), &options) {
                show(&batch);
                for index in 0..batch.series.len() {
                    prop_assert!(LabelsRef::parse(batch.labels(index as u32).as_bytes()).is_ok());
                }
            }
        }
    }

    #[test]
    fn written_families_parse_to_the_same_samples(
        name in "\\PC{1,12}",
        labels in prop::collection::btree_map("[a-zA-Z_]{1,5}|\\PC{1,9}", "(\\PC|\n|\"|\\\\){1,9}", 0..4),
        value: f64, help in "(\\PC|\n|\\\\){0,12}",
    ) {
        prop_assume!(!labels.contains_key("__name__"));
        let mut family = model::Family::new(name.clone(), help.clone(), MetricType::Gauge);
        let own = labels.iter().map(|(name, value)| (name.clone().into(), value.clone())).collect();
        family.metrics.push(model::Metric { suffix: "", labels: own, value });
        let batch = parse(crate::text::encode(&[family]).as_bytes(), &text()).unwrap();
        let all = labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let expected = model::Labels::from_pairs(all.chain([("__name__", name.as_str())]));
        prop_assert_eq!(batch.labels(0), expected.as_ref());
        prop_assert_eq!(batch.points[0].value == Value::Float(value), !value.is_nan());
        prop_assert_eq!(&batch.metadata[0].family, &name);
        prop_assert_eq!(batch.metadata[0].help.trim_start(), help.trim_start());
    }
}
