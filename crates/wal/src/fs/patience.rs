//! How often a read that fails is tried again.
//!
//! What a disk can't give at once it often gives in the end, and what it holds was acknowledged. So no read is given up
//! after its first failure. There are two limits, by what waits for the read: [`Patience::AT_ONCE`] and
//! [`Patience::AT_START`]. Delivery waits for the log as long as that helps: it has the rule of `storage::READ_PATIENCE`.

use std::io;
use std::time::Duration;

/// The tries of a read in [`Patience::AT_ONCE`].
pub const READ_TRIES: u32 = 4;

/// How often a read is tried, and how long the pauses are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    tries: u32,
    /// Each pause after the first one is twice as long.
    first_pause: Duration,
}

impl Patience {
    /// [`READ_TRIES`] tries without a pause. For small files, on any thread, and for tools.
    pub const AT_ONCE: Patience = Patience { tries: READ_TRIES, first_pause: Duration::ZERO };
    /// For a start that would go on without what can't be read: eight tries, in 2.5 s.
    pub const AT_START: Patience = Patience { tries: 8, first_pause: Duration::from_millis(20) };

    /// Whether this try is the last one. Tries are counted from 1.
    pub fn is_last(self, number: u32) -> bool {
        number >= self.tries
    }

    /// Waits after this try, which is not the last one.
    pub fn pause_after(self, number: u32) {
        if !self.first_pause.is_zero() {
            std::thread::sleep(self.first_pause * (1 << number.saturating_sub(1).min(self.tries)));
        }
    }
}

/// Reads with [`Patience::AT_ONCE`]. Errors that stay the same are returned at once.
pub fn patiently<T>(mut read: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let lasting =
        |error: &io::Error| matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied);
    let mut tries = 1;
    loop {
        match read() {
            Err(error) if !lasting(&error) && !Patience::AT_ONCE.is_last(tries) => tries += 1,
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A read that fails so often. Returns what came of it and the number of tries.
    fn read(kind: io::ErrorKind, failures: u32) -> (Result<(), io::ErrorKind>, u32) {
        let mut tries = 0;
        let result = patiently(|| {
            tries += 1;
            if tries <= failures { Err(kind.into()) } else { Ok(()) }
        });
        (result.map_err(|error| error.kind()), tries)
    }

    #[test]
    fn errors_that_may_pass_are_retried_and_others_not() {
        use io::ErrorKind::{NotFound, Other, PermissionDenied};
        assert_eq!(read(Other, READ_TRIES - 1), (Ok(()), READ_TRIES));
        assert_eq!(read(Other, READ_TRIES), (Err(Other), READ_TRIES));
        assert_eq!(read(NotFound, 1), (Err(NotFound), 1));
        assert_eq!(read(PermissionDenied, 1), (Err(PermissionDenied), 1));
    }

    #[test]
    fn a_start_waits_for_two_and_a_half_seconds_at_most() {
        let Patience { tries, first_pause } = Patience::AT_START;
        let pauses: Duration = (0..tries - 1).map(|number| first_pause * (1 << number)).sum();
        assert_eq!(pauses, Duration::from_millis(2540));
    }
}
