//! Waiting for conditions.

use std::time::{Duration, Instant};

/// How long a test waits for something that normally happens immediately. It is long, because a loaded
/// machine is no failure.
pub const SOON: Duration = Duration::from_secs(30);

const PAUSE: Duration = Duration::from_millis(20);

/// Waits until `condition` returns true.
///
/// # Panics
/// After `deadline`. The message contains `what`.
#[track_caller]
pub fn wait_until(what: &str, deadline: Duration, mut condition: impl FnMut() -> bool) {
    wait_for(what, deadline, || if condition() { Ok(()) } else { Err("it does not hold") });
}

/// Waits until `attempt` succeeds, and returns its value.
///
/// # Panics
/// After `deadline`. The message contains `what` and the error of the last attempt.
#[track_caller]
pub fn wait_for<T, E: std::fmt::Display>(
    what: &str,
    deadline: Duration,
    mut attempt: impl FnMut() -> Result<T, E>,
) -> T {
    let start = Instant::now();
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(error) if start.elapsed() >= deadline => {
                panic!("waited {:.1} s for {what}; at the end: {error}", start.elapsed().as_secs_f64())
            }
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returns_the_last_value() {
        let mut left = 3;
        let value = wait_for("three attempts", SOON, || {
            left -= 1;
            if left == 0 { Ok("here") } else { Err("not yet") }
        });
        assert_eq!((value, left), ("here", 0));
    }

    #[test]
    #[should_panic(expected = "for a pig to fly; at the end: it walks")]
    fn a_timeout_names_the_condition_and_the_last_value() {
        wait_for::<(), _>("a pig to fly", Duration::from_millis(1), || Err("it walks"));
    }
}
