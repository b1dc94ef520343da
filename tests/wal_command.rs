//! `narthex wal` on logs of narthex, running and damaged, and of the real Prometheus; what it exports is
//! imported by the real promtool.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test reports"
)]

mod log;

use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use support::folder::unpack;
use support::narthex;
use support::prometheus::Options;
use support::wire::{self, Series, Version};
use support::{Answer, FakeReceiver, Narthex, Peers, Prometheus, SOON, now_ms, wait_until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_narthex");

/// A destination that nobody serves.
const NOWHERE: &str = "http://127.0.0.1:1";

/// `narthex wal ARGUMENTS`: the exit code, standard output and standard error.
fn wal(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(PROGRAM).arg("wal").args(arguments).stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// The same where it has to succeed, and to have nothing to say beside its output.
#[track_caller]
fn wal_ok(arguments: &[&str]) -> String {
    let (code, out, error) = wal(arguments);
    assert_eq!((code, &*error), (0, ""), "{out}");
    out
}

/// Starts a narthex whose samples stay in the log.
fn undelivered(data: &Path) -> Narthex {
    with_config(data, &format!("remote_write:\n- url: {NOWHERE}/api/v1/write\n"))
}

/// Starts a narthex that has only what is pushed to it.
fn with_config(data: &Path, config: &str) -> Narthex {
    let alone = "collect:\n  host:\n    collectors: none\n  self: false\n";
    let config = narthex::config(data, &format!("{config}{alone}"));
    Narthex::start_in(PROGRAM, "run", data, &["--config", &config])
}

fn push(narthex: &Narthex, series: &[Series]) {
    wire::push(&narthex.write_url(), Version::V2, series).unwrap().expect_success();
}

/// A log by a narthex that was killed: `count` series with two samples each.
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

    // The folder of the log itself will do.
    let dumped = wal_ok(&["dump", data.join("wal").to_str().unwrap(), "--format", "json"]);
    let samples: Vec<Value> = dumped.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(samples.iter().filter(|entry| entry["kind"] == "sample").count(), 4000);
    let from = format!("{}", now as f64 / 1000.0);
    let some = wal_ok(&["dump", dir, "--from", &from]);
    assert_eq!(some.lines().filter(|line| line.starts_with("sample")).count(), 2000);
}

#[test]
fn a_reader_that_has_seen_enough_ends_a_dump_quietly() {
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
fn damage_is_named_and_repaired_and_the_damaged_file_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    written(folder.path(), 5000);
    let segment = folder.path().join("wal/00000000");
    let whole = std::fs::read(&segment).unwrap();
    let mut damaged = whole.clone();
    // In the second page.
    damaged[40_000] ^= 8;
    std::fs::write(&segment, &damaged).unwrap();

    let (code, text, error) = wal(&["verify", dir]);
    assert_eq!((code, &*error), (1, ""), "{text}");
    let line = text.lines().find(|line| line.contains("checksum is")).unwrap();
    let (file, rest) = line.split_once(": ").unwrap();
    assert_eq!(Path::new(file), segment);
    let numbers: Vec<usize> =
        rest.split(' ').filter_map(|word| word.trim_end_matches(':').parse().ok()).collect();
    let [bytes, offset] = numbers[..2] else { panic!("{rest}") };
    assert!((offset..offset + bytes).contains(&40_000), "{line}");
    assert!(text.contains(": damaged,"), "{text}");
    let behind =
        text.lines().find(|line| line.starts_with("Prometheus would delete what is behind")).unwrap();
    assert!(behind.ends_with("00000000 and every later segment"), "{text}");

    let text = wal_ok(&["repair", dir]);
    assert!(text.contains("the damaged file is kept as") && text.contains("00000000.damaged"), "{text}");
    assert_eq!(std::fs::read(segment.with_extension("damaged")).unwrap(), damaged);
    // The labels in the lost record cannot be brought back. The log is whole all the same.
    for words in ["belong to series whose labels are lost", "whole now", "Prometheus opens it"] {
        assert!(text.contains(words), "{words} in {text}");
    }
    let text = wal_ok(&["verify", dir]);
    for words in [
        ": whole,",
        "bytes were lost to damage and replaced by a repair",
        "belong to series whose labels are lost",
        "Prometheus opens it",
    ] {
        assert!(text.contains(words), "{words} in {text}");
    }
    assert!(!text.contains("checksum"), "{text}");
    assert!(wal_ok(&["repair", dir]).contains("nothing to repair"));
    // What narthex itself has set aside is told of, too.
    std::fs::create_dir(folder.path().join("damaged")).unwrap();
    std::fs::write(folder.path().join("damaged/000001-wal-00000000"), [0; 2048]).unwrap();
    let (_, text, _) = wal(&["verify", dir]);
    assert!(text.contains("1 files, 2.00 KiB\n  000001-wal-00000000: 2.00 KiB\n"), "{text}");
    // narthex goes on with it.
    undelivered(folder.path()).process.kill();
}

#[test]
fn a_log_whose_first_segment_is_gone_is_damaged_until_it_is_repaired() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    // A segment for each start.
    (0..3).for_each(|_| written(folder.path(), 10));
    assert!(wal_ok(&["verify", dir]).contains("Prometheus opens it"));
    std::fs::remove_file(folder.path().join("wal/00000000")).unwrap();
    std::fs::write(folder.path().join("wal/9"), "").unwrap();

    let (code, text, _) = wal(&["verify", dir]);
    assert_eq!(code, 1, "{text}");
    for words in [
        "wal: segment 0 is missing",
        "wal/9: is not part of the log, but Prometheus takes it for segment 9",
        ": damaged,",
        "Prometheus does not start on it: segment ",
        "to repair it: narthex wal repair",
    ] {
        assert!(text.contains(words), "{words} in {text}");
    }
    let text = wal_ok(&["repair", dir]);
    for words in ["made an empty checkpoint", "renamed to", "whole now", "Prometheus opens it"] {
        assert!(text.contains(words), "{words} in {text}");
    }
    assert!(folder.path().join("wal/misnamed-9").exists());
    wal_ok(&["verify", dir]);
    assert!(wal_ok(&["repair", dir]).contains("nothing to repair"));

    // A gap that is too wide for empty segments is a mistake somewhere else.
    std::fs::write(folder.path().join("wal/00100000"), "").unwrap();
    let (code, _, error) = wal(&["repair", dir]);
    assert!(code == 1 && error.contains("move the segments that do not belong to this log"), "{error}");
}

/// A slot of the state file, as the crate `storage` documents it.
fn state_slot(sequence: u64, segment: u64, end: u64) -> Vec<u8> {
    let mut slot = Vec::new();
    for number in [sequence, 1_000_000, segment + 1, segment, end] {
        slot.extend_from_slice(&number.to_le_bytes());
    }
    slot.extend_from_slice(&1u32.to_le_bytes());
    slot.extend_from_slice(&segment.to_le_bytes());
    slot.extend_from_slice(&end.to_le_bytes());
    slot.resize(4092, 0);
    // A fragment's checksum is that of its data, which is all that is needed here.
    let part = ::wal::page::FragmentType::Full;
    let crc = ::wal::page::Header::of(part, ::wal::Compression::None, &slot).crc;
    [&crc.to_le_bytes()[..], &slot].concat()
}

#[test]
fn what_lies_behind_the_stored_end_of_a_segment_is_no_damage() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    written(folder.path(), 100);
    let segment = folder.path().join("wal/00000000");
    let mut bytes = std::fs::read(&segment).unwrap();
    let end = bytes.len();
    bytes.extend_from_slice(b"what a failed sync left");
    std::fs::write(&segment, &bytes).unwrap();
    assert_eq!(wal(&["verify", dir]).0, 1);
    let slots = [state_slot(1000, 0, end as u64), state_slot(1001, 0, end as u64)].concat();
    std::fs::write(folder.path().join("state"), slots).unwrap();
    let text = wal_ok(&["verify", dir]);
    assert!(
        text.contains(&format!("ends at {end}, closed there by a failed sync; the 23 bytes behind")),
        "{text}"
    );
    let text = wal_ok(&["repair", dir]);
    assert!(text.contains("23 bytes behind its end were cut"), "{text}");
    assert_eq!(std::fs::read(&segment).unwrap().len(), end);
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

#[test]
fn the_folder_of_a_running_prometheus_is_not_repaired() {
    let Some(peers) = support::peers() else { return };
    let prometheus = Prometheus::start(&peers, Options::receiver());
    let now = now_ms();
    let series = [Series::new("up", &[], &[(now, 1.0)])];
    wire::push(&prometheus.write_url(), Version::V1, &series).unwrap().expect_success();
    let dir = prometheus.data.to_str().unwrap();
    let (code, text, _) = wal(&["verify", dir]);
    assert!(code == 0 && text.contains("in use by"), "{text}");
    let (code, _, error) = wal(&["repair", dir]);
    assert!(code == 1 && error.contains("stop that one first"), "{error}");
}

/// Dumps the log of a narthex that was killed, for longer than a line of progress waits: nobody reads what is
/// written for a while, and then all of it.
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
fn progress_is_quiet_where_standard_error_is_no_terminal() {
    let output = slow_dump(Stdio::piped()).wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn on_a_terminal_progress_is_one_line_that_goes_when_the_work_is_done() {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&screen).unwrap();
    unlockpt(&screen).unwrap();
    let terminal = ptsname(&screen, Vec::new()).unwrap().into_string().unwrap();
    let terminal = std::fs::OpenOptions::new().read(true).write(true).open(terminal).unwrap();
    let mut dump = slow_dump(terminal);
    assert!(dump.wait().unwrap().success());
    // Nothing more comes once nobody has the other end.
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

#[test]
fn what_is_no_log_is_told_with_2() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    let file = format!("{dir}/file");
    std::fs::write(&file, "").unwrap();
    for command in ["stat", "dump", "verify", "repair"] {
        let (code, _, error) = wal(&[command, dir]);
        assert!(code == 2 && error.contains(&format!("no segments in {dir}")), "{error}");
        for no_folder in [format!("{dir}/nope"), file.clone()] {
            let (code, _, error) = wal(&[command, &no_folder]);
            assert!(code == 2 && error.contains(&format!("there is no folder {no_folder}")), "{error}");
        }
    }
    let (code, _, error) = wal(&["dump", "--dead", dir]);
    assert!(code == 2 && error.contains("no dead letters"), "{error}");
    assert_eq!(wal(&["dump", dir, "--from", "soon"]).0, 2);
}

/// As the page and the documents write them, in the environment of the narthex that keeps the data.
#[test]
fn commands_without_a_folder_find_the_default_one() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("narthex");
    let typed = |command: &str| {
        let output = Command::new(PROGRAM)
            .args(command.split(' ').skip(1))
            .env("STATE_DIRECTORY", &data)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    let commands = [
        "narthex wal stat",
        "narthex wal verify",
        "narthex wal dump",
        "narthex wal repair",
        "narthex wal dump --dead",
    ];
    for command in commands {
        let (code, _, error) = typed(command);
        let words = format!("the default data folder {} does not exist", data.display());
        assert!(code == 2 && error.contains(&words), "{command}: {error}");
    }
    let receiver = FakeReceiver::start();
    receiver.answer(|_| Answer::status(400).body("out of bounds"));
    let config = format!("remote_write:\n- {{url: '{}', name: central}}\n", receiver.write_url());
    let narthex = with_config(&data, &config);
    narthex.post("/api/v1/import/prometheus", &[], b"sold 17 1700000000000\n").expect_success();
    wait_until("the dead letter", SOON, || typed("narthex wal dump --dead").1.contains("sold"));
    assert_eq!(narthex.process.terminate(SOON).code(), Some(0));
    for command in commands {
        let (code, out, error) = typed(command);
        assert_eq!(code, 0, "{command}: {out}{error}");
    }
    assert_eq!(typed(&format!("narthex wal stat --data {}", data.display())).0, 0);
    let (_, dead, _) = typed("narthex wal dump --dead");
    let letter = dead.lines().find(|line| line.contains("sold")).unwrap();
    assert!(letter.starts_with("central"), "the destination's name: {letter}");
    assert!(letter.contains(" 2023-11-14T22:13:20.000Z 17: 400 Bad Request: out of bounds"), "{letter}");
}

/// Imports a dump in OpenMetrics as blocks into the data folder of a Prometheus that does not run.
fn import(peers: &Peers, dump: &Path, data: &Path) {
    let output = Command::new(&peers.promtool)
        .args(["tsdb", "create-blocks-from", "openmetrics"])
        .args([dump, data])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool: {text}{}", String::from_utf8_lossy(&output.stdout));
}

/// Series and their samples by time, NaN by its bits.
type Stored = BTreeMap<support::Labels, Vec<(i64, u64)>>;

fn stored(prometheus: &Prometheus, selector: &str, window: &str, at: i64) -> Stored {
    let bits = |value: f64| if value.is_nan() { 0 } else { value.to_bits() };
    let raw = prometheus.raw_at(selector, window, at);
    raw.into_iter()
        .map(|series| {
            let samples = series.samples.iter().map(|&(time, value)| (time, bits(value)));
            (series.labels, samples.collect())
        })
        .collect()
}

#[test]
fn a_dump_that_promtool_imports_has_every_value_at_its_time() {
    let Some(peers) = support::peers() else { return };
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let (narthex, start) = (undelivered(&data), now_ms() - 5 * 3_600_000);
    let values = [0.1, -0.0, 1e300, 5e-324, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 1_234_567_890.123];
    let series: Vec<Series> = (0..300i64)
        .map(|id| {
            let samples: Vec<_> =
                (0..20).map(|round| (start + round * 900_007, values[((id + round) % 8) as usize])).collect();
            let odd = format!("q\"uo\\te\nü {id}");
            let name = if id % 2 == 0 { "exported" } else { "exporté" };
            Series::new(name, &[("id", &id.to_string()), ("odd", &odd), ("zo né", "x")], &samples)
        })
        .collect();
    push(&narthex, &series);
    narthex.process.kill();
    let expected: Stored = log::samples(&data.join("wal"))
        .into_iter()
        .map(|(labels, samples)| {
            let bits = |bits: u64| if f64::from_bits(bits).is_nan() { 0 } else { bits };
            (labels, samples.into_iter().map(|(time, value)| (time, bits(value))).collect())
        })
        .collect();
    assert_eq!(expected.values().map(Vec::len).sum::<usize>(), 6000);

    let dump = folder.path().join("dump.om");
    wal_ok(&["dump", data.to_str().unwrap(), "--format", "openmetrics", "--out", dump.to_str().unwrap()]);
    let blocks = folder.path().join("prometheus");
    import(&peers, &dump, &blocks);
    let options = Options { data: Some(blocks), ..Options::default() };
    let prometheus = Prometheus::start(&peers, options);
    let there = stored(&prometheus, r#"{id=~".+"}"#, "6h", now_ms());
    assert_eq!(there.len(), 300);
    assert!(there == expected, "the values differ");
}

#[test]
fn a_log_of_prometheus_is_exported_too() {
    let Some(peers) = support::peers() else { return };
    let folder = tempfile::tempdir().unwrap();
    let data = fixture("server-checkpoint", folder.path());
    let (dir, dump) = (data.to_str().unwrap(), folder.path().join("dump.om"));
    wal_ok(&["dump", dir, "--format", "openmetrics", "--out", dump.to_str().unwrap()]);
    let stat: Value = serde_json::from_str(&wal_ok(&["stat", dir, "--json"])).unwrap();
    let blocks = folder.path().join("prometheus");
    import(&peers, &dump, &blocks);
    let prometheus = Prometheus::start(&peers, Options { data: Some(blocks), ..Options::default() });
    let newest = stat["max_time"].as_i64().unwrap();
    let there = stored(&prometheus, "requests_total", "1d", newest);
    let samples: usize = there.values().map(Vec::len).sum();
    assert_eq!((there.len(), samples as u64), (40, stat["floats"].as_u64().unwrap()));
}

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

/// Where the export comes from.
enum Export {
    Log,
    DeadLetters,
}

/// Six hours without the destination, by the samples' clock. Meanwhile others have pushed into it, so that
/// its head has moved on, and it takes nothing out of order: what narthex then delivers of the first five
/// hours is refused for good. The export brings it back.
fn six_hours(protobuf_message: &str, export: &Export) {
    let Some(peers) = support::peers() else { return };
    let folder = tempfile::tempdir().unwrap();
    let stored_at = folder.path().join("prometheus");
    let prometheus = |port| {
        let options = Options { data: Some(stored_at.clone()), port, ..Options::receiver() };
        Prometheus::start(&peers, options)
    };
    let destination = prometheus(None);
    let port = destination.port();
    let text = format!(
        "remote_write:\n- url: {}\n  protobuf_message: {protobuf_message}\n  queue_config:\n    batch_send_deadline: 100ms\n    min_backoff: 30ms\n    max_backoff: 100ms\n",
        destination.write_url()
    );
    let data = folder.path().join("data");
    let narthex = with_config(&data, &text);

    // The day: a sample each minute of six series, eight hours up to now.
    let now = now_ms();
    let day = |from: i64, to: i64| {
        for minute in from / MINUTE..to / MINUTE {
            let series: Vec<Series> = (0..6)
                .map(|id| {
                    let sample = (now + minute * MINUTE, (minute * 10 + id) as f64);
                    Series::new("day", &[("id", &id.to_string())], &[sample])
                })
                .collect();
            push(&narthex, &series);
        }
    };
    let count = |prometheus: &Prometheus| {
        stored(prometheus, "day", "9h", now + MINUTE).values().map(Vec::len).sum::<usize>()
    };
    day(-8 * HOUR, -6 * HOUR);
    wait_until("the first two hours", SOON, || count(&destination) == 6 * 120);
    destination.process.terminate(SOON);
    drop(destination);
    day(-6 * HOUR, 0);

    // Others reach it first, at another address.
    let elsewhere = prometheus(None);
    let fresh = [Series::new("fresh", &[], &[(now - MINUTE, 1.0), (now, 1.0)])];
    wire::push(&elsewhere.write_url(), Version::V1, &fresh).unwrap().expect_success();
    wait_until("its head to move on", SOON * 2, || {
        let oldest = elsewhere.metric("prometheus_tsdb_head_min_time_seconds").unwrap_or(0.0);
        oldest * 1000.0 > (now - 3 * HOUR) as f64
    });
    elsewhere.process.terminate(SOON);
    drop(elsewhere);

    let destination = prometheus(Some(port));
    let failed = || {
        let page = narthex.get("/metrics").text();
        let lines =
            page.lines().filter(|line| line.starts_with("prometheus_remote_storage_samples_failed_total{"));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum::<f64>() as usize
    };
    let whole = 6 * 8 * 60;
    wait_until("each sample to be delivered or refused", SOON * 2, || {
        failed() + count(&destination) == whole
    });
    let refused = failed();
    assert!((6 * 4 * 60..=6 * 6 * 60).contains(&refused), "{refused} were refused");
    let ids = stored(&destination, "day", "9h", now + MINUTE);
    // What it lacks lies between these two.
    let first_of_the_end =
        ids.values().flatten().map(|sample| sample.0).filter(|&at| at > now - 6 * HOUR).min();
    narthex.process.terminate(SOON);
    drop(destination);

    let dump = folder.path().join("dump.om");
    let (dir, out) = (data.to_str().unwrap(), dump.to_str().unwrap());
    match export {
        Export::Log => {
            let (from, to) = (now - 6 * HOUR, first_of_the_end.unwrap() - 1);
            let [from, to] = [from, to].map(|time| format!("{}", time as f64 / 1000.0));
            wal_ok(&["dump", dir, "--format", "openmetrics", "--from", &from, "--to", &to, "--out", out]);
        }
        Export::DeadLetters => {
            wal_ok(&["dump", "--dead", dir, "--format", "openmetrics", "--out", out]);
        }
    }
    let lines = std::fs::read_to_string(&dump).unwrap().lines().count();
    assert_eq!(lines, refused + 1, "a line for each, and the end");
    import(&peers, &dump, &stored_at);
    let destination = prometheus(None);
    let there = stored(&destination, "day", "9h", now + MINUTE);
    assert_eq!(there.len(), 6);
    for (labels, samples) in there {
        let id: i64 = labels["id"].parse().unwrap();
        let day = (-8 * 60..0).map(|minute| (now + minute * MINUTE, ((minute * 10 + id) as f64).to_bits()));
        assert_eq!(samples, day.collect::<Vec<_>>(), "{labels:?}");
    }
    assert_eq!(destination.raw_at("fresh", "9h", now + MINUTE)[0].samples.len(), 2);
}

#[test]
fn an_outage_of_six_hours_is_made_whole_from_the_log() {
    six_hours("io.prometheus.write.v2.Request", &Export::Log);
}

#[test]
fn an_outage_of_six_hours_is_made_whole_from_the_dead_letters() {
    six_hours("prometheus.WriteRequest", &Export::DeadLetters);
}
