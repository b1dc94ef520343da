//! A small file that is written in place, so that it needs no room on disk after the first time, and that is
//! whole after a power cut at any moment.
//!
//! ```text
//! three slots of the same size, of which the one with the highest sequence number counts. The one that was synced
//! last is not written to until another one is, so that a power cut leaves at least that; and a start leaves
//! alone what it finds, and what is second to it, since the newest may be there only until the power goes:
//! ┌────────┬──────────┬─────────┬───────┐
//! │ crc32c │ sequence │ content │ zeros │
//! │ u32    │ u64      │         │       │
//! └────────┴──────────┴─────────┴───────┘
//! ```
//!
//! Integers are little-endian; the checksum covers the rest of the slot.

use std::io;
use std::path::Path;
use wal::fs::patiently;
use wal::{File, Filesystem};

/// The size of a slot of the storage's own small files.
const SLOT_BYTES: usize = 4096;
const SLOTS: usize = 3;
const HEAD_BYTES: usize = 12;
/// The most bytes of a content.
pub(crate) const CONTENT_BYTES: usize = SLOT_BYTES - HEAD_BYTES;

/// The open file.
pub(crate) struct Slots {
    file: Box<dyn File>,
    slot_bytes: usize,
    sequence: u64,
    /// The slot that is written to, until it is synced.
    slot: usize,
    /// The slots could not be read: what stands in them may have higher numbers than what is written now.
    unknown: bool,
}

/// Each slot's sequence number and content; none where it is not whole.
type Read = [Option<(u64, Vec<u8>)>; SLOTS];

impl Slots {
    /// Opens `path`, or makes it with the content `first`. Returns its content, zeros behind it: none where no
    /// slot is whole, or the disk could not read them.
    pub(crate) fn open(
        fs: &dyn Filesystem,
        path: &Path,
        first: &[u8],
    ) -> io::Result<(Slots, Option<Vec<u8>>)> {
        Self::open_sized(fs, path, SLOT_BYTES, first)
    }

    /// The same with slots of `slot_bytes`.
    pub(crate) fn open_sized(
        fs: &dyn Filesystem,
        path: &Path,
        slot_bytes: usize,
        first: &[u8],
    ) -> io::Result<(Slots, Option<Vec<u8>>)> {
        let there = fs.metadata(path)?.is_some();
        let file = if there { fs.open(path, true) } else { fs.create_new(path) }?;
        file.allocate((SLOTS * slot_bytes) as u64)?;
        let read = patiently(|| read_slots(&*file, slot_bytes));
        if let Err(error) = &read {
            tracing::warn!(path = %path.display(), %error, "it can't be read");
        }
        let unknown = read.is_err();
        let slots = read.unwrap_or_default();
        // What was found may not be on disk yet.
        file.sync_data()?;
        let age = |slot: &usize| slots.get(*slot).and_then(Option::as_ref).map(|(sequence, _)| *sequence);
        let slot = (0..SLOTS).min_by_key(age).unwrap_or(0);
        let (sequence, mut content) = newest(slots).unzip();
        let mut opened = Slots { file, slot_bytes, sequence: sequence.unwrap_or(0), slot, unknown };
        if !there {
            opened.save(first, true)?;
            if let Some(parent) = path.parent() {
                fs.sync_dir(parent)?;
            }
            content = Some(first.to_vec());
        }
        Ok((opened, content))
    }

    /// Writes the content anew; with `sync` it is durable afterwards.
    pub(crate) fn save(&mut self, content: &[u8], sync: bool) -> io::Result<()> {
        self.sequence += 1;
        let bytes = encode(self.sequence, content, self.slot_bytes);
        let slots = if self.unknown { 0..SLOTS } else { self.slot..self.slot + 1 };
        for slot in slots {
            self.file.write_all_at(&bytes, (slot * self.slot_bytes) as u64)?;
        }
        if sync {
            self.file.sync_data()?;
            self.slot = (self.slot + 1) % SLOTS;
            self.unknown = false;
        }
        Ok(())
    }
}

/// The content that counts, without opening the file to write: none where there is no such file, or no slot of
/// it is whole.
pub(crate) fn read(fs: &dyn Filesystem, path: &Path) -> io::Result<Option<Vec<u8>>> {
    let slots = patiently(|| match fs.metadata(path)? {
        Some(metadata) if !metadata.is_dir => read_slots(&*fs.open(path, false)?, SLOT_BYTES),
        _ => Ok(Read::default()),
    })?;
    Ok(newest(slots).map(|(_, content)| content))
}

fn read_slots(file: &dyn File, slot_bytes: usize) -> io::Result<Read> {
    let mut bytes = vec![0u8; SLOTS * slot_bytes];
    let read = file.read_full_at(&mut bytes, 0)?;
    let mut slots = bytes.get(..read).unwrap_or_default().chunks_exact(slot_bytes);
    Ok(std::array::from_fn(|_| slots.next().and_then(decode)))
}

/// The one that counts.
fn newest(slots: Read) -> Option<(u64, Vec<u8>)> {
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
    let (crc, mut rest) = slot.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*crc) != crc32c::crc32c(rest) {
        return None;
    }
    let sequence = take_u64(&mut rest)?;
    Some((sequence, rest.to_vec()))
}

/// Takes a number off the front of a content.
pub(crate) fn take_u64(input: &mut &[u8]) -> Option<u64> {
    let (number, rest) = input.split_first_chunk::<8>()?;
    *input = rest;
    Some(u64::from_le_bytes(*number))
}

/// The same of four bytes.
pub(crate) fn take_u32(input: &mut &[u8]) -> Option<u32> {
    let (number, rest) = input.split_first_chunk::<4>()?;
    *input = rest;
    Some(u32::from_le_bytes(*number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use wal::RealFilesystem;
    use wal::sim::{Op, SimFilesystem};

    #[test]
    fn a_slot_with_any_bit_flipped_does_not_count() {
        let slot = encode(1, &[7; 68], SLOT_BYTES);
        assert_eq!(slot.len(), SLOT_BYTES);
        for bit in 0..80 * 8 {
            let mut damaged = slot.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&damaged), None, "bit {bit}");
        }
    }

    #[test]
    fn after_a_torn_write_the_slot_before_counts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("slots");
        let open = || Slots::open(&RealFilesystem, &path, b"first").unwrap();
        let (mut slots, content) = open();
        assert_eq!(content, Some(b"first".to_vec()));
        slots.save(b"second", true).unwrap();
        let slot = slots.slot;
        slots.save(b"third", true).unwrap();
        drop(slots);
        let raw = RealFilesystem.open(&path, true).unwrap();
        raw.write_all_at(b"torn", (slot * SLOT_BYTES + 20) as u64).unwrap();
        let there = [open().1.unwrap(), read(&RealFilesystem, &path).unwrap().unwrap()];
        assert!(there.iter().all(|content| content.starts_with(b"second\0")));
    }

    #[test]
    fn what_could_not_be_read_does_not_come_back_behind_what_was_written_instead() {
        let fs = SimFilesystem::new(1);
        fs.create_dir_all(Path::new("/data")).unwrap();
        let open = || Slots::open(&fs, Path::new("/data/slots"), b"first").unwrap();
        let (mut slots, _) = open();
        slots.save(b"older", true).unwrap();
        slots.save(b"old", true).unwrap();
        fs.fail(Op::Read, 0, u64::from(wal::fs::READ_TRIES));
        let (mut slots, content) = open();
        assert_eq!(content, None);
        slots.save(b"new", true).unwrap();
        assert!(open().1.unwrap().starts_with(b"new\0"));
        slots.save(b"newer", true).unwrap();
        assert!(open().1.unwrap().starts_with(b"newer\0"));
    }
}
