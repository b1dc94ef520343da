//! The state file: the few numbers that a start needs and must never get wrong.
//!
//! ```text
//! the content of a `wal::small_file::SlotFile`:
//! ┌────────────┬──────────────┬─────────────┬────────────┬───────┬──────────────────────┐
//! │ references │ next segment │ end.segment │ end.offset │ count │ closed (segment, end)│
//! │ u64        │ u64          │ u64         │ u64        │ u32   │ count × 2 u64        │
//! └────────────┴──────────────┴─────────────┴────────────┴───────┴──────────────────────┘
//! ```
//!
//! All integers little-endian. What is in it:
//! - `references`: no reference at or above it was ever given out. Raised (and synced) before it is reached.
//! - `next segment`: no segment at or above it was ever begun by a log that is gone since.
//! - `end`: a durable end of the log that was true once, so that a start looks for a torn tail from there
//!   only. It may lag behind; it never runs ahead, since it is written after the fsync it tells of.
//! - `closed`: segments that end before their file does, because a failed fsync left the rest unknown.

use crate::error::OpenError;
use crate::little_endian::{take_u32, take_u64};
use std::path::{Path, PathBuf};
use wal::small_file::SlotFile;
use wal::{DurableEnd, Filesystem};

/// Its name in the data folder.
pub(crate) const FILE: &str = "state";
/// The most bytes of its content, and of that of the ages.
pub(crate) const CONTENT_BYTES: usize = 4084;
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
    let content =
        SlotFile::read(fs, &path, CONTENT_BYTES).map_err(|source| OpenError::Io { path, source })?;
    Ok(content.and_then(|content| decode(&content)))
}

/// The open file.
pub(crate) struct StateFile {
    slots: SlotFile,
    path: PathBuf,
    pub(crate) state: State,
    /// Nothing could be read, although the file was there.
    pub(crate) damaged: bool,
}

impl StateFile {
    /// Opens `path`, or makes it.
    pub(crate) fn open(fs: &dyn Filesystem, path: &Path) -> Result<StateFile, OpenError> {
        let opened = SlotFile::open(fs, path, CONTENT_BYTES, &encode(&State::default()));
        let (slots, content) = opened.map_err(|source| OpenError::Io { path: path.to_path_buf(), source })?;
        let content = content.unwrap_or_else(|error| {
            tracing::warn!(path = %path.display(), %error, "the state file can't be read");
            None
        });
        let state = content.and_then(|content| decode(&content));
        let damaged = state.is_none();
        Ok(StateFile { slots, path: path.to_path_buf(), state: state.unwrap_or_default(), damaged })
    }

    /// Where it lies.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes [`StateFile::state`]; with `sync` it is durable afterwards.
    pub(crate) fn save(&mut self, sync: bool) -> std::io::Result<()> {
        self.slots.save(&encode(&self.state), sync)
    }

    /// Remembers that a segment ends before its file does.
    pub(crate) fn close_segment(&mut self, closed: DurableEnd) {
        self.state.closed.retain(|other| other.segment != closed.segment);
        self.state.closed.push(closed);
        let excess = self.state.closed.len().saturating_sub(MAX_CLOSED);
        self.state.closed.drain(..excess);
    }
}

fn encode(state: &State) -> Vec<u8> {
    let mut content = Vec::with_capacity(CONTENT_BYTES);
    for number in [state.references, state.next_segment, state.end.segment, state.end.offset] {
        content.extend_from_slice(&number.to_le_bytes());
    }
    content.extend_from_slice(&(state.closed.len() as u32).to_le_bytes());
    for closed in &state.closed {
        content.extend_from_slice(&closed.segment.to_le_bytes());
        content.extend_from_slice(&closed.offset.to_le_bytes());
    }
    content
}

fn decode(mut content: &[u8]) -> Option<State> {
    let input = &mut content;
    let mut state = State { references: take_u64(input)?, ..State::default() };
    state.next_segment = take_u64(input)?;
    state.end = DurableEnd { segment: take_u64(input)?, offset: take_u64(input)? };
    for _ in 0..(take_u32(input)? as usize).min(MAX_CLOSED) {
        state.closed.push(DurableEnd { segment: take_u64(input)?, offset: take_u64(input)? });
    }
    Some(state)
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
        let content = encode(&state);
        assert!(content.len() <= CONTENT_BYTES);
        assert_eq!(decode(&content), Some(state));
    }

    #[test]
    fn what_is_saved_is_there_for_the_next_start_and_for_tools() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let fs = wal::RealFilesystem;
        assert_eq!(read_state(&fs, dir.path()).unwrap(), None);
        let mut file = StateFile::open(&fs, &path).unwrap();
        assert_eq!((&file.state, file.damaged), (&State::default(), false));
        file.state = some();
        file.save(true).unwrap();
        drop(file);
        assert_eq!(StateFile::open(&fs, &path).unwrap().state, some());
        assert_eq!(read_state(&fs, dir.path()).unwrap(), Some(some()));
    }

    /// Hints, which are not synced, syncs that fail, kills and starts, in any order, and then a power cut that
    /// tears whatever was not on disk.
    #[test]
    fn what_was_synced_once_outlasts_a_power_cut_whatever_was_written_since() {
        use wal::sim::{Op, SimFilesystem};
        for seed in 0..2000 {
            let fs = SimFilesystem::new(seed);
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
                        fs.fail(Op::Sync, 0, 1);
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
            fs.power_cut();
            let file = StateFile::open(&fs, path).unwrap();
            assert!(!file.damaged, "seed {seed}");
            assert!(file.state.references >= synced, "seed {seed}: {} < {synced}", file.state.references);
        }
    }
}
