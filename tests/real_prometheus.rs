//! Checks that a real Prometheus has every value that narthex pushed, by both versions of the protocol, across an
//! outage and a kill.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test reports"
)]

mod log;

use std::collections::BTreeMap;
use support::narthex::config;
use support::prometheus::Options;
use support::wire::{self, Series, Version};
use support::{Narthex, Prometheus, SOON, now_ms, wait_until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_narthex");

/// The number of samples that a destination refused or that were dropped, from narthex' own page.
fn not_delivered(narthex: &Narthex) -> f64 {
    let page = narthex.get("/metrics").text();
    let bad = |line: &&str| {
        let name = line.split(['{', ' ']).next().unwrap();
        name.starts_with("prometheus_remote_storage_")
            && (name.ends_with("_failed_total") || name.ends_with("_dropped_total"))
    };
    let lines: Vec<&str> = page.lines().filter(bad).collect();
    assert!(!lines.is_empty(), "no counters of failures on the page:\n{page}");
    lines.iter().map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

#[test]
fn host_metrics_and_own_metrics_arrive() {
    let Some(peers) = support::peers() else { return };
    let prometheus = Prometheus::start(&peers, Options::receiver());
    let narthex = Narthex::start(PROGRAM, &["--to", prometheus.url(), "--instance", "here"]);
    let line = narthex.process.wait_for_line("accepted", SOON);
    assert!(line.contains("2.0"), "the protocol is named: {line}");
    let there = |query: &str| !prometheus.query(query).is_empty();
    for name in [
        "node_cpu_seconds_total",
        "node_memory_MemAvailable_bytes",
        "node_load1",
        "node_filesystem_size_bytes",
        "node_network_receive_bytes_total",
        "node_vmstat_pgfault",
        "node_uname_info",
        "node_time_seconds",
        "node_boot_time_seconds",
        "node_procs_running",
        "up",
    ] {
        let query = format!(r#"{name}{{job="node",instance="here"}}"#);
        wait_until(&format!("{query} in Prometheus"), SOON, || there(&query));
    }
    wait_until("narthex' own metrics", SOON * 2, || {
        there(r#"narthex_build_info{job="narthex",instance="here"}"#)
    });
    assert_eq!(prometheus.query(r#"up{job="node"}"#)[0].value, 1.0);
    let help = prometheus.metadata("node_load1");
    assert!(help.is_empty() || help[0]["type"] == "gauge", "{help:?}");
    // The whole memory, including the program file, is measured with the release build by `bench idle`.
    let allocated = narthex.process.allocated_bytes();
    assert!(allocated < 8 << 20, "{allocated} bytes of memory while collecting and pushing");
    assert_eq!(not_delivered(&narthex), 0.0);
}

/// Exactly the pushed values arrive, with any version of the protocol at the input and at the destination.
#[test]
fn pushed_values_are_exact() {
    let Some(peers) = support::peers() else { return };
    for (incoming, outgoing) in [
        (Version::V1, "prometheus.WriteRequest"),
        (Version::V2, "io.prometheus.write.v2.Request"),
        (Version::V1, "io.prometheus.write.v2.Request"),
        (Version::V2, "prometheus.WriteRequest"),
    ] {
        let prometheus = Prometheus::start(&peers, Options::receiver());
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "remote_write:\n- url: {}\n  protobuf_message: {outgoing}\n  queue_config:\n    batch_send_deadline: 100ms\n",
            prometheus.write_url()
        );
        let narthex = Narthex::start(PROGRAM, &["--config", &config(folder.path(), &text)]);
        let start = now_ms() - 60_000;
        let mut expected: BTreeMap<String, Vec<(i64, f64)>> = BTreeMap::new();
        for push in 0..20i64 {
            let series: Vec<Series> = (0..50)
                .map(|number| {
                    let sample = (start + push * 1000, f64::from(number) * 0.1 + push as f64);
                    let id = number.to_string();
                    expected.entry(id.clone()).or_default().push(sample);
                    Series::new("exact", &[("id", &id), ("utf", "ünï")], &[sample])
                })
                .collect();
            wire::push(&narthex.write_url(), incoming, &series).unwrap().expect_success();
        }
        wait_until("all samples", SOON, || {
            let raw = prometheus.raw("exact", "5m");
            raw.iter().map(|series| series.samples.len()).sum::<usize>() == 1000
        });
        for series in prometheus.raw("exact", "5m") {
            assert_eq!(series.labels["utf"], "ünï");
            assert_eq!(series.samples, expected[&series.labels["id"]], "{incoming:?} to {outgoing}");
        }
        assert_eq!(not_delivered(&narthex), 0.0);
    }
}

#[test]
fn two_agents_push_into_one_prometheus_and_nothing_is_refused() {
    let Some(peers) = support::peers() else { return };
    let prometheus = Prometheus::start(&peers, Options::receiver());
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "remote_write:\n- url: {}\n  queue_config:\n    batch_send_deadline: 100ms\ncollect:\n  host:\n    interval: 1s\n",
        prometheus.write_url()
    );
    let config = config(folder.path(), &text);
    let agents = ["a", "b"].map(|name| Narthex::start(PROGRAM, &["--config", &config, "--instance", name]));
    wait_until("five rounds of both", SOON * 2, || {
        ["a", "b"].iter().all(|name| {
            let raw = prometheus.raw(&format!(r#"up{{job="node",instance="{name}"}}"#), "5m");
            raw.first().is_some_and(|series| series.samples.len() >= 5)
        })
    });
    for agent in &agents {
        assert_eq!(not_delivered(agent), 0.0);
    }
    assert_eq!(prometheus.series_count("node_load1"), 2);
}

/// The destination is down, and meanwhile narthex is killed and started again, twice. When the destination is up again,
/// it gets every sample in the log, without a gap and each exactly once.
#[test]
fn samples_collected_during_an_outage_arrive_after_a_kill() {
    let Some(peers) = support::peers() else { return };
    let stored = tempfile::tempdir().unwrap();
    let options = |port| Options {
        data: Some(stored.path().join("data")),
        out_of_order_window: Some("1h".into()),
        port,
        ..Options::receiver()
    };
    let prometheus = Prometheus::start(&peers, options(None));
    let port = prometheus.port();
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "remote_write:\n- url: {}\n  queue_config:\n    batch_send_deadline: 100ms\ncollect:\n  host:\n    interval: 1s\n    collectors: [cpu, meminfo, loadavg, netdev]\n",
        prometheus.write_url()
    );
    let config = config(folder.path(), &text);
    let data = folder.path().join("data");
    let start = || Narthex::start_in(PROGRAM, "run", &data, &["--config", &config, "--instance", "i"]);
    let appended =
        |narthex: &Narthex| narthex.metric("prometheus_agent_samples_appended_total").unwrap_or(0.0);

    let narthex = start();
    wait_until("a first sample in Prometheus", SOON, || !prometheus.query("node_load1").is_empty());
    prometheus.process.kill();
    drop(prometheus);
    let mut logged = log::Samples::new();
    let mut running = narthex;
    for _ in 0..2 {
        let before = appended(&running);
        wait_until("some rounds while the destination is down", SOON * 2, || {
            appended(&running) > before + 600.0
        });
        running.process.kill();
        drop(running);
        logged.extend(log::samples(&data.join("wal")));
        running = start();
    }
    let before = appended(&running);
    wait_until("some more", SOON, || appended(&running) > before + 200.0);
    logged.extend(log::samples(&data.join("wal")));
    let prometheus = Prometheus::start(&peers, options(Some(port)));

    let missing = || {
        let mut missing = logged.clone();
        for series in prometheus.raw(r#"{job=~"node|narthex"}"#, "10m") {
            if let Some(wanted) = missing.get_mut(&series.labels) {
                let there: BTreeMap<i64, u64> =
                    series.samples.iter().map(|(time, value)| (*time, value.to_bits())).collect();
                assert_eq!(there.len(), series.samples.len(), "something is there twice");
                wanted.retain(|time, value| there.get(time) != Some(value));
            }
        }
        missing.values().map(BTreeMap::len).sum::<usize>()
    };
    assert!(logged.values().map(BTreeMap::len).sum::<usize>() > 1000);
    wait_until("every sample of the log in Prometheus", SOON * 2, || missing() == 0);
    // A collector that runs every second has no gaps except at restarts.
    let load = prometheus.raw("node_load1", "10m");
    let gaps = load[0].samples.windows(2).filter(|pair| pair[1].0 - pair[0].0 > 1500).count();
    assert!(gaps <= 2, "{gaps} gaps in {:?}", load[0].samples);
    let longest = load[0].samples.windows(2).map(|pair| pair[1].0 - pair[0].0).max();
    assert!(longest < Some(10_000), "a start again takes no longer: {:?}", load[0].samples);
    assert_eq!(not_delivered(&running), 0.0);
}

#[test]
fn a_prometheus_without_the_receiver_is_reported_with_its_own_text() {
    let Some(peers) = support::peers() else { return };
    let prometheus = Prometheus::start(&peers, Options::default());
    let narthex = Narthex::start(PROGRAM, &["--to", prometheus.url(), "--collect", "loadavg"]);
    narthex.process.wait_for_line("web.enable-remote-write-receiver", SOON);
    wait_until("the reason in the status", SOON, || {
        narthex.get("/api/v1/status/remote_write").text().contains("web.enable-remote-write-receiver")
    });
}

/// Prometheus before version 3 can't read a page with a name in quotes.
#[test]
fn every_prometheus_scrapes_groups_with_any_names() {
    let Some(peers) = support::peers() else { return };
    let folder = tempfile::tempdir().unwrap();
    let text = "remote_write:\n- url: http://127.0.0.1:1/\nreceive:\n  pushgateway:\n    expose: true\ncollect:\n  self: false\n";
    let narthex = Narthex::start(PROGRAM, &["--config", &config(folder.path(), text), "--collect", "none"]);
    let body = b"m{l_x=\"1\",\"l.x\"=\"2\"} 1\n";
    assert_eq!(narthex.request("PUT", "/metrics/job/a/U__g_2e_x/1", &[], Some(body)).status, 200);
    let plain = narthex.get("/metrics");
    assert_eq!(plain.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let accept = [("accept", "text/plain;version=1.0.0;escaping=allow-utf-8")];
    let utf8 = narthex.request("GET", "/metrics", &accept, None);
    let content_type = "text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8";
    assert_eq!(utf8.header("content-type"), Some(content_type));
    assert!(utf8.text().contains("\"g.x\"=\"1\"") && !plain.text().contains("\"g.x\""));

    let address = narthex.url().trim_start_matches("http://");
    let scrape = format!(
        "scrape_configs:\n- job_name: narthex\n  honor_labels: true\n  scrape_interval: 500ms\n  scrape_timeout: 500ms\n  static_configs:\n  - targets: ['{address}']\n"
    );
    let series = |options: Options| {
        let prometheus = Prometheus::start(&peers, Options { config: scrape.clone(), ..options });
        wait_until("a scrape", SOON, || !prometheus.query("up == 1").is_empty());
        wait_until("the group", SOON, || !prometheus.query("m").is_empty());
        let mut labels = prometheus.query("m").remove(0).labels;
        labels.remove("__name__");
        labels.into_iter().map(|(name, value)| format!("{name}={value} ")).collect::<String>()
    };
    assert_eq!(series(Options::default()), "g.x=1 job=a l.x=2 l_x=1 ");
    if let Some(old) = support::Peers::old_prometheus() {
        let old = Options { program: Some(old), ..Options::default() };
        assert_eq!(series(old), "U__l_2e_x=2 g_x=1 job=a l_x=1 ");
    }
}
