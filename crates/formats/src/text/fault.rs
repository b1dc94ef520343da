//! What can be wrong with a text, and where.

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
    /// What is wrong there.
    pub fault: Fault,
}

/// What can be wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Something else was expected.
    #[error("expected {what}, found {found}")]
    Expected {
        /// What would be right.
        what: &'static str,
        /// What is there, cut to a printable length.
        found: String,
    },
    /// The labels are invalid.
    #[error("{0}")]
    Labels(#[from] LabelError),
    /// Two metric names.
    #[error("a second metric name in one sample")]
    SecondName,
    /// A TYPE that does not exist.
    #[error("{word:?} is no metric type")]
    Type {
        /// The word.
        word: String,
    },
    /// A second TYPE line of one family.
    #[error("a second TYPE of {name:?}: give the type of a metric once")]
    SecondType {
        /// The family, cut to a printable length.
        name: String,
    },
    /// A timestamp where none may be.
    #[error("timestamps are not accepted here: a pushed value counts from when it is pushed")]
    TimestampRefused,
    /// A number that a 64-bit float can't hold.
    #[error("{word} is {}", FloatError::OutOfRange)]
    TooLarge {
        /// The number, cut to a printable length.
        word: String,
    },
    /// The text is not in plain UTF-8 with line feeds.
    #[error("{0}")]
    Encoding(Hint),
    /// OpenMetrics without its end: it was cut short.
    #[error("the text does not end with # EOF")]
    NoEof,
    /// OpenMetrics that goes on after its end.
    #[error("text after # EOF")]
    AfterEof,
    /// More of something than the limit.
    #[error("more than {limit} {what}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
}

impl Fault {
    /// A number that a 64-bit float can't hold.
    pub(super) fn too_large(word: &str) -> Fault {
        Fault::TooLarge { word: word.chars().take(32).collect() }
    }
}
