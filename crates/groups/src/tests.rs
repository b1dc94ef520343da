//! Tests the pure parts together: invariants of any history of pushes, refusals, deletions and expirations.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test helpers")]

use super::change::Change;
use super::consistency::{self, Inconsistency};
use super::entry;
use super::group::{Family, Group, Member, Reading};
use super::state::{REASON_BYTES, Sent, State, Undo};
use model::{Batch, Labels, MetricType, Value, is_stale};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

fn key(group: u8) -> Labels {
    Labels::from_pairs([("job", format!("j{group}").as_str())])
}

fn member(group: u8, name: &str, x: u8, value: f64) -> Member {
    let labels = [("__name__", name), ("job", &format!("j{group}")), ("x", &x.to_string())];
    Member {
        labels: Labels::from_pairs(labels),
        reading: Reading::Float(value),
        start: 0,
        time: 0,
        exemplars: vec![],
    }
}

fn family(kind: MetricType, members: Vec<Member>) -> Arc<Family> {
    Arc::new(Family { kind, members, ..Family::default() })
}

fn push(
    state: &mut State,
    group: u8,
    replace: bool,
    now: i64,
    families: Vec<(String, Arc<Family>)>,
) -> Change {
    let key = key(group);
    let at = state.next_time(&key, now);
    Change::Pushed { id: state.id_of(&key), at, key, replace, wall: now, ttl: None, families }
}

fn gauges(group: u8, name: &str, xs: &[u8]) -> Vec<(String, Arc<Family>)> {
    let members = xs.iter().map(|x| member(group, name, *x, f64::from(*x))).collect();
    vec![(name.to_string(), family(MetricType::Gauge, members))]
}

/// Formats points as `series value@time`, sorted; markers as `stale`.
fn lines(batch: &Batch) -> Vec<String> {
    let line = |point: &model::Point| {
        let value = match point.value {
            Value::Float(value) if is_stale(value) => "stale".to_string(),
            Value::Float(value) => value.to_string(),
            Value::Histogram(_) => "histogram".into(),
            Value::Exemplar(_) => "exemplar".into(),
        };
        format!("{} {value}@{}", batch.labels(point.series), point.timestamp)
    };
    let mut lines: Vec<String> = batch.points.iter().map(line).collect();
    lines.sort();
    lines
}

fn apply(state: &mut State, change: &Change) -> Vec<String> {
    let mut sent = Sent::default();
    state.apply(change, &mut Undo::default(), &mut sent);
    lines(&sent.batch)
}

#[test]
fn put_and_post_end_the_series_that_they_replace() {
    let mut state = State::new(10);
    let mut two = gauges(1, "a", &[1, 2]);
    two.extend(gauges(1, "b", &[1]));
    let change = push(&mut state, 1, true, 1000, two);
    assert_eq!(
        apply(&mut state, &change),
        [
            r#"a{job="j1",x="1"} 1@1000"#,
            r#"a{job="j1",x="2"} 2@1000"#,
            r#"b{job="j1",x="1"} 1@1000"#,
            r#"push_failure_time_seconds{job="j1"} 0@1000"#,
            r#"push_time_seconds{job="j1"} 1@1000"#,
        ]
    );
    let change = push(&mut state, 1, false, 2000, gauges(1, "a", &[2]));
    assert_eq!(
        apply(&mut state, &change),
        [
            r#"a{job="j1",x="1"} stale@2000"#,
            r#"a{job="j1",x="2"} 2@2000"#,
            r#"push_failure_time_seconds{job="j1"} 0@2000"#,
            r#"push_time_seconds{job="j1"} 2@2000"#,
        ]
    );
    let change = push(&mut state, 1, true, 2000, gauges(1, "a", &[3]));
    assert_eq!(
        apply(&mut state, &change),
        [
            r#"a{job="j1",x="2"} stale@2001"#,
            r#"a{job="j1",x="3"} 3@2001"#,
            r#"b{job="j1",x="1"} stale@2001"#,
            r#"push_failure_time_seconds{job="j1"} 0@2001"#,
            r#"push_time_seconds{job="j1"} 2@2001"#,
        ]
    );
    let at = state.next_time(&key(1), 2000);
    assert_eq!(
        apply(&mut state, &Change::Deleted { key: key(1), at }),
        [
            r#"a{job="j1",x="3"} stale@2002"#,
            r#"push_failure_time_seconds{job="j1"} stale@2002"#,
            r#"push_time_seconds{job="j1"} stale@2002"#,
        ]
    );
    assert_eq!((state.len(), state.series(), state.bytes()), (0, 0, 0));
    assert_eq!(
        state.next_time(&key(1), 2000),
        2003,
        "a group that is pushed again continues after its markers"
    );
}

#[test]
fn the_newest_tombstones_are_kept() {
    let mut state = State::new(2);
    for group in 1..=3 {
        let change = push(&mut state, group, true, 5000, gauges(group, "a", &[1]));
        apply(&mut state, &change);
        apply(&mut state, &Change::Deleted { key: key(group), at: 6000 });
    }
    let next = [1, 2, 3].map(|group| state.next_time(&key(group), 1000));
    assert_eq!(next, [1000, 6001, 6001], "only the oldest is removed");
    assert_eq!(state.snapshot().len(), 2);
}

#[test]
fn the_reason_for_a_refusal_is_cut() {
    let mut state = State::new(2);
    let (id, reason) = (state.id_of(&key(1)), "é".repeat(REASON_BYTES));
    apply(&mut state, &Change::Refused { id, key: key(1), at: 5000, wall: 5000, reason });
    let failure = &state.get(&key(1)).unwrap().failure;
    assert!(failure.len() <= REASON_BYTES && failure.len() > REASON_BYTES - 4, "{}", failure.len());
    assert!(failure.starts_with('é') && failure.ends_with('…'));
}

#[test]
fn inconsistent_pushes_are_refused() {
    let mut state = State::new(10);
    let histogram = |group, name: &str| {
        vec![(
            name.to_string(),
            family(MetricType::Histogram, vec![member(group, &format!("{name}_sum"), 1, 0.0)]),
        )]
    };
    for (group, families) in
        [(1, gauges(1, "a", &[1])), (2, histogram(2, "h")), (3, gauges(3, "c_count", &[1]))]
    {
        let change = push(&mut state, group, true, 1000, families);
        apply(&mut state, &change);
    }
    let check = |group: u8, replace: bool, families: Vec<(String, Arc<Family>)>| {
        let group = state.get(&key(group)).cloned();
        consistency::check(&state, group.as_deref(), replace, &families)
    };
    let counter =
        |group| vec![("a".to_string(), family(MetricType::Counter, vec![member(group, "a", 1, 0.0)]))];
    assert_eq!(check(9, true, counter(9)), Ok(()), "groups may give a name different types");
    assert_eq!(check(1, true, counter(1)), Ok(()), "no other group has the name");
    assert_eq!(check(1, false, counter(1)), Ok(()), "a POST replaces the family, its type too");
    for part in ["h_sum", "h_count", "h_bucket"] {
        assert!(matches!(check(9, true, gauges(9, part, &[1])), Err(Inconsistency::Suffix { .. })), "{part}");
    }
    assert!(matches!(check(9, true, histogram(9, "c")), Err(Inconsistency::Suffix { .. })));
    assert_eq!(check(3, true, histogram(3, "c")), Ok(()), "the PUT takes c_count away");
    assert!(matches!(check(3, false, histogram(3, "c")), Err(Inconsistency::Suffix { .. })));
    let summary = vec![("h_x".to_string(), family(MetricType::Summary, vec![]))];
    assert_eq!(check(9, true, [summary, gauges(9, "h_x_bucket", &[1])].concat()), Ok(()));
    assert!(matches!(check(9, true, gauges(9, "z", &[1, 1])), Err(Inconsistency::Twice { .. })));
    assert!(matches!(check(9, true, gauges(1, "a", &[1])), Err(Inconsistency::Elsewhere { .. })));
}

#[derive(Debug, Clone)]
enum Step {
    Push { group: u8, replace: bool, names: BTreeMap<u8, BTreeSet<u8>> },
    Refuse { group: u8 },
    Delete { group: u8 },
    Expire { group: u8 },
    Emit,
    Clock { by: i64 },
}

fn step() -> impl Strategy<Value = Step> {
    let group = || 0u8..4;
    let names = prop::collection::btree_map(0u8..4, prop::collection::btree_set(0u8..5, 1..4), 0..4);
    prop_oneof![
        4 => (group(), any::<bool>(), names)
            .prop_map(|(group, replace, names)| Step::Push { group, replace, names }),
        1 => group().prop_map(|group| Step::Refuse { group }),
        1 => group().prop_map(|group| Step::Delete { group }),
        1 => group().prop_map(|group| Step::Expire { group }),
        1 => Just(Step::Emit),
        2 => (-5000i64..5000).prop_map(|by| Step::Clock { by }),
    ]
}

/// The changes of a step.
fn plan(state: &mut State, step: Step, now: &mut i64) -> Vec<Change> {
    match step {
        Step::Push { group, replace, names } => {
            let families = names.iter().flat_map(|(name, xs)| {
                gauges(group, &format!("m{name}"), &xs.iter().copied().collect::<Vec<_>>())
            });
            let families = families.collect();
            vec![push(state, group, replace, *now, families)]
        }
        Step::Refuse { group } => {
            let key = key(group);
            let at = state.next_time(&key, *now);
            vec![Change::Refused { id: state.id_of(&key), key, at, wall: *now, reason: "no".into() }]
        }
        Step::Delete { group } | Step::Expire { group } if state.get(&key(group)).is_none() => vec![],
        Step::Delete { group } => {
            vec![Change::Deleted { key: key(group), at: state.next_time(&key(group), *now) }]
        }
        Step::Expire { group } => {
            let at = state.next_time(&key(group), *now);
            vec![Change::Expired { key: key(group), at, wall: *now }]
        }
        Step::Emit => {
            let groups: Vec<_> = state.groups().cloned().collect();
            let emit = |group: &Arc<super::group::Group>| Change::Emitted {
                at: state.next_time(&group.key, *now),
                ids: vec![group.id],
            };
            groups.iter().map(emit).collect()
        }
        Step::Clock { by } => {
            *now += by;
            vec![]
        }
    }
}

fn contents(state: &State) -> Vec<super::group::Group> {
    state.groups().map(|group| (**group).clone()).collect()
}

fn members(group: &Group) -> Vec<Member> {
    group.families.unpack().into_values().flat_map(|kept| kept.family.members.clone()).collect()
}

/// Compares the incremental counts with counts from scratch.
fn check_counts(state: &State) -> Result<(), TestCaseError> {
    prop_assert_eq!(state.series(), state.groups().map(|group| group.series()).sum::<usize>());
    prop_assert_eq!(state.bytes(), state.groups().map(|group| group.bytes()).sum::<usize>());
    prop_assert_eq!(state.expired(), state.groups().filter(|group| group.expired.is_some()).count());
    for group in state.groups() {
        prop_assert_eq!(&state.by_id(group.id).unwrap().key, &group.key);
        for member in members(group) {
            prop_assert_eq!(
                state.owner_other_than(&member.labels, None).map(|owner| owner.id),
                Some(group.id)
            );
            prop_assert!(state.owner_other_than(&member.labels, Some(group.id)).is_none());
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_history_keeps_time_replays_and_undoes(
        steps in prop::collection::vec((step(), prop::bool::weighted(0.2)), 1..40)
    ) {
        let mut state = State::new(100);
        let mut now = 100_000i64;
        let mut journal: Vec<Vec<u8>> = Vec::new();
        // The last time of each series, and true if the series has not ended.
        let mut series: BTreeMap<String, (i64, bool)> = BTreeMap::new();
        for (step, fails) in steps {
            let changes = plan(&mut state, step, &mut now);
            let before = contents(&state);
            let (mut undo, mut sent) = (Undo::default(), Sent::default());
            changes.iter().for_each(|change| state.apply(change, &mut undo, &mut sent));
            for point in &sent.batch.points {
                let labels = sent.batch.labels(point.series).to_string();
                let Value::Float(value) = point.value else { continue };
                let (last, _) = series.get(&labels).copied().unwrap_or((i64::MIN, false));
                prop_assert!(point.timestamp > last, "{labels} {last} {}", point.timestamp);
                // The samples of a failed commit may have been written nevertheless, so their times are in use.
                let goes_on = if fails { series.get(&labels).is_some_and(|(_, on)| *on) } else { !is_stale(value) };
                series.insert(labels, (point.timestamp, goes_on));
            }
            if fails {
                state.undo(undo);
                let mut after = contents(&state);
                after.iter_mut().zip(&before).for_each(|(after, before)| after.clock = before.clock);
                prop_assert_eq!(after, before);
            } else if !changes.is_empty() {
                journal.push(entry::encode(&changes));
            }
            check_counts(&state)?;
        }
        // The series that have not ended are exactly those of the groups.
        let goes_on: BTreeSet<String> =
            series.iter().filter(|(_, (_, on))| *on).map(|(labels, _)| labels.clone()).collect();
        let of_groups: BTreeSet<String> = state
            .groups()
            .flat_map(|group| {
                let times = group.push_times().map(|(name, ..)| group.time_labels(name).to_string());
                let own = members(group).into_iter().map(|member| member.labels.to_string());
                own.chain(times).collect::<Vec<_>>()
            })
            .collect();
        prop_assert_eq!(goes_on, of_groups);

        let replay = |entries: &[Vec<u8>]| {
            let mut state = State::new(100);
            for entry in entries {
                entry::decode(entry).unwrap().iter().for_each(|change| state.replay(change));
            }
            state
        };
        let replayed = replay(&journal);
        check_counts(&replayed)?;
        let without_clocks = |state: &State| {
            let mut groups = contents(state);
            // A failed commit advances a clock without a journal entry.
            groups.iter_mut().for_each(|group| group.clock = 0);
            groups
        };
        prop_assert_eq!(without_clocks(&replayed), without_clocks(&state));
        let snapshot = replay(&[entry::encode(&state.snapshot())]);
        prop_assert_eq!(contents(&snapshot), contents(&state));
        check_counts(&snapshot)?;
        for group in 0..4 {
            prop_assert_eq!(snapshot.next_time(&key(group), 0), state.next_time(&key(group), 0));
        }
    }
}
