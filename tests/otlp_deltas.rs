//! narthex is killed again and again while clients of OTLP send deltas. Each client sends an unanswered request again,
//! byte for byte, until it is answered. In the end each total is the number of distinct requests, and nothing went back.
//!
//! It is killed six times, or as often as `NARTHEX_CRASH_ROUNDS` says.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a panic is how a test reports"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use support::narthex::{config_with, listening_url};
use support::process::{crash_rounds, free_port};
use support::{FakeReceiver, Process, SOON, http, wait_for};

const PROGRAM: &str = env!("CARGO_BIN_EXE_narthex");
const CLIENTS: u64 = 3;
const KILLS: u64 = 6;

/// A counter that went up by 1, and a histogram with one more observation, of 0.25.
fn body(series: u64, start: u64, time: u64) -> String {
    let point = format!(
        r#""startTimeUnixNano":"{start}","timeUnixNano":"{time}","attributes":[{{"key":"series","value":{{"intValue":{series}}}}}]"#
    );
    format!(
        r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[
        {{"name":"orders","sum":{{"isMonotonic":true,"aggregationTemporality":1,"dataPoints":[{{"asInt":1,{point}}}]}}}},
        {{"name":"wait","histogram":{{"aggregationTemporality":1,"dataPoints":[{{"count":1,"sum":0.25,
          "bucketCounts":[1,0],"explicitBounds":[0.5],{point}}}]}}}}]}}]}}]}}"#
    )
}

/// Sends a request until it is answered with 200, which says that all of it was kept.
fn send(url: &str, body: &str) {
    loop {
        match http::post(
            &format!("{url}/v1/metrics"),
            &[("content-type", "application/json")],
            body.as_bytes(),
        ) {
            Ok(answer) if answer.is_success() => {
                assert_eq!(answer.text(), "{}");
                return;
            }
            Ok(answer) if answer.status == 503 => {}
            Ok(answer) => panic!("{}: {}", answer.status, answer.text()),
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64
}

fn start(data: &Path, config: &str, address: &str) -> Process {
    let data = data.display().to_string();
    let process =
        Process::start(Path::new(PROGRAM), ["run", "--listen", address, "--data", &data, "--config", config]);
    listening_url(&process);
    process
}

/// `series_of`: the series that a client adds to.
fn totals_are_exact_after_many_kills(accumulate: &str, series_of: fn(u64) -> u64) {
    let folder = tempfile::tempdir().unwrap();
    let (data, receiver) = (folder.path().join("data"), FakeReceiver::start());
    let address = format!("127.0.0.1:{}", free_port());
    let section = format!("accumulate: {accumulate}");
    let config = config_with(folder.path(), &receiver.write_url(), "otlp", &section);
    let url = format!("http://{address}");
    let mut narthex = start(&data, &config, &address);
    let stop = AtomicBool::new(false);
    let sent: Vec<AtomicU64> = (0..CLIENTS).map(|_| AtomicU64::new(0)).collect();
    std::thread::scope(|scope| {
        for (client, sent) in (0..).zip(&sent) {
            let (url, stop) = (&url, &stop);
            scope.spawn(move || {
                let mut last = now();
                while !stop.load(Ordering::SeqCst) {
                    let time = now().max(last + 1);
                    send(url, &body(series_of(client), last, time));
                    last = time;
                    sent.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        for kill in 0..crash_rounds(KILLS) {
            std::thread::sleep(Duration::from_millis(50 + kill * 377 % 1500));
            narthex.kill();
            narthex = start(&data, &config, &address);
        }
        stop.store(true, Ordering::SeqCst);
    });
    let mut expected: BTreeMap<String, u64> = BTreeMap::new();
    for (client, sent) in (0..).zip(&sent) {
        *expected.entry(series_of(client).to_string()).or_default() += sent.load(Ordering::SeqCst);
    }
    println!("{accumulate}: {expected:?} requests over {} kills", crash_rounds(KILLS));
    for (name, factor) in [
        ("orders_total", 1.0),
        ("wait_count", 1.0),
        ("wait_sum", 0.25),
        ("wait_bucket 0.5", 1.0),
        ("wait_bucket +Inf", 1.0),
    ] {
        wait_for(name, SOON, || {
            let arrived = arrived(&receiver, name);
            let wanted: BTreeMap<String, f64> =
                expected.iter().map(|(series, sent)| (series.clone(), *sent as f64 * factor)).collect();
            if arrived == wanted { Ok(()) } else { Err(format!("{arrived:?} instead of {wanted:?}")) }
        });
    }
    assert!(narthex.terminate(SOON).success());
}

/// The last value of each series at the receiver. Samples may arrive again, but none shows less than an older one.
fn arrived(receiver: &FakeReceiver, name: &str) -> BTreeMap<String, f64> {
    let (name, le) = name.split_once(' ').unwrap_or((name, ""));
    let mut totals = BTreeMap::new();
    for (labels, samples) in receiver.arrivals() {
        if labels["__name__"] != name || labels.get("le").map_or("", |le| le) != le {
            continue;
        }
        let by_time: BTreeMap<i64, f64> = samples.into_iter().collect();
        let values: Vec<f64> = by_time.into_values().collect();
        assert!(values.is_sorted(), "{labels:?} goes back: {values:?}");
        totals.insert(labels["series"].clone(), *values.last().unwrap());
    }
    totals
}

#[test]
fn totals_of_single_senders_are_exact_after_many_kills() {
    totals_are_exact_after_many_kills("single", |client| client);
}

#[test]
fn totals_of_many_senders_are_exact_after_many_kills() {
    totals_are_exact_after_many_kills("many", |_| 0);
}
