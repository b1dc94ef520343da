//! Pushes that are added to what a group has, and requests with a key, also on a disk that fails and loses power.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use axum::body::Body;
use common::{TestClock, World};
use http::Request;
use model::Value;
use proptest::prelude::*;
use receive::{Doors, Options};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use storage::Storage;
use tower::ServiceExt;
use wal::sim::{Op, SimFilesystem};

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
    Fail {
        op: Op,
        after: u64,
        times: u64,
    },
    Full {
        bytes: u64,
    },
    Heal,
    DieAfter {
        operations: u64,
    },
    PowerCut,
    Kill,
}

const GROUPS: u8 = 3;

fn step() -> impl Strategy<Value = Step> {
    let op = prop::sample::select(vec![Op::Write, Op::Sync, Op::Sync, Op::SetLen, Op::Create, Op::SyncDir]);
    prop_oneof![
        8 => (0..GROUPS).prop_map(|group| Step::Add { group }),
        2 => Just(Step::All),
        3 => Just(Step::Again),
        3 => (op, 0u64..6, 1u64..4).prop_map(|(op, after, times)| Step::Fail { op, after, times }),
        1 => (0u64..2000).prop_map(|bytes| Step::Full { bytes }),
        2 => Just(Step::Heal),
        1 => (0u64..40).prop_map(|operations| Step::DieAfter { operations }),
        2 => Just(Step::PowerCut),
        1 => Just(Step::Kill),
    ]
}

/// What the clients know.
#[derive(Default)]
struct Clients {
    sent: BTreeMap<u8, u64>,
    next: u64,
    unanswered: Vec<(u8, u64)>,
}

fn open(fs: &SimFilesystem) -> Option<Storage> {
    let mut options = storage::Options::new("/data");
    (options.reserve_bytes, options.max_size) = (0, 64 << 20);
    Storage::open(Arc::new(fs.clone()), TestClock::new(), options).ok().map(|(storage, _)| storage)
}

async fn send(doors: &Doors, group: u8, key: u64) -> u16 {
    let request = Request::builder().method("POST").uri(format!("/add/metrics/job/j{group}"));
    let request = request.header("Idempotency-Key", key.to_string());
    let request = request.body(Body::from("# TYPE c_total counter\nc_total 1\n")).unwrap();
    doors.router().oneshot(request).await.unwrap().status().as_u16()
}

impl Clients {
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

/// One life of the process, until a step ends it.
async fn live(
    storage: &Storage,
    fs: &SimFilesystem,
    clients: &mut Clients,
    steps: &mut impl Iterator<Item = Step>,
) -> Option<Step> {
    let clock = TestClock::new();
    let Ok(doors) = Doors::open(storage.clone(), clock, Options::default()).await else {
        return Some(Step::Kill);
    };
    for step in steps.by_ref() {
        match step {
            Step::Add { group } => {
                let key = clients.new_key(group);
                let status = send(&doors, group, key).await;
                clients.answered(group, key, status);
            }
            Step::All => {
                let mut sends: Vec<(u8, u64)> =
                    (0..GROUPS).map(|group| (group, clients.new_key(group))).collect();
                sends.push(sends[0]);
                let statuses = sends.iter().map(|(group, key)| send(&doors, *group, *key));
                let statuses = futures_util::future::join_all(statuses).await;
                for ((group, key), status) in sends.into_iter().zip(statuses) {
                    clients.answered(group, key, status);
                }
            }
            Step::Again => clients.again(&doors).await,
            Step::Fail { op, after, times } => fs.fail(op, after, times),
            Step::Full { bytes } => fs.set_space(Some(bytes)),
            Step::Heal if fs.is_dead() => {}
            Step::Heal => fs.heal(),
            Step::DieAfter { operations } => fs.die_after(operations),
            Step::PowerCut | Step::Kill => return Some(step),
        }
    }
    None
}

/// What each counter's samples in the log were, in order.
async fn shown(storage: &Storage) -> BTreeMap<String, Vec<f64>> {
    let mut follower = storage.follow(storage.oldest());
    let mut shown: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let end = storage.end();
    while follower.position() < end {
        let next = tokio::time::timeout(Duration::from_millis(5), follower.next());
        let Ok(chunk) = next.await else { break };
        let chunk = chunk.unwrap();
        for point in chunk.points() {
            let Value::Float(value) = point.value else { continue };
            let series = chunk.batch.labels(point.series).to_string();
            if series.starts_with("c_total") {
                shown.entry(series).or_default().push(value);
            }
        }
    }
    shown
}

fn run(seed: u64, steps: Vec<Step>) {
    let fs = SimFilesystem::new(seed);
    let mut clients = Clients::default();
    let mut steps = steps.into_iter();
    loop {
        let storage = open(&fs).or_else(|| {
            if fs.is_dead() {
                fs.power_cut();
            }
            fs.heal();
            open(&fs)
        });
        let storage = storage.expect("opens on a disk that works");
        // A runtime for each life: with it goes the task that keeps the groups, as with the process.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let ended = runtime.block_on(live(&storage, &fs, &mut clients, &mut steps));
        let last = ended.is_none();
        if matches!(ended, Some(Step::PowerCut)) || fs.is_dead() || last {
            fs.power_cut();
            drop((runtime, storage));
            fs.power_cut();
        } else {
            drop((runtime, storage));
        }
        if last {
            break;
        }
    }
    fs.heal();
    let storage = open(&fs).expect("opens on a disk that works");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let doors = Doors::open(storage.clone(), TestClock::new(), Options::default()).await.unwrap();
        clients.again(&doors).await;
        assert_eq!(clients.unanswered, []);
        assert_eq!(totals(&doors).await, clients.sent, "each request counts once");
        for (series, values) in shown(&storage).await {
            assert!(values.is_sorted(), "{series} goes back: {values:?}");
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, max_shrink_iters: 500, ..ProptestConfig::default() })]

    #[test]
    fn totals_are_the_requests_that_were_sent(seed: u64, steps in prop::collection::vec(step(), 1..50)) {
        run(seed, steps);
    }
}
