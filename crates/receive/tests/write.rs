//! Remote write and the import of text: what is taken, and the exact answer to what isn't.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use axum::body::Body;
use axum::response::Response;
use common::{START, World, answer};
use flate2::{Compression, write::GzEncoder};
use formats::compress::{Compressor, Encoding};
use formats::remote_write::{Encoder, Protocol};
use http::Request;
use http::request::Builder;
use model::{Counts, Histogram, Labels, ResetHint};
use std::io::Write;

const V2: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";

fn labels(name: &str) -> Labels {
    Labels::from_pairs([("__name__", name), ("job", "test")])
}

fn histogram() -> Histogram {
    Histogram {
        reset_hint: ResetHint::Unknown,
        schema: 0,
        zero_threshold: 0.0,
        sum: 3.0,
        positive_spans: vec![model::BucketSpan { offset: 0, length: 1 }],
        negative_spans: vec![],
        counts: Counts::Integer { count: 2, zero: 0, positive: vec![2], negative: vec![] },
        custom_values: vec![],
    }
}

/// Two floats, a histogram and an exemplar; and a sample 11 minutes ahead if asked for.
fn message(protocol: Protocol, ahead: bool) -> Vec<u8> {
    let mut encoder = Encoder::new(protocol);
    encoder.push_series(labels("a").as_ref(), None);
    encoder.push_float(START - 1000, 0, 1.0);
    encoder.push_float(START, 0, 2.0);
    let trace = Labels::from_pairs([("trace_id", "x")]);
    encoder.push_exemplar(START, trace.as_ref(), 0.5);
    encoder.push_series(labels("h").as_ref(), None);
    encoder.push_histogram(START, 0, &histogram()).unwrap();
    if ahead {
        encoder.push_series(labels("late").as_ref(), None);
        encoder.push_float(START + 660_000, 0, 1.0);
    }
    encoder.finish().to_vec()
}

fn compressed(encoding: Encoding, bytes: &[u8]) -> Vec<u8> {
    Compressor::new().encode(encoding, bytes).unwrap().to_vec()
}

fn snappy(bytes: &[u8]) -> Vec<u8> {
    compressed(Encoding::Snappy, bytes)
}

fn request(content_type: &str) -> Builder {
    Request::post("/api/v1/write").header("content-type", content_type).header("content-encoding", "snappy")
}

async fn send(world: &World, request: Builder, body: Vec<u8>) -> Response {
    world.request(request.body(Body::from(body)).unwrap()).await
}

/// Samples, histograms and exemplars written, as the answer says.
fn written(response: &Response) -> Vec<Option<String>> {
    ["samples", "histograms", "exemplars"]
        .map(|kind| format!("x-prometheus-remote-write-{kind}-written"))
        .iter()
        .map(|name| response.headers().get(name).map(|value| value.to_str().unwrap().to_string()))
        .collect()
}

fn some(counts: [&str; 3]) -> Vec<Option<String>> {
    counts.iter().map(|count| Some((*count).to_string())).collect()
}

#[tokio::test]
async fn both_versions_are_taken_and_2_0_is_told_how_much() {
    let mut world = World::new().await;
    let body = snappy(&message(Protocol::V1, false));
    let response = send(&world, request("application/x-protobuf"), body.clone()).await;
    assert_eq!((response.status().as_u16(), written(&response)), (204, vec![None, None, None]));
    let v1 = world.lines().await;
    assert_eq!(v1.len(), 4);
    // Neither header is needed for 1.0.
    let response = send(&world, Request::post("/api/v1/write"), body).await;
    assert_eq!(response.status(), 204);
    assert_eq!(world.lines().await, v1);

    let response = send(&world, request(V2), snappy(&message(Protocol::V2, false))).await;
    assert_eq!((response.status().as_u16(), written(&response)), (204, some(["2", "1", "1"])));
    assert_eq!(answer(response).await.1, "");
    assert_eq!(world.lines().await, v1);
}

#[tokio::test]
async fn vmagents_zstd_is_taken() {
    let mut world = World::new().await;
    let request = Request::post("/api/v1/write")
        .header("content-encoding", "zstd")
        .header("x-victoriametrics-remote-write-version", "1");
    let body = compressed(Encoding::Zstd, &message(Protocol::V1, false));
    assert_eq!(send(&world, request, body).await.status(), 204);
    assert_eq!(world.lines().await.len(), 4);
}

#[tokio::test]
async fn what_is_valid_is_kept_when_something_else_is_not() {
    for (protocol, content_type) in [(Protocol::V1, "application/x-protobuf"), (Protocol::V2, V2)] {
        let mut world = World::new().await;
        let response = send(&world, request(content_type), snappy(&message(protocol, true))).await;
        let wanted = if protocol == Protocol::V2 { some(["2", "1", "1"]) } else { vec![None, None, None] };
        assert_eq!(written(&response), wanted);
        let (status, text) = answer(response).await;
        assert_eq!(status, 400);
        assert!(
            text.contains("1 sample:") && text.contains("late") && text.contains("is later than"),
            "{text}"
        );
        assert_eq!(world.lines().await.len(), 4);
    }
}

#[tokio::test]
async fn samples_ten_minutes_ahead_are_taken_and_old_ones_unless_the_user_says_otherwise() {
    let body = |time: i64| {
        let mut encoder = Encoder::new(Protocol::V1);
        encoder.push_series(labels("a").as_ref(), None);
        encoder.push_float(time, 0, 1.0);
        snappy(encoder.finish())
    };
    let world = World::new().await;
    for (time, status) in [(START + 600_000, 204), (START + 600_001, 400), (1, 204)] {
        let response = send(&world, request("application/x-protobuf"), body(time)).await;
        assert_eq!(response.status(), status, "{time}");
    }
    let hour = std::time::Duration::from_secs(3600);
    let world = World::with(|options| options.intake.max_age = Some(hour), |_| {}).await;
    for (time, status) in [(START - 3_600_000, 204), (START - 3_600_001, 400)] {
        let response = send(&world, request("application/x-protobuf"), body(time)).await;
        assert_eq!(response.status(), status, "{time}");
    }
}

/// Each malformed request with the exact answer to it.
#[tokio::test]
async fn malformed_requests_are_answered_exactly() {
    let set = |options: &mut receive::Options| {
        options.body_bytes = 1 << 16;
        options.decoded_bytes = 1 << 20;
    };
    let world = World::with(set, |_| {}).await;
    let v1 = "application/x-protobuf";
    let good = snappy(&message(Protocol::V1, false));
    let declared = |bytes: u64| {
        let mut body = Vec::new();
        model::varint::put_u64(&mut body, bytes);
        body
    };
    let table: Vec<(&str, Builder, Vec<u8>, u16, &str)> = vec![
        (
            "a content type of something else",
            request("application/json"),
            good.clone(),
            415,
            "content type \"application/json\" is not remote write: use \
             \"application/x-protobuf;proto=io.prometheus.write.v2.Request\" (2.0) or \"application/x-protobuf\" (1.0)",
        ),
        (
            "a schema that doesn't exist",
            request("application/x-protobuf;proto=io.prometheus.write.v3.Request"),
            good.clone(),
            415,
            "content type \"application/x-protobuf;proto=io.prometheus.write.v3.Request\" is not remote write: use \
             \"application/x-protobuf;proto=io.prometheus.write.v2.Request\" (2.0) or \"application/x-protobuf\" (1.0)",
        ),
        (
            "an encoding that isn't known",
            Request::post("/api/v1/write").header("content-type", v1).header("content-encoding", "gzip"),
            good.clone(),
            415,
            "content encoding \"gzip\" is not known here: use snappy or zstd",
        ),
        ("another method", Request::get("/api/v1/write"), vec![], 405, "method not allowed here: use POST"),
        (
            "an empty body",
            request(v1),
            vec![],
            400,
            "the body is not valid snappy: snappy: corrupt input (empty)",
        ),
        (
            "text",
            request(v1),
            b"hello".to_vec(),
            400,
            "the body is not valid snappy: snappy: corrupt input (expected valid offset but got offset 876; dst position: 0)",
        ),
        (
            "the framed format",
            request(v1),
            b"\xff\x06\x00\x00sNaPpY".to_vec(),
            400,
            "the body is not valid snappy: 10 bytes can't hold 895 decoded ones as declared: it is framed snappy",
        ),
        (
            "a declared size over the limit",
            request(v1),
            declared((1 << 20) + 1),
            400,
            "the body decodes to 1048577 bytes, the limit is 1048576",
        ),
        (
            "a body over the limit",
            request(v1),
            vec![0; (1 << 16) + 1],
            413,
            "the body is larger than the limit of 65536 bytes",
        ),
        (
            "damaged protobuf",
            request(v1),
            snappy(b"\x0a\x05\x0a"),
            400,
            "malformed protobuf at byte 0: a field is longer than the rest of the message",
        ),
        (
            "2.0 without the empty symbol",
            request(V2),
            snappy(b"\x22\x01a\x2a\x06\x0a\x02\x00\x00\x12\x00"),
            400,
            "symbols[0] must be the empty string",
        ),
        (
            "2.0 with a reference out of range",
            request(V2),
            snappy(b"\x22\x00\x2a\x06\x0a\x02\x01\x02\x12\x00"),
            400,
            "time series 0: label reference 1 is outside of the table of 1 symbol",
        ),
        (
            "a series without labels",
            request(v1),
            snappy(b"\x0a\x02\x12\x00"),
            400,
            "left out 1 series, 1 sample: time series 0: a series without labels",
        ),
        (
            "a series without a name",
            request(v1),
            snappy(b"\x0a\x0a\x0a\x06\x0a\x01a\x12\x01b\x12\x00"),
            400,
            "left out 1 series, 1 sample: time series 0 {a=\"b\"}: \
             a series without a metric name (__name__)",
        ),
    ];
    let mut wrong = Vec::new();
    for (what, request, body, status, text) in table {
        let response = send(&world, request, body).await;
        let (has_status, has_text) = answer(response).await;
        if (has_status, has_text.trim_end()) != (status, text) {
            wrong.push(format!("{what}: {has_status} {has_text}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Each refusal of a request that is right, and may be taken later.
#[tokio::test]
async fn what_may_be_tried_again_is_answered_with_429_or_503_and_when() {
    let world = World::with(|_| {}, |storage| storage.max_series = 1).await;
    let body = snappy(&message(Protocol::V2, false));
    let response = send(&world, request(V2), body.clone()).await;
    assert_eq!(written(&response), some(["0", "0", "0"]));
    assert_eq!(response.headers()["retry-after"], "30");
    let (status, text) = answer(response).await;
    assert!(status == 429 && text.contains("1 are allowed"), "{status}: {text}");

    let storage = world.storage.clone();
    tokio::task::spawn_blocking(move || storage.close()).await.unwrap();
    let response = send(&world, request(V2), body).await;
    assert_eq!(response.headers()["retry-after"], "1");
    assert_eq!((response.status().as_u16(), written(&response)), (503, some(["0", "0", "0"])));
}

#[tokio::test]
async fn a_fault_of_2_0_says_that_nothing_was_written() {
    let world = World::new().await;
    let response = send(&world, request(V2), snappy(b"\x22\x01a\x2a\x06\x0a\x02\x00\x00\x12\x00")).await;
    assert_eq!((response.status().as_u16(), written(&response)), (400, some(["0", "0", "0"])));
    let storage = world.storage.clone();
    tokio::task::spawn_blocking(move || storage.close()).await.unwrap();
    let response = send(&world, request(V2), snappy(&message(Protocol::V2, false))).await;
    assert!(response.headers().contains_key("retry-after"));
    assert_eq!((response.status().as_u16(), written(&response)), (503, some(["0", "0", "0"])));
}

#[tokio::test]
async fn a_body_that_grows_beyond_the_usual_is_decoded_within_the_limit() {
    let world = World::with(|options| options.decoded_bytes = 4 << 20, |_| {}).await;
    let text = |bytes: usize| format!("m 1\n#{}\n", "x".repeat(bytes));
    for (bytes, status) in [(3 << 20, 204), (5 << 20, 400)] {
        let body = compressed(Encoding::Zstd, text(bytes).as_bytes());
        assert!(body.len() < 10_000);
        let request = Request::post("/api/v1/import/prometheus").header("content-encoding", "zstd");
        assert_eq!(send(&world, request, body).await.status(), status);
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        gzip.write_all(text(bytes).as_bytes()).unwrap();
        let request = Request::post("/api/v1/import/prometheus").header("content-encoding", "gzip");
        assert_eq!(send(&world, request, gzip.finish().unwrap()).await.status(), status);
    }
    assert_eq!(world.doors.intake().memory_free(), world.doors.options().intake.memory_bytes);
}

#[tokio::test]
async fn text_is_imported_with_its_timestamps_and_extra_labels() {
    let mut world = World::new().await;
    let path = "/api/v1/import/prometheus?extra_label=site=s%201&extra_label=x=over";
    let body = format!("a{{x=\"1\"}} 1 {}\nb 2\n", START - 5000);
    assert_eq!(world.post(path, &body).await, 204);
    assert_eq!(world.texts().await, [r#"a{site="s 1",x="over"} 1 +-5000"#, r#"b{site="s 1",x="over"} 2 +0"#]);
    let request =
        Request::post("/api/v1/import/prometheus").header("content-type", "application/openmetrics-text");
    let body = "# TYPE c counter\nc_total 3 1799999999.5 # {trace_id=\"t\"} 1\nc_created 1799999000\n# EOF\n";
    assert_eq!(send(&world, request, body.into()).await.status(), 204);
    assert_eq!(world.texts().await, ["c_total 3 +-500", "c_total exemplar {trace_id=\"t\"} 1 +-500"]);
}

#[tokio::test]
async fn an_import_says_where_it_is_wrong_and_keeps_what_is_only_too_far_ahead_apart() {
    let mut world = World::new().await;
    let path = "/api/v1/import/prometheus";
    let body = format!("a 1\nb 2 {}\nc 3\n", START + 700_000);
    let (status, text) = world.send("POST", path, &body).await;
    assert_eq!(status, 400);
    assert_eq!(
        text,
        format!(
            "left out 1 sample: b: timestamp {} is later than {}, the newest that is accepted\n",
            model::moment::show(START + 700_000),
            model::moment::show(START + 600_000)
        )
    );
    assert_eq!(world.texts().await, ["a 1 +0", "c 3 +0"]);
    for (query, body, text) in [
        ("", "a 1\nb x\n", "line 2, column 3: expected a value, found \"x\""),
        (
            "?time=5",
            "a 1\n",
            "URL parameter \"time\" is not known here: use extra_label=NAME=VALUE or timestamp=MILLISECONDS",
        ),
        (
            "?extra_label=x",
            "a 1\n",
            "extra_label=\"x\" is not NAME=VALUE with a name that doesn't begin with __",
        ),
        ("?extra_label=x=1&extra_label=x=2", "a 1\n", "extra_label \"x\" is there twice"),
    ] {
        let (status, has) = world.send("POST", &format!("{path}{query}"), body).await;
        assert_eq!((status, has.trim_end()), (400, text));
    }
    assert_eq!(world.send("GET", path, "").await, (405, "method not allowed here: use POST\n".into()));
}

#[tokio::test]
async fn more_requests_than_there_are_places_get_503() {
    let world = World::with(|options| options.intake.requests = 1, |_| {}).await;
    let (send_body, body) = tokio::sync::mpsc::channel::<Result<Vec<u8>, std::convert::Infallible>>(1);
    let body = futures_util::stream::unfold(body, |mut body| async { Some((body.recv().await?, body)) });
    let slow = Request::post("/api/v1/import/prometheus").body(Body::from_stream(body)).unwrap();
    let router = world.doors.router();
    let first = tokio::spawn(async move { tower::ServiceExt::oneshot(router, slow).await.unwrap() });
    support_yield(|| world.doors.intake().requests() == 1).await;
    let request = Request::post("/api/v1/import/prometheus").body(Body::from("a 1\n")).unwrap();
    let response = world.request(request).await;
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["retry-after"], "1");
    send_body.send(Ok(b"a 1\n".to_vec())).await.unwrap();
    drop(send_body);
    assert_eq!(first.await.unwrap().status(), 204);
    assert_eq!(world.post("/api/v1/import/prometheus", "a 1\n").await, 204);
}

async fn support_yield(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::task::yield_now().await;
    }
}
