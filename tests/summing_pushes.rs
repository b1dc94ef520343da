//! narthex is killed repeatedly while clients add to groups and lines of StatsD arrive. Each client repeats an
//! unanswered push, byte for byte, until it is answered; `narthex push --add` does this through its spool. In the end
//! each total of pushes is the number of distinct pushes. StatsD has lost at most the lines of one interval for each
//! kill, and no total ever decreased.
//!
//! narthex is killed six times, or `NARTHEX_CRASH_ROUNDS` times.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test reports"
)]

use std::collections::BTreeMap;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use support::narthex::{config_with, listening_url};
use support::process::{crash_rounds, free_port};
use support::{FakeReceiver, Process, Pushgateway, SOON, http, wait_for};

const PROGRAM: &str = env!("CARGO_BIN_EXE_narthex");
const CLIENTS: u64 = 3;
const KILLS: u64 = 6;
/// The interval at which totals of StatsD are appended.
const INTERVAL: Duration = Duration::from_secs(1);
/// The number of StatsD lines a second, each with a counter and a timer.
const LINES_A_SECOND: u32 = 200;

/// Runs `narthex push --add`; the push waits in the spool if it can't be sent.
fn push(url: &str, spool: &Path) -> bool {
    let mut command = Command::new(PROGRAM);
    command.args(["push", "--job", "spooled", "--add", "--type", "counter", "pushed_total=1"]);
    command.args(["--gateway", url, "--spool"]).arg(spool);
    command.env_remove("NARTHEX_TO").env_remove("NARTHEX_GATEWAY").env_remove("NARTHEX_LOG");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
}

/// Sends one push until it is answered with 200.
fn add(url: &str, client: u64, number: u64) {
    let key = format!("{client}-{number}");
    let headers = [("Idempotency-Key", key.as_str())];
    let body = b"# TYPE pushed_total counter\npushed_total 1\n";
    loop {
        let at = format!("{url}/add/metrics/job/client/client/{client}");
        match http::post(&at, &headers, body) {
            Ok(answer) if answer.is_success() => return,
            Ok(answer) if answer.status == 503 => {}
            Ok(answer) => panic!("{}: {}", answer.status, answer.text()),
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// Starts narthex at a fixed address, so that the spool's target stays the same.
fn start(data: &Path, config: &str, address: &str) -> Process {
    let data = data.display().to_string();
    let process =
        Process::start(Path::new(PROGRAM), ["run", "--listen", address, "--data", &data, "--config", config]);
    listening_url(&process);
    process
}

/// Sends lines of StatsD until `stop`, and returns the time of each. While narthex does not listen, a line can't be
/// sent, and its sender gets an error.
fn send_lines(path: &Path, stop: &AtomicBool) -> Vec<Instant> {
    let socket = UnixDatagram::unbound().unwrap();
    let mut sent = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        if socket.send_to(b"lines:1|c\nwait:5|ms", path).is_ok() {
            sent.push(Instant::now());
        }
        std::thread::sleep(Duration::from_secs(1) / LINES_A_SECOND);
    }
    sent
}

#[test]
fn totals_are_exact_after_many_kills() {
    let folder = tempfile::tempdir().unwrap();
    let (data, spool) = (folder.path().join("data"), folder.path().join("spool"));
    let (receiver, socket) = (FakeReceiver::start(), folder.path().join("dsd.socket"));
    let address = format!("127.0.0.1:{}", free_port());
    let statsd = format!("listen_unixgram: '{}', interval: {}s", socket.display(), INTERVAL.as_secs());
    let config = config_with(folder.path(), &receiver.write_url(), "statsd", &statsd);
    let url = format!("http://{address}");
    let mut narthex = start(&data, &config, &address);
    let stop = AtomicBool::new(false);
    let (sent, spooled): (Vec<AtomicU64>, _) =
        ((0..CLIENTS).map(|_| AtomicU64::new(0)).collect(), AtomicU64::new(0));
    let mut killed = Vec::new();
    let lines = std::thread::scope(|scope| {
        for (client, sent) in (0..).zip(&sent) {
            let (url, stop) = (&url, &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    add(url, client, sent.fetch_add(1, Ordering::SeqCst));
                }
            });
        }
        scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                spooled.fetch_add(1, Ordering::SeqCst);
                assert!(push(&url, &spool), "it is sent, or waits in the spool");
            }
        });
        let lines = scope.spawn(|| send_lines(&socket, &stop));
        for kill in 0..crash_rounds(KILLS) {
            // Some runs end before the first interval, others after several.
            std::thread::sleep(Duration::from_millis(100 + kill * 377 % 2500));
            killed.push(Instant::now());
            narthex.kill();
            narthex = start(&data, &config, &address);
        }
        stop.store(true, Ordering::SeqCst);
        lines.join().unwrap()
    });
    // The next push sends the waiting ones. This may need several pushes, because a delivery has a deadline.
    wait_for("the spool to be sent", SOON, || {
        spooled.fetch_add(1, Ordering::SeqCst);
        assert!(push(&url, &spool));
        match waiting(&spool) {
            0 => Ok(()),
            waiting => Err(format!("{waiting} wait")),
        }
    });
    let groups = http::get(&format!("{url}/api/v1/metrics")).unwrap().json();
    let mut expected: Vec<(String, u64)> = sent
        .iter()
        .enumerate()
        .map(|(client, sent)| (client.to_string(), sent.load(Ordering::SeqCst)))
        .collect();
    expected.push((String::new(), spooled.load(Ordering::SeqCst)));
    let mut totals = Vec::new();
    for group in groups["data"].as_array().unwrap() {
        let client = group["labels"]["client"].as_str().unwrap_or_default().to_string();
        let value = group["pushed_total"]["metrics"][0]["value"].as_str().unwrap();
        totals.push((client, value.parse::<f64>().unwrap() as u64));
    }
    expected.sort();
    totals.sort();
    assert_eq!(totals, expected, "each distinct push counts once");
    wait_for("the totals to arrive", SOON, || {
        let arrived = arrived(&receiver, "pushed_total");
        if arrived == expected { Ok(()) } else { Err(format!("{arrived:?} instead of {expected:?}")) }
    });
    // A stop appends the lines of the last interval.
    assert!(narthex.terminate(SOON).success());
    // Lines that were sent within an interval before a kill may be lost, and also lines that arrived while that
    // interval was appended.
    let window = INTERVAL * 5 / 4;
    let may_be_lost =
        |sent: &&Instant| killed.iter().any(|killed| **sent <= *killed && **sent + window > *killed);
    let (most, least) = (lines.len(), lines.len() - lines.iter().filter(may_be_lost).count());
    for name in ["lines", "wait_count"] {
        let [(_, total)] = arrived(&receiver, name)[..] else { panic!("one series of {name}") };
        println!("{name}: {total} of {most} lines after {} kills, at least {least}", killed.len());
        assert!((least..=most).contains(&(total as usize)), "{name}: {total} of {most}, at least {least}");
    }
}

/// The last total of each client at the receiver. Samples may arrive again, but none is less than an older one.
fn arrived(receiver: &FakeReceiver, name: &str) -> Vec<(String, u64)> {
    let mut totals = Vec::new();
    for (labels, samples) in receiver.arrivals() {
        if labels["__name__"] != name {
            continue;
        }
        let by_time: BTreeMap<i64, f64> = samples.into_iter().collect();
        let values: Vec<f64> = by_time.into_values().collect();
        assert!(values.is_sorted(), "{labels:?} goes back: {values:?}");
        let client = labels.get("client").cloned().unwrap_or_default();
        totals.push((client, *values.last().unwrap() as u64));
    }
    totals.sort();
    totals
}

/// The number of entries in the spools.
fn waiting(spool: &Path) -> usize {
    let folders = std::fs::read_dir(spool).into_iter().flatten().flatten();
    let files = folders.flat_map(|folder| std::fs::read_dir(folder.path()).into_iter().flatten().flatten());
    files.filter(|file| file.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit())).count()
}

/// A Pushgateway has no such path, so it does not change its groups.
#[test]
fn a_pushgateway_answers_404_and_overwrites_nothing() {
    let Some(peers) = support::peers() else { return };
    let gateway = Pushgateway::start(&peers, &[]);
    let put = http::request(
        "PUT",
        &format!("{}/metrics/job/spooled", gateway.url()),
        &[],
        Some(b"pushed_total 5\n"),
    );
    put.unwrap().expect_success();
    let folder = tempfile::tempdir().unwrap();
    assert!(!push(gateway.url(), folder.path()), "an operator has to look at it");
    assert_eq!(waiting(folder.path()), 1);
    assert_eq!(gateway.metric(r#"pushed_total{instance="",job="spooled"}"#), Some(5.0));
}
