#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]
use super::*;
use crate::settings::{ExponentialHistograms, Promote, Strategy};
use crate::value::NESTING_MAX;
use model::{Batch, Value};

const NOW: i64 = 1_700_000_000_000;

fn translate(settings: &Settings, json: &str) -> Result<Decoded, DecodeError> {
    let refused = |time: i64| (time > NOW + 600_000).then(|| format!("{time} is too late"));
    let options = Options::new(settings, Limits::default(), &refused);
    decode(Encoding::Json, json.as_bytes(), &options)
}

/// A request with one resource and these metrics.
fn request(resource: &str, metrics: &str) -> String {
    format!(
        r#"{{"resourceMetrics":[{{"resource":{{"attributes":[{resource}]}},
            "scopeMetrics":[{{"scope":{{"name":"lib","version":"1.2"}},"metrics":[{metrics}]}}]}}]}}"#
    )
}

fn text(name: &str, value: &str) -> String {
    format!(r#"{{"key":"{name}","value":{{"stringValue":"{value}"}}}}"#)
}

fn point(more: &str) -> String {
    format!(r#"{{"timeUnixNano":"{NOW}000000","startTimeUnixNano":"1699999990000000000",{more}}}"#)
}

fn metric(name: &str, kind: &str, points: &str) -> String {
    format!(
        r#"{{"name":"{name}","{kind}":{{"dataPoints":[{points}],"aggregationTemporality":2,"isMonotonic":true}}}}"#
    )
}

/// Each point as `LABELS VALUE`.
fn lines(batch: &Batch) -> Vec<String> {
    let line = |point: &model::Point| {
        let labels = batch.labels(point.series);
        match point.value {
            Value::Float(value) if model::is_stale(value) => format!("{labels} stale"),
            Value::Float(value) => format!("{labels} {value}"),
            Value::Histogram(index) => {
                let histogram = &batch.histograms[index as usize];
                let counts =
                    if histogram.is_stale() { "stale".into() } else { format!("{:?}", histogram.counts) };
                format!("{labels} schema {} {counts}", histogram.schema)
            }
            Value::Exemplar(index) => {
                let exemplar = batch.exemplars[index as usize];
                let own = model::LabelsRef::trusted(batch.slice(exemplar.labels));
                format!("{labels} # {own} {}", exemplar.value)
            }
        }
    };
    batch.points.iter().map(line).collect()
}

fn series_of(settings: &Settings, json: &str) -> Vec<String> {
    let decoded = translate(settings, json).unwrap();
    assert!(decoded.parsed.rejected.is_empty(), "{}", decoded.parsed.rejected);
    lines(&decoded.parsed.batch)
}

/// What is wrong with the first data point that was left out, and how many were.
fn rejected(json: &str) -> (u64, String) {
    let decoded = translate(&Settings::default(), json).unwrap();
    (decoded.parsed.rejected.samples, decoded.parsed.rejected.reasons.join(" | "))
}

#[test]
fn a_resource_becomes_job_instance_and_target_info() {
    let resource = [
        text("service.name", "shop"),
        text("service.namespace", "eu"),
        text("service.instance.id", "7"),
        text("host.name", "a"),
    ];
    let json = request(&resource.join(","), &metric("queue.length", "gauge", &point(r#""asInt":"3""#)));
    assert_eq!(
        series_of(&Settings::default(), &json),
        [
            r#"queue_length{instance="7",job="eu/shop"} 3"#,
            r#"target_info{host_name="a",instance="7",job="eu/shop"} 1"#
        ]
    );
    let settings = Settings {
        promote: Promote::Only(["host.name".to_string()].into()),
        keep_identifying_resource_attributes: true,
        promote_scope_metadata: true,
        translation_strategy: Strategy::NoTranslation,
        ..Settings::default()
    };
    assert_eq!(
        series_of(&settings, &json),
        [
            r#"queue.length{host.name="a",instance="7",job="eu/shop",otel_scope_name="lib",otel_scope_version="1.2"} 3"#,
            r#"target_info{host.name="a",instance="7",job="eu/shop",service.instance.id="7",service.name="shop",service.namespace="eu"} 1"#
        ]
    );
}

#[test]
fn a_point_has_its_times_and_its_metadata() {
    let json = request("", &metric("work", "sum", &point(r#""asDouble":1.5"#)))
        .replace("\"name\":\"work\"", r#""name":"work","unit":"s","description":"help""#);
    let batch = translate(&Settings::default(), &json).unwrap().parsed.batch;
    assert_eq!((batch.points[0].timestamp, batch.points[0].start_timestamp), (NOW, NOW - 10_000));
    let metadata = &batch.metadata[0];
    assert_eq!((&*metadata.family, metadata.kind), ("work_seconds_total", MetricType::Counter));
    assert_eq!((&*metadata.help, &*metadata.unit), ("help", "seconds"));
}

#[test]
fn a_start_that_is_not_before_the_point_is_left_out() {
    let json = request(
        "",
        &metric(
            "work",
            "sum",
            &format!(r#"{{"timeUnixNano":"{NOW}000000","startTimeUnixNano":"{NOW}000001","asInt":1}}"#),
        ),
    );
    let batch = translate(&Settings::default(), &json).unwrap().parsed.batch;
    assert_eq!(batch.points[0].start_timestamp, 0);
}

#[test]
fn attributes_that_become_one_label_are_joined() {
    let attributes = [text("a.b", "1"), text("a_b", "2"), text("__name__", "x"), text("empty", "")];
    let json = request(
        "",
        &metric("g", "gauge", &point(&format!(r#""asInt":1,"attributes":[{}]"#, attributes.join(",")))),
    );
    assert_eq!(series_of(&Settings::default(), &json), [r#"g{a_b="1;2"} 1"#]);
}

#[test]
fn values_of_one_label_are_not_joined_without_bound() {
    let value = "x".repeat(Limits::MAX.value_bytes / 2);
    let attributes: Vec<String> = ["a.b", "a-b", "a_b"].map(|name| text(name, &value)).into();
    let json = request(
        "",
        &metric("g", "gauge", &point(&format!(r#""asInt":1,"attributes":[{}]"#, attributes.join(",")))),
    );
    let (count, why) = rejected(&json);
    assert!(count == 1 && why.contains("values of more than 1048576 bytes"), "{why}");
}

#[test]
fn a_classic_histogram_has_buckets_with_their_exemplars() {
    let exemplar = |value: &str| {
        format!(
            r#"{{"timeUnixNano":"{NOW}000000","asDouble":{value},"traceId":"0102030405060708090a0b0c0d0e0f10","spanId":"","filteredAttributes":[{}]}}"#,
            text("user", "x")
        )
    };
    let data = format!(
        r#""count":"6","sum":9.5,"bucketCounts":["1","2","3"],"explicitBounds":[1,2.5],"exemplars":[{},{}]"#,
        exemplar("0.5"),
        exemplar("7")
    );
    let json = request("", &metric("lat", "histogram", &point(&data)));
    let trace = r#"{trace_id="0102030405060708090a0b0c0d0e0f10",user="x"}"#;
    assert_eq!(
        series_of(&Settings::default(), &json),
        [
            "lat_sum 9.5".to_string(),
            "lat_count 6".into(),
            r#"lat_bucket{le="1"} 1"#.into(),
            format!(r#"lat_bucket{{le="1"}} # {trace} 0.5"#),
            r#"lat_bucket{le="2.5"} 3"#.into(),
            r#"lat_bucket{le="+Inf"} 6"#.into(),
            format!(r#"lat_bucket{{le="+Inf"}} # {trace} 7"#),
        ]
    );
    let settings = Settings { convert_histograms_to_nhcb: true, ..Settings::default() };
    assert_eq!(
        series_of(&settings, &json),
        [
            "lat schema -53 Integer { count: 6, zero: 0, positive: [1, 1, 1], negative: [] }".to_string(),
            format!("lat # {trace} 0.5"),
            format!("lat # {trace} 7"),
        ]
    );
}

#[test]
fn an_exponential_histogram_is_native_or_classic() {
    let data =
        r#""count":"4","sum":9,"scale":0,"zeroCount":"1","positive":{"offset":0,"bucketCounts":["2","1"]}"#;
    let json = request("", &metric("lat", "exponentialHistogram", &point(data)));
    assert_eq!(
        series_of(&Settings::default(), &json),
        ["lat schema 0 Integer { count: 4, zero: 1, positive: [2, -1], negative: [] }"]
    );
    let settings = Settings { exponential_histograms: ExponentialHistograms::Classic, ..Settings::default() };
    assert_eq!(
        series_of(&settings, &json),
        [
            "lat_sum 9",
            "lat_count 4",
            r#"lat_bucket{le="0"} 1"#,
            r#"lat_bucket{le="2"} 3"#,
            r#"lat_bucket{le="4"} 4"#,
            r#"lat_bucket{le="+Inf"} 4"#
        ]
    );
}

#[test]
fn a_summary_has_quantiles() {
    let data =
        r#""count":"4","sum":9,"quantileValues":[{"quantile":0.5,"value":2},{"quantile":1,"value":3}]"#;
    let json = request("", &metric("lat", "summary", &point(data)));
    assert_eq!(
        series_of(&Settings::default(), &json),
        ["lat_sum 9", "lat_count 4", r#"lat{quantile="0.5"} 2"#, r#"lat{quantile="1"} 3"#]
    );
}

#[test]
fn no_recorded_value_ends_all_series_of_a_point() {
    let stale = |kind: &str, data: &str| {
        let json = request("", &metric("m", kind, &point(&format!(r#""flags":1,{data}"#))));
        series_of(&Settings::default(), &json).into_iter().all(|line| line.ends_with("stale"))
    };
    assert!(stale("gauge", r#""asInt":1"#));
    assert!(stale("histogram", r#""count":"1","sum":1,"bucketCounts":["1","0"],"explicitBounds":[1]"#));
    assert!(stale("exponentialHistogram", r#""count":"1","positive":{"bucketCounts":["5"]}"#));
    assert!(stale("summary", r#""quantileValues":[{"quantile":1}]"#));
}

#[test]
fn a_bad_data_point_costs_itself_and_is_explained() {
    let good = point(r#""asInt":1"#);
    let bad = point(r#""asDouble":-1"#);
    let deltas = metric("d", "sum", &format!("{bad},{bad},{good}"))
        .replace("\"aggregationTemporality\":2", "\"aggregationTemporality\":1");
    let (count, why) = rejected(&request("", &deltas));
    assert_eq!(count, 2);
    assert!(
        why.contains("metric \"d\": a monotonic sum with a negative delta")
            && why.contains("first of 2 such data points"),
        "{why}"
    );
    for (metrics, reason) in [
        (metric("___", "gauge", &good), "metric \"___\": nothing is left of the metric name"),
        (metric("m", "gauge", r#"{"asInt":1}"#), "metric \"m\": a data point without a time"),
        (
            metric("m", "gauge", r#"{"asInt":1,"timeUnixNano":"1800000000000000000"}"#),
            "1800000000000 is too late",
        ),
        (
            metric("m", "gauge", &point(&format!(r#""attributes":[{}]"#, text("", "x")))),
            "an attribute without a name",
        ),
        (
            metric(
                "m",
                "gauge",
                &point(&format!(r#""attributes":[{}]"#, vec![text("a", "x"); 129].join(","))),
            ),
            "129 attributes, the limit is 128",
        ),
        (metric("m", "exponentialHistogram", &point(r#""scale":-5"#)), "of scale -5, the least is -4"),
        (
            metric("m", "exponentialHistogram", &point(r#""count":"5","positive":{"bucketCounts":["1"]}"#)),
            "1 observations in buckets, but a count of 5",
        ),
        (
            metric("m", "sum", &good).replace("\"aggregationTemporality\":2", "\"x\":2"),
            "its aggregation temporality is missing",
        ),
    ] {
        let decoded = translate(
            &Settings::default(),
            &request("", &format!("{metrics},{}", metric("fine", "gauge", &good))),
        )
        .unwrap();
        let rejected = decoded.parsed.rejected;
        assert_eq!(rejected.samples, 1, "{reason}");
        assert!(rejected.to_string().contains(reason), "{reason}: {rejected}");
        assert_eq!(lines(&decoded.parsed.batch), ["fine 1"]);
        assert_eq!(decoded.parsed.batch.series.len(), 1);
    }
}

#[test]
fn target_info_fills_the_time_between_and_has_a_limit() {
    let at = |seconds: i64| format!(r#"{{"asInt":1,"timeUnixNano":"{}000000000"}}"#, NOW / 1000 - seconds);
    let resource = [text("service.name", "a"), text("host", "b")].join(",");
    let count = |seconds: i64| {
        let json = request(&resource, &metric("m", "gauge", &format!("{},{}", at(seconds), at(0))));
        let batch = translate(&Settings::default(), &json).unwrap().parsed.batch;
        let times: Vec<i64> =
            batch.points.iter().skip(2).map(|point| (NOW - point.timestamp) / 1000).collect();
        times
    };
    assert_eq!(count(301), [301, 151, 1, 0]);
    assert_eq!(count(300), [300, 150, 0]);
    assert_eq!(count(1_000_000_000).len(), TARGET_INFO_SAMPLES_MAX);
}

#[test]
fn limits_of_a_request_are_errors() {
    let settings = Settings::default();
    let accept = |_: i64| None;
    let json = request("", &metric("m", "gauge", &vec![point(r#""asInt":1"#); 3].join(",")));
    let with = |change: &dyn Fn(&mut Options<'_>)| {
        let mut options = Options::new(&settings, Limits::default(), &accept);
        change(&mut options);
        decode(Encoding::Json, json.as_bytes(), &options).unwrap_err().to_string()
    };
    assert_eq!(
        with(&|options| options.points_max = 2),
        "more than 2 data points in one request: send fewer data points at once"
    );
    assert!(with(&|options| options.label_bytes_max = 10).contains("more than 10 bytes of labels"));
}

#[test]
fn a_resource_with_too_many_attributes_costs_its_own_data_points() {
    let attributes = vec![text("a", "b"); RESOURCE_ATTRIBUTES_MAX + 1].join(",");
    let gauge = metric("m", "gauge", &point(r#""asInt":1"#));
    let both = request(&attributes, &gauge).replacen(
        r#"{"resourceMetrics":["#,
        &request("", &metric("fine", "gauge", &point(r#""asInt":1"#))).replace("]}]}]}", "]}]},"),
        1,
    );
    let decoded = translate(&Settings::default(), &both).unwrap();
    assert_eq!(lines(&decoded.parsed.batch), [r#"fine 1"#]);
    assert_eq!(decoded.parsed.rejected.samples, 1);
    let why = &decoded.parsed.rejected.reasons[0];
    assert!(why.contains("the resource has 257 attributes, the limit is 256: send fewer of them"), "{why}");
}

#[test]
fn an_attribute_that_is_nested_too_deeply_costs_its_data_point() {
    let settings = Settings::default();
    let nested = |levels: usize, (open, close): (&str, &str)| {
        let value = format!("{}{{\"intValue\":1}}{}", open.repeat(levels), close.repeat(levels));
        let attribute = format!(r#""asInt":1,"attributes":[{{"key":"a","value":{value}}}]"#);
        let points = format!("{},{}", point(&attribute), point(r#""asInt":2"#));
        translate(&settings, &request("", &metric("m", "gauge", &points))).unwrap().parsed
    };
    let list = (r#"{"arrayValue":{"values":["#, "]}}");
    let map = (r#"{"kvlistValue":{"values":[{"key":"k","value":"#, "}]}}");
    for form in [list, map] {
        assert_eq!(nested(NESTING_MAX, form).rejected.samples, 0);
        for levels in [NESTING_MAX + 1, 200, 100_000] {
            let parsed = nested(levels, form);
            assert_eq!(
                (parsed.rejected.samples, lines(&parsed.batch)),
                (1, vec!["m 2".to_string()]),
                "{levels}"
            );
            assert!(parsed.rejected.reasons[0].contains("nested more than 32 levels deep"));
        }
    }
    let unknown = format!(r#""unknown":{}1{},"asInt":3"#, "[".repeat(100_000), "]".repeat(100_000));
    let parsed = translate(&settings, &request("", &metric("m", "gauge", &point(&unknown)))).unwrap().parsed;
    assert_eq!(lines(&parsed.batch), ["m 3"]);
}

#[test]
fn buckets_beyond_32_bits_are_left_out() {
    let settings = Settings::default();
    let buckets = |offset: i32, side: &str| {
        let value = format!(r#""count":1,"scale":0,"{side}":{{"offset":{offset},"bucketCounts":[1]}}"#);
        let json = request("", &metric("e", "exponentialHistogram", &point(&value)));
        translate(&settings, &json).unwrap().parsed.rejected.samples
    };
    for side in ["positive", "negative"] {
        assert_eq!([i32::MIN, i32::MAX - 1, i32::MAX].map(|offset| buckets(offset, side)), [0, 0, 1]);
    }
}

#[test]
fn damage_is_located() {
    let settings = Settings::default();
    let accept = |_: i64| None;
    let options = Options::new(&settings, Limits::default(), &accept);
    let error = decode(Encoding::Protobuf, b"\x0a\x02\x12\x05", &options).unwrap_err().to_string();
    assert_eq!(error, "malformed protobuf at byte 2: a field is longer than the rest of the message");
    let error = decode(Encoding::Json, b"{\"resourceMetrics\":3}", &options).unwrap_err().to_string();
    assert!(error.starts_with("malformed JSON: ") && error.contains("expected a list"), "{error}");
}
