//! A token bucket.

use std::time::Duration;

/// After a pause, the units of this much time may be sent at once.
const BURST: Duration = Duration::from_secs(1);

/// A token bucket that may go into debt: a request may be sent while the level is not negative.
#[derive(Debug)]
pub(super) struct Bucket {
    /// Units a second.
    rate: f64,
    /// The level at time `at`.
    level: f64,
    at: Duration,
}

impl Bucket {
    pub(super) fn full(rate: f64, now: Duration) -> Self {
        Bucket { rate, level: rate * BURST.as_secs_f64(), at: now }
    }

    /// Returns a bucket that has to make up for this much debt first.
    pub(super) fn in_debt(rate: f64, units: f64, now: Duration) -> Self {
        Bucket { rate, level: -units, at: now }
    }

    pub(super) fn rate(&self) -> f64 {
        self.rate
    }

    pub(super) fn burst(&self) -> f64 {
        self.rate * BURST.as_secs_f64()
    }

    pub(super) fn fill(&mut self, now: Duration) {
        let seconds = now.saturating_sub(self.at).as_secs_f64();
        self.level = (self.level + self.rate * seconds).min(self.burst());
        self.at = now;
    }

    pub(super) fn take(&mut self, units: f64, now: Duration) {
        self.fill(now);
        self.level -= units;
    }

    /// Returns when the debt is made up for.
    pub(super) fn opens_at(&self) -> Duration {
        let debt = (-self.level).max(0.0);
        self.at + Duration::try_from_secs_f64(debt / self.rate).unwrap_or(Duration::MAX / 2)
    }

    /// Changes the rate from `now` on.
    pub(super) fn set_rate(&mut self, rate: f64, now: Duration) {
        self.fill(now);
        self.rate = rate;
        self.level = self.level.min(self.burst());
    }
}
