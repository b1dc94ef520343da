//! Pushes that are added to what a group has, and requests with a key, also on a disk that fails and loses power.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use axum::body::Body;
use common::history::{self, Clients, Event};
use common::{TestClock, World};
use http::Request;
use proptest::prelude::*;
use receive::{Doors, Options};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use storage::Storage;
use tower::ServiceExt;
use wal::sim::Op;

const COUNTER: &str = "# TYPE c_total counter\nc_total 2\n";

/// `series value`, without the two push times.
async fn lines(world: &mut World) -> Vec<String> {
    let lines = world.lines().await.into_iter().filter(|line| !line.series.starts_with("push_"));
    lines.map(|line| format!("{} {}", line.series, line.value)).collect()
}

async fn keyed(world: &World, path: &str, key: &str, body: &str) -> (u16, String) {
    let request = Request::builder().method("POST").uri(path).header("Idempotency-Key", key);
    common::answer(world.request(request.body(Body::from(body.to_string())).unwrap()).await).await
}

#[tokio::test]
async fn pushes_are_added_by_path_parameter_or_header() {
    let mut world = World::new().await;
    assert_eq!(world.post("/add/metrics/job/a", COUNTER).await, 200);
    assert_eq!(world.post("/metrics/job/a?add", COUNTER).await, 200);
    let request = Request::builder().method("POST").uri("/metrics/job/a").header("narthex-add", "max");
    let gauge = format!("{COUNTER}# TYPE g gauge\ng 5\n");
    assert_eq!(world.request(request.body(Body::from(gauge)).unwrap()).await.status().as_u16(), 200);
    assert_eq!(world.post("/add/metrics/job/a?add=max", "# TYPE g gauge\ng 4\n").await, 200);
    let mut sent = lines(&mut world).await;
    sent.sort();
    assert_eq!(
        sent,
        [
            r#"c_total{job="a"} 2"#,
            r#"c_total{job="a"} 4"#,
            r#"c_total{job="a"} 6"#,
            r#"g{job="a"} 5"#,
            r#"g{job="a"} 5"#,
        ]
    );
    let world = world.restart().await;
    assert_eq!(world.post("/add/metrics/job/a", COUNTER).await, 200);
    let mut world = world;
    assert_eq!(lines(&mut world).await, [r#"c_total{job="a"} 8"#], "a restart keeps the total");
    assert_eq!(world.put("/metrics/job/a", COUNTER).await, 200);
    assert!(lines(&mut world).await.contains(&r#"c_total{job="a"} 2"#.to_string()), "a PUT replaces it");
}

#[tokio::test]
async fn what_can_not_be_added_changes_nothing() {
    let mut world = World::new().await;
    world.post("/add/metrics/job/a", COUNTER).await;
    let refused = [
        ("POST", "/add/metrics/job/a", "c_total 2\n", "has no type"),
        (
            "POST",
            "/add/metrics/job/a",
            "# TYPE c_total gauge\nc_total 2\n",
            "a counter in the group and a gauge",
        ),
        ("POST", "/add/metrics/job/a?add=mean", COUNTER, "last, max, min or sum"),
        ("PUT", "/metrics/job/a?add", COUNTER, "by POST"),
    ];
    for (method, path, body, why) in refused {
        let (status, text) = world.send(method, path, body).await;
        assert!(status == 400 && text.contains(why), "{path}: {status} {text}");
    }
    for method in ["PUT", "DELETE", "GET"] {
        assert_eq!(world.send(method, "/add/metrics/job/a", COUNTER).await.0, 405);
    }
    lines(&mut world).await;
    world.post("/add/metrics/job/a", COUNTER).await;
    assert_eq!(lines(&mut world).await, [r#"c_total{job="a"} 4"#]);
}

#[tokio::test]
async fn a_push_with_a_key_is_applied_once() {
    let mut world = World::new().await;
    let add = "/add/metrics/job/a";
    assert_eq!(keyed(&world, add, "one", COUNTER).await.0, 200);
    assert_eq!(keyed(&world, add, "\"one\"", COUNTER).await.0, 200);
    assert_eq!(keyed(&world, add, "two", COUNTER).await.0, 200);
    let (status, text) = keyed(&world, add, "one", "# TYPE c_total counter\nc_total 3\n").await;
    assert!(status == 400 && text.contains("used for another push"), "{status} {text}");
    assert_eq!(
        keyed(&world, "/add/metrics/job/b", "one", COUNTER).await.0,
        200,
        "a group has keys of its own"
    );
    // A push that is not added is applied once too: an old one does not undo a new one.
    assert_eq!(keyed(&world, "/metrics/job/c", "one", "g 1\n").await.0, 200);
    assert_eq!(keyed(&world, "/metrics/job/c", "two", "g 2\n").await.0, 200);
    assert_eq!(keyed(&world, "/metrics/job/c", "one", "g 1\n").await.0, 200);
    let expected = [
        r#"c_total{job="a"} 2"#,
        r#"c_total{job="a"} 4"#,
        r#"c_total{job="b"} 2"#,
        r#"g{job="c"} 1"#,
        r#"g{job="c"} 2"#,
    ];
    assert_eq!(lines(&mut world).await, expected);
    let mut world = world.restart().await;
    assert_eq!(keyed(&world, add, "two", COUNTER).await.0, 200);
    assert_eq!(lines(&mut world).await, [""; 0], "keys survive a restart");
    world.clock.pass(Duration::from_secs(86_401));
    assert_eq!(keyed(&world, add, "three", COUNTER).await.0, 200);
    assert_eq!(keyed(&world, add, "two", COUNTER).await.0, 200, "remembered for a day");
    assert_eq!(lines(&mut world).await.last().unwrap(), r#"c_total{job="a"} 8"#);
    for key in [String::new(), "k".repeat(256)] {
        let (status, text) = keyed(&world, add, &key, COUNTER).await;
        assert!(status == 400 && text.contains("1 to 255"), "{status} {text}");
    }
}

#[derive(Debug, Clone)]
enum Step {
    Add {
        group: u8,
    },
    /// Adds to all groups at once, one of them twice with the same key.
    All,
    /// Everything that was not answered with 200, once more.
    Again,
}

const GROUPS: u8 = 3;

fn event() -> impl Strategy<Value = Event<Step>> {
    let step = prop_oneof![
        8 => (0..GROUPS).prop_map(|group| Step::Add { group }),
        2 => Just(Step::All),
        3 => Just(Step::Again),
    ];
    history::event(step, &[Op::Write, Op::Sync, Op::Sync, Op::SetLen, Op::Create, Op::SyncDir])
}

/// Clients that send each push until it is answered with 200.
#[derive(Default)]
struct Adding {
    sent: BTreeMap<u8, u64>,
    next: u64,
    unanswered: Vec<(u8, u64)>,
}

async fn send(doors: &Doors, group: u8, key: u64) -> u16 {
    let request = Request::builder().method("POST").uri(format!("/add/metrics/job/j{group}"));
    let request = request.header("Idempotency-Key", key.to_string());
    let request = request.body(Body::from("# TYPE c_total counter\nc_total 1\n")).unwrap();
    doors.router().oneshot(request).await.unwrap().status().as_u16()
}

impl Adding {
    fn new_key(&mut self, group: u8) -> u64 {
        self.next += 1;
        *self.sent.entry(group).or_default() += 1;
        self.next
    }

    fn answered(&mut self, group: u8, key: u64, status: u16) {
        match status {
            200 => self.unanswered.retain(|sent| *sent != (group, key)),
            503 if self.unanswered.contains(&(group, key)) => {}
            503 => self.unanswered.push((group, key)),
            other => panic!("status {other}"),
        }
    }

    async fn again(&mut self, doors: &Doors) {
        for (group, key) in self.unanswered.clone() {
            let status = send(doors, group, key).await;
            self.answered(group, key, status);
        }
    }
}

async fn totals(doors: &Doors) -> BTreeMap<u8, u64> {
    let groups = doors.groups().all().await.unwrap();
    let total = |group: &Arc<groups::group::Group>| {
        let member = group.families.unpack()["c_total"].family.members[0].clone();
        let key = group.key.to_string();
        let number = key.strip_prefix("{job=\"j").unwrap().strip_suffix("\"}").unwrap().parse().unwrap();
        match member.reading {
            groups::group::Reading::Float(value) => (number, value as u64),
            groups::group::Reading::Histogram(_) => panic!("a histogram"),
        }
    };
    groups.iter().map(total).collect()
}

impl Clients for Adding {
    type Step = Step;
    type Process = Doors;

    async fn start(&mut self, storage: &Storage) -> Option<Doors> {
        Doors::open(storage.clone(), TestClock::new(), Options::default()).await.ok()
    }

    async fn step(&mut self, doors: &Doors, step: Step) {
        match step {
            Step::Add { group } => {
                let key = self.new_key(group);
                let status = send(doors, group, key).await;
                self.answered(group, key, status);
            }
            Step::All => {
                let mut sends: Vec<(u8, u64)> =
                    (0..GROUPS).map(|group| (group, self.new_key(group))).collect();
                sends.push(sends[0]);
                let statuses = sends.iter().map(|(group, key)| send(doors, *group, *key));
                let statuses = futures_util::future::join_all(statuses).await;
                for ((group, key), status) in sends.into_iter().zip(statuses) {
                    self.answered(group, key, status);
                }
            }
            Step::Again => self.again(doors).await,
        }
    }

    async fn check(&mut self, doors: &Doors, storage: &Storage) {
        self.again(doors).await;
        assert_eq!(self.unanswered, []);
        assert_eq!(totals(doors).await, self.sent, "each request counts once");
        for (series, samples) in history::samples(storage).await {
            let goes_up = samples.is_sorted_by_key(|(_, value)| *value);
            assert!(goes_up || !series.starts_with("c_total"), "{series} goes back: {samples:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, max_shrink_iters: 500, ..ProptestConfig::default() })]

    #[test]
    fn totals_are_the_requests_that_were_sent(seed: u64, events in prop::collection::vec(event(), 1..50)) {
        history::run(Adding::default(), seed, events);
    }
}
