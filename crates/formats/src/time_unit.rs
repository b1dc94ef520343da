//! The unit that a timestamp was written in, which its number of digits shows. Clients mix up the units of formats.

use std::fmt;
use std::ops::Range;

/// Timestamps of ten digits. As seconds they are the years 2001 to 2286, as milliseconds the first months of 1970.
pub const SECONDS: Range<i64> = 1_000_000_000..10_000_000_000;

/// A unit of time since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeUnit {
    Seconds,
    Milliseconds,
    Microseconds,
    Nanoseconds,
}

impl TimeUnit {
    const ALL: [(TimeUnit, i64); 4] = [
        (TimeUnit::Seconds, 1),
        (TimeUnit::Milliseconds, 1_000),
        (TimeUnit::Microseconds, 1_000_000),
        (TimeUnit::Nanoseconds, 1_000_000_000),
    ];

    /// The unit in which a timestamp is a time from 2001 to 2286; `None` if there is none.
    pub fn of(written: i64) -> Option<TimeUnit> {
        Self::ALL.into_iter().find(|(_, second)| SECONDS.contains(&(written / second))).map(|(unit, _)| unit)
    }
}

impl fmt::Display for TimeUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TimeUnit::Seconds => "seconds",
            TimeUnit::Milliseconds => "milliseconds",
            TimeUnit::Microseconds => "microseconds",
            TimeUnit::Nanoseconds => "nanoseconds",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_digits_shows_the_unit() {
        for (written, unit) in [
            (1_700_000_000, Some(TimeUnit::Seconds)),
            (1_700_000_000_000, Some(TimeUnit::Milliseconds)),
            (1_700_000_000_000_000, Some(TimeUnit::Microseconds)),
            (1_700_000_000_000_000_000, Some(TimeUnit::Nanoseconds)),
            (i64::MAX, Some(TimeUnit::Nanoseconds)),
            (999_999_999, None),
            (10_000_000_000, None),
            (0, None),
            (-1_700_000_000, None),
        ] {
            assert_eq!(TimeUnit::of(written), unit, "{written}");
        }
    }
}
