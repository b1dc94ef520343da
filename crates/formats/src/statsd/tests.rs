//! The lines are those of `prometheus/statsd_exporter: pkg/line/line_test.go` and of the descriptions of the formats.

use super::*;

/// The content of a line: each value as `NAME{LABELS} TYPE VALUE`, or the reason of its error.
fn read_with(line: &[u8], styles: TagStyles) -> Vec<String> {
    let metric = match parse(line) {
        Ok(Line::Metric(metric)) => metric,
        Ok(other) => return vec![format!("{other:?}")],
        Err(reason) => return vec![reason.as_str().into()],
    };
    let mut out = Vec::new();
    for sample in metric.samples() {
        let sample = match sample {
            Ok(sample) => sample,
            Err(reason) => {
                out.push(reason.as_str().to_string());
                continue;
            }
        };
        let described = match describe(metric.name, sample.tags, styles) {
            Ok(described) => described,
            Err(reason) => {
                out.push(reason.as_str().to_string());
                continue;
            }
        };
        let mut labels: Vec<String> =
            described.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        labels.extend(sample.container.map(|container| format!("container_id={container}")));
        let mut shown = described.name.clone();
        if !labels.is_empty() {
            shown += &format!("{{{}}}", labels.join(","));
        }
        shown += &format!(" {}", sample.kind.as_str());
        let weight = match sample.weight {
            1.0 => String::new(),
            weight => format!(" x{weight}"),
        };
        let time = sample.timestamp_s.map(|time| format!(" T{time}")).unwrap_or_default();
        let rate = if sample.has_invalid_rate { " invalid_sample_factor" } else { "" };
        if sample.kind == Kind::Set {
            out.push(format!("{shown} {:?}{weight}{time}{rate}", sample.set_value()));
            continue;
        }
        for number in sample.numbers() {
            out.push(match number {
                Ok(Number { value, has_sign }) => {
                    let sign = if has_sign { " signed" } else { "" };
                    format!("{shown} {value}{sign}{weight}{time}{rate}")
                }
                Err(reason) => reason.as_str().into(),
            });
        }
    }
    out
}

fn read(line: &[u8]) -> Vec<String> {
    read_with(line, TagStyles::default())
}

#[test]
fn lines_are_read_as_by_statsd_exporter() {
    let table: &[(&str, &[&str])] = &[
        ("foo:2|c", &["foo counter 2"]),
        ("foo:3|g", &["foo gauge 3"]),
        ("foo:3|g|@0.2", &["foo gauge 3 x5"]),
        ("foo:-10|g", &["foo gauge -10 signed"]),
        ("foo:200|ms", &["foo timer 200"]),
        ("foo:200|h", &["foo histogram 200"]),
        ("foo:200|d", &["foo distribution 200"]),
        ("foo:0.01|d|@0.2|#tag1:bar,#tag2:baz", &["foo{tag1=bar,tag2=baz} distribution 0.01 x5"]),
        ("foo#tag1=bar,tag2=baz:100|c", &["foo{tag1=bar,tag2=baz} counter 100"]),
        ("foo#09digits=0,tag.with.dots=1:100|c", &["foo{_09digits=0,tag_with_dots=1} counter 100"]),
        ("foo,tag1=bar,tag2=baz:100|c", &["foo{tag1=bar,tag2=baz} counter 100"]),
        ("foo,09digits=0,tag.with.dots=1:100|c", &["foo{_09digits=0,tag_with_dots=1} counter 100"]),
        ("foo.[tag1=bar,tag2=baz]test:100|c", &["foo.test{tag1=bar,tag2=baz} counter 100"]),
        ("foo.test[tag1=bar,tag2=baz]:100|c", &["foo.test{tag1=bar,tag2=baz} counter 100"]),
        ("[tag1=bar,tag2=baz]foo.test:100|c", &["foo.test{tag1=bar,tag2=baz} counter 100"]),
        ("foo.[]test:100|c", &["foo.test counter 100"]),
        ("foo.[tag1,tag2]test:100|c", &["foo.test counter 100"]),
        ("[tag1=bar,tag2=bazfoo.test:100|c", &["[tag1=bar,tag2=bazfoo.test counter 100"]),
        ("tag1=bar,tag2=baz]foo.test:100|c", &["tag1=bar,tag2=baz]foo.test counter 100"]),
        ("foo:100|c|#tag1:bar,tag2:baz", &["foo{tag1=bar,tag2=baz} counter 100"]),
        ("foo:100|c|#tag1:bar,#tag2:baz", &["foo{tag1=bar,tag2=baz} counter 100"]),
        ("foo:100|c|#09digits:0,tag.with.dots:1", &["foo{_09digits=0,tag_with_dots=1} counter 100"]),
        ("foo:100|c|#tag_without_a_value", &["foo counter 100"]),
        ("foo:100|c|#tag_without_a_value,tag:value", &["foo{tag=value} counter 100"]),
        ("foo:100|c|#tag:value,,", &["foo{tag=value} counter 100"]),
        ("foo:100|c|@0.1|#tag1:bar,#tag2:baz", &["foo{tag1=bar,tag2=baz} counter 100 x10"]),
        ("foo#tag1=foo,tag3=bing:100|c|#tag1:bar,#tag2:baz", &["mixed_tagging_styles"]),
        ("foo[tag1=foo,tag3=bing]:100|c|#tag1:bar,#tag2:baz", &["mixed_tagging_styles"]),
        ("foo,tag1=foo,tag3=bing:100|c|#tag1:bar,#tag2:baz", &["mixed_tagging_styles"]),
        ("foo#tag1=foo,tag3=bing:100|c|@0.1|#tag1:bar,#tag2:baz", &["mixed_tagging_styles"]),
        ("foo:100|c|@0.1|#tag1:foo:bar", &["foo{tag1=foo:bar} counter 100 x10"]),
        (
            "foo_timing:0.5:120:3000|ms|#tag1:bar",
            &[
                "foo_timing{tag1=bar} timer 0.5",
                "foo_timing{tag1=bar} timer 120",
                "foo_timing{tag1=bar} timer 3000",
            ],
        ),
        ("foo_timing:0.5:120|ms", &["foo_timing timer 0.5", "foo_timing timer 120"]),
        ("foo_timing:0.5:120|ms|@0.5", &["foo_timing timer 0.5 x2", "foo_timing timer 120 x2"]),
        ("foo.timing:0.5|ms|@0.1", &["foo.timing timer 0.5 x10"]),
        (
            "foo:200|ms:300|ms:5|c|@0.1:6|g",
            &["foo timer 200", "foo timer 300", "foo counter 5 x10", "foo gauge 6"],
        ),
        ("bar:1|c:5|ms", &["bar counter 1", "bar timer 5"]),
        ("foo", &["malformed_line"]),
        ("foo:1", &["not_enough_parts_after_colon"]),
        ("foo:1o|c", &["malformed_value"]),
        ("foo:1|c|@bar", &["foo counter 1 invalid_sample_factor"]),
        ("foo:2|c|@0", &["foo counter 2"]),
        ("foo:2|t", &["illegal_type"]),
        (":100|ms", &["malformed_line"]),
        ("foo:1|c|", &["malformed_component"]),
        (
            "karafka.consumer.consume.cpu_idle_second:  0.111090  -0.055903  -0.195390 (  2.419002)",
            &["not_enough_parts_after_colon"],
        ),
        (
            "|h|#consumer:Kafka::SharedConfigurationConsumer,topic:shared_configuration_update",
            &["not_enough_parts_after_colon"],
        ),
        ("foo:100|c|#tag1:value|c:container123", &["foo{tag1=value,container_id=container123} counter 100"]),
        ("foo:50|g|#tag1:value|c:in-1", &["foo{tag1=value,container_id=in-1} gauge 50"]),
        ("foo:100|c|#tag1:value|c", &["malformed_container_id"]),
        ("foo:100|c|#tag1:value|c:", &["malformed_container_id"]),
        (
            "foo:100|c|#tag1:value|c:sha256:abcd1234efgh5678",
            &["foo{tag1=value,container_id=sha256:abcd1234efgh5678} counter 100"],
        ),
    ];
    for (line, wanted) in table {
        assert_eq!(read(line.as_bytes()), *wanted, "{line}");
    }
    for line in [&b"invalid\xc3\x28utf8:1|c"[..], b"foo:100|c|@0.1|#tag:\xc3\x28invalid"] {
        assert_eq!(read(line), ["malformed_line"]);
    }
}

#[test]
fn every_version_of_dogstatsd_is_read() {
    let table: &[(&str, &[&str])] = &[
        ("n:1:2:3|c|@0.5|#a:b", &["n{a=b} counter 1 x2", "n{a=b} counter 2 x2", "n{a=b} counter 3 x2"]),
        ("n:1::2|d", &["n distribution 1", "n distribution 2"]),
        ("n:1:x:2|d", &["n distribution 1", "malformed_value", "n distribution 2"]),
        ("n:|c", &["malformed_value"]),
        ("n:::|c", &["malformed_value"]),
        ("n:user:7|s|#a:b", &["n{a=b} set \"user:7\""]),
        ("n:|s", &["n set \"\""]),
        ("n:1|g|#a:b|c:ci-1f2e,in-99", &["n{a=b,container_id=ci-1f2e,in-99} gauge 1"]),
        ("n:1|g|T1656581400|#a:b", &["n{a=b} gauge 1 T1656581400"]),
        ("n:1|c|#a:b|T0", &["malformed_timestamp"]),
        ("n:1|c|T", &["malformed_timestamp"]),
        ("n:1|c|T1e9", &["malformed_timestamp"]),
        ("n:1|c|#a:b|c:x|e:it-false,cn-nginx,pu-1234|card:low", &["n{a=b,container_id=x} counter 1"]),
        ("n:1|c|#a:b|unknown:section", &["n{a=b} counter 1"]),
        ("n:1|c|@1.5", &["n counter 1 invalid_sample_factor"]),
        ("n:1|c|@-1", &["n counter 1 invalid_sample_factor"]),
        ("n:1|c|@1e-320", &["n counter 1 invalid_sample_factor"]),
        ("_e{5,4}:title|text|t:warning|#a:b", &["Event"]),
        ("_sc|Redis connection|2|#env:dev|m:Redis connection timed out", &["ServiceCheck"]),
    ];
    for (line, wanted) in table {
        assert_eq!(read(line.as_bytes()), *wanted, "{line}");
    }
    for value in ["NaN", "Inf", "-Inf", "+infinity", "0x10", "1_000", "1e400", " 1", ""] {
        assert_eq!(read(format!("n:{value}|g").as_bytes()), ["malformed_value"], "{value}");
    }
}

#[test]
fn tag_styles_can_be_switched_off() {
    let none = TagStyles { dogstatsd: false, influxdb: false, librato: false, signalfx: false };
    for (line, wanted) in [
        ("foo#tag1=bar:100|c", "foo#tag1=bar counter 100"),
        ("foo,tag1=bar:100|c", "foo,tag1=bar counter 100"),
        ("foo.[tag1=bar]test:100|c", "foo.[tag1=bar]test counter 100"),
        ("foo:100|c|#tag1:bar", "foo counter 100"),
    ] {
        assert_eq!(read_with(line.as_bytes(), none), [wanted]);
    }
}

#[test]
fn tags_that_are_left_out_are_counted() {
    for (name, tags, errors) in [
        ("a", "b:1,c:2", 0),
        ("a", "b", 1),
        ("a", "b:,:c,", 2),
        ("a", "b:1,,c:2", 1),
        ("a", "__name__:other", 1),
        ("a[b", "", 1),
        ("a]b[c=d", "", 1),
        ("a,b=1,c", "", 1),
    ] {
        let described = describe(name, tags, TagStyles::default()).unwrap();
        assert_eq!(described.tag_errors, errors, "{name} {tags}: {described:?}");
    }
    let twice = describe("a", "b:1,c:2,b:3", TagStyles::default()).unwrap();
    let labels: Vec<String> = twice.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(labels, ["b=3", "c=2"]);
}

#[test]
fn names_are_escaped_as_by_statsd_exporter() {
    for (name, wanted) in [
        ("clean", "clean"),
        ("0starts_with_digit", "_0starts_with_digit"),
        ("with_underscore", "with_underscore"),
        ("with.dot", "with_dot"),
        ("with😱emoji", "with_emoji"),
        ("with.*.multiple", "with___multiple"),
        ("test.web-server.foo.bar", "test_web_server_foo_bar"),
        ("double--dash", "double_dash"),
        ("", ""),
    ] {
        let mut out = String::new();
        escape(name, &mut out);
        assert_eq!(out, wanted, "{name}");
    }
}

#[test]
fn a_datagram_has_lines_with_any_ending() {
    let all: Vec<&[u8]> = lines(b"a:1|c\r\n\n\r\nb:2|c").collect();
    assert_eq!(all, [&b"a:1|c"[..], b"b:2|c"]);
}
