#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helper functions of tests")]

use super::*;
use formats::compress::{Compressor, Decompressor};
use std::net::SocketAddr;
use std::sync::Mutex;
use support::FakeReceiver;
use support::receiver::{Answer as Scripted, Received};

#[test]
fn redirects_stay_as_safe_as_they_were() {
    let from: Uri = "https://a/x?t=1".parse().unwrap();
    let to = |location| redirected(&from, location).map(|uri| uri.to_string());
    assert_eq!(to("/y"), Some("https://a/y".into()));
    assert_eq!(to("https://b/y"), Some("https://b/y".into()));
    assert_eq!(to("http://a/x"), None);
    assert_eq!(to("//b/y"), None);
    assert_eq!(to("y"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_elsewhere_is_told_nothing_of_who_we_are() {
    let (here, there) = (FakeReceiver::start(), FakeReceiver::start());
    let location = format!("{}/there", there.url());
    here.answer(move |request| match request.path.as_str() {
        "/write" => Scripted::status(307).header("Location", "/again"),
        _ => Scripted::status(307).header("Location", &location),
    });
    let url = here.url().replace("http://", "http://narthex:s3cret@");
    let mut config = RemoteWrite::to(Url::parse(&format!("{url}/write")).unwrap());
    config.headers.insert("X-Api-Key".into(), crate::config::Secret::new("s3cret"));
    assert_eq!(send(&Client::new(&config).unwrap()).await, 204);
    let names = |request: &Received| {
        let mut names: Vec<String> = request.headers.iter().map(|(name, _)| name.clone()).collect();
        names.sort();
        names
    };
    let (asked, redirected) = (here.requests(), there.requests());
    for request in asked.iter() {
        assert_eq!(request.header("x-api-key"), Some("s3cret"));
        assert!(request.header("authorization").is_some());
    }
    assert_eq!((asked.len(), redirected.len()), (2, 1));
    let secrets = ["authorization", "x-api-key"];
    let rest: Vec<String> =
        names(&asked[0]).into_iter().filter(|name| !secrets.contains(&name.as_str())).collect();
    assert_eq!(names(&redirected[0]), rest);
    assert_eq!(redirected[0].header("user-agent"), Some(USER_AGENT));
}

fn post(protocol: Protocol) -> Post {
    let body = Compressor::new().encode(Encoding::Snappy, b"body body body").unwrap().to_vec();
    Post { protocol, body: body.into(), encoding: Encoding::Snappy, attempt: 0 }
}

async fn send(client: &Client) -> u16 {
    client.post(post(Protocol::V1), SystemTime::now(), &Default::default()).await.unwrap().status
}

#[tokio::test]
async fn a_host_that_has_moved_is_found_however_busy_the_old_connections_are() {
    let address = |receiver: &FakeReceiver| -> SocketAddr { receiver.url()[7..].parse().unwrap() };
    let (old, new) = (FakeReceiver::start(), FakeReceiver::start());
    let table = Arc::new(Mutex::new(vec![address(&old)]));
    let mut lookup = Lookup::new(false);
    lookup.table = Some(table.clone());
    let config = RemoteWrite::to(Url::parse("http://receiver.example/").unwrap());
    let mut client = Client::with_lookup(&config, lookup).unwrap();
    assert_eq!(send(&client).await, 204);
    // A connection is free again once its own task, on this thread, has seen that the answer is through.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    *table.lock().unwrap() = vec![address(&new)];
    let soon = Instant::now() + CONNECTIONS_AGE / 2;
    assert!(!client.refresh_at(soon).unwrap());
    assert_eq!(send(&client).await, 204);
    assert_eq!((old.requests().len(), new.requests().len()), (2, 0), "the connection is kept");
    assert!(!client.refresh_at(soon + CONNECTIONS_AGE).unwrap(), "we are who we were");
    assert_eq!(send(&client).await, 204);
    assert_eq!((old.requests().len(), new.requests().len()), (2, 1));
}

/// A receiver as VictoriaMetrics is one, or as it is not.
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
    let config = RemoteWrite::to(Url::parse(&format!("{}/write?a=1", receiver.url())).unwrap());
    let client = Client::new(&config).unwrap();
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
async fn victoria_metrics_gets_zstd_once_it_has_said_so() {
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
async fn bytes_are_counted_as_they_went_out() {
    let mut sums = Vec::new();
    for takes_zstd in [true, false] {
        let receiver = victoria(true, "1", takes_zstd);
        let config = RemoteWrite::to(Url::parse(&format!("{}/write", receiver.url())).unwrap());
        let (client, sent) = (Client::new(&config).unwrap(), Counter::default());
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
async fn nobody_else_is_asked_and_a_no_is_a_no() {
    assert_eq!(three_times(&victoria(false, "1", true)).await.1, [SNAPPY, SNAPPY, SNAPPY]);
    assert_eq!(three_times(&victoria(true, "0", true)).await.1, [SNAPPY, ASKED, SNAPPY, SNAPPY]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_refuses_zstd_after_all_gets_the_same_in_snappy_and_from_then_on() {
    let receiver = victoria(true, "1", false);
    let (_, shown) = three_times(&receiver).await;
    assert_eq!(shown, [SNAPPY, ASKED, ZSTD, SNAPPY, SNAPPY]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_in_zstd_goes_out_as_it_is_where_that_has_been_agreed_on() {
    let zstd = Compressor::new().encode(Encoding::Zstd, b"body body body").unwrap().to_vec();
    for takes_zstd in [true, false] {
        let receiver = victoria(true, "1", takes_zstd);
        let config = RemoteWrite::to(Url::parse(&format!("{}/write?a=1", receiver.url())).unwrap());
        let client = Client::new(&config).unwrap();
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
