//! Durations in a header or a URL parameter. Pure.

use std::time::Duration;

/// Why a text is no time to live.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no time to live: write 90s, 1h30m, 7d, a number of seconds, or 0 for none")]
pub(crate) struct DurationError {
    text: String,
}

/// Reads a time to live: units as in Prometheus, largest first, or seconds. Nothing for 0 (for ever).
pub(crate) fn parse_ttl(text: &str) -> Result<Option<Duration>, DurationError> {
    let wrong = || DurationError { text: text.chars().take(40).collect() };
    let ms = match text.parse::<u64>() {
        Ok(seconds) => seconds.checked_mul(1000),
        Err(_) => model::duration::parse(text).ok().and_then(|ttl| u64::try_from(ttl.as_millis()).ok()),
    };
    match ms.ok_or_else(wrong)? {
        0 => Ok(None),
        // Far from where sums with a time of day would overflow.
        ms if ms > 1 << 52 => Err(wrong()),
        ms => Ok(Some(Duration::from_millis(ms))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_live_has_units_or_is_in_seconds() {
        let seconds = |text: &str| parse_ttl(text).map(|ttl| ttl.map(|ttl| ttl.as_secs_f64()));
        for (text, wanted) in [
            ("90s", Some(90.0)),
            ("1h30m", Some(5400.0)),
            ("7d", Some(604_800.0)),
            ("250ms", Some(0.25)),
            ("3600", Some(3600.0)),
            ("0", None),
            ("0s", None),
        ] {
            assert_eq!(seconds(text), Ok(wanted), "{text}");
        }
        for wrong in ["", "1", "h", "1h1h", "1m1h", "-5s", "1.5h", "1 h", "soon", "99999999999y"] {
            assert_eq!(parse_ttl(wrong).is_err(), wrong != "1", "{wrong}");
        }
    }
}
