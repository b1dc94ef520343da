//! How often a failed read is retried.
//!
//! A read that fails often succeeds later, and the bytes on the disk were acknowledged. So no read is given
//! up after its first failure. There are two limits, depending on what waits for the read:
//! [`Patience::AT_ONCE`] and [`Patience::AT_START`]. Delivery retries for longer, by the rule of
//! `storage::READ_PATIENCE`.

use std::io;
use std::time::Duration;

/// Number of tries of a read in [`Patience::AT_ONCE`].
pub const READ_TRIES: u32 = 4;

/// The number of tries of a read, and the pauses between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    tries: u32,
    /// Every further pause is twice as long as the one before.
    first_pause: Duration,
}

impl Patience {
    /// [`READ_TRIES`] tries without a pause. For small files, on any thread, and for tools.
    pub const AT_ONCE: Patience = Patience { tries: READ_TRIES, first_pause: Duration::ZERO };
    /// For reads at a start, which continues without the data if they fail: eight tries within 2.5 s.
    pub const AT_START: Patience = Patience { tries: 8, first_pause: Duration::from_millis(20) };

    /// Returns true if the try with this number is the last one. Numbers start at 1.
    pub fn is_last(self, number: u32) -> bool {
        number >= self.tries
    }

    /// Waits after the try with this number. Not called after the last try.
    pub fn pause_after(self, number: u32) {
        if !self.first_pause.is_zero() {
            std::thread::sleep(self.first_pause * (1 << number.saturating_sub(1).min(self.tries)));
        }
    }
}

/// Reads with [`Patience::AT_ONCE`]. `NotFound` and `PermissionDenied` are returned at once, because a retry
/// would not change them.
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

    /// Performs a read that fails `failures` times. Returns its result and the number of tries.
    fn read(kind: io::ErrorKind, failures: u32) -> (Result<(), io::ErrorKind>, u32) {
        let mut tries = 0;
        let result = patiently(|| {
            tries += 1;
            if tries <= failures { Err(kind.into()) } else { Ok(()) }
        });
        (result.map_err(|error| error.kind()), tries)
    }

    #[test]
    fn only_transient_errors_are_retried() {
        use io::ErrorKind::{NotFound, Other, PermissionDenied};
        assert_eq!(read(Other, READ_TRIES - 1), (Ok(()), READ_TRIES));
        assert_eq!(read(Other, READ_TRIES), (Err(Other), READ_TRIES));
        assert_eq!(read(NotFound, 1), (Err(NotFound), 1));
        assert_eq!(read(PermissionDenied, 1), (Err(PermissionDenied), 1));
    }

    #[test]
    fn at_start_retries_take_at_most_two_and_a_half_seconds() {
        let Patience { tries, first_pause } = Patience::AT_START;
        let pauses: Duration = (0..tries - 1).map(|number| first_pause * (1 << number)).sum();
        assert_eq!(pauses, Duration::from_millis(2540));
    }
}
