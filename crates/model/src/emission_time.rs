//! The timestamps of samples whose values narthex itself keeps (groups, totals). Pure functions.
//!
//! A receiver accepts one value per series and millisecond. It refuses a different second value, and anything
//! older than its newest sample of the series. So each source of such samples has its own time. It always
//! advances, even after restarts and jumps of the wall clock.

/// If the time of a source is further ahead of the wall clock than this, in milliseconds, then it was set
/// while the wall clock was wrong, and the source continues at the wall clock's time. Prometheus refuses
/// samples more than ten minutes in the future, so no receiver has samples from that far ahead.
pub const GIVE_UP_MS: i64 = 86_400_000;

/// A wall clock before the beginning of 2025 has not been set yet, as after the start of a machine without a
/// clock battery. Then the wall clock is wrong, not the time of the source. In milliseconds since 1970.
pub const NOT_SET_BEFORE_MS: i64 = 1_735_689_600_000;

/// Returns the next time of a source: the wall clock's time `now`, or a millisecond after `last`, whichever
/// is later.
pub fn next(last: i64, now: i64) -> i64 {
    let wrong = last.saturating_sub(now) > GIVE_UP_MS && now >= NOT_SET_BEFORE_MS;
    if wrong { now } else { now.max(last.saturating_add(1)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn time_follows_the_wall_clock_and_never_repeats() {
        assert_eq!(next(0, 1000), 1000);
        assert_eq!(next(999, 1000), 1000);
        assert_eq!(next(1000, 1000), 1001);
        assert_eq!(next(5000, 1000), 5001);
    }

    #[test]
    fn a_time_a_day_ahead_is_reset() {
        let now = NOT_SET_BEFORE_MS;
        assert_eq!(next(now + GIVE_UP_MS, now), now + GIVE_UP_MS + 1);
        assert_eq!(next(now + GIVE_UP_MS + 1, now), now);
        assert_eq!(next(i64::MAX, now), now);
        assert_eq!(next(now + GIVE_UP_MS, 1000), now + GIVE_UP_MS + 1, "1970 is no time to go back to");
    }

    proptest! {
        #[test]
        fn clock_steps_below_a_day_never_set_the_time_back(
            start in NOT_SET_BEFORE_MS..1 << 41, steps in prop::collection::vec(-80_000_000i64..100_000, 1..50)
        ) {
            let (mut now, mut last, mut newest) = (start, 0, 0);
            for step in steps {
                now = (now + step).max(newest - GIVE_UP_MS);
                let time = next(last, now);
                prop_assert!(time > last && time >= now);
                (last, newest) = (time, newest.max(time));
            }
        }
    }
}
