//! Journals: small logs of the state of an input, committed together with the samples that belong to it.
//!
//! A journal is a folder of segments like the log's. It consists of metadata records with one entry each, of
//! which only the reference and the help text are used:
//!
//! ```text
//! reference  0: an entry that depends on nothing
//!            1: all entries before this segment are void (a rewrite is complete)
//!            2: an entry that belongs to samples in the log
//!            3: entries of kind 2 from a number on are void if they are before this record
//! help       0: the entry       2: number, segment, offset (varints), then the entry       3: number (varint)
//! ```
//!
//! # Entries and samples become durable together
//!
//! An entry of kind 2 has the *position that the log must reach*: the end of the first record with samples of
//! its batch. Entries are synced before the log. If the log does not reach that position, the entry does not
//! count:
//!
//! - After a kill or a power cut, the log ends before that position. A start discards the entry and all later
//!   ones.
//! - After a failed commit, the log continues at the same positions. So a record of kind 3 voids the entries
//!   of that commit. The committer writes nothing to the log until this record is durable. If the sync of an
//!   entry failed and a power cut restores the entry, the same record voids it too, because the entry's
//!   number is not below the record's.
//!
//! If the log has a part of the batch, the entry counts, because that part may have been delivered.
//!
//! # Rewriting
//!
//! A rewrite writes all current entries into a new segment. Once they are durable, it writes the mark of
//! kind 1 after them. After a crash in between, the old entries still count, followed by copies of some of
//! them.
//! (If entries and mark were one commit, a power cut could keep the mark and tear the entries before it.) So
//! an entry must be a complete state, not a change, so that repeating it is harmless.
//!
//! Journals use metadata records for two reasons. If a record ends where its page ends, only its contents
//! tell the reader whether it is complete, so they must be of a known type. And neither narthex nor a
//! Prometheus agent ever writes metadata records to its log.

use model::MetricType;
use model::varint::{put_u64, take_u64};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use wal::fs::Patience;
use wal::record::{self, MetadataBuilder, MetadataEntry};
use wal::{
    Aside, CommitError, Damage, Filesystem, OpenReport, Position, RawRecord, SegmentReader, WalError, Writer,
    WriterOptions, dir,
};

const ENTRY: u64 = 0;
const RESET: u64 = 1;
const BOUND: u64 = 2;
const VOID: u64 = 3;

/// An entry that was read.
struct Read {
    /// For an entry that belongs to samples: its number, and the position that the log must reach.
    bound: Option<(u64, Position)>,
    bytes: Vec<u8>,
}

/// The entries of a journal that were read so far.
#[derive(Default)]
struct Reading {
    entries: Vec<Read>,
    /// One above the highest number that was read.
    next: u64,
}

impl Reading {
    /// Handles a record. `segment_start` is the number of entries that were read before its segment. Returns
    /// false if the record is invalid.
    fn record(&mut self, reference: u64, text: &[u8], segment_start: usize) -> bool {
        match reference {
            ENTRY => self.entries.push(Read { bound: None, bytes: text.to_vec() }),
            RESET => drop(self.entries.drain(..segment_start.min(self.entries.len()))),
            BOUND => {
                let Some((number, needs, bytes)) = take_bound(text) else { return false };
                self.next = self.next.max(number.saturating_add(1));
                self.entries.push(Read { bound: Some((number, needs)), bytes: bytes.to_vec() });
            }
            VOID => {
                let mut text = text;
                let Some(number) = take_u64(&mut text) else { return false };
                self.next = self.next.max(number.saturating_add(1));
                self.void_from(number);
            }
            _ => return false,
        }
        true
    }

    fn void_from(&mut self, first: u64) {
        self.entries.retain(|entry| entry.bound.is_none_or(|(number, _)| number < first));
    }

    /// Removes the entries whose samples are beyond `end`, the end of the log. Returns the number of the
    /// first one.
    fn discard_beyond(&mut self, end: Position) -> Option<u64> {
        let beyond = self.entries.iter().filter_map(|entry| entry.bound).find(|(_, needs)| *needs > end);
        let (first, _) = beyond?;
        self.void_from(first);
        Some(first)
    }
}

fn take_bound(mut text: &[u8]) -> Option<(u64, Position, &[u8])> {
    let number = take_u64(&mut text)?;
    let needs = Position::record(take_u64(&mut text)?, take_u64(&mut text)?);
    Some((number, needs, text))
}

/// The result of opening a journal.
pub(crate) struct Found {
    /// The state of the newest segment's end.
    pub(crate) report: OpenReport,
    pub(crate) entries: Vec<Vec<u8>>,
    /// What could not be read, except for what was cut from the end of the newest segment, which is only in
    /// the report.
    pub(crate) damage: Vec<Damage>,
    pub(crate) segments: usize,
    /// Whether any entry belongs to samples in the log.
    pub(crate) has_bound: bool,
    /// Number of entries whose samples the log does not have. They are void.
    pub(crate) discarded: usize,
}

impl Found {
    /// Each start begins a segment, and reads and syncs the existing ones. From this number of segments on,
    /// [`JournalLog::rewrite`] should merge them, so that a start does not take longer after many starts.
    pub(crate) const MANY_SEGMENTS: usize = 32;
}

/// Reads the next record. A page that can't be read is retried and then given up: losing a page is better
/// than a start that always fails.
fn next_record(reader: &mut SegmentReader) -> Option<RawRecord<'_>> {
    reader.next_with(Patience::AT_START, |error| {
        tracing::warn!(%error, "a journal can't be read; trying again");
    })
}

/// An open journal, owned by the committer.
pub(crate) struct JournalLog {
    fs: Arc<dyn Filesystem>,
    dir: PathBuf,
    writer: Writer,
    /// A failure closed the segment, and a new one could not be begun yet.
    broken: bool,
    builder: MetadataBuilder,
    /// The number of the next entry that belongs to samples.
    next: u64,
    /// The number of the first such entry since the last commit of the log.
    uncommitted: Option<u64>,
    /// A commit failed, and the entries from this number on still have to be voided.
    to_void: Option<u64>,
}

impl JournalLog {
    /// Opens the journal in `dir` and returns its entries in order. `log_end` is the end of the log when it
    /// was opened: entries that belong to samples beyond it are discarded.
    pub(crate) fn open(
        fs: Arc<dyn Filesystem>,
        dir: PathBuf,
        options: WriterOptions,
        aside: Option<&Aside>,
        log_end: Option<Position>,
    ) -> Result<(JournalLog, Found), WalError> {
        let (writer, report) = Writer::open_keeping(fs.clone(), &dir, options, 0, None, aside)?;
        let (mut reading, mut damage, mut segments) = (Reading::default(), Vec::new(), 0);
        for dir::Segment { number, .. } in dir::segments(&*fs, &dir)? {
            if number >= writer.segment() {
                break;
            }
            segments += 1;
            let before = reading.entries.len();
            settle(&*fs, &dir, number)?;
            let mut reader = SegmentReader::open(&*fs, &dir, number, 0)?;
            while let Some(record) = next_record(&mut reader) {
                let entry = record::metadata(record.bytes).ok().and_then(|mut all| all.next()?.ok());
                if !entry.is_some_and(|entry| reading.record(entry.reference, entry.help, before)) {
                    tracing::warn!(dir = %dir.display(), segment = number, "an entry that is none");
                }
            }
            damage.append(&mut reader.take_damage());
        }
        let before = reading.entries.len();
        let to_void = log_end.and_then(|end| reading.discard_beyond(end));
        let mut journal = JournalLog {
            fs,
            dir,
            writer,
            broken: false,
            builder: MetadataBuilder::new(),
            next: reading.next,
            uncommitted: None,
            to_void,
        };
        if let Err(error) = journal.void_failed() {
            // Fails on a full disk, for example. The committer tries again before it writes anything to the
            // log.
            tracing::warn!(dir = %journal.dir.display(), %error, "what a journal has to void could not be voided yet");
        }
        let has_bound = reading.entries.iter().any(|entry| entry.bound.is_some());
        let discarded = before - reading.entries.len();
        let entries = reading.entries.into_iter().map(|entry| entry.bytes).collect();
        Ok((journal, Found { report, entries, damage, segments, has_bound, discarded }))
    }

    /// Adds an entry to the next commit.
    pub(crate) fn append(&mut self, entry: &[u8]) -> Result<(), WalError> {
        self.record(ENTRY, entry)
    }

    /// Adds an entry to the next commit. The entry counts only if the log reaches the position `needs`.
    pub(crate) fn append_bound(&mut self, entry: &[u8], needs: Position) -> Result<(), WalError> {
        let mut text = Vec::with_capacity(entry.len() + 3 * 10);
        put_u64(&mut text, self.next);
        put_u64(&mut text, needs.segment);
        put_u64(&mut text, needs.offset);
        text.extend_from_slice(entry);
        self.record(BOUND, &text)?;
        self.uncommitted.get_or_insert(self.next);
        self.next += 1;
        Ok(())
    }

    /// Called after the commit of the log. If it did not succeed, the entries since the last call have to be
    /// voided.
    pub(crate) fn log_committed(&mut self, succeeded: bool) {
        let first = self.uncommitted.take();
        if !succeeded {
            self.to_void = self.to_void.or(first);
        }
    }

    /// Voids the entries of failed commits, durably. Nothing may be written to the log before this succeeds.
    pub(crate) fn void_failed(&mut self) -> Result<(), WalError> {
        let Some(first) = self.to_void else { return Ok(()) };
        let mut text = Vec::new();
        put_u64(&mut text, first);
        self.record(VOID, &text)?;
        self.commit()?;
        self.to_void = None;
        Ok(())
    }

    fn record(&mut self, mark: u64, entry: &[u8]) -> Result<(), WalError> {
        if self.broken {
            self.writer.begin_segment()?;
            self.broken = false;
        }
        self.builder.clear();
        self.builder.push(MetadataEntry {
            reference: mark,
            kind: MetricType::Unknown,
            unit: b"",
            help: entry,
        });
        self.writer.append(self.builder.bytes()).map(|_| ())
    }

    /// Makes the appended entries durable.
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

    /// Replaces the contents by `entries`: writes them to a new segment and deletes the older segments.
    pub(crate) fn rewrite(&mut self, entries: &[Vec<u8>]) -> Result<(), String> {
        let text = |error: WalError| error.to_string();
        self.writer.begin_segment().map_err(text)?;
        for entry in entries {
            self.record(ENTRY, entry).map_err(text)?;
            if self.writer.pending() > Writer::MAX_PENDING_BYTES / 2 {
                self.commit().map_err(|error| error.to_string())?;
            }
        }
        self.commit().map_err(|error| error.to_string())?;
        self.record(RESET, &[]).map_err(text)?;
        self.commit().map_err(|error| error.to_string())?;
        // The mark voids all earlier entries.
        self.to_void = None;
        dir::truncate_below(&*self.fs, &self.dir, self.writer.segment()).map_err(text)?;
        Ok(())
    }
}

/// Syncs a segment as it is now. A segment that was closed after a failed sync was cut, but not durably:
/// without this sync, a later power cut could restore bytes that an earlier start did not see.
fn settle(fs: &dyn Filesystem, dir: &Path, number: u64) -> Result<(), WalError> {
    let path = dir::segment_path(dir, number);
    let synced = fs.open(&path, true).and_then(|file| file.sync_data());
    synced.map_err(|source| WalError::Io { what: "sync", path, source })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helper functions of tests")]
    use super::*;
    use wal::{Compression, Durability, RealFilesystem};

    fn open(dir: &Path) -> (JournalLog, Vec<Vec<u8>>) {
        let options = WriterOptions { compression: Compression::None, durability: Durability::Os };
        let opened = JournalLog::open(Arc::new(RealFilesystem), dir.to_path_buf(), options, None, None);
        opened.map(|(journal, found)| (journal, found.entries)).unwrap()
    }

    /// The last entry and an entry in the middle end at, before and after the end of a page.
    #[test]
    fn entries_survive_a_reopen_wherever_their_pages_end() {
        const PAGE: usize = 32 << 10;
        for length in PAGE - 40..PAGE - 20 {
            let folder = tempfile::tempdir().unwrap();
            let entries = [vec![0xfe; length], vec![7; 30], vec![0xfe; length], vec![1; PAGE - 40]];
            for count in 1..=entries.len() {
                let dir = folder.path().join(count.to_string());
                let (mut journal, _) = open(&dir);
                for entry in entries.iter().take(count) {
                    journal.append(entry).unwrap();
                    journal.commit().unwrap();
                }
                drop(journal);
                let there = open(&dir).1;
                assert!(there == entries[..count], "{count} entries, the first of {length} bytes");
            }
        }
    }

    #[test]
    fn a_rewrite_replaces_all_entries_or_none() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, _) = open(folder.path());
        journal.append(b"old").unwrap();
        journal.commit().unwrap();
        journal.rewrite(&[b"new".to_vec()]).unwrap();
        journal.append(b"more").unwrap();
        journal.commit().unwrap();
        drop(journal);
        let (mut journal, entries) = open(folder.path());
        assert_eq!(entries, [b"new".to_vec(), b"more".to_vec()]);
        journal.append(b"newer").unwrap();
        journal.commit().unwrap();
        drop(journal);
        assert_eq!(open(folder.path()).1, [b"new".to_vec(), b"more".to_vec(), b"newer".to_vec()]);
    }

    /// After a failed sync it is unknown what is on disk. After a start has read the journal, its contents no
    /// longer change.
    #[test]
    fn entries_seen_by_one_start_are_seen_by_the_next() {
        for seed in 0..100 {
            let fs = wal::sim::SimFilesystem::new(seed);
            let options = WriterOptions { compression: Compression::None, durability: Durability::Fsync };
            let open = || {
                let opened = JournalLog::open(Arc::new(fs.clone()), PathBuf::from("/j"), options, None, None);
                opened.map(|(journal, found)| (journal, found.entries)).unwrap()
            };
            let (mut journal, _) = open();
            journal.append(b"kept").unwrap();
            journal.commit().unwrap();
            fs.fail(wal::sim::Op::Sync, 0, 1);
            journal.append(b"refused").unwrap();
            assert!(journal.commit().is_err());
            drop(journal);
            let first = open().1;
            assert_eq!(first.first().map(Vec::as_slice), Some(&b"kept"[..]));
            fs.power_cut();
            assert_eq!(open().1, first, "seed {seed}");
        }
    }

    /// The mark that voids the old entries must not become durable before the new entries.
    #[test]
    fn a_power_cut_in_a_rewrite_costs_no_entry() {
        let all: Vec<Vec<u8>> = (0..40u8).map(|n| vec![n; 3000]).collect();
        for seed in 0..300 {
            let fs = wal::sim::SimFilesystem::new(seed);
            let options = WriterOptions { compression: Compression::None, durability: Durability::Fsync };
            let open = || {
                let opened = JournalLog::open(Arc::new(fs.clone()), PathBuf::from("/j"), options, None, None);
                opened.map(|(journal, found)| (journal, found.entries)).unwrap()
            };
            let (mut journal, _) = open();
            all.iter().for_each(|entry| journal.append(entry).unwrap());
            journal.commit().unwrap();
            if seed % 3 == 0 {
                fs.fail(wal::sim::Op::Sync, seed / 3 % 4, 1);
            } else {
                fs.die_after(seed % 16);
            }
            let _ = journal.rewrite(&all);
            drop(journal);
            fs.power_cut();
            let there = open().1;
            assert!(all.iter().all(|entry| there.contains(entry)), "seed {seed}: {} are left", there.len());
        }
    }
}
