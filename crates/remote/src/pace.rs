//! How fast a destination may be sent to: `queue_config.max_bytes_per_second`, and what a receiver that answers 429
//! teaches. One [`Pace`] for all streams of a destination together. Pure: time is passed in.
//!
//! A receiver that limits the rate refuses whole requests, and every request that it refuses was sent for nothing. So
//! after a 429 no stream sends for a moment, and then all of them together send a little less than what was accepted
//! lately. From there the pace rises slowly, until the next 429 or until it no longer limits anything.

use std::collections::VecDeque;
use std::time::Duration;

/// How much of its rate a limit lets through at once, after a pause.
const BURST: Duration = Duration::from_secs(1);
/// The least that a request may have under a limit in bytes, so that there is progress at any rate.
const REQUEST_BYTES_MIN: usize = 1 << 10;
/// What was accepted is averaged over this time.
const LATELY: Duration = Duration::from_secs(10);
/// The width of the parts that it is counted in.
const PART: Duration = Duration::from_millis(500);
/// After a 429 the pace is this much of what was accepted lately.
const AFTER_429: f64 = 0.95;
/// And at most this much of the pace before.
const BACK_OFF: f64 = 0.85;
/// Or this much, where the 429 before is not older than [`SEARCH`]: then the limit is far below, since a receiver lets
/// through more at first.
const SEARCH_BACK_OFF: f64 = 0.7;
const SEARCH: Duration = Duration::from_secs(2);
/// The pace rises by this share a second, and by as much more for each [`RISES_FASTER_AFTER`] without a 429: what was
/// accepted lately may have been all that there was to send.
const RISE: f64 = 0.01;
const RISES_FASTER_AFTER: Duration = Duration::from_secs(10);
/// After a 429 nothing is sent for as long.
const REST: Duration = Duration::from_millis(200);
/// Further 429s within this time are about what was sent before the pace was lowered.
const ONE_EVENT: Duration = Duration::from_millis(300);
/// A pace that limits nothing is forgotten after this time without a 429.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(300);
/// The lowest pace that a receiver teaches, in points a second.
const LEARNED_MIN: f64 = 10.0;

/// See the module.
#[derive(Debug)]
pub(crate) struct Pace {
    bytes: Option<Bucket>,
    learned: Option<Learned>,
    /// After a 429.
    rests_until: Duration,
    accepted: Accepted,
    /// Bytes of metadata in requests of their own, up to the last look.
    metadata: Option<u64>,
}

impl Pace {
    /// `bytes_per_second` is what the user has set.
    pub(crate) fn new(bytes_per_second: Option<u64>, now: Duration) -> Self {
        Pace {
            bytes: bytes_per_second.map(|rate| Bucket::full(rate as f64, now)),
            learned: None,
            rests_until: Duration::ZERO,
            accepted: Accepted { parts: VecDeque::new(), since: now },
            metadata: None,
        }
    }

    /// The earliest time at which a request may be sent.
    pub(crate) fn opens_at(&self) -> Duration {
        let of_bytes = self.bytes.as_ref().map(Bucket::opens_at);
        let learned = self.learned.as_ref().map(|learned| learned.bucket.opens_at());
        of_bytes.max(learned).unwrap_or_default().max(self.rests_until)
    }

    /// The most bytes of a request before compression.
    pub(crate) fn request_bytes(&self) -> usize {
        self.bytes.as_ref().map_or(usize::MAX, |bucket| (bucket.burst() as usize).max(REQUEST_BYTES_MIN))
    }

    /// The pace that the receiver has taught, in points a second.
    #[cfg(test)]
    pub(crate) fn learned(&self) -> Option<f64> {
        self.learned.as_ref().map(|learned| learned.bucket.rate)
    }

    /// A request of as many bytes, as sent, and points is sent.
    pub(crate) fn sent(&mut self, bytes: usize, points: u64, now: Duration) {
        if let Some(bucket) = &mut self.bytes {
            bucket.take(bytes as f64, now);
        }
        if let Some(learned) = &mut self.learned {
            learned.bucket.take(points as f64, now);
        }
    }

    /// So many bytes of metadata have been sent in all. They are not held back, but what follows waits for them.
    pub(crate) fn metadata_sent(&mut self, total: u64, now: Duration) {
        let before = self.metadata.replace(total).unwrap_or(total);
        self.sent(total.saturating_sub(before) as usize, 0, now);
    }

    /// A request with as many points was accepted.
    pub(crate) fn accepted(&mut self, points: u64, now: Duration) {
        self.accepted.add(points, now);
        let Some(learned) = &mut self.learned else { return };
        let seconds = now.saturating_sub(learned.raised_at).as_secs_f64();
        let calm = now.saturating_sub(learned.told_at).as_secs_f64() / RISES_FASTER_AFTER.as_secs_f64();
        learned.bucket.set_rate(learned.bucket.rate * (1.0 + RISE * (1.0 + calm) * seconds.min(1.0)), now);
        learned.raised_at = now;
        if now >= learned.told_at + FORGOTTEN_AFTER {
            self.learned = None;
        }
    }

    /// A request was answered with 429.
    pub(crate) fn too_many(&mut self, now: Duration) {
        self.rests_until = now + REST;
        if self.learned.as_ref().is_some_and(|learned| now < learned.told_at + ONE_EVENT) {
            return;
        }
        // Where nothing was accepted lately, nothing is known of the receiver's limit.
        let lately = Some(self.accepted.rate(now) * AFTER_429).filter(|rate| *rate > 0.0);
        let before = self.learned.as_ref().map(|learned| {
            let searches = now < learned.told_at + SEARCH;
            learned.bucket.rate * if searches { SEARCH_BACK_OFF } else { BACK_OFF }
        });
        let Some(rate) = lately.into_iter().chain(before).reduce(f64::min) else { return };
        let bucket = Bucket { rate: rate.max(LEARNED_MIN), level: 0.0, at: now };
        self.learned = Some(Learned { bucket, told_at: now, raised_at: now });
    }
}

/// What a receiver has taught.
#[derive(Debug)]
struct Learned {
    bucket: Bucket,
    /// When it answered 429.
    told_at: Duration,
    raised_at: Duration,
}

/// A token bucket that may go into debt: a request is sent while there is anything in it.
#[derive(Debug)]
struct Bucket {
    /// Units a second.
    rate: f64,
    /// What was in it at `at`.
    level: f64,
    at: Duration,
}

impl Bucket {
    fn full(rate: f64, now: Duration) -> Self {
        Bucket { rate, level: rate * BURST.as_secs_f64(), at: now }
    }

    fn burst(&self) -> f64 {
        self.rate * BURST.as_secs_f64()
    }

    fn fill(&mut self, now: Duration) {
        let seconds = now.saturating_sub(self.at).as_secs_f64();
        self.level = (self.level + self.rate * seconds).min(self.burst());
        self.at = now;
    }

    fn take(&mut self, units: f64, now: Duration) {
        self.fill(now);
        self.level -= units;
    }

    fn set_rate(&mut self, rate: f64, now: Duration) {
        self.fill(now);
        self.rate = rate;
    }

    /// When there is something in it.
    fn opens_at(&self) -> Duration {
        let debt = (-self.level).max(0.0);
        self.at + Duration::try_from_secs_f64(debt / self.rate).unwrap_or(Duration::MAX / 2)
    }
}

/// What was accepted lately.
#[derive(Debug)]
struct Accepted {
    /// Points by the number of the part of time.
    parts: VecDeque<(u128, u64)>,
    since: Duration,
}

impl Accepted {
    fn part(now: Duration) -> u128 {
        now.as_millis() / PART.as_millis()
    }

    fn add(&mut self, points: u64, now: Duration) {
        let part = Self::part(now);
        match self.parts.back_mut() {
            Some((last, count)) if *last == part => *count += points,
            _ => self.parts.push_back((part, points)),
        }
        let oldest = part.saturating_sub(LATELY.as_millis() / PART.as_millis());
        while self.parts.front().is_some_and(|(part, _)| *part < oldest) {
            self.parts.pop_front();
        }
    }

    /// Points a second.
    fn rate(&self, now: Duration) -> f64 {
        let oldest = Self::part(now).saturating_sub(LATELY.as_millis() / PART.as_millis());
        let points: u64 =
            self.parts.iter().filter(|(part, _)| *part >= oldest).map(|(_, points)| points).sum();
        let seconds = now.saturating_sub(self.since).min(LATELY).max(PART).as_secs_f64();
        points as f64 / seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(5);

    #[test]
    fn a_limit_in_bytes_is_held_within_a_tenth_over_half_a_minute() {
        for (rate, body) in [(10_000, 700), (10_000, 9_000), (1_000_000, 400_000), (2_000, 1_500)] {
            let mut pace = Pace::new(Some(rate), Duration::ZERO);
            assert!(pace.request_bytes() >= body, "{rate}");
            let mut sent: Vec<(Duration, usize)> = Vec::new();
            for step in 0..200 * 120 {
                let now = STEP * step;
                while pace.opens_at() <= now {
                    pace.sent(body, 1, now);
                    sent.push((now, body));
                }
            }
            for start in 0..90 {
                let window = Duration::from_secs(start)..Duration::from_secs(start + 30);
                let bytes: usize =
                    sent.iter().filter(|(at, _)| window.contains(at)).map(|(_, bytes)| bytes).sum();
                let share = bytes as f64 / (30 * rate) as f64;
                assert!((0.9..=1.1).contains(&share), "{rate} {body}: {share} from {start} s");
            }
        }
    }

    #[test]
    fn without_limits_nothing_waits() {
        let mut pace = Pace::new(None, Duration::ZERO);
        for _ in 0..1000 {
            pace.sent(1 << 20, 2000, Duration::ZERO);
            assert_eq!(pace.opens_at(), Duration::ZERO);
        }
        assert_eq!(pace.request_bytes(), usize::MAX);
    }

    /// A receiver that refuses requests over a rate, as Cortex and Mimir do, and a sender with shards that each have a
    /// request under way.
    struct Simulated {
        limit: Bucket,
        offered: u64,
        accepted: u64,
    }

    /// For two minutes, of which the sender is idle for some at first but for a few points.
    fn simulate(rate: f64, burst: f64, shards: usize, points: u64, idle: u32) -> Simulated {
        let (answer, seconds) = (Duration::from_millis(20), 120);
        let mut limit = Bucket { rate, level: burst, at: Duration::ZERO };
        let mut pace = Pace::new(None, Duration::ZERO);
        let (mut offered, mut accepted) = (0, 0);
        let mut under_way: Vec<Option<Duration>> = vec![None; shards];
        for step in 0..seconds * 200 {
            let now = STEP * step;
            let seconds = now.saturating_sub(limit.at).as_secs_f64();
            limit.level = (limit.level + rate * seconds).min(burst);
            limit.at = now;
            for shard in &mut under_way {
                if let Some(sent) = *shard
                    && now >= sent + answer
                {
                    *shard = None;
                    if limit.level >= points as f64 {
                        limit.level -= points as f64;
                        accepted += points;
                        pace.accepted(points, now);
                    } else {
                        pace.too_many(now);
                    }
                }
                let is_idle = now < Duration::from_secs(idle.into()) && step % 400 != 0;
                if shard.is_none() && !is_idle && pace.opens_at() <= now {
                    pace.sent(1000, points, now);
                    offered += points;
                    *shard = Some(now);
                }
            }
        }
        Simulated { limit, offered, accepted }
    }

    #[test]
    fn a_receiver_that_limits_the_rate_is_sent_little_more_than_it_accepts() {
        for (shards, points, idle) in [(1, 2000, 0), (8, 2000, 0), (50, 500, 0), (8, 500, 20), (8, 50, 60)] {
            let seen = simulate(25_000.0, 50_000.0, shards, points, idle);
            let (offered, accepted) = (seen.offered as f64, seen.accepted as f64);
            assert!(offered <= 1.1 * accepted, "{shards} shards: {} of {}", seen.accepted, seen.offered);
            let possible = seen.limit.rate * f64::from(120 - idle);
            assert!(accepted >= 0.8 * possible, "{shards} shards, {idle} s idle: {} accepted", seen.accepted);
        }
    }

    #[test]
    fn a_429_before_anything_was_accepted_is_only_a_pause() {
        let mut pace = Pace::new(None, Duration::ZERO);
        pace.too_many(Duration::from_secs(1));
        assert_eq!((pace.learned(), pace.opens_at()), (None, Duration::from_secs(1) + REST));
    }

    #[test]
    fn a_pace_that_was_learned_is_forgotten() {
        let mut pace = Pace::new(None, Duration::ZERO);
        pace.accepted(1000, Duration::from_secs(1));
        pace.too_many(Duration::from_secs(1));
        assert!(pace.learned().is_some() && pace.opens_at() > Duration::from_secs(1));
        pace.accepted(10, Duration::from_secs(1) + FORGOTTEN_AFTER);
        assert_eq!(pace.learned(), None);
        assert!(pace.opens_at() < Duration::from_secs(2));
    }
}
