//! Decides when the next collection is due.
//!
//! Ticks are at multiples of the interval plus an offset. The offset depends on the instance only. So ten
//! thousand machines that started together do not push together, and a restart does not change an instance's
//! offset.

use std::time::Duration;

pub const MIN_INTERVAL: Duration = Duration::from_millis(1);

/// Ticks at `k * interval + offset` of the monotonic clock.
#[derive(Debug)]
pub struct Ticker {
    interval: Duration,
    offset: Duration,
    /// The last tick that was returned.
    last: Option<Duration>,
    missed: u64,
}

impl Ticker {
    /// A ticker with an interval of at least [`MIN_INTERVAL`] and the offset of `instance`.
    pub fn new(interval: Duration, instance: &str) -> Self {
        let interval = interval.max(MIN_INTERVAL);
        Ticker { interval, offset: offset(interval, instance), last: None, missed: 0 }
    }

    pub fn after(&self, now: Duration) -> Duration {
        let interval = self.interval.as_nanos();
        let past = now.as_nanos() + interval - self.offset.as_nanos();
        let nanos = (past / interval) * interval + self.offset.as_nanos();
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// The tick to wait for. Call it when the work of the last tick is done. Ticks in the past are skipped
    /// and counted.
    pub fn wait_for(&mut self, now: Duration) -> Duration {
        let next = match self.last.map(|last| last.saturating_add(self.interval)) {
            Some(next) if now <= next => next,
            Some(next) => {
                let later = self.after(now);
                let skipped = later.saturating_sub(next).as_nanos() / self.interval.as_nanos();
                self.missed += u64::try_from(skipped).unwrap_or(u64::MAX);
                later
            }
            None => self.after(now),
        };
        self.last = Some(next);
        next
    }

    /// The number of skipped ticks.
    pub fn missed(&self) -> u64 {
        self.missed
    }
}

/// An offset within the interval, from a hash of the name. The hash is FNV-1a, because it must never change
/// and is easy to specify.
fn offset(interval: Duration, instance: &str) -> Duration {
    let hash = instance.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let nanos = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(hash % nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(15);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn ticks_are_an_interval_apart_from_an_offset_that_stays() {
        let mut ticker = Ticker::new(INTERVAL, "till-7");
        let offset = offset(INTERVAL, "till-7");
        assert!(offset < INTERVAL);
        assert_eq!(ticker.wait_for(Duration::ZERO), if offset.is_zero() { INTERVAL } else { offset });
        let mut now = ticker.wait_for(Duration::ZERO);
        for _ in 0..5 {
            now = ticker.wait_for(now + ms(20));
            assert_eq!((now - offset).as_nanos() % INTERVAL.as_nanos(), 0);
        }
        assert_eq!(ticker.missed(), 0);
        assert_eq!(Ticker::new(INTERVAL, "till-7").after(now - ms(1)), now, "a restart keeps the place");
    }

    #[test]
    fn the_first_tick_after_a_tick_is_the_next() {
        let ticker = Ticker::new(INTERVAL, "a");
        let tick = ticker.after(ms(1_000_000));
        assert!(tick > ms(1_000_000) && tick <= ms(1_015_000));
        assert_eq!(ticker.after(tick), tick + INTERVAL);
        assert_eq!(ticker.after(tick - Duration::from_nanos(1)), tick);
    }

    #[test]
    fn ticks_that_went_by_are_skipped_and_counted() {
        let mut ticker = Ticker::new(INTERVAL, "b");
        let first = ticker.wait_for(ms(0));
        // The work took a little more than three intervals.
        let next = ticker.wait_for(first + INTERVAL * 3 + ms(1));
        assert_eq!(next, first + INTERVAL * 4);
        assert_eq!(ticker.missed(), 3);
        // Work that ends right at the next tick misses none.
        assert_eq!(ticker.wait_for(next + INTERVAL), next + INTERVAL);
        assert_eq!(ticker.missed(), 3);
    }

    #[test]
    fn instances_are_spread_over_the_interval() {
        let mut quarters = [0; 4];
        for instance in 0..1000 {
            let offset = offset(INTERVAL, &format!("host-{instance}.example.org:9100"));
            quarters[(offset.as_nanos() * 4 / INTERVAL.as_nanos()) as usize] += 1;
        }
        assert!(quarters.iter().all(|count| (200..300).contains(count)), "{quarters:?}");
    }

    #[test]
    fn an_interval_of_zero_is_a_millisecond() {
        let mut ticker = Ticker::new(Duration::ZERO, "c");
        let first = ticker.wait_for(Duration::ZERO);
        assert_eq!(ticker.wait_for(first), first + MIN_INTERVAL);
    }
}
