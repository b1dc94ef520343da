//! Journals: small logs of a door's own state, committed together with the samples that go with it.
//!
//! A journal is a folder of segments like the log's, with metadata records of one entry each, of which only
//! the reference and the text mean something, and that only to its owner:
//!
//! ```text
//! reference  0: an entry; 1: all before this segment is void (a rewrite is whole)
//! help       the entry
//! ```
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
use std::path::{Path, PathBuf};
use std::sync::Arc;
use wal::fs::Patience;
use wal::record::{self, MetadataBuilder, MetadataEntry};
use wal::{
    Aside, CommitError, Damage, Filesystem, OpenReport, RawRecord, SegmentReader, WalError, Writer,
    WriterOptions, dir,
};

const ENTRY: u64 = 0;
const RESET: u64 = 1;

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
}

impl JournalLog {
    /// Opens the journal in `dir` and returns its entries in order.
    pub(crate) fn open(
        fs: Arc<dyn Filesystem>,
        dir: PathBuf,
        options: WriterOptions,
        aside: Option<&Aside>,
    ) -> Result<(JournalLog, Found), WalError> {
        let (writer, report) = Writer::open_keeping(fs.clone(), &dir, options, 0, None, aside)?;
        let mut found = Found { report, entries: Vec::new(), damage: Vec::new(), segments: 0 };
        let entries = &mut found.entries;
        for dir::Segment { number, .. } in dir::segments(&*fs, &dir)? {
            if number >= writer.segment() {
                break;
            }
            found.segments += 1;
            let before = entries.len();
            settle(&*fs, &dir, number)?;
            let mut reader = SegmentReader::open(&*fs, &dir, number, 0)?;
            while let Some(record) = next_record(&mut reader) {
                let entry = record::metadata(record.bytes).ok().and_then(|mut all| all.next()?.ok());
                match entry {
                    Some(MetadataEntry { reference: ENTRY, help, .. }) => entries.push(help.to_vec()),
                    Some(MetadataEntry { reference: RESET, .. }) => drop(entries.drain(..before)),
                    _ => tracing::warn!(dir = %dir.display(), segment = number, "an entry that is none"),
                }
            }
            found.damage.append(&mut reader.take_damage());
        }
        let journal = JournalLog { fs, dir, writer, broken: false, builder: MetadataBuilder::new() };
        Ok((journal, found))
    }

    /// Adds an entry to the next commit.
    pub(crate) fn append(&mut self, entry: &[u8]) -> Result<(), WalError> {
        self.record(ENTRY, entry)
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
        let opened = JournalLog::open(Arc::new(RealFilesystem), dir.to_path_buf(), options, None);
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
                let opened = JournalLog::open(Arc::new(fs.clone()), PathBuf::from("/j"), options, None);
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
                let opened = JournalLog::open(Arc::new(fs.clone()), PathBuf::from("/j"), options, None);
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
