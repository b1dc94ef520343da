//! Time behind a seam, so that a test can step a wall clock back or run a day in a second.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Where a part of narthex reads the time.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Milliseconds since 1970, by the wall clock. It may step, in either direction.
    fn now_ms(&self) -> i64;

    /// Time since some fixed moment, which never goes back. For ages, deadlines and rates.
    fn monotonic(&self) -> Duration;
}

/// The machine's own clocks.
#[derive(Debug)]
pub struct SystemClock(Instant);

impl SystemClock {
    /// A clock whose monotonic time counts from now.
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
