//! Clocks, as an interface that tests can replace: to set a wall clock back, or to run a day in a second.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Source of the current time.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Milliseconds since 1970, by the wall clock. The wall clock may jump in either direction.
    fn now_ms(&self) -> i64;

    /// Time since a fixed moment. It never goes back. For ages, deadlines and rates.
    fn monotonic(&self) -> Duration;
}

/// The clocks of the operating system.
#[derive(Debug)]
pub struct SystemClock(Instant);

impl SystemClock {
    /// Makes a clock whose monotonic time starts at zero now.
    pub fn new() -> Self {
        SystemClock(Instant::now())
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now_ms(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => since.as_millis() as i64,
            Err(before) => -(before.duration().as_millis() as i64),
        }
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}
