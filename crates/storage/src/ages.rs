//! The ages of segments in running time, kept in a file so that they survive restarts.
//!
//! Wall clocks jump, and a monotonic clock starts again with the machine. So the time during which the log
//! was open is added up over all runs, and each segment is stored with the running time at which it was
//! closed.
//!
//! ```text
//! the content of a `wal::small_file::SlotFile`:
//! ┌────────────┬───────┬─────────────────────────────────────────────┐
//! │ running    │ count │ up to segment u64, closed at u64: count times│
//! │ u64        │ u32   │                                             │
//! └────────────┴───────┴─────────────────────────────────────────────┘
//! ```
//!
//! Integers are little-endian, times are milliseconds of running time.
//!
//! If the file is lost, segments count as younger than they are, never as older. So a segment is never
//! dropped too early. A kill loses the running time since the last save, at most [`SAVE_EVERY`].

use crate::little_endian::{take_u32, take_u64};
use crate::state::CONTENT_BYTES;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use wal::Filesystem;
use wal::small_file::SlotFile;

/// Name of the file in the data folder.
pub(crate) const FILE: &str = "ages";
/// How often the file is saved.
pub(crate) const SAVE_EVERY: Duration = Duration::from_secs(60);
/// Largest number of entries. If there are more, the two entries with the smallest difference are merged into
/// the later one.
const MAX_ENTRIES: usize = 200;

/// The content of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Note {
    running: Duration,
    /// Last segment and running time of each entry: the segments after those of the previous entry, up to
    /// this one, were closed at this time. Both numbers ascend.
    closed: Vec<(u64, Duration)>,
}

pub(crate) struct Ages {
    fs: Arc<dyn Filesystem>,
    path: PathBuf,
    /// Opened by the first save.
    slots: Option<SlotFile>,
    note: Note,
    /// Monotonic time of this run up to which running time is counted.
    counted: Duration,
    /// The running time that was saved last.
    saved: Option<Duration>,
}

impl Ages {
    /// Reads the file if it exists. `segment` is the segment that is being written, `now` the monotonic time.
    pub(crate) fn open(fs: Arc<dyn Filesystem>, path: PathBuf, segment: u64, now: Duration) -> Ages {
        let content = SlotFile::read(&*fs, &path, CONTENT_BYTES).unwrap_or_else(|error| {
            let why = "how old segments are can't be read: their ages begin anew";
            tracing::warn!(path = %path.display(), %error, "{why}");
            None
        });
        let mut note = content.and_then(|content| decode(&content)).unwrap_or_default();
        // Entries of other segments belong to a log that was deleted.
        note.closed.retain(|(number, _)| *number < segment);
        Ages { fs, path, slots: None, note, counted: now, saved: None }
    }

    /// Adds the time until `now`, a monotonic time, to the running time.
    pub(crate) fn tick(&mut self, now: Duration) {
        self.note.running += now.saturating_sub(self.counted);
        self.counted = now;
    }

    /// Returns how long ago a closed segment was closed. A segment that is new counts as closed now. Segments
    /// have to be passed in ascending order.
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

    /// Removes the entries of deleted segments.
    pub(crate) fn forget_below(&mut self, number: u64) {
        self.note.closed.retain(|(up_to, _)| *up_to >= number);
    }

    /// Returns true if the file has to be saved.
    pub(crate) fn is_due(&self) -> bool {
        self.saved.is_none_or(|saved| self.note.running.saturating_sub(saved) >= SAVE_EVERY)
    }

    /// Saves the file durably.
    pub(crate) fn save(&mut self) -> io::Result<()> {
        let content = encode(&self.note);
        let slots = match &mut self.slots {
            Some(slots) => slots,
            none => none.insert(SlotFile::open(&*self.fs, &self.path, CONTENT_BYTES, &content)?.0),
        };
        slots.save(&content, true)?;
        self.saved = Some(self.note.running);
        Ok(())
    }
}

fn encode(note: &Note) -> Vec<u8> {
    let ms = |time: Duration| time.as_millis() as u64;
    let mut content = Vec::with_capacity(CONTENT_BYTES);
    content.extend_from_slice(&ms(note.running).to_le_bytes());
    content.extend_from_slice(&(note.closed.len() as u32).to_le_bytes());
    for (up_to, then) in &note.closed {
        content.extend_from_slice(&up_to.to_le_bytes());
        content.extend_from_slice(&ms(*then).to_le_bytes());
    }
    content
}

fn decode(mut content: &[u8]) -> Option<Note> {
    let input = &mut content;
    let mut note = Note { running: Duration::from_millis(take_u64(input)?), closed: Vec::new() };
    for _ in 0..(take_u32(input)? as usize).min(MAX_ENTRIES) {
        note.closed.push((take_u64(input)?, Duration::from_millis(take_u64(input)?)));
    }
    Some(note)
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
    fn merged_entries_make_a_segment_younger_never_older() {
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
        // A new log has no entries.
        assert_eq!(open(&sim, 0, secs(0)).note.closed, []);
    }

    #[test]
    fn a_torn_or_failed_save_keeps_the_previous_content() {
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
        sim.fail(Op::Read, 0, u64::from(wal::fs::READ_TRIES) - 1);
        assert!(open(&sim, 0, secs(0)).note.running > secs(1000), "a read that fails is tried again");
        sim.fail(Op::Read, 0, u64::from(wal::fs::READ_TRIES));
        assert_eq!(open(&sim, 0, secs(0)).note, Note::default());
    }
}
