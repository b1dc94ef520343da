//! How many shards a destination should have: Prometheus' rule, as a pure function of measured rates.

use crate::stats::Stats;
use model::Kinds;
use std::time::Duration;

/// How often the number of shards is decided.
pub(super) const INTERVAL: Duration = Duration::from_secs(10);
/// Weight of the newest rate in the moving averages.
const NEWEST_WEIGHT: f64 = 0.2;
/// Fraction of the backlog that should be delivered in one interval.
const BACKLOG_PART: f64 = 0.05;
/// A change of less than this fraction of the present number is not made.
const TOLERANCE: f64 = 0.3;
/// The number is not lowered while delivery is behind by more than this many seconds.
const DELAY_MAX_TO_LOWER: f64 = 10.0;

/// The input of the rule. Rates are in samples a second.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Rates {
    pub input: f64,
    pub output: f64,
    /// Samples dropped by rules or for their age.
    pub dropped: f64,
    /// Seconds that requests took, per second.
    pub sending: f64,
    /// How far delivery is behind, in seconds: the age of the oldest unsettled sample, by its arrival and a
    /// monotonic clock.
    pub delay: f64,
}

/// Returns the wanted number of shards without bounds, as the `shards_desired` metric shows it. `None` while
/// nothing is delivered, because the rates are unknown then.
pub(super) fn desired(rates: Rates) -> Option<f64> {
    if rates.output <= 0.0 {
        return None;
    }
    let kept = rates.output / (rates.dropped + rates.output);
    let pending = rates.delay * rates.input * kept;
    let seconds_per_sample = rates.sending / rates.output;
    Some(seconds_per_sample * (rates.input * kept + BACKLOG_PART * pending))
}

/// Returns the number of shards to use. `now` is the present number.
pub(super) fn decide(now: usize, rates: Rates, min: usize, max: usize) -> usize {
    let max = max.max(min);
    let Some(desired) = desired(rates) else { return now.clamp(min, max) };
    let desired = desired.ceil();
    let today = now as f64;
    if (today * (1.0 - TOLERANCE)..=today * (1.0 + TOLERANCE)).contains(&desired) {
        return now.clamp(min, max);
    }
    if desired < today && rates.delay > DELAY_MAX_TO_LOWER {
        return now.clamp(min, max);
    }
    (desired.clamp(0.0, max as f64) as usize).clamp(min, max)
}

#[derive(Debug, Default)]
pub(super) struct Resharding {
    input: MovingRate,
    output: MovingRate,
    dropped: MovingRate,
    sending: MovingRate,
    last: Duration,
}

impl Resharding {
    pub(super) fn since(now: Duration) -> Self {
        Resharding { last: now, ..Resharding::default() }
    }

    pub(super) fn is_due(&self, now: Duration) -> bool {
        now >= self.last + INTERVAL
    }

    /// Returns the rates since the last call. `delay` is how far delivery is behind.
    pub(super) fn measure(&mut self, stats: &Stats, delay: Duration, now: Duration) -> Rates {
        let seconds = now.saturating_sub(self.last).as_secs_f64();
        self.last = now;
        let total = |kinds: Kinds| kinds.total() as f64;
        let output = total(stats.delivered.get()) + total(stats.refused.get());
        Rates {
            input: self.input.tick(total(stats.queued.get()), seconds),
            output: self.output.tick(output, seconds),
            dropped: self.dropped.tick(total(stats.dropped_by_rule.get()), seconds),
            sending: self.sending.tick(stats.request_duration.sum_ns.get() as f64 / 1e9, seconds),
            delay: delay.as_secs_f64(),
        }
    }
}

#[derive(Debug, Default)]
struct MovingRate {
    last_total: f64,
    rate: f64,
    started: bool,
}

impl MovingRate {
    /// Takes the counter's value after an interval of `seconds`. Returns the averaged rate per second.
    fn tick(&mut self, total: f64, seconds: f64) -> f64 {
        let newest = (total - self.last_total).max(0.0) / seconds.max(0.001);
        self.last_total = total;
        self.rate =
            if self.started { NEWEST_WEIGHT * newest + (1.0 - NEWEST_WEIGHT) * self.rate } else { newest };
        self.started |= newest > 0.0;
        self.rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shard_counts_equal_those_of_prometheus() {
        // shards, input rate, output rate, sending, backlog in seconds, expected shards
        let cases = [
            (1, 0., 0., 0., 0., 1),
            (10, 0., 0., 0., 0., 10),
            (1, 10., 10., 1., 0., 1),
            (10, 10., 10., 5., 0., 5),
            (7, 10., 10., 5., 0., 7),
            (1, 10., 10., 10., 0., 10),
            (8, 10., 10., 10., 0., 8),
            (2, 10., 10., 2., 20., 4),
            (4, 10., 10., 4., 90., 22),
            (22, 10., 20., 4., 10., 3),
            (3, 10., 10., 2., 0., 2),
            (1, 10., 10., 1.2, 0., 2),
            (2, 10., 10., 1.2, 0., 2),
            (2, 10., 10., 0.9, 0., 1),
            (3, 10., 10., 2.01, 0., 3),
            (3, 10., 10., 1.99, 0., 2),
        ];
        for (now, input, output, sending, delay, gives) in cases {
            let rates = Rates { input, output, dropped: 0.0, sending, delay };
            assert_eq!(decide(now, rates, 1, 50), gives, "{now} shards, {rates:?}");
        }
    }

    #[test]
    fn stays_within_bounds_and_is_not_lowered_while_behind() {
        let rates = Rates { input: 10., output: 10., sending: 1000., ..Rates::default() };
        assert_eq!(decide(1, rates, 1, 50), 50);
        assert_eq!(decide(9, Rates { sending: 0.1, ..rates }, 4, 50), 4);
        assert_eq!(decide(9, Rates { sending: 0.1, delay: 11., ..rates }, 4, 50), 9);
        assert_eq!(decide(60, Rates::default(), 1, 50), 50);
    }

    #[test]
    fn samples_dropped_by_rules_need_no_shards() {
        let rates = Rates { input: 100., output: 10., dropped: 90., sending: 1., delay: 0. };
        assert_eq!(desired(rates), Some(1.0));
    }

    #[test]
    fn a_rate_follows_slowly() {
        let mut rate = MovingRate::default();
        assert_eq!(rate.tick(0.0, 10.0), 0.0);
        assert_eq!(rate.tick(100.0, 10.0), 10.0, "the first rate counts in full");
        assert_eq!(rate.tick(100.0, 10.0), 8.0);
    }
}
