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

/// `2026-11-23T03:03:46.123Z`, as the Pushgateway writes times in its JSON.
pub(crate) fn rfc3339(ms: i64) -> String {
    let (days, in_day) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    // Days into a civil date, by the usual count of 400-year eras that begin in March.
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute) = (in_day / 3_600_000, in_day / 60_000 % 60);
    let (second, ms) = (in_day / 1000 % 60, in_day % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
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

    #[test]
    fn dates_are_civil() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(951_782_399_999), "2000-02-28T23:59:59.999Z");
        assert_eq!(rfc3339(951_868_799_000), "2000-02-29T23:59:59.000Z");
        assert_eq!(rfc3339(1_795_403_026_123), "2026-11-23T03:03:46.123Z");
        assert_eq!(rfc3339(-1), "1969-12-31T23:59:59.999Z");
    }
}
