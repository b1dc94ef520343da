//! 500 connections push at once to every HTTP input, while one client sends a byte a second.
//!
//! `cargo test -p narthex --test many_connections -- --nocapture` shows the durations of the answers.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is how a test reports")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};
use support::wire::{Series, Version, encode, snappy};
use support::{FakeReceiver, Narthex, now_ms};

const CONNECTIONS: usize = 500;
/// The number of pushes of each connection, and of samples in each push.
const PUSHES: usize = 4;
const SAMPLES: usize = 1000;
const DOORS: [&str; 4] = ["import", "pushgateway", "remote_write_v1", "remote_write_v2"];
/// The maximum of memory, in bytes: requests (192 MiB, from their bodies to the commit), the log's tail (32 MiB), a
/// destination's queue (32 MiB), 100,000 series of groups (40 MiB), known series (32 MiB), and 64 MiB for the program
/// (16 MiB when idle), connections and the registry of 500,000 series.
const MEMORY: u64 = (192 + 32 + 32 + 40 + 32 + 64) << 20;

/// A text with [`SAMPLES`] samples, some 220 KB. All connections together send 110 MB.
fn body(connection: usize, push: usize) -> String {
    let pad = "x".repeat(160);
    let line = |n| format!("load{{connection=\"{connection}\",n=\"{n}\",pad=\"{pad}\"}} {push}\n");
    (0..SAMPLES).map(line).collect()
}

/// The protocol of a connection. Of ten connections two push to groups, two by remote write 1.0 and two by 2.0.
fn remote_write(connection: usize) -> Option<Version> {
    match connection % 10 {
        3 | 4 => Some(Version::V1),
        5 | 6 => Some(Version::V2),
        _ => None,
    }
}

/// The same samples as [`body`] by remote write: 200 KB before compression.
fn message(connection: usize, push: usize, version: Version) -> Vec<u8> {
    let (pad, time) = ("x".repeat(160), now_ms());
    let (connection, value) = (connection.to_string(), push as f64);
    let series = (0..SAMPLES).map(|n| {
        let n = n.to_string();
        let labels = [("connection", &*connection), ("n", &*n), ("pad", &*pad)];
        Series::new("load", &labels, &[(time, value)])
    });
    snappy(&encode(version, &series.collect::<Vec<_>>()))
}

fn head(connection: usize, length: usize) -> String {
    let request = match connection % 10 {
        1 => format!("PUT /metrics/job/load/connection/{connection}"),
        2 => format!("POST /metrics/job/load/connection/{connection}"),
        _ if remote_write(connection).is_some() => "POST /api/v1/write".to_string(),
        _ => "POST /api/v1/import/prometheus".to_string(),
    };
    let more = remote_write(connection).map_or(String::new(), |version| {
        let line = |(name, value): (&str, &str)| format!("{name}: {value}\r\n");
        version.headers().map(line).concat()
    });
    format!("{request} HTTP/1.1\r\nhost: localhost\r\n{more}content-length: {length}\r\n\r\n")
}

/// The status of the next answer. The answer has no body, or one with a declared length.
fn status(reader: &mut BufReader<TcpStream>) -> u16 {
    let (mut lines, mut length) = (Vec::new(), 0);
    loop {
        let mut line = String::new();
        assert!(reader.read_line(&mut line).unwrap() > 0, "closed after {lines:?}");
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        lines.push(line);
    }
    let mut rest = vec![0; length];
    reader.read_exact(&mut rest).unwrap();
    let status = lines[0].split(' ').nth(1).unwrap().parse().unwrap();
    assert!(status < 300, "{status}: {}", String::from_utf8_lossy(&rest));
    status
}

/// Sends a push at one byte a second until `stop`. It must not have been answered by then.
fn drip(address: SocketAddr, stop: &AtomicBool) -> usize {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(head(1, 1000).replace("/load/", "/slow/").as_bytes()).unwrap();
    let mut sent = 0;
    let mut next = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        if Instant::now() >= next {
            stream.write_all(b"x").unwrap();
            sent += 1;
            next += Duration::from_secs(1);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    stream.set_nonblocking(true).unwrap();
    let answer = stream.read(&mut [0; 100]);
    assert!(answer.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock));
    sent
}

/// Sends pushes, each after the answer to the one before. Returns the durations of the answers.
fn push(address: SocketAddr, connection: usize, start: &Barrier) -> Vec<Duration> {
    let stream = TcpStream::connect(address).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    start.wait();
    let once = |push| {
        let body = match remote_write(connection) {
            Some(version) => message(connection, push, version),
            None => body(connection, push).into_bytes(),
        };
        let request = [head(connection, body.len()).as_bytes(), &body].concat();
        let begun = Instant::now();
        writer.write_all(&request).unwrap();
        status(&mut reader);
        begun.elapsed()
    };
    (0..PUSHES).map(once).collect()
}

#[test]
fn five_hundred_connections_stay_within_memory_and_are_served() {
    let receiver = FakeReceiver::start();
    let to = receiver.write_url();
    let arguments = ["--to", &*to, "--collect", "none", "--flush-deadline", "1s"];
    let narthex = Narthex::start(env!("CARGO_BIN_EXE_narthex"), &arguments);
    let address: SocketAddr = narthex.url().trim_start_matches("http://").parse().unwrap();
    let before = narthex.process.rss_bytes();

    let stop = Arc::new(AtomicBool::new(false));
    let slow = std::thread::spawn({
        let stop = stop.clone();
        move || drip(address, &stop)
    });
    let start = Barrier::new(CONNECTIONS);
    let begun = Instant::now();
    let mut times: Vec<Duration> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..CONNECTIONS)
            .map(|connection| {
                let small = std::thread::Builder::new().stack_size(256 << 10);
                let start = &start;
                small.spawn_scoped(scope, move || push(address, connection, start)).unwrap()
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let took = begun.elapsed();
    for door in DOORS {
        for answer in ["refused", "deferred"] {
            let name = format!(
                "narthex_receive_requests_total{{door=\"{door}\",input=\"{door}\",answer=\"{answer}\"}}"
            );
            assert_eq!(narthex.metric(&name), Some(0.0), "{name}");
        }
    }
    stop.store(true, Ordering::Relaxed);
    let dripped = slow.join().unwrap();
    times.sort();
    let (peak, processor) = (narthex.process.peak_rss_bytes(), narthex.process.cpu_seconds());
    println!(
        "{} pushes of {SAMPLES} samples (220 KB) over {CONNECTIONS} connections in {took:.1?}: p50 {:.2?}, p99 {:.2?}; \
         {processor:.1} s of a processor; memory {} MiB, {} MiB before; {dripped} bytes of the slow one",
        times.len(),
        times[times.len() / 2],
        times[times.len() * 99 / 100],
        peak >> 20,
        before >> 20,
    );
    assert!(peak < MEMORY, "{peak} bytes of memory");
    assert!(dripped > 1);
    let taken = |door: &str| {
        narthex.metric(&format!("narthex_receive_points_total{{door=\"{door}\",input=\"{door}\"}}")).unwrap()
            as usize
    };
    assert_eq!(DOORS.map(taken).iter().sum::<usize>(), CONNECTIONS * PUSHES * SAMPLES);
}
