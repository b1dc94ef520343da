//! The pauses before a task that panicked is restarted. Pure: it reads no clock.

use std::time::Duration;

/// The pause after the first panic.
pub const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause. A task that panics after every start is restarted this often, as long as the process
/// runs.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// After a task has run this long without a panic, the pauses start again with the first one.
pub const CALM: Duration = Duration::from_secs(600);

/// The pauses of one task. Each is twice as long as the one before.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pauses {
    last: Option<Duration>,
}

impl Pauses {
    /// Returns the pause after a panic. `ran` is how long the task had run.
    pub fn after_panic(&mut self, ran: Duration) -> Duration {
        let pause = match self.last {
            Some(last) if ran < CALM => (last * 2).min(LONGEST_PAUSE),
            _ => FIRST_PAUSE,
        };
        self.last = Some(pause);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_restart_after_a_calm_time() {
        let mut pauses = Pauses::default();
        let mut seconds = || pauses.after_panic(Duration::ZERO).as_secs();
        let first: Vec<u64> = std::iter::repeat_with(&mut seconds).take(11).collect();
        assert_eq!(first, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(pauses.after_panic(CALM), FIRST_PAUSE);
        assert_eq!(pauses.after_panic(CALM - Duration::from_millis(1)), FIRST_PAUSE * 2);
    }
}
