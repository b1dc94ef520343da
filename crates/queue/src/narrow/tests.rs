//! Tests of the search alone.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helper functions of tests")]

use super::*;
use proptest::prelude::*;

/// Runs the search against a receiver that accepts no request with a bad point. Checks the order. Returns the
/// number of requests.
fn run(points: &[Candidate], bad: &[bool], goal: Goal) -> (Narrow, u32) {
    let mut narrow = Narrow::new(points.to_vec(), goal);
    let mut requests = 0;
    let mut newest_sent = std::collections::HashMap::new();
    while !narrow.request().is_empty() {
        requests += 1;
        let request = narrow.request().to_vec();
        assert!(request.is_sorted());
        let accepted = request.iter().all(|i| !bad[*i as usize]);
        for &index in &request {
            let series = points[index as usize].series;
            for earlier in 0..index {
                let open = !narrow.known()[earlier as usize].is_settled();
                assert!(
                    points[earlier as usize].series != series || !open || request.contains(&earlier),
                    "point {index} is sent before {earlier}, which is older and open"
                );
            }
            if accepted {
                let last = newest_sent.insert(series, index);
                assert!(last.is_none_or(|last| last < index), "delivered out of order");
            }
        }
        narrow.answer(match (accepted, goal) {
            (true, _) => Answer::Accepted,
            (false, Goal::Refuse) => Answer::Refused,
            (false, _) => Answer::Failed,
        });
    }
    (narrow, requests)
}

fn limit(points: usize) -> u32 {
    2 * points.ilog2() + 16
}

#[test]
fn one_bad_sample_of_two_thousand_refuses_only_that_sample() {
    let points: Vec<_> = (0..2000).map(|i| Candidate { series: i, timestamp: 7 }).collect();
    for at in [0, 1, 999, 1000, 1500, 1999] {
        let bad: Vec<_> = (0..2000).map(|i| i == at).collect();
        let (narrow, requests) = run(&points, &bad, Goal::Refuse);
        for (index, known) in narrow.known().iter().enumerate() {
            let right = if index == at { Known::Culprit } else { Known::Accepted };
            assert_eq!(*known, right, "{index} with {at} bad");
        }
        assert!(requests <= 24, "{requests} requests");
    }
}

#[test]
fn wholly_refused_batch_costs_eight_requests() {
    let points: Vec<_> = (0..2000).map(|i| Candidate { series: i, timestamp: 7 }).collect();
    let (narrow, requests) = run(&points, &[true; 2000], Goal::Refuse);
    assert_eq!(requests, 8);
    assert!(!narrow.unsettled().any(|open| open));
}

#[test]
fn isolating_holds_the_culprit_and_later_points_of_its_series() {
    let points: Vec<_> = (0..2000).map(|i| Candidate { series: i % 100, timestamp: i as i64 }).collect();
    let bad: Vec<_> = (0..2000).map(|i| i == 717).collect();
    let (narrow, requests) = run(&points, &bad, Goal::Isolate);
    for (index, known) in narrow.known().iter().enumerate() {
        let held = index % 100 == 17 && index >= 717;
        assert_eq!(*known, if held { Known::Held } else { Known::Accepted }, "{index}");
    }
    assert_eq!(narrow.unsettled().position(|open| open), Some(717));
    assert!(requests <= 24, "{requests} requests");
    let (narrow, requests) = run(&points, &[true; 2000], Goal::Isolate);
    assert!(narrow.known().iter().all(|known| *known == Known::Held));
    assert_eq!(requests, 8);
}

#[test]
fn points_newer_than_all_culprits_are_not_presumed_bad() {
    // Ten time steps of 100 series. The receiver refuses the first five, which it has already.
    let points: Vec<_> =
        (0..1000).map(|i| Candidate { series: i % 100, timestamp: i as i64 / 100 }).collect();
    let bad: Vec<_> = points.iter().map(|point| point.timestamp < 5).collect();
    let (narrow, _) = run(&points, &bad, Goal::Refuse);
    for (known, bad) in narrow.known().iter().zip(&bad) {
        assert!(*bad || matches!(known, Known::Accepted | Known::Open), "{known:?}");
    }
}

proptest! {
    #[test]
    fn random_batches_lose_no_good_point_keep_order_and_bound_requests(
        points in prop::collection::vec((0u64..40, 0i64..20, prop::bool::weighted(0.1)), 1..300)) {
        let mut last = std::collections::HashMap::new();
        let candidates: Vec<_> = points.iter().map(|(series, step, _)| {
            let timestamp = last.entry(*series).or_insert(0i64);
            *timestamp += step;
            Candidate { series: *series, timestamp: *timestamp }
        }).collect();
        let bad: Vec<_> = points.iter().map(|(_, _, bad)| *bad).collect();
        prop_assume!(bad.contains(&true));
        let (narrow, requests) = run(&candidates, &bad, Goal::Refuse);
        prop_assert!(requests <= limit(points.len()));
        for (known, bad) in narrow.known().iter().zip(&bad) {
            match known {
                Known::Accepted => prop_assert!(!bad),
                Known::Culprit => prop_assert!(*bad),
                Known::Open | Known::Presumed => {}
                Known::Held => prop_assert!(false, "nothing is held for a refusal"),
            }
        }
        // Points are presumed bad only after eight refused probes.
        let refused = narrow.known().iter().filter(|known| **known == Known::Culprit).count();
        let presumed = narrow.known().iter().filter(|known| **known == Known::Presumed).count();
        prop_assert!(presumed == 0 || refused >= PROBES);
        // Each search settles or holds at least one point, so that the open rest gets smaller.
        prop_assert!(narrow.known().iter().any(|known| *known != Known::Open));

        let (narrow, requests) = run(&candidates, &bad, Goal::Isolate);
        prop_assert!(requests <= limit(points.len()));
        let mut held = std::collections::HashSet::new();
        let probes_failed = !narrow.known().contains(&Known::Accepted);
        for ((known, bad), point) in narrow.known().iter().zip(&bad).zip(&candidates) {
            match known {
                Known::Accepted => prop_assert!(!bad && !held.contains(&point.series)),
                Known::Held => {
                    let first = held.insert(point.series);
                    prop_assert!(*bad || !first || probes_failed, "a series is held for what fails");
                }
                Known::Open => {}
                other => prop_assert!(false, "{other:?}: nothing is given up"),
            }
        }
    }
}
