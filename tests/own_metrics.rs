//! narthex' own metrics: the names that dashboards and alerts know are on the page `/metrics`, and are pushed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test reports"
)]

use std::collections::BTreeSet;
use std::path::Path;
use support::prometheus::Options;
use support::{FakeReceiver, Narthex, Prometheus, SOON, http, wait_for, wait_until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_narthex");

/// The metrics that Prometheus' own dashboards and alerts for remote write and for agents use.
const KNOWN: &[&str] = &[
    "prometheus_agent_active_series",
    "prometheus_agent_corruptions_total",
    "prometheus_agent_exemplars_appended_total",
    "prometheus_agent_samples_appended_total",
    "prometheus_remote_storage_bytes_total",
    "prometheus_remote_storage_enqueue_retries_total",
    "prometheus_remote_storage_exemplars_dropped_total",
    "prometheus_remote_storage_exemplars_failed_total",
    "prometheus_remote_storage_exemplars_pending",
    "prometheus_remote_storage_exemplars_retried_total",
    "prometheus_remote_storage_exemplars_total",
    "prometheus_remote_storage_highest_timestamp_in_seconds",
    "prometheus_remote_storage_histograms_dropped_total",
    "prometheus_remote_storage_histograms_failed_total",
    "prometheus_remote_storage_histograms_pending",
    "prometheus_remote_storage_histograms_retried_total",
    "prometheus_remote_storage_histograms_total",
    "prometheus_remote_storage_max_samples_per_send",
    "prometheus_remote_storage_metadata_bytes_total",
    "prometheus_remote_storage_metadata_failed_total",
    "prometheus_remote_storage_metadata_retried_total",
    "prometheus_remote_storage_metadata_total",
    "prometheus_remote_storage_queue_highest_sent_timestamp_seconds",
    "prometheus_remote_storage_queue_highest_timestamp_seconds",
    "prometheus_remote_storage_samples_dropped_total",
    "prometheus_remote_storage_samples_failed_total",
    "prometheus_remote_storage_samples_pending",
    "prometheus_remote_storage_samples_retried_total",
    "prometheus_remote_storage_samples_total",
    "prometheus_remote_storage_sent_batch_duration_seconds_bucket",
    "prometheus_remote_storage_shard_capacity",
    "prometheus_remote_storage_shards",
    "prometheus_remote_storage_shards_desired",
    "prometheus_remote_storage_shards_max",
    "prometheus_remote_storage_shards_min",
    "prometheus_tsdb_wal_fsync_duration_seconds_count",
    "prometheus_tsdb_wal_segment_current",
    "prometheus_tsdb_wal_storage_size_bytes",
    "prometheus_tsdb_wal_truncations_failed_total",
    "prometheus_tsdb_wal_truncations_total",
    "prometheus_tsdb_wal_writes_failed_total",
    "prometheus_wal_watcher_current_segment",
    "prometheus_wal_watcher_records_read_total",
    "narthex_build_info",
    "narthex_group_emissions_failed_total",
    "narthex_group_emissions_total",
    "narthex_group_expirations_total",
    "narthex_group_journal_damaged_total",
    "narthex_group_journal_rewrites_total",
    "narthex_group_markers_total",
    "narthex_group_push_failures_total",
    "narthex_receive_unauthorized_total",
    "narthex_groups_forgotten_total",
    "narthex_log_max_bytes",
    "narthex_remote_aside_points",
    "narthex_remote_lag_bytes",
    "narthex_remote_lag_seconds",
    "narthex_remote_newest_lag_seconds",
    "narthex_remote_newest_first",
    "narthex_remote_protocol",
    "narthex_remote_refused_total",
    "narthex_remote_state",
    "narthex_remote_stuck_lanes",
    "process_cpu_seconds_total",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
];

#[test]
fn metrics_with_known_names_are_shown_and_pushed() {
    let receiver = FakeReceiver::start();
    let narthex =
        Narthex::start(PROGRAM, &["--to", &receiver.write_url(), "--collect", "none", "--instance", "i"]);
    narthex.process.wait_for_line("accepted what was sent", SOON);
    let text = narthex.get("/metrics").expect_success().text();
    let names: BTreeSet<&str> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .collect();
    let missing: Vec<_> = KNOWN.iter().filter(|name| !names.contains(**name)).collect();
    assert!(missing.is_empty(), "{missing:?} in\n{text}");
    for name in ["narthex_log_commits_total", "prometheus_remote_storage_shards"] {
        assert!(
            text.contains(&format!("# TYPE {name} ")) && text.contains(&format!("# HELP {name} ")),
            "{name}"
        );
    }
    let url = receiver.write_url();
    let own = format!("prometheus_remote_storage_samples_total{{remote_name=\"{url}\",url=\"{url}\"}}");
    assert!(narthex.metric(&own).unwrap() > 0.0, "{text}");

    let pushed = wait_for("its own metrics to be pushed", SOON, || {
        let arrivals = format!("{:?}", receiver.arrivals());
        if arrivals.contains("narthex_build_info") { Ok(arrivals) } else { Err("missing") }
    });
    assert!(pushed.contains("process_resident_memory_bytes"));
    assert!(!pushed.contains("node_"), "nothing of the machine was asked for");
}

#[test]
fn changes_of_groups_are_counted() {
    let receiver = FakeReceiver::start();
    let narthex = Narthex::start(PROGRAM, &["--to", &receiver.write_url(), "--collect", "none"]);
    let metric = |name: &str| narthex.metric(name).unwrap();
    assert_eq!(narthex.post("/metrics/job/j", &[], b"a 1\n").status, 200);
    assert_eq!((metric("narthex_groups"), metric("narthex_group_markers_total")), (1.0, 0.0));
    assert_eq!(narthex.post("/metrics/job/j", &[], b"a 1 1700000000\n").status, 400);
    assert_eq!(metric("narthex_group_push_failures_total"), 1.0);
    assert_eq!(narthex.request("DELETE", "/metrics/job/j", &[], None).status, 202);
    // One for `a`, and one for each of the two push times.
    wait_until("the markers", SOON, || metric("narthex_group_markers_total") == 3.0);
    assert_eq!(metric("narthex_groups"), 0.0);
}

/// The names of the metric families on a page.
fn families(page: &str) -> BTreeSet<String> {
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types.filter_map(|line| line.split(' ').next()).map(String::from).collect()
}

#[test]
fn each_metric_of_the_real_prometheus_exists_or_is_explained() {
    let Some(peers) = support::peers() else { return };
    let receiver = FakeReceiver::start();
    let agent = Options::agent(&receiver.write_url(), "io.prometheus.write.v2.Request");
    let server = Options { config: agent.config.clone(), ..Options::default() };
    let mut known = BTreeSet::new();
    for options in [agent, server] {
        let prometheus = Prometheus::start(&peers, options);
        known.extend(families(&http::get(&format!("{}/metrics", prometheus.url())).unwrap().text()));
    }
    known.retain(|name| {
        ["prometheus_remote_storage_", "prometheus_wal_watcher_", "prometheus_tsdb_wal_", "prometheus_agent_"]
            .iter()
            .any(|begin| name.starts_with(begin))
    });
    assert!(known.len() > 50, "{known:?}");
    let narthex = Narthex::start(PROGRAM, &["--to", &receiver.write_url(), "--collect", "none"]);
    let own = families(&narthex.get("/metrics").text());
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/own-metrics.md");
    let docs = std::fs::read_to_string(docs).unwrap();
    let table = docs.split("What Prometheus has and narthex hasn't").nth(1).unwrap();
    let table = table.split("\n## ").next().unwrap();
    let explained: BTreeSet<String> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "))
        .map(|(name, why)| {
            assert!(why.len() > 5, "{name}: no reason");
            name.to_string()
        })
        .collect();
    let open: Vec<_> =
        known.iter().filter(|name| !own.contains(*name) && !explained.contains(*name)).collect();
    assert!(open.is_empty(), "neither there nor explained: {open:?}");
    let superfluous: Vec<_> = explained.intersection(&own).collect();
    assert!(superfluous.is_empty(), "there although the table says that it isn't: {superfluous:?}");
}

#[test]
fn each_documented_metric_exists_and_destination_metrics_are_documented() {
    let receiver = FakeReceiver::start();
    // With an input that has its own metrics.
    let folder = tempfile::tempdir().unwrap();
    let sections = "graphite: {listen: '127.0.0.1:0'}\nstatsd: {listen_udp: '127.0.0.1:0'}\n";
    let config = support::narthex::config(folder.path(), sections);
    let url = receiver.write_url();
    let narthex = Narthex::start(PROGRAM, &["--to", &url, "--config", &config, "--collect", "none"]);
    let own = families(&narthex.get("/metrics").text());
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/own-metrics.md");
    let docs = std::fs::read_to_string(docs).unwrap();
    let spans = docs.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    let names = spans.filter(|span| span.starts_with("narthex_") && !span.contains('*'));
    let told: BTreeSet<&str> = names.filter_map(|span| span.split('{').next()).collect();
    assert!(told.len() > 20, "{told:?}");
    let unknown: Vec<_> = told.iter().filter(|name| !own.contains(**name)).collect();
    assert!(unknown.is_empty(), "documented, but missing: {unknown:?}");
    let begin = |name: &&String| name.starts_with("narthex_remote_");
    let untold: Vec<_> = own.iter().filter(begin).filter(|name| !told.contains(name.as_str())).collect();
    assert!(untold.is_empty(), "there, and not told: {untold:?}");
}

#[test]
fn backlog_is_shown_in_seconds_and_bytes_and_state_by_name() {
    let receiver = FakeReceiver::start();
    receiver.go_away();
    let url = receiver.write_url();
    let narthex = Narthex::start(PROGRAM, &["--to", &url, "--collect", "none"]);
    assert_eq!(narthex.post("/metrics/job/j", &[], b"a 1\n").status, 200);
    let of = |name: &str, more: &str| {
        let series = format!("{name}{{remote_name=\"{url}\",url=\"{url}\"{more}}}");
        narthex.metric(&series).unwrap_or_else(|| panic!("{series}"))
    };
    wait_until("it to wait", SOON, || of("narthex_remote_state", ",state=\"waiting\"") == 1.0);
    wait_until("the lag", SOON, || of("narthex_remote_lag_seconds", "") > 0.5);
    assert!(of("narthex_remote_lag_bytes", "") > 50.0);
    let status = narthex.get("/api/v1/status/remote_write").json();
    let destination = &status["destinations"][0];
    assert_eq!(destination["state"], "retrying", "{status}");
    assert!(destination["lag_bytes"].as_u64().unwrap() > 50, "{status}");
    assert!(destination["words"].as_str().unwrap().contains("waiting in the log"), "{status}");
    assert!(destination["last_error_ms"].as_i64().unwrap() > 1_600_000_000_000, "{status}");
    receiver.come_back();
    wait_until("it to deliver", SOON, || of("narthex_remote_state", ",state=\"delivering\"") == 1.0);
    assert_eq!(of("narthex_remote_state", ",state=\"waiting\""), 0.0);
    let consumer = format!("{{consumer=\"{url}\"}}");
    let records = narthex.metric(&format!("prometheus_wal_watcher_records_read_total{consumer}"));
    assert!(records.unwrap() >= 1.0);
    assert!(narthex.metric("prometheus_tsdb_wal_page_flushes_total").unwrap() >= 1.0);
    assert!(narthex.metric("prometheus_remote_storage_samples_in_total").unwrap() >= 3.0);
}
