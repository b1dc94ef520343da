//! OTLP: from OpenTelemetry's own SDKs, over HTTP and gRPC, into a real Prometheus.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test reports"
)]

use support::narthex::config;
use support::peers::repository;
use support::prometheus::Options;
use support::{Client, Narthex, Prometheus, SOON, wait_for};

const PROGRAM: &str = env!("CARGO_BIN_EXE_narthex");
const QUIET: &str = "collect: {self: false, host: {collectors: none}}\n";

/// What each client sends: a query and its value. `JOB` stands for the client.
const SENT: [(&str, f64); 11] = [
    (r#"shop_orders_total{job="JOB",instance="till-1",http_method="get"}"#, 7.5),
    (r#"shop_open{job="JOB"}"#, 3.0),
    (r#"shop_temperature_celsius{job="JOB"}"#, 21.5),
    (r#"shop_wait_seconds_bucket{job="JOB",le="0.5"}"#, 1.0),
    (r#"shop_wait_seconds_bucket{job="JOB",le="1"}"#, 2.0),
    (r#"shop_wait_seconds_bucket{job="JOB",le="2.5"}"#, 2.0),
    (r#"shop_wait_seconds_bucket{job="JOB",le="+Inf"}"#, 3.0),
    (r#"shop_wait_seconds_sum{job="JOB"}"#, 4.0),
    (r#"histogram_count(shop_size_bytes{job="JOB"})"#, 3.0),
    (r#"histogram_sum(shop_size_bytes{job="JOB"})"#, 4.0),
    (r#"target_info{job="JOB",instance="till-1",host_name="h"}"#, 1.0),
];

/// Runs `client` once for each transport, and waits for what it sent. The program's arguments are the transport and the
/// address that `address` makes of `HOST:PORT`.
fn reaches_prometheus(
    client: Client,
    program: &str,
    language: &str,
    transports: &[&str],
    address: fn(&str, &str) -> String,
) {
    let Some(peers) = support::peers() else { return };
    let program = repository().join("tests/clients").join(program);
    if client.script(&program).is_none() {
        return;
    }
    let prometheus = Prometheus::start(&peers, Options::receiver());
    let folder = tempfile::tempdir().unwrap();
    let text = format!("remote_write: [{{url: '{}'}}]\n{QUIET}otlp: {{}}\n", prometheus.write_url());
    let path = config(folder.path(), &text);
    let narthex = Narthex::start_in(PROGRAM, "run", &folder.path().join("data"), &["--config", &path]);
    let to = narthex.url().trim_start_matches("http://").to_string();
    for transport in transports {
        let mut command = client.script(&program).unwrap();
        let output = command.arg(transport).arg(address(transport, &to)).output().unwrap();
        assert!(output.status.success(), "{transport}: {output:?}{}", narthex.process.tail());
        let job = format!("{language}-{transport}");
        for (query, value) in SENT {
            let query = query.replace("JOB", &job);
            wait_for(&query, SOON, || {
                let values: Vec<f64> = prometheus.query(&query).iter().map(|sample| sample.value).collect();
                if values == [value] { Ok(()) } else { Err(format!("{values:?}{}", narthex.process.tail())) }
            });
        }
    }
}

/// The address for exporters that want a whole URL.
fn url(transport: &str, to: &str) -> String {
    if transport == "grpc" { format!("http://{to}") } else { format!("http://{to}/v1/metrics") }
}

#[test]
fn the_sdk_for_python_reaches_prometheus() {
    reaches_prometheus(Client::Python, "otlp.py", "python", &["http", "grpc"], url);
}

#[test]
fn the_sdk_for_javascript_reaches_prometheus() {
    reaches_prometheus(Client::JavaScript, "otlp.js", "javascript", &["json", "protobuf"], url);
}

#[test]
fn the_sdk_for_go_reaches_prometheus() {
    reaches_prometheus(Client::Go, "otlp.go", "go", &["http", "grpc"], |_, to| to.to_string());
}

#[test]
fn the_sdk_for_java_reaches_prometheus() {
    reaches_prometheus(Client::Java, "Otlp.java", "java", &["http", "grpc"], url);
}
