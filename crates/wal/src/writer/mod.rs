//! The writer: frames records into a buffer, and commits the buffer with one write and one sync.
//!
//! How a commit goes:
//!
//! 1. What was appended is written behind the *durable end* of the segment, then synced; then the durable
//!    end moves behind it. No reader goes beyond the durable end.
//! 2. If writing fails, the file is cut back to the durable end: as if nothing had been appended.
//! 3. If syncing fails, nobody knows what is on disk (the system may have dropped the pages and call the
//!    next sync a success), and if cutting fails, there is a torn record; so the segment is *closed* at its
//!    durable end, and the next record goes to a new one.

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
    /// For the disk: what was committed survives a power cut.
    #[default]
    Fsync,
    /// For the operating system: what was committed survives kill -9, not a power cut.
    Os,
}

/// How a log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WriterOptions {
    /// How records are compressed.
    pub compression: Compression,
    /// What a commit waits for.
    pub durability: Durability,
}

/// What was framed since the log was opened, whether or not its commit succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Framed {
    /// Fragments: records, and the parts of those that run over a page.
    pub parts: u64,
    /// Their bytes, headers included.
    pub bytes: u64,
    /// Bytes that compression saved.
    pub saved: u64,
}

/// Where a record lies in its segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Its first byte.
    pub start: u64,
    /// Where the next record starts.
    pub end: u64,
}

/// Appends records to the newest segment of a log. There must be one per folder; the caller sees to that.
#[derive(Debug)]
pub struct Writer {
    fs: Arc<dyn Filesystem>,
    dir: PathBuf,
    options: WriterOptions,
    file: Box<dyn File>,
    path: PathBuf,
    end: DurableEnd,
    /// What waits for a commit, framed; its first byte goes to the durable end.
    buffer: Vec<u8>,
    compressor: Compressor,
    framed: Framed,
    /// After a failure: nothing is appended any more.
    closed: bool,
    /// Whether the file is on disk as it should be: not with [`Durability::Os`], nor after cutting it back.
    synced: bool,
    /// Number of the next segment. Above the current one by more than 1 after a failure to begin one.
    next: u64,
    last_sync: Duration,
}

impl Writer {
    /// The most bytes that may wait for a commit.
    pub const MAX_PENDING_BYTES: usize = 256 << 20;

    /// Memory that the buffer keeps after a commit.
    const KEPT_BYTES: usize = 4 << 20;

    /// Opens the log in `dir`, making the folder if it isn't there, and begins a new segment, numbered above
    /// every segment there is, and at least `at_least` (0 for an empty log).
    ///
    /// Only the newest segment can be torn: it is read from `known_end` if that lies in it, else from its
    /// start, and cut behind its last whole record. So a start costs what was written since `known_end`.
    /// Damage in front of a whole record stays, for readers skip it. Numbers that would be missing get empty
    /// segments, since Prometheus refuses a log with gaps.
    pub fn open(
        fs: Arc<dyn Filesystem>,
        dir: &Path,
        options: WriterOptions,
        at_least: u64,
        known_end: Option<DurableEnd>,
    ) -> Result<(Writer, OpenReport), WalError> {
        Self::open_keeping(fs, dir, options, at_least, known_end, None)
    }

    /// As [`Writer::open`]; what is cut is copied to `aside` first. If it can't be, it is cut all the same:
    /// [`OpenReport::cut_kept`] says so.
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

    /// Frames `record` (its type byte first) into the buffer, compressed. It is in the log after the next
    /// commit. Fails, changing nothing, where the record or the buffer would exceed its limit, or the
    /// segment is closed.
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
            // Where no further header fits, the page ends here; so a record always starts at the end of
            // the one before it.
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

    /// What was framed so far.
    pub fn framed(&self) -> Framed {
        self.framed
    }

    /// Bytes that wait for a commit.
    pub fn pending(&self) -> usize {
        self.buffer.len()
    }

    /// Writes and syncs what was appended, and moves the durable end behind it. On an error everything that
    /// was appended since the last commit is void; see [`CommitError`] for what to do.
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

    /// Forgets what was appended since [`Writer::pending`] was this. Only since the last commit.
    pub fn discard_from(&mut self, pending: usize) {
        self.buffer.truncate(pending);
    }

    /// Forgets what was appended since the last commit.
    pub fn discard(&mut self) {
        self.buffer.clear();
        self.buffer.shrink_to(Self::KEPT_BYTES);
    }

    /// After a failed write: cuts the file back to the durable end.
    fn cut_back(&mut self, source: io::Error) -> CommitError {
        let path = self.path.clone();
        if self.file.set_len(self.end.offset).is_err() {
            self.closed = true;
            return CommitError::Cut { path, closed: self.end, source };
        }
        // Before the segment is left for good, the cut has to be on disk: only the newest may be torn.
        self.synced = false;
        if is_full(&source) {
            CommitError::Full { path, source }
        } else {
            CommitError::Write { path, source }
        }
    }

    /// After a failed sync: appends nothing more. Cutting is tried, so that other readers of the log find a
    /// clean end, but nothing depends on it.
    fn close(&mut self) {
        self.closed = true;
        let _ = self.file.set_len(self.end.offset);
    }

    /// Makes durable that the file was cut back after a failed write, so that a power cut does not bring back what was
    /// cut. If that fails, the segment is closed.
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

    /// Begins the next segment, after syncing what of the old one is not synced yet. After an error the old
    /// segment can be used on if it could before, and trying again takes the next number.
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
                // If the file isn't there, nobody saw the number, and skipping it would leave a gap.
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

    /// How far the log is committed.
    pub fn durable_end(&self) -> DurableEnd {
        self.end
    }

    /// Number of the segment that is written.
    pub fn segment(&self) -> u64 {
        self.end.segment
    }

    /// Bytes of the segment that is written, those that wait for a commit included.
    pub fn segment_bytes(&self) -> u64 {
        self.end.offset + self.buffer.len() as u64
    }

    /// Whether the segment was closed by a failure, so that a new one has to be begun.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// How long the last sync took.
    pub fn last_sync(&self) -> Duration {
        self.last_sync
    }

    /// The folder of the log.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

/// Makes the file of a segment, with a durable name.
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
