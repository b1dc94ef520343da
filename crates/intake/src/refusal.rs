//! The reasons to refuse a whole request.

use crate::counters::RefusedReason;
use storage::AppendError;

/// Why a request is refused. Nothing of it was acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The request alone needs more memory than all requests together may use.
    #[error(
        "the request takes {bytes} bytes of memory, the limit for all at once is {limit}: send it in parts"
    )]
    NeedsTooMuch { bytes: usize, limit: usize },
    /// Too many requests, or too large ones, at once.
    #[error("{0}")]
    Busy(&'static str),
    /// The log did not accept the batch.
    #[error("{0}")]
    Append(#[from] AppendError),
}

impl Refusal {
    pub const fn reason(&self) -> RefusedReason {
        match self {
            Self::NeedsTooMuch { .. } => RefusedReason::TooLarge,
            Self::Busy(_) => RefusedReason::Busy,
            Self::Append(error) => match error {
                AppendError::TooManySeries { .. } => RefusedReason::TooMany,
                AppendError::TooLarge { .. } => RefusedReason::TooLarge,
                AppendError::Busy { .. } => RefusedReason::Busy,
                AppendError::DiskFull => RefusedReason::DiskFull,
                AppendError::LogFull => RefusedReason::LogFull,
                AppendError::Failed(_) => RefusedReason::LogFailed,
                AppendError::Closed => RefusedReason::Ending,
            },
        }
    }

    /// The number of seconds after which another attempt may succeed: short if it depends only on the current load,
    /// longer if a person has to act. `None` if the same request will never succeed.
    pub const fn retry_after(&self) -> Option<u32> {
        match self {
            Self::NeedsTooMuch { .. } => None,
            Self::Busy(_) => Some(1),
            Self::Append(error) => match error {
                AppendError::Busy { .. } | AppendError::Closed => Some(1),
                AppendError::Failed(_) => Some(5),
                AppendError::DiskFull | AppendError::LogFull | AppendError::TooManySeries { .. } => Some(30),
                AppendError::TooLarge { .. } => None,
            },
        }
    }
}
