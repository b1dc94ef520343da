use super::Protocol;
use crate::wire::Fault;
use model::words::counted;

/// Why a whole request is refused (400). Errors that affect only one series are in [`super::Rejected`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not a protocol buffer of the expected shape.
    #[error("malformed protobuf at byte {offset}: {what}")]
    Malformed {
        what: &'static str,
        /// The offset in the decompressed body.
        offset: usize,
    },
    /// The symbol table does not begin with the empty string (2.0).
    #[error("symbols[0] must be the empty string")]
    FirstSymbol,
    /// A reference points outside the symbol table (2.0).
    #[error("time series {series}: {field} {reference} is outside of the table of {}", counted(*symbols as u64, "symbol"))]
    SymbolReference {
        /// The index of the time series, from 0.
        series: usize,
        /// `label reference`, `help reference` or `unit reference`.
        field: &'static str,
        reference: u64,
        /// The number of symbols.
        symbols: usize,
    },
    /// An odd number of label references (2.0).
    #[error("time series {series}: {} can't be pairs of name and value", counted(*count as u64, "label reference"))]
    OddReferences {
        /// The index of the time series, from 0.
        series: usize,
        /// The number of references.
        count: usize,
    },
    /// The body is of another version than its `Content-Type` says.
    #[error(
        "the body is remote write {}, but the header Content-Type says {:?}: send {:?}",
        match found { Protocol::V1 => "1.0 (it has field 1 or 3)", Protocol::V2 => "2.0 (it has field 4 or 5)" },
        announced.content_type(),
        found.content_type()
    )]
    OtherVersion {
        /// The version of the body.
        found: Protocol,
        /// The version of the header.
        announced: Protocol,
    },
    #[error("more than {limit} {what} in one request")]
    TooMany { what: &'static str, limit: usize },
}

impl DecodeError {
    #[cold]
    pub(super) fn malformed(fault: Fault, message: &[u8]) -> Self {
        DecodeError::Malformed { what: fault.what, offset: fault.offset_in(message) }
    }
}

pub(super) type Outcome = Result<(), Stop>;

/// Reason to stop: damage inside of a part, whose offset is not known yet, or a complete error.
pub(super) enum Stop {
    Fault(Fault),
    Error(DecodeError),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Stop::Fault(fault)
    }
}

impl From<DecodeError> for Stop {
    fn from(error: DecodeError) -> Self {
        Stop::Error(error)
    }
}

impl Stop {
    #[cold]
    pub(super) fn in_body(self, body: &[u8]) -> DecodeError {
        match self {
            Stop::Fault(fault) => DecodeError::malformed(fault, body),
            Stop::Error(error) => error,
        }
    }
}
