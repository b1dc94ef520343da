//! 401, 403 and 404: for everything, for one series, and mixed with other answers.

use super::*;
use crate::health::Health;

/// Denies access this many times.
fn deny(queue: &mut Tested, now: &mut Duration, times: usize) {
    for _ in 0..times {
        *now = (*now).max(queue.next_wakeup().unwrap());
        let request = queue.poll(*now).unwrap();
        assert_eq!(answer(queue, request, Verdict::Denied, *now), []);
    }
}

#[test]
fn a_pause_is_kept_while_access_is_denied() {
    for wait in [
        Verdict::Failed { reached: Reached::Receiver, retry_after: Some(Duration::from_secs(120)) },
        Verdict::Failed { reached: Reached::NoAnswer, retry_after: None },
    ] {
        let mut queue = started(3);
        push(&mut queue, chunk(0, 0..60));
        let mut now = Duration::from_secs(1);
        deny(&mut queue, &mut now, 3);
        let mut requests = 0;
        let end = now + Duration::from_secs(600);
        while now < end {
            now = now.max(queue.next_wakeup().unwrap());
            while let Some(request) = queue.poll(now) {
                requests += 1;
                assert_eq!(answer(&mut queue, request, wait, now), []);
            }
            now += Duration::from_millis(1);
        }
        // The backoff grows to five seconds.
        let most = if matches!(wait, Verdict::Failed { retry_after: Some(_), .. }) { 7 } else { 150 };
        assert!(requests <= most, "{requests} requests in ten minutes, {wait:?}");
    }
}

#[test]
fn credentials_that_work_only_now_and_then_refuse_no_sample() {
    let mut queue = started(2);
    push(&mut queue, chunk(0, 0..40));
    let mut now = Duration::from_secs(1);
    for request in [queue.poll(now).unwrap(), queue.poll(now).unwrap()] {
        assert_eq!(answer(&mut queue, request, Verdict::Denied, now), []);
    }
    for moment in 0..6 {
        let mut refused = 0;
        // One request is accepted, and then none for ten minutes.
        now = now.max(queue.next_wakeup().unwrap());
        let request = queue.poll(now).unwrap();
        let points = sent(&queue, request).len();
        assert_eq!(answer(&mut queue, request, Verdict::Delivered, now).len(), points);
        push(&mut queue, chunk(now.as_secs(), 0..40));
        let end = now + Duration::from_secs(600);
        while now < end {
            now = now.max(queue.next_wakeup().unwrap()) + Duration::from_millis(1);
            while let Some(request) = queue.poll(now) {
                refused += answer(&mut queue, request, Verdict::Denied, now).len();
            }
        }
        // Each further success may park one point per shard that has failed during a quarter of an hour of
        // successes.
        assert!(refused <= if moment > 0 { 2 } else { 0 }, "{refused} parked at moment {moment}");
    }
}

#[test]
fn denied_parked_sample_delays_nothing_else() {
    for (was_parked, others_succeed, closes) in
        [(true, true, false), (true, false, false), (false, true, true), (false, false, true)]
    {
        let mut health = Health::default();
        let at = Duration::from_secs;
        if others_succeed {
            health.sent(at(1));
            health.answered(Verdict::Delivered, at(1), at(1));
        }
        let settings = Settings { was_parked, ..settings() };
        let mut queue = Queue::new(settings, &[]);
        queue.set_flushing(true);
        queue.push(chunk(0, 0..3), Position { segment: 0, offset: 1, index: 0 }, 3, |_, _| true);
        let request = queue.begin_request(at(2), &mut health).unwrap();
        queue
            .answer(request.shard, Verdict::Denied, at(2), 0.0, &mut health, |_, _, fate| panic!("{fate:?}"));
        assert_eq!(health.is_closed(), closes);
    }
}

#[test]
fn a_refusal_proves_access() {
    let mut queue = started(1);
    for number in 0..10 {
        push(&mut queue, chunk(number, 0..100));
    }
    let mut now = Duration::from_secs(1);
    deny(&mut queue, &mut now, 2);
    let mut requests = 0;
    while queue.pending() > 0 {
        now = now.max(queue.next_wakeup().unwrap());
        let request = queue.poll(now).unwrap();
        answer(&mut queue, request, Verdict::Refused { fits_a_repeat: false }, now);
        requests += 1;
    }
    assert!(requests <= 150, "{requests} requests for 1000 points that are refused wholesale");
}

/// Points that were refused or delivered, and when.
#[derive(Default)]
struct Ran {
    /// With their series.
    refused: Vec<(u64, Duration)>,
    /// With their timestamps.
    delivered: Vec<(i64, Duration)>,
    requests: usize,
}

/// Answers each request after ten milliseconds, and looks for requests twice a second.
fn run(
    queue: &mut Tested,
    until: Duration,
    mut more: impl FnMut(&mut Tested, Duration),
    denied: impl Fn(u64) -> bool,
) -> Ran {
    let (mut now, mut ran) = (Duration::ZERO, Ran::default());
    while now < until {
        more(queue, now);
        queue.tick(now);
        while let Some(request) = queue.poll(now) {
            ran.requests += 1;
            assert!(ran.requests < 100_000, "asked without a pause at {now:?}");
            let denied = sent(queue, request).iter().any(|(series, _)| denied(*series));
            now += Duration::from_millis(10);
            let outcome = if denied { Verdict::Denied } else { Verdict::Delivered };
            queue.answer(request.shard, outcome, now, |chunk, point, fate| {
                let (series, time) = chunk.points[point as usize];
                match fate {
                    Fate::Delivered => ran.delivered.push((time, now)),
                    _ => ran.refused.push((series, now)),
                }
            });
        }
        now += Duration::from_millis(490);
    }
    ran
}

/// All series but one are accepted.
#[test]
fn always_denied_series_is_parked_and_delays_only_its_shard() {
    let mut queue = started(4);
    let mut number = 0;
    let more = |queue: &mut Tested, now: Duration| {
        while number < now.as_secs() {
            number += 1;
            push(queue, chunk(number, if number == 1 { 16..20 } else { 16..17 }));
        }
    };
    let Ran { refused, delivered, .. } = run(&mut queue, PARKED_AFTER * 2, more, |series| series == 17);
    assert!(matches!(refused[..], [(17, at)] if at >= PARKED_AFTER), "{refused:?}");
    let longest = delivered.iter().map(|(time, at)| *at - Duration::from_secs(*time as u64)).max().unwrap();
    assert!(longest <= DENIED_INTERVAL + Duration::from_secs(2), "others waited for {longest:?}");
}

#[test]
fn one_shard_delivers_the_rest_wherever_the_denied_points_are() {
    for bad in [&[0][..], &[17], &[17, 18], &[39]] {
        let mut queue = started(1);
        for number in 0..50 {
            push(&mut queue, chunk(number, 0..40));
        }
        let until = Duration::from_secs(4 * 3600);
        let Ran { refused, delivered, requests } =
            run(&mut queue, until, |_, _| {}, |series| bad.contains(&series));
        assert_eq!(delivered.len(), 50 * (40 - bad.len()), "{bad:?}, refused {refused:?}");
        assert!(requests < 1000, "{requests} requests, {bad:?}");
    }
}

#[test]
fn narrowing_a_denied_batch_delays_no_other_series() {
    let mut queue = started(4);
    let mut number = 0;
    let more = |queue: &mut Tested, now: Duration| {
        while number * 5 <= now.as_secs() {
            push(queue, chunk(number, (0..40).filter(|series| number == 0 || series % 4 != 1)));
            number += 1;
        }
    };
    let Ran { refused, delivered, .. } =
        run(&mut queue, Duration::from_secs(1500), more, |series| series % 4 == 1);
    assert!(refused.is_empty() || refused.iter().all(|(series, _)| series % 4 == 1));
    let mut late = delivered.iter().filter(|(number, at)| at.as_secs() > *number as u64 * 5 + 6);
    // When the first request was denied, no other request had been accepted yet.
    let later = late.find(|(_, at)| *at >= DENIED_INTERVAL + Duration::from_secs(2));
    assert_eq!(later, None, "others waited");
}

#[test]
fn probe_refuses_no_sample_when_nothing_is_accepted() {
    let mut queue = started(1);
    push(&mut queue, chunk(0, 0..100));
    let mut next = Duration::ZERO;
    let others = |queue: &mut Tested, now: Duration| {
        while next <= now && next < Duration::from_secs(70) {
            queue.others_pass(next);
            next += Duration::from_secs(5);
        }
    };
    let Ran { refused, requests, .. } = run(&mut queue, Duration::from_secs(7200), others, |_| true);
    assert!(refused.is_empty() && requests <= 150, "{refused:?}, {requests} requests in two hours");
}

#[test]
fn denial_keeps_the_pause_and_refusal_ends_it() {
    let pause = Duration::from_secs(300);
    let wait = Verdict::Failed { reached: Reached::Receiver, retry_after: Some(pause) };
    let mut queue = started(3);
    push(&mut queue, chunk(0, 0..60));
    let mut now = Duration::from_secs(1);
    let requests: Vec<Request> = std::iter::from_fn(|| queue.poll(now)).collect();
    for (request, outcome) in requests.into_iter().zip([Verdict::Denied, wait, Verdict::Denied]) {
        answer(&mut queue, request, outcome, now);
    }
    assert_eq!(queue.next_wakeup(), Some(now + pause));
    now += Duration::from_secs(5);
    // The credentials have changed.
    queue.probe_now(now);
    let request = queue.poll(now).unwrap();
    assert_eq!(sent(&queue, request).len(), 1);
    assert_eq!(answer(&mut queue, request, Verdict::Refused { fits_a_repeat: false }, now).len(), 1);
    assert_eq!(queue.next_wakeup(), Some(now));
}
