//! The queue alone, against a receiver that the test scripts.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helper functions of tests")]

mod denied;
mod early;
mod failing;
mod harness;
mod histories;
mod isolation;
mod outages;
mod repeats;

use self::harness::{Points, Tested};
use super::*;
use crate::fate::Fate;
use std::rc::Rc;
use write_client::verdict::{Reached, Verdict};

fn settings() -> Settings {
    Settings {
        min_shards: 1,
        max_shards: 6,
        capacity: 100,
        max_points: 10,
        deadline: Duration::from_secs(5),
        early: false,
        min_backoff: Duration::from_millis(30),
        max_backoff: Duration::from_secs(5),
        memory: 1 << 20,
        narrow: true,
        park: true,
        was_parked: false,
    }
}

/// Returns a queue with large batches that wait for nothing.
fn started(shards: usize) -> Tested {
    let mut queue =
        Tested::new(Settings { min_shards: shards, max_points: 100, capacity: 100_000, ..settings() }, &[]);
    queue.set_flushing(true);
    queue
}

const RETRY: Verdict = Verdict::Failed { reached: Reached::Receiver, retry_after: None };

fn chunk(number: u64, series: impl IntoIterator<Item = u64>) -> Points {
    let points = series.into_iter().map(|series| (series, number as i64)).collect();
    Points { number, points: Rc::new(points), arrived: Duration::ZERO, together: false, can_wait: false }
}

fn push(queue: &mut Tested, chunk: Points) -> usize {
    queue.push(&chunk)
}

fn sent(queue: &Tested, request: Request) -> Vec<(u64, i64)> {
    queue.points(request.shard).map(|(chunk, point)| chunk.points[point as usize]).collect()
}

fn answer(queue: &mut Tested, request: Request, outcome: Verdict, now: Duration) -> Vec<Fate> {
    let mut fates = Vec::new();
    queue.answer(request.shard, outcome, now, |_, _, fate| fates.push(fate));
    fates
}

#[test]
fn a_batch_is_sent_when_full_or_when_its_oldest_point_has_waited() {
    let mut queue = Tested::new(settings(), &[]);
    push(&mut queue, chunk(0, 0..4));
    assert_eq!(queue.poll(Duration::from_secs(4)), None);
    assert_eq!(queue.next_wakeup(), Some(Duration::from_secs(5)));
    push(&mut queue, chunk(1, 0..7));
    let request = queue.poll(Duration::from_secs(4)).unwrap();
    assert_eq!(sent(&queue, request).len(), 10);
    assert_eq!(queue.poll(Duration::from_secs(9)), None, "one request a shard");
    assert_eq!(answer(&mut queue, request, Verdict::Delivered, Duration::from_secs(9)).len(), 10);
    let request = queue.poll(Duration::from_secs(9)).unwrap();
    assert_eq!(sent(&queue, request), [(6, 1)]);
    assert_eq!(queue.positions()[0], Position { segment: 0, offset: 1, index: 6 });
    answer(&mut queue, request, Verdict::Delivered, Duration::from_secs(9));
    assert_eq!((queue.pending(), queue.bytes(), queue.head().offset), (0, 0, 2));
    assert!(queue.positions().iter().all(|position| *position == queue.head()));
}

#[test]
fn first_batch_after_a_pause_waits_only_a_moment() {
    let mut queue = Tested::new(settings(), &[]);
    let at = |seconds: f64| Duration::from_secs_f64(seconds);
    let arrive = |queue: &mut Tested, number, seconds| {
        push(queue, Points { arrived: at(seconds), ..chunk(number, 0..4) });
        queue.next_wakeup().unwrap()
    };
    assert_eq!(arrive(&mut queue, 0, 60.0), at(60.0) + LINGER);
    assert_eq!(queue.poll(at(60.0)), None);
    let request = queue.poll(at(60.1)).unwrap();
    answer(&mut queue, request, Verdict::Delivered, at(60.2));
    // Points that arrive soon after share one request. It is sent a deadline after the last request, or at
    // the latest a deadline after they arrived.
    assert_eq!(arrive(&mut queue, 1, 61.0), at(65.1));
    let request = queue.poll(at(65.1)).unwrap();
    answer(&mut queue, request, Verdict::Delivered, at(65.2));
    assert_eq!(arrive(&mut queue, 2, 70.05), at(70.15));
    assert_eq!(queue.poll(at(70.1)), None);
}

#[test]
fn a_failed_request_is_sent_again_after_growing_pauses() {
    let mut queue = Tested::new(settings(), &[]);
    queue.set_flushing(true);
    push(&mut queue, chunk(0, 0..4));
    let mut now = Duration::ZERO;
    for (attempt, wait) in [30, 60, 120, 240].into_iter().enumerate() {
        let request = queue.poll(now).unwrap();
        assert_eq!(request.tries, attempt as u32);
        assert_eq!(answer(&mut queue, request, RETRY, now), []);
        assert_eq!(queue.next_wakeup(), Some(now + Duration::from_millis(wait)));
        assert_eq!(queue.poll(now), None);
        now += Duration::from_millis(wait);
    }
    let request = queue.poll(now).unwrap();
    assert_eq!(sent(&queue, request).len(), 4);
}

#[test]
fn one_bad_sample_is_refused_and_its_lane_isolated_for_a_while() {
    let mut queue = Tested::new(Settings { max_points: 64, ..settings() }, &[]);
    queue.set_flushing(true);
    push(&mut queue, chunk(0, 0..64));
    let now = Duration::from_secs(100);
    let (mut delivered, mut refused, mut requests) = (0, 0, 0);
    while let Some(request) = queue.poll(now) {
        let bad = sent(&queue, request).iter().any(|(series, _)| *series == 17);
        let outcome = if bad { Verdict::Refused { fits_a_repeat: false } } else { Verdict::Delivered };
        for fate in answer(&mut queue, request, outcome, now) {
            match fate {
                Fate::Delivered => delivered += 1,
                Fate::Refused { .. } => refused += 1,
                other => panic!("{other:?}"),
            }
        }
        requests += 1;
    }
    assert_eq!((delivered, refused), (63, 1));
    assert!(requests <= 1 + 12 + 16, "{requests}");
    // The next batch is sent in two requests: the lane of the bad series has its own.
    push(&mut queue, chunk(1, 0..64));
    let a = queue.poll(now).unwrap();
    let b = queue.poll(now).unwrap();
    let mut sizes = [sent(&queue, a).len(), sent(&queue, b).len()];
    sizes.sort_unstable();
    assert_eq!(sizes, [1, 63]);
    answer(&mut queue, a, Verdict::Delivered, now);
    answer(&mut queue, b, Verdict::Delivered, now);
    queue.tick(now + ISOLATION_TIME);
    push(&mut queue, chunk(2, 0..64));
    let request = queue.poll(now + ISOLATION_TIME).unwrap();
    assert_eq!(sent(&queue, request).len(), 64, "it is back");
}

#[test]
fn a_batch_that_is_too_large_is_halved() {
    let mut queue = Tested::new(settings(), &[]);
    queue.set_flushing(true);
    push(&mut queue, chunk(0, 0..8));
    let mut sizes = Vec::new();
    while let Some(request) = queue.poll(Duration::ZERO) {
        let size = sent(&queue, request).len();
        sizes.push(size);
        let outcome = if size > 3 { Verdict::TooLarge } else { Verdict::Delivered };
        answer(&mut queue, request, outcome, Duration::ZERO);
    }
    assert_eq!(sizes[..3], [8, 4, 2]);
    assert_eq!(queue.pending(), 0);
}

#[test]
fn denied_access_is_probed_once_a_minute_and_loses_nothing() {
    let mut queue = Tested::new(Settings { min_shards: 3, ..settings() }, &[]);
    queue.set_flushing(true);
    push(&mut queue, chunk(0, 0..30));
    let mut now = Duration::ZERO;
    let first: Vec<Request> = std::iter::from_fn(|| queue.poll(now)).collect();
    assert_eq!(first.len(), 3);
    for request in first {
        answer(&mut queue, request, Verdict::Denied, now);
    }
    for _ in 0..10 {
        assert_eq!(queue.poll(now + DENIED_INTERVAL - Duration::from_millis(1)), None);
        now = queue.next_wakeup().unwrap();
        let request = queue.poll(now).unwrap();
        assert_eq!(sent(&queue, request).len(), 1, "a single point is enough to ask");
        assert_eq!(queue.poll(now), None);
        answer(&mut queue, request, Verdict::Denied, now);
    }
    now = queue.next_wakeup().unwrap();
    let request = queue.poll(now).unwrap();
    answer(&mut queue, request, Verdict::Delivered, now);
    let mut delivered = 1;
    now += DENIED_INTERVAL;
    while let Some(request) = queue.poll(now) {
        delivered += answer(&mut queue, request, Verdict::Delivered, now).len();
    }
    assert_eq!((delivered, queue.pending()), (30, 0));
}

#[test]
fn data_denied_while_other_data_is_accepted_delays_only_itself() {
    for culprit in 0..10 {
        let mut queue = Tested::new(settings(), &[]);
        queue.set_flushing(true);
        push(&mut queue, chunk(0, 0..10));
        let mut now = Duration::ZERO;
        let mut delivered = Vec::new();
        while queue.pending() > 1 {
            now = now.max(queue.next_wakeup().unwrap()) + Duration::from_millis(1);
            let Some(request) = queue.poll(now) else { continue };
            let bad = sent(&queue, request).iter().any(|(series, _)| *series == culprit);
            let verdict = if bad { Verdict::Denied } else { Verdict::Delivered };
            queue.answer(request.shard, verdict, now, |chunk, point, fate| {
                assert_eq!(fate, Fate::Delivered);
                delivered.push(chunk.points[point as usize].0);
            });
            assert!(now < Duration::from_secs(600), "{culprit}: {} wait", queue.pending());
        }
        assert!(!delivered.contains(&culprit));
    }
}

#[test]
fn failing_sample_is_parked_after_a_quarter_of_an_hour() {
    let mut queue = Tested::new(settings(), &[]);
    queue.set_flushing(true);
    push(&mut queue, chunk(0, 0..10));
    let mut now = Duration::ZERO;
    let (mut poisoned, mut number) = (Vec::new(), 1);
    while queue.pending() > 0 && now < PARKED_AFTER * 8 {
        if now >= Duration::from_secs(60) * number as u32 {
            push(&mut queue, chunk(number, 4..8));
            number += 1;
        }
        let at = queue.next_wakeup().unwrap_or(now).min(now + Duration::from_secs(1));
        now = now.max(at) + Duration::from_millis(1);
        let Some(request) = queue.poll(now) else { continue };
        let bad = sent(&queue, request).iter().any(|(series, _)| *series == 3);
        let outcome = if bad { RETRY } else { Verdict::Delivered };
        queue.answer(request.shard, outcome, now, |chunk, point, fate| {
            if fate != Fate::Delivered {
                assert_eq!(fate, Fate::Parked);
                poisoned.push((chunk.points[point as usize].0, now));
            }
        });
    }
    assert_eq!(poisoned.len(), 1);
    assert_eq!(poisoned[0].0, 3);
    assert!(poisoned[0].1 >= PARKED_AFTER && poisoned[0].1 < PARKED_AFTER * 4, "{poisoned:?}");
}

#[test]
fn wants_no_more_at_each_of_its_limits() {
    let mut queue = Tested::new(Settings { capacity: 5, ..settings() }, &[]);
    push(&mut queue, chunk(0, 0..4));
    assert!(queue.wants_more());
    push(&mut queue, chunk(1, 0..4));
    assert!(!queue.wants_more(), "references");
    let mut queue = Tested::new(Settings { memory: 200, ..settings() }, &[]);
    push(&mut queue, chunk(0, 0..1));
    assert!(queue.wants_more());
    push(&mut queue, chunk(1, 0..1));
    assert!(!queue.wants_more(), "bytes");
    let mut queue = Tested::new(Settings { capacity: usize::MAX, memory: usize::MAX, ..settings() }, &[]);
    for number in 0..CHUNKS_MAX as u64 {
        assert!(queue.wants_more());
        push(&mut queue, chunk(number, 0..1));
    }
    assert!(!queue.wants_more(), "chunks");
}

#[test]
fn the_oldest_moving_point_is_not_in_a_stuck_shard() {
    let mut queue = Tested::new(Settings { min_shards: 2, ..settings() }, &[]);
    queue.set_flushing(true);
    push(&mut queue, chunk(5, [0]));
    push(&mut queue, chunk(7, [1]));
    let oldest = |queue: &Tested, seconds| {
        queue
            .oldest_moving(Duration::from_secs(seconds), STUCK_AFTER)
            .map(|(points, point, _)| points.series(point))
    };
    assert_eq!(oldest(&queue, 0), Some(0));
    let [first, second] = [0; 2].map(|_| queue.poll(Duration::ZERO).unwrap());
    assert_eq!(sent(&queue, first), [(0, 5)]);
    answer(&mut queue, first, RETRY, Duration::ZERO);
    answer(&mut queue, second, RETRY, Duration::ZERO);
    // The destination is away: no shard is stuck.
    assert_eq!(oldest(&queue, 100), Some(0));
    push(&mut queue, chunk(9, [1]));
    queue.others_pass(Duration::from_secs(90));
    assert_eq!(oldest(&queue, 100), None);
    let again = queue.poll(Duration::from_secs(100)).unwrap();
    let other = queue.poll(Duration::from_secs(100)).unwrap();
    let passing = if sent(&queue, again)[0].0 == 1 { again } else { other };
    answer(&mut queue, passing, Verdict::Delivered, Duration::from_secs(100));
    // Other parts of the narrowed batch are still accepted.
    while let Some(request) = queue.poll(Duration::from_secs(100)) {
        assert_eq!(sent(&queue, request)[0].0, 1);
        answer(&mut queue, request, Verdict::Delivered, Duration::from_secs(100));
    }
    push(&mut queue, chunk(11, [1]));
    assert_eq!(oldest(&queue, 100), Some(1));
    assert_eq!(queue.oldest().map(|(points, point)| points.series(point)), Some(0));
}

#[test]
fn reading_stays_within_a_quarter_of_an_hour_of_the_oldest_unsettled_point() {
    let mut queue = Tested::new(Settings { min_shards: 2, ..settings() }, &[]);
    queue.set_flushing(true);
    let at = |number: u64, series: u64, minutes: i64| Points {
        points: Rc::new(vec![(series, minutes * 60_000)]),
        ..chunk(number, [])
    };
    let now = Duration::from_secs(1);
    push(&mut queue, at(0, 0, 0));
    push(&mut queue, at(1, 1, 15));
    assert!(queue.wants_more());
    let [first, second] = [0; 2].map(|_| queue.poll(now).unwrap());
    assert_eq!((sent(&queue, first), sent(&queue, second)), (vec![(0, 0)], vec![(1, 15 * 60_000)]));
    answer(&mut queue, second, Verdict::Delivered, now);
    push(&mut queue, at(2, 1, 16));
    // However fast the one lane is: the other one still has to deliver a sample that is 16 minutes older.
    assert!(!queue.wants_more());
    let third = queue.poll(now).unwrap();
    answer(&mut queue, third, Verdict::Delivered, now);
    assert!(!queue.wants_more());
    answer(&mut queue, first, Verdict::Delivered, now);
    assert!(queue.wants_more());
    // A sample with a late timestamp holds up nothing either, once it is settled.
    push(&mut queue, at(3, 1, -60));
    let late = queue.poll(now).unwrap();
    answer(&mut queue, late, Verdict::Delivered, now);
    assert!(queue.wants_more());
}

#[test]
fn chunks_that_are_kept_together_are_not_cut_if_they_fit_into_a_batch() {
    let batches = |sizes: &[u64], together: bool, shards: usize| {
        let settings = Settings { min_shards: shards, capacity: 1000, ..settings() };
        let mut queue = Tested::new(settings, &[]);
        for (number, size) in sizes.iter().enumerate() {
            push(&mut queue, Points { together, ..chunk(number as u64, 0..*size) });
        }
        queue.set_flushing(true);
        let mut batches = Vec::new();
        while let Some(request) = queue.poll(Duration::ZERO) {
            batches.push(queue.points(request.shard).count());
            queue.answer(request.shard, Verdict::Delivered, Duration::ZERO, |_, _, _| {});
        }
        batches
    };
    assert_eq!(batches(&[10, 10], true, 1), [10, 10]);
    assert_eq!(batches(&[4, 10, 10], true, 1), [4, 10, 10], "as they came");
    assert_eq!(batches(&[4, 4, 4, 4, 4], true, 1), [8, 8, 4], "as many as fit");
    assert_eq!(batches(&[4, 11, 10, 3], true, 1), [10, 5, 10, 3], "a larger one is cut, and the next is not");
    assert_eq!(batches(&[4, 10, 10], false, 1), [10, 10, 4]);
    let divided = batches(&[40, 40], true, 2);
    assert!(
        divided.iter().filter(|size| **size == 10).count() >= 6,
        "others have a part of each: {divided:?}"
    );
}
