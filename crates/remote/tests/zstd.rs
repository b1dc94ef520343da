//! zstd to a real VictoriaMetrics, through a relay that records the requests.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use common::{World, wait_for_number};
use formats::remote_write::Protocol;
use model::{Batch, Clock, Labels, Series};
use support::receiver::{Answer, Received};
use support::{FakeReceiver, VictoriaMetrics, peers};

/// Forwards a request unchanged, and returns the answer.
fn relay(to: &str, request: &Received) -> Answer {
    let own = ["host", "content-length", "connection"];
    let headers: Vec<(&str, &str)> = request
        .headers
        .iter()
        .filter(|(name, _)| !own.contains(&name.as_str()))
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let body = (request.method == "POST").then_some(&request.body[..]);
    let url = format!("{to}{}", request.path);
    let response = support::http::request(&request.method, &url, &headers, body).unwrap();
    let mut answer = Answer::status(response.status).body(&response.text());
    answer.headers = response.headers.into_iter().filter(|(name, _)| !own.contains(&name.as_str())).collect();
    answer.stored = (200..300).contains(&response.status);
    answer
}

#[test]
fn victoria_metrics_accepts_zstd_with_every_value() {
    let Some(peers) = peers() else { return };
    let victoria = VictoriaMetrics::start(&peers);
    let between = FakeReceiver::start();
    let to = victoria.url().trim_end_matches('/').to_string();
    between.answer(move |request| relay(&to, request));
    let world = World::new();
    let mut config = world.config();
    config.url = remote::Url::parse(&between.write_url()).unwrap();
    let destination = world.start(config);
    let stats = destination.stats().clone();
    let start = world.clock.now_ms() - 60_000;
    for step in 0..20_i64 {
        let mut batch = Batch::new();
        for number in 0..50 {
            let id = number.to_string();
            let labels = Labels::from_pairs([("__name__", "by_zstd"), ("id", &id)]);
            let series = batch.add_series(labels.as_ref(), Series::NO_METADATA);
            batch.push_float(series, start + step * 1000, f64::from(number) * 0.5 + step as f64);
        }
        world.runtime.block_on(world.storage().append(batch)).unwrap();
        wait_for_number("delivery", 50 * (step as u64 + 1), || stats.delivered.get().samples);
    }
    assert_eq!(stats.protocol(), Some(Protocol::V1));
    assert!(world.stop(destination).complete);
    let encodings: Vec<_> = between
        .requests()
        .iter()
        .filter(|request| request.method == "POST" && request.stored)
        .map(|request| request.header("content-encoding").unwrap_or_default().to_string())
        .collect();
    let zstd = encodings.iter().filter(|encoding| *encoding == "zstd").count();
    assert!(zstd >= 15, "after the first requests all are in zstd: {encodings:?}");
    assert!(between.requests().iter().all(|request| request.decoding.is_none()));
    victoria.flush();
    let got = victoria.export("by_zstd");
    assert_eq!(got.len(), 50);
    for series in got {
        let number: f64 = series.labels["id"].parse().unwrap();
        let expected: Vec<(i64, f64)> =
            (0..20).map(|step| (start + step * 1000, number * 0.5 + step as f64)).collect();
        assert_eq!(series.samples, expected);
    }
}
