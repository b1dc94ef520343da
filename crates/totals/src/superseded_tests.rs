//! Other settings make something else of known series.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test helpers")]

use crate::flush::Begin;
use crate::limits::{Limits, Refused, TURNS_MAX};
use crate::table::{Handle, NewSeries, Totals};
use crate::tests::{classic, flush, labels, lines, now, open, restarted, sent};
use crate::value::{Kind, Shape, SummaryPart};
use model::Labels;
use std::sync::Arc;
use std::time::Duration;

fn bounds(bounds: &[f64]) -> Kind {
    Kind::Histogram(Arc::new(Shape::classic(bounds).unwrap()))
}

/// The series of a summary: its count, its sum and a quantile.
fn open_summary(totals: &mut Totals, at: u64) -> Result<[Handle; 3], Refused> {
    let mut open = |pairs: &[(&str, &str)], part| {
        let labels = Labels::from_pairs(pairs.iter().copied());
        let kind = &Kind::Summary(part);
        totals.open(NewSeries { labels: labels.as_ref(), kind, help: "", unit: "", ttl: None }, now(at))
    };
    let quantile = open(&[("__name__", "h"), ("quantile", "0.5"), ("x", "1")], SummaryPart::Quantile)?;
    let sum = open(&[("__name__", "h_sum"), ("x", "1")], SummaryPart::Sum)?;
    Ok([open(&[("__name__", "h_count"), ("x", "1")], SummaryPart::Count)?, sum, quantile])
}

const OLD: [&str; 3] =
    [r#"h_bucket{le="0.5",x="1"}"#, r#"h_bucket{le="2",x="1"}"#, r#"h_bucket{le="+Inf",x="1"}"#];

/// A histogram with two observations that were sent, and one that was not.
fn with_histogram() -> (Totals, Vec<Vec<u8>>) {
    let mut totals = Totals::new(Limits::default());
    let handle = open(&mut totals, "h", 1, &classic(), now(0)).unwrap();
    totals.observe(handle, 1.0, 2.0).unwrap();
    let first = flush(&mut totals, now(10));
    let journal = vec![first.entry.clone()];
    totals.confirm(first);
    totals.observe(handle, 9.0, 1.0).unwrap();
    (totals, journal)
}

#[test]
fn other_bounds_end_the_old_total_and_begin_a_new_one_in_one_commit() {
    let (mut totals, mut journal) = with_histogram();
    totals.describe_again();
    let old = totals.find(labels("h", 1).as_ref()).unwrap();
    let new = open(&mut totals, "h", 1, &bounds(&[2.0]), now(12)).unwrap();
    assert!(!totals.is_open(old) && totals.observe(old, 1.0, 1.0).is_err());
    totals.observe(new, 1.0, 5.0).unwrap();
    let both = flush(&mut totals, now(20));
    assert_eq!(
        lines(&both.batch),
        [
            &format!("{} 0@11997", OLD[0]) as &str,
            &format!("{} 2@11997", OLD[1]),
            &format!("{} 3@11997", OLD[2]),
            r#"h_sum{x="1"} 11@11997"#,
            r#"h_count{x="1"} 3@11997"#,
            &format!("{} stale@11998", OLD[0]),
            &format!("{} stale@11998", OLD[1]),
            &format!("{} stale@11998", OLD[2]),
            r#"h_sum{x="1"} stale@11998"#,
            r#"h_count{x="1"} stale@11998"#,
            &format!("{} 0@11999", OLD[1]),
            &format!("{} 0@11999", OLD[2]),
            r#"h_sum{x="1"} 0@11999"#,
            r#"h_count{x="1"} 0@11999"#,
            &format!("{} 5@20000", OLD[1]),
            &format!("{} 5@20000", OLD[2]),
            r#"h_sum{x="1"} 5@20000"#,
            r#"h_count{x="1"} 5@20000"#,
        ]
    );
    assert_eq!(both.batch.points.last().unwrap().start_timestamp, crate::tests::START + 11_999);
    journal.push(both.entry.clone());
    totals.confirm(both);
    assert_eq!((totals.len(), totals.series(), totals.ended()), (1, 4, 1));
    for journal in [journal, totals.snapshot()] {
        let again = restarted(&journal, Duration::ZERO);
        let handle = again.find(labels("h", 1).as_ref()).unwrap();
        assert_eq!((again.len(), again.get(handle).unwrap().total.kind()), (1, bounds(&[2.0])));
    }
}

#[test]
fn totals_of_the_journal_give_way_to_the_settings_of_this_start() {
    let (_, journal) = with_histogram();
    let mut totals = restarted(&journal, Duration::from_secs(30));
    let native = Kind::Histogram(Arc::new(Shape::native()));
    open(&mut totals, "h", 1, &native, now(30)).unwrap();
    let shown = sent(&mut totals, now(40));
    assert!(shown.contains(&r#"h_count{x="1"} 2@29997"#.to_string()), "{shown:?}");
    assert!(shown.contains(&r#"h_count{x="1"} stale@29998"#.to_string()), "{shown:?}");
    assert_eq!(shown.last().unwrap(), r#"h{x="1"} native sum 0@40000"#);
    assert_eq!(totals.series(), 1);
}

#[test]
fn two_descriptions_of_one_series_contradict_each_other() {
    let (mut totals, _) = with_histogram();
    let refused = open(&mut totals, "h", 1, &bounds(&[2.0]), now(12)).unwrap_err();
    assert_eq!(refused.to_string(), r#"h{x="1"} is a histogram with other buckets"#);
    totals.describe_again();
    open(&mut totals, "h", 1, &bounds(&[2.0]), now(12)).unwrap();
    assert!(matches!(open(&mut totals, "h", 1, &classic(), now(12)), Err(Refused::Shape { .. })));
    assert!(matches!(open_summary(&mut totals, 12), Err(Refused::NameKind { .. })));
}

#[test]
fn another_type_is_refused_whatever_the_settings_were() {
    let mut totals = Totals::new(Limits::default());
    open(&mut totals, "c", 1, &Kind::Counter, now(0)).unwrap();
    open(&mut totals, "n_sum", 1, &Kind::Counter, now(0)).unwrap();
    let native = Kind::Histogram(Arc::new(Shape::native()));
    let handle = open(&mut totals, "n", 1, &native, now(0)).unwrap();
    totals.describe_again();
    for kind in [Kind::Gauge, classic(), Kind::Summary(SummaryPart::Quantile)] {
        assert!(matches!(open(&mut totals, "c", 1, &kind, now(1)), Err(Refused::Kind { .. })), "{kind:?}");
        assert!(
            matches!(open(&mut totals, "c", 2, &kind, now(1)), Err(Refused::NameKind { .. })),
            "{kind:?}"
        );
    }
    // A part of it would collide: the old total stays.
    assert!(matches!(open(&mut totals, "n", 1, &classic(), now(1)), Err(Refused::Part { .. })));
    assert!(totals.is_open(handle));
}

#[test]
fn histograms_and_summaries_take_each_others_place() {
    let (mut totals, _) = with_histogram();
    open(&mut totals, "h", 2, &classic(), now(1)).unwrap();
    sent(&mut totals, now(11));
    totals.describe_again();
    let [count, ..] = open_summary(&mut totals, 12).unwrap();
    totals.add(count, 4.0).unwrap();
    let shown = sent(&mut totals, now(20));
    assert_eq!(shown.iter().filter(|line| line.contains("stale@11998")).count(), 10, "{shown:?}");
    let of_count: Vec<_> = shown.iter().filter(|line| line.starts_with(r#"h_count{x="1"}"#)).collect();
    assert_eq!(
        of_count,
        [
            r#"h_count{x="1"} 3@11997"#,
            r#"h_count{x="1"} stale@11998"#,
            r#"h_count{x="1"} 0@11999"#,
            r#"h_count{x="1"} 4@20000"#
        ]
    );
    assert_eq!((totals.len(), totals.series()), (3, 3));
    let journal = totals.snapshot();
    let mut totals = restarted(&journal, Duration::from_secs(20));
    totals.keep_quantiles("h", &[0.5], now(21));
    assert_eq!(totals.len(), 3);
    totals.keep_quantiles("h", &[0.9], now(21));
    assert_eq!(totals.len(), 2);
    open(&mut totals, "h", 1, &classic(), now(22)).unwrap();
    assert_eq!((totals.len(), totals.series()), (1, 5));
    let shown = sent(&mut totals, now(30));
    assert_eq!(shown.iter().filter(|line| line.contains("stale")).count(), 3, "{shown:?}");
}

#[test]
fn failed_commits_and_a_clock_that_stands_still_change_nothing_of_the_order() {
    let (mut totals, _) = with_histogram();
    totals.describe_again();
    let new = open(&mut totals, "h", 1, &bounds(&[2.0]), now(10)).unwrap();
    let mut last = crate::tests::START + 10_000;
    for fails in [true, true, false] {
        totals.observe(new, 1.0, 1.0).unwrap();
        let flush = totals.flush(now(10), Begin::WithZero, usize::MAX).unwrap();
        let mut of_count: Vec<_> = Vec::new();
        for point in &flush.batch.points {
            if flush.batch.labels(point.series).to_string().starts_with("h_count") {
                of_count.push(point.timestamp);
            }
        }
        // Value, marker, value, and a zero that is sent once.
        assert!(of_count.len() >= 3 && of_count[0] > last, "{of_count:?}");
        assert!(of_count.is_sorted_by(|one, next| one < next), "{of_count:?}");
        last = *of_count.last().unwrap();
        match fails {
            true => totals.retract(flush),
            false => assert_eq!(totals.confirm(flush), 1),
        }
    }
    assert!(totals.flush(now(20), Begin::WithZero, 9).is_none());
}

#[test]
fn a_flush_in_parts_ends_superseded_totals_before_it_begins_new_ones() {
    let mut totals = Totals::new(Limits::default());
    for x in 0..9 {
        open(&mut totals, "h", x, &classic(), now(0)).unwrap();
    }
    let part = totals.flush(now(10), Begin::WithZero, 10).unwrap();
    assert!(part.more);
    // Comes while the first part is committed: the rest of that flush begins with the ends.
    totals.describe_again();
    for x in 0..9 {
        open(&mut totals, "h", x, &bounds(&[]), now(10)).unwrap();
    }
    totals.confirm(part);
    let mut points = Vec::new();
    loop {
        let part = totals.flush(now(10), Begin::WithZero, 10).unwrap();
        points.extend(lines(&part.batch));
        assert!(part.batch.points.len() < 40);
        let more = part.more;
        totals.confirm(part);
        if !more {
            break;
        }
    }
    let last_marker = points.iter().rposition(|line| line.contains("stale")).unwrap();
    let new = |line: &&String| line.contains("h_count") && line.ends_with(" 0@10005");
    assert_eq!(points[last_marker..].iter().filter(new).count(), 9, "{points:?}");
    assert_eq!((totals.len(), totals.ended()), (9, 9));
}

#[test]
fn undone_changes_put_superseded_totals_back() {
    let (mut totals, _) = with_histogram();
    sent(&mut totals, now(11));
    for epochs in [1, 2] {
        totals.begin_changes();
        let old = totals.find(labels("h", 1).as_ref()).unwrap();
        totals.remember(old);
        totals.observe(old, 1.0, 7.0).unwrap();
        for epoch in 0..epochs {
            totals.describe_again();
            open(&mut totals, "h", 1, &bounds(&[f64::from(epoch)]), now(12)).unwrap();
        }
        let flush = totals.flush_changes(now(20), Begin::WithZero).unwrap();
        totals.retract(flush);
        totals.undo_changes();
        let handle = totals.find(labels("h", 1).as_ref()).unwrap();
        assert_eq!(totals.get(handle).unwrap().total.kind(), classic());
        assert_eq!((totals.len(), totals.series(), totals.superseded.len()), (1, 5, 0));
        totals.observe(handle, 1.0, 1.0).unwrap();
    }
    let shown = sent(&mut totals, now(30));
    assert_eq!(shown.last().unwrap(), r#"h_count{x="1"} 5@30000"#);
}

#[test]
fn over_the_limit_of_memory_no_total_is_superseded() {
    let (mut totals, _) = with_histogram();
    totals.set_limits(Limits { bytes: 1, ..Limits::default() });
    totals.describe_again();
    assert!(matches!(open(&mut totals, "h", 1, &bounds(&[]), now(12)), Err(Refused::Memory { .. })));
    assert_eq!(totals.superseded.len(), 0, "the old total stays");
    totals.set_limits(Limits { bytes: 1 << 20, ..Limits::default() });
    open(&mut totals, "h", 1, &bounds(&[]), now(12)).unwrap();
    totals.describe_again();
    totals.set_limits(Limits { bytes: 1, ..Limits::default() });
    let refused = open(&mut totals, "h", 1, &bounds(&[1.0]), now(13)).unwrap_err();
    assert!(matches!(refused, Refused::Memory { .. }));
    assert!(totals.find(labels("h", 1).as_ref()).is_some());
    assert_eq!(totals.superseded.len(), 1);
    sent(&mut totals, now(20));
    assert_eq!(totals.superseded_bytes, 0);
}

/// The times of the samples of each series, as sent.
fn assert_times_rise(points: &[String]) {
    let mut last = std::collections::HashMap::new();
    for point in points {
        let (sample, at) = point.rsplit_once('@').unwrap();
        let (series, at): (_, i64) = (sample.split_once("} ").unwrap().0, at.parse().unwrap());
        assert!(last.insert(series, at).is_none_or(|last| last < at), "{point} in {points:?}");
    }
}

#[test]
fn two_changes_of_buckets_before_a_flush_take_turns() {
    let mut totals = Totals::new(Limits::default());
    for (bound, weight) in [(1.0, 1.0), (2.0, 2.0), (3.0, 3.0)] {
        let handle = open(&mut totals, "h", 1, &bounds(&[bound]), now(10)).unwrap();
        totals.observe(handle, 9.0, weight).unwrap();
        totals.describe_again();
    }
    let flush = flush(&mut totals, now(10));
    let shown = lines(&flush.batch);
    assert_times_rise(&shown);
    let of_count: Vec<_> = shown.iter().filter_map(|line| line.strip_prefix(r#"h_count{x="1"} "#)).collect();
    assert_eq!(
        of_count,
        ["0@9996", "1@9997", "stale@9998", "0@9999", "2@10000", "stale@10001", "0@10002", "3@10003"]
    );
    assert_eq!(totals.confirm(flush), 2);
    assert_eq!((totals.len(), totals.superseded.len()), (1, 0));
}

#[test]
fn a_snapshot_has_the_committed_total_of_several_that_wait_for_their_end() {
    let (mut totals, _) = with_histogram();
    for step in 0..3 {
        totals.describe_again();
        match step {
            1 => drop(open(&mut totals, "h", 1, &bounds(&[2.0]), now(12)).unwrap()),
            _ => drop(open_summary(&mut totals, 12).unwrap()),
        }
        let failed = flush(&mut totals, now(12));
        assert_times_rise(&lines(&failed.batch));
        totals.retract(failed);
    }
    let mut again = restarted(&totals.snapshot(), Duration::from_secs(13));
    let handle = again.find(labels("h", 1).as_ref()).unwrap();
    assert_eq!((again.len(), again.get(handle).unwrap().total.kind()), (1, classic()));
    open_summary(&mut again, 13).unwrap();
    assert_times_rise(&sent(&mut again, now(13)));
}

#[test]
fn a_total_that_is_superseded_during_its_commit_is_in_the_journal() {
    let mut totals = Totals::new(Limits::default());
    open(&mut totals, "h", 1, &classic(), now(0)).unwrap();
    let first = flush(&mut totals, now(10));
    totals.describe_again();
    open(&mut totals, "h", 1, &bounds(&[2.0]), now(10)).unwrap();
    totals.confirm(first);
    let again = restarted(&totals.snapshot(), Duration::ZERO);
    let handle = again.find(labels("h", 1).as_ref()).unwrap();
    assert_eq!(again.get(handle).unwrap().total.kind(), classic());
    // The same during a commit that fails: the total whose end was in it has its turn first.
    let second = flush(&mut totals, now(10));
    totals.describe_again();
    open(&mut totals, "h", 1, &bounds(&[3.0]), now(10)).unwrap();
    totals.retract(second);
    let shown = sent(&mut totals, now(10));
    assert_times_rise(&shown);
    assert_eq!(shown.iter().filter(|line| line.starts_with("h_count") && line.contains("stale")).count(), 2);
}

#[test]
fn turns_before_a_flush_are_bounded() {
    let mut totals = Totals::new(Limits::default());
    let kinds = [classic(), bounds(&[2.0])];
    let restart = |totals: &mut Totals, x, turn: usize| {
        let labels = labels("h", x);
        let kind = &kinds[turn % 2];
        totals.open_or_restart(
            NewSeries { labels: labels.as_ref(), kind, help: "", unit: "", ttl: None },
            now(1),
        )
    };
    restart(&mut totals, 2, 0).unwrap();
    for turn in 0..=TURNS_MAX {
        restart(&mut totals, 1, turn).unwrap();
    }
    let refused = restart(&mut totals, 1, TURNS_MAX + 1).unwrap_err();
    assert!(matches!(refused, Refused::Turns { .. }) && refused.is_over_limit(), "{refused}");
    restart(&mut totals, 2, 1).unwrap();
    assert_times_rise(&sent(&mut totals, now(1)));
    restart(&mut totals, 1, TURNS_MAX + 1).unwrap();
}
