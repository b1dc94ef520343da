//! The reasons to refuse a request to the groups.

use storage::AppendError;

/// Why a request is refused. Nothing of it was kept, unless the variant says so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The push is invalid, or part of it was left out and the rest kept.
    #[error("{0}")]
    Invalid(String),
    /// New series over a limit on active series were left out. The rest was kept.
    #[error("{0}")]
    SeriesLimit(String),
    /// The push is over a limit on groups or their series.
    #[error("{0}")]
    TooMany(String),
    /// The log did not accept the samples.
    #[error("{0}")]
    Append(#[from] AppendError),
    /// The groups' task has ended.
    #[error("narthex is stopping")]
    Stopping,
}
