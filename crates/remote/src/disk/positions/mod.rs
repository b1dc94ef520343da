//! Saved positions: how far each lane of a destination is done, on disk. `layout.rs` has the bytes of the file.
//!
//! Positions are written with each answer ([`PositionFile::write`]), which a kill cannot undo, and synced once
//! in a while ([`PositionFile::begin_sync`]), for power cuts. So a kill costs a repetition of what was under
//! way, and a power cut one of what was settled since the last sync.
//!
//! The fingerprint stands for what decides lanes and outgoing labels. Where it is another one, positions
//! of lanes mean nothing any more, and all lanes go back to the lowest: repeat, never skip.
//!
//! The owner is whom the positions were saved for, so that a destination is known again under another name
//! or URL: see [`crate::disk::claims`].

mod layout;
mod settled;

pub use self::settled::{Ahead, Settled};

use self::layout::{
    FILE_BYTES, ONLY_IN_MEMORY, REMOVED_AT, SEQUENCE_MAX, SLOTS, header, newest_of, put_area,
    put_only_in_memory, read_header, read_lanes, read_only_in_memory, read_removed,
};
use crate::config::identity::Owner;
use crate::queue::lanes::LANES;
use model::Kinds;
use std::io;
use std::path::Path;
use std::sync::Arc;
use wal::fs::patiently;
use wal::small_file::{self, UNFINISHED, make_folder, with_ending};
use wal::{File, Filesystem, Position};

/// Positions of all lanes.
pub type Lanes = [Position; LANES];

/// What was found at a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// No file: the destination is new.
    New,
    /// Every lane's position.
    Intact,
    /// The fingerprint is another one: all lanes went back to the lowest position.
    OtherFingerprint,
    /// This many lanes could not be read and begin at the oldest position.
    Damaged(usize),
}

/// What a file of positions says.
#[derive(Debug, Clone)]
pub struct Content {
    /// Whose they are.
    pub owner: Owner,
    /// When the configuration stopped having the owner, in milliseconds since 1970.
    pub removed_ms: Option<i64>,
    /// Where each lane is; `None` for one that cannot be read.
    pub lanes: [Option<Position>; LANES],
}

impl Content {
    /// The lowest position; the beginning of the log where a lane cannot be read.
    pub fn lowest(&self) -> Position {
        self.lanes.iter().map(|lane| lane.unwrap_or_default()).min().unwrap_or_default()
    }
}

/// Reads a file without opening it for writing; nothing where it is none of positions.
pub fn read(fs: &dyn Filesystem, path: &Path) -> io::Result<Option<Content>> {
    let bytes = read_bytes(fs, path)?;
    let lanes = read_lanes(&bytes).map(|lane| lane.map(|lane| lane.done));
    let removed_ms = read_removed(&bytes);
    Ok(read_header(&bytes).map(|(_, owner)| Content { owner, removed_ms, lanes }))
}

/// What [`mark_removed`] noted, also in a file of which nothing else can be made out.
pub fn removed_ms(fs: &dyn Filesystem, path: &Path) -> io::Result<Option<i64>> {
    Ok(read_removed(&read_bytes(fs, path)?))
}

/// Notes in the file that the configuration has its owner no more. In place, so it needs no room on disk.
pub fn mark_removed(fs: &dyn Filesystem, path: &Path, now_ms: i64) -> io::Result<()> {
    let mut mark = now_ms.to_le_bytes().to_vec();
    mark.extend_from_slice(&crc32c::crc32c(&mark).to_le_bytes());
    let file = fs.open(path, true)?;
    file.write_all_at(&mark, REMOVED_AT)?;
    file.sync_data()
}

/// How many bytes of the log come after a position.
pub fn bytes_after(segments: &[wal::dir::Segment], position: Position) -> u64 {
    let after = segments.iter().map(|segment| match segment.number.cmp(&position.segment) {
        std::cmp::Ordering::Less => 0,
        std::cmp::Ordering::Equal => segment.bytes.saturating_sub(position.offset),
        std::cmp::Ordering::Greater => segment.bytes,
    });
    after.sum()
}

fn read_bytes(fs: &dyn Filesystem, path: &Path) -> io::Result<Vec<u8>> {
    small_file::read(fs, path, FILE_BYTES)?.ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// An open file of positions.
#[derive(Debug)]
pub struct PositionFile {
    file: Arc<dyn File>,
    sequence: u64,
    only_in_memory: Kinds,
    buffer: Vec<u8>,
    /// The area that is written to.
    open: usize,
    /// The area that was synced last.
    durable: usize,
}

/// A sync under way: see [`PositionFile::begin_sync`].
#[derive(Debug)]
pub struct Sync {
    file: Arc<dyn File>,
    area: usize,
}

impl Sync {
    /// Waits for the disk. [`PositionFile::end_sync`] has to be told of a success.
    pub fn wait(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

impl PositionFile {
    /// Opens the file, or makes it; from now on it is `owner`'s. `new` is where a new destination begins,
    /// `oldest` where damage leads to.
    pub fn open(
        fs: &dyn Filesystem,
        path: &Path,
        owner: &Owner,
        fingerprint: u64,
        new: Position,
        oldest: Position,
    ) -> io::Result<(PositionFile, Settled, Found)> {
        Self::open_keeping(fs, path, owner, fingerprint, new, oldest, || {})
    }

    /// The same; a damaged file is made anew after `keep` was called.
    pub fn open_keeping(
        fs: &dyn Filesystem,
        path: &Path,
        owner: &Owner,
        fingerprint: u64,
        new: Position,
        oldest: Position,
        keep: impl FnOnce(),
    ) -> io::Result<(PositionFile, Settled, Found)> {
        if let Some(dir) = path.parent() {
            make_folder(fs, dir)?;
        }
        let header = header(owner, fingerprint);
        // Where that can't be found out, it may be there.
        if matches!(patiently(|| fs.metadata(path)), Ok(None)) {
            let settled = [new; LANES].into();
            return Ok((Self::make(fs, path, &header, &settled)?, settled, Found::New));
        }
        let bytes = match read_bytes(fs, path) {
            // Made anew beside it, as one of rubbish is. What is not the disk's is for people to mend.
            Err(error) if !storage::is_elsewhere(&error) => {
                tracing::warn!(path = %path.display(), %error, "saved positions can't be read");
                Vec::new()
            }
            read => read?,
        };
        let lanes = read_lanes(&bytes);
        let mut settled = Settled::of(&lanes, oldest);
        let sequence = lanes.iter().flatten().map(|lane| lane.sequence).max().unwrap_or(0);
        let damaged = lanes.iter().filter(|lane| lane.is_none()).count();
        let before = read_header(&bytes);
        let only_in_memory = before.as_ref().and(read_only_in_memory(&bytes)).unwrap_or_default();
        let same = before.as_ref().is_some_and(|(_, before)| before == owner);
        let found = match before {
            Some((before, _)) if before == fingerprint && damaged == 0 => Found::Intact,
            Some((before, _)) if before == fingerprint => Found::Damaged(damaged),
            Some(_) if damaged == 0 => Found::OtherFingerprint,
            _ => Found::Damaged(LANES),
        };
        if matches!(found, Found::Damaged(_)) {
            keep();
        }
        match found {
            Found::Intact if same && read_removed(&bytes).is_none() => {
                // What is found may not be durable yet, and not be of one area: all goes into the oldest.
                let age = |area: &usize| newest_of(&bytes, *area);
                let open = (0..SLOTS.len()).min_by_key(age).unwrap_or(0);
                let durable = (0..SLOTS.len()).max_by_key(age).unwrap_or(1);
                let file = fs.open(path, true)?.into();
                let mut opened =
                    PositionFile { file, sequence, only_in_memory, buffer: Vec::new(), open, durable };
                opened.save(&settled)?;
                return Ok((opened, settled, found));
            }
            Found::Damaged(LANES) => settled = [oldest; LANES].into(),
            Found::OtherFingerprint => settled = settled.lowest(),
            Found::Intact | Found::Damaged(_) | Found::New => {}
        }
        let mut made = Self::make(fs, path, &header, &settled)?;
        // The new file says none.
        made.only_in_memory = only_in_memory;
        Ok((made, settled, found))
    }

    /// Makes the file anew, beside the old one, and puts it in its place.
    fn make(fs: &dyn Filesystem, path: &Path, header: &[u8], settled: &Settled) -> io::Result<Self> {
        small_file::create(fs, path, &with_ending(path, UNFINISHED), |file| {
            file.allocate(FILE_BYTES)?;
            file.write_all_at(header, 0)?;
            let file = file.into();
            let only_in_memory = Kinds::default();
            let mut made =
                PositionFile { file, sequence: 0, only_in_memory, buffer: Vec::new(), open: 0, durable: 2 };
            // So that each lane has two intact slots from the beginning.
            made.save(settled)?;
            made.save(settled)?;
            Ok(made)
        })
    }

    /// How many samples were only in memory when this was last written, see [`PositionFile::write_only_in_memory`]:
    /// by an earlier process, until this one writes it.
    pub fn only_in_memory(&self) -> Kinds {
        self.only_in_memory
    }

    /// Writes how many undelivered samples are only in memory, because their segment was dropped: if the process is
    /// killed, the next one counts them as lost. Does not wait for the disk; the next sync makes it durable.
    pub fn write_only_in_memory(&mut self, kinds: Kinds) -> io::Result<()> {
        self.file.write_all_at(&put_only_in_memory(kinds), ONLY_IN_MEMORY)?;
        self.only_in_memory = kinds;
        Ok(())
    }

    /// Writes all positions. They outlive this process from now on, and a power cut once they are synced.
    /// Does not wait for the disk.
    pub fn write(&mut self, settled: &Settled) -> io::Result<()> {
        self.sequence = (self.sequence + 1).min(SEQUENCE_MAX);
        put_area(&mut self.buffer, self.sequence, settled);
        self.file.write_all_at(&self.buffer, SLOTS.get(self.open).copied().unwrap_or(SLOTS[0]))
    }

    /// Begins to make what was written durable; only one at a time. What is written meanwhile goes elsewhere,
    /// and is not part of it. The waiting may be done on another thread.
    pub fn begin_sync(&mut self) -> Sync {
        let area = self.open;
        // The third one. After a sync that failed that is the one it was for.
        self.open = (0..SLOTS.len()).find(|other| *other != area && *other != self.durable).unwrap_or(area);
        Sync { file: self.file.clone(), area }
    }

    /// A sync has succeeded.
    pub fn end_sync(&mut self, done: &Sync) {
        self.durable = done.area;
    }

    /// Writes all positions and makes them durable. Waits for the disk.
    pub fn save(&mut self, settled: &Settled) -> io::Result<()> {
        self.write(settled)?;
        let sync = self.begin_sync();
        sync.wait()?;
        self.end_sync(&sync);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helper functions of tests")]
    use super::layout::AREA_BYTES;
    use super::*;
    use proptest::prelude::*;
    use wal::RealFilesystem;
    use wal::fs::READ_TRIES;

    const NEW: Position = Position { segment: 9, offset: 0, index: 0 };
    const OLDEST: Position = Position { segment: 1, offset: 0, index: 0 };

    fn lanes(number: u64) -> Lanes {
        std::array::from_fn(|lane| Position { segment: number, offset: lane as u64, index: 3 })
    }

    fn owner() -> Owner {
        Owner { name: None, url: "http://h/write".into(), variant: 5 }
    }

    /// Even numbers have a backlog.
    fn settled(number: u64) -> Settled {
        let from = Position { segment: number + 1, offset: 0, index: 0 };
        let ahead = Ahead { from, lanes: lanes(number + 2) };
        Settled { lanes: lanes(number), ahead: Some(ahead).filter(|_| number.is_multiple_of(2)) }
    }

    fn open(path: &Path, fingerprint: u64) -> (PositionFile, Settled, Found) {
        PositionFile::open(&RealFilesystem, path, &owner(), fingerprint, NEW, OLDEST).unwrap()
    }

    #[test]
    fn what_was_saved_last_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("positions/a");
        let (mut file, found, kind) = open(&path, 7);
        assert_eq!((found, kind), ([NEW; LANES].into(), Found::New));
        for number in 10..15 {
            file.save(&settled(number)).unwrap();
            let (_, found, kind) = open(&path, 7);
            assert_eq!((found, kind), (settled(number), Found::Intact));
            let content = read(&RealFilesystem, &path).unwrap().unwrap();
            assert_eq!((&content.lanes, &content.owner), (&lanes(number).map(Some), &owner()));
            assert_eq!(content.lowest(), lanes(number)[0]);
        }
        assert_eq!(std::fs::metadata(&path).unwrap().len(), FILE_BYTES);
    }

    #[test]
    fn another_fingerprint_sends_all_lanes_back_to_the_lowest() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        open(&path, 7).0.save(&settled(10)).unwrap();
        let first = |segment| [Position { segment, offset: 0, index: 3 }; LANES];
        let mut lowest = settled(10);
        lowest.lanes = first(10);
        lowest.ahead.as_mut().unwrap().lanes = first(12);
        let (_, found, kind) = open(&path, 8);
        assert_eq!((found, kind), (lowest, Found::OtherFingerprint));
        let (_, found, kind) = open(&path, 8);
        assert_eq!((found, kind), (lowest, Found::Intact));
    }

    #[test]
    fn the_count_of_samples_only_in_memory_survives_a_kill() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let (mut file, ..) = open(&path, 7);
        assert_eq!(file.only_in_memory(), Kinds::default());
        let kinds = Kinds { samples: 7, histograms: 8, exemplars: 9 };
        file.write_only_in_memory(kinds).unwrap();
        // Positions are written beside it.
        file.save(&settled(10)).unwrap();
        for _ in 0..2 {
            let (file, found, _) = open(&path, 7);
            assert_eq!((file.only_in_memory(), found), (kinds, settled(10)));
        }
        // Other external labels replace the file; the count is of the earlier process all the same.
        assert_eq!(open(&path, 8).0.only_in_memory(), kinds);
        assert_eq!(open(&path, 8).0.only_in_memory(), Kinds::default());
    }

    #[test]
    fn a_file_of_rubbish_leads_to_the_oldest_position() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        for rubbish in [vec![], vec![0; 40_000], vec![0xff; 5000]] {
            std::fs::write(&path, rubbish).unwrap();
            assert!(read(&RealFilesystem, &path).unwrap().is_none());
            let (_, found, kind) = open(&path, 7);
            assert_eq!((found, kind), ([OLDEST; LANES].into(), Found::Damaged(LANES)));
            assert_eq!(open(&path, 7).2, Found::Intact);
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_tried_a_few_times_and_then_made_anew() {
        use wal::sim::{Op, SimFilesystem};
        // What comes before it: asking for the folder and for the file.
        for (op, before) in [(Op::Read, 0), (Op::Open, 2), (Op::Open, 1)] {
            let sim = SimFilesystem::new(1);
            let open = || {
                let (_, settled, found) =
                    PositionFile::open(&sim, Path::new("/positions/a"), &owner(), 7, NEW, OLDEST).unwrap();
                (settled, found)
            };
            assert_eq!(open(), ([NEW; LANES].into(), Found::New));
            sim.fail(op, before, u64::from(READ_TRIES) - 1);
            assert_eq!(open(), ([NEW; LANES].into(), Found::Intact), "{op:?}");
            sim.fail(op, before, u64::from(READ_TRIES) * if before == 1 { 2 } else { 1 });
            assert_eq!(open(), ([OLDEST; LANES].into(), Found::Damaged(LANES)), "{op:?}");
            assert_eq!(open(), ([OLDEST; LANES].into(), Found::Intact), "{op:?}");
        }
    }

    #[test]
    fn another_owner_takes_the_positions_over_and_is_there_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        open(&path, 7).0.save(&settled(10)).unwrap();
        let other = Owner { name: Some("é".repeat(300)), url: "x".repeat(900), variant: u64::MAX };
        for owner in [&other, &owner(), &other] {
            mark_removed(&RealFilesystem, &path, 99).unwrap();
            assert_eq!(read(&RealFilesystem, &path).unwrap().unwrap().removed_ms, Some(99));
            let opened = PositionFile::open(&RealFilesystem, &path, owner, 7, NEW, OLDEST).unwrap();
            assert_eq!((opened.1, opened.2), (settled(10), Found::Intact));
            let content = read(&RealFilesystem, &path).unwrap().unwrap();
            assert_eq!((&content.owner, content.removed_ms), (owner, None));
            assert_eq!(content.lanes, lanes(10).map(Some));
        }
    }

    #[test]
    fn what_was_written_without_a_sync_is_found_after_a_kill() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let (mut file, ..) = open(&path, 7);
        for number in 10..30 {
            file.write(&settled(number)).unwrap();
            if number % 3 == 0 {
                let sync = file.begin_sync();
                file.write(&settled(number + 100)).unwrap();
                assert_eq!(open_copy(&path), settled(number + 100));
                sync.wait().unwrap();
                // Every other one fails.
                if number % 2 == 0 {
                    file.end_sync(&sync);
                }
            }
            file.write(&settled(number)).unwrap();
            assert_eq!(open_copy(&path), settled(number));
        }
    }

    /// What a start would find, without changing the file.
    fn open_copy(path: &Path) -> Settled {
        let copy = path.with_extension("copy");
        std::fs::copy(path, &copy).unwrap();
        open(&copy, 7).1
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn a_torn_save_gives_each_lane_this_position_or_the_one_before(
            cut in 0usize..=AREA_BYTES as usize, saves in 0u64..4, during_sync: bool) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("a");
            let (mut file, ..) = open(&path, 7);
            for number in 0..=saves {
                file.save(&settled(10 + number)).unwrap();
            }
            let before = std::fs::read(&path).unwrap();
            // Written without a sync, before one is under way and meanwhile: what is durable stays whole.
            file.write(&settled(20)).unwrap();
            let sync = during_sync.then(|| file.begin_sync());
            file.write(&settled(21)).unwrap();
            drop(sync);
            let after = std::fs::read(&path).unwrap();
            let mut torn = before.clone();
            let bytes = AREA_BYTES as usize;
            for start in SLOTS.map(|start| start as usize) {
                if before[start..start + bytes] != after[start..start + bytes] {
                    torn[start..start + cut].copy_from_slice(&after[start..start + cut]);
                    // The byte at which it was torn is rubbish.
                    torn[start + cut.min(bytes - 1)] ^= 0x55;
                }
            }
            std::fs::write(&path, &torn).unwrap();
            let (_, found, kind) = open(&path, 7);
            prop_assert_eq!(kind, Found::Intact);
            for lane in 0..LANES {
                let may = [10 + saves, 20, 21].map(settled);
                prop_assert!(may.iter().any(|may| may.lanes[lane] == found.lanes[lane]), "{:?}", found.lanes[lane]);
                // What is said to be settled is settled by one of the writes.
                if let Some(ahead) = found.ahead {
                    let by = |may: &Settled| {
                        let known = may.ahead.filter(|own| own.from == ahead.from);
                        let live = known.map_or(may.lanes[lane], |own| own.lanes[lane]);
                        ahead.lanes[lane] <= live.max(ahead.from)
                    };
                    prop_assert!(may.iter().any(by), "{:?}", ahead.lanes[lane]);
                }
            }
        }
    }
}
