//! Groups on a disk that fails, fills up and loses what was not synced: after every start each group is as
//! the last answer left it, or as a push that was answered with 503 would have made it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use axum::body::Body;
use common::TestClock;
use common::history::{self, Clients, Event};
use http::Request;
use proptest::prelude::*;
use receive::{Doors, Options};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use storage::Storage;
use tower::ServiceExt;
use wal::sim::Op;

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
}

const GROUPS: u8 = 4;

fn event() -> impl Strategy<Value = Event<Step>> {
    let step = prop_oneof![
        8 => (0..GROUPS, any::<bool>()).prop_map(|(group, fat)| Step::Put { group, fat }),
        2 => Just(Step::All),
        3 => (0..GROUPS).prop_map(|group| Step::Delete { group }),
        2 => (0u64..60).prop_map(|seconds| Step::Pass { seconds }),
        1 => (-10_000i64..10_000).prop_map(|by_ms| Step::Set { by_ms }),
    ];
    let fails = &[
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
    ];
    history::event(step, fails)
}

/// What the pushers know: per group what it may be.
struct Known {
    clock: Arc<TestClock>,
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

async fn send(doors: &Doors, method: &str, group: u8, body: String) -> u16 {
    let request = Request::builder().method(method).uri(format!("/metrics/job/j{group}"));
    let request = request.body(Body::from(body)).unwrap();
    doors.router().oneshot(request).await.unwrap().status().as_u16()
}

impl Clients for Known {
    type Step = Step;
    type Process = Doors;
    const RESERVE_BYTES: u64 = 4096;

    async fn start(&mut self, storage: &Storage) -> Option<Doors> {
        let doors = Doors::open(storage.clone(), self.clock.clone(), Options::default()).await.ok()?;
        for (group, may) in self.groups.iter_mut().enumerate() {
            let groups = doors.groups().all().await.unwrap();
            let key = format!("{{job=\"j{group}\"}}");
            let is = groups.iter().find(|group| group.key.to_string() == key).map(|group| {
                let member = group.families.unpack()["m"].family.members[0].clone();
                match member.reading {
                    groups::group::Reading::Float(value) => value as u64,
                    groups::group::Reading::Histogram(_) => panic!("a histogram"),
                }
            });
            assert!(may.contains(&is), "group {group} is {is:?}, and may be {may:?}");
            *may = [is].into();
        }
        Some(doors)
    }

    async fn step(&mut self, doors: &Doors, step: Step) {
        match step {
            Step::Put { group, fat } => {
                self.next += 1;
                let value = self.next;
                let status = send(doors, "PUT", group, body(value, fat)).await;
                self.answered(group, Some(value), status);
            }
            Step::All => {
                let values: Vec<u64> = (0..GROUPS).map(|group| self.next + 1 + u64::from(group)).collect();
                self.next += u64::from(GROUPS);
                let sends = (0..GROUPS)
                    .map(|group| send(doors, "PUT", group, body(values[usize::from(group)], false)));
                let statuses = futures_util::future::join_all(sends).await;
                for (group, status) in (0..GROUPS).zip(statuses) {
                    self.answered(group, Some(values[usize::from(group)]), status);
                }
            }
            Step::Delete { group } => {
                let status = send(doors, "DELETE", group, String::new()).await;
                self.answered(group, None, status);
            }
            Step::Pass { seconds } => {
                self.clock.pass(Duration::from_secs(seconds));
                doors.groups().take_turns().await.unwrap();
            }
            Step::Set { by_ms } => self.clock.step(by_ms),
        }
    }

    /// No series has two values at one millisecond, nor one that is older than the one before it.
    async fn check(&mut self, _: &Doors, storage: &Storage) {
        for (series, samples) in history::samples(storage).await {
            let times: Vec<i64> = samples.iter().map(|(time, _)| *time).collect();
            assert!(times.is_sorted_by(|one, next| one < next), "{series}: {times:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, max_shrink_iters: 500, ..ProptestConfig::default() })]

    #[test]
    fn a_group_is_as_the_last_answer_left_it(seed: u64, events in prop::collection::vec(event(), 1..60)) {
        let groups = vec![[None].into(); usize::from(GROUPS)];
        history::run(Known { clock: TestClock::new(), groups, next: 0 }, seed, events);
    }
}
