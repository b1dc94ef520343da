//! The output of the commands: numbers, samples, progress.

use super::{PROGRAM, fixture, push, undelivered, wal, wal_ok, written};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use support::now_ms;
use support::wire::Series;

#[test]
fn the_log_of_a_running_narthex_is_counted_checked_and_dumped() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let (narthex, now) = (undelivered(&data), now_ms());
    let series: Vec<Series> = (0..2000)
        .map(|id| {
            let name = if id < 1500 { "many" } else { "few" };
            Series::new(name, &[("id", &id.to_string())], &[(now - 10_000, 1.0), (now, 2.0)])
        })
        .collect();
    push(&narthex, &series);
    let dir = data.to_str().unwrap();

    let stat: Value = serde_json::from_str(&wal_ok(&["stat", dir, "--json", "--top", "1"])).unwrap();
    assert_eq!(
        (&stat["owner"], &stat["floats"], &stat["series"]),
        (&"narthex".into(), &4000.into(), &2000.into())
    );
    assert_eq!((&stat["min_time"], &stat["max_time"]), (&(now - 10_000).into(), &now.into()));
    assert_eq!(stat["samples_per_second"], 400.0);
    assert_eq!(stat["top"], serde_json::json!([{"metric": "many", "references": 1500, "samples": 3000}]));
    let [destination] = &stat["positions"].as_array().unwrap()[..] else { panic!("{stat}") };
    assert!(destination["destination"].as_str().unwrap().contains("127.0.0.1"));
    assert!(destination["behind_bytes"].as_u64().unwrap() > 4000, "nothing was delivered: {destination}");
    let text = wal_ok(&["stat", dir]);
    for words in ["a log of narthex", "4,000 floats", "400.0 samples a second", "many", "http___127.0.0.1_1"]
    {
        assert!(text.contains(words), "{words} in {text}");
    }

    let (code, text, _) = wal(&["verify", dir]);
    assert_eq!(code, 0, "{text}");
    let pid = narthex.process.id();
    assert!(text.contains(&format!("in use by process {pid}")) && text.contains(": whole,"), "{text}");
    let (code, _, error) = wal(&["repair", dir]);
    assert_eq!(code, 1);
    assert!(error.contains(&format!("in use by process {pid}: stop that one first")), "{error}");

    // The folder of the log itself is accepted too.
    let dumped = wal_ok(&["dump", data.join("wal").to_str().unwrap(), "--format", "json"]);
    let samples: Vec<Value> = dumped.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(samples.iter().filter(|entry| entry["kind"] == "sample").count(), 4000);
    let from = format!("{}", now as f64 / 1000.0);
    let some = wal_ok(&["dump", dir, "--from", &from]);
    assert_eq!(some.lines().filter(|line| line.starts_with("sample")).count(), 2000);
}

#[test]
fn a_closed_output_ends_a_dump_without_error() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), 40_000);
    for format in ["text", "json", "openmetrics"] {
        let mut dump = Command::new(PROGRAM)
            .args(["wal", "dump", folder.path().to_str().unwrap(), "--format", format])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = String::new();
        BufReader::new(dump.stdout.take().unwrap()).read_line(&mut first).unwrap();
        let output = dump.wait_with_output().unwrap();
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
        assert_eq!(output.status.code(), Some(0), "{format}: {first}");
    }
}

#[test]
fn logs_of_the_real_prometheus_are_whole_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    for (name, floats, histograms, exemplars) in [
        ("server-snappy", 243, 36, 18),
        ("server-zstd", 243, 36, 18),
        ("server-none", 243, 36, 18),
        ("agent-snappy", 240, 36, 0),
        ("agent-checkpoint", 160, 24, 0),
        ("server-checkpoint", 200, 0, 0),
        ("server-2.42", 240, 0, 0),
    ] {
        let data = fixture(name, folder.path());
        let dir = data.to_str().unwrap();
        let stat: Value = serde_json::from_str(&wal_ok(&["stat", dir, "--json"])).unwrap();
        assert_eq!(stat["owner"], "prometheus");
        let counted = ["floats", "histograms", "exemplars"].map(|key| stat[key].as_u64().unwrap());
        assert_eq!(counted, [floats, histograms, exemplars], "{name}");
        assert!(wal_ok(&["verify", dir]).contains(": whole,"), "{name}");
        let entries: u64 = stat["records"]
            .as_object()
            .unwrap()
            .values()
            .map(|record| record["entries"].as_u64().unwrap())
            .sum();
        assert_eq!(wal_ok(&["dump", dir, "--format", "json"]).lines().count() as u64, entries, "{name}");
        assert!(wal_ok(&["repair", dir]).contains("nothing to repair"), "{name}");
    }
}

/// Dumps the log of a killed narthex for longer than the delay of a progress line: at first the output is not read, and
/// then all of it.
fn slow_dump(error: impl Into<Stdio>) -> Child {
    let folder = tempfile::tempdir().unwrap();
    let narthex = undelivered(folder.path());
    let now = now_ms();
    for push_number in 0..20 {
        let series: Vec<Series> = (0..2000)
            .map(|id| Series::new("many", &[("id", &id.to_string())], &[(now + push_number, id as f64)]))
            .collect();
        push(&narthex, &series);
    }
    narthex.process.kill();
    let mut dump = Command::new(PROGRAM)
        .args(["wal", "dump", folder.path().to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(error)
        .spawn()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_millis(700));
    let mut written = 0;
    let (mut stdout, mut piece) = (dump.stdout.take().unwrap(), vec![0; 1 << 16]);
    while let Ok(count @ 1..) = stdout.read(&mut piece) {
        written += count;
    }
    assert!(written > 1 << 20, "{written} bytes");
    dump
}

#[test]
fn progress_is_hidden_if_standard_error_is_no_terminal() {
    let output = slow_dump(Stdio::piped()).wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn on_a_terminal_progress_is_one_line_that_disappears_at_the_end() {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&screen).unwrap();
    unlockpt(&screen).unwrap();
    let terminal = ptsname(&screen, Vec::new()).unwrap().into_string().unwrap();
    let terminal = std::fs::OpenOptions::new().read(true).write(true).open(terminal).unwrap();
    let mut dump = slow_dump(terminal);
    assert!(dump.wait().unwrap().success());
    // Reading ends after the other end is closed.
    let mut seen = Vec::new();
    let _ = std::fs::File::from(screen).read_to_end(&mut seen);
    let seen = String::from_utf8(seen).unwrap();
    let lines: Vec<&str> = seen.split('\r').collect();
    let [before, shown @ .., end] = &*lines else { panic!("{seen:?}") };
    assert_eq!((*before, *end), ("", "\x1b[K"), "taken away at the end: {seen:?}");
    assert!(!shown.is_empty() && !seen.contains('\n'), "{seen:?}");
    for line in shown {
        assert!(line.starts_with("dumping [") && line.ends_with(" s left\x1b[K"), "{seen:?}");
    }
}
