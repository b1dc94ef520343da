//! The times with which narthex sends values of its own keeping (groups, totals). Pure.
//!
//! A receiver accepts one value for a series and a millisecond. It refuses a second value that differs, and it
//! refuses anything older than the newest value that it has. So each such source counts a time of its own, which
//! never stands still and never goes back, over restarts and steps of the wall clock alike.

/// A source that is further ahead of the wall clock than this was set when the wall clock was wrong, and starts
/// over. No receiver has kept samples from that far ahead, since Prometheus' limit is ten minutes. In
/// milliseconds.
pub const GIVE_UP_MS: i64 = 86_400_000;

/// A wall clock before this, the beginning of 2025, has not been set yet, as on a machine without a battery
/// that has just started: then it is the wall clock that is wrong. In milliseconds since 1970.
pub const NOT_SET_BEFORE_MS: i64 = 1_735_689_600_000;

/// The next time of a source: now, or a millisecond after its last time where that is later.
pub fn next(last: i64, now: i64) -> i64 {
    let wrong = last.saturating_sub(now) > GIVE_UP_MS && now >= NOT_SET_BEFORE_MS;
    if wrong { now } else { now.max(last.saturating_add(1)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn it_follows_the_wall_clock_and_never_meets_itself() {
        assert_eq!(next(0, 1000), 1000);
        assert_eq!(next(999, 1000), 1000);
        assert_eq!(next(1000, 1000), 1001);
        assert_eq!(next(5000, 1000), 5001);
    }

    #[test]
    fn a_time_that_was_a_day_ahead_is_given_up_once_the_wall_clock_is_set() {
        let now = NOT_SET_BEFORE_MS;
        assert_eq!(next(now + GIVE_UP_MS, now), now + GIVE_UP_MS + 1);
        assert_eq!(next(now + GIVE_UP_MS + 1, now), now);
        assert_eq!(next(i64::MAX, now), now);
        assert_eq!(next(now + GIVE_UP_MS, 1000), now + GIVE_UP_MS + 1, "1970 is no time to go back to");
    }

    proptest! {
        #[test]
        fn steps_of_less_than_a_day_never_turn_it_back(
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
