//! OTLP: from OpenTelemetry's own SDKs, over HTTP and gRPC, into a real Prometheus.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test reports"
)]

use rustix::process::Signal;
use std::net::TcpStream;
use support::narthex::config;
use support::peers::repository;
use support::prometheus::Options;
use support::{Client, Narthex, Prometheus, SOON, wait_for};

const PROGRAM: &str = env!("CARGO_BIN_EXE_narthex");
const QUIET: &str = "collect: {self: false, host: {collectors: none}}\n";

/// The metrics that each client sends: a query and its value. `JOB` stands for the client.
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

/// Waits until Prometheus has all metrics of a client.
fn wait_for_all(prometheus: &Prometheus, narthex: &Narthex, job: &str) {
    for (query, value) in SENT {
        let query = query.replace("JOB", job);
        wait_for(&query, SOON, || {
            let values: Vec<f64> = prometheus.query(&query).iter().map(|sample| sample.value).collect();
            if values == [value] { Ok(()) } else { Err(format!("{values:?}{}", narthex.process.tail())) }
        });
    }
}

/// Runs `client` once for each transport, and waits for its metrics. The program's arguments are the transport, and the
/// result of `address` for `HOST:PORT`.
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
        wait_for_all(&prometheus, &narthex, &format!("{language}-{transport}"));
    }
}

/// The address for exporters that need a whole URL.
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

/// The address for this configuration key after narthex' `number`th start of listening there.
fn address_of(narthex: &Narthex, key: &str, number: usize) -> String {
    wait_for(key, SOON, || {
        let lines = narthex.process.lines();
        let mut found = lines.iter().filter(|line| line.contains("too (") && line.contains(key));
        let line = found.nth(number).ok_or_else(|| lines.join("\n"))?;
        let address = line.split("://").nth(1).and_then(|rest| rest.split(' ').next());
        address.map(str::to_string).ok_or_else(|| line.clone())
    })
}

#[test]
fn own_addresses_have_the_users_of_http_and_follow_a_reload() {
    let Some(peers) = support::peers() else { return };
    let program = repository().join("tests/clients/otlp.py");
    if Client::Python.script(&program).is_none() {
        return;
    }
    let prometheus = Prometheus::start(&peers, Options::receiver());
    let folder = tempfile::tempdir().unwrap();
    let write = |otlp: &str| {
        let receive = "receive: {bearer: {token: secret}}";
        let url = prometheus.write_url();
        config(
            folder.path(),
            &format!("remote_write: [{{url: '{url}'}}]\n{QUIET}{receive}\notlp: {{{otlp}}}\n"),
        )
    };
    let path = write("http_listen: '127.0.0.1:0', grpc_listen: '127.0.0.1:0'");
    let narthex = Narthex::start_in(PROGRAM, "run", &folder.path().join("data"), &["--config", &path]);
    let run = |transport: &str, address: &str, token: &str| {
        let path = if transport == "http" { "/v1/metrics" } else { "" };
        let url = format!("http://{address}{path}");
        let mut command = Client::Python.script(&program).unwrap();
        command.args([transport, &url]).arg(token).output().unwrap()
    };
    for transport in ["http", "grpc"] {
        let address = address_of(&narthex, &format!("otlp.{transport}_listen"), 0);
        let output = run(transport, &address, "wrong");
        // The SDK does not report the error to its caller.
        assert!(String::from_utf8_lossy(&output.stderr).contains("Failed to export"), "{output:?}");
        let output = run(transport, &address, "secret");
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}{}", narthex.process.tail());
        wait_for_all(&prometheus, &narthex, &format!("python-{transport}"));
    }
    // A reload closes one address; the other one stays open.
    let (http, grpc) =
        (address_of(&narthex, "otlp.http_listen", 0), address_of(&narthex, "otlp.grpc_listen", 0));
    write("grpc_listen: '127.0.0.1:0'");
    narthex.process.signal(Signal::HUP);
    wait_for("the closed address", SOON, || match TcpStream::connect(&http) {
        Ok(_) => Err("it is open".to_string()),
        Err(_) => Ok(()),
    });
    assert!(TcpStream::connect(&grpc).is_ok());
}
