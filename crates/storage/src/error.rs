//! The errors of the storage, grouped by who has to act on them.

use std::path::PathBuf;

/// Why the log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The log could not be opened.
    #[error(transparent)]
    Wal(#[from] wal::WalError),
    /// Another file or folder could not be opened, or a thread could not be started.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file, or the thread's name.
        path: PathBuf,
        source: std::io::Error,
    },
    /// The journal is open already.
    #[error("journal {0} is open already")]
    JournalOpen(&'static str),
    /// The committer thread has ended.
    #[error("the committer is not running")]
    Closed,
}

/// Why a batch was not acknowledged. The batch may still be delivered, because a failed commit can leave it
/// in the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Too many bytes wait for the commit. The client can try again in a moment.
    #[error("too much is waiting for the disk: {waiting} bytes, the limit is {limit}")]
    Busy {
        /// Bytes that wait.
        waiting: usize,
        /// The limit.
        limit: usize,
    },
    /// The disk is full. The client can try again once there is free space.
    #[error("no room for more in the log: the disk is full")]
    DiskFull,
    /// The log's budget is used up and `log.when_full` is `refuse`. The client can try again once samples are
    /// delivered.
    #[error("no room for more in the log: the budget is used up by what is not delivered yet")]
    LogFull,
    /// The limit on series is reached. The client can try again once other series have disappeared.
    #[error("too many series: {limit} are allowed")]
    TooManySeries {
        /// The limit.
        limit: usize,
    },
    /// The batch alone exceeds the limit on waiting bytes.
    #[error("a batch of {bytes} bytes, the limit is {limit}")]
    TooLarge {
        /// Bytes of the batch in memory.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Writing or syncing failed. The client can try again later.
    #[error("the log could not be written: {0}")]
    Failed(String),
    /// The log is being closed.
    #[error("the log is closed")]
    Closed,
}

/// Why the log could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The log could not be read because of an I/O error. The caller should try again. Damage is no error: it
    /// is skipped and counted, and so is what could not be read for [`crate::READ_PATIENCE`].
    #[error(transparent)]
    Wal(#[from] wal::WalError),
    /// The storage was closed, and everything in it was read.
    #[error("the log is closed")]
    Closed,
}
