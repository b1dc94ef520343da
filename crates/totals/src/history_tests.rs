//! Any history of changes, flushes, failed commits, restarts and other settings: totals are exact and never go back.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test helpers")]

use crate::entry::Replay;
use crate::flush::Begin;
use crate::limits::Limits;
use crate::table::Totals;
use crate::tests::{classic, labels, now, open, restarted};
use crate::value::{Kind, Shape, Total};
use model::{Value, is_stale};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug, Clone)]
enum Step {
    Add {
        x: u8,
        value: u16,
    },
    Set {
        x: u8,
        value: i16,
    },
    Shift {
        x: u8,
        by: i16,
    },
    Observe {
        x: u8,
        value: u8,
        weight: u8,
    },
    Flush {
        fails: bool,
    },
    Wait {
        seconds: u16,
    },
    /// Other settings: histograms get their other buckets with the next observation.
    Describe,
    /// A kill: what was not flushed is gone.
    Restart {
        rewritten: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let x = || 0u8..3;
    prop_oneof![
        3 => (x(), any::<u16>()).prop_map(|(x, value)| Step::Add { x, value }),
        1 => (x(), any::<i16>()).prop_map(|(x, value)| Step::Set { x, value }),
        1 => (x(), any::<i16>()).prop_map(|(x, by)| Step::Shift { x, by }),
        2 => (x(), any::<u8>(), 1u8..9).prop_map(|(x, value, weight)| Step::Observe { x, value, weight }),
        4 => prop::bool::weighted(0.3).prop_map(|fails| Step::Flush { fails }),
        2 => prop_oneof![0u16..20, 3500u16..3700].prop_map(|seconds| Step::Wait { seconds }),
        1 => Just(Step::Describe),
        1 => any::<bool>().prop_map(|rewritten| Step::Restart { rewritten }),
    ]
}

/// The totals that the log shows, and those that were never committed.
type Shown = BTreeMap<String, f64>;

fn is_of_histogram(series: &str, x: u8) -> bool {
    series.starts_with('h') && series.ends_with(&format!("x=\"{x}\"}}"))
}

proptest! {
    #[test]
    fn any_history_is_exact_and_nothing_goes_back(steps in prop::collection::vec(step(), 1..60)) {
        let mut totals = Totals::new(Limits::default());
        let mut journal: Vec<Vec<u8>> = Vec::new();
        let mut seconds = 0;
        let other = Kind::Histogram(Arc::new(Shape::classic(&[7.0]).unwrap()));
        let mut shapes = [classic(), other];
        // What must be shown, in memory and as committed.
        let (mut expected, mut committed) = (Shown::new(), Shown::new());
        let mut shown: BTreeMap<String, (i64, f64)> = BTreeMap::new();
        let mut shown_and_committed = shown.clone();
        for step in steps {
            let at = now(seconds);
            match step {
                Step::Add { x, value } => {
                    let handle = open(&mut totals, "c", x, &Kind::Counter, at).unwrap();
                    totals.add(handle, f64::from(value)).unwrap();
                    *expected.entry(labels("c", x).to_string()).or_default() += f64::from(value);
                }
                Step::Set { x, value } => {
                    let handle = open(&mut totals, "g", x, &Kind::Gauge, at).unwrap();
                    totals.set(handle, f64::from(value)).unwrap();
                    expected.insert(labels("g", x).to_string(), f64::from(value));
                }
                Step::Shift { x, by } => {
                    let handle = open(&mut totals, "g", x, &Kind::Gauge, at).unwrap();
                    totals.shift(handle, f64::from(by)).unwrap();
                    *expected.entry(labels("g", x).to_string()).or_default() += f64::from(by);
                }
                Step::Observe { x, value, weight } => {
                    let had = totals.find(labels("h", x).as_ref());
                    if had.is_some_and(|handle| totals.get(handle).unwrap().total.kind() != shapes[0]) {
                        expected.retain(|series, _| !is_of_histogram(series, x));
                    }
                    let handle = open(&mut totals, "h", x, &shapes[0], at).unwrap();
                    totals.observe(handle, f64::from(value), f64::from(weight)).unwrap();
                    *expected.entry(labels("h_count", x).to_string()).or_default() += f64::from(weight);
                    let sum = f64::from(value) * f64::from(weight);
                    *expected.entry(labels("h_sum", x).to_string()).or_default() += sum;
                }
                Step::Flush { fails } => {
                    let Some(flush) = totals.flush(at, Begin::WithZero, usize::MAX) else { continue };
                    let mut ended = Vec::new();
                    for point in &flush.batch.points {
                        let series = flush.batch.labels(point.series).to_string();
                        let Value::Float(value) = point.value else { continue };
                        let last = shown.get(&series).copied();
                        ended.retain(|ended| *ended != series);
                        // Failed commits may have been written all the same, so their samples count.
                        prop_assert!(last.is_none_or(|(time, _)| point.timestamp > time), "{series}");
                        let is_zero = value == 0.0 && point.start_timestamp == 0;
                        if !series.starts_with('g') && !is_stale(value) && !is_zero {
                            let before = last.map_or(0.0, |(_, value)| value);
                            // Only a restart loses what was not committed.
                            prop_assert!(fails || value >= before, "{series} {before} {value}");
                        }
                        if is_stale(value) {
                            ended.push(series.clone());
                        }
                        // A failed commit: assume here that nothing of it was written but its time.
                        let value = if is_stale(value) || is_zero { 0.0 } else { value };
                        let value = if fails { last.map_or(0.0, |(_, value)| value) } else { value };
                        shown.insert(series, (point.timestamp, value));
                    }
                    if fails {
                        totals.retract(flush);
                    } else {
                        journal.push(flush.entry.clone());
                        totals.confirm(flush);
                        expected.retain(|series, _| !ended.contains(series));
                        committed = expected.clone();
                        shown_and_committed = shown.clone();
                    }
                }
                Step::Describe => {
                    shapes.swap(0, 1);
                    totals.describe_again();
                }
                Step::Wait { seconds: by } => seconds += u64::from(by),
                Step::Restart { rewritten } => {
                    if rewritten {
                        // A snapshot has what was not flushed yet of series that were.
                        journal = totals.snapshot();
                    } else {
                        expected = committed.clone();
                        shown = shown_and_committed.clone();
                    }
                    let before = totals;
                    totals = restarted(&journal, Duration::from_secs(seconds));
                    if rewritten {
                        let known = |series: &String| {
                            let (name, x) = (series.chars().next().unwrap(), series.rsplit('"').nth(1).unwrap());
                            let key = labels(&name.to_string(), x.parse().unwrap());
                            totals.find(key.as_ref()).is_some()
                        };
                        expected.retain(|series, _| known(series));
                        // Totals whose end was not committed are back.
                        for old in &before.superseded {
                            let x = old.series.labels.as_ref().get("x").unwrap()[0] - b'0';
                            expected.retain(|series, _| !is_of_histogram(series, x));
                            let handle = totals.find(labels("h", x).as_ref());
                            let total = handle.and_then(|handle| totals.get(handle)).map(|series| &series.total);
                            if let Some(Total::Histogram(total)) = total {
                                expected.insert(labels("h_count", x).to_string(), total.count as f64);
                                expected.insert(labels("h_sum", x).to_string(), total.sum.value());
                            }
                        }
                        committed = expected.clone();
                    }
                    prop_assert!(totals.len() <= before.len());
                }
            }
            prop_assert_eq!(totals.is_empty(), totals.series() == 0);
        }
        // All of it is shown once more, exactly.
        let mut last = Shown::new();
        let mut from = 0;
        while let Some((handle, next)) = totals.next(from) {
            from = next;
            totals.get_mut(handle).unwrap().is_changed = true;
        }
        if let Some(flush) = totals.flush(now(seconds), Begin::WithFirstValue, usize::MAX) {
            for point in &flush.batch.points {
                let series = flush.batch.labels(point.series).to_string();
                if let Value::Float(value) = point.value && !series.contains("le=") {
                    last.insert(series, value);
                }
            }
        }
        prop_assert_eq!(last, expected);
    }

    #[test]
    fn any_bytes_are_an_entry_or_an_error(mut bytes: Vec<u8>) {
        let mut replay = Replay::new(Totals::new(Limits::default()), Duration::ZERO);
        let _ = replay.entry(&bytes);
        bytes.insert(0, 1);
        let _ = replay.entry(&bytes);
        let _ = flush_all(replay.finish());
    }
}

fn flush_all(mut totals: Totals) -> usize {
    totals.flush(now(1000), Begin::WithZero, usize::MAX).map_or(0, |flush| flush.batch.points.len())
}
