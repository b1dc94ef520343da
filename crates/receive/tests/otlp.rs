//! OTLP over HTTP and gRPC: what is kept, what is left out, and what is answered.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is how a test reports")]

mod common;

use axum::body::Body;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use common::{START, World, answer};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, Request};
use http_body_util::BodyExt;
use std::io::Write;

const EXPORT: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

/// A request with these metrics, each with its data points.
fn request(metrics: &[(&str, &str, &str)]) -> String {
    let metrics: Vec<String> = metrics
        .iter()
        .map(|(name, kind, points)| {
            format!(r#"{{"name":"{name}","{kind}":{{"dataPoints":[{points}],"aggregationTemporality":2}}}}"#)
        })
        .collect();
    let metrics = metrics.join(",");
    format!(r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{metrics}]}}]}}]}}"#)
}

fn point(ms_from_start: i64) -> String {
    format!(r#"{{"asInt":7,"timeUnixNano":"{}000000"}}"#, START + ms_from_start)
}

async fn send(
    world: &World,
    path: &str,
    content_type: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> Response {
    let mut request = Request::post(path);
    if !content_type.is_empty() {
        request = request.header("content-type", content_type);
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    world.request(request.body(Body::from(body)).unwrap()).await
}

async fn send_json(world: &World, json: &str) -> (u16, String) {
    answer(send(world, "/v1/metrics", "application/json", &[], json.into()).await).await
}

/// The gauge `m` with the value 7 at [`START`], as an `ExportMetricsServiceRequest`.
fn protobuf() -> Vec<u8> {
    let field = |number: u8, bytes: &[u8]| [&[number << 3 | 2, bytes.len() as u8][..], bytes].concat();
    let time = ((START as u64) * 1_000_000).to_le_bytes();
    let point = [&[3 << 3 | 1][..], &time, &[4 << 3 | 1], &7f64.to_le_bytes()].concat();
    let metric = [field(1, b"m"), field(5, &field(1, &point))].concat();
    field(1, &field(2, &field(2, &metric)))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

#[tokio::test]
async fn both_formats_and_paths_and_each_encoding_are_accepted() {
    let mut world = World::new().await;
    let json = request(&[("m", "gauge", &point(0))]).into_bytes();
    for path in ["/v1/metrics", "/api/v1/otlp/v1/metrics"] {
        for (content_type, body, wanted) in [
            ("application/json", json.clone(), "{}"),
            ("Application/JSON; charset=utf-8", json.clone(), "{}"),
            ("application/x-protobuf", protobuf(), ""),
        ] {
            let zstd = zstd::encode_all(&*body, 1).unwrap();
            for (encoding, body) in [("", body.clone()), ("gzip", gzip(&body)), ("zstd", zstd)] {
                let response =
                    send(&world, path, content_type, &[("content-encoding", encoding)], body).await;
                let answered = response.headers()["content-type"].to_str().unwrap().to_string();
                assert_eq!(
                    answer(response).await,
                    (200, wanted.to_string()),
                    "{path} {content_type} {encoding}"
                );
                assert!(content_type.to_lowercase().starts_with(&answered), "{answered}");
                assert_eq!(world.texts().await, ["m 7 +0"]);
            }
        }
    }
}

#[tokio::test]
async fn a_request_without_data_is_a_success() {
    let world = World::new().await;
    assert_eq!(send_json(&world, "{}").await, (200, "{}".into()));
    let response = send(&world, "/v1/metrics", "application/x-protobuf", &[], vec![]).await;
    assert_eq!(answer(response).await, (200, String::new()));
}

#[tokio::test]
async fn bad_data_points_are_named_in_the_answer_and_counted_and_the_rest_is_kept() {
    let mut world = World::new().await;
    let json = request(&[
        ("fine", "gauge", &point(0)),
        ("early", "gauge", r#"{"asInt":1}"#),
        ("late", "gauge", &format!("{},{}", point(3_600_000), point(1))),
        ("___", "gauge", &point(0)),
        (
            "delta",
            "sum",
            r#"{"asDouble":"NaN","timeUnixNano":"1800000000000000000"},{"asDouble":"Infinity","timeUnixNano":"1800000000000000000"}"#,
        ),
    ]);
    let json = match json.rfind(r#""aggregationTemporality":2"#) {
        Some(at) => format!("{}\"aggregationTemporality\":1{}", &json[..at], &json[at + 26..]),
        None => unreachable!(),
    };
    let (status, text) = send_json(&world, &json).await;
    let body: serde_json::Value = serde_json::from_str(&text).unwrap();
    let partial = &body["partialSuccess"];
    assert_eq!((status, &partial["rejectedDataPoints"]), (200, &"5".into()), "{text}");
    let message = partial["errorMessage"].as_str().unwrap();
    for part in [
        "5 data points left out: ",
        "metric \"delta\": a delta that is not a finite number",
        "first of 2 such data points",
        "metric \"___\": nothing is left of the metric name",
        "metric \"early\": a data point without a time",
    ] {
        assert!(message.to_lowercase().contains(&part.to_lowercase()), "{part}: {message}");
    }
    assert_eq!(world.texts().await, ["fine 7 +0", "late 7 +1"]);
    let inputs = world.doors.intake().inputs();
    let input = inputs.iter().find(|input| input.name() == "otlp_http").unwrap();
    let counted: Vec<_> =
        input.counters().data_points_rejected.get().unwrap().iter().filter(|(_, count)| *count > 0).collect();
    assert_eq!(counted, [("delta", 2), ("metric_name", 1), ("time", 2)]);
    assert_eq!(input.counters().accepted.get(), 1);
}

#[tokio::test]
async fn series_over_a_limit_are_left_out_with_a_success() {
    let settings = intake::InputSettings { max_series: Some(1), ..Default::default() };
    let inputs = [(receive::OTLP, std::sync::Arc::new(settings))].into();
    let mut world = World::with(|options| options.intake.inputs = inputs, |_| {}).await;
    let (status, text) =
        send_json(&world, &request(&[("a", "gauge", &point(0)), ("b", "gauge", &point(0))])).await;
    assert!(status == 200 && text.contains(r#""rejectedDataPoints":"1""#), "{status} {text}");
    assert_eq!(world.texts().await, ["a 7 +0"]);
    let inputs = world.doors.intake().inputs();
    let input = inputs.iter().find(|input| input.name() == "otlp_http").unwrap();
    let counts = input.counters().data_points_rejected.get().unwrap();
    assert!(counts.iter().any(|count| count == ("series_limit", 1)));
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_with_a_status_in_the_format_of_the_request() {
    let world = World::new().await;
    let (status, text) = send_json(&world, "{\"resourceMetrics\":3}").await;
    let body: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &body["code"]), (400, &3.into()));
    assert!(body["message"].as_str().unwrap().starts_with("malformed JSON: "), "{text}");
    let response = send(&world, "/v1/metrics", "application/x-protobuf", &[], b"\x0a\x09".to_vec()).await;
    let (status, text) = answer(response).await;
    assert!(
        status == 400 && text.starts_with("\u{8}\u{3}\u{12}") && text.contains("malformed protobuf at byte"),
        "{text:?}"
    );
    for content_type in ["", "text/plain", "application/grpc"] {
        let (status, text) = answer(send(&world, "/v1/metrics", content_type, &[], vec![]).await).await;
        assert!(status == 415 && text.contains("use application/x-protobuf or application/json"), "{text}");
    }
    let headers = [("content-encoding", "br")];
    let (status, text) =
        answer(send(&world, "/v1/metrics", "application/json", &headers, vec![]).await).await;
    assert!(status == 415 && text.contains(r#"content encoding \"br\" is not known here"#), "{text}");
}

#[tokio::test]
async fn what_the_log_cannot_take_now_is_503() {
    let world = World::new().await;
    let storage = world.storage.clone();
    tokio::task::spawn_blocking(move || storage.close()).await.unwrap();
    let json = request(&[("m", "gauge", &point(0))]);
    let response = send(&world, "/v1/metrics", "application/json", &[], json.into()).await;
    assert_eq!(response.headers()["retry-after"], "1");
    let (status, text) = answer(response).await;
    assert!(status == 503 && text.starts_with(r#"{"code":14,"#), "{status} {text}");
    let framed = [&b"\0\0\0\0"[..], &[protobuf().len() as u8], &protobuf()].concat();
    let response = send(&world, EXPORT, "application/grpc", &[], framed).await;
    let details = response.headers()["grpc-status-details-bin"].to_str().unwrap();
    let details = STANDARD_NO_PAD.decode(details).unwrap();
    assert!(String::from_utf8_lossy(&details).contains("google.rpc.RetryInfo"));
    assert_eq!(
        (response.status().as_u16(), &response.headers()["grpc-status"]),
        (200, &"14".parse().unwrap())
    );
    let inputs = world.doors.intake().inputs();
    for name in ["otlp_http", "otlp_grpc"] {
        let input = inputs.iter().find(|input| input.name() == name).unwrap();
        assert_eq!((input.counters().deferred.get(), input.counters().accepted.get()), (1, 0), "{name}");
    }
}

#[tokio::test]
async fn other_signals_are_answered_with_a_sentence() {
    let world = World::new().await;
    for path in ["/v1/traces", "/v1/logs", "/api/v1/otlp/v1/traces", "/api/v1/otlp/v1/logs"] {
        for content_type in ["application/json", "application/x-protobuf", ""] {
            let (status, text) = answer(send(&world, path, content_type, &[], vec![]).await).await;
            assert!(status == 404 && text.contains("narthex takes metrics only"), "{path} {text}");
        }
    }
    for service in ["trace.v1.TraceService", "logs.v1.LogsService"] {
        let path = format!("/opentelemetry.proto.collector.{service}/Export");
        let response = send(&world, &path, "application/grpc", &[], vec![]).await;
        assert_eq!(response.headers()["grpc-status"], "12");
    }
}

/// The message of a gRPC answer, and its trailers.
async fn grpc(response: Response) -> (Vec<u8>, HeaderMap) {
    assert_eq!(response.status(), 200);
    let body = response.into_body().collect().await.unwrap();
    let trailers = body.trailers().cloned().unwrap_or_default();
    (body.to_bytes().to_vec(), trailers)
}

#[tokio::test]
async fn grpc_has_frames_and_its_status_in_trailers() {
    let mut world = World::new().await;
    let frame =
        |flag: u8, message: &[u8]| [&[flag][..], &(message.len() as u32).to_be_bytes(), message].concat();
    for (encoding, body) in [
        ("identity", frame(0, &protobuf())),
        ("gzip", frame(1, &gzip(&protobuf()))),
        ("gzip", frame(0, &protobuf())),
    ] {
        let response =
            send(&world, EXPORT, "application/grpc+proto", &[("grpc-encoding", encoding)], body).await;
        assert_eq!(response.headers()["content-type"], "application/grpc");
        let (message, trailers) = grpc(response).await;
        assert_eq!((&*message, &trailers["grpc-status"]), (&[0; 5][..], &"0".parse().unwrap()));
        assert_eq!(world.texts().await, ["m 7 +0"]);
    }
    // A name of nothing but underscores.
    let bad = protobuf().into_iter().map(|byte| if byte == b'm' { b'_' } else { byte }).collect::<Vec<_>>();
    let (message, trailers) = grpc(send(&world, EXPORT, "application/grpc", &[], frame(0, &bad)).await).await;
    assert_eq!(trailers["grpc-status"], "0");
    assert!(String::from_utf8_lossy(&message).contains("1 data point left out: metric \"_\""), "{message:?}");
    for (body, code, text) in
        [(frame(0, b"\x0a\x09"), "3", "malformed protobuf"), (vec![0, 0], "3", "there is no gRPC message")]
    {
        let response = send(&world, EXPORT, "application/grpc", &[], body).await;
        assert_eq!(response.headers()["grpc-status"], code);
        assert!(response.headers()["grpc-message"].to_str().unwrap().contains(text));
    }
    let response = send(&world, EXPORT, "application/grpc", &[("grpc-encoding", "br")], vec![]).await;
    assert_eq!(response.headers()["grpc-status"], "12");
    assert_eq!(response.headers()["grpc-accept-encoding"], "identity,gzip,zstd");
    assert_eq!(send(&world, EXPORT, "text/plain", &[], vec![]).await.status(), 415);
}
