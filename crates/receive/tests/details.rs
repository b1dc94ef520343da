//! What the doors promise besides: old things behind new ones, start timestamps, one commit for all doors,
//! groups that live for ever or are remembered for a month, and the Pushgateway's own JSON.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use axum::body::Body;
use common::{START, World};
use formats::compress::{Compressor, Encoding};
use formats::remote_write::{Encoder, Protocol};
use http::Request;
use model::Labels;
use serde_json::Value;
use std::time::Duration;

const V2: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
const DAY: Duration = Duration::from_secs(86_400);

/// A sample as a request of remote write.
fn written(protocol: Protocol, name: &str, time: i64, start: i64) -> Request<Body> {
    let mut encoder = Encoder::new(protocol);
    encoder.push_series(Labels::from_pairs([("__name__", name)]).as_ref(), None);
    encoder.push_float(time, start, 1.0);
    let body = Compressor::new().encode(Encoding::Snappy, encoder.finish()).unwrap().to_vec();
    let content_type = if protocol == Protocol::V2 { V2 } else { "application/x-protobuf" };
    let request = Request::post("/api/v1/write").header("content-type", content_type);
    request.body(Body::from(body)).unwrap()
}

#[tokio::test]
async fn what_comes_out_of_order_is_taken_by_every_door_that_takes_timestamps() {
    let mut world = World::new().await;
    let hours = |hours: i64| START - hours * 3_600_000;
    for protocol in [Protocol::V1, Protocol::V2] {
        for time in [START, hours(2), hours(1), hours(1000)] {
            assert_eq!(world.request(written(protocol, "m", time, 0)).await.status(), 204);
        }
        let times: Vec<i64> = world.lines().await.iter().map(|line| line.time).collect();
        assert_eq!(times, [START, hours(2), hours(1), hours(1000)], "{protocol:?}");
    }
    for time in [START, hours(2)] {
        assert_eq!(world.post("/api/v1/import/prometheus", &format!("m 1 {time}\n")).await, 204);
    }
    let times: Vec<i64> = world.lines().await.iter().map(|line| line.time).collect();
    assert_eq!(times, [START, hours(2)]);
}

/// Of all that came since: the series, and since when its values count.
async fn starts(world: &World, from: wal::Position) -> Vec<(String, i64)> {
    let (mut follower, end, mut starts) = (world.storage.follow(from), world.storage.end(), Vec::new());
    while follower.position() < end {
        let chunk = follower.next().await.unwrap();
        for point in chunk.points() {
            starts.push((chunk.batch.labels(point.series).to_string(), point.start_timestamp));
        }
    }
    starts.retain(|(series, _)| !series.starts_with("push_"));
    starts
}

#[tokio::test]
async fn a_start_is_kept_whichever_way_it_came() {
    let world = World::new().await;
    let from = world.storage.end();
    let text = "# TYPE c counter\nc_total 3\nc_created 1799999000.5\n# EOF\n";
    let open_metrics = "application/openmetrics-text; version=1.0.0";
    for (request, status) in
        [(Request::post("/api/v1/import/prometheus"), 204), (Request::put("/metrics/job/a"), 200)]
    {
        let request = request.header("content-type", open_metrics).body(Body::from(text)).unwrap();
        assert_eq!(world.request(request).await.status(), status);
    }
    assert_eq!(world.request(written(Protocol::V2, "w", START, START - 7)).await.status(), 204);
    let started = 1_799_999_000_500;
    let wanted = [("c_total", started), ("c_total{job=\"a\"}", started), ("w", START - 7)];
    assert_eq!(starts(&world, from).await, wanted.map(|(series, start)| (series.to_string(), start)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pushes_through_all_doors_are_committed_together() {
    const SENDERS: usize = 120;
    const PUSHES: usize = 5;
    let world = World::new().await;
    let router = world.doors.router();
    let mut tasks = tokio::task::JoinSet::new();
    for sender in 0..SENDERS {
        let router = router.clone();
        tasks.spawn(async move {
            for push in 0..PUSHES {
                let (request, status) = match sender % 4 {
                    0 => (
                        Request::put(format!("/metrics/job/j{sender}")).body(Body::from("m 1\n")).unwrap(),
                        200,
                    ),
                    1 => (Request::post("/api/v1/import/prometheus").body(Body::from("i 1\n")).unwrap(), 204),
                    2 => (written(Protocol::V1, "one", START + push as i64, 0), 204),
                    _ => (written(Protocol::V2, "two", START + push as i64, 0), 204),
                };
                let answer = tower::ServiceExt::oneshot(router.clone(), request).await.unwrap();
                assert_eq!(answer.status(), status);
            }
        });
    }
    tasks.join_all().await;
    // A group has its two times besides.
    let samples = SENDERS * PUSHES / 4 * (3 + 1 + 1 + 1);
    assert_eq!(world.storage.stats().samples.get(), samples as u64);
    let commits = world.storage.stats().commits.get();
    // A door with commits of its own would need as many as the slowest of four, each for itself.
    assert!(commits < (SENDERS * PUSHES / 3) as u64, "{commits} commits for {} pushes", SENDERS * PUSHES);
}

#[tokio::test]
async fn a_group_lives_for_ever_unless_somebody_says_otherwise() {
    let mut world = World::new().await;
    world.put("/metrics/job/a", "m 1\n").await;
    world.lines().await;
    world.clock.pass(1000 * DAY);
    world.doors.groups().take_turns().await.unwrap();
    let group = &world.doors.groups().status().await.unwrap()[0];
    assert_eq!((group.ttl_ms, group.expired_ms), (None, None));
    assert_eq!(world.texts().await.len(), 1);
    assert_eq!(world.doors.groups().stats().expirations.get(), 0);
}

#[tokio::test]
async fn the_times_of_an_expired_group_stay_for_thirty_days() {
    let world = World::new().await;
    world.put("/metrics/job/a?ttl=10m", "m 1\n").await;
    world.clock.pass(Duration::from_secs(600));
    world.doors.groups().take_turns().await.unwrap();
    assert_eq!(world.doors.groups().stats().expirations.get(), 1);
    world.clock.pass(30 * DAY - Duration::from_secs(1));
    world.doors.groups().take_turns().await.unwrap();
    assert_eq!(
        (world.doors.groups().all().await.unwrap().len(), world.doors.groups().stats().removed.get()),
        (1, 0)
    );
    world.clock.pass(Duration::from_secs(1));
    world.doors.groups().take_turns().await.unwrap();
    assert_eq!(
        (world.doors.groups().all().await.unwrap().len(), world.doors.groups().stats().removed.get()),
        (0, 1)
    );
}

#[tokio::test]
async fn a_delete_ends_the_times_of_an_expired_group_too() {
    let mut world = World::new().await;
    world.put("/metrics/job/a?ttl=10m", "m 1\n").await;
    world.clock.pass(Duration::from_secs(600));
    world.doors.groups().take_turns().await.unwrap();
    world.lines().await;
    assert_eq!(world.delete("/metrics/job/a").await, 202);
    let mut ended: Vec<String> =
        world.lines().await.iter().map(|line| format!("{} {}", line.series, line.value)).collect();
    ended.sort();
    assert_eq!(ended, ["push_failure_time_seconds{job=\"a\"} stale", "push_time_seconds{job=\"a\"} stale"]);
    assert_eq!(world.doors.groups().all().await.unwrap().len(), 0);
}

/// Without what is a moment.
fn timeless(json: &Value) -> Value {
    let mut json = json.clone();
    let groups = json["data"].as_array_mut().unwrap();
    groups.sort_by_key(|group| group["labels"].to_string());
    for group in groups {
        for family in group.as_object_mut().unwrap().values_mut() {
            if let Some(time) = family.get_mut("time_stamp") {
                assert!(time.as_str().unwrap().contains('T'), "{time}");
                *time = Value::Null;
            }
        }
        for name in ["push_time_seconds", "push_failure_time_seconds"] {
            let value = &mut group[name]["metrics"][0]["value"];
            if *value != "0" {
                assert!(value.as_str().unwrap().contains("e+09"), "{value}");
                *value = Value::Null;
            }
            // Said in other words.
            assert!(!group[name]["help"].as_str().unwrap().is_empty());
            group[name]["help"] = Value::Null;
        }
    }
    json
}

#[tokio::test]
async fn the_json_of_the_groups_is_the_pushgateways() {
    let Some(peers) = support::peers() else { return };
    let real = support::Pushgateway::start(&peers, &[]);
    let world = World::new().await;
    let body = "# HELP h H.\n# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 3\nh_sum 4.5\nh_count 3\n\
                # TYPE s summary\ns{quantile=\"0.5\"} 1\ns_sum 2\ns_count 3\n\
                # TYPE g gauge\ng{x=\"a\\\"b\"} 1e+07\ng{x=\"2\"} NaN\n# TYPE c counter\nc 0.25\nu 1\n";
    for (method, path, body) in [
        ("PUT", "/metrics/job/a", body),
        ("POST", "/metrics/job/b/instance/i/zone/z", "# TYPE g gauge\ng 2\n"),
        ("PUT", "/metrics/job/refused", "m 1 123\n"),
    ] {
        let url = format!("{}{path}", real.url());
        let there = support::http::request(method, &url, &[], Some(body.as_bytes())).unwrap();
        assert_eq!(world.send(method, path, body).await.0, there.status, "{path}");
    }
    let there = support::http::get(&format!("{}/api/v1/metrics", real.url())).unwrap();
    let (status, here) = world.send("GET", "/api/v1/metrics", "").await;
    assert_eq!(status, there.status);
    let here: Value = serde_json::from_str(&here).unwrap();
    assert_eq!(timeless(&here), timeless(&there.json()));

    let there = support::http::get(&format!("{}/api/v1/status", real.url())).unwrap().json();
    let here: Value = serde_json::from_str(&world.send("GET", "/api/v1/status", "").await.1).unwrap();
    let keys = |json: &Value| json["data"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!((&here["status"], keys(&here)), (&there["status"], keys(&there)));
}
