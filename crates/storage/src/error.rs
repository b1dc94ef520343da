//! What can go wrong, by who has to act on it.

use std::path::PathBuf;

/// Why the log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The log itself.
    #[error(transparent)]
    Wal(#[from] wal::WalError),
    /// A file beside it.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The journal is open already.
    #[error("journal {0} is open already")]
    JournalOpen(&'static str),
    /// A thread could not be started, or has ended.
    #[error("the committer is not running")]
    Closed,
}

/// Why a batch was not acknowledged. It may still arrive: a failed commit can leave it in the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Too many bytes wait for the disk already. Try again in a moment.
    #[error("too much is waiting for the disk: {waiting} bytes, the limit is {limit}")]
    Busy {
        /// Bytes that wait.
        waiting: usize,
        /// The limit.
        limit: usize,
    },
    /// The disk is full. Try again once there is space on it.
    #[error("no room for more in the log: the disk is full")]
    DiskFull,
    /// The log's budget is used up and `log.when_full` is `refuse`. Try again once samples are delivered.
    #[error("no room for more in the log: the budget is used up by what is not delivered yet")]
    LogFull,
    /// More series than the limit. Try again when some have gone.
    #[error("too many series: {limit} are allowed")]
    TooManySeries {
        /// The limit.
        limit: usize,
    },
    /// The batch alone is larger than what may wait for the disk.
    #[error("a batch of {bytes} bytes, the limit is {limit}")]
    TooLarge {
        /// Its bytes in memory.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Writing or syncing failed. Try again later.
    #[error("the log could not be written: {0}")]
    Failed(String),
    /// The log is being closed.
    #[error("the log is closed")]
    Closed,
}

/// Why the log could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The log itself, for a reason that may pass: ask again. What is merely damaged is skipped and counted
    /// instead, and so is in the end what can't be read for too long ([`crate::READ_PATIENCE`]).
    #[error(transparent)]
    Wal(#[from] wal::WalError),
    /// The storage has been closed and all of it was read.
    #[error("the log is closed")]
    Closed,
}
