//! Whether a timestamp from outside is acceptable, and what is wrong with one that is not. Pure.

use formats::text::Format;
use std::ops::Range;

/// Numbers with ten digits: as seconds they are the years 2001 to 2286, as milliseconds the first months of 1970.
/// So a timestamp in milliseconds that is one of these was meant in seconds.
const SECONDS: Range<i64> = 1_000_000_000..10_000_000_000;

/// The timestamps that are accepted, in milliseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) oldest: Option<i64>,
    pub(crate) newest: i64,
}

impl Bounds {
    /// Why a timestamp is not accepted. `format` says in which unit it was written.
    pub(crate) fn refusal(self, timestamp: i64, format: Format) -> Option<String> {
        if let Some(unit) = wrong_unit(timestamp, format) {
            return Some(unit);
        }
        match self.oldest {
            Some(oldest) if timestamp < oldest => {
                Some(format!("timestamp {timestamp} is earlier than {oldest}"))
            }
            _ if timestamp > self.newest => {
                Some(format!("timestamp {timestamp} is later than {}", self.newest))
            }
            _ => None,
        }
    }
}

/// The unit that a timestamp was written in if it is another than the format's.
fn wrong_unit(timestamp: i64, format: Format) -> Option<String> {
    let within = |factor: i64| SECONDS.contains(&(timestamp / factor));
    let written = match format {
        Format::Text => timestamp,
        Format::OpenMetrics => timestamp / 1000,
    };
    match format {
        Format::Text if within(1) => Some(format!(
            "timestamp {written} is in seconds: the text format has milliseconds, here {}",
            timestamp * 1000
        )),
        Format::Text if within(1_000_000) => {
            Some(format!("timestamp {written} is in microseconds: the text format has milliseconds"))
        }
        Format::Text if within(1_000_000_000) => {
            Some(format!("timestamp {written} is in nanoseconds: the text format has milliseconds"))
        }
        Format::OpenMetrics if within(1_000_000) => {
            Some(format!("timestamp {written} is in milliseconds: OpenMetrics has seconds"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_is_recognised_by_the_number_of_digits() {
        let bounds = Bounds { oldest: None, newest: 1_700_000_600_000 };
        for (timestamp, format, wanted) in [
            (1_700_000_000_000, Format::Text, None),
            (0, Format::Text, None),
            (-5, Format::Text, None),
            (999_999_999, Format::Text, None),
            (10_000_000_000, Format::Text, None),
            (
                1_700_000_000,
                Format::Text,
                Some(
                    "timestamp 1700000000 is in seconds: the text format has milliseconds, here 1700000000000",
                ),
            ),
            (
                1_700_000_000_000_000,
                Format::Text,
                Some("timestamp 1700000000000000 is in microseconds: the text format has milliseconds"),
            ),
            (
                1_700_000_000_000_000_000,
                Format::Text,
                Some("timestamp 1700000000000000000 is in nanoseconds: the text format has milliseconds"),
            ),
            (
                1_700_000_000_000_000,
                Format::OpenMetrics,
                Some("timestamp 1700000000000 is in milliseconds: OpenMetrics has seconds"),
            ),
            (
                1_700_000_700_000,
                Format::OpenMetrics,
                Some("timestamp 1700000700000 is later than 1700000600000"),
            ),
            (
                i64::MAX,
                Format::Text,
                Some("timestamp 9223372036854775807 is in nanoseconds: the text format has milliseconds"),
            ),
        ] {
            assert_eq!(bounds.refusal(timestamp, format).as_deref(), wanted);
        }
        let bounds = Bounds { oldest: Some(5), newest: 7 };
        assert_eq!(bounds.refusal(4, Format::Text).as_deref(), Some("timestamp 4 is earlier than 5"));
    }
}
