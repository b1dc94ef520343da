//! Tests the promise about the data folder: narthex opens a folder of an earlier version, and delivers everything in
//! it. The folders are in `tests/fixtures`, in the state after a kill; see the README there.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test reports"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::folder::{pack, unpack};
use support::narthex::config;
use support::peers::repository;
use support::query::labels;
use support::wire::{self, Series, Version};
use support::{Answer, FakeReceiver, Labels, Narthex, SOON, wait_until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_narthex");

/// 2026-01-01 in milliseconds since 1970: the times of the samples are always the same.
const START: i64 = 1_767_225_600_000;

fn fixtures() -> PathBuf {
    repository().join("tests/fixtures")
}

/// Starts narthex on `data` with one destination, which is identified by its name at any address.
fn start(data: &Path, folder: &Path, receiver: &FakeReceiver) -> Narthex {
    let text = format!(
        "remote_write:\n- name: fixture\n  url: {}\n  queue_config:\n    batch_send_deadline: 50ms\n    min_backoff: 30ms\n    max_backoff: 100ms\ncollect:\n  host:\n    collectors: none\n  self: false\n",
        receiver.write_url()
    );
    Narthex::start_in(PROGRAM, "run", data, &["--config", &config(folder, &text)])
}

/// Ten series with this name, with one sample a minute.
fn series(name: &str, minutes: std::ops::Range<i64>) -> Vec<Series> {
    let samples: Vec<_> = minutes.map(|minute| (START + minute * 60_000, minute as f64 + 0.1)).collect();
    (0..10)
        .map(|id| Series::new(name, &[("id", &id.to_string()), ("job", "fixture"), ("utf", "ünï")], &samples))
        .collect()
}

/// A 1.0 request with a native histogram and an exemplar, encoded by hand.
fn histogram_request() -> Vec<u8> {
    let number = |out: &mut Vec<u8>, field: u8, number: u64| {
        out.push(field << 3);
        model::varint::put_u64(out, number);
    };
    let double = |out: &mut Vec<u8>, field: u8, value: f64| {
        out.push(field << 3 | 1);
        out.extend_from_slice(&value.to_le_bytes());
    };
    let mut span = Vec::new();
    number(&mut span, 1, 0);
    number(&mut span, 2, 1);
    let mut histogram = Vec::new();
    number(&mut histogram, 1, 5);
    double(&mut histogram, 3, 12.5);
    number(&mut histogram, 4, 0);
    double(&mut histogram, 5, 0.001);
    number(&mut histogram, 6, 2);
    wire::put_message(&mut histogram, 11, &span);
    wire::put_message(&mut histogram, 12, &[6]);
    number(&mut histogram, 15, START as u64);
    let mut exemplar = Vec::new();
    wire::put_label(&mut exemplar, "trace_id", "abc");
    double(&mut exemplar, 2, 0.25);
    number(&mut exemplar, 3, START as u64);
    let mut series = Vec::new();
    wire::put_label(&mut series, "__name__", "latency");
    wire::put_label(&mut series, "job", "fixture");
    wire::put_message(&mut series, 3, &exemplar);
    wire::put_message(&mut series, 4, &histogram);
    let mut request = Vec::new();
    wire::put_message(&mut request, 1, &series);
    wire::snappy(&request)
}

fn first_segment(data: &Path) -> u64 {
    wal::dir::segments(&wal::RealFilesystem, &data.join("wal")).unwrap()[0].number
}

/// Makes a fixture: `NARTHEX_MAKE_FIXTURE=tests/fixtures/data-v2 cargo test -p narthex --test data_folder --
/// --ignored`. Only for a new format: existing fixtures are never replaced.
#[test]
#[ignore = "makes a fixture"]
fn make() {
    let target = PathBuf::from(std::env::var("NARTHEX_MAKE_FIXTURE").expect("where the fixture goes"));
    let target = repository().join(target);
    assert!(!target.exists(), "{} is there: fixtures stay as they are", target.display());
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let receiver = FakeReceiver::start();
    let push = |narthex: &Narthex, series: &[Series]| {
        wire::push(&narthex.write_url(), Version::V2, series).unwrap().expect_success();
    };

    // Delivered, and its segment truncated.
    let narthex = start(&data, folder.path(), &receiver);
    push(&narthex, &series("delivered", 0..3));
    wait_until("delivery", SOON, || receiver.stored() == 30);
    narthex.process.terminate(SOON);
    let narthex = start(&data, folder.path(), &receiver);
    push(&narthex, &series("delivered", 3..4));
    wait_until("the first segment to go", SOON, || first_segment(&data) > 0);

    // Refused for good.
    receiver.answer(|request| match String::from_utf8_lossy(&request.content).contains("refused") {
        true => Answer::status(400).body("out of order sample"),
        false => Answer::success(request),
    });
    push(&narthex, &[Series::new("refused", &[("job", "fixture")], &[(START, 1.5)])]);
    wait_until("the dead letter", SOON, || {
        std::fs::read_dir(data.join("dead")).is_ok_and(|mut files| files.next().is_some())
    });

    // Not delivered, over two segments: floats, a histogram with an exemplar, a group with types and help.
    receiver.go_away();
    push(&narthex, &series("waiting", 0..30));
    narthex.post("/api/v1/write", &Version::V1.headers(), &histogram_request()).expect_success();
    narthex.process.kill();
    drop(narthex);
    let narthex = start(&data, folder.path(), &receiver);
    let group = "# HELP done_seconds When it was done.\n# TYPE done_seconds gauge\ndone_seconds 1767225600\n";
    narthex.post("/metrics/job/backup/instance/i", &[], group.as_bytes()).expect_success();
    push(&narthex, &series("waiting", 30..60));
    narthex.process.kill();
    pack(&data, &target);
}

fn by_hand(name: &str) -> Labels {
    labels([("__name__", name), ("job", "fixture")])
}

#[test]
fn everything_in_a_data_folder_of_version_1_is_delivered() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    unpack(&fixtures().join("data-v1"), &data);
    let wal = |command: &str, more: &str| {
        let mut narthex = Command::new(PROGRAM);
        narthex.args(["wal", command]).args(more.split_whitespace()).arg(&data);
        let output = narthex.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        text
    };
    assert!(wal("verify", "").contains(": whole,"));
    assert_eq!(
        wal("dump", "--dead"),
        "fixture: refused: refused{job=\"fixture\"} 2026-01-01T00:00:00.000Z 1.5: 400 Bad Request: out of order sample\n"
    );
    let stat: serde_json::Value = serde_json::from_str(&wal("stat", "--json")).unwrap();
    assert_eq!(stat["positions"].as_array().unwrap().len(), 1);
    let highest = stat["last_segment"].as_u64().unwrap();

    let receiver = FakeReceiver::start();
    let _narthex = start(&data, folder.path(), &receiver);
    let expected: BTreeMap<Labels, Vec<(i64, f64)>> = series("waiting", 0..60)
        .into_iter()
        .map(|series| (series.labels.into_iter().collect(), series.samples))
        .collect();
    wait_until("everything that waited", SOON, || {
        let there = receiver.arrivals();
        expected.keys().chain([&by_hand("latency")]).all(|series| {
            there.get(series).is_some_and(|samples| samples.len() >= expected.get(series).map_or(1, Vec::len))
        })
    });
    let group = labels([("__name__", "done_seconds"), ("instance", "i"), ("job", "backup")]);
    wait_until("the group", SOON, || receiver.arrivals().contains_key(&group));

    let there = receiver.arrivals();
    for (labels, samples) in &expected {
        assert_eq!(there[labels], *samples, "{labels:?}");
    }
    let (mut exemplars, mut helps) = (0, Vec::new());
    for request in receiver.requests().iter() {
        let seen = wire::visit(request.version(), &request.content, |series| {
            exemplars += series.exemplars.len();
            if series.labels_map() == group {
                helps.extend(series.metadata.map(|(_, help, _)| String::from_utf8_lossy(help).into_owned()));
            }
        });
        seen.unwrap();
    }
    assert_eq!(exemplars, 1);
    assert!(helps.contains(&"When it was done.".to_owned()), "{helps:?}");
    // Delivered and refused samples are not sent again.
    assert!(!there.keys().any(|labels| ["delivered", "refused"].contains(&labels["__name__"].as_str())));
    // No segment number is used twice.
    let newest = wal::dir::segments(&wal::RealFilesystem, &data.join("wal")).unwrap().last().unwrap().number;
    assert!(newest > highest, "{newest} after {highest}");
}
