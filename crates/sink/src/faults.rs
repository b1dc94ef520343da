//! The faults that the sink simulates on request.

use serde::{Deserialize, Serialize};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The behaviour of the sink. The page shows it, and sends it when a button is pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Behaviour {
    /// Answer with this status (400 to 599) instead of accepting the request.
    pub fail: Option<u16>,
    /// Fail only one request in this many; 0 counts as 1.
    pub fail_every: u64,
    /// Send this many seconds as Retry-After with each failure.
    pub retry_after: Option<u64>,
    /// Wait this many milliseconds before each answer; at most [`Behaviour::DELAY_MS_MAX`].
    pub delay_ms: u64,
    /// Refuse connections.
    pub refuse: bool,
}

impl Behaviour {
    /// The longest delay.
    pub const DELAY_MS_MAX: u64 = 600_000;

    /// Returns what is wrong if a value is not allowed.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.fail.is_some_and(|status| !(400..=599).contains(&status)) {
            return Err("`fail` is a status from 400 to 599");
        }
        if self.delay_ms > Self::DELAY_MS_MAX {
            return Err("`delay_ms` is at most 600000, ten minutes");
        }
        Ok(())
    }
}

/// The current behaviour, and the number of requests so far.
#[derive(Debug, Default)]
pub struct Faults {
    now: Mutex<Behaviour>,
    requests: AtomicU64,
}

/// What the sink does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// The delay before the answer.
    pub delay: Duration,
    /// The status and Retry-After of the answer, if the request is to fail.
    pub fail: Option<(u16, Option<u64>)>,
}

impl Faults {
    pub fn new(behaviour: Behaviour) -> Self {
        Faults { now: Mutex::new(behaviour), requests: AtomicU64::new(0) }
    }

    pub fn get(&self) -> Behaviour {
        *self.now.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub fn set(&self, behaviour: Behaviour) {
        *self.now.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = behaviour;
    }

    /// Decides what to do with the next request.
    pub fn verdict(&self) -> Verdict {
        let now = self.get();
        let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let due = number.is_multiple_of(now.fail_every.max(1));
        Verdict {
            delay: Duration::from_millis(now.delay_ms.min(Behaviour::DELAY_MS_MAX)),
            fail: now.fail.filter(|_| due).map(|status| (status, now.retry_after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_request_in_n_fails() {
        let faults = Faults::new(Behaviour { fail: Some(503), fail_every: 3, ..Behaviour::default() });
        let failed: Vec<bool> = (0..6).map(|_| faults.verdict().fail.is_some()).collect();
        assert_eq!(failed, [false, false, true, false, false, true]);
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(Behaviour { fail: Some(200), ..Behaviour::default() }.check().is_err());
        assert!(Behaviour { delay_ms: 600_001, ..Behaviour::default() }.check().is_err());
        assert!(Behaviour::default().check().is_ok());
    }
}
