//! The errors of the exposition decoder.

use crate::hint::Hint;
use crate::wire::Fault;
use model::{HistogramError, LabelError};

/// Why a body is refused as a whole.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ExpositionError {
    /// Not a protocol buffer of the expected shape.
    #[error("malformed protobuf at byte {offset}: {what}")]
    Malformed {
        what: &'static str,
        /// The offset in the body.
        offset: usize,
    },
    #[error("metric family {index} has no name, or one that is not UTF-8")]
    FamilyName {
        /// The index of the family, from 0.
        index: usize,
    },
    /// A metric without the value that its family's type requires.
    #[error("a metric of {family:?} lacks its {kind}")]
    NoValue { family: String, kind: &'static str },
    #[error("{family:?} is of type {number}, which does not exist")]
    Type { family: String, number: u64 },
    #[error("a metric of {family:?}: {error}")]
    Labels { family: String, error: LabelError },
    #[error("a metric of {family:?}: {error}")]
    Histogram { family: String, error: HistogramError },
    /// The body has another encoding than its headers say.
    #[error("{0}")]
    Encoding(Hint),
    /// A timestamp, although the options refuse them.
    #[error("a metric of {family:?} has a timestamp: a pushed value counts from when it is pushed")]
    TimestampRefused { family: String },
    #[error("more than {limit} {what}")]
    TooMany { what: &'static str, limit: usize },
}

/// The reason to stop decoding: damage whose offset is not known yet, or a complete error.
pub(super) enum Stop {
    Fault(Fault),
    Error(ExpositionError),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Stop::Fault(fault)
    }
}

impl From<ExpositionError> for Stop {
    fn from(error: ExpositionError) -> Self {
        Stop::Error(error)
    }
}
