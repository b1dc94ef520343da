//! The unit of the timestamps in a request.

use crate::LineError;
use formats::time_unit::TimeUnit;
use std::fmt;

/// The unit of timestamps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Precision {
    #[default]
    Nanoseconds,
    Microseconds,
    Milliseconds,
    Seconds,
    Minutes,
    Hours,
    /// Guessed from the size of each number, as in InfluxDB 3.
    Auto,
}

/// The limits of InfluxDB 3: numbers below this are seconds, numbers below a thousand times this are milliseconds, and
/// so on.
const AUTO_SECONDS_END: u64 = 5_000_000_000;

impl Precision {
    /// Parses the parameter `precision`, with the units of any version of InfluxDB.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "n" | "ns" | "nanosecond" => Self::Nanoseconds,
            "u" | "us" | "µ" | "µs" | "microsecond" => Self::Microseconds,
            "ms" | "millisecond" => Self::Milliseconds,
            "s" | "second" => Self::Seconds,
            "m" => Self::Minutes,
            "h" => Self::Hours,
            "auto" => Self::Auto,
            _ => return None,
        })
    }

    /// A timestamp in milliseconds since 1970. A fraction of a millisecond is cut off.
    pub(crate) fn milliseconds(self, written: i64) -> Result<i64, LineError> {
        let unit = match self {
            Self::Auto => Self::guess(written),
            unit => unit,
        };
        // A guessed unit is always right. A wrong one is nearly always that of a client that does not send its
        // precision. InfluxDB would store the point in 1970, and Prometheus would refuse it.
        if self != Self::Auto
            && let (Some(is), Some(said)) = (TimeUnit::of(written), unit.time_unit())
            && is != said
        {
            return Err(LineError::Unit { written, is, said });
        }
        let times = |milliseconds| written.checked_mul(milliseconds).ok_or(LineError::TimeRange(written));
        match unit {
            Self::Nanoseconds => Ok(written.div_euclid(1_000_000)),
            Self::Microseconds => Ok(written.div_euclid(1_000)),
            Self::Milliseconds | Self::Auto => Ok(written),
            Self::Seconds => times(1_000),
            Self::Minutes => times(60_000),
            Self::Hours => times(3_600_000),
        }
    }

    fn guess(written: i64) -> Self {
        match written.unsigned_abs() / AUTO_SECONDS_END {
            0 => Self::Seconds,
            1..1_000 => Self::Milliseconds,
            1_000..1_000_000 => Self::Microseconds,
            _ => Self::Nanoseconds,
        }
    }

    fn time_unit(self) -> Option<TimeUnit> {
        match self {
            Self::Nanoseconds => Some(TimeUnit::Nanoseconds),
            Self::Microseconds => Some(TimeUnit::Microseconds),
            Self::Milliseconds => Some(TimeUnit::Milliseconds),
            Self::Seconds => Some(TimeUnit::Seconds),
            Self::Minutes | Self::Hours | Self::Auto => None,
        }
    }
}

/// For the sentence "read as …".
impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nanoseconds => "nanoseconds",
            Self::Microseconds => "microseconds",
            Self::Milliseconds => "milliseconds",
            Self::Seconds => "seconds",
            Self::Minutes => "minutes",
            Self::Hours => "hours",
            Self::Auto => "their size suggests",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_converted_and_fractions_are_truncated() {
        for (unit, written, milliseconds) in [
            ("ns", 1_700_000_000_123_999_999, 1_700_000_000_123),
            ("n", -1, -1),
            ("us", 1_700_000_000_123_999, 1_700_000_000_123),
            ("ms", 1_700_000_000_123, 1_700_000_000_123),
            ("s", 1_700_000_000, 1_700_000_000_000),
            ("m", 28_333_333, 1_699_999_980_000),
            ("h", 472_222, 1_699_999_200_000),
            ("auto", 1_700_000_000, 1_700_000_000_000),
            ("auto", 1_700_000_000_123, 1_700_000_000_123),
            ("auto", 1_700_000_000_123_456, 1_700_000_000_123),
            ("auto", 1_700_000_000_123_456_789, 1_700_000_000_123),
            ("auto", 4_999_999_999, 4_999_999_999_000),
            ("auto", i64::MIN, -9_223_372_036_855),
        ] {
            let precision = Precision::parse(unit).unwrap_or_default();
            assert_eq!(precision.milliseconds(written), Ok(milliseconds), "{written} {unit}");
        }
        assert_eq!(Precision::parse("second"), Some(Precision::Seconds));
        assert_eq!(Precision::parse("minute"), None);
    }

    #[test]
    fn the_error_for_a_timestamp_in_another_unit_names_it() {
        let said = Precision::Nanoseconds.milliseconds(1_700_000_000).map_err(|error| error.to_string());
        assert_eq!(
            said,
            Err("timestamp 1700000000 is in seconds, but the precision of the request is nanoseconds: send \
                 precision=s"
                .into())
        );
        assert!(Precision::Seconds.milliseconds(1_700_000_000_000).is_err());
        assert_eq!(
            Precision::Hours.milliseconds(i64::MAX),
            Err(LineError::TimeRange(i64::MAX)),
            "no overflow"
        );
    }
}
