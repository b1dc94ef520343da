//! What clients push: exemplars, series over a limit, types that differ between groups, other encodings and
//! timestamps, and what each mistake is answered with.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use axum::body::Body;
use common::{START, World, answer};
use flate2::{Compression, write::GzEncoder};
use formats::compress::{Compressor, Encoding};
use formats::remote_write::{Encoder, Protocol};
use http::Request;
use model::Labels;
use std::io::Write;
use std::time::Duration;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0";
const PROTOBUF: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";
const IMPORT: &str = "/api/v1/import/prometheus";
/// One counter with one exemplar, which has a timestamp, as client_golang pushes it.
const COUNTER_WITH_EXEMPLAR: &[u8] = b"\x3a\x0a\x07f_total\x18\x00\x22\x2d\x1a\x2b\x09\x00\x00\x00\x00\x00\x00\x08\x40\
    \x12\x20\x0a\x0d\x0a\x08trace_id\x12\x01t\x11\x00\x00\x00\x00\x00\x00\xf0\x3f\x1a\x06\x08\x80\xe2\xcf\xaa\x06";

async fn send(
    world: &World,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Vec<u8>>,
) -> (u16, String) {
    let request = Request::builder().method(method).uri(path);
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    answer(world.request(request.body(Body::from(body.into())).unwrap()).await).await
}

async fn put_as(world: &World, content_type: &str, body: impl Into<Vec<u8>>) -> (u16, String) {
    send(world, "PUT", "/metrics/job/a", &[("content-type", content_type)], body).await
}

#[tokio::test]
async fn a_pushed_exemplar_is_kept_with_its_timestamp_or_the_time_of_the_push() {
    let mut world = World::new().await;
    let time = (START - 5000) / 1000;
    let text = format!(
        "# TYPE c counter\nc_total{{x=\"1\"}} 3 # {{trace_id=\"t\"}} 1 {time}\nc_total{{x=\"2\"}} 4 # {{trace_id=\"u\"}} 2\n# EOF\n"
    );
    assert_eq!(put_as(&world, OPEN_METRICS, text.clone()).await, (200, String::new()));
    let sent = [
        r#"c_total{job="a",x="1"} 3 +0"#,
        r#"c_total{job="a",x="1"} exemplar {trace_id="t"} 1 +-5000"#,
        r#"c_total{job="a",x="2"} 4 +0"#,
        r#"c_total{job="a",x="2"} exemplar {trace_id="u"} 2 +0"#,
    ];
    assert_eq!(world.texts().await, sent);
    assert_eq!(world.doors.intake().counters().of("pushgateway").points.get(), 4);

    // The same exemplars are sent once, however often they are pushed and the group is sent again.
    world.clock.pass(Duration::from_secs(1));
    put_as(&world, OPEN_METRICS, text).await;
    world.clock.pass(Duration::from_secs(30));
    world.doors.groups().take_turns().await.unwrap();
    assert!(!world.texts().await.iter().any(|line| line.contains("exemplar")));
    let text = "# TYPE c counter\nc_total{x=\"1\"} 5 # {trace_id=\"v\"} 1\n# EOF\n";
    put_as(&world, OPEN_METRICS, text).await;
    let texts = world.texts().await;
    let new: Vec<_> = texts.iter().filter(|line| line.contains("exemplar")).collect();
    assert_eq!(new, [r#"c_total{job="a",x="1"} exemplar {trace_id="v"} 1 +31001"#]);
}

#[tokio::test]
async fn a_protobuf_push_with_an_exemplar_as_client_golang_sends_it_is_accepted() {
    let mut world = World::new().await;
    assert_eq!(put_as(&world, PROTOBUF, COUNTER_WITH_EXEMPLAR).await, (200, String::new()));
    let exemplar =
        format!(r#"f_total{{job="a"}} exemplar {{trace_id="t"}} 1 +{}"#, 1_700_000_000_000 - START);
    assert_eq!(world.texts().await, [r#"f_total{job="a"} 3 +0"#, exemplar.as_str()]);
    let group = &world.doors.groups().status().await.unwrap()[0];
    assert_eq!((group.failed_ms, group.failure.as_str()), (0, ""));
    let world = world.restart().await;
    assert_eq!(world.doors.groups().all().await.unwrap()[0].series(), 1);
}

#[tokio::test]
async fn an_exemplar_from_the_future_gets_the_time_of_the_push() {
    let mut world = World::new().await;
    let text = format!("# TYPE c counter\nc_total 3 # {{}} 1 {}\n# EOF\n", START / 1000 + 3600);
    assert_eq!(put_as(&world, OPEN_METRICS, text).await.0, 200);
    assert_eq!(world.texts().await, [r#"c_total{job="a"} 3 +0"#, r#"c_total{job="a"} exemplar  1 +0"#]);
}

#[tokio::test]
async fn a_pushed_sample_with_a_timestamp_is_refused_with_its_reason() {
    let world = World::new().await;
    let reason = "pushed metrics are invalid or inconsistent with existing metrics: ";
    let sentence = "timestamps are not accepted here: a pushed value counts from when it is pushed\n";
    for (content_type, body, wanted) in [
        ("text/plain", &b"m 1\nn 1 5\n"[..], format!("{reason}line 2, column 5: {sentence}")),
        ("text/plain", b"n 1 -9223372036854775808\n", format!("{reason}line 1, column 5: {sentence}")),
        (OPEN_METRICS, b"c_total 1 5 # {} 1 5\n# EOF\n", format!("{reason}line 1, column 11: {sentence}")),
        (
            PROTOBUF,
            b"\x17\x0a\x01m\x18\x01\x22\x10\x12\x09\x09\x00\x00\x00\x00\x00\x00\xf0\x3f\x30\x80\x80\x80\x01",
            format!(
                "{reason}a metric of \"m\" has a timestamp: a pushed value counts from when it is pushed\n"
            ),
        ),
    ] {
        assert_eq!(put_as(&world, content_type, body).await, (400, wanted));
        let group = &world.doors.groups().status().await.unwrap()[0];
        assert!(group.failed_ms > 0 && !group.failure.is_empty());
        world.delete("/metrics/job/a").await;
    }
    // What can't be read at all is no failed push, as in the Pushgateway.
    let (status, text) = put_as(&world, "text/plain", "n 1 5\nm x\n").await;
    assert_eq!((status, world.doors.groups().all().await.unwrap().len()), (400, 0), "{text}");
}

#[tokio::test]
async fn a_series_over_a_limit_costs_an_import_only_itself() {
    let mut world = World::new().await;
    let long = "x".repeat(16_385);
    let body = format!("a 1\nb{{l=\"{long}\"}} 2\n{} 3\nc 4\n", "n".repeat(1025));
    let (status, text) = world.send("POST", IMPORT, &body).await;
    assert_eq!(
        (status, text),
        (
            400,
            format!(
                "left out 2 series, 2 samples: line 2, column 1: the length of the value of label \"l\" is 16385, \
                 the limit is 16384; line 3, column 1: the length of the metric name \"{}…\" is 1025, the limit is \
                 1024\n",
                "n".repeat(64)
            )
        )
    );
    assert_eq!(world.texts().await, ["a 1 +0", "c 4 +0"]);
    let counters = world.doors.intake().counters().of("import");
    assert_eq!((counters.points.get(), counters.rejected.get(), counters.refused.get()), (2, 2, 1));
}

#[tokio::test]
async fn a_series_over_a_limit_costs_a_push_only_itself_and_counts_as_a_failed_push() {
    let mut world = World::new().await;
    let body = format!("a 1\nb{{l=\"{}\"}} 2\nc 3\n", "x".repeat(16_385));
    let (status, text) = world.send("PUT", "/metrics/job/a", &body).await;
    assert_eq!(status, 400);
    assert!(
        text.starts_with("left out 1 series, 1 sample: line 2, column 1: the length of the value"),
        "{text}"
    );
    assert_eq!(world.texts().await, [r#"a{job="a"} 1 +0"#, r#"c{job="a"} 3 +0"#]);
    let group = world.doors.groups().status().await.unwrap().remove(0);
    assert_eq!((group.series, group.pushed_ms, group.failed_ms), (2, START, START + 1));
    assert!(group.failure.starts_with("left out 1 series"), "{}", group.failure);
    // It is the same after a restart, and the next whole push ends it.
    let world = world.restart().await;
    assert_eq!(world.doors.groups().status().await.unwrap(), [group]);
    world.clock.pass(Duration::from_secs(1));
    assert_eq!(world.put("/metrics/job/a", "a 1\n").await, 200);
    let group = world.doors.groups().status().await.unwrap().remove(0);
    assert!(group.pushed_ms > group.failed_ms);
}

#[tokio::test]
async fn a_push_of_which_nothing_is_left_leaves_the_group_as_it_is() {
    let mut world = World::new().await;
    world.put("/metrics/job/a", "a 1\n").await;
    world.lines().await;
    let body = format!("b{{l=\"{}\"}} 2\n", "x".repeat(16_385));
    assert_eq!(world.put("/metrics/job/a", &body).await, 400);
    assert_eq!(world.texts().await, [] as [String; 0]);
    let group = world.doors.groups().status().await.unwrap().remove(0);
    assert_eq!((group.series, group.pushed_ms), (1, START));
}

#[tokio::test]
async fn a_group_with_a_label_over_the_limit_is_refused() {
    let world = World::new().await;
    let path = format!("/metrics/job/a/x/{}", "x".repeat(16_385));
    let (status, text) = world.send("PUT", &path, "").await;
    let wanted =
        "the labels in the path: the length of the value of label \"x\" is 16385, the limit is 16384\n";
    assert_eq!((status, text.as_str()), (400, wanted));
    assert_eq!(world.doors.groups().all().await.unwrap().len(), 0);
}

#[tokio::test]
async fn groups_may_give_a_name_different_types_which_is_a_warning() {
    let set = |options: &mut receive::Options| options.pushgateway.expose = true;
    let mut world = World::with(set, |_| {}).await;
    let gauge = "# HELP m Help.\n# TYPE m gauge\nm 1\n";
    let counter = "# HELP m Help.\n# TYPE m counter\nm 2\n";
    assert_eq!(world.put("/metrics/job/a/instance/old", gauge).await, 200);
    assert_eq!(world.doors.groups().status().await.unwrap()[0].warnings, [] as [String; 0]);
    assert_eq!(world.put("/metrics/job/a/instance/new", counter).await, 200);
    assert_eq!(
        world.texts().await,
        [r#"m{instance="new",job="a"} 2 +0"#, r#"m{instance="old",job="a"} 1 +0"#]
    );
    let kind = |world: &World| world.storage.metadata(b"m").unwrap().kind;
    assert_eq!(kind(&world), model::MetricType::Unknown);
    let warnings: Vec<Vec<String>> =
        world.doors.groups().status().await.unwrap().into_iter().map(|group| group.warnings).collect();
    assert_eq!(
        warnings,
        [
            ["metric \"m\" is a counter here and a gauge in other groups: it is sent without a type"],
            ["metric \"m\" is a gauge here and a counter in other groups: it is sent without a type"],
        ]
    );
    let page = world.doors.exposition(groups::Escaping::AllowUtf8).await.unwrap();
    let lines: Vec<&str> =
        page.lines().filter(|line| line.contains("m ") || line.starts_with("m{")).collect();
    assert_eq!(
        lines,
        [
            "# HELP m Help.",
            "# TYPE m untyped",
            r#"m{instance="new",job="a"} 2"#,
            r#"m{instance="old",job="a"} 1"#
        ]
    );
    // Sending the groups again says nothing new of the type.
    world.clock.pass(Duration::from_secs(30));
    world.doors.groups().take_turns().await.unwrap();
    assert_eq!(kind(&world), model::MetricType::Unknown);
    // Once the old group is gone, the type is the new one's.
    world.delete("/metrics/job/a/instance/old").await;
    assert_eq!(world.doors.groups().status().await.unwrap()[0].warnings, [] as [String; 0]);
    world.clock.pass(Duration::from_secs(30));
    world.doors.groups().take_turns().await.unwrap();
    assert_eq!(kind(&world), model::MetricType::Counter);
    assert!(
        world.doors.exposition(groups::Escaping::AllowUtf8).await.unwrap().contains("# TYPE m counter\n")
    );
    let world = world.restart().await;
    assert_eq!(world.put("/metrics/job/b", gauge).await, 200);
    assert_eq!(world.doors.groups().status().await.unwrap()[0].warnings.len(), 1);
}

#[tokio::test]
async fn control_characters_in_a_groups_label_names_are_refused() {
    let world = World::new().await;
    for (path, name) in
        [("U__a_0_/1", r#""a\0""#), ("U__a_A_b/1", r#""a\nb""#), ("x/1/U___7F_/2", r#""\u{7f}""#)]
    {
        let (status, text) = world.send("PUT", &format!("/metrics/job/a/{path}"), "m 1\n").await;
        assert_eq!(status, 400, "{path}");
        assert!(text.contains(&format!("the name {name} has a control character")), "{text}");
        // A group that an earlier version took can be deleted.
        assert_eq!(world.delete(&format!("/metrics/job/a/{path}")).await, 202);
    }
}

#[tokio::test]
async fn an_empty_content_encoding_is_none_at_every_input() {
    let mut world = World::new().await;
    for value in ["", " ", "identity"] {
        let headers = [("content-encoding", value)];
        assert_eq!(send(&world, "PUT", "/metrics/job/a", &headers, "m 1\n").await.0, 200, "{value:?}");
        assert_eq!(send(&world, "POST", IMPORT, &headers, "m 1\n").await.0, 204, "{value:?}");
    }
    let mut encoder = Encoder::new(Protocol::V1);
    encoder.push_series(Labels::from_pairs([("__name__", "w")]).as_ref(), None);
    encoder.push_float(START, 0, 1.0);
    let body = Compressor::new().encode(Encoding::Snappy, encoder.finish()).unwrap().to_vec();
    let headers = [("content-encoding", "")];
    let (status, text) = send(&world, "POST", "/api/v1/write", &headers, body).await;
    assert_eq!((status, text.as_str()), (204, ""));
    assert_eq!(world.texts().await.last().unwrap(), "w 1 +0");
}

#[tokio::test]
async fn compressed_bodies_without_their_header_are_named() {
    let world = World::new().await;
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(b"m 1\n").unwrap();
    let gzip = gzip.finish().unwrap();
    let wanted = "the body is compressed with gzip: send the header Content-Encoding: gzip\n";
    for (method, path) in [("PUT", "/metrics/job/a"), ("POST", IMPORT)] {
        let (status, text) = send(&world, method, path, &[], gzip.clone()).await;
        assert!(status == 400 && text.ends_with(wanted), "{status} {text}");
        let done = send(&world, method, path, &[("content-encoding", "gzip")], gzip.clone()).await;
        assert!(matches!(done.0, 200 | 204), "what the answer says is right");
    }
    let (status, text) = send(&world, "POST", "/api/v1/write", &[], gzip.clone()).await;
    assert!(status == 400 && text.starts_with("the body is not valid snappy"), "{status} {text}");
    assert!(text.ends_with(": it is gzip\n"), "{text}");
    let (status, text) = put_as(&world, PROTOBUF, gzip).await;
    assert!(status == 400 && text.ends_with(wanted), "{status} {text}");
}

#[tokio::test]
async fn timestamps_in_another_unit_are_named_at_import() {
    let mut world = World::new().await;
    let (status, text) = world.send("POST", IMPORT, &format!("a 1 {}\nb 2\n", START / 1000)).await;
    assert_eq!(
        (status, text.as_str()),
        (
            400,
            "left out 1 sample: a: timestamp 1800000000 is in seconds: the text format has milliseconds, here \
             1800000000000\n"
        )
    );
    assert_eq!(world.texts().await, ["b 2 +0"]);
    let body = format!("a 1 {START}\n# EOF\n");
    let (status, text) = send(&world, "POST", IMPORT, &[("content-type", OPEN_METRICS)], body).await;
    let wanted =
        "left out 1 sample: a: timestamp 1800000000000 is in milliseconds: OpenMetrics has seconds\n";
    assert_eq!((status, text.as_str()), (400, wanted));
}

#[tokio::test]
async fn pushed_timestamps_in_seconds_are_refused_where_timestamps_are_allowed() {
    let mut world = World::with(|options| options.pushgateway.allow_timestamps = true, |_| {}).await;
    let (status, text) = world.send("PUT", "/metrics/job/a", &format!("m 1 {}\n", START / 1000)).await;
    assert!(status == 400 && text.contains("is in seconds"), "{text}");
    assert_eq!(world.put("/metrics/job/b", &format!("m 1 {}\n", START - 9)).await, 200);
    assert_eq!(world.texts().await, [r#"m{job="b"} 1 +-9"#]);
}

#[tokio::test]
async fn an_import_may_name_the_timestamp_of_samples_without_one() {
    let mut world = World::new().await;
    let path = format!("{IMPORT}?timestamp={}&extra_label=x=1", START - 70);
    assert_eq!(world.post(&path, &format!("a 1\nb 2 {}\n", START - 9)).await, 204);
    assert_eq!(world.texts().await, [r#"a{x="1"} 1 +-70"#, r#"b{x="1"} 2 +-9"#]);
    for (query, wanted) in [
        (
            "timestamp=x",
            "URL parameter timestamp=\"x\" is not a whole number of milliseconds since 1970\n".to_string(),
        ),
        (
            "timestamp=1800000000",
            "URL parameter timestamp: timestamp 1800000000 is in seconds: the text format has milliseconds, here \
             1800000000000\n"
                .into(),
        ),
        ("timestamp=1&timestamp=1", "URL parameter timestamp is there twice\n".into()),
        (
            "timestamp=1900000000000",
            format!(
                "URL parameter timestamp: timestamp 2030-03-17T17:46:40.000Z is later than {}, the newest that is accepted\n",
                model::moment::show(START + 600_000)
            ),
        ),
    ] {
        assert_eq!(world.send("POST", &format!("{IMPORT}?{query}"), "a 1\n").await, (400, wanted));
    }
}

#[tokio::test]
async fn escaped_names_in_a_path_are_labels_of_the_group() {
    let mut world = World::new().await;
    assert_eq!(world.put("/metrics/job/a/U__foo_2e_bar/b", "m 1\n").await, 200);
    assert_eq!(world.texts().await, [r#"m{foo.bar="b",job="a"} 1 +0"#]);
    let path = world.doors.groups().status().await.unwrap().remove(0).path;
    assert_eq!(path, "/metrics/job/a/U__foo_2e_bar/b");
    assert_eq!(world.delete(&path).await, 202);
    assert_eq!(world.doors.groups().all().await.unwrap().len(), 0);
}

#[tokio::test]
async fn a_push_without_a_job_is_told_where_to_push() {
    let world = World::new().await;
    for (method, path) in [("POST", "/metrics"), ("PUT", "/metrics"), ("POST", "/metrics/")] {
        let (status, text) = world.send(method, path, "m 1\n").await;
        assert_eq!((status, text.as_str()), (400, "job name is required: push to /metrics/job/JOB\n"));
    }
    let (status, text) = world.send("PUT", "/metrics/job/..", "m 1\n").await;
    assert!(status == 400 && text.contains("/job@base64/Li4"), "{text}");
}
