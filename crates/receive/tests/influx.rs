//! InfluxDB's line protocol over HTTP: what is kept, and what each version's clients are answered.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use axum::body::Body;
use axum::response::Response;
use common::{START, World, answer};
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, Request};
use intake::{Exposure, InputSettings, Listener, Stopper};
use receive::influx::{InfluxUdp, NAME, Settings, UDP, ValueField};
use serde_json::{Value, json};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

const V1: &str = "/influx/write?db=telegraf";
const V2: &str = "/influx/api/v2/write?org=o&bucket=telegraf";
const V3: &str = "/influx/api/v3/write_lp?db=telegraf";
/// [`START`] in nanoseconds.
const NOW: i64 = START * 1_000_000;

async fn post(world: &World, path: &str, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Response {
    let request = Request::post(path);
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    world.request(request.body(Body::from(body.into())).unwrap()).await
}

/// Status, headers and body as JSON.
async fn read(response: Response) -> (u16, HeaderMap, Value) {
    let headers = response.headers().clone();
    let (status, text) = answer(response).await;
    (status, headers, serde_json::from_str(&text).unwrap_or(Value::Null))
}

async fn written(world: &World, path: &str, body: &str) -> (u16, Value) {
    let (status, _, body) = read(post(world, path, &[], body).await).await;
    (status, body)
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn points_are_kept_under_prometheus_names() {
    let mut world = World::new().await;
    let text = format!("cpu,host=a idle=1.5,state=\"ok\",up=true {NOW}\nmem value=7i\n");
    for path in [V1, V2] {
        assert_eq!(written(&world, path, &text).await, (204, Value::Null));
        assert_eq!(
            world.texts().await,
            [r#"cpu_idle{host="a"} 1.5 +0"#, r#"cpu_up{host="a"} 1 +0"#, "mem 7 +0"],
            "{path}"
        );
    }
    let left_out: Vec<_> = world.doors.intake().counters().of(NAME).left_out.get().unwrap().iter().collect();
    assert_eq!(left_out, [("string_field", 2), ("repeated_sample", 0)]);
    assert_eq!(world.doors.intake().counters().of(NAME).points.get(), 6);
}

#[tokio::test]
async fn telegrafs_requests_are_answered_as_it_expects() {
    let mut world = World::new().await;
    let headers = [
        ("user-agent", "Telegraf/1.39.3 Go/1.26"),
        ("content-type", "text/plain; charset=utf-8"),
        ("content-encoding", "gzip"),
    ];
    // Two members, as two gzip files after each other.
    let mut body = gzip(&format!("cpu,host=a usage_idle=1 {NOW}\n"));
    body.extend(gzip(&format!("cpu,host=a usage_idle=2 {}\n", NOW - 1_000_000_000)));
    let (status, headers, _) = read(post(&world, V1, &headers, body).await).await;
    assert_eq!((status, &headers["x-influxdb-version"]), (204, &http::HeaderValue::from_static("1.8.10")));
    let wanted = [r#"cpu_usage_idle{host="a"} 1 +0"#, r#"cpu_usage_idle{host="a"} 2 +-1000"#];
    assert_eq!(world.texts().await, wanted);

    let form = [("content-type", "application/x-www-form-urlencoded")];
    let create = "q=CREATE+DATABASE+%22telegraf%22";
    let (status, _, body) = read(post(&world, "/influx/query", &form, create).await).await;
    assert_eq!((status, body), (200, json!({ "results": [{ "statement_id": 0 }] })));
}

#[tokio::test]
async fn the_unit_of_timestamps_is_that_of_the_request() {
    let mut world = World::new().await;
    for (path, timestamp) in [
        ("/influx/write?precision=s", START / 1000),
        ("/influx/write?precision=ms", START),
        ("/influx/write?precision=u", START * 1000),
        ("/influx/write?precision=n", NOW),
        ("/influx/write?precision=m", START / 60_000),
        ("/influx/write?precision=h", START / 3_600_000),
        ("/influx/api/v2/write?precision=us", START * 1000),
        ("/influx/api/v3/write_lp?precision=second", START / 1000),
        (V3, START / 1000),
        (V3, START),
        (V3, NOW),
    ] {
        assert_eq!(written(&world, path, &format!("m f=1 {timestamp}\n")).await.0, 204, "{path}");
        assert_eq!(world.texts().await, ["m_f 1 +0"], "{path} {timestamp}");
    }
    for (path, wanted) in [
        (
            "/influx/write?precision=x",
            json!({ "error": "invalid precision \"x\" (use n, u, ms, s, m or h)" }),
        ),
        (
            "/influx/api/v2/write?precision=x",
            json!({ "code": "invalid", "message": "invalid precision; valid precision units are ns, us, ms, and s" }),
        ),
    ] {
        assert_eq!(written(&world, path, "m f=1\n").await, (400, wanted));
    }
    let (status, body) = written(&world, V1, &format!("m f=1 {}\n", START / 1000)).await;
    assert_eq!(status, 400);
    assert!(body["error"].as_str().unwrap().ends_with("nanoseconds: send precision=s"), "{body}");
}

#[tokio::test]
async fn valid_lines_are_kept_and_the_answer_is_that_of_a_partial_write() {
    let mut world = World::new().await;
    let text = format!("a f=1 {NOW}\ncpu\nb f=2 {NOW}\nm f=x\n");
    let reasons = "unable to parse 'cpu': missing fields\nunable to parse 'm f=x': invalid value \"x\": a string is \
                   written in double quotes";
    let partial = format!("partial write: {reasons} dropped=2");
    let v3 = json!({ "error": "partial write of line protocol occurred", "data": [
        { "original_line": "cpu", "line_number": 2, "error_message": "missing fields" },
        {
            "original_line": "m f=x", "line_number": 4,
            "error_message": "invalid value \"x\": a string is written in double quotes",
        },
    ]});
    for (path, wanted) in
        [(V1, json!({ "error": partial })), (V2, json!({ "code": "invalid", "message": partial })), (V3, v3)]
    {
        let (status, headers, body) = read(post(&world, path, &[], text.clone()).await).await;
        assert_eq!((status, body), (400, wanted), "{path}");
        let error = headers["x-influxdb-error"].to_str().unwrap();
        assert!(error.starts_with("partial write"), "{error}");
        assert_eq!(headers["content-type"], "application/json");
        assert_eq!(world.texts().await, ["a_f 1 +0", "b_f 2 +0"], "{path}");
    }
    // Nothing could be read.
    for (path, key) in [(V1, "error"), (V2, "message")] {
        let (status, body) = written(&world, path, "cpu\n").await;
        let text = body[key].as_str().unwrap();
        assert_eq!((status, text), (400, "unable to parse 'cpu': missing fields"));
    }
    let counters = world.doors.intake().counters().of(NAME);
    assert_eq!((counters.refused.get(), counters.rejected.get()), (5, 8));
    assert!(world.texts().await.is_empty());
}

#[tokio::test]
async fn a_point_too_far_ahead_is_rejected_alone() {
    let mut world = World::new().await;
    let ahead = NOW + 3_600_000_000_000;
    let text = format!("a f=1 {NOW}\nb f=2 {ahead}\n");
    let (status, body) = written(&world, V1, &text).await;
    let said = body["error"].as_str().unwrap();
    assert!(status == 400 && said.starts_with("partial write: b_f: timestamp "), "{said}");
    assert!(said.ends_with(" dropped=1"), "{said}");
    assert_eq!(world.texts().await, ["a_f 1 +0"]);
    let (_, body) = written(&world, V3, &text).await;
    assert_eq!((body["data"][0]["line_number"].clone(), body["data"][1].clone()), (json!(0), Value::Null));
}

#[tokio::test]
async fn a_request_that_wants_all_or_nothing_gets_it() {
    let mut world = World::new().await;
    let path = format!("{V3}&accept_partial=false");
    let (status, body) = written(&world, &path, &format!("a f=1 {NOW}\ncpu\n")).await;
    let wanted = json!({
        "error": "parsing failed for write_lp endpoint",
        "data": { "original_line": "cpu", "line_number": 2, "error_message": "missing fields" },
    });
    assert_eq!((status, body), (400, wanted));
    let (status, body) = written(&world, &path, &format!("a f=1\nb f=1 {}\n", NOW + 3_600_000_000_000)).await;
    assert!(status == 400 && body["error"].as_str().unwrap().contains("is later than"), "{body}");
    assert!(world.texts().await.is_empty());
    assert_eq!(written(&world, &path, &format!("a f=1 {NOW}\n")).await.0, 204);
    assert_eq!(world.texts().await, ["a_f 1 +0"]);
}

#[tokio::test]
async fn later_is_503_with_a_pause_and_never_another_status() {
    // The disk of a log that accepts nothing, and a body that takes longer than it may.
    let world = World::new().await;
    let storage = world.storage.clone();
    tokio::task::spawn_blocking(move || storage.close()).await.unwrap();
    for (path, code) in [(V1, Value::Null), (V2, json!("unavailable")), (V3, Value::Null)] {
        let (status, headers, body) = read(post(&world, path, &[], "m f=1\n").await).await;
        assert_eq!(
            (status, headers.contains_key("retry-after"), &body["code"]),
            (503, true, &code),
            "{path}"
        );
    }
    let slow = World::with(|options| options.body_pause = Duration::from_millis(10), |_| {}).await;
    let body = Body::from_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let request = Request::post(V1).body(body).unwrap();
    let (status, headers, _) = read(slow.request(request).await).await;
    assert_eq!((status, headers.contains_key("retry-after")), (503, true));
    let full = World::with(|_| {}, |storage| storage.max_series = 1).await;
    let (status, headers, body) = read(post(&full, V1, &[], "a f=1\nb f=1\nc f=1\n").await).await;
    assert_eq!((status, headers.contains_key("retry-after")), (503, true), "{body}");
}

#[tokio::test]
async fn a_body_over_a_limit_is_413() {
    let limits = |options: &mut receive::Options| (options.body_bytes, options.decoded_bytes) = (1000, 2000);
    let world = World::with(limits, |_| {}).await;
    let (status, body) = written(&world, V1, &"m f=1\n".repeat(1000)).await;
    assert_eq!((status, body), (413, json!({ "error": "the body is larger than the limit of 1000 bytes" })));
    let body = gzip(&"m f=1\n".repeat(1000));
    let (status, _, body) = read(post(&world, V2, &[("content-encoding", "gzip")], body).await).await;
    assert_eq!((status, &body["code"]), (413, &json!("request too large")), "{body}");
    let (status, _, body) = read(post(&world, V2, &[("content-encoding", "br")], "x").await).await;
    assert_eq!((status, &body["code"]), (415, &json!("invalid")), "{body}");
}

/// One tag of 2,000 bytes for 50 fields is a hundred times the text.
#[tokio::test]
async fn a_request_whose_labels_outgrow_it_is_kept_in_parts() {
    let small = |options: &mut receive::Options| {
        (options.body_bytes, options.decoded_bytes) = (1 << 20, 1 << 20);
        options.intake.memory_bytes = 8 << 20;
        options.intake.wait = Duration::from_millis(100);
    };
    let mut world = World::with(small, |_| {}).await;
    let (tag, fields) = ("v".repeat(2000), (0..50).map(|n| format!("f{n}=1")).collect::<Vec<_>>().join(","));
    let text: String = (0..300).map(|n| format!("m,n={n},t={tag} {fields} {NOW}\n")).collect();
    let free = world.doors.intake().memory_free();
    assert_eq!(written(&world, V1, &text).await.0, 204);
    assert_eq!(world.lines().await.len(), 15_000);
    assert_eq!(world.doors.intake().memory_free(), free);
}

#[tokio::test]
async fn known_series_are_recognised_and_settings_change_their_labels() {
    let mut world = World::new().await;
    let text = format!("m,host=a value=1,f=2 {NOW}\n");
    for round in 0..3 {
        assert_eq!(written(&world, V1, &text).await.0, 204);
        assert_eq!(world.texts().await, [r#"m_f{host="a"} 2 +0"#, r#"m{host="a"} 1 +0"#], "{round}");
    }
    let known = world.doors.intake().known_series();
    assert_eq!((known.misses.get(), known.hits.get()), (2, 4));
    let mut options = (*world.doors.options()).clone();
    options.influx =
        Settings { value_field: ValueField::Suffix, db_label: Some("db".into()), ..Settings::default() };
    options.intake.inputs.insert(
        NAME,
        Arc::new(InputSettings {
            labels: relabel::AddedLabels::new(&[("job".into(), "telegraf".into())]),
            ..InputSettings::default()
        }),
    );
    world.doors.set_options(options.clone()).await.unwrap();
    for (path, db) in [(V1, "telegraf"), ("/influx/write?db=other", "other"), (V2, "telegraf")] {
        assert_eq!(written(&world, path, &text).await.0, 204);
        let labels = format!(r#"{{db="{db}",host="a",job="telegraf"}}"#);
        assert_eq!(world.texts().await, [format!("m_f{labels} 2 +0"), format!("m_value{labels} 1 +0")]);
    }
    // Only the name of the field changes: what was known under other settings is not used.
    options.influx.value_field = ValueField::Measurement;
    world.doors.set_options(options).await.unwrap();
    assert_eq!(written(&world, V1, &text).await.0, 204);
    assert!(world.texts().await.iter().any(|text| text.starts_with("m{")));
}

#[tokio::test]
async fn probes_and_queries_are_answered_as_influxdb_does() {
    let world = World::new().await;
    let get = async |path: &str| {
        let response = world.request(Request::get(path).body(Body::empty()).unwrap()).await;
        read(response).await
    };
    let (status, headers, _) = get("/influx/ping").await;
    assert_eq!((status, headers.contains_key("x-influxdb-version")), (204, true));
    let (status, _, body) = get("/influx/ping?verbose=true").await;
    assert_eq!((status, body), (200, json!({ "version": "1.8.10" })));
    let (status, _, body) = get("/influx/health").await;
    assert_eq!((status, &body["name"], &body["status"]), (200, &json!("influxdb"), &json!("pass")));
    assert_eq!(get("/influx/ready").await.2["status"], "ready");
    let (_, _, body) = get("/influx/query?q=SHOW+DATABASES&db=telegraf").await;
    assert_eq!(body["results"][0]["series"][0]["values"], json!([["_internal"], ["telegraf"]]));
    let (status, _, body) = get("/influx/query").await;
    assert_eq!((status, body), (400, json!({ "error": "missing required parameter \"q\"" })));
    let (status, _, body) = get("/influx/write").await;
    assert_eq!((status, body), (405, json!({ "error": "method not allowed here: use POST" })));
    let (status, _, body) = get("/influx/nothing").await;
    assert!(status == 404 && body["error"].as_str().unwrap().contains("/influx/api/v2/write"), "{body}");
    let head = Request::head("/influx/ping").body(Body::empty()).unwrap();
    assert_eq!(world.request(head).await.status(), 204);
    let options = Request::builder().method("OPTIONS").uri(V1).body(Body::empty()).unwrap();
    assert_eq!(world.request(options).await.status(), 204);
}

#[tokio::test]
async fn influxdbs_own_paths_are_served_if_the_settings_say_so() {
    let mut world = World::new().await;
    let text = format!("m f=1 {NOW}\n");
    let own = ["/write", "/api/v2/write?bucket=b", "/api/v3/write_lp?db=d"];
    for path in own {
        let (status, said) = world.send("POST", path, &text).await;
        assert!(status == 404 && said.contains("/influx/write"), "{path}: {status} {said}");
    }
    let mut options = (*world.doors.options()).clone();
    options.influx.at_root = true;
    world.doors.set_options(options).await.unwrap();
    for path in own {
        assert_eq!(world.post(path, &text).await, 204, "{path}");
        assert_eq!(world.texts().await, ["m_f 1 +0"], "{path}");
    }
    for (path, status) in
        [("/ping", 204), ("/health", 200), ("/ready", 200), ("/query?q=SHOW+DATABASES", 200)]
    {
        assert_eq!(world.send("GET", path, "").await.0, status, "{path}");
    }
    assert_eq!(world.post(V1, &text).await, 204, "the paths below /influx stay");
    assert_eq!(world.post("/api/v1/import/prometheus", "a 1\n").await, 204, "other paths stay");
}

#[tokio::test]
async fn empty_bodies_and_comments_are_accepted() {
    let mut world = World::new().await;
    for body in ["", "\n\n", "# nothing\n"] {
        assert_eq!(written(&world, V1, body).await, (204, Value::Null), "{body:?}");
    }
    assert!(world.texts().await.is_empty());
}

#[tokio::test]
async fn datagrams_are_kept_and_invalid_lines_are_counted() {
    let mut world = World::new().await;
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let settings = Settings { value_field: ValueField::Suffix, ..Settings::default() };
    let udp = InfluxUdp { listen, exposure: Exposure::default(), settings };
    let input = world.doors.intake().input_of(UDP, NAME);
    udp.configure(&input);
    let bound = udp.bind().unwrap();
    let address = bound.endpoints()[0].address().unwrap();
    let (_exposure, exposures) = watch::channel(Arc::default());
    let (stopper, stop) = Stopper::new();
    let task = tokio::spawn(bound.run(input.clone(), exposures, stop));
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.send_to(format!("m value=1 {NOW}\nm,a=b f=\"x\ncpu").as_bytes(), address).unwrap();
    // The quote that is open in the other datagram does not reach into this one.
    socket.send_to(format!("n f=\"y\",g=2i {NOW}").as_bytes(), address).unwrap();
    let waiting = async {
        while input.counters().points.get() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.unwrap();
    stopper.stop();
    task.await.unwrap();
    assert_eq!(world.texts().await, ["m_value 1 +0", "n_g 2 +0"]);
    assert_eq!(input.counters().rejected.get(), 2);
    assert_eq!(world.doors.intake().counters().of(NAME).points.get(), 0, "it has counters of its own");
}
