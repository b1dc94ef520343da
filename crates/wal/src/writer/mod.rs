//! The writer: it frames records into a buffer, and commits the buffer with one write and one sync.
//!
//! A commit works as follows:
//!
//! 1. The buffer is written after the *durable end* of the segment and synced. Then the durable end moves
//!    past it. No reader reads past the durable end.
//! 2. If the write fails, the file is cut back to the durable end, as if nothing had been appended.
//! 3. If the sync fails, it is unknown what is on disk: the system may have dropped the pages and report the
//!    next sync as a success. If cutting back fails, there is a torn record. In both cases the segment is
//!    *closed* at its durable end, and the next record goes into a new segment.

use crate::aside::Aside;
use crate::compression::{Compression, Compressor};
use crate::error::{CommitError, WalError, is_full};
use crate::fs::{File, Filesystem};
use crate::page::{FragmentType, HEADER_BYTES, Header, PAGE_BYTES};
use crate::position::DurableEnd;
use crate::recover::OpenReport;
use crate::{MAX_RECORD_BYTES, dir};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a commit waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// The disk: committed records survive a power cut.
    #[default]
    Fsync,
    /// The operating system: committed records survive kill -9, but not a power cut.
    Os,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WriterOptions {
    pub compression: Compression,
    /// What a commit waits for.
    pub durability: Durability,
}

/// Totals of framed data since the log was opened, including commits that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Framed {
    /// Fragments: complete records, and the parts of records that cross a page.
    pub parts: u64,
    /// Bytes of the fragments, headers included.
    pub bytes: u64,
    /// Bytes that compression saved.
    pub saved: u64,
}

/// The position of a record in its segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub start: u64,
    /// Where the next record starts.
    pub end: u64,
}

/// Appends records to the newest segment of a log. The caller must make sure that a folder has only one
/// writer.
#[derive(Debug)]
pub struct Writer {
    fs: Arc<dyn Filesystem>,
    dir: PathBuf,
    options: WriterOptions,
    file: Box<dyn File>,
    path: PathBuf,
    end: DurableEnd,
    /// The framed records that wait for a commit. The first byte will be written at the durable end.
    buffer: Vec<u8>,
    compressor: Compressor,
    framed: Framed,
    /// Set after a failure. Nothing more is appended to this segment.
    closed: bool,
    /// False if the file may differ from what is on disk: with [`Durability::Os`], and after it was cut back.
    synced: bool,
    /// Number of the next segment. After a failure to begin a segment it can be more than one above the
    /// current number.
    next: u64,
    last_sync: Duration,
}

impl Writer {
    /// Largest number of bytes that may wait for a commit.
    pub const MAX_PENDING_BYTES: usize = 256 << 20;

    /// Memory of the buffer that is kept after a commit.
    const KEPT_BYTES: usize = 4 << 20;

    /// Opens the log in `dir` and begins a new segment. A missing folder is created. The new segment's number
    /// is above all existing ones and at least `at_least` (0 for an empty log).
    ///
    /// Only the newest segment can be torn. It is read from `known_end` if that is in this segment, otherwise
    /// from its start, and cut after its last complete record. So a start has to read only what was written
    /// since `known_end`. Damage before a complete record stays, because readers skip it. Missing numbers get
    /// empty segments, because Prometheus refuses a log with gaps.
    pub fn open(
        fs: Arc<dyn Filesystem>,
        dir: &Path,
        options: WriterOptions,
        at_least: u64,
        known_end: Option<DurableEnd>,
    ) -> Result<(Writer, OpenReport), WalError> {
        Self::open_keeping(fs, dir, options, at_least, known_end, None)
    }

    /// Opens the log like [`Writer::open`]. The bytes that are cut are first copied to `aside`. They are cut
    /// even if copying fails; [`OpenReport::cut_kept`] has the result.
    pub fn open_keeping(
        fs: Arc<dyn Filesystem>,
        dir: &Path,
        options: WriterOptions,
        at_least: u64,
        known_end: Option<DurableEnd>,
        aside: Option<&Aside>,
    ) -> Result<(Writer, OpenReport), WalError> {
        let report = crate::recover::recover(&*fs, dir, at_least, known_end, aside)?;
        let (file, path) = create_segment(&*fs, dir, report.segment)?;
        let end = DurableEnd { segment: report.segment, offset: 0 };
        let writer = Writer {
            fs,
            dir: dir.to_path_buf(),
            options,
            file,
            path,
            end,
            buffer: Vec::new(),
            compressor: Compressor::new(),
            framed: Framed::default(),
            closed: false,
            synced: true,
            next: report.segment + 1,
            last_sync: Duration::ZERO,
        };
        Ok((writer, report))
    }

    /// Compresses `record`, whose first byte is its type, and frames it into the buffer. The next commit
    /// writes it to the log. Fails without any change if the record or the buffer would exceed its limit, or
    /// if the segment is closed.
    pub fn append(&mut self, record: &[u8]) -> Result<Span, WalError> {
        if self.closed {
            return Err(WalError::SegmentClosed(self.end));
        }
        if record.len() > MAX_RECORD_BYTES {
            return Err(WalError::RecordTooLarge { bytes: record.len(), limit: MAX_RECORD_BYTES });
        }
        let (pending, more, limit) = (self.buffer.len(), record.len(), Self::MAX_PENDING_BYTES);
        if pending > 0 && pending + more > limit {
            return Err(WalError::BufferFull { pending, more, limit });
        }
        let start = self.end.offset + pending as u64;
        let (mut rest, compression) = self.compressor.compress(record, self.options.compression);
        self.framed.saved += record.len().saturating_sub(rest.len()) as u64;
        let mut place = (start % PAGE_BYTES as u64) as usize;
        let mut first = true;
        loop {
            let room = PAGE_BYTES - place - HEADER_BYTES;
            let (data, later) = rest.split_at(rest.len().min(room));
            let part = match (first, later.is_empty()) {
                (true, true) => FragmentType::Full,
                (true, false) => FragmentType::First,
                (false, false) => FragmentType::Middle,
                (false, true) => FragmentType::Last,
            };
            self.buffer.extend_from_slice(&Header::of(part, compression, data).to_bytes());
            self.buffer.extend_from_slice(data);
            place += HEADER_BYTES + data.len();
            self.framed.parts += 1;
            self.framed.bytes += (HEADER_BYTES + data.len()) as u64;
            // No further header fits, so the page ends here. As a result, a record always starts exactly
            // where the one before it ends.
            if PAGE_BYTES - place < HEADER_BYTES {
                self.buffer.resize(self.buffer.len() + PAGE_BYTES - place, 0);
                place = 0;
            }
            (rest, first) = (later, false);
            if rest.is_empty() {
                break;
            }
        }
        Ok(Span { start, end: self.end.offset + self.buffer.len() as u64 })
    }

    /// Totals of the data framed so far.
    pub fn framed(&self) -> Framed {
        self.framed
    }

    /// Bytes that wait for a commit.
    pub fn pending(&self) -> usize {
        self.buffer.len()
    }

    /// Writes and syncs the appended records, and moves the durable end past them. After an error all records
    /// since the last commit are void; [`CommitError`] says what the caller has to do.
    pub fn commit(&mut self) -> Result<DurableEnd, CommitError> {
        if self.closed {
            return Err(CommitError::Closed(self.end));
        }
        if self.buffer.is_empty() {
            return Ok(self.end);
        }
        let written = self.file.write_all_at(&self.buffer, self.end.offset);
        let length = self.buffer.len() as u64;
        self.discard();
        if let Err(source) = written {
            return Err(self.cut_back(source));
        }
        if self.options.durability == Durability::Fsync {
            let started = Instant::now();
            let result = self.file.sync_data();
            self.last_sync = started.elapsed();
            if let Err(source) = result {
                self.close();
                return Err(CommitError::Sync { path: self.path.clone(), closed: self.end, source });
            }
        } else {
            self.synced = false;
        }
        self.end.offset += length;
        Ok(self.end)
    }

    /// Discards the records that were appended since [`Writer::pending`] returned `pending`. No commit may
    /// have happened in between.
    pub fn discard_from(&mut self, pending: usize) {
        self.buffer.truncate(pending);
    }

    /// Discards all records that were appended since the last commit.
    pub fn discard(&mut self) {
        self.buffer.clear();
        self.buffer.shrink_to(Self::KEPT_BYTES);
    }

    /// Cuts the file back to the durable end after a failed write.
    fn cut_back(&mut self, source: io::Error) -> CommitError {
        let path = self.path.clone();
        if self.file.set_len(self.end.offset).is_err() {
            self.closed = true;
            return CommitError::Cut { path, closed: self.end, source };
        }
        // The cut must be on disk before the next segment begins, because only the newest segment may be
        // torn.
        self.synced = false;
        if is_full(&source) {
            CommitError::Full { path, source }
        } else {
            CommitError::Write { path, source }
        }
    }

    /// Closes the segment after a failed sync. Tries to cut the file, so that other readers of the log find a
    /// clean end; the result does not matter.
    fn close(&mut self) {
        self.closed = true;
        let _ = self.file.set_len(self.end.offset);
    }

    /// Syncs the file after it was cut back, so that a power cut does not restore the bytes that were cut. If
    /// that fails, the segment is closed.
    pub fn sync_cut(&mut self) -> Result<(), WalError> {
        if !self.synced && !self.closed {
            if let Err(source) = self.file.sync_data() {
                self.close();
                return Err(WalError::Io { what: "sync", path: self.path.clone(), source });
            }
            self.synced = true;
        }
        Ok(())
    }

    /// Syncs the current segment if necessary, and begins the next one. After an error, the current segment
    /// is as usable as before, and another call uses the next number.
    pub fn begin_segment(&mut self) -> Result<u64, WalError> {
        if !self.buffer.is_empty() {
            return Err(WalError::Uncommitted(self.buffer.len()));
        }
        self.sync_cut()?;
        let number = self.next;
        self.next += 1;
        let (file, path) = match create_segment(&*self.fs, &self.dir, number) {
            Ok(created) => created,
            Err(error) => {
                // The file was not created, so the number is unused. Skipping it would leave a gap.
                let path = dir::segment_path(&self.dir, number);
                if matches!(self.fs.metadata(&path), Ok(None)) {
                    self.next = number;
                }
                return Err(error);
            }
        };
        (self.file, self.path) = (file, path);
        self.end = DurableEnd { segment: number, offset: 0 };
        (self.closed, self.synced) = (false, true);
        Ok(number)
    }

    /// The end of the committed log.
    pub fn durable_end(&self) -> DurableEnd {
        self.end
    }

    /// Number of the current segment.
    pub fn segment(&self) -> u64 {
        self.end.segment
    }

    /// Bytes of the current segment, including records that wait for a commit.
    pub fn segment_bytes(&self) -> u64 {
        self.end.offset + self.buffer.len() as u64
    }

    /// Returns true if a failure closed the segment, so that a new one has to be begun.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Duration of the last sync.
    pub fn last_sync(&self) -> Duration {
        self.last_sync
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

/// Creates the file of a segment and makes its name durable.
fn create_segment(
    fs: &dyn Filesystem,
    dir: &Path,
    number: u64,
) -> Result<(Box<dyn File>, PathBuf), WalError> {
    let path = dir::segment_path(dir, number);
    let file = fs.create_new(&path).map_err(WalError::io("create", &path))?;
    fs.sync_dir(dir).map_err(WalError::io("sync", dir))?;
    Ok((file, path))
}

#[cfg(test)]
mod tests;
