//! When a batch that is not full is sent before its deadline.

use super::*;

use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(1);
const STEP: Duration = Duration::from_millis(5);

/// A stream with a value every 50 ms for a minute.
struct Stream {
    early: bool,
    can_wait: bool,
    answers_after: Duration,
}

/// The requests in that minute, and the longest time between a value's arrival and its request.
struct Seen {
    requests: usize,
    longest: Duration,
}

impl Stream {
    fn run(&self) -> Seen {
        let mut queue: Tested = Tested::new(
            Settings { early: self.early, deadline: DEADLINE, max_points: 1000, ..settings() },
            &[],
        );
        let mut seen = Seen { requests: 0, longest: Duration::ZERO };
        let mut under_way = None;
        for step in 0..60_000 / 5 {
            let now = STEP * step;
            if step % 10 == 0 {
                let number = u64::from(step) / 10;
                let points = Points { arrived: now, can_wait: self.can_wait, ..chunk(number, [1]) };
                push(&mut queue, points);
            }
            if let Some((shard, sent)) = under_way
                && now >= sent + self.answers_after
            {
                queue.answer(shard, Verdict::Delivered, now, |_, _, _| {});
                under_way = None;
            }
            if let Some(request) = queue.poll(now) {
                seen.requests += 1;
                let oldest = queue.points(request.shard).map(|(points, _)| points.arrived).min();
                seen.longest = seen.longest.max(now - oldest.unwrap_or(now));
                under_way = Some((request.shard, now));
            }
        }
        seen
    }
}

const STEADY: Stream = Stream { early: true, can_wait: false, answers_after: Duration::from_millis(10) };

#[test]
fn value_in_a_steady_stream_waits_at_most_the_shortest_interval() {
    let seen = STEADY.run();
    assert!(seen.longest <= EARLY_INTERVAL.max(LINGER) + STEP, "{:?}", seen.longest);
    assert!((250..=301).contains(&seen.requests), "{} requests in a minute", seen.requests);
}

#[test]
fn without_early_one_request_per_deadline() {
    for (why, stream) in [
        ("the user has set the deadline", Stream { early: false, ..STEADY }),
        ("nobody waits for it", Stream { can_wait: true, ..STEADY }),
        ("the destination is slow", Stream { answers_after: FAST_ANSWER + STEP, ..STEADY }),
    ] {
        let seen = stream.run();
        assert!(seen.longest <= DEADLINE + STEP && seen.requests <= 61, "{why}: {}", seen.requests);
        assert!(seen.requests >= 50, "{why}: {}", seen.requests);
    }
}
