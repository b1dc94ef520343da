//! What is counted: lines by type, and errors by reason.

use formats::statsd::{Kind, Reason};
use intake::ByName;
use std::cell::Cell;
use totals::{ChangeError, Refused};

/// The values of the label `type`.
pub const LINES: [&str; 8] =
    ["counter", "gauge", "timer", "histogram", "distribution", "set", "event", "service_check"];

/// The values of the label `reason`.
pub const ERRORS: [&str; 21] = [
    "malformed_line",
    "not_enough_parts_after_colon",
    "malformed_component",
    "malformed_value",
    "illegal_type",
    "invalid_sample_factor",
    "mixed_tagging_styles",
    "malformed_container_id",
    "malformed_timestamp",
    "malformed_tag",
    "illegal_negative_counter",
    "empty_metric_name",
    "invalid_labels",
    "series_limit",
    "type_conflict",
    "value_too_large",
    "timestamp_limit",
    "set_limit",
    // What the reader of lines leaves out before they are parsed.
    "line_too_long",
    "line_incomplete",
    "datagram_too_long",
];

/// Why a line, or a part of it, is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    Line(Reason),
    /// A tag without a name or a value is left out.
    Tag,
    NegativeCounter,
    EmptyName,
    Labels,
    SeriesLimit,
    /// The name is that of a series of another type.
    TypeConflict,
    TooLarge,
    /// Too many gauges with a time of their own within an interval.
    TimestampLimit,
    /// Too many sets or summaries.
    SetLimit,
}

impl Error {
    /// Its index in [`ERRORS`].
    fn index(self) -> usize {
        match self {
            Error::Line(reason) => reason as usize,
            Error::Tag => 9,
            Error::NegativeCounter => 10,
            Error::EmptyName => 11,
            Error::Labels => 12,
            Error::SeriesLimit => 13,
            Error::TypeConflict => 14,
            Error::TooLarge => 15,
            Error::TimestampLimit => 16,
            Error::SetLimit => 17,
        }
    }

    pub fn as_str(self) -> &'static str {
        ERRORS.get(self.index()).copied().unwrap_or_default()
    }

    /// Whether a sample is lost, and not only a part of what describes it.
    pub fn loses_sample(self) -> bool {
        !matches!(self, Error::Tag | Error::Line(Reason::InvalidSampleFactor))
    }
}

impl From<Reason> for Error {
    fn from(reason: Reason) -> Self {
        Error::Line(reason)
    }
}

impl From<&Refused> for Error {
    fn from(refused: &Refused) -> Self {
        if refused.is_over_limit() { Error::SeriesLimit } else { Error::TypeConflict }
    }
}

impl From<ChangeError> for Error {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Negative => Error::NegativeCounter,
            ChangeError::NotFinite => Error::Line(Reason::MalformedValue),
            ChangeError::TooLarge => Error::TooLarge,
            ChangeError::Mismatch => Error::TypeConflict,
        }
    }
}

/// What [`crate::Aggregator`] counts. Counting waits for nothing.
pub struct Counts<'c> {
    pub lines: &'c ByName,
    pub errors: &'c ByName,
    /// Samples that were rejected.
    pub rejected: &'c intake::Number,
    /// Samples that rules of the mapping file dropped.
    pub dropped: &'c intake::Number,
    /// Is told the metric name of a new series that is refused because of a limit.
    pub refused: &'c dyn Fn(&[u8]),
    /// The last error that lost a sample.
    pub last: Cell<Option<Error>>,
}

/// Counters for a caller that keeps none elsewhere: tests and measurements.
#[derive(Debug)]
pub struct Counters {
    pub lines: ByName,
    pub errors: ByName,
    pub rejected: intake::Number,
    pub dropped: intake::Number,
}

impl Default for Counters {
    fn default() -> Self {
        Counters {
            lines: ByName::new(&LINES),
            errors: ByName::new(&ERRORS),
            rejected: intake::Number::default(),
            dropped: intake::Number::default(),
        }
    }
}

impl Counters {
    /// Counts here. `refused` is as in [`Counts`].
    pub fn counts<'c>(&'c self, refused: &'c dyn Fn(&[u8])) -> Counts<'c> {
        let Counters { lines, errors, rejected, dropped } = self;
        Counts { lines, errors, rejected, dropped, refused, last: Cell::default() }
    }
}

impl Counts<'_> {
    pub(crate) fn line(&self, kind: Kind) {
        self.lines.add(kind as usize, 1);
    }

    pub(crate) fn event(&self) {
        self.lines.add(6, 1);
    }

    pub(crate) fn service_check(&self) {
        self.lines.add(7, 1);
    }

    pub(crate) fn error(&self, error: impl Into<Error>) {
        self.errors_of(error.into(), 1);
    }

    pub(crate) fn errors_of(&self, error: Error, count: u64) {
        self.errors.add(error.index(), count);
        if error.loses_sample() {
            self.rejected.add(count);
            self.last.set(Some(error));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_the_order_of_their_indices() {
        for kind in Kind::ALL {
            assert_eq!(LINES[kind as usize], kind.as_str());
        }
        for reason in Reason::ALL {
            assert_eq!(Error::Line(reason).as_str(), reason.as_str());
        }
        let own = [
            (Error::Tag, "malformed_tag"),
            (Error::NegativeCounter, "illegal_negative_counter"),
            (Error::EmptyName, "empty_metric_name"),
            (Error::Labels, "invalid_labels"),
            (Error::SeriesLimit, "series_limit"),
            (Error::TypeConflict, "type_conflict"),
            (Error::TooLarge, "value_too_large"),
            (Error::TimestampLimit, "timestamp_limit"),
            (Error::SetLimit, "set_limit"),
        ];
        for (error, name) in own {
            assert_eq!(error.as_str(), name);
        }
        const UNREAD: usize = 3;
        assert_eq!(ERRORS.len(), Reason::ALL.len() + own.len() + UNREAD);
    }
}
