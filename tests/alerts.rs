//! Tests the alerts of `docs/alerts-jobs.yml` and `docs/alerts-narthex.yml` with the real promtool. Also checks that
//! narthex has every metric that its alerts and `docs/grafana-dashboard.json` use.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test reports"
)]

use serde_json::Value;
use std::collections::BTreeSet;
use std::process::Command;
use support::peers::repository;
use support::{FakeReceiver, Narthex, SOON};

const PROGRAM: &str = env!("CARGO_BIN_EXE_narthex");

fn read(path: &str) -> String {
    std::fs::read_to_string(repository().join(path)).unwrap()
}

/// Runs promtool's tests of `docs/alerts-NAME.yml`: the alerts fire when they should and not otherwise.
fn fire(name: &str) {
    let Some(peers) = support::peers() else { return };
    let tests = repository().join(format!("tests/alerts-{name}.test.yml"));
    let output = Command::new(&peers.promtool).args(["test", "rules"]).arg(tests).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("SUCCESS"), "{text}");
}

/// Checks that all `count` alerts have a test in which they fire, and one in which they don't: a line that begins with
/// `quiet`.
fn are_tested(name: &str, count: usize, quiet: &str) {
    let (rules, tests) =
        (read(&format!("docs/alerts-{name}.yml")), read(&format!("tests/alerts-{name}.test.yml")));
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert_eq!(alerts.len(), count);
    for alert in alerts {
        let firing = format!("alertname: {alert}\n        exp_alerts:\n          - exp_labels:");
        let quiet = format!("{quiet}alertname: {alert}, exp_alerts: []}}");
        assert!(tests.contains(&firing), "{alert} never fires");
        assert!(tests.contains(&quiet), "{alert} always fires");
    }
}

#[test]
fn each_alert_of_jobs_fires_when_it_should_and_not_otherwise() {
    fire("jobs");
}

#[test]
fn each_alert_of_narthex_fires_when_it_should_and_not_otherwise() {
    fire("narthex");
}

#[test]
fn each_alert_of_jobs_is_tested() {
    are_tested("jobs", 14, "");
}

#[test]
fn each_alert_of_narthex_is_tested() {
    are_tested("narthex", 24, "{eval_time: 1h40m, ");
}

/// The names of narthex' metrics in a query: all words that begin like them.
fn metrics_in(query: &str) -> impl Iterator<Item = &str> {
    let words = query.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | ':')));
    words.filter(|word| ["narthex_", "prometheus_", "process_"].iter().any(|begin| word.starts_with(begin)))
}

/// The names of the series on narthex' page.
fn shown() -> BTreeSet<String> {
    let receiver = FakeReceiver::start();
    // With an input that has its own metrics.
    let folder = tempfile::tempdir().unwrap();
    let inputs =
        "graphite: {listen: '127.0.0.1:0', max_series: 1000000}\nstatsd: {listen_udp: '127.0.0.1:0'}\n";
    let inputs = support::narthex::config(folder.path(), inputs);
    let url = receiver.write_url();
    let narthex = Narthex::start(PROGRAM, &["--to", &url, "--config", &inputs, "--collect", "none"]);
    narthex.process.wait_for_line("accepted what was sent", SOON);
    let text = narthex.get("/metrics").expect_success().text();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split(['{', ' ']).next()).map(String::from).collect()
}

#[test]
fn each_metric_of_alerts_and_dashboard_exists() {
    let shown = shown();
    let rules = read("docs/alerts-narthex.yml");
    let dashboard: Value = serde_json::from_str(&read("docs/grafana-dashboard.json")).unwrap();
    let mut queries: Vec<String> =
        rules.lines().filter(|line| !line.contains('#')).map(String::from).collect();
    let from_rules: BTreeSet<&str> = queries.iter().flat_map(|query| metrics_in(query)).collect();
    assert!(from_rules.len() >= 20, "{from_rules:?}");
    let mut panels = 0;
    for panel in dashboard["panels"].as_array().unwrap() {
        if panel["type"] == "row" {
            continue;
        }
        panels += 1;
        let targets = panel["targets"].as_array().unwrap_or_else(|| panic!("no query: {panel}"));
        for target in targets {
            let query = target["expr"].as_str().unwrap();
            assert!(metrics_in(query).next().is_some(), "{query}");
            queries.push(query.to_string());
        }
    }
    assert!(panels >= 12, "{panels}");
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        queries.extend(variable["definition"].as_str().map(String::from));
    }
    for name in queries.iter().flat_map(|query| metrics_in(query)) {
        assert!(shown.contains(name), "{name} is asked for, but not shown");
    }
}

#[test]
fn prometheus_accepts_each_query_of_the_dashboard() {
    let Some(peers) = support::peers() else { return };
    let prometheus = support::Prometheus::start(&peers, support::prometheus::Options::receiver());
    let narthex = Narthex::start(PROGRAM, &["--to", &prometheus.write_url(), "--instance", "i"]);
    narthex.process.wait_for_line("accepted what was sent", SOON);
    support::wait_until("its own metrics to be there", SOON, || {
        !prometheus.query("narthex_build_info{instance=\"i\"}").is_empty()
    });
    let dashboard: Value = serde_json::from_str(&read("docs/grafana-dashboard.json")).unwrap();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            // Variables are replaced like Grafana does for the user's choices.
            let query = target["expr"].as_str().unwrap();
            let query = query.replace("$instance", "i").replace("$destination", ".*");
            let query = query.replace("$__rate_interval", "5m");
            assert!(!query.contains('$'), "{query}");
            prometheus.query(&query);
        }
    }
}
