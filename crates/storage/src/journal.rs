//! Journals: small logs of an input's own state, committed together with the samples that go with it.
//!
//! A journal is a folder of segments like the log's, with metadata records of one entry each, of which only
//! the reference and the text mean something:
//!
//! ```text
//! reference  0: an entry that depends on nothing
//!            1: all before this segment is void (a rewrite is whole)
//!            2: an entry that belongs to samples in the log
//!            3: entries of kind 2 from a number on are void, as far as they stand before this record
//! help       0: the entry       2: number, segment, offset (varints), then the entry       3: number (varint)
//! ```
//!
//! # Entries and samples become durable together
//!
//! An entry of kind 2 names the *position that the log must reach*: the end of the first record with samples of its
//! batch. Entries are synced before the log is. If the log does not get there, the entry does not count:
//!
//! - After a kill, or a power cut, the log ends before that position. A start discards the entry, and all after it.
//! - After a commit that failed, the log goes on at the same positions. So before it does, a record of kind 3 voids the
//!   entries of that commit. The committer writes nothing to the log until this record is durable. An entry whose own
//!   sync failed, and that a power cut brings back, is voided by the same record, since it has a number above.
//!
//! If the log has a part of the batch, the entry counts, since its samples may have been delivered.
//!
//! # Rewriting
//!
//! A rewrite puts all live entries into a segment of their own and, once they are durable, the mark behind
//! them, so that a crash in the middle leaves the old entries in force, followed by copies of some. (In one
//! commit a power cut could leave the mark and tear what stands in front of it.) Entries are therefore whole
//! states, of which a repeated one is harmless, never changes.
//!
//! Why metadata records: a reader of the log looks into a record that ends where its page does, since only
//! its contents tell then whether it is whole. And unlike others, Prometheus' agent never has them in its log,
//! nor narthex.

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

/// An entry as it was read.
struct Read {
    /// For entries that belong to samples: the number, and the position that the log must reach.
    bound: Option<(u64, Position)>,
    bytes: Vec<u8>,
}

/// The entries of a journal, as far as they have been read.
#[derive(Default)]
struct Reading {
    entries: Vec<Read>,
    /// The number above all that were read.
    next: u64,
}

impl Reading {
    /// Reads a record; `segment_start` is how many entries there were before its segment. False: it is none of ours.
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

    /// Removes the entries whose samples the log, which ends at `end`, does not have. Returns the number of the first.
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

/// What opening a journal found.
pub(crate) struct Found {
    /// How the newest segment ended.
    pub(crate) report: OpenReport,
    /// The entries, in order.
    pub(crate) entries: Vec<Vec<u8>>,
    /// What could not be read; what was cut from the newest segment's end is in the report only.
    pub(crate) damage: Vec<Damage>,
    /// How many segments there were.
    pub(crate) segments: usize,
    /// Whether some of the entries belong to samples in the log.
    pub(crate) has_bound: bool,
    /// Entries whose samples the log does not have. They are void from now on.
    pub(crate) discarded: usize,
}

impl Found {
    /// Each start begins a segment, and reads and syncs those that are there. From this many on they are to be
    /// made one by [`JournalLog::rewrite`], so that a start costs the same after a thousand of them.
    pub(crate) const MANY_SEGMENTS: usize = 32;
}

/// The next record. A page that can't be read is tried again, and then given up: the rest is worth more than a start that
/// fails for ever.
fn next_record(reader: &mut SegmentReader) -> Option<RawRecord<'_>> {
    reader.next_with(Patience::AT_START, |error| {
        tracing::warn!(%error, "a journal can't be read; trying again");
    })
}

/// An open journal, as the committer has it.
pub(crate) struct JournalLog {
    fs: Arc<dyn Filesystem>,
    dir: PathBuf,
    writer: Writer,
    /// A segment could not be begun yet after a failure.
    broken: bool,
    builder: MetadataBuilder,
    /// The number of the next entry that belongs to samples.
    next: u64,
    /// The number of the first such entry since the last commit of the log that succeeded.
    uncommitted: Option<u64>,
    /// A commit failed: the entries from this number on are to be voided.
    to_void: Option<u64>,
}

impl JournalLog {
    /// Opens the journal in `dir` and returns its entries in order. `log_end` is where the log ended when it was opened:
    /// entries that belong to samples beyond it are discarded.
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
            // As on a full disk. The committer tries again before it writes anything to the log.
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

    /// Adds an entry to the next commit that counts only if the log reaches the position `needs`.
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

    /// The log has what the entries since the last call belong to; or it does not, and they have to be voided.
    pub(crate) fn log_committed(&mut self, succeeded: bool) {
        let first = self.uncommitted.take();
        if !succeeded {
            self.to_void = self.to_void.or(first);
        }
    }

    /// Makes durable that the entries of failed commits are void. Until then nothing may be written to the log.
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
        self.commit().map_err(|error| error.to_string())?;
        self.record(RESET, &[]).map_err(text)?;
        self.commit().map_err(|error| error.to_string())?;
        // The mark voids all that was before.
        self.to_void = None;
        dir::truncate_below(&*self.fs, &self.dir, self.writer.segment()).map_err(text)?;
        Ok(())
    }
}

/// Makes durable what a segment shows now. One that was closed after a failed sync was cut, but not durably:
/// without this a later power cut could bring back what a start before it did not see.
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

    /// The last entry and one in the middle end at, before and behind the end of a page.
    #[test]
    fn entries_are_there_again_wherever_their_pages_end() {
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
    fn a_rewrite_replaces_all_entries_and_one_that_broke_off_replaces_none() {
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

    /// What a failed sync left behind is anybody's guess once; after a start has looked, it is settled.
    #[test]
    fn what_one_start_saw_the_next_sees_too_whatever_the_power_does() {
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

    /// The mark that voids what was before must not outlast what it stands for.
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
