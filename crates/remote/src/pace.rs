//! How fast a destination may be sent to: `queue_config.max_bytes_per_second`. One [`Pace`] for all streams of a
//! destination together. Pure: time is passed in.

use std::time::Duration;

/// How much of its rate a limit lets through at once, after a pause.
const BURST: Duration = Duration::from_secs(1);
/// The least that a request may have under a limit, so that there is progress at any rate.
const REQUEST_BYTES_MIN: usize = 1 << 10;

/// See the module.
#[derive(Debug)]
pub(crate) struct Pace {
    bytes: Option<Bucket>,
}

impl Pace {
    /// `bytes_per_second` is what the user has set.
    pub(crate) fn new(bytes_per_second: Option<u64>, now: Duration) -> Self {
        Pace { bytes: bytes_per_second.map(|rate| Bucket::full(rate as f64, now)) }
    }

    /// The earliest time at which a request may be sent.
    pub(crate) fn opens_at(&self) -> Duration {
        self.bytes.as_ref().map(Bucket::opens_at).unwrap_or_default()
    }

    /// The most bytes of a request before compression.
    pub(crate) fn request_bytes(&self) -> usize {
        self.bytes.as_ref().map_or(usize::MAX, |bucket| (bucket.burst() as usize).max(REQUEST_BYTES_MIN))
    }

    /// A request of as many bytes, as sent, is sent.
    pub(crate) fn sent(&mut self, bytes: usize, now: Duration) {
        if let Some(bucket) = &mut self.bytes {
            bucket.take(bytes as f64, now);
        }
    }
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

    /// When there is something in it.
    fn opens_at(&self) -> Duration {
        let debt = (-self.level).max(0.0);
        self.at + Duration::try_from_secs_f64(debt / self.rate).unwrap_or(Duration::MAX / 2)
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
                    pace.sent(body, now);
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
            pace.sent(1 << 20, Duration::ZERO);
            assert_eq!(pace.opens_at(), Duration::ZERO);
        }
        assert_eq!(pace.request_bytes(), usize::MAX);
    }
}
