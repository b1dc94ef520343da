//! The support library with the real programs: they must return what it sends by hand.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests, outside of #[test]")]

use std::cell::Cell;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};
use support::process::{self, Process};
use support::prometheus::Options;
use support::wire::{Series, Version, push};
use support::{FakeReceiver, NodeExporter, Peers, Prometheus, Pushgateway, SOON, VictoriaMetrics, Vmagent};
use support::{http, wait_until};

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

#[test]
fn prometheus_returns_the_exact_samples_of_both_versions() {
    let Some(peers) = support::peers() else { return };
    let prometheus = Prometheus::start(&peers, Options::receiver());
    let now = now();
    for (name, version) in [("one", Version::V1), ("two", Version::V2)] {
        let samples = [(now - 1001, 0.1 + 0.2), (now, f64::INFINITY)];
        let series = Series::new(name, &[("é", "x y")], &samples);
        push(&prometheus.write_url(), version, &[series]).unwrap().expect_success();
        let raw = prometheus.raw(name, "1h");
        assert_eq!(raw.len(), 1, "{name}");
        assert_eq!(raw[0].samples, samples);
        assert_eq!(raw[0].labels["é"], "x y");
    }
    assert_eq!(prometheus.query("count({__name__=~\"one|two\"})")[0].value, 2.0);
    assert_eq!(prometheus.series_count("{__name__=~\"one|two\"}"), 2);
    assert!(prometheus.metric("prometheus_tsdb_head_series").unwrap() >= 2.0);
    let steps = prometheus.query_range("one", now, now + 2000, 1000);
    assert_eq!(steps[0].samples.len(), 3);
}

#[test]
fn old_samples_need_an_out_of_order_window() {
    let Some(peers) = support::peers() else { return };
    let now = now();
    for (window, status) in [(None, 400), (Some("10m".to_string()), 204)] {
        let options = Options { out_of_order_window: window, ..Options::receiver() };
        let prometheus = Prometheus::start(&peers, options);
        for (timestamp, expected) in [(now, 204), (now - 60_000, status)] {
            let series = Series::new("a", &[], &[(timestamp, 1.0)]);
            let answer = push(&prometheus.write_url(), Version::V1, &[series]).unwrap();
            assert_eq!(answer.status, expected, "{}", answer.text());
        }
    }
}

/// Pushes samples of one series until `receiver` has one of them. Returns its `Content-Type` and
/// `Content-Encoding`. The push is repeated, because an agent sends only samples that are newer than its
/// start.
fn first_arrival(write_url: &str, receiver: &FakeReceiver) -> (String, String) {
    wait_until("a sample that was sent on", SOON, || {
        let series = Series::new("relayed", &[("job", "j")], &[(now(), 1.5)]);
        push(write_url, Version::V1, &[series]).unwrap().expect_success();
        let arrivals = receiver.arrivals();
        arrivals.iter().any(|(labels, samples)| labels["__name__"] == "relayed" && samples[0].1 == 1.5)
    });
    let requests = receiver.requests();
    let header = |name| requests[0].header(name).unwrap_or_default().to_string();
    (header("content-type"), header("content-encoding"))
}

#[test]
fn the_fake_receiver_reads_the_protocols_of_the_agents() {
    let Some(peers) = support::peers() else { return };
    for (message, content_type) in [
        ("prometheus.WriteRequest", "application/x-protobuf"),
        ("io.prometheus.write.v2.Request", "application/x-protobuf;proto=io.prometheus.write.v2.Request"),
    ] {
        let receiver = FakeReceiver::start();
        let mut options = Options::agent(&receiver.write_url(), message);
        options.config.push_str("  queue_config:\n    batch_send_deadline: 100ms\n");
        let agent = Prometheus::start(&peers, options);
        let (got, encoding) = first_arrival(&agent.write_url(), &receiver);
        assert_eq!((got.as_str(), encoding.as_str()), (content_type, "snappy"));
    }
    for (argument, encoding) in
        [("-remoteWrite.forceVMProto=true", "zstd"), ("-remoteWrite.forcePromProto=true", "snappy")]
    {
        let receiver = FakeReceiver::start();
        let agent = Vmagent::start(
            &peers,
            &receiver.write_url(),
            None,
            &[argument, "-remoteWrite.flushInterval=100ms"],
        );
        let (_, got) = first_arrival(&agent.write_url(), &receiver);
        assert_eq!(got, encoding);
    }
}

#[test]
fn victoria_metrics_exports_the_exact_samples() {
    let Some(peers) = support::peers() else { return };
    let victoria = VictoriaMetrics::start(&peers);
    let samples = [(now() - 5000, 0.1), (now() - 2500, -12345.678)];
    let series = Series::new("a", &[("x", "y")], &samples);
    push(&victoria.write_url(), Version::V1, &[series]).unwrap().expect_success();
    wait_until("the samples to be stored", SOON, || !victoria.export("a").is_empty());
    let export = victoria.export("a");
    assert_eq!((export.len(), &export[0].samples[..]), (1, &samples[..]));
    assert_eq!(victoria.query("a{x=\"y\"}")[0].value, -12345.678);
}

#[test]
fn pushgateway_and_node_exporter_show_their_metrics() {
    let Some(peers) = support::peers() else { return };
    let gateway = Pushgateway::start(&peers, &[]);
    http::post(&format!("{}/metrics/job/backup", gateway.url()), &[], b"done 42\n").unwrap().expect_success();
    assert_eq!(gateway.metric("done{instance=\"\",job=\"backup\"}"), Some(42.0));
    let exporter = NodeExporter::start(&peers, &[]);
    assert!(exporter.scrape().contains("\nnode_cpu_seconds_total{"));
}

#[test]
fn a_port_that_is_in_use_is_tried_again() {
    let Some(peers) = support::peers() else { return };
    let attempts = Cell::new(0);
    let (_process, url) = process::start_server("/-/ready", |port| {
        attempts.set(attempts.get() + 1);
        if attempts.get() == 1 {
            return Process::start(Path::new("/bin/sh"), ["-c", "echo bind: address already in use; exit 1"]);
        }
        Process::start(&peers.pushgateway, [format!("--web.listen-address=127.0.0.1:{port}")])
    });
    assert_eq!(attempts.get(), 2);
    assert_eq!(http::get(&format!("{url}/-/healthy")).unwrap().status, 200);
}

#[test]
fn the_old_prometheus_runs_too() {
    let Some(peers) = support::peers() else { return };
    let Some(program) = Peers::old_prometheus() else { return };
    let options = Options { program: Some(program), ..Options::receiver() };
    let prometheus = Prometheus::start(&peers, options);
    let series = Series::new("a", &[], &[(now(), 1.0)]);
    push(&prometheus.write_url(), Version::V1, std::slice::from_ref(&series)).unwrap().expect_success();
    assert_eq!(prometheus.raw("a", "1h")[0].samples, series.samples);
}
