//! The state file: the few numbers that a start needs and that must never be wrong.
//!
//! ```text
//! the content of a `wal::small_file::SlotFile`:
//! ┌────────────┬──────────────┬─────────────┬────────────┬───────┬──────────────────────┐
//! │ references │ next segment │ end.segment │ end.offset │ count │ closed (segment, end)│
//! │ u64        │ u64          │ u64         │ u64        │ u32   │ count × 2 u64        │
//! └────────────┴──────────────┴─────────────┴────────────┴───────┴──────────────────────┘
//! ```
//!
//! All integers are little-endian. The fields are:
//! - `references`: no reference at or above this was ever assigned. It is raised and synced before it is
//!   reached.
//! - `next segment`: no segment at or above this was ever begun, not even by a log that was deleted since.
//! - `end`: an earlier durable end of the log. A start looks for a torn end only after it. It may be too low
//!   but never too high, because it is written after the fsync.
//! - `closed`: segments that end before their file does, because a failed fsync made the rest unknown.

use crate::error::OpenError;
use crate::little_endian::{take_u32, take_u64};
use std::path::{Path, PathBuf};
use wal::small_file::SlotFile;
use wal::{DurableEnd, Filesystem};

/// Name of the file in the data folder.
pub(crate) const FILE: &str = "state";
/// Limit on the content of the state file, and on that of `ages`.
pub(crate) const CONTENT_BYTES: usize = 4084;
/// Largest number of closed segments that are remembered. Each failed fsync adds one. The oldest are removed,
/// which is harmless once their segments are truncated.
const MAX_CLOSED: usize = 200;

/// The content of the state file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// No reference at or above this was ever assigned.
    pub references: u64,
    /// No segment at or above this was ever begun, not even by a log that was deleted since.
    pub next_segment: u64,
    /// An earlier durable end of the log.
    pub end: DurableEnd,
    /// Ends of segments whose file is longer.
    pub closed: Vec<DurableEnd>,
}

/// Reads the state file of the data folder `dir`, for tools that do not change it. Returns `None` if the file
/// is missing, as in a folder of Prometheus, or damaged.
pub fn read_state(fs: &dyn Filesystem, dir: &Path) -> Result<Option<State>, OpenError> {
    let path = dir.join(FILE);
    let content =
        SlotFile::read(fs, &path, CONTENT_BYTES).map_err(|source| OpenError::Io { path, source })?;
    Ok(content.and_then(|content| decode(&content)))
}

/// The open state file.
pub(crate) struct StateFile {
    slots: SlotFile,
    path: PathBuf,
    pub(crate) state: State,
    /// The file existed, but its content could not be read.
    pub(crate) damaged: bool,
}

impl StateFile {
    /// Opens `path`, or creates the file.
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

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes [`StateFile::state`]. With `sync` it is durable afterwards.
    pub(crate) fn save(&mut self, sync: bool) -> std::io::Result<()> {
        self.slots.save(&encode(&self.state), sync)
    }

    /// Stores the end of a segment whose file is longer.
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
    fn the_state_round_trips_with_the_newest_closed_segments() {
        let mut state = some();
        state.closed = (0..MAX_CLOSED as u64).map(|n| DurableEnd { segment: n, offset: n * 2 }).collect();
        let content = encode(&state);
        assert!(content.len() <= CONTENT_BYTES);
        assert_eq!(decode(&content), Some(state));
    }

    #[test]
    fn saved_state_is_read_by_starts_and_tools() {
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

    /// Any order of hints (saves without a sync), failed syncs, kills and starts, and then a power cut that
    /// tears what was not on disk.
    #[test]
    fn synced_state_survives_a_power_cut_and_later_writes() {
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
                        // A kill and a start. The start syncs what the operating system still holds.
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
