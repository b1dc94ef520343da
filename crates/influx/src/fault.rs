//! The errors of a line, with InfluxDB's words if it has any.

use formats::time_unit::TimeUnit;
use model::LabelError;
use std::fmt;

/// The maximum of characters of a line in an error.
pub const LINE_SHOWN_CHARS: usize = 120;

/// Why a line, or one of its fields, is rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    #[error("missing measurement")]
    Measurement,
    #[error("missing tag key")]
    TagKey,
    #[error("missing tag value")]
    TagValue,
    #[error(
        "invalid tag format: write a comma, a space and an equals sign in a tag with a backslash before it"
    )]
    TagFormat,
    #[error("missing fields")]
    Fields,
    #[error("missing field key")]
    FieldKey,
    #[error("missing field value")]
    FieldValue,
    #[error("invalid field format: fields are KEY=VALUE, separated by commas")]
    FieldFormat,
    #[error("invalid number {0:?}")]
    Number(String),
    #[error("invalid boolean {0:?}")]
    Boolean(String),
    #[error("invalid value {0:?}: a string is written in double quotes")]
    Value(String),
    #[error("unbalanced quotes")]
    Quotes,
    #[error("bad timestamp {0:?}")]
    Timestamp(String),
    #[error("time outside range: {0}")]
    TimeRange(i64),
    #[error(
        "timestamp {written} is in {is}, but the precision of the request is {said}: send precision={}",
        short(is)
    )]
    Unit { written: i64, is: TimeUnit, said: TimeUnit },
    #[error("not UTF-8")]
    Encoding,
    #[error("a control character outside of a string")]
    Control,
    #[error("more than {0} fields in one line")]
    TooManyFields(usize),
    #[error(
        "the labels of all fields of the line together take more than {0} bytes: write fewer fields in one line"
    )]
    TooLarge(usize),
    #[error("{0}")]
    Labels(#[from] LabelError),
}

fn short(unit: &TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Seconds => "s",
        TimeUnit::Milliseconds => "ms",
        TimeUnit::Microseconds => "us",
        TimeUnit::Nanoseconds => "ns",
    }
}

/// A rejected line, or a line with a rejected field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The number of the line in the body, from 1.
    pub number: usize,
    /// The beginning of the line.
    pub line: String,
    pub error: LineError,
}

impl Fault {
    pub(crate) fn new(number: usize, line: &[u8], error: LineError) -> Self {
        let line = line.get(..line.len().min(LINE_SHOWN_CHARS * 4)).unwrap_or_default();
        let line = String::from_utf8_lossy(line).chars().take(LINE_SHOWN_CHARS).collect();
        Fault { number, line, error }
    }
}

/// In the format of InfluxDB 1 and 2.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unable to parse '{}': {}", self.line, self.error)
    }
}
