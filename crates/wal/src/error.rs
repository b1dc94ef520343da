//! The errors of a log: failed operations, failed commits, and damage found while reading.

use crate::position::DurableEnd;
use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum WalError {
    /// The operating system reported an error.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// The operation that failed: `open`, `read`, ...
        what: &'static str,
        /// The file or folder of the operation.
        path: PathBuf,
        source: io::Error,
    },
    /// The record is larger than the limit.
    #[error("a record of {bytes} bytes, the limit is {limit}")]
    RecordTooLarge {
        bytes: usize,
        /// [`crate::MAX_RECORD_BYTES`].
        limit: usize,
    },
    /// The records that wait for a commit would exceed the buffer's limit.
    #[error("{pending} bytes wait for a commit, and {more} more would exceed the limit of {limit}")]
    BufferFull {
        /// Bytes that wait for a commit.
        pending: usize,
        /// Bytes that were to be appended.
        more: usize,
        /// [`crate::Writer::MAX_PENDING_BYTES`].
        limit: usize,
    },
    /// The segment was closed after a failure. The caller has to begin a new segment first.
    #[error("segment {} was closed after a failure at byte {}; begin a new one", .0.segment, .0.offset)]
    SegmentClosed(DurableEnd),
    /// The caller tried to begin a new segment while records wait for a commit.
    #[error("{0} bytes wait for a commit; commit them before beginning a new segment")]
    Uncommitted(usize),
    /// The folder contains no log.
    #[error("no segments in {}: a log is a folder with files named 00000000, 00000001, ...", .0.display())]
    NoLog(PathBuf),
    /// The path does not exist, or is not a folder.
    #[error("there is no folder {}", .0.display())]
    NoFolder(PathBuf),
    /// The segment does not exist: it was truncated, or never written.
    #[error("there is no segment {segment} in {}", dir.display())]
    NoSegment {
        /// The log's folder.
        dir: PathBuf,
        /// The requested segment.
        segment: u64,
    },
}

impl WalError {
    /// Makes an [`WalError::Io`], for `map_err`.
    pub(crate) fn io<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> WalError + 'a {
        move |source| WalError::Io { what, path: path.to_path_buf(), source }
    }

    /// Returns true if the operation failed because the disk is full.
    pub fn is_full(&self) -> bool {
        matches!(self, WalError::Io { source, .. } if is_full(source))
    }
}

/// Returns true if the error means that there is no space left: the disk, the user's quota or the file is
/// full.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

/// A commit failed. All records that were appended since the last commit are void, although some of them may
/// still be read after a restart.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Writing failed. The file was cut back to the durable end, and the segment can still be used.
    #[error("cannot write to {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    /// The disk is full. The file was cut back to the durable end, and the segment can still be used.
    #[error("no room left to write to {}: {source}", path.display())]
    Full { path: PathBuf, source: io::Error },
    /// Syncing failed. It is unknown what the disk holds after the durable end, so the segment is closed
    /// there. The caller has to store `closed`, so that a restart stops there too, and begin a new segment.
    #[error("cannot sync {}: {source}", path.display())]
    Sync {
        path: PathBuf,
        /// The end of the segment from now on.
        closed: DurableEnd,
        source: io::Error,
    },
    /// Writing failed, and cutting the file back failed too. The caller has to do the same as after
    /// [`CommitError::Sync`].
    #[error("cannot write to {}, nor cut it back: {source}", path.display())]
    Cut {
        path: PathBuf,
        /// The end of the segment from now on.
        closed: DurableEnd,
        source: io::Error,
    },
    /// The segment was already closed by an earlier failure.
    #[error("segment {} was closed after a failure at byte {}; begin a new one", .0.segment, .0.offset)]
    Closed(DurableEnd),
}

impl CommitError {
    /// Returns where the segment was closed, or `None` if it is still usable. After `Some`, the caller has to
    /// begin a new segment.
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

/// A range of bytes in a segment that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    pub file: PathBuf,
    /// First byte of the unreadable range.
    pub offset: u64,
    /// Length of the range. The bytes after it are readable, or it ends the file.
    pub bytes: u64,
    pub kind: DamageKind,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} bytes at {}: {}", self.file.display(), self.bytes, self.offset, self.kind)
    }
}

/// The kind of damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DamageKind {
    /// The checksum of a fragment does not match its data.
    #[error("checksum is {is:08x}, should be {should:08x}")]
    Checksum {
        /// Computed from the data.
        is: u32,
        /// Stated in the header.
        should: u32,
    },
    /// The type byte of a fragment is invalid.
    #[error("fragment type {0:#04x} is none that exists")]
    FragmentType(u8),
    /// A fragment would be longer than the rest of its page.
    #[error("fragment of {length} bytes where the page has {left} left")]
    FragmentLength {
        /// Stated in the header.
        length: u16,
        /// Bytes from the fragment's data to the end of the page.
        left: u32,
    },
    /// The unused rest of a page contains bytes other than zero.
    #[error("bytes in the empty rest of a page")]
    Padding,
    /// A page was never written: it is all zeros, although records follow, or a record should continue in it.
    #[error("zeros where a page should be")]
    Zeros,
    /// A record's later part without its beginning, or its beginning without the rest.
    #[error("part of a record whose other part is missing")]
    Fragments,
    /// The file ends within a record.
    #[error("the file ends within a record")]
    Torn,
    /// The file is shorter than its known durable length.
    #[error("the file is shorter than it was")]
    Short,
    /// The disk reported an error for these bytes.
    #[error("the disk cannot read it")]
    Unreadable,
    /// A record that cannot be decompressed, or would decompress to more than the limit.
    #[error("a record that cannot be decompressed")]
    Decompress,
    /// A record is larger than [`crate::MAX_RECORD_BYTES`].
    #[error("a record above the limit of {} bytes", crate::MAX_RECORD_BYTES)]
    TooLarge,
    /// A complete record of a type that this crate does not know.
    #[error("record type {0} is not known")]
    RecordType(u8),
    /// A complete record whose contents end too early or are invalid.
    #[error("the contents of a {kind} record are malformed at entry {entry}")]
    Record {
        kind: crate::record::RecordType,
        /// Number of the malformed entry, from 0.
        entry: u32,
    },
}
