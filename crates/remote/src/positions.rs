//! Saved positions: how far each lane of a destination is done, on disk.
//!
//! ```text
//! byte 0      64 bytes: magic "narthexP", version u32, lanes u32, fingerprint u64, CRC32C u32 of these
//! byte 4096   slots A: 256 × 32 bytes   ┐ written by turns, each a whole, so that one is always intact
//! byte 16384  slots B: 256 × 32 bytes   ┘
//!             a slot: sequence u64, segment u64, offset u64, index u32, CRC32C u32 (with the lane number)
//! ```
//!
//! All numbers are little-endian. The file is made in full once and then written in place, so that saving
//! works on a full disk. A lane's position is that of its intact slot with the highest sequence number; a
//! lane that has none begins at the oldest position. A torn write so costs a repetition, never a sample.
//!
//! The fingerprint stands for what decides lanes and outgoing labels. Where it is another one, positions
//! of lanes mean nothing any more, and all lanes go back to the lowest: repeat, never skip.

use crate::lanes::LANES;
use std::io;
use std::path::{Path, PathBuf};
use wal::{File, Filesystem, Position};

const MAGIC: &[u8; 8] = b"narthexP";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 28;
const SLOT_BYTES: usize = 32;
const SLOTS: [u64; 2] = [4096, 16384];
const FILE_BYTES: u64 = SLOTS[1] + (LANES * SLOT_BYTES) as u64;

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

/// What a file of positions says, without opening it for writing: `None` for a lane that cannot be read, and
/// nothing at all where the file is none of positions.
pub fn read(fs: &dyn Filesystem, path: &Path) -> io::Result<Option<[Option<Position>; LANES]>> {
    let file = fs.open(path, false)?;
    let mut bytes = vec![0; FILE_BYTES as usize];
    let length = file.read_full_at(&mut bytes, 0)?;
    bytes.truncate(length);
    let lanes = read_lanes(&bytes).map(|lane| lane.map(|(_, position)| position));
    Ok(read_header(&bytes).map(|_| lanes))
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
    file: Box<dyn File>,
    sequence: u64,
    buffer: Vec<u8>,
}

impl PositionFile {
    /// Opens the file, or makes it. `new` is where a new destination begins, `oldest` where damage leads to.
    pub fn open(
        fs: &dyn Filesystem,
        path: &Path,
        fingerprint: u64,
        new: Position,
        oldest: Position,
    ) -> io::Result<(PositionFile, Lanes, Found)> {
        if let Some(dir) = path.parent() {
            fs.create_dir_all(dir)?;
        }
        if fs.metadata(path)?.is_none() {
            let lanes = [new; LANES];
            return Ok((Self::make(fs, path, fingerprint, &lanes)?, lanes, Found::New));
        }
        let file = fs.open(path, true)?;
        let mut bytes = vec![0; FILE_BYTES as usize];
        let length = file.read_full_at(&mut bytes, 0)?;
        bytes.truncate(length);
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
        let found = match read_header(&bytes) {
            Some(same) if same == fingerprint && damaged == 0 => Found::Intact,
            Some(same) if same == fingerprint => Found::Damaged(damaged),
            Some(_) if damaged == 0 => Found::OtherFingerprint,
            _ => Found::Damaged(LANES),
        };
        match found {
            Found::Intact | Found::New => {
                Ok((PositionFile { file, sequence, buffer: Vec::new() }, lanes, found))
            }
            Found::Damaged(LANES) => {
                let lanes = [oldest; LANES];
                Ok((Self::make(fs, path, fingerprint, &lanes)?, lanes, found))
            }
            Found::OtherFingerprint => {
                let lowest = lanes.iter().min().copied().unwrap_or(oldest);
                let lanes = [lowest; LANES];
                Ok((Self::make(fs, path, fingerprint, &lanes)?, lanes, found))
            }
            Found::Damaged(_) => Ok((Self::make(fs, path, fingerprint, &lanes)?, lanes, found)),
        }
    }

    /// Makes the file anew, beside the old one, and puts it in its place.
    fn make(fs: &dyn Filesystem, path: &Path, fingerprint: u64, lanes: &Lanes) -> io::Result<Self> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        if fs.metadata(&beside)?.is_some() {
            fs.remove_file(&beside)?;
        }
        let file = fs.create_new(&beside)?;
        file.allocate(FILE_BYTES)?;
        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.extend_from_slice(MAGIC);
        header.extend_from_slice(&VERSION.to_le_bytes());
        header.extend_from_slice(&(LANES as u32).to_le_bytes());
        header.extend_from_slice(&fingerprint.to_le_bytes());
        header.extend_from_slice(&crc32c::crc32c(&header).to_le_bytes());
        file.write_all_at(&header, 0)?;
        let mut made = PositionFile { file, sequence: 0, buffer: Vec::new() };
        // Both halves, so that each lane has two intact slots from the beginning.
        made.save(lanes)?;
        made.save(lanes)?;
        fs.rename(&beside, path)?;
        if let Some(dir) = path.parent() {
            fs.sync_dir(dir)?;
        }
        Ok(made)
    }

    /// Writes all positions and makes them durable. Waits for the disk.
    pub fn save(&mut self, lanes: &Lanes) -> io::Result<()> {
        let sequence = self.sequence + 1;
        self.buffer.clear();
        for (number, position) in (0u32..).zip(lanes) {
            let start = self.buffer.len();
            self.buffer.extend_from_slice(&sequence.to_le_bytes());
            self.buffer.extend_from_slice(&position.segment.to_le_bytes());
            self.buffer.extend_from_slice(&position.offset.to_le_bytes());
            self.buffer.extend_from_slice(&position.index.to_le_bytes());
            let crc = slot_crc(self.buffer.get(start..).unwrap_or_default(), number);
            self.buffer.extend_from_slice(&crc.to_le_bytes());
        }
        let [a, b] = SLOTS;
        self.file.write_all_at(&self.buffer, if sequence.is_multiple_of(2) { b } else { a })?;
        self.file.sync_data()?;
        // Only now: after a failure the same half is written again, and the other stays intact.
        self.sequence = sequence;
        Ok(())
    }
}

fn slot_crc(bytes: &[u8], lane: u32) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&lane.to_le_bytes()), bytes)
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*first)
}

fn read_header(bytes: &[u8]) -> Option<u64> {
    let mut rest = bytes.get(..HEADER_BYTES)?;
    let crc = crc32c::crc32c(rest.get(..HEADER_BYTES - 4)?);
    let magic = take::<8>(&mut rest)? == *MAGIC;
    let version = u32::from_le_bytes(take(&mut rest)?) == VERSION;
    let lanes = u32::from_le_bytes(take(&mut rest)?) == LANES as u32;
    let fingerprint = u64::from_le_bytes(take(&mut rest)?);
    let right = u32::from_le_bytes(take(&mut rest)?) == crc;
    (magic && version && lanes && right).then_some(fingerprint)
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

    fn open(path: &Path, fingerprint: u64) -> (PositionFile, Lanes, Found) {
        PositionFile::open(&RealFilesystem, path, fingerprint, NEW, OLDEST).unwrap()
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
            assert_eq!(read(&RealFilesystem, &path).unwrap(), Some(lanes(number).map(Some)));
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
            assert_eq!(read(&RealFilesystem, &path).unwrap(), None);
            let (_, found, kind) = open(&path, 7);
            assert_eq!((found, kind), ([OLDEST; LANES], Found::Damaged(LANES)));
            assert_eq!(open(&path, 7).2, Found::Intact);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn a_torn_save_gives_each_lane_this_position_or_the_one_before(
            cut in 0usize..=LANES * SLOT_BYTES, saves in 0u64..4) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("a");
            let (mut file, ..) = open(&path, 7);
            for number in 0..=saves {
                file.save(&lanes(10 + number)).unwrap();
            }
            let before = std::fs::read(&path).unwrap();
            file.save(&lanes(20)).unwrap();
            let after = std::fs::read(&path).unwrap();
            let half = if saves.is_multiple_of(2) { SLOTS[1] } else { SLOTS[0] } as usize;
            let mut torn = before.clone();
            torn[half..half + cut].copy_from_slice(&after[half..half + cut]);
            std::fs::write(&path, &torn).unwrap();
            let (_, found, kind) = open(&path, 7);
            prop_assert_eq!(kind, Found::Intact);
            for (lane, position) in found.iter().enumerate() {
                prop_assert!(*position == lanes(10 + saves)[lane] || *position == lanes(20)[lane]);
            }
        }
    }
}
