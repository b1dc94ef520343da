//! Why a body is refused.

use crate::hint::Hint;
use crate::wire::Fault;
use model::{HistogramError, LabelError};

/// Why a body is refused as a whole.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ExpositionError {
    /// Not a protocol buffer of the expected shape.
    #[error("malformed protobuf at byte {offset}: {what}")]
    Malformed {
        /// What is wrong.
        what: &'static str,
        /// Where, counted in bytes of the body.
        offset: usize,
    },
    /// A metric family without a usable name.
    #[error("metric family {index} has no name, or one that is not UTF-8")]
    FamilyName {
        /// Which, from 0.
        index: usize,
    },
    /// A metric without the value that its family's type asks for.
    #[error("a metric of {family:?} lacks its {kind}")]
    NoValue {
        /// The family's name.
        family: String,
        /// The type, as a word.
        kind: &'static str,
    },
    /// A type that does not exist.
    #[error("{family:?} is of type {number}, which does not exist")]
    Type {
        /// The family's name.
        family: String,
        /// The number.
        number: u64,
    },
    /// The labels of a metric are invalid.
    #[error("a metric of {family:?}: {error}")]
    Labels {
        /// The family's name.
        family: String,
        /// What is wrong.
        error: LabelError,
    },
    /// A native histogram is invalid.
    #[error("a metric of {family:?}: {error}")]
    Histogram {
        /// The family's name.
        family: String,
        /// What is wrong.
        error: HistogramError,
    },
    /// The body is in another encoding than announced.
    #[error("{0}")]
    Encoding(Hint),
    /// A timestamp where none may be.
    #[error("a metric of {family:?} has a timestamp: a pushed value counts from when it is pushed")]
    TimestampRefused {
        /// The family's name.
        family: String,
    },
    /// More of something than the limit.
    #[error("more than {limit} {what}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
}

/// What ends decoding early: damage whose offset is not known yet, or a finished error.
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
