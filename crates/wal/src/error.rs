//! What can go wrong with a log: an operation that fails, a commit that fails, and damage that is read.

use crate::position::DurableEnd;
use std::io;
use std::path::{Path, PathBuf};

/// An operation on the log failed.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    /// The file system said no.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was being done: `open`, `read`, ...
        what: &'static str,
        /// To which file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A record above the limit.
    #[error("a record of {bytes} bytes, the limit is {limit}")]
    RecordTooLarge {
        /// Its size.
        bytes: usize,
        /// [`crate::MAX_RECORD_BYTES`].
        limit: usize,
    },
    /// More was appended without a commit than the buffer may hold.
    #[error("{pending} bytes wait for a commit, and {more} more would exceed the limit of {limit}")]
    BufferFull {
        /// What waits.
        pending: usize,
        /// What was to be appended.
        more: usize,
        /// [`crate::Writer::MAX_PENDING_BYTES`].
        limit: usize,
    },
    /// The segment was closed after a failure; a new one has to be begun first.
    #[error("segment {} was closed after a failure at byte {}; begin a new one", .0.segment, .0.offset)]
    SegmentClosed(DurableEnd),
    /// A new segment was to be begun while records wait for a commit.
    #[error("{0} bytes wait for a commit; commit them before beginning a new segment")]
    Uncommitted(usize),
    /// What is there is no log.
    #[error("no segments in {}: a log is a folder with files named 00000000, 00000001, ...", .0.display())]
    NoLog(PathBuf),
    /// Where a log was looked for there is nothing, or a file.
    #[error("there is no folder {}", .0.display())]
    NoFolder(PathBuf),
    /// There is no such segment (it was truncated, or never written).
    #[error("there is no segment {segment} in {}", dir.display())]
    NoSegment {
        /// The folder of the log.
        dir: PathBuf,
        /// The number that was asked for.
        segment: u64,
    },
}

impl WalError {
    /// An [`WalError::Io`], for `map_err`.
    pub(crate) fn io<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> WalError + 'a {
        move |source| WalError::Io { what, path: path.to_path_buf(), source }
    }

    /// Whether the disk is full.
    pub fn is_full(&self) -> bool {
        matches!(self, WalError::Io { source, .. } if is_full(source))
    }
}

/// Whether an I/O error says that there is no room left.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

/// A commit failed: everything appended since the last one is void (though it may still be read after a
/// restart).
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Writing failed; the file was cut back to the durable end, and the segment can be used on.
    #[error("cannot write to {}: {source}", path.display())]
    Write {
        /// The segment's file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The disk is full; the file was cut back to the durable end, and the segment can be used on.
    #[error("no room left to write to {}: {source}", path.display())]
    Full {
        /// The segment's file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Syncing failed. What the disk holds behind the durable end is unknown, so the segment is closed
    /// there: store `closed`, so that a restart stops there too, and begin a new segment.
    #[error("cannot sync {}: {source}", path.display())]
    Sync {
        /// The segment's file.
        path: PathBuf,
        /// Where the segment ends from now on.
        closed: DurableEnd,
        /// What the system says.
        source: io::Error,
    },
    /// Writing failed, and cutting the file back failed too. As after [`CommitError::Sync`].
    #[error("cannot write to {}, nor cut it back: {source}", path.display())]
    Cut {
        /// The segment's file.
        path: PathBuf,
        /// Where the segment ends from now on.
        closed: DurableEnd,
        /// What the system says.
        source: io::Error,
    },
    /// The segment was closed by an earlier failure.
    #[error("segment {} was closed after a failure at byte {}; begin a new one", .0.segment, .0.offset)]
    Closed(DurableEnd),
}

impl CommitError {
    /// Where the segment was closed, if it was: then a new one has to be begun.
    pub fn closed(&self) -> Option<DurableEnd> {
        match self {
            CommitError::Write { .. } | CommitError::Full { .. } => None,
            CommitError::Sync { closed, .. } | CommitError::Cut { closed, .. } => Some(*closed),
            CommitError::Closed(closed) => Some(*closed),
        }
    }
}

impl From<CommitError> for WalError {
    fn from(error: CommitError) -> WalError {
        match error {
            CommitError::Write { path, source } | CommitError::Full { path, source } => {
                WalError::Io { what: "write to", path, source }
            }
            CommitError::Sync { path, source, .. } => WalError::Io { what: "sync", path, source },
            CommitError::Cut { path, source, .. } => WalError::Io { what: "write to, or cut,", path, source },
            CommitError::Closed(closed) => WalError::SegmentClosed(closed),
        }
    }
}

/// A stretch of a segment that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub file: PathBuf,
    /// Where the unreadable stretch begins.
    pub offset: u64,
    /// How long it is; what follows is readable again, or is the end.
    pub bytes: u64,
    /// What is wrong there.
    pub kind: DamageKind,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} bytes at {}: {}", self.file.display(), self.bytes, self.offset, self.kind)
    }
}

/// What is wrong with a stretch of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DamageKind {
    /// A fragment whose checksum is not that of its bytes.
    #[error("checksum is {is:08x}, should be {should:08x}")]
    Checksum {
        /// Computed from the bytes.
        is: u32,
        /// What the header says.
        should: u32,
    },
    /// A fragment's first byte that means nothing.
    #[error("fragment type {0:#04x} is none that exists")]
    FragmentType(u8),
    /// A fragment that would be longer than what is left of its page.
    #[error("fragment of {length} bytes where the page has {left} left")]
    FragmentLength {
        /// What the header says.
        length: u16,
        /// What there is.
        left: u32,
    },
    /// Bytes other than zero in what should be a page's empty rest.
    #[error("bytes in the empty rest of a page")]
    Padding,
    /// A page of zeros with records behind it, or in the middle of a record: it was never written.
    #[error("zeros where a page should be")]
    Zeros,
    /// A record's later part without its beginning, or its beginning without the rest.
    #[error("part of a record whose other part is missing")]
    Fragments,
    /// The file ends within a record.
    #[error("the file ends within a record")]
    Torn,
    /// The file is shorter than what was known to be durable.
    #[error("the file is shorter than it was")]
    Short,
    /// The disk cannot read it.
    #[error("the disk cannot read it")]
    Unreadable,
    /// Compressed bytes that cannot be decompressed, or to more than the limit.
    #[error("a record that cannot be decompressed")]
    Decompress,
    /// A record above [`crate::MAX_RECORD_BYTES`].
    #[error("a record above the limit of {} bytes", crate::MAX_RECORD_BYTES)]
    TooLarge,
    /// A whole record, with a type that is not known here.
    #[error("record type {0} is not known")]
    RecordType(u8),
    /// A whole record whose contents end too early or make no sense.
    #[error("the contents of a {kind} record are malformed at entry {entry}")]
    Record {
        /// The record's type.
        kind: crate::record::RecordType,
        /// Number of the entry, from 0.
        entry: u32,
    },
}
