//! Many senders at once, and one that is slow, over real connections.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use common::{START, World};
use formats::compress::{Compressor, Encoding};
use formats::remote_write::{Encoder, Protocol};
use model::Labels;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const CONNECTIONS: usize = 500;
const SERIES: usize = 1000;

/// A 1.0 request of `SERIES` series, some 250 KB decompressed.
fn body(sender: usize) -> Vec<u8> {
    let mut encoder = Encoder::new(Protocol::V1);
    for series in 0..SERIES {
        let (sender, series) = (sender.to_string(), series.to_string());
        let pad = "x".repeat(150);
        let pairs = [("__name__", "load"), ("sender", &*sender), ("series", &*series), ("pad", &*pad)];
        encoder.push_series(Labels::from_pairs(pairs).as_ref(), None);
        encoder.push_float(START, 0, 1.0);
    }
    Compressor::new().encode(Encoding::Snappy, encoder.finish()).unwrap().to_vec()
}

fn head(length: usize) -> String {
    format!("POST /api/v1/write HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n")
}

/// The status of the next answer on a connection.
async fn status(stream: &mut TcpStream) -> u16 {
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => answer.push(byte),
            Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&answer)),
        }
    }
    String::from_utf8(answer).unwrap()[9..12].parse().unwrap()
}

/// The most memory this process has had, in bytes.
fn peak_memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

async fn serve(world: &World) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = world.doors.router();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_senders_at_once_and_a_slow_one_stay_within_memory() {
    const MEMORY: usize = 16 << 20;
    let set = |options: &mut receive::Options| {
        options.decoded_bytes = 2 << 20;
        options.body_bytes = 2 << 20;
        options.intake.memory_bytes = MEMORY;
        options.intake.wait = Duration::from_secs(120);
        options.body_time = Duration::from_secs(3);
    };
    // The log's own limits, small enough that what is measured are the doors.
    let world = World::with(set, |storage| {
        storage.tail_bytes = 1 << 20;
        storage.group_bytes = 2 << 20;
    })
    .await;
    let address = serve(&world).await;

    let slow = tokio::spawn(async move {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(head(1000).as_bytes()).await.unwrap();
        let (mut read, mut write) = stream.split();
        let drip = async {
            // One byte a second, until the answer comes.
            while write.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            std::future::pending::<()>().await;
        };
        let mut answer = [0; 12];
        tokio::select! {
            read = read.read_exact(&mut answer) => { read.unwrap(); }
            () = drip => {}
        }
        String::from_utf8(answer.to_vec()).unwrap()
    });

    // Connected, and all but the last byte sent, before any may be answered.
    let mut streams = Vec::new();
    for sender in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let body = body(sender);
        stream.write_all(head(body.len()).as_bytes()).await.unwrap();
        streams.push((stream, body));
    }
    let before = peak_memory();
    let mut tasks = tokio::task::JoinSet::new();
    for (mut stream, body) in streams {
        tasks.spawn(async move {
            let start = Instant::now();
            stream.write_all(&body).await.unwrap();
            (status(&mut stream).await, start.elapsed())
        });
    }
    let mut times = Vec::new();
    while let Some(outcome) = tasks.join_next().await {
        let (status, time) = outcome.unwrap();
        assert_eq!(status, 204, "none is refused that is within limits");
        times.push(time);
    }
    times.sort();
    let grown = peak_memory().saturating_sub(before);
    println!(
        "p50 {:?}, p99 {:?}, memory grown by {grown} bytes",
        times[CONNECTIONS / 2],
        times[CONNECTIONS * 99 / 100]
    );
    assert_eq!(world.storage.stats().samples.get(), (CONNECTIONS * SERIES) as u64);
    // Bodies and batches (at most MEMORY), the log's own buffers and registry (500,000 series at some 30
    // bytes), and connections (8 KB to 16 KB of buffers each). Unbounded it would be some 400 MB.
    assert!(grown < MEMORY + (80 << 20), "{grown} bytes");
    assert_eq!(slow.await.unwrap(), "HTTP/1.1 408");
    assert_eq!(world.doors.intake().memory_free(), MEMORY);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pushes_to_groups_are_committed_together() {
    let world = World::new().await;
    let address = serve(&world).await;
    let mut tasks = tokio::task::JoinSet::new();
    for sender in 0..100 {
        tasks.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            for push in 0..10 {
                let body = format!("m {push}\n");
                let head = format!(
                    "PUT /metrics/job/j{sender} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                );
                stream.write_all(head.as_bytes()).await.unwrap();
                assert_eq!(status(&mut stream).await, 200);
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(world.storage.stats().samples.get(), 3000);
    let commits = world.storage.stats().commits.get();
    assert!(commits < 500, "{commits} commits for 1000 pushes");
    let groups = world.doors.groups().all().await.unwrap();
    assert!(groups.len() == 100 && groups.iter().all(|group| group.series() == 1));
}
