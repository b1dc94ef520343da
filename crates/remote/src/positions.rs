//! Saved positions: how far each lane of a destination is done, on disk.
//!
//! ```text
//! byte 0      magic "narthexP", version u32, lanes u32, fingerprint u64,
//!             the owner: variant u64, has a name u8, length u16 and bytes of the name, of the URL,
//!             CRC32C u32 of these
//! byte 3072   when the owner was removed, in milliseconds since 1970: i64, CRC32C u32; zeros while it is there
//! byte 4096   slots A: 256 × 32 bytes   ┐ by turns one is written to, one is being synced, and one is
//! byte 12288  slots B: 256 × 32 bytes   │ durable; that one is never touched
//! byte 20480  slots C: 256 × 32 bytes   ┘
//!             a slot: sequence u64, segment u64, offset u64, index u32, CRC32C u32 (with the lane number)
//! ```
//!
//! Positions are written with each answer ([`PositionFile::write`]), which a kill cannot undo, and synced once
//! in a while ([`PositionFile::begin_sync`]), for power cuts. So a kill costs a repetition of what was under
//! way, and a power cut one of what was settled since the last sync.
//!
//! All numbers are little-endian. The file is made in full once and then written in place, so that saving
//! works on a full disk. A lane's position is that of its intact slot with the highest sequence number; a
//! lane that has none begins at the oldest position. A torn write so costs a repetition, never a sample.
//!
//! The fingerprint stands for what decides lanes and outgoing labels. Where it is another one, positions
//! of lanes mean nothing any more, and all lanes go back to the lowest: repeat, never skip.
//!
//! The owner is whom the positions were saved for, so that a destination is known again under another name
//! or URL: see [`crate::claims`].

use crate::identity::Owner;
use crate::lanes::LANES;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use wal::{File, Filesystem, Position};

const MAGIC: &[u8; 8] = b"narthexP";
const VERSION: u32 = 3;
const REMOVED_AT: u64 = 3072;
const SLOT_BYTES: usize = 32;
const AREA_BYTES: u64 = (LANES * SLOT_BYTES) as u64;
const SLOTS: [u64; 3] = [4096, 4096 + AREA_BYTES, 4096 + 2 * AREA_BYTES];
const FILE_BYTES: u64 = 4096 + 3 * AREA_BYTES;

/// How the name of a file ends that is not in its place yet.
pub(crate) const UNFINISHED: &str = ".new";

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
    let bytes = read_bytes(&*fs.open(path, false)?)?;
    let lanes = read_lanes(&bytes).map(|lane| lane.map(|(_, position)| position));
    let removed_ms = read_removed(&bytes);
    Ok(read_header(&bytes).map(|(_, owner)| Content { owner, removed_ms, lanes }))
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

fn read_bytes(file: &dyn File) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; FILE_BYTES as usize];
    let length = file.read_full_at(&mut bytes, 0)?;
    bytes.truncate(length);
    Ok(bytes)
}

fn read_removed(bytes: &[u8]) -> Option<i64> {
    let mut rest = bytes.get(REMOVED_AT as usize..)?;
    let ms = take::<8>(&mut rest)?;
    (u32::from_le_bytes(take(&mut rest)?) == crc32c::crc32c(&ms)).then(|| i64::from_le_bytes(ms))
}

/// The newest intact slot of each lane: its sequence number and the position.
fn read_lanes(bytes: &[u8]) -> [Option<(u64, Position)>; LANES] {
    std::array::from_fn(|lane| {
        let slots = SLOTS.iter().filter_map(|start| read_slot(bytes, *start as usize, lane));
        slots.max_by_key(|(sequence, _)| *sequence)
    })
}

/// An open file of positions.
#[derive(Debug)]
pub struct PositionFile {
    file: Arc<dyn File>,
    sequence: u64,
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
    ) -> io::Result<(PositionFile, Lanes, Found)> {
        if let Some(dir) = path.parent()
            && fs.metadata(dir)?.is_none()
        {
            fs.create_dir_all(dir)?;
            // Its name has to outlast a power cut as what is in it does.
            if let Some(above) = dir.parent().filter(|above| !above.as_os_str().is_empty()) {
                fs.sync_dir(above)?;
            }
        }
        let header = header(owner, fingerprint);
        if fs.metadata(path)?.is_none() {
            let lanes = [new; LANES];
            return Ok((Self::make(fs, path, &header, &lanes)?, lanes, Found::New));
        }
        let file: Arc<dyn File> = fs.open(path, true)?.into();
        let bytes = read_bytes(&*file)?;
        let (mut lanes, mut sequence, mut damaged) = ([oldest; LANES], 0, 0);
        for (lane, newest) in lanes.iter_mut().zip(read_lanes(&bytes)) {
            match newest {
                Some((slot, position)) => {
                    *lane = position;
                    sequence = sequence.max(slot);
                }
                None => damaged += 1,
            }
        }
        let before = read_header(&bytes);
        let same = before.as_ref().is_some_and(|(_, before)| before == owner);
        let found = match before {
            Some((before, _)) if before == fingerprint && damaged == 0 => Found::Intact,
            Some((before, _)) if before == fingerprint => Found::Damaged(damaged),
            Some(_) if damaged == 0 => Found::OtherFingerprint,
            _ => Found::Damaged(LANES),
        };
        match found {
            Found::Intact if same && read_removed(&bytes).is_none() => {
                // What is found may not be durable yet, and not be of one area: all goes into the oldest.
                let age = |area: &usize| newest_of(&bytes, *area);
                let open = (0..SLOTS.len()).min_by_key(age).unwrap_or(0);
                let durable = (0..SLOTS.len()).max_by_key(age).unwrap_or(1);
                let mut opened = PositionFile { file, sequence, buffer: Vec::new(), open, durable };
                opened.save(&lanes)?;
                return Ok((opened, lanes, found));
            }
            Found::Damaged(LANES) => lanes = [oldest; LANES],
            Found::OtherFingerprint => lanes = [lanes.iter().min().copied().unwrap_or(oldest); LANES],
            Found::Intact | Found::Damaged(_) | Found::New => {}
        }
        Ok((Self::make(fs, path, &header, &lanes)?, lanes, found))
    }

    /// Makes the file anew, beside the old one, and puts it in its place.
    fn make(fs: &dyn Filesystem, path: &Path, header: &[u8], lanes: &Lanes) -> io::Result<Self> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(UNFINISHED);
        let beside = PathBuf::from(beside);
        if fs.metadata(&beside)?.is_some() {
            fs.remove_file(&beside)?;
        }
        let file: Arc<dyn File> = fs.create_new(&beside)?.into();
        file.allocate(FILE_BYTES)?;
        file.write_all_at(header, 0)?;
        let mut made = PositionFile { file, sequence: 0, buffer: Vec::new(), open: 0, durable: 2 };
        // So that each lane has two intact slots from the beginning.
        made.save(lanes)?;
        made.save(lanes)?;
        fs.rename(&beside, path)?;
        if let Some(dir) = path.parent() {
            fs.sync_dir(dir)?;
        }
        Ok(made)
    }

    /// Writes all positions. They outlive this process from now on, and a power cut once they are synced.
    /// Does not wait for the disk.
    pub fn write(&mut self, lanes: &Lanes) -> io::Result<()> {
        self.sequence += 1;
        self.buffer.clear();
        for (number, position) in (0u32..).zip(lanes) {
            let start = self.buffer.len();
            self.buffer.extend_from_slice(&self.sequence.to_le_bytes());
            self.buffer.extend_from_slice(&position.segment.to_le_bytes());
            self.buffer.extend_from_slice(&position.offset.to_le_bytes());
            self.buffer.extend_from_slice(&position.index.to_le_bytes());
            let crc = slot_crc(self.buffer.get(start..).unwrap_or_default(), number);
            self.buffer.extend_from_slice(&crc.to_le_bytes());
        }
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
    pub fn save(&mut self, lanes: &Lanes) -> io::Result<()> {
        self.write(lanes)?;
        let sync = self.begin_sync();
        sync.wait()?;
        self.end_sync(&sync);
        Ok(())
    }
}

/// The highest sequence number in an area.
fn newest_of(bytes: &[u8], area: usize) -> u64 {
    let start = SLOTS.get(area).copied().unwrap_or_default() as usize;
    let slots = (0..LANES).filter_map(|lane| read_slot(bytes, start, lane));
    slots.map(|(sequence, _)| sequence).max().unwrap_or(0)
}

fn slot_crc(bytes: &[u8], lane: u32) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&lane.to_le_bytes()), bytes)
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*first)
}

fn header(owner: &Owner, fingerprint: u64) -> Vec<u8> {
    let mut header = MAGIC.to_vec();
    header.extend_from_slice(&VERSION.to_le_bytes());
    header.extend_from_slice(&(LANES as u32).to_le_bytes());
    header.extend_from_slice(&fingerprint.to_le_bytes());
    header.extend_from_slice(&owner.variant.to_le_bytes());
    header.push(u8::from(owner.name.is_some()));
    for text in [owner.name.as_deref().unwrap_or_default(), &owner.url] {
        // Bounded where the owner is made.
        header.extend_from_slice(&(text.len() as u16).to_le_bytes());
        header.extend_from_slice(text.as_bytes());
    }
    header.extend_from_slice(&crc32c::crc32c(&header).to_le_bytes());
    header
}

/// The fingerprint and the owner.
fn read_header(bytes: &[u8]) -> Option<(u64, Owner)> {
    let mut rest = bytes;
    let magic = take::<8>(&mut rest)? == *MAGIC;
    let version = u32::from_le_bytes(take(&mut rest)?) == VERSION;
    let lanes = u32::from_le_bytes(take(&mut rest)?) == LANES as u32;
    if !magic || !version || !lanes {
        return None;
    }
    let fingerprint = u64::from_le_bytes(take(&mut rest)?);
    let variant = u64::from_le_bytes(take(&mut rest)?);
    let [named] = take(&mut rest)?;
    let mut text = || {
        let length = usize::from(u16::from_le_bytes(take(&mut rest)?));
        let (text, after) = rest.split_at_checked(length)?;
        rest = after;
        std::str::from_utf8(text).ok().map(str::to_string)
    };
    let (name, url) = (text()?, text()?);
    let length = bytes.len() - rest.len();
    let right = u32::from_le_bytes(take(&mut rest)?) == crc32c::crc32c(bytes.get(..length)?);
    right.then(|| (fingerprint, Owner { name: (named == 1).then_some(name), url, variant }))
}

fn read_slot(bytes: &[u8], start: usize, lane: usize) -> Option<(u64, Position)> {
    let start = start + lane * SLOT_BYTES;
    let mut rest = bytes.get(start..start + SLOT_BYTES)?;
    let crc = slot_crc(rest.get(..SLOT_BYTES - 4)?, lane as u32);
    let sequence = u64::from_le_bytes(take(&mut rest)?);
    let segment = u64::from_le_bytes(take(&mut rest)?);
    let offset = u64::from_le_bytes(take(&mut rest)?);
    let index = u32::from_le_bytes(take(&mut rest)?);
    (u32::from_le_bytes(take(&mut rest)?) == crc && sequence > 0)
        .then_some((sequence, Position { segment, offset, index }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helper functions of tests")]
    use super::*;
    use proptest::prelude::*;
    use wal::RealFilesystem;

    const NEW: Position = Position { segment: 9, offset: 0, index: 0 };
    const OLDEST: Position = Position { segment: 1, offset: 0, index: 0 };

    fn lanes(number: u64) -> Lanes {
        std::array::from_fn(|lane| Position { segment: number, offset: lane as u64, index: 3 })
    }

    fn owner() -> Owner {
        Owner { name: None, url: "http://h/write".into(), variant: 5 }
    }

    fn open(path: &Path, fingerprint: u64) -> (PositionFile, Lanes, Found) {
        PositionFile::open(&RealFilesystem, path, &owner(), fingerprint, NEW, OLDEST).unwrap()
    }

    #[test]
    fn what_was_saved_last_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("positions/a");
        let (mut file, found, kind) = open(&path, 7);
        assert_eq!((found, kind), ([NEW; LANES], Found::New));
        for number in 10..15 {
            file.save(&lanes(number)).unwrap();
            let (_, found, kind) = open(&path, 7);
            assert_eq!((found, kind), (lanes(number), Found::Intact));
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
        open(&path, 7).0.save(&lanes(10)).unwrap();
        let lowest = Position { segment: 10, offset: 0, index: 3 };
        let (_, found, kind) = open(&path, 8);
        assert_eq!((found, kind), ([lowest; LANES], Found::OtherFingerprint));
        let (_, found, kind) = open(&path, 8);
        assert_eq!((found, kind), ([lowest; LANES], Found::Intact));
    }

    #[test]
    fn a_file_of_rubbish_leads_to_the_oldest_position() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        for rubbish in [vec![], vec![0; 40_000], vec![0xff; 5000]] {
            std::fs::write(&path, rubbish).unwrap();
            assert!(read(&RealFilesystem, &path).unwrap().is_none());
            let (_, found, kind) = open(&path, 7);
            assert_eq!((found, kind), ([OLDEST; LANES], Found::Damaged(LANES)));
            assert_eq!(open(&path, 7).2, Found::Intact);
        }
    }

    #[test]
    fn another_owner_takes_the_positions_over_and_is_there_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        open(&path, 7).0.save(&lanes(10)).unwrap();
        let other = Owner { name: Some("é".repeat(300)), url: "x".repeat(900), variant: u64::MAX };
        for owner in [&other, &owner(), &other] {
            mark_removed(&RealFilesystem, &path, 99).unwrap();
            assert_eq!(read(&RealFilesystem, &path).unwrap().unwrap().removed_ms, Some(99));
            let opened = PositionFile::open(&RealFilesystem, &path, owner, 7, NEW, OLDEST).unwrap();
            assert_eq!((opened.1, opened.2), (lanes(10), Found::Intact));
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
            file.write(&lanes(number)).unwrap();
            if number % 3 == 0 {
                let sync = file.begin_sync();
                file.write(&lanes(number + 100)).unwrap();
                assert_eq!(open_copy(&path), lanes(number + 100));
                sync.wait().unwrap();
                // Every other one fails.
                if number % 2 == 0 {
                    file.end_sync(&sync);
                }
            }
            file.write(&lanes(number)).unwrap();
            assert_eq!(open_copy(&path), lanes(number));
        }
    }

    /// What a start would find, without changing the file.
    fn open_copy(path: &Path) -> Lanes {
        let copy = path.with_extension("copy");
        std::fs::copy(path, &copy).unwrap();
        open(&copy, 7).1
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn a_torn_save_gives_each_lane_this_position_or_the_one_before(
            cut in 0usize..=LANES * SLOT_BYTES, saves in 0u64..4, during_sync: bool) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("a");
            let (mut file, ..) = open(&path, 7);
            for number in 0..=saves {
                file.save(&lanes(10 + number)).unwrap();
            }
            let before = std::fs::read(&path).unwrap();
            // Written without a sync, before one is under way and meanwhile: what is durable stays whole.
            file.write(&lanes(20)).unwrap();
            let sync = during_sync.then(|| file.begin_sync());
            file.write(&lanes(21)).unwrap();
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
            for (lane, position) in found.iter().enumerate() {
                let may = [10 + saves, 20, 21].map(|number| lanes(number)[lane]);
                prop_assert!(may.contains(position), "{:?}", position);
            }
        }
    }
}
