//! The errors of the text parser.

use super::float::FloatError;
use crate::hint::Hint;
use model::LabelError;

/// Why a text is refused, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {fault}")]
pub struct ParseError {
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, in characters.
    pub column: usize,
    pub fault: Fault,
}

/// The kind of error in a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("expected {what}, found {found}")]
    Expected {
        /// What would be right.
        what: &'static str,
        /// The text at the position, cut to a printable length.
        found: String,
    },
    #[error("{0}")]
    Labels(#[from] LabelError),
    #[error("a second metric name in one sample")]
    SecondName,
    #[error("{word:?} is no metric type")]
    Type { word: String },
    #[error("a second TYPE of {name:?}: give the type of a metric once")]
    SecondType {
        /// The family, cut to a printable length.
        name: String,
    },
    /// A timestamp, although the options refuse them.
    #[error("timestamps are not accepted here: a pushed value counts from when it is pushed")]
    TimestampRefused,
    /// A number that a 64-bit float can't hold.
    #[error("{word} is {}", FloatError::OutOfRange)]
    TooLarge {
        /// The number, cut to a printable length.
        word: String,
    },
    /// The text is not UTF-8 with line feeds.
    #[error("{0}")]
    Encoding(Hint),
    /// OpenMetrics without its end marker: it was cut short.
    #[error("the text does not end with # EOF")]
    NoEof,
    /// OpenMetrics with text after its end marker.
    #[error("text after # EOF")]
    AfterEof,
    #[error("more than {limit} {what}")]
    TooMany { what: &'static str, limit: usize },
}

impl Fault {
    pub(super) fn too_large(word: &str) -> Fault {
        Fault::TooLarge { word: word.chars().take(32).collect() }
    }
}
