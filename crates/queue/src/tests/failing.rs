//! 408, 429 and 5xx: because the destination is away, and because of the data.

use super::*;

/// Fails requests with a bad series until nothing is pending, and pushes a chunk each second while there is
/// time. Returns the parked points with their times, and how many points were delivered.
fn run_with_bad(queue: &mut Tested, bad: impl Fn(u64) -> bool) -> (Vec<(u64, Duration)>, usize) {
    let (mut now, mut number, mut delivered) = (Duration::ZERO, 1, 0);
    let mut parked = Vec::new();
    while queue.pending() > 0 && now < PARKED_AFTER * 4 {
        if now < PARKED_AFTER * 2 && now.as_secs() >= number && queue.wants_more() {
            push(queue, chunk(number, (0..64).filter(|series| !bad(*series))));
            number += 1;
        }
        let next = queue.next_wakeup().unwrap_or(now).min(now + Duration::from_secs(1));
        now = now.max(next) + Duration::from_millis(1);
        while let Some(request) = queue.poll(now) {
            let hurts = sent(queue, request).iter().any(|(series, _)| bad(*series));
            let outcome = if hurts { RETRY } else { Verdict::Delivered };
            queue.answer(request.shard, outcome, now, |chunk, point, fate| match fate {
                Fate::Delivered => delivered += 1,
                Fate::Parked => parked.push((chunk.points[point as usize].0, now)),
                other => panic!("{other:?}"),
            });
        }
    }
    assert_eq!(queue.pending(), 0);
    (parked, delivered)
}

#[test]
fn only_the_failing_sample_is_parked() {
    let mut queue = started(4);
    push(&mut queue, chunk(0, 0..64));
    let (parked, delivered) = run_with_bad(&mut queue, |series| series == 17);
    assert!(matches!(parked[..], [(17, at)] if at >= PARKED_AFTER && at < PARKED_AFTER * 2), "{parked:?}");
    assert!(delivered >= 63);
}

#[test]
fn all_failing_series_are_parked() {
    let mut queue = started(4);
    push(&mut queue, chunk(0, 0..64));
    let (parked, _) = run_with_bad(&mut queue, |series| series % 2 == 1);
    let hurts = (0..64u64).filter(|series| series % 2 == 1);
    let aside: std::collections::HashSet<u64> = parked.iter().map(|(series, _)| *series).collect();
    assert!(hurts.clone().all(|series| aside.contains(&series)));
    assert!(parked.iter().all(|(_, at)| *at < PARKED_AFTER * 2), "its lanes go on");
}

#[test]
fn without_narrowing_the_whole_batch_is_parked() {
    let mut queue = Tested::new(
        Settings { min_shards: 4, max_points: 100, narrow: false, capacity: 100_000, ..settings() },
        &[],
    );
    queue.set_flushing(true);
    push(&mut queue, chunk(0, 0..64));
    let (parked, _) = run_with_bad(&mut queue, |series| series == 17);
    let mut at_17: Vec<u64> = parked.iter().map(|(series, _)| series % 4).collect();
    at_17.dedup();
    assert_eq!((parked.len(), at_17), (16, vec![1]), "its shard's batch");
}

#[test]
fn expired_points_are_dropped_and_the_rest_is_sent() {
    let mut queue = started(1);
    push(&mut queue, chunk(0, 0..10));
    push(&mut queue, chunk(1, 0..10));
    let now = Duration::from_secs(1);
    let request = queue.poll(now).unwrap();
    answer(&mut queue, request, RETRY, now);
    let now = queue.next_wakeup().unwrap();
    let request = queue.poll(now).unwrap();
    queue.expire(request, |chunk, point| chunk.points[point as usize].1 == 0);
    assert!(sent(&queue, request).iter().all(|(_, time)| *time == 1));
    assert_eq!((sent(&queue, request).len(), queue.pending()), (10, 10));
    queue.expire(request, |_, _| true);
    assert_eq!(sent(&queue, request), []);
    answer(&mut queue, request, Verdict::Unsent, now);
    assert_eq!((queue.pending(), queue.next_wakeup()), (0, None));
    assert!(queue.positions().iter().all(|position| *position == queue.head()));
}

/// One of two points can't be sent at all, and the other one is sent during an outage.
#[test]
fn unsent_probe_parks_nothing() {
    let mut queue = started(1);
    push(&mut queue, chunk(0, 0..2));
    let (mut now, mut unsent) = (Duration::from_secs(1), 0);
    while now < PARKED_AFTER * 4 {
        now = now.max(queue.next_wakeup().unwrap()) + Duration::from_millis(1);
        while let Some(request) = queue.poll(now) {
            if unsent == 0 && sent(&queue, request).len() == 1 {
                unsent += answer(&mut queue, request, Verdict::Unsent, now).len();
            } else {
                assert_eq!(answer(&mut queue, request, RETRY, now), [], "an outage settles nothing");
            }
        }
    }
    assert_eq!((unsent, queue.pending()), (1, 1));
}

/// With one shard, the only batch may consist of points that fail alone.
#[test]
fn one_shard_delivers_others_when_a_whole_batch_fails() {
    let mut queue = started(1);
    let mut now = Duration::from_secs(1);
    let hurts = |points: &[(u64, i64)]| points.iter().any(|(series, _)| *series == 17).then_some(RETRY);
    push(&mut queue, chunk(0, [17]));
    work(&mut queue, &mut now, 30, hurts);
    for number in 1..300 {
        push(&mut queue, chunk(number, [16, 17]));
        work(&mut queue, &mut now, 1, hurts);
    }
    assert_eq!(queue.pending(), 300, "all of the one series, and nothing else");
}

/// A receiver that accepts one request in five minutes is overloaded. Its failures say nothing about the
/// data.
#[test]
fn rare_successes_park_nothing_within_an_hour() {
    let mut queue = started(4);
    let mut now = Duration::from_secs(1);
    push(&mut queue, chunk(0, 0..40));
    let mut number = 0;
    while now < Duration::from_secs(3600) {
        let lucky = now.as_secs().is_multiple_of(300);
        if lucky {
            number += 1;
            push(&mut queue, chunk(number, [3]));
        }
        work(&mut queue, &mut now, 1, |points| {
            (!lucky || points.iter().any(|(series, _)| *series != 3)).then_some(RETRY)
        });
    }
}

/// A receiver fails on each request with a sample of one series for ten minutes, and then accepts it.
#[test]
fn one_failing_series_delays_the_others_only_briefly() {
    const BAD: u64 = 17;
    let recovers = Duration::from_secs(10 * 60);
    for shards in [1, 4] {
        let mut queue = started(shards);
        let (mut now, mut number, mut requests) = (Duration::ZERO, 0, 0);
        let mut newest: std::collections::HashMap<u64, i64> = std::collections::HashMap::new();
        let mut longest = Duration::ZERO;
        while queue.pending() > 0 || now < recovers {
            if now < recovers && now.as_secs() >= number {
                push(&mut queue, chunk(number, 0..64));
                number += 1;
            }
            let next = queue.next_wakeup().unwrap_or(now).min(now + Duration::from_secs(1));
            now = now.max(next) + Duration::from_millis(1);
            queue.tick(now);
            while let Some(request) = queue.poll(now) {
                requests += 1;
                let hurts = now < recovers && sent(&queue, request).iter().any(|(series, _)| *series == BAD);
                let outcome = if hurts { RETRY } else { Verdict::Delivered };
                queue.answer(request.shard, outcome, now, |chunk, point, fate| {
                    let (series, time) = chunk.points[point as usize];
                    assert_eq!(fate, Fate::Delivered);
                    assert_eq!(
                        newest.insert(series, time).unwrap_or(-1),
                        time - 1,
                        "series {series}, in order"
                    );
                    if series != BAD {
                        // The timestamp is the second in which the point was pushed.
                        longest = longest.max(now.saturating_sub(Duration::from_secs(time as u64)));
                    }
                });
                let done = newest.get(&BAD).map_or(0, |time| time + 1) as u64;
                let position = queue.positions()[BAD as usize];
                assert!(position.offset <= done, "{position:?} is past what was delivered, {done}");
            }
            assert!(now < recovers * 2, "{} still wait", queue.pending());
        }
        assert_eq!(newest.len(), 64);
        let soon = PROBE_AFTER + NARROWED_AFTER * 2;
        assert!(longest < soon, "with {shards} shards others waited for {longest:?}");
        assert!(requests < 4000, "{requests} requests");
    }
}

/// Answers `outcome` to requests for which `hurts` is true, and accepts the others, each second for so long.
fn work(
    queue: &mut Tested,
    now: &mut Duration,
    seconds: u64,
    mut hurts: impl FnMut(&[(u64, i64)]) -> Option<Verdict>,
) -> Vec<(Duration, usize, Option<Verdict>)> {
    let mut requests = Vec::new();
    for _ in 0..seconds {
        *now += Duration::from_secs(1);
        queue.tick(*now);
        while let Some(request) = queue.poll(*now) {
            let outcome = hurts(&sent(queue, request));
            requests.push((*now, request.shard, outcome));
            let settled = answer(queue, request, outcome.unwrap_or(Verdict::Delivered), *now);
            assert!(outcome.is_none() || settled.is_empty(), "a failure settled something");
        }
    }
    requests
}

#[test]
fn failures_of_a_delivered_batch_do_not_count_for_the_next() {
    let mut queue = started(2);
    let mut now = Duration::from_secs(1);
    // Large batches fail for a while, and their parts don't.
    push(&mut queue, chunk(0, (0..40).filter(|series| series % 2 == 0)));
    for number in 1..60 {
        push(&mut queue, chunk(number, [1]));
        work(&mut queue, &mut now, 1, |points| (points.len() > 15).then_some(RETRY));
    }
    assert_eq!(queue.pending(), 0);
    for number in 60..120 {
        push(&mut queue, chunk(number, [1]));
        work(&mut queue, &mut now, 60, |_| None);
    }
    push(&mut queue, chunk(120, [0]));
    let failed = work(&mut queue, &mut now, 60, |points| {
        points.iter().any(|(series, _)| *series == 0).then_some(RETRY)
    });
    assert!(failed.iter().filter(|(_, _, outcome)| outcome.is_some()).count() > 3, "it is tried again");
    assert_eq!(queue.pending(), 1);
}

#[test]
fn an_outage_after_isolation_parks_nothing() {
    let mut queue = started(1);
    let mut now = Duration::from_secs(1);
    for number in 0..200 {
        push(&mut queue, chunk(number, [16, 17]));
        work(&mut queue, &mut now, 1, |points| {
            points.iter().any(|(series, _)| *series == 17).then_some(RETRY)
        });
    }
    assert_eq!(queue.pending(), 200, "one series waits");
    for number in 200..3000 {
        if queue.wants_more() {
            push(&mut queue, chunk(number, [16, 17]));
        }
        work(&mut queue, &mut now, 1, |_| Some(RETRY));
    }
}

#[test]
fn pause_is_kept_when_narrowing_ends() {
    const PAUSE: Duration = Duration::from_secs(20);
    let mut queue = started(2);
    let mut now = Duration::from_secs(1);
    push(&mut queue, chunk(0, (0..40).filter(|series| series % 2 == 0)));
    let mut asked: Option<Duration> = None;
    let wait = Verdict::Failed { reached: Reached::Receiver, retry_after: Some(PAUSE) };
    for number in 1..600 {
        push(&mut queue, chunk(number, [1]));
        let requests = work(&mut queue, &mut now, 1, |points| {
            points.iter().any(|(series, _)| series % 2 == 0).then_some(wait)
        });
        for (at, _, outcome) in requests.iter().filter(|(_, _, outcome)| outcome.is_some()) {
            assert!(asked.is_none_or(|asked| *at >= asked + PAUSE), "sent again at {at:?}, {outcome:?}");
            asked = Some(*at);
        }
    }
    assert!(asked.is_some());
}

/// Runs a queue that fails for more than half a minute on its odd series, while other queues succeed. Ends as
/// soon as points of a narrowed batch were accepted and another one failed alone. Returns the time and the
/// next request.
fn narrowing_with_answers(queue: &mut Queue<Points>, health: &mut Health) -> (Duration, Request) {
    let mut now = Duration::from_secs(1);
    let (mut has_accepted, mut has_failed) = (false, false);
    loop {
        now += Duration::from_secs(1);
        health.sent(now);
        health.answered(Verdict::Delivered, now, now);
        while let Some(request) = queue.begin_request(now, health) {
            if has_accepted && has_failed && !request.whole {
                return (now, request);
            }
            let points: Vec<u64> = queue.points(request.shard).map(|(chunk, at)| chunk.series(at)).collect();
            let is_bad = points.iter().any(|series| series % 2 == 1);
            has_failed |= is_bad && points.len() == 1 && has_accepted;
            has_accepted |= !is_bad;
            let outcome = if is_bad { RETRY } else { Verdict::Delivered };
            queue.answer(request.shard, outcome, now, 0.0, health, |_, _, _| {});
        }
    }
}

fn queue_with_bad_half() -> (Queue<Points>, Health) {
    let settings = Settings { max_shards: 1, max_points: 200, capacity: 100_000, ..settings() };
    let mut queue = Queue::new(settings, &[]);
    queue.set_flushing(true);
    // The odd series, which are bad, have the older points.
    for (number, first) in [(0, 1), (1, 0)] {
        let points = chunk(number, (first..200).step_by(2));
        let count = points.points.len() as u32;
        queue.push(points, Position { segment: 0, offset: number + 1, index: 0 }, count, |_, _| true);
    }
    (queue, Health::default())
}

#[test]
fn batch_is_not_failing_once_its_failed_points_expired() {
    let (mut queue, mut health) = queue_with_bad_half();
    let (_, mut request) = narrowing_with_answers(&mut queue, &mut health);
    assert!(queue.failing_since(0).is_some());
    let mut expired = 0;
    queue.expire(&mut request, |chunk, at| chunk.series(at) % 2 == 1, |_, _| expired += 1);
    assert_eq!((expired, queue.failing_since(0)), (100, None));
    assert!(request.whole, "the rest is one batch");
    assert!(queue.points(0).count() > 50);
}

#[test]
fn points_not_tried_alone_do_not_count_as_failing() {
    let (mut queue, mut health) = queue_with_bad_half();
    let (mut now, mut request) = narrowing_with_answers(&mut queue, &mut health);
    while queue.is_narrowing() {
        let points: Vec<u64> = queue.points(request.shard).map(|(chunk, at)| chunk.series(at)).collect();
        let outcome = if points.iter().any(|series| series % 2 == 1) { RETRY } else { Verdict::Delivered };
        queue.answer(request.shard, outcome, now, 0.0, &mut health, |_, _, _| {});
        now += Duration::from_secs(5);
        request = queue.begin_request(now, &mut health).unwrap();
    }
    let failing = queue.points(request.shard).count();
    assert!((1..30).contains(&failing) && queue.pending() > 100, "{failing} of {}", queue.pending());
    assert!(queue.points(request.shard).all(|(chunk, at)| chunk.series(at) % 2 == 1));
}

#[test]
fn receiver_to_which_all_is_too_large_is_not_flooded() {
    let mut queue = started(1);
    push(&mut queue, chunk(0, 0..100));
    let (mut now, mut requests, mut refused) = (Duration::from_secs(1), 0, 0);
    let end = now + Duration::from_secs(600);
    for number in 1.. {
        now = now.max(queue.next_wakeup().unwrap());
        if now > end {
            break;
        }
        push(&mut queue, chunk(number, 0..100));
        while let Some(request) = queue.poll(now) {
            requests += 1;
            refused += answer(&mut queue, request, Verdict::TooLarge, now).len();
        }
    }
    // Six requests lead to a single sample. Then each sample is refused after a pause that grows to five
    // seconds.
    assert!(
        (100..150).contains(&requests) && refused == requests - 6,
        "{requests} requests, {refused} refused"
    );
    // Once a request was accepted, one that is too large costs only a short pause.
    let mut next = |queue: &mut Tested, verdict| {
        now = now.max(queue.next_wakeup().unwrap());
        let request = queue.poll(now).unwrap();
        answer(queue, request, verdict, now);
        queue.next_wakeup().unwrap().saturating_sub(now)
    };
    assert_eq!(next(&mut queue, Verdict::Delivered), Duration::ZERO);
    assert_eq!(next(&mut queue, Verdict::TooLarge), Duration::ZERO, "two, which are halved");
    assert_eq!(next(&mut queue, Verdict::TooLarge), Duration::from_millis(30));
}
