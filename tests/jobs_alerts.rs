//! The alerts of `docs/alerts-jobs.yml`, by the real promtool.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test reports"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn each_alert_fires_when_it_should_and_not_otherwise() {
    let Some(peers) = support::peers() else { return };
    let tests = repository().join("tests/alerts-jobs.test.yml");
    let output = Command::new(&peers.promtool).args(["test", "rules"]).arg(tests).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("SUCCESS"), "{text}");
}

#[test]
fn no_alert_is_left_untested() {
    let read = |path| std::fs::read_to_string(repository().join(path)).unwrap();
    let (rules, tests) = (read("docs/alerts-jobs.yml"), read("tests/alerts-jobs.test.yml"));
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert_eq!(alerts.len(), 14);
    for alert in alerts {
        let firing = format!("alertname: {alert}\n        exp_alerts:\n          - exp_labels:");
        let quiet = format!("alertname: {alert}, exp_alerts: []}}");
        assert!(tests.contains(&firing), "{alert} never fires");
        assert!(tests.contains(&quiet), "{alert} always fires");
    }
}
