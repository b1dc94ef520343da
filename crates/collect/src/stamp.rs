//! Which timestamp a collection may carry, when the wall clock can be wrong and can be set.
//!
//! A series must not go back in time: receivers refuse samples that are older than the newest they have
//! of it. Yet machines start with a clock of 1970, or of next year, and are put right minutes later.
//! The rules, in this order:
//!
//! 1. **Implausible**: a clock before [`EARLIEST_PLAUSIBLE_MS`] (or after [`LATEST_PLAUSIBLE_MS`]) is not
//!    set yet. No timestamp; what was measured is not sent.
//! 2. **Ahead of the last stamp**: taken as it is, however far ahead. A clock that jumps forward is far
//!    more often put right than put wrong.
//! 3. **Back by less than an interval**: the last stamp plus a millisecond. By the next collection the
//!    clock has passed the last stamp, so this can't run away from the clock.
//! 4. **Back by up to [`MAX_WAIT`]**: no timestamp until the clock has passed the last stamp again, which
//!    takes as long as the step was.
//! 5. **Back by more**: the old time was wrong, or the new one is a slip that somebody is about to mend.
//!    After [`SETTLE`] of running time with the clock still there, the new time is taken. Waiting until
//!    the old time comes round again could mean waiting for years. Receivers that stored the samples from
//!    the future may go on refusing that series; that can only be mended there, and what they refuse is
//!    counted like any refusal.
//!
//! In 4 and 5 running time is measured by a clock that nobody can set, so no sequence of steps waits
//! longer than [`MAX_WAIT`] from the first step back.

use model::Clock;
use std::time::Duration;

/// A wall clock before this is not set: a day before this was built (`SOURCE_DATE_EPOCH` where that was
/// set), which leaves room for a builder whose clock is a little ahead.
pub const EARLIEST_PLAUSIBLE_MS: i64 = match i64::from_str_radix(env!("NARTHEX_BUILD_SECONDS"), 10) {
    Ok(seconds) => (seconds - 86_400) * 1000,
    Err(_) => 0,
};

/// A wall clock after this (fifty years later) is not set either. One sample from 2099 can stop a
/// receiver from taking any other.
pub const LATEST_PLAUSIBLE_MS: i64 = EARLIEST_PLAUSIBLE_MS + 50 * 365 * 86_400_000;

/// How far a clock may be set back for the stamper to wait until it has caught up, and how long it waits
/// at most.
pub const MAX_WAIT: Duration = Duration::from_secs(3600);

/// How long a clock that was set back by more than [`MAX_WAIT`] has to stay there before it is believed.
pub const SETTLE: Duration = Duration::from_secs(60);

/// What to put on a collection. Milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stamp {
    /// The clock's time.
    At(i64),
    /// The clock was set back a little: one past the last stamp.
    Restamped(i64),
    /// The clock was set back: nothing can be sent now.
    Wait,
    /// The clock is not set: nothing can be sent now.
    Implausible,
}

impl Stamp {
    /// The timestamp, where there is one.
    pub const fn timestamp(self) -> Option<i64> {
        match self {
            Stamp::At(timestamp) | Stamp::Restamped(timestamp) => Some(timestamp),
            Stamp::Wait | Stamp::Implausible => None,
        }
    }
}

/// How often each happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StampCounts {
    /// Stamps past the last one while the clock was a little behind it.
    pub restamped: u64,
    /// Collections without a stamp because the clock had been set back.
    pub waited: u64,
    /// Collections without a stamp because the clock was not set.
    pub implausible: u64,
    /// Times a clock set far back was believed in the end.
    pub accepted_back: u64,
}

/// Gives out timestamps that go forward, as far as the clock allows it. See the module.
#[derive(Debug)]
pub struct Stamper {
    interval_ms: i64,
    last: Option<i64>,
    /// When the wait that is on began, by the monotonic clock.
    waiting_since: Option<Duration>,
    counts: StampCounts,
}

impl Stamper {
    /// A stamper for collections every `interval` that has given out nothing yet.
    pub fn new(interval: Duration) -> Self {
        let interval_ms = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX);
        Stamper { interval_ms, last: None, waiting_since: None, counts: StampCounts::default() }
    }

    /// The timestamp for what is collected now.
    pub fn stamp(&mut self, clock: &dyn Clock) -> Stamp {
        let (now, running) = (clock.now_ms(), clock.monotonic());
        if !(EARLIEST_PLAUSIBLE_MS..=LATEST_PLAUSIBLE_MS).contains(&now) {
            self.counts.implausible += 1;
            return Stamp::Implausible;
        }
        let Some(last) = self.last.filter(|last| *last >= now) else { return self.give(now) };
        let back = last - now;
        if back < self.interval_ms {
            self.counts.restamped += 1;
            self.give(last + 1);
            return Stamp::Restamped(last + 1);
        }
        let waited = running.saturating_sub(*self.waiting_since.get_or_insert(running));
        let patience = if back > MAX_WAIT.as_millis() as i64 { SETTLE } else { MAX_WAIT };
        if waited >= patience {
            self.counts.accepted_back += 1;
            return self.give(now);
        }
        self.counts.waited += 1;
        Stamp::Wait
    }

    fn give(&mut self, stamp: i64) -> Stamp {
        self.last = Some(stamp);
        self.waiting_since = None;
        Stamp::At(stamp)
    }

    /// How often each happened since the start.
    pub fn counts(&self) -> StampCounts {
        self.counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    const START: i64 = EARLIEST_PLAUSIBLE_MS + 1_000_000_000;
    const INTERVAL: Duration = Duration::from_secs(15);
    const HOUR: i64 = 3_600_000;

    #[derive(Debug)]
    struct Set(Mutex<(i64, Duration)>);

    impl Clock for Set {
        fn now_ms(&self) -> i64 {
            self.0.lock().unwrap().0
        }
        fn monotonic(&self) -> Duration {
            self.0.lock().unwrap().1
        }
    }

    struct World {
        clock: Set,
        stamper: Stamper,
    }

    impl World {
        fn at(start: i64) -> Self {
            World { clock: Set(Mutex::new((start, Duration::ZERO))), stamper: Stamper::new(INTERVAL) }
        }

        fn pass(&self, ms: i64) -> &Self {
            let mut times = self.clock.0.lock().unwrap();
            times.0 += ms;
            times.1 += Duration::from_millis(ms as u64);
            self
        }

        fn step(&self, ms: i64) -> &Self {
            self.clock.0.lock().unwrap().0 += ms;
            self
        }

        fn stamp(&mut self) -> Stamp {
            self.stamper.stamp(&self.clock)
        }
    }

    #[test]
    fn a_clock_that_runs_is_taken_as_it_is() {
        let mut world = World::at(START);
        for tick in 0..10 {
            assert_eq!(world.stamp(), Stamp::At(START + tick * 15_000));
            world.pass(15_000);
        }
        assert_eq!(world.stamper.counts(), StampCounts::default());
    }

    #[test]
    fn a_clock_that_was_never_set_stamps_nothing_until_it_is() {
        let mut world = World::at(0);
        assert_eq!(world.stamp(), Stamp::Implausible);
        world.step(LATEST_PLAUSIBLE_MS + 1);
        assert_eq!(world.stamp(), Stamp::Implausible);
        world.step(START - LATEST_PLAUSIBLE_MS - 1);
        assert_eq!(world.stamp(), Stamp::At(START));
        assert_eq!(world.stamper.counts().implausible, 2);
    }

    #[test]
    fn a_jump_forward_is_taken() {
        let mut world = World::at(START);
        world.stamp();
        world.step(400 * 24 * HOUR);
        assert_eq!(world.stamp(), Stamp::At(START + 400 * 24 * HOUR));
    }

    #[test]
    fn a_small_step_back_is_restamped_until_the_clock_has_caught_up() {
        let mut world = World::at(START);
        world.stamp();
        world.pass(15_000).step(-20_000);
        assert_eq!(world.stamp(), Stamp::Restamped(START + 1));
        assert_eq!(world.stamp(), Stamp::Restamped(START + 2), "the same moment twice");
        world.pass(15_000);
        assert_eq!(world.stamp(), Stamp::At(START + 10_000));
        assert_eq!(world.stamper.counts().restamped, 2);
    }

    #[test]
    fn a_step_back_of_an_interval_or_more_waits_until_the_last_stamp_has_passed() {
        let mut world = World::at(START);
        world.stamp();
        world.step(-60_000);
        let mut waited = 0;
        while world.stamp() == Stamp::Wait {
            waited += 1;
            world.pass(15_000);
        }
        // At -60, -45, -30 and -15 s; at 0 it is one past the last.
        assert_eq!(waited, 4);
        assert_eq!(world.stamper.counts(), StampCounts { waited: 4, restamped: 1, ..StampCounts::default() });
        world.pass(15_000);
        assert_eq!(world.stamp(), Stamp::At(START + 15_000));
    }

    #[test]
    fn a_clock_put_right_from_a_far_future_is_believed_after_it_settled() {
        let mut world = World::at(START + 5 * 365 * 24 * HOUR);
        world.stamp();
        world.step(-5 * 365 * 24 * HOUR);
        for _ in 0..4 {
            assert_eq!(world.stamp(), Stamp::Wait);
            world.pass(15_000);
        }
        assert_eq!(world.stamp(), Stamp::At(START + 60_000));
        assert_eq!(world.stamper.counts().accepted_back, 1);
        world.pass(15_000);
        assert_eq!(world.stamp(), Stamp::At(START + 75_000));
    }

    #[test]
    fn a_slip_of_a_day_that_is_mended_at_once_sends_nothing_from_yesterday() {
        let mut world = World::at(START);
        world.stamp();
        world.pass(15_000).step(-24 * HOUR);
        assert_eq!(world.stamp(), Stamp::Wait);
        world.pass(15_000).step(24 * HOUR);
        assert_eq!(world.stamp(), Stamp::At(START + 30_000));
        // The wait that is over doesn't count for the next one.
        world.pass(50_000);
        world.stamp();
        world.step(-24 * HOUR);
        assert_eq!(world.stamp(), Stamp::Wait);
    }

    #[test]
    fn a_clock_that_is_set_back_again_and_again_is_not_waited_for_longer_than_the_limit() {
        let mut world = World::at(START);
        world.stamp();
        world.step(-HOUR / 2);
        let mut waited = 0;
        while world.stamp() == Stamp::Wait {
            world.pass(60_000).step(-60_000);
            waited += 1;
        }
        assert_eq!(waited, 60, "one a minute, for an hour");
        assert_eq!(world.stamper.counts().accepted_back, 1);
    }
}
