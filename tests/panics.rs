//! The effects of a panic in narthex. A part that can be restarted is restarted, and the process continues. If another
//! part panics, the process ends with an error, and the acknowledged samples arrive after the next start.
//!
//! The panics are triggered by a route that exists only in builds with debug assertions.
#![cfg(debug_assertions)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is how a test reports")]

use std::path::Path;
use std::process::ExitStatus;
use support::narthex::config;
use support::numbered::sum;
use support::query::labels;
use support::{FakeReceiver, Narthex, Numbered, SOON, http, wait_until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_narthex");
/// The exit code of a process that ended because of an error.
const ERROR: Option<i32> = Some(1);

fn start(folder: &Path, receiver: &FakeReceiver, collect: &str) -> Narthex {
    let text = format!(
        "remote_write:\n- name: a\n  url: {}\n  queue_config: {{batch_send_deadline: 20ms, min_backoff: 30ms, max_backoff: 100ms}}\ncollect: {collect}\n",
        receiver.write_url()
    );
    let arguments = ["--config", &config(folder, &text)];
    let environment = [("NARTHEX_TEST_PANICS", "1")];
    Narthex::start_with_env(PROGRAM, "run", &folder.join("data"), &arguments, &environment)
}

const NOTHING: &str = "{host: {collectors: none}, self: false}";

/// Makes a part panic. The answer may be an error, or missing.
fn panic(narthex: &Narthex, part: &str) {
    let _ = http::post(&format!("{}/-/panic/{part}", narthex.url()), &[], b"");
}

/// Waits for the end of a process after an essential part has panicked. Until then it must not be ready again.
fn ended(narthex: &Narthex, part: &str) -> ExitStatus {
    let ready = || http::get(&format!("{}/-/ready", narthex.url())).is_ok_and(|ready| ready.status == 200);
    wait_until("it not to be ready", SOON, || !ready());
    wait_until("the end", SOON, || {
        assert!(!ready(), "it was ready after a part had panicked{}", narthex.process.tail());
        !narthex.process.is_running()
    });
    let line = narthex.process.wait_for_line("has ended unexpectedly, by a mistake in narthex", SOON);
    assert!(line.contains(part) && line.contains("acknowledged is on disk"), "{line}");
    narthex.process.wait(SOON)
}

fn restarts(narthex: &Narthex, labels: &str) -> Option<f64> {
    narthex.metric(&format!("narthex_task_restarts_total{{{labels}}}"))
}

#[test]
fn after_a_panic_of_the_log_acknowledged_samples_arrive() {
    let (folder, receiver, numbered) =
        (tempfile::tempdir().unwrap(), FakeReceiver::start(), Numbered::default());
    receiver.go_away();
    let narthex = start(folder.path(), &receiver, NOTHING);
    let before = numbered.push(&narthex, 50);
    panic(&narthex, "log");
    assert_eq!(ended(&narthex, "the part that writes and truncates the log").code(), ERROR);
    drop(narthex);
    receiver.come_back();
    let narthex = start(folder.path(), &receiver, NOTHING);
    let after = numbered.push(&narthex, 50);
    let tally = receiver.wait_for_all(&sum(&[&before, &after]));
    assert_eq!((tally.out_of_order, tally.unexpected), (0, 0));
}

#[test]
fn a_panic_of_the_groups_ends_narthex_and_keeps_groups() {
    let (folder, receiver) = (tempfile::tempdir().unwrap(), FakeReceiver::start());
    receiver.go_away();
    let narthex = start(folder.path(), &receiver, NOTHING);
    narthex.post("/metrics/job/backup", &[], b"done_seconds 5\n").expect_success();
    panic(&narthex, "groups");
    assert_eq!(ended(&narthex, "the task that keeps groups").code(), ERROR);
    drop(narthex);
    receiver.come_back();
    let narthex = start(folder.path(), &receiver, NOTHING);
    assert!(narthex.get("/api/v1/status/groups").text().contains("backup"));
    let group = labels([("__name__", "done_seconds"), ("instance", ""), ("job", "backup")]);
    let group = group.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    wait_until("the group's sample", SOON, || receiver.arrivals().contains_key(&group));
}

#[test]
fn a_destination_that_panics_is_started_again_and_narthex_stays_ready() {
    let (folder, receiver, numbered) =
        (tempfile::tempdir().unwrap(), FakeReceiver::start(), Numbered::default());
    let narthex = start(folder.path(), &receiver, NOTHING);
    let mut pushed = vec![numbered.push(&narthex, 50)];
    receiver.wait_for_all(&sum(&[&pushed[0]]));
    let restarts = || restarts(&narthex, "task=\"destination\",name=\"a\"");
    assert_eq!(restarts(), Some(0.0));
    panic(&narthex, "a");
    let line = narthex.process.wait_for_line("delivery panicked", SOON);
    assert!(line.contains("destination=a"), "{line}");
    pushed.push(numbered.push(&narthex, 50));
    assert_eq!(narthex.get("/-/ready").status, 200, "inputs accept all the same");
    let tally = receiver.wait_for_all(&sum(&pushed.iter().collect::<Vec<_>>()));
    assert_eq!((tally.out_of_order, tally.unexpected), (0, 0));
    assert_eq!(restarts(), Some(1.0));
    assert_eq!(narthex.process.terminate(SOON).code(), Some(0));
}

#[test]
fn collection_continues_after_a_panic() {
    let (folder, receiver) = (tempfile::tempdir().unwrap(), FakeReceiver::start());
    let narthex = start(folder.path(), &receiver, "{host: {interval: 1s, collectors: none}, self: true}");
    let collections = || narthex.metric("narthex_collections_total").unwrap_or_default();
    wait_until("a collection", SOON, || collections() > 0.0);
    panic(&narthex, "collect");
    wait_until("the restart", SOON, || restarts(&narthex, "task=\"collect\"") == Some(1.0));
    let before = collections();
    wait_until("another collection", SOON, || collections() > before);
    assert_eq!(narthex.process.terminate(SOON).code(), Some(0));
}

#[test]
fn a_panicking_request_is_answered_500_without_other_effects() {
    let (folder, receiver, numbered) =
        (tempfile::tempdir().unwrap(), FakeReceiver::start(), Numbered::default());
    let narthex = start(folder.path(), &receiver, NOTHING);
    assert_eq!(narthex.post("/-/panic/request", &[], b"").status, 500);
    assert_eq!(narthex.get("/-/ready").status, 200);
    let pushed = numbered.push(&narthex, 10);
    receiver.wait_for_all(&pushed);
}

#[test]
fn without_the_environment_variable_no_route_triggers_a_panic() {
    let narthex = Narthex::start(PROGRAM, &["--to", &FakeReceiver::start().write_url()]);
    assert_eq!(narthex.post("/-/panic/request", &[], b"").status, 404);
}
