//! Groups over HTTP: what is pushed, sent anew, ended, limited, and kept over a restart.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use axum::body::Body;
use common::{START, World, answer};
use http::Request;
use std::time::Duration;

const TURN: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_push_is_in_the_log_when_it_is_answered() {
    let mut world = World::new().await;
    assert_eq!(world.put("/metrics/job/a/instance/b", "# TYPE m gauge\nm{x=\"1\"} 2\nm 3\n").await, 200);
    let lines = world.lines().await;
    let texts: Vec<String> = lines.iter().map(|line| format!("{} {}", line.series, line.value)).collect();
    assert_eq!(
        texts,
        [
            r#"m{instance="b",job="a",x="1"} 2"#,
            r#"m{instance="b",job="a"} 3"#,
            r#"push_time_seconds{instance="b",job="a"} 1800000000"#,
            r#"push_failure_time_seconds{instance="b",job="a"} 0"#,
        ]
    );
    assert!(lines.iter().all(|line| line.time == START));
    assert_eq!(world.storage.metadata(b"m").unwrap().kind, model::MetricType::Gauge);
}

#[tokio::test]
async fn labels_of_the_path_win_and_an_empty_instance_is_none() {
    let mut world = World::new().await;
    let body = "m{job=\"body\",instance=\"body\",x=\"body\"} 1\n";
    assert_eq!(world.put("/metrics/job/a/instance@base64/=/x/2", body).await, 200);
    assert_eq!(world.put("/metrics/job/b", "m{instance=\"body\"} 1\n").await, 200);
    assert_eq!(world.texts().await, [r#"m{instance="body",job="b"} 1 +0"#, r#"m{job="a",x="2"} 1 +0"#]);
}

#[tokio::test]
async fn a_post_replaces_families_and_a_put_the_group() {
    let mut world = World::new().await;
    let path = "/metrics/job/a";
    world.put(path, "a{x=\"1\"} 1\na{x=\"2\"} 2\nb 3\n").await;
    world.texts().await;
    assert_eq!(world.post(path, "a{x=\"2\"} 4\nc 5\n").await, 200);
    assert_eq!(
        world.texts().await,
        [r#"a{job="a",x="1"} stale +1"#, r#"a{job="a",x="2"} 4 +1"#, r#"c{job="a"} 5 +1"#]
    );
    assert_eq!(world.put(path, "b 6\n").await, 200);
    assert_eq!(
        world.texts().await,
        [r#"a{job="a",x="2"} stale +2"#, r#"b{job="a"} 6 +2"#, r#"c{job="a"} stale +2"#]
    );
    assert_eq!(world.post(path, "").await, 200);
    assert_eq!(world.texts().await, [] as [String; 0], "an empty POST renews the push time only");
    assert_eq!(world.put(path, "").await, 200);
    assert_eq!(world.texts().await, [r#"b{job="a"} stale +4"#]);
    assert_eq!(world.delete(path).await, 202);
    let lines = world.lines().await;
    let stale = |name: &str| {
        lines.iter().any(|line| line.series == format!("{name}{{job=\"a\"}}") && line.value == "stale")
    };
    assert!(stale("push_time_seconds") && stale("push_failure_time_seconds") && lines.len() == 2);
    assert_eq!(world.delete(path).await, 202, "also where there is none");
    assert_eq!(world.lines().await, []);
}

#[tokio::test]
async fn a_delete_takes_exactly_its_group() {
    let mut world = World::new().await;
    world.put("/metrics/job/a", "m 1\n").await;
    world.put("/metrics/job/a/x/1", "m 1\n").await;
    world.lines().await;
    world.delete("/metrics/job/a").await;
    assert_eq!(world.texts().await, [r#"m{job="a"} stale +1"#]);
    assert_eq!(world.doors.groups().all().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_group_goes_out_each_interval_with_its_last_values() {
    let mut world = World::new().await;
    world.put("/metrics/job/a", "m 1\n").await;
    world.lines().await;
    for _ in 0..3 {
        world.clock.pass(TURN);
        world.doors.groups().take_turns().await.unwrap();
    }
    assert_eq!(
        world.texts().await,
        [r#"m{job="a"} 1 +30000"#, r#"m{job="a"} 1 +60000"#, r#"m{job="a"} 1 +90000"#]
    );
    // Nothing is made up for: five minutes later it is sent once.
    world.clock.pass(10 * TURN);
    world.doors.groups().take_turns().await.unwrap();
    world.doors.groups().take_turns().await.unwrap();
    assert_eq!(world.texts().await, [r#"m{job="a"} 1 +390000"#]);
    assert_eq!(world.doors.groups().stats().emissions.get(), 4);
}

#[tokio::test]
async fn groups_have_turns_of_their_own_within_the_interval() {
    let mut world = World::new().await;
    for group in 0..30 {
        world.put(&format!("/metrics/job/j{group}"), "m 1\n").await;
    }
    world.lines().await;
    let mut most = 0;
    let mut seen = 0;
    for _ in 0..30 {
        world.clock.pass(Duration::from_secs(1));
        world.doors.groups().take_turns().await.unwrap();
        let now = world.texts().await.len();
        (most, seen) = (most.max(now), seen + now);
    }
    assert_eq!(seen, 30, "each once an interval");
    assert!(most <= 6, "{most} of 30 in one second of 30");
}

#[tokio::test]
async fn the_runtime_sends_groups_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let fs = std::sync::Arc::new(wal::fs::RealFilesystem);
    let clock = std::sync::Arc::new(model::SystemClock::new());
    let (storage, _) = storage::Storage::open(fs, clock.clone(), storage::Options::new(dir.path())).unwrap();
    let mut options = receive::Options::default();
    options.pushgateway.groups.interval = Duration::from_millis(300);
    let doors = receive::Doors::open(storage.clone(), clock, options).await.unwrap();
    let request = Request::put("/metrics/job/a").body(Body::from("m 1\n")).unwrap();
    let response = tower::ServiceExt::oneshot(doors.router(), request).await.unwrap();
    assert_eq!(response.status(), 200);
    let mut follower = storage.follow(storage.end());
    let chunk = tokio::time::timeout(Duration::from_secs(20), follower.next()).await.unwrap().unwrap();
    assert_eq!(chunk.points().len(), 3);
}

#[tokio::test]
async fn no_two_values_of_a_series_share_a_millisecond_whatever_the_clock_does() {
    let mut world = World::new().await;
    let path = "/metrics/job/a";
    world.put(path, "m 1\n").await;
    world.put(path, "m 2\n").await;
    world.delete(path).await;
    world.clock.step(-3_600_000);
    world.put(path, "m 3\n").await;
    world = {
        let lines = world.texts().await;
        assert_eq!(
            lines,
            [r#"m{job="a"} 1 +0"#, r#"m{job="a"} 2 +1"#, r#"m{job="a"} 3 +3"#, r#"m{job="a"} stale +2"#]
        );
        world.restart().await
    };
    world.put(path, "m 4\n").await;
    world.delete(path).await;
    assert_eq!(world.texts().await, [r#"m{job="a"} 4 +4"#, r#"m{job="a"} stale +5"#]);
    world = world.restart().await;
    world.put(path, "m 5\n").await;
    assert_eq!(world.texts().await, [r#"m{job="a"} 5 +6"#]);
}

#[tokio::test]
async fn groups_survive_a_restart_and_go_on_being_sent() {
    let world = World::new().await;
    world.put("/metrics/job/a?ttl=1h", "# HELP m Help.\n# TYPE m counter\nm{x=\"1\"} 1.5\n").await;
    world.put("/metrics/job/b", "n 2\n").await;
    world.delete("/metrics/job/b").await;
    world.post("/metrics/job/c", "o 1 123\n").await;
    let before = world.doors.groups().all().await.unwrap();
    let mut world = world.restart().await;
    assert_eq!(world.doors.groups().all().await.unwrap(), before);
    assert_eq!(world.lines().await, [], "nothing is sent for the time it was down");
    world.clock.pass(TURN);
    world.doors.groups().take_turns().await.unwrap();
    assert_eq!(world.texts().await, [r#"m{job="a",x="1"} 1.5 +30000"#]);
    assert_eq!(world.storage.metadata(b"m").unwrap().help, "Help.");
    // The times of what was sent anew are remembered, too.
    world.clock.step(-20_000);
    let mut world = world.restart().await;
    world.put("/metrics/job/a", "m 1\n").await;
    let times: Vec<i64> = world.lines().await.iter().map(|line| line.time - START).collect();
    assert!(times.iter().all(|time| *time == 30_001), "{times:?}");
}

#[tokio::test]
async fn a_refused_push_sets_the_failure_time_also_where_it_is_the_first() {
    let mut world = World::new().await;
    let (status, text) = world.send("POST", "/metrics/job/a", "m 1 123\n").await;
    assert_eq!(status, 400);
    assert!(text.contains("line 1, column 5: timestamps are not accepted"), "{text}");
    let texts: Vec<String> =
        world.lines().await.iter().map(|line| format!("{} {}", line.series, line.value)).collect();
    assert_eq!(
        texts,
        [r#"push_time_seconds{job="a"} 0"#, r#"push_failure_time_seconds{job="a"} 1800000000"#]
    );
    let group = &world.doors.groups().status().await.unwrap()[0];
    assert!(group.failure.contains("timestamps") && group.pushed_ms == 0 && group.failed_ms == START);
    // A success afterwards leaves the failure's time.
    world.clock.pass(Duration::from_secs(5));
    world.put("/metrics/job/a", "m 1\n").await;
    let lines = world.lines().await;
    assert!(lines.iter().any(|line| line.series.starts_with("push_failure") && line.value == "1800000000"));
    assert!(lines.iter().any(|line| line.series.starts_with("push_time") && line.value == "1800000005"));
}

#[tokio::test]
async fn what_can_not_be_read_changes_nothing() {
    let mut world = World::new().await;
    let (status, text) = world.send("PUT", "/metrics/job/a", "m 1\n\nm{x=1} 2\n").await;
    assert_eq!(status, 400);
    assert!(text.starts_with("line 3, column 5: "), "{text}");
    assert_eq!(world.doors.groups().all().await.unwrap().len(), 0);
    assert_eq!(world.lines().await, []);
}

#[tokio::test]
async fn groups_must_fit_together() {
    let world = World::new().await;
    world.put("/metrics/job/a", "# TYPE m gauge\nm 1\n").await;
    assert_eq!(world.put("/metrics/job/b", "# HELP m Other.\n# TYPE m gauge\nm 1\n").await, 200);
    let (status, text) =
        world.send("PUT", "/metrics/job/a", "# TYPE m gauge\nm{x=\"1\"} 1\nm{x=\"1\"} 2\n").await;
    assert!(status == 400 && text.contains("was pushed twice"), "{text}");
    let body = "# TYPE m gauge\nm{x=\"1\"} 1\n";
    assert_eq!(world.put("/metrics/job/a", body).await, 200);
    let (status, text) = world.send("PUT", "/metrics/job/a/x/1", "# TYPE m gauge\nm 1\n").await;
    assert!(status == 400 && text.contains("already there in the group {job=\"a\"}"), "{text}");
}

#[tokio::test]
async fn a_group_expires_and_is_forgotten() {
    let mut world =
        World::with(|options| options.pushgateway.groups.removed_after = Duration::from_secs(3600), |_| {})
            .await;
    world.put("/metrics/job/a?ttl=10m", "m 1\n").await;
    world.clock.pass(Duration::from_secs(300));
    // A push that doesn't say how long leaves it as it is, and counts from now.
    world.post("/metrics/job/a", "m 2\n").await;
    world.clock.pass(Duration::from_secs(599));
    world.doors.groups().take_turns().await.unwrap();
    world.lines().await;
    assert_eq!(world.doors.groups().stats().expirations.get(), 0);
    world.clock.pass(Duration::from_secs(1));
    world.doors.groups().take_turns().await.unwrap();
    assert_eq!(world.texts().await, [r#"m{job="a"} stale +900000"#]);
    assert_eq!(world.doors.groups().stats().expirations.get(), 1);
    assert_eq!(world.doors.groups().status().await.unwrap()[0].expired_ms, Some(START + 900_000));
    // Its push times go on, over a restart, too.
    let mut world = world.restart().await;
    world.clock.pass(TURN);
    world.doors.groups().take_turns().await.unwrap();
    let lines = world.lines().await;
    let texts: Vec<String> = lines.iter().map(|line| format!("{} {}", line.series, line.value)).collect();
    assert_eq!(
        texts,
        [r#"push_time_seconds{job="a"} 1800000300"#, r#"push_failure_time_seconds{job="a"} 0"#]
    );
    world.clock.pass(Duration::from_secs(3600));
    world.doors.groups().take_turns().await.unwrap();
    let lines = world.lines().await;
    assert!(lines.iter().rev().take(2).all(|line| line.value == "stale"), "{lines:?}");
    assert_eq!(world.doors.groups().stats().removed.get(), 1);
    assert_eq!(world.doors.groups().all().await.unwrap().len(), 0);
}

#[tokio::test]
async fn a_group_that_expired_comes_back_with_the_next_push() {
    let mut world =
        World::with(|options| options.pushgateway.groups.ttl = Some(Duration::from_secs(60)), |_| {}).await;
    world.put("/metrics/job/a", "m 1\n").await;
    world.clock.pass(Duration::from_secs(60));
    world.doors.groups().take_turns().await.unwrap();
    world.put("/metrics/job/a", "m 2\n").await;
    world.clock.pass(Duration::from_secs(59));
    world.doors.groups().take_turns().await.unwrap();
    assert_eq!(
        world.texts().await,
        [
            r#"m{job="a"} 1 +0"#,
            r#"m{job="a"} 2 +119000"#,
            r#"m{job="a"} 2 +60002"#,
            r#"m{job="a"} stale +60000"#
        ]
    );
}

#[tokio::test]
async fn a_time_to_live_is_named_by_header_or_parameter_and_taken_back_with_0() {
    let world =
        World::with(|options| options.pushgateway.groups.ttl = Some(Duration::from_secs(60)), |_| {}).await;
    let put = async |uri: &str, header: Option<&str>| {
        let mut request = Request::put(uri);
        if let Some(header) = header {
            request = request.header("Narthex-TTL", header);
        }
        world.request(request.body(Body::from("m 1\n")).unwrap()).await.status().as_u16()
    };
    let ttl = async || world.doors.groups().status().await.unwrap()[0].ttl_ms;
    assert_eq!((put("/metrics/job/a", None).await, ttl().await), (200, Some(60_000)));
    assert_eq!((put("/metrics/job/a", Some("5m")).await, ttl().await), (200, Some(300_000)));
    assert_eq!((put("/metrics/job/a?ttl=90", Some("5m")).await, ttl().await), (200, Some(90_000)));
    assert_eq!((put("/metrics/job/a", None).await, ttl().await), (200, Some(90_000)));
    assert_eq!((put("/metrics/job/a?ttl=0", None).await, ttl().await), (200, None));
    assert_eq!((put("/metrics/job/a", Some("soon")).await, ttl().await), (400, None));
}

#[tokio::test]
async fn limits_are_answered_with_429_and_change_nothing() {
    let set = |options: &mut receive::Options| {
        options.pushgateway.groups.max_groups = 2;
        options.pushgateway.groups.max_group_series = 3;
        options.pushgateway.groups.max_series = 4;
    };
    let mut world = World::with(set, |_| {}).await;
    assert_eq!(world.put("/metrics/job/a", "m{x=\"1\"} 1\nm{x=\"2\"} 1\nm{x=\"3\"} 1\n").await, 200);
    let request = Request::post("/metrics/job/a").body(Body::from("n 1\n")).unwrap();
    let response = world.request(request).await;
    assert!(response.headers().contains_key("retry-after"));
    assert_eq!(answer(response).await, (429, "the group would have 4 series, the limit is 3\n".to_string()));
    assert_eq!(world.put("/metrics/job/b", "m 1\nn 1\n").await, 429);
    assert_eq!(world.put("/metrics/job/b", "m 1\n").await, 200);
    let (status, text) = world.send("PUT", "/metrics/job/c", "m 1\n").await;
    assert_eq!((status, text.as_str()), (429, "there are 2 groups already: the limit\n"));
    assert_eq!(world.post("/metrics/job/c", "m 1 5\n").await, 429, "nor by a refused push");
    assert_eq!(world.texts().await.len(), 4);
    assert_eq!(world.put("/metrics/job/a", "m 1\n").await, 200, "making room is not refused");
    assert_eq!(world.doors.groups().all().await.unwrap().len(), 2);
}

#[tokio::test]
async fn the_memory_of_all_groups_is_limited_however_few_series_they_have() {
    let world = World::with(|options| options.pushgateway.groups.max_bytes = 10_000, |_| {}).await;
    let body = |bytes: usize| format!("m{{x=\"{}\"}} 1\n", "x".repeat(bytes));
    assert_eq!(world.put("/metrics/job/a", &body(4000)).await, 200);
    assert_eq!(world.put("/metrics/job/b", &body(4000)).await, 200);
    let (status, text) = world.send("PUT", "/metrics/job/c", &body(4000)).await;
    assert!(status == 429 && text.ends_with("bytes of memory, the limit is 10000\n"), "{status} {text}");
    // The same series, with a longer label.
    assert_eq!(world.put("/metrics/job/b", &body(8000)).await, 429);
    assert_eq!(world.post("/metrics/job/b", &body(8000)).await, 429);
    assert_eq!(world.put("/metrics/job/b", &body(100)).await, 200);
    assert_eq!(world.put("/metrics/job/c", &body(3000)).await, 200);
    assert!(world.doors.groups().stats().group_bytes.get() <= 10_000);
}

#[tokio::test]
async fn timestamps_count_where_the_user_allows_them() {
    let mut world = World::with(|options| options.pushgateway.allow_timestamps = true, |_| {}).await;
    world.put("/metrics/job/a", "m 1\n").await;
    world.clock.pass(Duration::from_secs(10));
    // After what was sent, and before now; ahead; and older than what was sent.
    let body = format!("m {} {}\nn 1 {}\n", 2, START + 4000, START + 60_000);
    assert_eq!(world.put("/metrics/job/a", &body).await, 200);
    assert_eq!(world.put("/metrics/job/a", &format!("m 3 {START}\n")).await, 200);
    assert_eq!(
        world.texts().await,
        [
            r#"m{job="a"} 1 +0"#,
            r#"m{job="a"} 2 +4000"#,
            r#"m{job="a"} 3 +10001"#,
            r#"n{job="a"} 1 +10000"#,
            r#"n{job="a"} stale +10001"#,
        ]
    );
    let (status, text) = world.send("PUT", "/metrics/job/a", &format!("m 1 {}\n", START + 700_000)).await;
    assert!(status == 400 && text.contains("is later than"), "{text}");
}

#[tokio::test]
async fn wiping_has_to_be_enabled() {
    let world = World::new().await;
    world.put("/metrics/job/a", "m 1\n").await;
    assert_eq!(world.put("/api/v1/admin/wipe", "").await, 404);
    assert_eq!(world.doors.groups().all().await.unwrap().len(), 1);

    let mut world = World::with(|options| options.pushgateway.enable_admin = true, |_| {}).await;
    for group in 0..20 {
        world.put(&format!("/metrics/job/j{group}"), "m 1\n").await;
    }
    world.lines().await;
    assert_eq!(world.put("/api/v1/admin/wipe", "").await, 202);
    assert_eq!(world.texts().await.len(), 20);
    assert_eq!(world.doors.groups().all().await.unwrap().len(), 0);
    assert_eq!(world.send("GET", "/api/v1/admin/wipe", "").await.0, 405);
}

#[tokio::test]
async fn only_pushes_count_as_refused_pushes() {
    use intake::RefusedReason;
    let world = World::new().await;
    for (method, path, status) in [
        ("GET", "/metrics/job/x", 405),
        ("PATCH", "/metrics/job/x", 405),
        ("GET", "/metrics/nothing", 404),
        ("PUT", "/metrics/nothing", 404),
        ("PUT", "/metrics/job/x", 400),
    ] {
        assert_eq!(world.send(method, path, "}{\n").await.0, status, "{method} {path}");
    }
    let counters = world.doors.intake().counters().of("pushgateway");
    let refused: Vec<_> =
        RefusedReason::ALL.into_iter().filter(|reason| counters.refused_for(*reason) > 0).collect();
    assert_eq!(refused, [RefusedReason::Invalid, RefusedReason::NotFound]);
    assert_eq!(counters.refused.get(), 2);
}

#[tokio::test]
async fn the_journal_is_rewritten_and_holds_the_same() {
    let world = World::new().await;
    let body: String =
        (0..200).map(|x| format!("m{{x=\"{x}\",pad=\"{}\"}} {x}\n", "p".repeat(100))).collect();
    let mut pushes = 0;
    while world.doors.groups().stats().journal_rewrites.get() < 2 {
        assert_eq!(world.put(&format!("/metrics/job/j{}", pushes % 3), &body).await, 200);
        pushes += 1;
        assert!(pushes < 1000, "never rewritten");
    }
    world.delete("/metrics/job/j1").await;
    let before = world.doors.groups().all().await.unwrap();
    let world = world.restart().await;
    assert_eq!(world.doors.groups().all().await.unwrap(), before);
    assert_eq!(world.doors.groups().stats().journal_damaged.get(), 0);
}

#[tokio::test]
async fn a_push_that_could_not_be_logged_changes_nothing_and_others_go_on() {
    let mut world = World::with(|_| {}, |storage| storage.max_series = 8).await;
    assert_eq!(world.put("/metrics/job/a", "m 1\nn 1\n").await, 200);
    let body: String = (0..20).map(|x| format!("m{{x=\"{x}\"}} 1\n")).collect();
    let (few, many) = tokio::join!(world.put("/metrics/job/b", "m 1\n"), world.put("/metrics/job/c", &body));
    assert_eq!((few, many), (200, 429));
    let keys: Vec<String> =
        world.doors.groups().all().await.unwrap().iter().map(|group| group.key.to_string()).collect();
    assert_eq!(keys, [r#"{job="a"}"#, r#"{job="b"}"#]);
    assert_eq!(world.texts().await.len(), 3);

    let storage = world.storage.clone();
    tokio::task::spawn_blocking(move || storage.close()).await.unwrap();
    assert_eq!(world.put("/metrics/job/a", "m 2\n").await, 503);
    assert_eq!(world.doors.groups().all().await.unwrap()[0].series(), 2);
}
