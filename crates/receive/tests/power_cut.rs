//! Groups on a disk that fails, fills up and loses what was not synced: after every start each group is as
//! the last answer left it, or as a push that was answered with 503 would have made it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use axum::body::Body;
use common::TestClock;
use http::Request;
use model::Value;
use proptest::prelude::*;
use receive::{Doors, Options};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use storage::Storage;
use tower::ServiceExt;
use wal::sim::{Op, SimFilesystem};

#[derive(Debug, Clone)]
enum Step {
    /// A PUT of one value; a fat one fills the journal, so that it is rewritten soon.
    Put {
        group: u8,
        fat: bool,
    },
    /// PUTs to all groups at once.
    All,
    Delete {
        group: u8,
    },
    /// Time passes, or the wall clock is set.
    Pass {
        seconds: u64,
    },
    Set {
        by_ms: i64,
    },
    /// The next operations of a kind fail.
    Fail {
        op: Op,
        after: u64,
        times: u64,
    },
    Full {
        bytes: u64,
    },
    Heal,
    /// Reads and writes transfer at most so many bytes at once.
    Short {
        bytes: Option<usize>,
    },
    DieAfter {
        operations: u64,
    },
    /// The end of a life: the power goes, or only the process.
    PowerCut,
    Kill,
}

const GROUPS: u8 = 4;

fn step() -> impl Strategy<Value = Step> {
    let op = prop::sample::select(vec![
        Op::Read,
        Op::Open,
        Op::Write,
        Op::Write,
        Op::Sync,
        Op::Sync,
        Op::SetLen,
        Op::Create,
        Op::Rename,
        Op::Remove,
        Op::SyncDir,
    ]);
    prop_oneof![
        8 => (0..GROUPS, any::<bool>()).prop_map(|(group, fat)| Step::Put { group, fat }),
        2 => Just(Step::All),
        3 => (0..GROUPS).prop_map(|group| Step::Delete { group }),
        2 => (0u64..60).prop_map(|seconds| Step::Pass { seconds }),
        1 => (-10_000i64..10_000).prop_map(|by_ms| Step::Set { by_ms }),
        2 => (op, 0u64..6, 1u64..4).prop_map(|(op, after, times)| Step::Fail { op, after, times }),
        1 => (0u64..100_000).prop_map(|bytes| Step::Full { bytes }),
        2 => Just(Step::Heal),
        1 => prop_oneof![Just(None), Just(Some(1)), (1usize..5000).prop_map(Some)]
            .prop_map(|bytes| Step::Short { bytes }),
        1 => (0u64..40).prop_map(|operations| Step::DieAfter { operations }),
        2 => Just(Step::PowerCut),
        1 => Just(Step::Kill),
    ]
}

/// What the pushers know: per group what it may be.
struct Known {
    groups: Vec<BTreeSet<Option<u64>>>,
    next: u64,
}

impl Known {
    fn answered(&mut self, group: u8, becomes: Option<u64>, status: u16) {
        let may = &mut self.groups[usize::from(group)];
        match status {
            200 | 202 => *may = [becomes].into(),
            503 => drop(may.insert(becomes)),
            other => panic!("status {other}"),
        }
    }
}

fn body(value: u64, fat: bool) -> String {
    let mut body = format!("m {value}\n");
    if fat {
        for family in 0..8 {
            body.push_str(&format!("# HELP f{family} {}\nf{family} 1\n", "h".repeat(15_000)));
        }
    }
    body
}

fn open(fs: &SimFilesystem) -> Option<Storage> {
    let mut options = storage::Options::new("/data");
    (options.reserve_bytes, options.max_size) = (4096, 64 << 20);
    Storage::open(Arc::new(fs.clone()), TestClock::new(), options).ok().map(|(storage, _)| storage)
}

/// One life of the process, until a step ends it.
async fn live(
    storage: &Storage,
    clock: &Arc<TestClock>,
    fs: &SimFilesystem,
    known: &mut Known,
    steps: &mut impl Iterator<Item = Step>,
) -> Result<Option<Step>, TestCaseError> {
    let Ok(doors) = Doors::open(storage.clone(), clock.clone(), Options::default()).await else {
        return Ok(Some(Step::Kill));
    };
    let send = async |method: &str, group: u8, body: String| {
        let request = Request::builder().method(method).uri(format!("/metrics/job/j{group}"));
        let request = request.body(Body::from(body)).unwrap();
        doors.router().oneshot(request).await.unwrap().status().as_u16()
    };
    for (group, may) in known.groups.iter_mut().enumerate() {
        let groups = doors.groups().all().await.unwrap();
        let key = format!("{{job=\"j{group}\"}}");
        let is = groups.iter().find(|group| group.key.to_string() == key).map(|group| {
            let member = group.families.unpack()["m"].family.members[0].clone();
            match member.reading {
                groups::group::Reading::Float(value) => value as u64,
                groups::group::Reading::Histogram(_) => panic!("a histogram"),
            }
        });
        prop_assert!(may.contains(&is), "group {} is {:?}, and may be {:?}", group, is, may);
        *may = [is].into();
    }
    for step in steps.by_ref() {
        match step {
            Step::Put { group, fat } => {
                known.next += 1;
                let value = known.next;
                let status = send("PUT", group, body(value, fat)).await;
                known.answered(group, Some(value), status);
            }
            Step::All => {
                let values: Vec<u64> = (0..GROUPS).map(|group| known.next + 1 + u64::from(group)).collect();
                known.next += u64::from(GROUPS);
                let sends =
                    (0..GROUPS).map(|group| send("PUT", group, body(values[usize::from(group)], false)));
                let statuses = futures_util::future::join_all(sends).await;
                for (group, status) in (0..GROUPS).zip(statuses) {
                    known.answered(group, Some(values[usize::from(group)]), status);
                }
            }
            Step::Delete { group } => {
                let status = send("DELETE", group, String::new()).await;
                known.answered(group, None, status);
            }
            Step::Pass { seconds } => {
                clock.pass(Duration::from_secs(seconds));
                doors.groups().take_turns().await.unwrap();
            }
            Step::Set { by_ms } => clock.step(by_ms),
            Step::Fail { op, after, times } => fs.fail(op, after, times),
            Step::Full { bytes } => fs.set_space(Some(bytes)),
            Step::Heal if fs.is_dead() => {}
            Step::Heal => {
                fs.heal();
                fs.set_space(None);
            }
            Step::Short { bytes } => fs.set_max_transfer(bytes),
            Step::DieAfter { operations } => fs.die_after(operations),
            Step::PowerCut | Step::Kill => return Ok(Some(step)),
        }
    }
    Ok(None)
}

fn run(seed: u64, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let fs = SimFilesystem::new(seed);
    let clock = TestClock::new();
    let mut known = Known { groups: vec![[None].into(); usize::from(GROUPS)], next: 0 };
    let mut steps = steps.into_iter();
    loop {
        let storage = open(&fs).or_else(|| {
            if fs.is_dead() {
                fs.power_cut();
            }
            fs.heal();
            fs.set_space(None);
            open(&fs)
        });
        let storage = storage.expect("opens on a disk that works");
        // A runtime for each life: with it goes the task that keeps the groups, as with the process.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let ended = runtime.block_on(live(&storage, &clock, &fs, &mut known, &mut steps))?;
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
        live(&storage, &clock, &fs, &mut known, &mut std::iter::empty()).await?;
        check_times(&storage).await
    })
}

/// No series has two values at one millisecond, nor one that is older than the one before it.
async fn check_times(storage: &Storage) -> Result<(), TestCaseError> {
    let mut follower = storage.follow(storage.oldest());
    let mut last: BTreeMap<String, (i64, u64)> = BTreeMap::new();
    let end = storage.end();
    while follower.position() < end {
        let next = tokio::time::timeout(Duration::from_millis(5), follower.next());
        let Ok(chunk) = next.await else { break };
        let chunk = chunk.unwrap();
        for point in chunk.points() {
            let Value::Float(value) = point.value else { continue };
            let series = chunk.batch.labels(point.series).to_string();
            if let Some((time, _)) = last.insert(series.clone(), (point.timestamp, value.to_bits())) {
                prop_assert!(point.timestamp > time, "{} {} after {}", series, point.timestamp, time);
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, max_shrink_iters: 500, ..ProptestConfig::default() })]

    #[test]
    fn a_group_is_as_the_last_answer_left_it(seed: u64, steps in prop::collection::vec(step(), 1..60)) {
        run(seed, steps)?;
    }
}
