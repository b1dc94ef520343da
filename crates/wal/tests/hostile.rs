//! Random histories of a log on a hostile file system, compared with a model. Committed records must be
//! readable, in order and exactly once. Records that were never appended must not be. Segment numbers are
//! never reused. This is checked by readers that stop at the durable end, and after restarts.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::expect_used)] // Helpers of tests.

use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use wal::record::SeriesBuilder;
use wal::sim::{Op, SimFilesystem};
use wal::{
    Aside, Compression, DamageKind, Durability, DurableEnd, SegmentReader, Span, WalError, Writer,
    WriterOptions, dir,
};

const DIR: &str = "/data/wal";

#[derive(Debug, Clone)]
enum Event {
    Append {
        bytes: usize,
        random: bool,
    },
    Commit,
    Discard,
    Begin,
    Truncate,
    /// The program is killed and starts again. `known` selects which of the earlier durable ends it
    /// remembers.
    Restart {
        known: Option<prop::sample::Index>,
    },
    PowerCut {
        known: Option<prop::sample::Index>,
    },
    Fail {
        op: Op,
        after: u64,
        times: u64,
    },
    Die {
        after: u64,
    },
    Space {
        bytes: u64,
    },
    Heal,
    /// Readers continue to the durable end.
    Read,
}

fn any_event() -> impl Strategy<Value = Event> {
    let known = || prop::option::of(any::<prop::sample::Index>());
    let bytes = prop_oneof![8 => 0usize..200, 3 => 200usize..5000, 1 => 30_000usize..80_000];
    let op = prop::sample::select(vec![
        Op::Read,
        Op::Open,
        Op::Write,
        Op::Sync,
        Op::Sync,
        Op::SetLen,
        Op::Create,
        Op::Rename,
        Op::Remove,
        Op::SyncDir,
    ]);
    prop_oneof![
        12 => (bytes, any::<bool>()).prop_map(|(bytes, random)| Event::Append { bytes, random }),
        10 => Just(Event::Commit),
        1 => Just(Event::Discard),
        3 => Just(Event::Begin),
        1 => Just(Event::Truncate),
        2 => known().prop_map(|known| Event::Restart { known }),
        3 => known().prop_map(|known| Event::PowerCut { known }),
        4 => (op, 0u64..3, 1u64..3).prop_map(|(op, after, times)| Event::Fail { op, after, times }),
        2 => (0u64..8).prop_map(|after| Event::Die { after }),
        1 => (0u64..40_000).prop_map(|bytes| Event::Space { bytes }),
        1 => Just(Event::Heal),
        3 => Just(Event::Read),
    ]
}

/// Position of a record: its segment and first byte.
type Place = (u64, u64);

struct World {
    fs: SimFilesystem,
    /// Largest number of bytes that a read or write transfers at a time; stays set for the whole history.
    max_transfer: Option<usize>,
    options: WriterOptions,
    writer: Option<Writer>,
    reader: Option<(SegmentReader, u64)>,
    /// Records that wait for a commit.
    waiting: Vec<(Span, Vec<u8>)>,
    /// Records that must be readable.
    committed: BTreeMap<Place, Vec<u8>>,
    /// Records that may be readable: their commit failed, or the program was killed before it returned.
    possible: Vec<Vec<u8>>,
    /// Ends of segments that failures closed, as the program would store them.
    closed: BTreeMap<u64, u64>,
    /// Segments that were ended without a failure, so nothing in them is torn.
    orderly: BTreeSet<u64>,
    ends: Vec<DurableEnd>,
    highest: Option<u64>,
    truncated_below: u64,
    records: u64,
}

impl World {
    fn new(seed: u64, options: WriterOptions, max_transfer: Option<usize>) -> Self {
        let fs = SimFilesystem::new(seed);
        fs.set_max_transfer(max_transfer);
        let mut world = World {
            fs,
            max_transfer,
            options,
            writer: None,
            reader: None,
            waiting: Vec::new(),
            committed: BTreeMap::new(),
            possible: Vec::new(),
            closed: BTreeMap::new(),
            orderly: BTreeSet::new(),
            ends: Vec::new(),
            highest: None,
            truncated_below: 0,
            records: 0,
        };
        world.start(None);
        world
    }

    fn heal(&self) {
        self.fs.heal();
        self.fs.set_max_transfer(self.max_transfer);
    }

    fn power_cut(&self) {
        self.fs.power_cut();
        self.fs.set_max_transfer(self.max_transfer);
    }

    /// Starts the program. If the disk fails, it is repaired, as an operator would do.
    fn start(&mut self, known: Option<prop::sample::Index>) {
        let known = known.filter(|_| !self.ends.is_empty()).map(|index| *index.get(&self.ends));
        let (writer, report) = match self.open(known) {
            Ok(opened) => opened,
            Err(_) => {
                if self.fs.is_dead() {
                    self.power_cut();
                }
                self.heal();
                self.open(known).expect("the disk is mended")
            }
        };
        assert!(self.highest < Some(report.segment), "segment {} was used before", report.segment);
        self.highest = Some(report.segment);
        if let Some(end) = report.end
            && report.damage.iter().all(|damage| damage.offset >= end.offset)
        {
            // Unreadable bytes were not cut, because they may be committed.
            if report.damage.iter().all(|damage| damage.kind != DamageKind::Unreadable) {
                self.orderly.insert(end.segment);
            }
        }
        assert_eq!(report.cut_kept.is_some(), report.cut_bytes > 0);
        if let Some(Ok(kept)) = &report.cut_kept {
            assert_eq!(self.fs.contents(kept).map(|bytes| bytes.len() as u64), Some(report.cut_bytes));
        }
        self.writer = Some(writer);
        self.reader = None;
        let segments = in_the_end(|| dir::segments(&self.fs, Path::new(DIR)));
        assert!(segments.windows(2).all(|pair| pair[0].number + 1 == pair[1].number), "{segments:?}");
        self.check_all();
    }

    fn open(&self, known: Option<DurableEnd>) -> Result<(Writer, wal::OpenReport), WalError> {
        for (&segment, &offset) in &self.closed {
            dir::cut(&self.fs, Path::new(DIR), DurableEnd { segment, offset })?;
        }
        let aside = Aside::new("/data/damaged".into(), 1 << 20);
        let fs = Arc::new(self.fs.clone());
        Writer::open_keeping(fs, Path::new(DIR), self.options, 0, known, Some(&aside))
    }

    /// The waiting records were not committed, but may be on disk.
    fn lose_waiting(&mut self) {
        self.possible.extend(self.waiting.drain(..).map(|(_, bytes)| bytes));
    }

    /// Reads the whole log, like a start that knows only the ends of closed segments.
    fn check_all(&self) {
        let mut found = 0;
        let mut possible = self.possible.clone();
        for segment in in_the_end(|| dir::segments(&self.fs, Path::new(DIR))) {
            let open = || SegmentReader::open(&self.fs, Path::new(DIR), segment.number, 0);
            let mut reader = in_the_end(open);
            if let Some(&end) = self.closed.get(&segment.number) {
                reader.set_limit(end);
            }
            while let Some(record) = read(&mut reader) {
                match self.committed.get(&(segment.number, record.0)) {
                    Some(bytes) => {
                        assert!(*bytes == record.1, "another record at {}/{}", segment.number, record.0);
                        found += usize::from(segment.number >= self.truncated_below);
                    }
                    None => {
                        let place = possible.iter().position(|bytes| *bytes == record.1);
                        possible.swap_remove(place.expect("a record that was never appended, or twice"));
                    }
                }
            }
            let orderly = self.orderly.contains(&segment.number);
            assert!(!orderly || reader.damage().is_empty(), "{:?}", reader.damage());
        }
        let expected = self.committed.range((self.truncated_below, 0)..).count();
        assert_eq!(found, expected, "committed records are missing");
    }

    /// A reader that stops at the durable end returns exactly the records that were committed since the
    /// start.
    fn read_live(&mut self) {
        let Some(writer) = &self.writer else { return };
        let end = writer.durable_end();
        let (reader, seen) = match &mut self.reader {
            Some(current) if current.0.segment() == end.segment => (&mut current.0, &mut current.1),
            other => {
                let Ok(reader) = SegmentReader::open(&self.fs, Path::new(DIR), end.segment, 0) else {
                    return;
                };
                let current = other.insert((reader, 0));
                (&mut current.0, &mut current.1)
            }
        };
        if self.fs.is_dead() {
            return;
        }
        reader.set_limit(end.offset);
        for (&(_, start), bytes) in self.committed.range((end.segment, *seen)..(end.segment, end.offset)) {
            let record = read(reader).expect("a committed record is missing");
            assert!(record.0 == start && record.1 == *bytes);
        }
        assert!(read(reader).is_none());
        assert_eq!(reader.damage(), []);
        *seen = end.offset;
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Append { bytes, random } => self.append(bytes, random),
            Event::Commit => self.commit(),
            Event::Discard => {
                self.writer.as_mut().unwrap().discard();
                // Nothing of it was written, so nothing of it may be read.
                self.waiting.clear();
            }
            Event::Begin => self.begin(),
            Event::Truncate => self.truncate(),
            Event::Restart { known } => {
                self.writer = None;
                self.lose_waiting();
                if self.fs.is_dead() {
                    self.power_cut();
                }
                self.start(known);
            }
            Event::PowerCut { known } => {
                self.writer = None;
                self.lose_waiting();
                self.power_cut();
                self.start(known);
            }
            Event::Fail { op, after, times } => self.fs.fail(op, after, times),
            Event::Die { after } => self.fs.die_after(after),
            Event::Space { bytes } => self.fs.set_space(Some(bytes)),
            Event::Heal => self.heal(),
            Event::Read => self.read_live(),
        }
    }

    fn append(&mut self, bytes: usize, random: bool) {
        let Some(writer) = &mut self.writer else { return };
        self.records += 1;
        let mut rng = fastrand::Rng::with_seed(self.records);
        let mut text = format!("{} ", self.records).into_bytes();
        text.resize_with(text.len() + bytes, || if random { rng.u8(..) } else { b'x' });
        let mut labels = vec![1, 1, b'a'];
        model::varint::put_bytes(&mut labels, &text);
        let mut builder = SeriesBuilder::new();
        builder.push(self.records, model::LabelsRef::trusted(&labels));
        match writer.append(builder.bytes()) {
            Ok(span) => self.waiting.push((span, builder.bytes().to_vec())),
            Err(error) => assert!(matches!(error, WalError::SegmentClosed(_)) && writer.is_closed()),
        }
    }

    fn commit(&mut self) {
        let Some(writer) = &mut self.writer else { return };
        let before = writer.durable_end();
        match writer.commit() {
            Ok(end) => {
                assert!(end >= before && end == writer.durable_end());
                self.ends.push(end);
                for (span, bytes) in self.waiting.drain(..) {
                    assert!(span.end <= end.offset);
                    self.committed.insert((end.segment, span.start), bytes);
                }
            }
            Err(error) => {
                assert_eq!(writer.durable_end(), before);
                assert_eq!(writer.is_closed(), error.closed().is_some());
                if let Some(closed) = error.closed() {
                    assert_eq!(closed, before);
                    if !self.fs.is_dead() {
                        self.closed.insert(closed.segment, closed.offset);
                    }
                }
                self.lose_waiting();
            }
        }
    }

    fn begin(&mut self) {
        self.commit();
        let Some(writer) = &mut self.writer else { return };
        let (left, closed) = (writer.segment(), writer.is_closed());
        match writer.begin_segment() {
            Ok(number) => {
                if !closed {
                    self.orderly.insert(left);
                }
                assert!(self.highest < Some(number), "segment {number} was used before");
                self.highest = Some(number);
            }
            Err(error) => assert!(matches!(error, WalError::Io { .. })),
        }
    }

    fn truncate(&mut self) {
        let Some(writer) = &self.writer else { return };
        let below = writer.segment();
        // A failed truncation may have deleted all segments or none, and deletions that were not synced may
        // be undone.
        let _ = dir::truncate_below(&self.fs, Path::new(DIR), below);
        self.truncated_below = below;
    }
}

/// Retries an operation on a disk that fails temporarily until it succeeds.
fn in_the_end<T>(mut attempt: impl FnMut() -> Result<T, WalError>) -> T {
    (0..10_000).find_map(|_| attempt().ok()).expect("a disk that fails for ever")
}

fn read(reader: &mut SegmentReader) -> Option<(u64, Vec<u8>)> {
    in_the_end(|| Ok(reader.next()?.map(|record| (record.start, record.bytes.to_vec()))))
}

fn any_options(durability: Durability) -> impl Strategy<Value = WriterOptions> {
    let compression = prop::sample::select(vec![Compression::None, Compression::Snappy, Compression::Zstd]);
    compression.prop_map(move |compression| WriterOptions { compression, durability })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn committed_records_are_read_and_nothing_else(
        seed: u64,
        options in any_options(Durability::Fsync),
        max_transfer in prop_oneof![
            6 => Just(None), 2 => (1usize..5000).prop_map(Some), 1 => Just(Some(1))
        ],
        events in prop::collection::vec(any_event(), 1..60),
    ) {
        let mut world = World::new(seed, options, max_transfer);
        for event in events {
            world.happen(event);
        }
        world.happen(Event::PowerCut { known: None });
    }

    #[test]
    fn without_syncs_committed_records_survive_a_kill(
        seed: u64,
        options in any_options(Durability::Os),
        events in prop::collection::vec(any_event(), 1..60),
    ) {
        let mut world = World::new(seed, options, None);
        for event in events {
            match event {
                // Data that was written but not synced does not survive the system, so a restart replaces the
                // power cut.
                Event::PowerCut { known } => world.happen(Event::Restart { known }),
                Event::Die { .. } | Event::Fail { op: Op::Sync, .. } => {}
                event => world.happen(event),
            }
        }
        world.happen(Event::Restart { known: None });
    }
}
