//! `narthex wal` on logs of running narthexes, on damaged logs, and on logs of the real Prometheus. The real promtool
//! imports the exports.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test reports"
)]

mod damage;
mod export;
mod folder;
#[path = "../log/mod.rs"]
mod log;
mod output;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::folder::unpack;
use support::narthex;
use support::wire::{self, Series, Version};
use support::{Narthex, now_ms};

const PROGRAM: &str = env!("CARGO_BIN_EXE_narthex");

/// A destination without a server.
const NOWHERE: &str = "http://127.0.0.1:1";

/// `narthex wal ARGUMENTS`: the exit code, standard output and standard error.
fn wal(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(PROGRAM).arg("wal").args(arguments).stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// The same for a command that has to succeed without messages.
#[track_caller]
fn wal_ok(arguments: &[&str]) -> String {
    let (code, out, error) = wal(arguments);
    assert_eq!((code, &*error), (0, ""), "{out}");
    out
}

/// Runs a command as narthex displays it, in a shell in another folder.
fn typed(command: &str) -> (i32, String, String) {
    let own = command.strip_prefix("narthex ").unwrap();
    let output =
        Command::new("sh").args(["-c", &format!("'{PROGRAM}' {own}")]).current_dir("/").output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// Starts a narthex whose samples stay in the log.
fn undelivered(data: &Path) -> Narthex {
    with_config(data, &format!("remote_write:\n- url: {NOWHERE}/api/v1/write\n"))
}

/// Starts a narthex that has no samples except pushed ones.
fn with_config(data: &Path, config: &str) -> Narthex {
    let alone = "collect:\n  host:\n    collectors: none\n  self: false\n";
    let config = narthex::config(data, &format!("{config}{alone}"));
    Narthex::start_in(PROGRAM, "run", data, &["--config", &config])
}

fn push(narthex: &Narthex, series: &[Series]) {
    wire::push(&narthex.write_url(), Version::V2, series).unwrap().expect_success();
}

/// Writes the log of a killed narthex: `count` series with two samples each.
fn written(data: &Path, count: usize) {
    let (narthex, now) = (undelivered(data), now_ms());
    let series: Vec<Series> = (0..count)
        .map(|id| Series::new("written", &[("id", &id.to_string())], &[(now - 1000, 0.5), (now, id as f64)]))
        .collect();
    push(&narthex, &series);
    narthex.process.kill();
}

fn fixture(name: &str, folder: &Path) -> PathBuf {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wal/tests/fixtures").join(name);
    let to = folder.join(name);
    unpack(&from, &to);
    to
}
