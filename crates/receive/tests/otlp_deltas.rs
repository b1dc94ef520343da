//! Deltas of OTLP: what is added, what is recognised as a repetition, and what is left out.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is how a test reports")]

mod common;

use axum::body::Body;
use common::{START, World, answer};
use http::Request;
use receive::otlp_input::deltas::{DELTAS, Senders};
use std::time::Duration;

/// A request with one metric of this kind.
fn request(name: &str, kind: &str, points: &[String]) -> String {
    let points = points.join(",");
    format!(
        r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"name":"{name}","unit":"s","{kind}":{{"dataPoints":[{points}],
        "aggregationTemporality":1,"isMonotonic":true}}}}]}}]}}]}}"#
    )
}

fn point(seconds: i64, value: &str) -> String {
    let nanoseconds = |seconds: i64| (START + seconds * 1000) * 1_000_000;
    let (start, time) = (nanoseconds(seconds - 10), nanoseconds(seconds));
    format!(r#"{{{value},"startTimeUnixNano":"{start}","timeUnixNano":"{time}"}}"#)
}

fn sum(seconds: i64, value: i64) -> String {
    request("c", "sum", &[point(seconds, &format!(r#""asInt":{value}"#))])
}

async fn send(world: &World, json: &str) -> String {
    let request = Request::post("/v1/metrics").header("content-type", "application/json");
    let response = world.request(request.body(Body::from(json.to_string())).unwrap()).await;
    let (status, text) = answer(response).await;
    assert_eq!(status, 200, "{text}");
    text
}

async fn of(senders: Senders) -> World {
    World::with(|options| options.deltas.senders = senders, |_| {}).await
}

/// The last value of each series that came into the log since this was last asked.
async fn values(world: &mut World) -> Vec<String> {
    let mut last = std::collections::BTreeMap::new();
    for line in world.lines().await {
        last.insert(line.series, line.value);
    }
    last.into_iter().map(|(series, value)| format!("{series} {value}")).collect()
}

#[tokio::test]
async fn single_senders_are_added_in_order_and_repetitions_are_recognised() {
    let mut world = of(Senders::Single).await;
    assert_eq!(send(&world, &sum(10, 3)).await, "{}");
    let lines = world.texts().await;
    assert_eq!(lines, ["c_seconds_total 0 +-1", "c_seconds_total 3 +0"]);
    assert_eq!(send(&world, &sum(10, 3)).await, "{}", "the request is known");
    let same_point = sum(10, 3).replace("\"c\"", "\"c\" ");
    assert_eq!(send(&world, &same_point).await, "{}", "the data point is known");
    assert_eq!(values(&mut world).await, Vec::<String>::new());
    assert_eq!(send(&world, &sum(20, 4)).await, "{}");
    assert_eq!(values(&mut world).await, ["c_seconds_total 7"]);
    let text = send(&world, &sum(15, 100)).await;
    assert!(text.contains(r#""rejectedDataPoints":"1""#) && text.contains("5000 ms older"), "{text}");
    assert!(text.contains("accumulate: many"), "{text}");
    let mut world = world.restart().await;
    assert_eq!(send(&world, &sum(10, 3)).await, "{}", "the journal has the request");
    assert_eq!(send(&world, &same_point.replace("\"10", "\" 10")).await, "{}");
    assert_eq!(send(&world, &sum(30, 1)).await, "{}");
    assert_eq!(values(&mut world).await, ["c_seconds_total 8"]);
}

#[tokio::test]
async fn many_senders_are_added_whatever_their_times_are() {
    let mut world = of(Senders::Many).await;
    for (seconds, value) in [(20, 3), (10, 4), (20, 5)] {
        assert_eq!(send(&world, &sum(seconds, value)).await, "{}");
        assert_eq!(send(&world, &sum(seconds, value)).await, "{}", "the request is known");
    }
    assert_eq!(values(&mut world).await, ["c_seconds_total 12"]);
    let world = world.restart().await;
    assert_eq!(send(&world, &sum(20, 5)).await, "{}");
    world.clock.pass(Duration::from_millis(totals::REQUEST_AGE_MS as u64 + 1));
    let mut world = world;
    send(&world, &sum(20, 6)).await;
    send(&world, &sum(20, 3)).await;
    assert_eq!(values(&mut world).await, ["c_seconds_total 21"], "a request is remembered for ten minutes");
}

#[tokio::test]
async fn sums_and_histograms_are_added_up() {
    let mut world = of(Senders::Single).await;
    let gauge = |seconds, value: i64| {
        request("g", "sum", &[point(seconds, &format!(r#""asInt":"{value}""#))])
            .replace(r#""isMonotonic":true"#, r#""isMonotonic":false"#)
    };
    send(&world, &gauge(10, 5)).await;
    send(&world, &gauge(20, -7)).await;
    assert_eq!(values(&mut world).await, ["g_seconds -2"]);
    let explicit = |seconds, bounds: &str| {
        let value =
            format!(r#""count":"4","sum":2.5,"bucketCounts":["1","2","1"],"explicitBounds":[{bounds}]"#);
        request("h", "histogram", &[point(seconds, &value)])
    };
    send(&world, &explicit(10, "0.5,1")).await;
    send(&world, &explicit(20, "0.5,1")).await;
    let buckets = |values: [i64; 3], sum: f64, bounds: [&str; 2]| {
        let [one, two, all] = values;
        let mut lines = vec![
            format!("h_seconds_bucket{{le=\"{}\"}} {one}", bounds[0]),
            format!("h_seconds_bucket{{le=\"{}\"}} {two}", bounds[1]),
            format!("h_seconds_bucket{{le=\"+Inf\"}} {all}"),
            format!("h_seconds_count {all}"),
            format!("h_seconds_sum {sum}"),
        ];
        lines.sort();
        lines
    };
    assert_eq!(values(&mut world).await, buckets([2, 6, 8], 5.0, ["0.5", "1"]));
    // Other bounds begin again.
    send(&world, &explicit(30, "1,2")).await;
    let mut wanted = buckets([1, 3, 4], 2.5, ["1", "2"]);
    wanted.push("h_seconds_bucket{le=\"0.5\"} stale".into());
    wanted.sort();
    assert_eq!(values(&mut world).await, wanted);
    let exponential = |seconds, scale: i32| {
        let value = format!(
            r#""count":"5","sum":7,"scale":{scale},"zeroCount":"1","positive":{{"offset":0,"bucketCounts":["2","2"]}}"#
        );
        request("e", "exponentialHistogram", &[point(seconds, &value)])
    };
    send(&world, &exponential(10, 1)).await;
    send(&world, &exponential(20, 0)).await;
    let line = values(&mut world).await.remove(0);
    let wanted = "schema: 0, zero_threshold: 2.938735877055719e-39, sum: 14.0, positive_spans: [BucketSpan { offset: 1, \
                  length: 2 }]";
    assert!(line.contains(wanted), "{line}");
    assert!(line.contains("count: 10, zero: 2, positive: [6, -4]"), "{line}");
}

#[tokio::test]
async fn a_bad_delta_costs_itself() {
    let mut world = of(Senders::Single).await;
    let bad = [
        ("sum", r#""asDouble":"NaN""#, "not a finite number"),
        ("sum", r#""asDouble":-1"#, "negative delta"),
        ("sum", r#""asInt":1,"flags":1"#, "without a recorded value"),
        ("histogram", r#""count":2,"bucketCounts":[1]"#, "do not add up to its count of 2"),
        ("histogram", r#""count":1,"bucketCounts":[1],"explicitBounds":[1,2]"#, "1 counts for 2 bounds"),
        (
            "histogram",
            r#""count":1,"bucketCounts":[1,0,0],"explicitBounds":[2,1]"#,
            "bucket bound 1 follows 2",
        ),
        ("exponentialHistogram", r#""count":2"#, "do not add up"),
        (
            "exponentialHistogram",
            r#""count":1,"scale":2147483647,"positive":{"bucketCounts":[1]}"#,
            "of scale 2147483647",
        ),
    ];
    for (kind, value, why) in bad {
        let text = send(&world, &request("bad", kind, &[point(10, value)])).await;
        assert!(text.contains(r#""rejectedDataPoints":"1""#) && text.contains(why), "{why}: {text}");
        assert_eq!(values(&mut world).await, Vec::<String>::new(), "{why}");
    }
    // Buckets of numbers that no float can be are counted in the outermost ones.
    let wide = r#""count":1,"scale":8,"positive":{"offset":2147483646,"bucketCounts":[1]}"#;
    assert_eq!(send(&world, &request("wide", "exponentialHistogram", &[point(10, wide)])).await, "{}");
    let wide = wide.replace("2147483646", "-2147483648");
    assert_eq!(send(&world, &request("wide", "exponentialHistogram", &[point(20, &wide)])).await, "{}");
    // A name has one type.
    world.lines().await;
    send(&world, &sum(10, 1)).await;
    let other = request("c.total", "histogram", &[point(20, r#""count":1"#)]);
    let text = send(&world, &other.replace("c.total\"", "c_seconds_total\"").replace("\"s\"", "\"\"")).await;
    assert!(text.contains("is counter, and can't be histogram too"), "{text}");
    let inputs = world.doors.intake().inputs();
    let input = inputs.iter().find(|input| input.name() == "otlp_http").unwrap();
    let counted: Vec<_> =
        input.counters().data_points_rejected.get().unwrap().iter().filter(|(_, count)| *count > 0).collect();
    assert_eq!(counted, [("delta", 6), ("histogram", 3)]);
}

#[tokio::test]
async fn new_series_over_the_limit_are_refused_and_known_ones_go_on() {
    let mut world = World::with(|options| options.deltas.limits.series = 1, |_| {}).await;
    assert_eq!(send(&world, &sum(10, 3)).await, "{}");
    let text = send(&world, &request("d", "sum", &[point(10, r#""asInt":1"#)])).await;
    assert!(text.contains("over the limit of 1 series"), "{text}");
    assert_eq!(send(&world, &sum(20, 3)).await, "{}");
    assert_eq!(values(&mut world).await, ["c_seconds_total 6"]);
    let inputs = world.doors.intake().inputs();
    let input = inputs.iter().find(|input| input.name() == "otlp_http").unwrap();
    let counts = input.counters().data_points_rejected.get().unwrap();
    assert!(counts.iter().any(|count| count == ("series_limit", 1)));
    assert_eq!((input.counters().accepted.get(), input.counters().series_refused.get()), (3, 1));
}

#[tokio::test]
async fn exemplars_and_cumulative_data_of_the_request_go_along() {
    let mut world = of(Senders::Single).await;
    let exemplar =
        |value: f64| format!(r#"{{"asDouble":{value},"timeUnixNano":"{START}000000","traceId":"0a"}}"#);
    let value = format!(
        r#""count":2,"sum":3,"bucketCounts":[1,1],"explicitBounds":[1],"exemplars":[{},{}]"#,
        exemplar(0.5),
        exemplar(2.5)
    );
    let json = request("h", "histogram", &[point(0, &value)]);
    let also =
        format!(r#"{{"name":"m","gauge":{{"dataPoints":[{}]}}}},{{"name":"h""#, point(0, r#""asInt":7"#));
    let json = json.replacen(r#"{"name":"h""#, &also, 1);
    assert_eq!(send(&world, &json).await, "{}");
    let texts = world.texts().await;
    for wanted in [
        r#"h_seconds_bucket{le="1"} exemplar {trace_id="0a"} 0.5 +0"#,
        r#"h_seconds_bucket{le="+Inf"} exemplar {trace_id="0a"} 2.5 +0"#,
        r#"h_seconds_bucket{le="1"} 1 +0"#,
        r#"h_seconds_count 2 +0"#,
        "m 7 +0",
    ] {
        assert!(texts.iter().any(|text| text == wanted), "{wanted}: {texts:#?}");
    }
}

#[tokio::test]
async fn totals_are_sent_again_and_end_after_their_time_to_live() {
    let mut world = of(Senders::Single).await;
    send(&world, &sum(10, 3)).await;
    world.lines().await;
    world.clock.pass(Duration::from_secs(60));
    world.doors.deltas().flush().await.unwrap();
    assert_eq!(world.texts().await, ["c_seconds_total 3 +60000"]);
    world.clock.pass(Duration::from_secs(3600));
    world.doors.deltas().flush().await.unwrap();
    assert_eq!(values(&mut world).await, ["c_seconds_total stale"]);
    let inputs = world.doors.intake().inputs();
    let input = inputs.iter().find(|input| input.name() == DELTAS).unwrap();
    assert!(input.counters().points.get() >= 4);
}

#[tokio::test]
async fn a_repeated_request_of_several_points_of_one_series_is_added_once() {
    for senders in [Senders::Single, Senders::Many] {
        let mut world = of(senders).await;
        let points = [point(10, r#""asInt":1"#), point(20, r#""asInt":2"#)];
        let json = request("c", "sum", &points);
        for _ in 0..3 {
            assert_eq!(send(&world, &json).await, "{}");
        }
        assert_eq!(values(&mut world).await, ["c_seconds_total 3"]);
    }
}
