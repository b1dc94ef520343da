//! When the next collection is due.
//!
//! Ticks are at multiples of the interval plus an offset that is an instance's own and always the same,
//! so that ten thousand machines that started together don't push together, and a restart doesn't move
//! an instance's place.

use std::time::Duration;

/// The shortest interval.
pub const MIN_INTERVAL: Duration = Duration::from_millis(1);

/// Ticks at `k * interval + offset`, by the monotonic clock.
#[derive(Debug)]
pub struct Ticker {
    interval: Duration,
    offset: Duration,
    /// The tick that was handed out last.
    last: Option<Duration>,
    missed: u64,
}

impl Ticker {
    /// Ticks every `interval` (at least [`MIN_INTERVAL`]), at the place in it that is `instance`'s own.
    pub fn new(interval: Duration, instance: &str) -> Self {
        let interval = interval.max(MIN_INTERVAL);
        Ticker { interval, offset: offset(interval, instance), last: None, missed: 0 }
    }

    /// The first tick after `now`.
    pub fn after(&self, now: Duration) -> Duration {
        let interval = self.interval.as_nanos();
        let past = now.as_nanos() + interval - self.offset.as_nanos();
        let nanos = (past / interval) * interval + self.offset.as_nanos();
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// The tick to wait for. Asked again when the work of the last one is done; those that went by
    /// meanwhile are skipped and counted.
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

    /// How many ticks were skipped.
    pub fn missed(&self) -> u64 {
        self.missed
    }
}

/// A place in the interval, by a hash of the name (FNV-1a, which is easy to keep the same for ever).
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
        // The work took three intervals and a bit.
        let next = ticker.wait_for(first + INTERVAL * 3 + ms(1));
        assert_eq!(next, first + INTERVAL * 4);
        assert_eq!(ticker.missed(), 3);
        // Work that ends just in time misses nothing.
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
    fn an_interval_of_nothing_is_a_millisecond() {
        let mut ticker = Ticker::new(Duration::ZERO, "c");
        let first = ticker.wait_for(Duration::ZERO);
        assert_eq!(ticker.wait_for(first), first + MIN_INTERVAL);
    }
}
