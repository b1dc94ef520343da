//! The pure parts together: histories of changes, flushes, failed commits and restarts.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test helpers")]

use crate::entry::Replay;
use crate::flush::{Begin, Flush};
use crate::limits::{Limits, Refused};
use crate::table::{Handle, NewSeries, Now, Totals};
use crate::value::{Kind, Shape};
use model::{Batch, Labels, Limits as BatchLimits, Value, is_stale};
use std::sync::Arc;
use std::time::Duration;

pub(crate) const START: i64 = 1_800_000_000_000;

pub(crate) fn now(seconds: u64) -> Now {
    Now { wall_ms: START + seconds as i64 * 1000, monotonic: Duration::from_secs(seconds) }
}

pub(crate) fn labels(name: &str, x: u8) -> Labels {
    Labels::from_pairs([("__name__", name), ("x", x.to_string().as_str())])
}

pub(crate) fn classic() -> Kind {
    Kind::Histogram(Arc::new(Shape::classic(&[0.5, 2.0]).unwrap()))
}

pub(crate) fn open(totals: &mut Totals, name: &str, x: u8, kind: &Kind, at: Now) -> Result<Handle, Refused> {
    let labels = labels(name, x);
    let ttl = Some(Duration::from_secs(3600));
    totals.open(NewSeries { labels: labels.as_ref(), kind, help: "a help", unit: "", ttl }, at)
}

/// `series value@seconds after START`, in order.
pub(crate) fn lines(batch: &Batch) -> Vec<String> {
    let line = |point: &model::Point| {
        let value = match point.value {
            Value::Float(value) if is_stale(value) => "stale".to_string(),
            Value::Float(value) => value.to_string(),
            Value::Histogram(index) => {
                let histogram = &batch.histograms[index as usize];
                histogram.validate(&BatchLimits::default()).unwrap();
                if histogram.is_stale() { "stale".into() } else { format!("native sum {}", histogram.sum) }
            }
            Value::Exemplar(_) => "exemplar".into(),
        };
        format!("{} {value}@{}", batch.labels(point.series), point.timestamp - START)
    };
    batch.points.iter().map(line).collect()
}

pub(crate) fn flush(totals: &mut Totals, at: Now) -> Flush {
    totals.flush(at, Begin::WithZero, usize::MAX).unwrap()
}

pub(crate) fn sent(totals: &mut Totals, at: Now) -> Vec<String> {
    let flush = flush(totals, at);
    let lines = lines(&flush.batch);
    totals.confirm(flush);
    lines
}

#[test]
fn a_counter_begins_with_zero_is_repeated_and_ends_with_a_marker() {
    let mut totals = Totals::new(Limits::default());
    let handle = open(&mut totals, "c", 1, &Kind::Counter, now(0)).unwrap();
    totals.add(handle, 3.0).unwrap();
    let first = flush(&mut totals, now(10));
    assert_eq!(lines(&first.batch), [r#"c{x="1"} 0@-1"#, r#"c{x="1"} 3@10000"#]);
    assert_eq!(first.batch.points[1].start_timestamp, START - 1);
    assert_eq!(first.batch.metadata[0].help, "a help");
    totals.confirm(first);
    assert!(totals.flush(now(20), Begin::WithZero, 9).is_none(), "nothing changed");
    assert_eq!(sent(&mut totals, now(70)), [r#"c{x="1"} 3@70000"#]);
    totals.add(handle, 1.0).unwrap();
    assert_eq!(sent(&mut totals, now(80)), [r#"c{x="1"} 4@80000"#]);
    assert_eq!(sent(&mut totals, now(3680)), [r#"c{x="1"} stale@3680000"#]);
    assert_eq!((totals.len(), totals.series(), totals.bytes(), totals.ended()), (0, 0, 0, 1));
    assert!(totals.add(handle, 1.0).is_err());
    let again = open(&mut totals, "c", 1, &Kind::Counter, now(3680)).unwrap();
    assert_ne!(again, handle);
    totals.add(again, 1.0).unwrap();
    assert_eq!(
        sent(&mut totals, now(3690)),
        [r#"c{x="1"} 0@3680001"#, r#"c{x="1"} 1@3690000"#],
        "a series that comes back begins after its marker"
    );
}

#[test]
fn a_total_that_changes_while_its_end_is_committed_goes_on() {
    let mut totals = Totals::new(Limits::default());
    let handle = open(&mut totals, "c", 1, &Kind::Counter, now(0)).unwrap();
    totals.add(handle, 3.0).unwrap();
    sent(&mut totals, now(10));
    let end = flush(&mut totals, now(4000));
    assert_eq!(lines(&end.batch), [r#"c{x="1"} stale@4000000"#]);
    totals.add(handle, 1.0).unwrap();
    totals.confirm(end);
    assert_eq!(sent(&mut totals, now(4010)), [r#"c{x="1"} 4@4010000"#]);
}

#[test]
fn classic_buckets_are_cumulative_and_native_ones_may_go_along() {
    let mut totals = Totals::new(Limits::default());
    let both = Kind::Histogram(Arc::new(Shape::classic(&[0.5, 2.0]).unwrap().and_native()));
    let handle = open(&mut totals, "h", 1, &both, now(0)).unwrap();
    for value in [0.1, 0.5, 1.0, 9.0] {
        totals.observe(handle, value, 2.0).unwrap();
    }
    let flush = totals.flush(now(10), Begin::WithFirstValue, 99).unwrap();
    assert_eq!(
        lines(&flush.batch),
        [
            r#"h{x="1"} native sum 21.2@10000"#,
            r#"h_bucket{le="0.5",x="1"} 4@10000"#,
            r#"h_bucket{le="2",x="1"} 6@10000"#,
            r#"h_bucket{le="+Inf",x="1"} 8@10000"#,
            r#"h_sum{x="1"} 21.2@10000"#,
            r#"h_count{x="1"} 8@10000"#,
        ]
    );
    assert_eq!(totals.series(), flush.batch.points.len());
}

#[test]
fn over_a_limit_new_series_are_refused_and_counted_and_known_ones_go_on() {
    let limits = Limits { series: 11, series_per_name: 6, bytes: 1 << 20 };
    let mut totals = Totals::new(limits);
    let known = open(&mut totals, "h", 1, &classic(), now(0)).unwrap();
    assert!(matches!(open(&mut totals, "h", 2, &classic(), now(0)), Err(Refused::SeriesOfName { .. })));
    for x in 0..6 {
        open(&mut totals, "c", x, &Kind::Counter, now(0)).unwrap();
    }
    assert!(matches!(open(&mut totals, "c", 9, &Kind::Counter, now(0)), Err(Refused::Series { .. })));
    let refused = totals.refused().by_name().clone();
    assert_eq!(refused, [("c".to_string(), 1), ("h".into(), 1)].into());
    totals.observe(known, 1.0, 1.0).unwrap();
    totals.set_limits(Limits { bytes: 1, ..Limits::default() });
    assert!(matches!(open(&mut totals, "d", 9, &Kind::Counter, now(0)), Err(Refused::Memory { .. })));
}

#[test]
fn names_have_one_type() {
    let mut totals = Totals::new(Limits::default());
    open(&mut totals, "h", 1, &classic(), now(0)).unwrap();
    let mut refused = |name: &str, x, kind: &Kind| open(&mut totals, name, x, kind, now(0)).unwrap_err();
    assert!(matches!(refused("h_sum", 1, &Kind::Counter), Refused::Part { .. }));
    assert!(matches!(refused("h", 1, &Kind::Counter), Refused::Kind { .. }));
    assert!(matches!(refused("h", 2, &Kind::Gauge), Refused::NameKind { .. }));
    open(&mut totals, "g_count", 1, &Kind::Gauge, now(0)).unwrap();
    let error = open(&mut totals, "g", 1, &classic(), now(0)).unwrap_err();
    assert_eq!(
        error.to_string(),
        r#""g_count" collides with the histogram "g", which has a series of that name"#
    );
}

#[test]
fn parts_of_a_flush_have_one_time() {
    let mut totals = Totals::new(Limits::default());
    for x in 0..10 {
        open(&mut totals, "g", x, &Kind::Gauge, now(0)).unwrap();
    }
    let (mut parts, mut points) = (0, Vec::new());
    while let Some(part) = totals.flush(now(10 + parts), Begin::WithZero, 4) {
        parts += 1;
        points.extend(part.batch.points.iter().map(|point| point.timestamp));
        let more = part.more;
        totals.confirm(part);
        if !more {
            break;
        }
    }
    assert_eq!((parts, points), (3, vec![START + 10_000; 10]));
}

#[test]
fn changes_whose_commit_fails_are_undone() {
    let mut totals = Totals::new(Limits::default());
    let [known, gauge] = [("c", Kind::Counter), ("g", Kind::Gauge)]
        .map(|(name, kind)| open(&mut totals, name, 1, &kind, now(0)).unwrap());
    let histogram = open(&mut totals, "h", 1, &classic(), now(0)).unwrap();
    totals.add(known, 3.0).unwrap();
    totals.set_mark(known, [1, 2]).unwrap();
    let shown = sent(&mut totals, now(10));
    totals.begin_changes();
    for _ in 0..2 {
        totals.add(known, 5.0).unwrap();
        totals.set(gauge, 7.0).unwrap();
        totals.add_classic(histogram, &[1, 1, 0], 2.0).unwrap();
    }
    totals.set_mark(known, [3, 4]).unwrap();
    totals.set_applied(9, now(20));
    let new = open(&mut totals, "c", 2, &Kind::Counter, now(20)).unwrap();
    totals.add(new, 1.0).unwrap();
    let flush = totals.flush_changes(now(20), Begin::WithZero).unwrap();
    let series =
        |lines: &[String]| lines.iter().map(|line| line.split('@').next().unwrap().to_string()).collect();
    let changed: Vec<String> = series(&lines(&flush.batch));
    assert!(
        changed.contains(&r#"c{x="1"} 13"#.into()) && changed.contains(&r#"c{x="2"} 1"#.into()),
        "{changed:?}"
    );
    totals.retract(flush);
    totals.undo_changes();
    assert!(!totals.is_open(new) && !totals.is_applied(9));
    assert_eq!((totals.len(), totals.mark(known)), (3, Some([1, 2])));
    assert!(totals.flush(now(30), Begin::WithZero, 99).is_none(), "nothing changed");
    let again: Vec<String> = series(&sent(&mut totals, now(100)));
    let before: Vec<String> = series(&shown);
    assert!(again.iter().all(|line| before.contains(line)), "{again:?}");
    assert!(again.contains(&r#"c{x="1"} 3"#.into()) && again.contains(&r#"g{x="1"} 0"#.into()), "{again:?}");
}

#[test]
fn marks_and_applied_requests_are_in_the_journal_and_in_a_snapshot() {
    let mut totals = Totals::new(Limits::default());
    totals.begin_changes();
    let handle = open(&mut totals, "c", 1, &Kind::Counter, now(0)).unwrap();
    totals.set_mark(handle, [1_800_000_000_000_000_000, u64::MAX]).unwrap();
    totals.set_applied(u128::MAX - 5, now(0));
    let flush = totals.flush_changes(now(0), Begin::WithZero).unwrap();
    let journal = vec![flush.entry.clone()];
    totals.confirm(flush);
    totals.end_changes();
    totals.begin_changes();
    assert!(totals.flush_changes(now(1), Begin::WithZero).is_none(), "a repeated request changes nothing");
    totals.end_changes();
    for journal in [journal, totals.snapshot()] {
        let totals = restarted(&journal, Duration::ZERO);
        let handle = totals.find(labels("c", 1).as_ref()).unwrap();
        assert_eq!(totals.mark(handle), Some([1_800_000_000_000_000_000, u64::MAX]));
        assert!(totals.is_applied(u128::MAX - 5) && !totals.is_applied(5));
    }
}

#[test]
fn a_histogram_with_other_buckets_begins_again_in_its_commit() {
    let with = |bounds: &[f64]| Kind::Histogram(Arc::new(Shape::classic(bounds).unwrap()));
    let mut totals = Totals::new(Limits::default());
    let named = labels("h", 1);
    let new = |kind| NewSeries { labels: named.as_ref(), kind, help: "", unit: "seconds", ttl: None };
    let (old, kind) = (with(&[1.0, 2.0]), with(&[2.0, 3.0]));
    let handle = totals.open_or_restart(new(&old), now(0)).unwrap();
    totals.add_classic(handle, &[1, 2, 3], 9.0).unwrap();
    let first = flush(&mut totals, now(10));
    assert_eq!(first.batch.metadata[0].unit, "seconds");
    let mut journal = vec![first.entry.clone()];
    totals.confirm(first);
    // A commit that fails changes nothing.
    totals.begin_changes();
    let changed = totals.open_or_restart(new(&kind), now(20)).unwrap();
    totals.add_classic(changed, &[1, 0, 0], 1.0).unwrap();
    let failed = totals.flush_changes(now(20), Begin::WithZero).unwrap();
    totals.retract(failed);
    totals.undo_changes();
    let handle = totals.find(named.as_ref()).unwrap();
    let before = restarted(&totals.snapshot(), Duration::ZERO);
    let read = before.find(named.as_ref()).unwrap();
    assert_eq!(before.get(read).unwrap().total, totals.get(handle).unwrap().total);
    totals.begin_changes();
    let changed = totals.open_or_restart(new(&kind), now(30)).unwrap();
    totals.add_classic(changed, &[1, 0, 1], 5.0).unwrap();
    let again = totals.flush_changes(now(30), Begin::WithZero).unwrap();
    let sent = lines(&again.batch);
    let of = |series: &str| -> Vec<String> {
        let value =
            |line: &String| line.strip_prefix(series).map(|rest| rest.split('@').next().unwrap().into());
        sent.iter().filter_map(value).collect()
    };
    assert_eq!(of(r#"h_bucket{le="1",x="1"} "#), ["1", "stale"]);
    assert_eq!(of(r#"h_bucket{le="2",x="1"} "#), ["3", "stale", "0", "1"]);
    assert_eq!(of(r#"h_count{x="1"} "#), ["6", "stale", "0", "2"]);
    journal.push(again.entry.clone());
    totals.confirm(again);
    totals.end_changes();
    let mut totals = restarted(&journal, Duration::ZERO);
    let handle = totals.find(named.as_ref()).unwrap();
    totals.add_classic(handle, &[0, 1, 0], 0.0).unwrap();
    let flush = flush(&mut totals, now(40));
    assert_eq!(lines(&flush.batch)[1], r#"h_bucket{le="3",x="1"} 2@40000"#);
    assert_eq!(flush.batch.metadata[0].unit, "seconds", "the journal has it");
}

/// What docs/benchmarks.md says of the journal.
#[test]
fn a_changed_total_takes_few_bytes_of_the_journal() {
    let bounds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
    let classic = Kind::Histogram(Arc::new(Shape::classic(&bounds).unwrap()));
    for (kind, most) in [(Kind::Counter, 13), (Kind::Gauge, 12), (classic, 52)] {
        let mut totals = Totals::new(Limits::default());
        let handles: Vec<Handle> =
            (0..200).map(|x| open(&mut totals, "m", x, &kind, now(0)).unwrap()).collect();
        let change = |totals: &mut Totals| {
            for handle in &handles {
                let _ = (totals.add(*handle, 1.0), totals.set(*handle, 1.0));
                for value in bounds {
                    let _ = totals.observe(*handle, value, 100.0);
                }
            }
        };
        change(&mut totals);
        sent(&mut totals, now(10));
        change(&mut totals);
        let bytes = flush(&mut totals, now(20)).entry.len() as f64 / handles.len() as f64;
        assert!(bytes <= f64::from(most), "{bytes} bytes for {kind:?}");
        assert!(bytes > f64::from(most) - 3.0, "{bytes} bytes for {kind:?}: correct docs/benchmarks.md");
    }
}

pub(crate) fn restarted(journal: &[Vec<u8>], at: Duration) -> Totals {
    let mut replay = Replay::new(Totals::new(Limits::default()), at);
    journal.iter().for_each(|entry| replay.entry(entry).unwrap());
    replay.finish()
}
