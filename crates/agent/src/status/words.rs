//! Times and names of inputs in sentences. Numbers are in [`model::words`].

use model::duration::human;
use std::time::Duration;

/// Milliseconds as text for people, in whole seconds.
pub(super) fn span(ms: i64) -> String {
    let seconds = u64::try_from(ms / 1000).unwrap_or(0);
    if seconds == 0 { "less than a second".into() } else { human(Duration::from_secs(seconds)) }
}

/// The name of an input in sentences; the argument is its name in metrics.
pub(super) fn input_name(input: &str) -> String {
    match input {
        "remote_write_v1" => "remote write 1.0".into(),
        "remote_write_v2" => "remote write 2.0".into(),
        "pushgateway" => "the Pushgateway interface".into(),
        other => other.replace('_', " "),
    }
}

/// Returns true if an answer that denies access is about credentials. Another answer, such as 404 or 405,
/// shows that the URL is wrong. The text begins with the status.
pub(super) fn is_about_authorization(answer: &str) -> bool {
    ["401", "403", "407"].iter().any(|status| answer.starts_with(status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_to_the_second() {
        assert_eq!((span(168_000), span(3)), ("2 min 48 s".into(), "less than a second".into()));
    }
}
