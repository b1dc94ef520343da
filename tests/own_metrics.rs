//! narthex' own metrics: the names that dashboards and alerts know are on the page `/metrics`, and are
//! pushed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test reports"
)]

use std::collections::BTreeSet;
use support::{FakeReceiver, Narthex, SOON, wait_for, wait_until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_narthex");

/// What Prometheus' own dashboards and alerts for remote write and for agents look at.
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
    "narthex_groups_forgotten_total",
    "narthex_remote_lag_seconds",
    "narthex_remote_protocol",
    "process_cpu_seconds_total",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
];

#[test]
fn known_names_are_on_the_page_with_type_and_help_and_are_pushed() {
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
        if arrivals.contains("narthex_build_info") { Ok(arrivals) } else { Err("not there") }
    });
    assert!(pushed.contains("process_resident_memory_bytes"));
    assert!(!pushed.contains("node_"), "nothing of the machine was asked for");
}

#[test]
fn what_becomes_of_groups_is_counted() {
    let receiver = FakeReceiver::start();
    let narthex = Narthex::start(PROGRAM, &["--to", &receiver.write_url(), "--collect", "none"]);
    let metric = |name: &str| narthex.metric(name).unwrap();
    assert_eq!(narthex.post("/metrics/job/j", &[], b"a 1\n").status, 200);
    assert_eq!((metric("narthex_groups"), metric("narthex_group_markers_total")), (1.0, 0.0));
    assert_eq!(narthex.post("/metrics/job/j", &[], b"a 1 1700000000\n").status, 400);
    assert_eq!(metric("narthex_group_push_failures_total"), 1.0);
    assert_eq!(narthex.request("DELETE", "/metrics/job/j", &[], None).status, 202);
    // One for `a`, and one for each of the two times of the push.
    wait_until("the markers", SOON, || metric("narthex_group_markers_total") == 3.0);
    assert_eq!(metric("narthex_groups"), 0.0);
}
