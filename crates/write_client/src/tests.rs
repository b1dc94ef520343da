#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helper functions of tests")]

use super::*;
use formats::compress::{Compressor, Decompressor};
use support::FakeReceiver;
use support::receiver::{Answer as Scripted, Received};

fn post(protocol: Protocol) -> Post {
    let body = Compressor::new().encode(Encoding::Snappy, b"body body body").unwrap().to_vec();
    Post { protocol, body: body.into(), encoding: Encoding::Snappy, attempt: 0 }
}

fn to(url: &str) -> Settings {
    let timeout = Duration::from_secs(30);
    Settings { url: Url::parse(url).unwrap(), http: HttpConfig::default(), connections: 10, timeout }
}

async fn send(client: &Client) -> u16 {
    client.post(post(Protocol::V1), SystemTime::now(), &Default::default()).await.unwrap().status
}

/// Starts a receiver that behaves like VictoriaMetrics in some points.
fn victoria(sign: bool, offer: &'static str, takes_zstd: bool) -> FakeReceiver {
    let receiver = FakeReceiver::start();
    receiver.answer(move |request| {
        let answer = match (request.method.as_str(), request.header("content-encoding")) {
            ("GET", _) => Scripted::status(200).body(offer),
            (_, Some("zstd")) if !takes_zstd => Scripted::status(415),
            _ => Scripted::status(204),
        };
        if sign { answer.header("X-Server-Hostname", "host") } else { answer }
    });
    receiver
}

fn shown(request: &Received) -> String {
    let encoding = request.header("content-encoding").unwrap_or("-");
    format!("{} {} {encoding}", request.method, request.path)
}

async fn three_times(receiver: &FakeReceiver) -> (Client, Vec<String>) {
    let config = to(&format!("{}/write?a=1", receiver.url()));
    let client = Client::new(config).unwrap();
    for _ in 0..3 {
        assert_eq!(send(&client).await, 204);
    }
    let shown = receiver.requests().iter().map(shown).collect();
    (client, shown)
}

const SNAPPY: &str = "POST /write?a=1 snappy";
const ZSTD: &str = "POST /write?a=1 zstd";
const ASKED: &str = "GET /write?a=1&get_vm_proto_version=1 -";

#[tokio::test(flavor = "multi_thread")]
async fn victoria_metrics_gets_zstd_once_it_offers_it() {
    let receiver = victoria(true, "1", true);
    let (client, shown) = three_times(&receiver).await;
    assert_eq!(shown, [SNAPPY, ASKED, ZSTD, ZSTD]);
    {
        let requests = receiver.requests();
        assert_eq!(requests[2].header("x-victoriametrics-remote-write-version"), Some("1"));
        assert_eq!(requests[0].header("x-victoriametrics-remote-write-version"), None);
        let mut content = Vec::new();
        Decompressor::new().decode(Encoding::Zstd, &requests[2].body, 1000, &mut content).unwrap();
        assert_eq!(content, b"body body body");
    }
    client.post(post(Protocol::V2), SystemTime::now(), &Default::default()).await.unwrap();
    assert_eq!(receiver.requests()[4].header("content-encoding"), Some("snappy"), "2.0 knows snappy only");
}

#[tokio::test(flavor = "multi_thread")]
async fn sent_bytes_are_counted() {
    let mut sums = Vec::new();
    for takes_zstd in [true, false] {
        let receiver = victoria(true, "1", takes_zstd);
        let config = to(&format!("{}/write", receiver.url()));
        let (client, sent) = (Client::new(config).unwrap(), Counter::default());
        let body = Compressor::new().encode(Encoding::Snappy, &[7; 5000]).unwrap().to_vec();
        for _ in 0..3 {
            let post = Post {
                protocol: Protocol::V1,
                body: body.clone().into(),
                encoding: Encoding::Snappy,
                attempt: 0,
            };
            client.post(post, SystemTime::now(), &sent).await.unwrap();
        }
        let arrived: usize = receiver.requests().iter().map(|request| request.body.len()).sum();
        assert_eq!(sent.get(), arrived as u64);
        sums.push(arrived);
    }
    assert!(sums[0] < sums[1], "zstd is smaller, and what was refused went out, too: {sums:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_receivers_are_not_asked_and_a_no_is_respected() {
    assert_eq!(three_times(&victoria(false, "1", true)).await.1, [SNAPPY, SNAPPY, SNAPPY]);
    assert_eq!(three_times(&victoria(true, "0", true)).await.1, [SNAPPY, ASKED, SNAPPY, SNAPPY]);
}

#[tokio::test(flavor = "multi_thread")]
async fn receiver_that_refuses_zstd_gets_snappy_from_then_on() {
    let receiver = victoria(true, "1", false);
    let (_, shown) = three_times(&receiver).await;
    assert_eq!(shown, [SNAPPY, ASKED, ZSTD, SNAPPY, SNAPPY]);
}

#[tokio::test(flavor = "multi_thread")]
async fn zstd_body_is_sent_unchanged_if_zstd_was_agreed_on() {
    let zstd = Compressor::new().encode(Encoding::Zstd, b"body body body").unwrap().to_vec();
    for takes_zstd in [true, false] {
        let receiver = victoria(true, "1", takes_zstd);
        let config = to(&format!("{}/write?a=1", receiver.url()));
        let client = Client::new(config).unwrap();
        for _ in 0..3 {
            let body = zstd.clone().into();
            let post = Post { protocol: Protocol::V1, body, encoding: Encoding::Zstd, attempt: 0 };
            let answer = client.post(post, SystemTime::now(), &Default::default()).await;
            assert_eq!(answer.unwrap().status, 204);
        }
        let requests = receiver.requests();
        let shown: Vec<String> = requests.iter().map(shown).collect();
        let expected: &[&str] =
            if takes_zstd { &[SNAPPY, ASKED, ZSTD, ZSTD] } else { &[SNAPPY, ASKED, ZSTD, SNAPPY, SNAPPY] };
        assert_eq!(shown, expected);
        for (request, shown) in requests.iter().zip(&shown).filter(|(_, shown)| *shown != ASKED) {
            assert_eq!(request.content, b"body body body");
            assert_eq!(request.body == zstd, shown == ZSTD);
        }
    }
}
