//! An upgrade with a data folder and a configuration file of narthex 0.1.0. The file is valid unchanged, the folder
//! opens, and everything in it arrives. The fixture is `tests/fixtures/data-0.1.0`; the README there describes its
//! content.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test reports"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::folder::{pack, unpack};
use support::narthex::config;
use support::peers::repository;
use support::receiver::Received;
use support::wire::{self, Series, Version, visit};
use support::{Answer, FakeReceiver, Narthex, SOON, wait_for, wait_until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_narthex");
/// The placeholder for the receiver's address in the fixture's configuration.
const PROXY: &str = "http://127.0.0.1:1";
const SERIES: usize = 20;
/// 2026-01-01 in milliseconds since 1970: the time of the first samples.
const START: i64 = 1_767_225_600_000;
/// The number of series whose samples the destination `fails` refuses or fails when the fixture is made.
const REFUSED: usize = 3;
const PARKED: usize = 17;
const HOSTS: [&str; 5] = ["one", "two", "three", "fails", "away"];

/// Series and time.
type Sample = (usize, i64);
/// How many times each host has stored each sample.
type Stored = BTreeMap<String, BTreeMap<Sample, usize>>;

fn fixture() -> PathBuf {
    repository().join("tests/fixtures/data-0.1.0")
}

fn host(request: &Received) -> String {
    request.path.strip_prefix("http://").unwrap().split('/').next().unwrap().to_string()
}

fn samples(request: &Received) -> Vec<Sample> {
    let mut all = Vec::new();
    visit(request.version(), &request.content, |view| {
        let number = view.labels_map().get("number").and_then(|number| number.parse().ok());
        all.extend(view.samples.iter().filter_map(|(time, _)| Some((number?, *time))));
    })
    .unwrap();
    all
}

fn stored(receiver: &FakeReceiver) -> Stored {
    let mut all = Stored::new();
    for request in receiver.requests().iter().filter(|request| request.stored) {
        let of_host = all.entry(host(request)).or_default();
        samples(request).into_iter().for_each(|sample| *of_host.entry(sample).or_default() += 1);
    }
    all
}

fn start(program: &str, data: &Path, folder: &Path, receiver: &FakeReceiver, text: &str) -> Narthex {
    let text = text.replace(PROXY, &receiver.url());
    Narthex::start_in(program, "run", data, &["--config", &config(folder, &text)])
}

/// Pushes one sample of each series.
fn push(narthex: &Narthex, time: i64) {
    let series =
        |number: usize| Series::new("m", &[("number", &number.to_string())], &[(time, number as f64)]);
    let all: Vec<Series> = (0..SERIES).map(series).collect();
    wire::push(&narthex.write_url(), Version::V1, &all).unwrap().expect_success();
}

/// Makes the fixture; the README of the fixtures names the program.
#[test]
#[ignore = "makes a fixture"]
fn make() {
    let program = std::env::var("NARTHEX_OLD_PROGRAM").expect("the program of version 0.1.0");
    let target = fixture();
    let now = std::fs::read_to_string(target.join("narthex.yml")).unwrap();
    assert!(!target.join("state.zst").exists(), "{} is there: fixtures stay as they are", target.display());
    let before = now.replace("http://two/write, http://three/write", "http://one/write, http://two/write");
    assert_ne!(before, now);
    let (folder, receiver) = (tempfile::tempdir().unwrap(), FakeReceiver::start());
    let data = folder.path().join("data");
    let hurts = Arc::new(AtomicBool::new(false));
    let is_hurt = hurts.clone();
    receiver.answer(move |request| {
        let (host, all) = (host(request), samples(request));
        let holds = |number| all.iter().any(|(series, _)| *series == number);
        match (host.as_str(), is_hurt.load(Ordering::SeqCst)) {
            (_, false) => Answer::success(request),
            ("fails", true) if holds(REFUSED) => Answer::status(400).body("out of bounds"),
            ("fails", true) if holds(PARKED) => Answer::status(500).body("what is this?"),
            ("fails", true) => Answer::success(request),
            (_, true) => Answer::status(503),
        }
    });
    let mut times = vec![START];
    let narthex = start(&program, &data, folder.path(), &receiver, &before);
    push(&narthex, times[0]);
    wait_until("everything of the first time", SOON, || {
        stored(&receiver).values().map(BTreeMap::len).sum::<usize>() == 3 * SERIES
    });
    assert!(narthex.process.terminate(SOON).success());
    hurts.store(true, Ordering::SeqCst);
    let narthex = start(&program, &data, folder.path(), &receiver, &now);
    let group = "# HELP done_seconds When it was done.\n# TYPE done_seconds gauge\ndone_seconds 5\n";
    narthex.post("/metrics/job/backup/instance/i", &[], group.as_bytes()).expect_success();
    let is_parked = || {
        let files = std::fs::read_dir(data.join("dead")).into_iter().flatten();
        files.flatten().any(|file| file.file_name().to_string_lossy().contains(".aside-"))
    };
    // Other samples have to be accepted meanwhile.
    wait_until("a sample to be parked", Duration::from_secs(90), || {
        times.push(times.last().unwrap() + 1000);
        push(&narthex, *times.last().unwrap());
        std::thread::sleep(Duration::from_secs(1));
        is_parked()
    });
    narthex.process.kill();
    drop(narthex);
    pack(&data, &target);
    let rows = |stored: BTreeMap<Sample, usize>| stored.into_keys().collect::<Vec<_>>();
    let stored: BTreeMap<String, Vec<Sample>> =
        stored(&receiver).into_iter().map(|(host, stored)| (host, rows(stored))).collect();
    let (mut dead, mut parked) = (0, 0);
    for file in std::fs::read_dir(data.join("dead")).unwrap() {
        let (path, bytes) = file.map(|file| (file.path(), std::fs::read(file.path()).unwrap())).unwrap();
        if path.to_string_lossy().contains(".aside-") {
            // The number of samples, from the header of an entry.
            parked += u32::from_le_bytes(bytes[24..28].try_into().unwrap());
        } else {
            dead += bytes.iter().filter(|byte| **byte == b'\n').count();
        }
    }
    let known = serde_json::json!({ "times": times, "stored": stored, "dead": dead, "parked": parked });
    std::fs::write(target.join("stored.json"), serde_json::to_string(&known).unwrap()).unwrap();
}

fn run(arguments: &[&str]) -> String {
    let output = Command::new(PROGRAM).args(arguments).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[test]
fn everything_in_a_data_folder_of_0_1_0_arrives_after_an_upgrade() {
    let (folder, receiver) = (tempfile::tempdir().unwrap(), FakeReceiver::start());
    let data = folder.path().join("data");
    unpack(&fixture(), &data);
    let text = std::fs::read_to_string(fixture().join("narthex.yml")).unwrap();
    run(&["check", &config(folder.path(), &text)]);
    let dead = run(&["wal", "dump", "--dead", data.to_str().unwrap()]);
    let known: serde_json::Value =
        serde_json::from_slice(&std::fs::read(fixture().join("stored.json")).unwrap()).unwrap();
    let times: Vec<i64> = serde_json::from_value(known["times"].clone()).unwrap();
    let before: BTreeMap<String, Vec<Sample>> = serde_json::from_value(known["stored"].clone()).unwrap();
    let refused: Vec<&str> =
        dead.lines().filter(|line| line.contains("400 Bad Request: out of bounds")).collect();
    assert_eq!(
        (refused.len(), dead.lines().count()),
        (known["dead"].as_u64().unwrap() as usize, refused.len())
    );
    assert!(refused.iter().all(|line| line.contains(&format!("number=\"{REFUSED}\""))), "{dead}");

    let narthex = start(PROGRAM, &data, folder.path(), &receiver, &text);
    // At each of the three entries each sample arrived before the upgrade or arrives now.
    let copies = |entry: &[&str]| {
        let mut copies: BTreeMap<Sample, usize> = BTreeMap::new();
        let now = stored(&receiver);
        for host in entry {
            before
                .get(*host)
                .into_iter()
                .flatten()
                .for_each(|sample| *copies.entry(*sample).or_default() += 1);
            for (sample, count) in now.get(*host).into_iter().flatten() {
                *copies.entry(*sample).or_default() += count;
            }
        }
        copies
    };
    let all: Vec<Sample> =
        (0..SERIES).flat_map(|series| times.iter().map(move |time| (series, *time))).collect();
    for entry in [&HOSTS[..3], &HOSTS[3..4], &HOSTS[4..]] {
        wait_for("the backlog of an entry", SOON, || {
            let copies = copies(entry);
            let is_exempt = |sample: &Sample| entry == &HOSTS[3..4] && [REFUSED, PARKED].contains(&sample.0);
            let missing =
                all.iter().filter(|sample| !copies.contains_key(sample) && !is_exempt(sample)).count();
            if missing == 0 { Ok(()) } else { Err(format!("{missing} samples are missing at {entry:?}")) }
        });
    }
    // Parked samples are retried every five minutes. crates/remote/tests/data_folder.rs tests their arrival with a
    // clock that can be advanced.
    let parked = known["parked"].as_f64().unwrap();
    wait_until("the parked samples to be shown", SOON, || {
        let metric = narthex.get("/metrics").text();
        let mut lines = metric.lines().filter(|line| line.starts_with("narthex_remote_aside_points{"));
        lines.any(|line| line.contains("remote_name=\"fails\"") && line.ends_with(&format!(" {parked}")))
    });
    let page = narthex.get("/metrics").text();
    assert!(page.lines().any(|line| line.starts_with("done_seconds{") && line.ends_with(" 5")), "{page}");
    wait_until("the group's samples", SOON, || {
        let series = receiver.arrivals();
        series.keys().any(|labels| labels["__name__"] == "done_seconds" && labels["site"] == "north")
    });
    assert_eq!(narthex.process.terminate(SOON).code(), Some(0));
}
