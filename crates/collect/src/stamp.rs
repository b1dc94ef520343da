//! Decides which timestamp a collection may have when the wall clock can be wrong and can be set.
//!
//! A series must not go back in time: receivers refuse samples that are older than their newest one of the
//! series. Yet machines start with a clock of 1970, or of next year, which is corrected minutes later. The
//! rules, in this order:
//!
//! 1. **Implausible**: a clock before [`EARLIEST_PLAUSIBLE_MS`] or after [`LATEST_PLAUSIBLE_MS`] is not set
//!    yet. There is no timestamp, and the collection is not sent.
//! 2. **Ahead of the last stamp**: the clock's time is used, however far ahead it is. A clock that jumps
//!    forward was probably corrected.
//! 3. **Back by less than an interval**: the last stamp plus a millisecond is used. By the next collection
//!    the clock has passed the last stamp, so stamps do not move away from the clock.
//! 4. **Back by up to [`MAX_WAIT`]**: there is no timestamp until the clock has passed the last stamp again.
//!    This takes as long as the step was.
//! 5. **Back by more**: either the old time was wrong, or the new one is a mistake that will soon be
//!    corrected. If the clock still shows it after [`SETTLE`] of running time, the new time is used. Waiting
//!    until the clock reaches the old time again could take years. Receivers that stored samples from the
//!    future may continue to refuse that series. This can be fixed only at the receiver, and refused samples
//!    are counted like any others.
//!
//! In 4 and 5 running time is measured by the monotonic clock, which can't be set. So no sequence of steps
//! waits longer than [`MAX_WAIT`] from the first step back.

use model::Clock;
use std::time::Duration;

/// A wall clock before this is not set: a day before the build (or `SOURCE_DATE_EPOCH` if that was set). The
/// day allows for a build machine whose clock is a little ahead.
pub const EARLIEST_PLAUSIBLE_MS: i64 = match i64::from_str_radix(env!("NARTHEX_BUILD_SECONDS"), 10) {
    Ok(seconds) => (seconds - 86_400) * 1000,
    Err(_) => 0,
};

/// A wall clock after this (fifty years later) is not set, either. One sample from 2099 can make a receiver
/// refuse all others.
pub const LATEST_PLAUSIBLE_MS: i64 = EARLIEST_PLAUSIBLE_MS + 50 * 365 * 86_400_000;

/// The largest step back after which the stamper waits until the clock has caught up, and the longest wait.
pub const MAX_WAIT: Duration = Duration::from_secs(3600);

/// How long a clock that was set back by more than [`MAX_WAIT`] must keep its new time before that is used.
pub const SETTLE: Duration = Duration::from_secs(60);

/// The timestamp of a collection, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stamp {
    /// The clock's time.
    At(i64),
    /// The clock was set back a little: a millisecond after the last stamp.
    Restamped(i64),
    /// The clock was set back. The collection can't be sent.
    Wait,
    /// The clock is not set. The collection can't be sent.
    Implausible,
}

impl Stamp {
    /// The timestamp, if there is one.
    pub const fn timestamp(self) -> Option<i64> {
        match self {
            Stamp::At(timestamp) | Stamp::Restamped(timestamp) => Some(timestamp),
            Stamp::Wait | Stamp::Implausible => None,
        }
    }
}

/// How often each rule was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StampCounts {
    /// Stamps a millisecond after the last one, because the clock was a little behind it.
    pub restamped: u64,
    /// Collections without a stamp because the clock was set back.
    pub waited: u64,
    /// Collections without a stamp because the clock was not set.
    pub implausible: u64,
    /// How often a clock that was set far back was accepted after a wait.
    pub accepted_back: u64,
}

/// Gives out timestamps that go forward as far as the clock allows. See the module.
#[derive(Debug)]
pub struct Stamper {
    interval_ms: i64,
    last: Option<i64>,
    /// The beginning of the current wait, by the monotonic clock.
    waiting_since: Option<Duration>,
    counts: StampCounts,
}

impl Stamper {
    /// A stamper for collections every `interval`, without a last stamp.
    pub fn new(interval: Duration) -> Self {
        let interval_ms = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX);
        Stamper { interval_ms, last: None, waiting_since: None, counts: StampCounts::default() }
    }

    /// The timestamp for a collection that happens now.
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

    /// How often each rule was applied since the start.
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
    fn a_running_clock_is_used_unchanged() {
        let mut world = World::at(START);
        for tick in 0..10 {
            assert_eq!(world.stamp(), Stamp::At(START + tick * 15_000));
            world.pass(15_000);
        }
        assert_eq!(world.stamper.counts(), StampCounts::default());
    }

    #[test]
    fn an_unset_clock_gives_no_stamps() {
        let mut world = World::at(0);
        assert_eq!(world.stamp(), Stamp::Implausible);
        world.step(LATEST_PLAUSIBLE_MS + 1);
        assert_eq!(world.stamp(), Stamp::Implausible);
        world.step(START - LATEST_PLAUSIBLE_MS - 1);
        assert_eq!(world.stamp(), Stamp::At(START));
        assert_eq!(world.stamper.counts().implausible, 2);
    }

    #[test]
    fn a_jump_forward_is_used() {
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
    fn larger_steps_back_wait_until_the_last_stamp_has_passed() {
        let mut world = World::at(START);
        world.stamp();
        world.step(-60_000);
        let mut waited = 0;
        while world.stamp() == Stamp::Wait {
            waited += 1;
            world.pass(15_000);
        }
        // At -60, -45, -30 and -15 s. At 0 s the stamp is a millisecond after the last one.
        assert_eq!(waited, 4);
        assert_eq!(world.stamper.counts(), StampCounts { waited: 4, restamped: 1, ..StampCounts::default() });
        world.pass(15_000);
        assert_eq!(world.stamp(), Stamp::At(START + 15_000));
    }

    #[test]
    fn a_clock_corrected_from_the_far_future_is_used_after_settling() {
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
    fn a_step_of_a_day_that_is_undone_sends_nothing() {
        let mut world = World::at(START);
        world.stamp();
        world.pass(15_000).step(-24 * HOUR);
        assert_eq!(world.stamp(), Stamp::Wait);
        world.pass(15_000).step(24 * HOUR);
        assert_eq!(world.stamp(), Stamp::At(START + 30_000));
        // A wait that is over does not count for the next one.
        world.pass(50_000);
        world.stamp();
        world.step(-24 * HOUR);
        assert_eq!(world.stamp(), Stamp::Wait);
    }

    #[test]
    fn repeated_steps_back_do_not_extend_the_wait() {
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
