//! When a target is scraped, and which timestamp its samples get. Pure.
//!
//! Each target has an offset within its interval, by its identity and the machine: so targets are spread over the
//! interval, a restart keeps a target's phase, and two machines that scrape the same target do so at different times.

use std::time::Duration;

/// How far a scrape may begin after its tick and still get the tick as its timestamp. Timestamps on a grid compress
/// better.
const TOLERANCE_MS_MAX: i64 = 2;

/// The ticks of a target: `k * interval + offset`, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    interval_ms: i64,
    offset_ms: i64,
}

impl Schedule {
    /// `seed` is a number of this machine.
    pub fn new(interval: Duration, identity: u64, seed: u64) -> Self {
        let interval_ms = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX).max(1);
        // The rest is less than the interval.
        let offset_ms = ((identity ^ seed) % interval_ms as u64) as i64;
        Schedule { interval_ms, offset_ms }
    }

    /// The first tick after `now_ms`. Missed ticks are skipped.
    pub fn next(&self, now_ms: i64) -> i64 {
        let past = (now_ms - self.offset_ms).rem_euclid(self.interval_ms);
        now_ms + self.interval_ms - past
    }

    /// The timestamp of a scrape that begins at `now_ms`: its tick, if that has only just passed.
    pub fn timestamp(&self, now_ms: i64) -> i64 {
        let late = (now_ms - self.offset_ms).rem_euclid(self.interval_ms);
        let tolerance = TOLERANCE_MS_MAX.min(self.interval_ms / 100);
        if late <= tolerance { now_ms - late } else { now_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_keep_their_phase_and_missed_ones_are_skipped() {
        // An offset of 400 ms.
        let schedule = Schedule::new(Duration::from_secs(1), 1400, 0);
        for (now, next) in [(0, 400), (399, 400), (400, 1400), (401, 1400), (5_000, 5_400)] {
            assert_eq!(schedule.next(now), next, "{now}");
        }
        // Another process with the same seed has the same ticks.
        assert_eq!(Schedule::new(Duration::from_secs(1), 1400, 0), schedule);
    }

    #[test]
    fn a_timestamp_is_on_the_grid_if_the_scrape_begins_in_time() {
        let schedule = Schedule::new(Duration::from_secs(1), 400, 0);
        for (now, timestamp) in [(1400, 1400), (1401, 1400), (1402, 1400), (1403, 1403), (1399, 1399)] {
            assert_eq!(schedule.timestamp(now), timestamp, "{now}");
        }
        // The tolerance is at most a hundredth of the interval.
        let short = Schedule::new(Duration::from_millis(50), 0, 0);
        assert_eq!(short.timestamp(101), 101);
    }

    #[test]
    fn targets_are_spread_over_the_interval() {
        let interval = Duration::from_secs(10);
        let mut tenths = [0; 10];
        for target in 0..1000_u64 {
            let identity = xxhash_rust::xxh3::xxh3_64(&target.to_le_bytes());
            let tick = Schedule::new(interval, identity, 77).next(0);
            if let Some(count) = tenths.get_mut((tick / 1000 % 10) as usize) {
                *count += 1;
            }
        }
        assert!(tenths.iter().all(|count| (60..140).contains(count)), "{tenths:?}");
    }
}
