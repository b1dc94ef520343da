//! Durations: read as Prometheus writes them, and shown for a person.

pub use remote::config::duration::parse;
use std::time::Duration;

/// Of a flag.
pub fn flag(text: &str) -> Result<Duration, String> {
    parse(text).map_err(|error| error.to_string())
}

/// A duration for a person, in its two largest units: `3 s`, `2 min 5 s`, `4 h 10 min`, `2 d 3 h`.
pub fn human(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let two = |large: u64, unit: &str, small: u64, sub: &str| {
        if small == 0 { format!("{large} {unit}") } else { format!("{large} {unit} {small} {sub}") }
    };
    match seconds {
        0 => format!("{} ms", duration.as_millis()),
        1..60 => format!("{seconds} s"),
        60..3600 => two(seconds / 60, "min", seconds % 60, "s"),
        3600..86_400 => two(seconds / 3600, "h", seconds % 3600 / 60, "min"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3600, "h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_shown_in_two_units() {
        assert_eq!(human(Duration::from_millis(250)), "250 ms");
        assert_eq!(human(Duration::from_secs(59)), "59 s");
        assert_eq!(human(Duration::from_secs(125)), "2 min 5 s");
        assert_eq!(human(Duration::from_secs(15_000)), "4 h 10 min");
        assert_eq!(human(Duration::from_secs(86_400)), "1 d");
    }
}
