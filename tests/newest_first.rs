//! `catch_up: newest_first` with a real Prometheus that accepts samples out of order. narthex is killed during an
//! outage and during the delivery of the backlog. The newest samples arrive before the backlog, and everything arrives
//! in the end.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is how a test reports")]

use std::collections::BTreeMap;
use support::narthex::config;
use support::prometheus::Options;
use support::wire::{self, Series, Version};
use support::{Narthex, Prometheus, SOON, now_ms, wait_until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_narthex");
const SERIES: usize = 100;
/// The pushes during the outage, each five seconds of sample time: twenty minutes.
const PUSHES: i64 = 240;

struct Pusher {
    expected: BTreeMap<String, Vec<(i64, f64)>>,
}

impl Pusher {
    fn push(&mut self, narthex: &Narthex, timestamp: i64) {
        let series: Vec<Series> = (0..SERIES)
            .map(|number| {
                let (id, sample) = (number.to_string(), (timestamp, timestamp as f64 + number as f64));
                self.expected.entry(id.clone()).or_default().push(sample);
                Series::new("live", &[("id", &id)], &[sample])
            })
            .collect();
        wire::push(&narthex.write_url(), Version::V2, &series).unwrap().expect_success();
    }
}

fn stored(prometheus: &Prometheus) -> BTreeMap<String, Vec<(i64, f64)>> {
    let raw = prometheus.raw("live", "1h");
    raw.into_iter().map(|series| (series.labels["id"].clone(), series.samples)).collect()
}

fn count(stored: &BTreeMap<String, Vec<(i64, f64)>>) -> usize {
    stored.values().map(Vec::len).sum()
}

#[test]
fn the_newest_samples_arrive_before_the_backlog_and_all_arrive() {
    let Some(peers) = support::peers() else { return };
    let kept = tempfile::tempdir().unwrap();
    let options = |port| Options {
        data: Some(kept.path().join("data")),
        out_of_order_window: Some("1h".into()),
        port,
        ..Options::receiver()
    };
    let prometheus = Prometheus::start(&peers, options(None));
    let port = prometheus.port();
    let folder = tempfile::tempdir().unwrap();
    // Small requests, so that the delivery of the backlog takes some time.
    let text = format!(
        "remote_write:\n- url: {}\n  name: live\n  catch_up: newest_first\n  out_of_order_window: 1h\n  queue_config:\n    batch_send_deadline: 50ms\n    max_backoff: 500ms\n    max_samples_per_send: 1\n    max_shards: 2\ncollect:\n  host:\n    collectors: none\n  self: false\n",
        prometheus.write_url()
    );
    let config = config(folder.path(), &text);
    let data = folder.path().join("narthex");
    let start = || Narthex::start_in(PROGRAM, "run", &data, &["--config", &config]);
    let newest_first = |narthex: &Narthex| {
        narthex.get("/api/v1/status/remote_write").json()["destinations"][0]["newest_first"] == true
    };

    let mut pusher = Pusher { expected: BTreeMap::new() };
    let narthex = start();
    let begin = now_ms() - (PUSHES + 60) * 5000;
    pusher.push(&narthex, begin - 5000);
    wait_until("the first samples", SOON, || count(&stored(&prometheus)) == SERIES);
    prometheus.process.kill();
    drop(prometheus);
    for push in 0..PUSHES {
        pusher.push(&narthex, begin + push * 5000);
    }
    let end = begin + PUSHES * 5000;
    narthex.process.kill();
    drop(narthex);
    let mut narthex = start();
    let prometheus = Prometheus::start(&peers, options(Some(port)));

    for round in 0..2 {
        wait_until("the newest to go first", SOON, || newest_first(&narthex));
        let now = now_ms();
        pusher.push(&narthex, now);
        wait_until("the newest in Prometheus", SOON, || {
            stored(&prometheus).values().any(|samples| samples.last().is_some_and(|(time, _)| *time >= now))
        });
        let there = stored(&prometheus);
        let of_backlog = there.values().flatten().filter(|(time, _)| *time < end).count();
        let backlog = SERIES * (PUSHES as usize + 1);
        assert!(of_backlog < backlog, "all {backlog} of the backlog were there before the newest");
        println!("the newest is there with {of_backlog} of {backlog} before it");
        if round == 0 {
            narthex.process.kill();
            drop(narthex);
            narthex = start();
        }
    }
    wait_until("everything in Prometheus", SOON * 4, || stored(&prometheus) == pusher.expected);
    wait_until("one queue again", SOON, || !newest_first(&narthex));
    let refused = narthex.metric("prometheus_remote_storage_samples_failed_total").unwrap_or(0.0);
    assert_eq!(refused, 0.0);
}

#[test]
fn newest_first_without_a_window_is_refused_with_the_missing_key() {
    let folder = tempfile::tempdir().unwrap();
    let text = "remote_write:\n- url: http://h/api/v1/write\n  catch_up: newest_first\n";
    let mut check = std::process::Command::new(PROGRAM);
    let output = check.arg("check").arg(config(folder.path(), text)).output().unwrap();
    let text =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("newest_first") && text.contains("out_of_order_window"), "{text}");
}
