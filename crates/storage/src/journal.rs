//! Journals: small logs of a door's own state, committed together with the samples that go with it.
//!
//! A journal is a folder of segments like the log's, with records that only its owner understands:
//!
//! ```text
//! ┌───┬──────┬─────────┐
//! │ 6 │ mark │ entry   │   mark 0: an entry; mark 1: all before this segment is void (a rewrite is whole)
//! └───┴──────┴─────────┘
//! ```
//!
//! A rewrite puts all live entries into a segment of their own and the mark behind them, so that a crash in
//! the middle leaves the old entries in force, followed by copies of some. Entries are therefore whole
//! states, of which a repeated one is harmless, never changes.
//!
//! The first byte keeps the records apart from those of the log (it is the number of metadata records,
//! which Prometheus' agent never has in its log, and narthex never writes there).

use std::path::PathBuf;
use std::sync::Arc;
use wal::{CommitError, Filesystem, SegmentReader, WalError, Writer, WriterOptions, dir};

const RECORD: u8 = 6;
const ENTRY: u8 = 0;
const RESET: u8 = 1;

/// An open journal, as the committer has it.
pub(crate) struct JournalLog {
    fs: Arc<dyn Filesystem>,
    dir: PathBuf,
    writer: Writer,
    /// A segment could not be begun yet after a failure.
    broken: bool,
    scratch: Vec<u8>,
}

impl JournalLog {
    /// Opens the journal in `dir` and returns its entries in order.
    pub(crate) fn open(
        fs: Arc<dyn Filesystem>,
        dir: PathBuf,
        options: WriterOptions,
    ) -> Result<(JournalLog, Vec<Vec<u8>>), WalError> {
        let (writer, _) = Writer::open(fs.clone(), &dir, options, 0, None)?;
        let mut entries = Vec::new();
        for dir::Segment { number, .. } in dir::segments(&*fs, &dir)? {
            if number >= writer.segment() {
                break;
            }
            let before = entries.len();
            let mut reader = SegmentReader::open(&*fs, &dir, number, 0)?;
            while let Some(record) = reader.next()? {
                match record.bytes {
                    [RECORD, ENTRY, entry @ ..] => entries.push(entry.to_vec()),
                    [RECORD, RESET, ..] => drop(entries.drain(..before)),
                    _ => tracing::warn!(dir = %dir.display(), segment = number, "an entry that is none"),
                }
            }
            for damage in reader.damage() {
                tracing::warn!(%damage, "part of a journal could not be read");
            }
        }
        let journal = JournalLog { fs, dir, writer, broken: false, scratch: Vec::new() };
        Ok((journal, entries))
    }

    /// Adds an entry to the next commit.
    pub(crate) fn append(&mut self, entry: &[u8]) -> Result<(), WalError> {
        self.record(ENTRY, entry)
    }

    fn record(&mut self, mark: u8, entry: &[u8]) -> Result<(), WalError> {
        if self.broken {
            self.writer.begin_segment()?;
            self.broken = false;
        }
        self.scratch.clear();
        self.scratch.extend_from_slice(&[RECORD, mark]);
        self.scratch.extend_from_slice(entry);
        self.writer.append(&self.scratch).map(|_| ())
    }

    /// Makes what was appended durable.
    pub(crate) fn commit(&mut self) -> Result<(), CommitError> {
        if self.writer.pending() == 0 {
            return Ok(());
        }
        let result = self.writer.commit();
        if let Err(error) = &result
            && error.closed().is_some()
        {
            self.broken = self.writer.begin_segment().is_err();
        }
        result.map(|_| ())
    }

    /// Replaces everything by `entries`, in a segment of their own, and removes the older ones.
    pub(crate) fn rewrite(&mut self, entries: &[Vec<u8>]) -> Result<(), String> {
        let text = |error: WalError| error.to_string();
        self.writer.begin_segment().map_err(text)?;
        for entry in entries {
            self.record(ENTRY, entry).map_err(text)?;
            if self.writer.pending() > Writer::MAX_PENDING_BYTES / 2 {
                self.commit().map_err(|error| error.to_string())?;
            }
        }
        self.record(RESET, &[]).map_err(text)?;
        self.commit().map_err(|error| error.to_string())?;
        dir::truncate_below(&*self.fs, &self.dir, self.writer.segment()).map_err(text)?;
        Ok(())
    }
}
