//! A killed test process leaves no child processes.

use std::path::Path;
use support::{Process, SOON, wait_until};

/// This is not a test: the killed process runs it, from the same binary.
#[test]
#[ignore = "the other test starts it"]
fn starts_a_child_and_stays() {
    let child = Process::start(Path::new("/bin/sleep"), ["600"]);
    eprintln!("child {}", child.id());
    let _ = child.wait(SOON * 10);
}

#[test]
fn a_killed_test_process_takes_its_children_along() {
    if support::process::find_in_path("setpriv").is_none() {
        support::peers::shout("SKIPPED: there is no setpriv here (util-linux)");
        return;
    }
    let arguments = ["--ignored", "--exact", "starts_a_child_and_stays", "--nocapture"];
    let other = Process::start(&std::env::current_exe().unwrap(), arguments);
    let line = other.wait_for_line("child ", SOON);
    let pid = line.rsplit(' ').next().unwrap().to_string();
    let name = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    wait_until("the child to run", SOON, || name().contains("(sleep)"));
    // The child leads a process group of its own, so killing this group does not reach it.
    other.kill();
    wait_until("the child's end", SOON, || !name().contains("(sleep)") || name().contains(") Z "));
}
