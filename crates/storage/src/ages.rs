//! How old segments are, in running time: a note that outlasts restarts.
//!
//! Wall clocks jump, and a monotonic one begins anew with the machine. So the time in which the log was open is
//! added up over all runs, and of each segment it is known at which of these moments it was closed.
//!
//! ```text
//! two slots of 4096 bytes, written by turns, of which the one with the highest sequence number counts:
//! ┌────────┬──────────┬────────────┬───────┬─────────────────────────────────────────────┐
//! │ crc32c │ sequence │ running    │ count │ up to segment u64, closed at u64: count times│
//! │ u32    │ u64      │ u64        │ u32   │                                             │
//! └────────┴──────────┴────────────┴───────┴─────────────────────────────────────────────┘
//! ```
//!
//! Integers are little-endian, times milliseconds of running time; the checksum covers the rest of the slot.
//!
//! Losing it makes segments younger, never older: what is dropped is older than it may be in any case. A kill
//! loses what was not saved yet, [`SAVE_EVERY`] at most.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use wal::{File, Filesystem};

/// Its name in the data folder.
pub(crate) const FILE: &str = "ages";
/// How often it is saved.
pub(crate) const SAVE_EVERY: Duration = Duration::from_secs(60);
const SLOT_BYTES: usize = 4096;
const SLOTS: u64 = 2;
/// How often a start tries to read it before it does without.
const READ_TRIES: u32 = 4;
/// Most moments remembered. Past them two that are close count as the later one.
const MAX_ENTRIES: usize = 200;

/// What the note says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Note {
    running: Duration,
    /// Segments up to this one, from behind the entry before, were closed then. Both ascend.
    closed: Vec<(u64, Duration)>,
}

/// The ages of segments.
pub(crate) struct Ages {
    fs: Arc<dyn Filesystem>,
    path: PathBuf,
    file: Option<Box<dyn File>>,
    sequence: u64,
    note: Note,
    /// Until when running time was counted, by the monotonic clock of this run.
    counted: Duration,
    /// Which running time is on disk.
    saved: Option<Duration>,
}

impl Ages {
    /// Reads the note, if it is there. `segment` is the one that is being written, `now` the monotonic time.
    pub(crate) fn open(fs: Arc<dyn Filesystem>, path: PathBuf, segment: u64, now: Duration) -> Ages {
        let mut tries = 1;
        let found = loop {
            match read(&*fs, &path) {
                Err(error) if tries == READ_TRIES => {
                    let why = "how old segments are can't be read: their ages begin anew";
                    tracing::warn!(path = %path.display(), %error, "{why}");
                    break None;
                }
                Err(_) => tries += 1,
                Ok(found) => break found,
            }
        };
        let (sequence, mut note) = found.unwrap_or_default();
        // Those are of a log that was taken away.
        note.closed.retain(|(number, _)| *number < segment);
        Ages { fs, path, file: None, sequence, note, counted: now, saved: None }
    }

    /// Counts the time up to `now`, which is monotonic.
    pub(crate) fn tick(&mut self, now: Duration) {
        self.note.running += now.saturating_sub(self.counted);
        self.counted = now;
    }

    /// How long ago a closed segment was closed; to be asked in ascending order. One that was not asked for yet
    /// is closed since now.
    pub(crate) fn of(&mut self, number: u64) -> Duration {
        let running = self.note.running;
        let closed = &mut self.note.closed;
        if let Some((_, then)) = closed.iter().find(|(up_to, _)| *up_to >= number) {
            return running.saturating_sub(*then);
        }
        match closed.last_mut() {
            Some((up_to, then)) if *then == running => *up_to = number,
            _ => closed.push((number, running)),
        }
        if closed.len() > MAX_ENTRIES {
            let gaps = closed.windows(2).enumerate().filter_map(|(index, pair)| match pair {
                [(_, before), (_, after)] => Some((after.saturating_sub(*before), index)),
                _ => None,
            });
            if let Some((_, index)) = gaps.min() {
                closed.remove(index);
            }
        }
        Duration::ZERO
    }

    /// Forgets segments that are gone.
    pub(crate) fn forget_below(&mut self, number: u64) {
        self.note.closed.retain(|(up_to, _)| *up_to >= number);
    }

    /// Whether it is time to save.
    pub(crate) fn is_due(&self) -> bool {
        self.saved.is_none_or(|saved| self.note.running.saturating_sub(saved) >= SAVE_EVERY)
    }

    /// Saves durably. In place, so it needs no room on disk after the first time.
    pub(crate) fn save(&mut self) -> io::Result<()> {
        let file = match self.file.take() {
            Some(file) => file,
            None if self.fs.metadata(&self.path)?.is_some() => self.fs.open(&self.path, true)?,
            None => {
                let file = self.fs.create_new(&self.path)?;
                file.allocate(SLOTS * SLOT_BYTES as u64)?;
                if let Some(parent) = self.path.parent() {
                    self.fs.sync_dir(parent)?;
                }
                file
            }
        };
        // Only a success moves on, so the other slot is always one that was synced.
        let sequence = self.sequence + 1;
        file.write_all_at(&encode(sequence, &self.note), sequence % SLOTS * SLOT_BYTES as u64)?;
        file.sync_data()?;
        self.sequence = sequence;
        self.saved = Some(self.note.running);
        self.file = Some(file);
        Ok(())
    }
}

/// The newest slot that is whole; nothing where there is none.
fn read(fs: &dyn Filesystem, path: &std::path::Path) -> io::Result<Option<(u64, Note)>> {
    if fs.metadata(path)?.is_none() {
        return Ok(None);
    }
    let file = fs.open(path, false)?;
    let mut bytes = [0; SLOTS as usize * SLOT_BYTES];
    let length = file.read_full_at(&mut bytes, 0)?;
    let slots = bytes.get(..length).unwrap_or_default().chunks_exact(SLOT_BYTES);
    Ok(slots.filter_map(decode).max_by_key(|(sequence, _)| *sequence))
}

fn encode(sequence: u64, note: &Note) -> Vec<u8> {
    let ms = |time: Duration| time.as_millis() as u64;
    let mut slot = vec![0; 4];
    slot.extend_from_slice(&sequence.to_le_bytes());
    slot.extend_from_slice(&ms(note.running).to_le_bytes());
    slot.extend_from_slice(&(note.closed.len() as u32).to_le_bytes());
    for (up_to, then) in &note.closed {
        slot.extend_from_slice(&up_to.to_le_bytes());
        slot.extend_from_slice(&ms(*then).to_le_bytes());
    }
    slot.resize(SLOT_BYTES, 0);
    let (head, rest) = slot.split_at_mut(4);
    head.copy_from_slice(&crc32c::crc32c(rest).to_le_bytes());
    slot
}

fn decode(slot: &[u8]) -> Option<(u64, Note)> {
    let (crc, rest) = slot.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*crc) != crc32c::crc32c(rest) {
        return None;
    }
    let mut rest = rest;
    let mut take = |length: usize| {
        let (number, after) = rest.split_at_checked(length)?;
        rest = after;
        Some(number.iter().rev().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte)))
    };
    let sequence = take(8)?;
    let mut note = Note { running: Duration::from_millis(take(8)?), closed: Vec::new() };
    for _ in 0..take(4)?.min(MAX_ENTRIES as u64) {
        note.closed.push((take(8)?, Duration::from_millis(take(8)?)));
    }
    Some((sequence, note))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use wal::sim::{Op, SimFilesystem};

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn disk() -> SimFilesystem {
        let sim = SimFilesystem::new(1);
        sim.create_dir_all(Path::new("/data")).unwrap();
        sim.sync_dir(Path::new("/")).unwrap();
        sim
    }

    fn open(sim: &SimFilesystem, segment: u64, now: Duration) -> Ages {
        Ages::open(Arc::new(sim.clone()), Path::new("/data").join(FILE), segment, now)
    }

    #[test]
    fn many_moments_make_a_segment_younger_and_never_older() {
        let sim = disk();
        let mut ages = open(&sim, 0, secs(0));
        for number in 0..1000 {
            ages.tick(secs(number));
            assert_eq!(ages.of(number), secs(0));
        }
        ages.save().unwrap();
        let mut ages = open(&sim, 1000, secs(0));
        assert_eq!(ages.note.closed.len(), MAX_ENTRIES);
        for number in 0..1000 {
            assert!(ages.of(number) <= secs(999 - number), "{number}");
        }
        // A log that began anew has none of these.
        assert_eq!(open(&sim, 0, secs(0)).note.closed, []);
    }

    #[test]
    fn a_save_that_is_torn_or_fails_leaves_the_one_before() {
        let sim = disk();
        let mut ages = open(&sim, 0, secs(50));
        for run in 1..20 {
            ages.tick(secs(50 + run * 60));
            assert!(ages.is_due());
            ages.save().unwrap();
            assert!(!ages.is_due());
            ages.tick(secs(50 + run * 60 + 1));
            sim.fail(Op::Sync, 0, 1);
            assert!(ages.save().is_err());
            sim.power_cut();
            ages = open(&sim, 0, secs(50 + run * 60));
            let found = ages.note.running;
            assert!((secs(run * 60)..=secs(run * 60 + 1)).contains(&found), "{run}: {found:?}");
            ages.note.running = secs(run * 60);
        }
        sim.fail(Op::Read, 0, u64::from(READ_TRIES) - 1);
        assert!(open(&sim, 0, secs(0)).note.running > secs(1000), "a read that fails is tried again");
        sim.fail(Op::Read, 0, u64::from(READ_TRIES));
        assert_eq!(open(&sim, 0, secs(0)).note, Note::default());
    }
}
