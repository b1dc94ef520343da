//! The pause before a request is sent again.

use std::time::Duration;

/// A longer `Retry-After` is cut to this, so that a receiver can't switch a destination off for a day.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(5 * 60);

/// Returns the pause before the next try: `min`, doubled with every failed try up to `max`, less up to half
/// of it by `jitter` (0 to 1), so that many senders don't retry at the same time. `attempt` counts failed
/// tries and is at least
/// 1. A `Retry-After` is kept in full (up to [`RETRY_AFTER_MAX`]), and jitter is added.
pub fn delay(
    min: Duration,
    max: Duration,
    attempt: u32,
    retry_after: Option<Duration>,
    jitter: f64,
) -> Duration {
    let jitter = jitter.clamp(0.0, 1.0);
    let doublings = attempt.saturating_sub(1).min(20);
    let full = min.saturating_mul(1 << doublings).min(max.max(min));
    let backoff = full - full.mul_f64(jitter / 2.0);
    match retry_after {
        Some(after) => {
            let after = after.min(RETRY_AFTER_MAX);
            backoff.max(after + after.mul_f64(jitter / 10.0))
        }
        None => backoff,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: Duration = Duration::from_millis(30);
    const MAX: Duration = Duration::from_secs(5);

    #[test]
    fn doubles_up_to_the_maximum_and_jitter_subtracts_at_most_half() {
        let waits: Vec<u128> =
            (1..=10).map(|attempt| delay(MIN, MAX, attempt, None, 0.0).as_millis()).collect();
        assert_eq!(waits, [30, 60, 120, 240, 480, 960, 1920, 3840, 5000, 5000]);
        assert_eq!(delay(MIN, MAX, u32::MAX, None, 1.0), MAX / 2);
        assert_eq!(delay(MAX, MIN, 3, None, 0.0), MAX, "a minimum above the maximum wins");
    }

    #[test]
    fn retry_after_is_kept_up_to_the_maximum() {
        let wait = |seconds| delay(MIN, MAX, 1, Some(Duration::from_secs(seconds)), 0.0);
        assert_eq!(wait(7), Duration::from_secs(7));
        assert_eq!(wait(0), MIN);
        assert_eq!(wait(86_400), RETRY_AFTER_MAX);
        assert!(delay(MIN, MAX, 1, Some(Duration::from_secs(10)), 1.0) >= Duration::from_secs(10));
    }
}
