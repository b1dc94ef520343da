//! The order in which groups are due. Pure: time is a parameter, by the monotonic clock.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hasher};
use std::time::Duration;

/// A queue of times, one for each number.
#[derive(Debug, Default)]
pub struct Turns {
    by_time: BTreeSet<(Duration, u64)>,
    by_id: HashMap<u64, Duration>,
}

impl Turns {
    /// Sets or removes the time of `id`.
    pub fn set(&mut self, id: u64, at: Option<Duration>) {
        let before = match at {
            Some(at) => self.by_id.insert(id, at),
            None => self.by_id.remove(&id),
        };
        if let Some(before) = before {
            self.by_time.remove(&(before, id));
        }
        if let Some(at) = at {
            self.by_time.insert((at, id));
        }
    }

    pub fn contains(&self, id: u64) -> bool {
        self.by_id.contains_key(&id)
    }

    /// The earliest time.
    pub fn first(&self) -> Option<Duration> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Removes and returns the first number whose time has come.
    pub fn pop(&mut self, now: Duration) -> Option<u64> {
        let (at, id) = *self.by_time.first()?;
        if at > now {
            return None;
        }
        self.by_time.pop_first();
        self.by_id.remove(&id);
        Some(id)
    }
}

/// The next time after `now` at which the group with these label bytes is sent. Groups are spread over the interval, so
/// that thousands of them are not sent in the same second. A group that was just pushed is sent again within the
/// interval, and then once in each interval. Times that were missed while narthex did not run are skipped.
pub fn next_turn(key: &[u8], interval: Duration, now: Duration) -> Duration {
    let interval = interval.as_millis().max(1);
    let mut hasher = DefaultHasher::new();
    hasher.write(key);
    let phase = u128::from(hasher.finish()) % interval;
    let now = now.as_millis();
    // The first time after `now` that is `phase` after a multiple of the interval.
    let passed = (now + interval - phase) % interval;
    Duration::from_millis(u64::try_from(now + interval - passed).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn turns_are_returned_once_and_in_order() {
        let mut turns = Turns::default();
        let at = Duration::from_secs;
        turns.set(1, Some(at(5)));
        turns.set(2, Some(at(3)));
        turns.set(1, Some(at(2)));
        turns.set(3, Some(at(1)));
        turns.set(3, None);
        assert_eq!(turns.first(), Some(at(2)));
        assert_eq!(turns.pop(at(1)), None);
        assert_eq!([turns.pop(at(9)), turns.pop(at(9)), turns.pop(at(9))], [Some(1), Some(2), None]);
        assert!(!turns.contains(1));
    }

    #[test]
    fn groups_are_spread_over_the_interval() {
        let interval = Duration::from_secs(30);
        let mut tenths = [0u32; 10];
        for index in 0..10_000u32 {
            let turn = next_turn(&index.to_le_bytes(), interval, Duration::from_secs(3600));
            tenths[(turn.as_millis() % 30_000 / 3000) as usize] += 1;
        }
        assert!(tenths.iter().all(|count| (800..1200).contains(count)), "{tenths:?}");
    }

    proptest! {
        #[test]
        fn groups_are_due_once_in_each_interval(
            key: [u8; 4], now in 0u64..1 << 40, interval in 1u64..120_000
        ) {
            let interval = Duration::from_millis(interval);
            let now = Duration::from_millis(now);
            let first = next_turn(&key, interval, now);
            prop_assert!(first > now && first <= now + interval, "{first:?}");
            let second = next_turn(&key, interval, first);
            prop_assert!(second == first + interval, "{first:?} {second:?}");
        }
    }
}
