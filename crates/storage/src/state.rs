//! The state file: the few numbers that a start needs and must never get wrong.
//!
//! ```text
//! three slots of 4096 bytes, of which the one with the highest sequence number counts. The one that was synced
//! last is not written to until another one is, so that a power cut leaves at least that; and a start leaves
//! alone what it finds, and what is second to it, since the newest may be there only until the power goes:
//! ┌─────────┬──────────┬────────────┬──────────────┬─────────────┬────────────┬───────┬──────────────────────┐
//! │ crc32c  │ sequence │ references │ next segment │ end.segment │ end.offset │ count │ closed (segment, end)│
//! │ u32     │ u64      │ u64        │ u64          │ u64         │ u64        │ u32   │ count × 2 u64        │
//! └─────────┴──────────┴────────────┴──────────────┴─────────────┴────────────┴───────┴──────────────────────┘
//! ```
//!
//! All integers little-endian; the checksum covers the rest of the slot. What is in it:
//! - `references`: no reference at or above it was ever given out. Raised (and synced) before it is reached.
//! - `next segment`: no segment at or above it was ever begun by a log that is gone since.
//! - `end`: a durable end of the log that was true once, so that a start looks for a torn tail from there
//!   only. It may lag behind; it never runs ahead, since it is written after the fsync it tells of.
//! - `closed`: segments that end before their file does, because a failed fsync left the rest unknown.

use crate::error::OpenError;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use wal::{DurableEnd, File, Filesystem};

/// Its name in the data folder.
pub(crate) const FILE: &str = "state";
const SLOT_BYTES: usize = 4096;
const SLOTS: usize = 3;
/// How often a start tries to read it before it does without.
const READ_TRIES: u32 = 4;
/// Closed segments remembered. One comes with each failed fsync; the oldest give way, which is harmless
/// once their segments are truncated.
const MAX_CLOSED: usize = 200;

/// What the state file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// No reference at or above it was ever given out.
    pub references: u64,
    /// No segment at or above it was ever begun by a log that is gone since.
    pub next_segment: u64,
    /// A durable end of the log that was true once.
    pub end: DurableEnd,
    /// Segments that end before their file does.
    pub closed: Vec<DurableEnd>,
}

/// What the state file of the data folder `dir` says, for tools that only look; `None` where there is none,
/// as in a folder of Prometheus, or none that is whole.
pub fn read_state(fs: &dyn Filesystem, dir: &Path) -> Result<Option<State>, OpenError> {
    let path = dir.join(FILE);
    let io = |source| OpenError::Io { path: path.clone(), source };
    if fs.metadata(&path).map_err(io)?.is_none_or(|metadata| metadata.is_dir) {
        return Ok(None);
    }
    let file = fs.open(&path, false).map_err(io)?;
    Ok(newest(read_slots(&*file).map_err(io)?).map(|(_, state)| state))
}

/// Each slot's sequence number and state; none where it is not whole.
type Slots = [Option<(u64, State)>; SLOTS];

fn read_slots(file: &dyn File) -> std::io::Result<Slots> {
    let mut bytes = [0u8; SLOTS * SLOT_BYTES];
    let read = file.read_full_at(&mut bytes, 0)?;
    let mut slots = bytes.get(..read).unwrap_or_default().chunks_exact(SLOT_BYTES);
    Ok(std::array::from_fn(|_| slots.next().and_then(decode)))
}

/// The one that counts.
fn newest(slots: Slots) -> Option<(u64, State)> {
    slots.into_iter().flatten().max_by_key(|(sequence, _)| *sequence)
}

/// The open file.
pub(crate) struct StateFile {
    file: Box<dyn File>,
    path: PathBuf,
    sequence: u64,
    /// The slot that is written to, until it is synced.
    slot: usize,
    pub(crate) state: State,
    /// Nothing could be read, although the file was there.
    pub(crate) damaged: bool,
}

impl StateFile {
    /// Opens `path`, or makes it.
    pub(crate) fn open(fs: &Arc<dyn Filesystem>, path: &Path) -> Result<StateFile, OpenError> {
        let io = |source| OpenError::Io { path: path.to_path_buf(), source };
        let there = fs.metadata(path).map_err(io)?.is_some();
        let file = if there { fs.open(path, true) } else { fs.create_new(path) }.map_err(io)?;
        file.allocate((SLOTS * SLOT_BYTES) as u64).map_err(io)?;
        let mut tries = 1;
        let slots = loop {
            match read_slots(&*file) {
                Ok(slots) => break slots,
                Err(error) if tries == READ_TRIES => {
                    // The log says the same, at the cost of reading it.
                    tracing::warn!(path = %path.display(), %error, "the state file can't be read");
                    break Slots::default();
                }
                Err(_) => tries += 1,
            }
        };
        // What was found may be a hint that is not on disk yet.
        file.sync_data().map_err(io)?;
        let age = |slot: &usize| slots.get(*slot).and_then(Option::as_ref).map(|(sequence, _)| *sequence);
        let slot = (0..SLOTS).min_by_key(age).unwrap_or(0);
        let newest = newest(slots);
        let damaged = there && newest.is_none();
        let (sequence, state) = newest.unwrap_or_default();
        let mut opened = StateFile { file, path: path.to_path_buf(), sequence, slot, state, damaged };
        if !there {
            opened.save(true).map_err(io)?;
            if let Some(parent) = path.parent() {
                fs.sync_dir(parent).map_err(io)?;
            }
        }
        Ok(opened)
    }

    /// Where it lies.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes [`StateFile::state`]; with `sync` it is durable afterwards.
    pub(crate) fn save(&mut self, sync: bool) -> std::io::Result<()> {
        self.sequence += 1;
        let bytes = encode(self.sequence, &self.state);
        self.file.write_all_at(&bytes, (self.slot * SLOT_BYTES) as u64)?;
        if sync {
            self.file.sync_data()?;
            self.slot = (self.slot + 1) % SLOTS;
        }
        Ok(())
    }

    /// Remembers that a segment ends before its file does.
    pub(crate) fn close_segment(&mut self, closed: DurableEnd) {
        self.state.closed.retain(|other| other.segment != closed.segment);
        self.state.closed.push(closed);
        let excess = self.state.closed.len().saturating_sub(MAX_CLOSED);
        self.state.closed.drain(..excess);
    }
}

fn encode(sequence: u64, state: &State) -> Vec<u8> {
    let mut slot = Vec::with_capacity(SLOT_BYTES);
    slot.extend_from_slice(&[0; 4]);
    for number in [sequence, state.references, state.next_segment, state.end.segment, state.end.offset] {
        slot.extend_from_slice(&number.to_le_bytes());
    }
    slot.extend_from_slice(&(state.closed.len() as u32).to_le_bytes());
    for closed in &state.closed {
        slot.extend_from_slice(&closed.segment.to_le_bytes());
        slot.extend_from_slice(&closed.offset.to_le_bytes());
    }
    slot.resize(SLOT_BYTES, 0);
    let (head, rest) = slot.split_at_mut(4);
    head.copy_from_slice(&crc32c::crc32c(rest).to_le_bytes());
    slot
}

fn decode(slot: &[u8]) -> Option<(u64, State)> {
    let (crc, rest) = slot.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*crc) != crc32c::crc32c(rest) {
        return None;
    }
    let mut input = rest;
    let sequence = take_u64(&mut input)?;
    let mut state = State { references: take_u64(&mut input)?, ..State::default() };
    state.next_segment = take_u64(&mut input)?;
    state.end = DurableEnd { segment: take_u64(&mut input)?, offset: take_u64(&mut input)? };
    let (count, rest) = input.split_first_chunk::<4>()?;
    input = rest;
    for _ in 0..(u32::from_le_bytes(*count) as usize).min(MAX_CLOSED) {
        state.closed.push(DurableEnd { segment: take_u64(&mut input)?, offset: take_u64(&mut input)? });
    }
    Some((sequence, state))
}

fn take_u64(input: &mut &[u8]) -> Option<u64> {
    let (number, rest) = input.split_first_chunk::<8>()?;
    *input = rest;
    Some(u64::from_le_bytes(*number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> State {
        let closed = vec![DurableEnd { segment: 3, offset: 77 }];
        State { references: 9, next_segment: 4, end: DurableEnd { segment: 3, offset: 77 }, closed }
    }

    #[test]
    fn round_trips_with_as_many_closed_segments_as_are_remembered() {
        let mut state = some();
        state.closed = (0..MAX_CLOSED as u64).map(|n| DurableEnd { segment: n, offset: n * 2 }).collect();
        let slot = encode(12, &state);
        assert_eq!(slot.len(), SLOT_BYTES);
        assert_eq!(decode(&slot), Some((12, state)));
    }

    #[test]
    fn a_slot_with_any_bit_flipped_does_not_count() {
        let slot = encode(1, &some());
        for bit in 0..80 * 8 {
            let mut damaged = slot.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&damaged), None, "bit {bit}");
        }
    }

    #[test]
    fn after_a_torn_write_the_other_slot_counts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let fs: Arc<dyn Filesystem> = Arc::new(wal::RealFilesystem);
        assert_eq!(read_state(&*fs, dir.path()).unwrap(), None);
        let mut file = StateFile::open(&fs, &path).unwrap();
        file.state = some();
        file.save(true).unwrap();
        let slot = file.slot;
        file.state.references = 1_000_000;
        file.save(true).unwrap();
        drop(file);
        let raw = fs.open(&path, true).unwrap();
        raw.write_all_at(b"torn", (slot * SLOT_BYTES + 20) as u64).unwrap();
        assert_eq!(StateFile::open(&fs, &path).unwrap().state, some());
        assert_eq!(read_state(&*fs, dir.path()).unwrap(), Some(some()));
    }

    /// Hints, which are not synced, syncs that fail, kills and starts, in any order, and then a power cut that
    /// tears whatever was not on disk.
    #[test]
    fn what_was_synced_once_outlasts_a_power_cut_whatever_was_written_since() {
        use wal::sim::{Op, SimFilesystem};
        for seed in 0..2000 {
            let sim = SimFilesystem::new(seed);
            let fs: Arc<dyn Filesystem> = Arc::new(sim.clone());
            let path = Path::new("/data/state");
            fs.create_dir_all(Path::new("/data")).unwrap();
            fs.sync_dir(Path::new("/")).unwrap();
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut file = StateFile::open(&fs, path).unwrap();
            let mut synced = 0;
            for number in 1..rng.u64(2..12) {
                file.state.references = number;
                match rng.u8(..8) {
                    0..=3 => file.save(false).unwrap(),
                    4 | 5 => {
                        file.save(true).unwrap();
                        synced = number;
                    }
                    6 => {
                        sim.fail(Op::Sync, 0, 1);
                        assert!(file.save(true).is_err());
                    }
                    _ => {
                        // A kill, and a start, which writes it: what the system holds is still there.
                        file = StateFile::open(&fs, path).unwrap();
                        file.save(true).unwrap();
                        synced = file.state.references;
                    }
                }
            }
            sim.power_cut();
            let file = StateFile::open(&fs, path).unwrap();
            assert!(!file.damaged, "seed {seed}");
            assert!(file.state.references >= synced, "seed {seed}: {} < {synced}", file.state.references);
        }
    }
}
