//! A small file that is written in place. It needs no disk space after it was created, and has complete
//! content after a power cut at any moment.
//!
//! The file has three slots of the same size. The one with the highest sequence number is valid. A slot that
//! was just synced is not written again until another slot is synced, so that at least one survives a power
//! cut. A start writes to the oldest slot first. It must keep the two newest, because the newest may not be
//! on disk yet.
//!
//! ```text
//! ┌────────┬──────────┬─────────┬───────┐
//! │ crc32c │ sequence │ content │ zeros │
//! │ u32    │ u64      │         │       │
//! └────────┴──────────┴─────────┴───────┘
//! ```
//!
//! Integers are little-endian. The checksum covers the rest of the slot.

use super::read;
use crate::fs::{File, Filesystem, patiently};
use std::io;
use std::path::Path;

const SLOTS: usize = 3;
const HEAD_BYTES: usize = 12;

#[derive(Debug)]
pub struct SlotFile {
    file: Box<dyn File>,
    content_bytes_max: usize,
    sequence: u64,
    /// The slot that saves write to until one of them syncs.
    slot: usize,
    /// True if the slots could not be read. They may have higher sequence numbers than new content gets, so
    /// the next save overwrites all of them.
    unknown: bool,
}

/// Sequence number and content of each slot; `None` for a slot that is damaged or incomplete.
type Found = [Option<(u64, Vec<u8>)>; SLOTS];

/// The content that was saved last, followed by zeros. `None` if no slot is complete; an error if the disk
/// could not read the slots.
pub type Content = io::Result<Option<Vec<u8>>>;

impl SlotFile {
    /// Opens `path`, or creates it with the content `first`. The file needs slightly more than three times
    /// `content_bytes_max` on disk. If the slots cannot be read, the file opens all the same: the error is
    /// returned as the content, and the next save replaces it.
    pub fn open(
        fs: &dyn Filesystem,
        path: &Path,
        content_bytes_max: usize,
        first: &[u8],
    ) -> io::Result<(SlotFile, Content)> {
        let slot_bytes = HEAD_BYTES + content_bytes_max;
        let there = fs.metadata(path)?.is_some();
        let file = if there { fs.open(path, true) } else { fs.create_new(path) }?;
        file.allocate((SLOTS * slot_bytes) as u64)?;
        let found = patiently(|| {
            let mut bytes = vec![0; SLOTS * slot_bytes];
            let read = file.read_full_at(&mut bytes, 0)?;
            Ok(slots_in(bytes.get(..read).unwrap_or_default(), slot_bytes))
        });
        let (slots, error) = match found {
            Ok(slots) => (slots, None),
            Err(error) => (Found::default(), Some(error)),
        };
        // The content that was read may not be on disk yet.
        file.sync_data()?;
        let age = |slot: &usize| slots.get(*slot).and_then(Option::as_ref).map(|(sequence, _)| *sequence);
        let slot = (0..SLOTS).min_by_key(age).unwrap_or(0);
        let (sequence, mut content) = newest(slots).unzip();
        let (sequence, unknown) = (sequence.unwrap_or(0), error.is_some());
        let mut opened = SlotFile { file, content_bytes_max, sequence, slot, unknown };
        if !there {
            opened.save(first, true)?;
            if let Some(parent) = path.parent() {
                fs.sync_dir(parent)?;
            }
            content = Some(first.to_vec());
        }
        Ok((opened, error.map_or(Ok(content), Err)))
    }

    /// Reads the content without opening the file for writing. Returns `None` if there is no such file, or no
    /// complete slot.
    pub fn read(fs: &dyn Filesystem, path: &Path, content_bytes_max: usize) -> Content {
        let slot_bytes = HEAD_BYTES + content_bytes_max;
        if patiently(|| fs.metadata(path))?.is_some_and(|metadata| metadata.is_dir) {
            return Ok(None);
        }
        let bytes = read(fs, path, (SLOTS * slot_bytes) as u64)?.unwrap_or_default();
        Ok(newest(slots_in(&bytes, slot_bytes)).map(|(_, content)| content))
    }

    /// Replaces the content. With `sync` it is durable afterwards. After an error, the previous content is
    /// still valid.
    pub fn save(&mut self, content: &[u8], sync: bool) -> io::Result<()> {
        if content.len() > self.content_bytes_max {
            let text = format!("{} bytes, the limit is {}", content.len(), self.content_bytes_max);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        self.sequence += 1;
        let slot_bytes = HEAD_BYTES + self.content_bytes_max;
        let bytes = encode(self.sequence, content, slot_bytes);
        let slots = if self.unknown { 0..SLOTS } else { self.slot..self.slot + 1 };
        for slot in slots {
            self.file.write_all_at(&bytes, (slot * slot_bytes) as u64)?;
        }
        if sync {
            self.file.sync_data()?;
            self.slot = (self.slot + 1) % SLOTS;
            self.unknown = false;
        }
        Ok(())
    }
}

fn slots_in(bytes: &[u8], slot_bytes: usize) -> Found {
    let mut slots = bytes.chunks_exact(slot_bytes);
    std::array::from_fn(|_| slots.next().and_then(decode))
}

/// Returns the valid slot: the one with the highest sequence number.
fn newest(slots: Found) -> Option<(u64, Vec<u8>)> {
    slots.into_iter().flatten().max_by_key(|(sequence, _)| *sequence)
}

fn encode(sequence: u64, content: &[u8], slot_bytes: usize) -> Vec<u8> {
    let mut slot = Vec::with_capacity(slot_bytes);
    slot.extend_from_slice(&[0; 4]);
    slot.extend_from_slice(&sequence.to_le_bytes());
    slot.extend_from_slice(content);
    slot.resize(slot_bytes, 0);
    let (head, rest) = slot.split_at_mut(4);
    head.copy_from_slice(&crc32c::crc32c(rest).to_le_bytes());
    slot
}

fn decode(slot: &[u8]) -> Option<(u64, Vec<u8>)> {
    let (crc, rest) = slot.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*crc) != crc32c::crc32c(rest) {
        return None;
    }
    let (sequence, content) = rest.split_first_chunk::<8>()?;
    Some((u64::from_le_bytes(*sequence), content.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::{READ_TRIES, RealFilesystem};
    use crate::sim::{Op, SimFilesystem};

    const CONTENT_BYTES: usize = 4084;
    const SLOT_BYTES: usize = HEAD_BYTES + CONTENT_BYTES;

    fn open(fs: &dyn Filesystem, path: &Path) -> (SlotFile, Content) {
        SlotFile::open(fs, path, CONTENT_BYTES, b"first").unwrap()
    }

    fn content(fs: &dyn Filesystem, path: &Path) -> Option<Vec<u8>> {
        open(fs, path).1.unwrap()
    }

    #[test]
    fn a_slot_with_any_bit_flipped_is_ignored() {
        let slot = encode(1, &[7; 68], SLOT_BYTES);
        assert_eq!(slot.len(), SLOT_BYTES);
        for bit in 0..80 * 8 {
            let mut damaged = slot.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&damaged), None, "bit {bit}");
        }
    }

    #[test]
    fn after_a_torn_write_the_previous_slot_is_valid() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("slots");
        let (mut slots, first) = open(&RealFilesystem, &path);
        assert_eq!(first.unwrap(), Some(b"first".to_vec()));
        slots.save(b"second", true).unwrap();
        let slot = slots.slot;
        slots.save(b"third", true).unwrap();
        drop(slots);
        let raw = RealFilesystem.open(&path, true).unwrap();
        raw.write_all_at(b"torn", (slot * SLOT_BYTES + 20) as u64).unwrap();
        let read = SlotFile::read(&RealFilesystem, &path, CONTENT_BYTES).unwrap();
        let there = [content(&RealFilesystem, &path), read];
        assert!(there.iter().flatten().all(|content| content.starts_with(b"second\0")), "{there:?}");
        assert!(there.iter().all(Option::is_some));
    }

    #[test]
    fn unreadable_content_does_not_return_after_a_save() {
        let fs = SimFilesystem::new(1);
        fs.create_dir_all(Path::new("/data")).unwrap();
        let path = Path::new("/data/slots");
        let (mut slots, _) = open(&fs, path);
        slots.save(b"older", true).unwrap();
        slots.save(b"old", true).unwrap();
        fs.fail(Op::Read, 0, u64::from(READ_TRIES));
        let (mut slots, unreadable) = open(&fs, path);
        assert!(unreadable.is_err());
        slots.save(b"new", true).unwrap();
        assert!(content(&fs, path).unwrap().starts_with(b"new\0"));
        slots.save(b"newer", true).unwrap();
        assert!(content(&fs, path).unwrap().starts_with(b"newer\0"));
    }

    #[test]
    fn the_last_save_survives_a_failed_save_and_power_cut() {
        let fs = SimFilesystem::new(1);
        fs.create_dir_all(Path::new("/data")).unwrap();
        fs.sync_dir(Path::new("/")).unwrap();
        let path = Path::new("/data/small");
        let (mut file, _) = SlotFile::open(&fs, path, 100, &[]).unwrap();
        file.save(&[7; 100], true).unwrap();
        fs.fail(Op::Sync, 0, 1);
        assert!(file.save(&[8; 100], true).is_err());
        fs.power_cut();
        let content = SlotFile::read(&fs, path, 100).unwrap().unwrap();
        assert!(content == [7; 100] || content == [8; 100], "{content:?}");
    }

    #[test]
    fn content_over_the_limit_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let (mut file, _) = SlotFile::open(&RealFilesystem, &dir.path().join("f"), 10, &[]).unwrap();
        assert_eq!(file.save(&[0; 11], true).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
