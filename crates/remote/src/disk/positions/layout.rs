//! The bytes of a file of positions.
//!
//! ```text
//! byte 0      magic "narthexP", version u32, lanes u32, fingerprint u64,
//!             the owner: variant u64, has a name u8, length u16 and bytes of the name, of the URL,
//!             CRC32C u32 of these
//! byte 3072   when the owner was removed, in milliseconds since 1970: i64, CRC32C u32; zeros while it is there
//! byte 3328   how many samples, native histograms and exemplars are only in memory, because their segment was
//!             dropped before they were delivered: 3 × u64, CRC32C u32; zeros while there are none
//! byte 4096   area A: 256 × 32 + 256 × 64 bytes   ┐ by turns one is written to, one is being synced, and one
//! byte 28672  area B: 256 × 32 + 256 × 64 bytes   │ is durable; that one is never touched
//! byte 53248  area C: 256 × 32 + 256 × 64 bytes   ┘
//!             a slot: sequence u64, position, CRC32C u32 (with the lane number)
//!             a wide slot: sequence u64, position, position, CRC32C u32 (with the lane number), 12 zeros
//!             a position: segment u64, offset u64, index u32
//! ```
//!
//! With newest first ([`Settled`]), the highest bit of a slot's sequence is set. The wide slot of the same
//! lane and sequence then has the end of the backlog and how far the lane is settled from there on. Otherwise
//! wide slots are not written, and are ignored. A slot without its wide slot counts as unreadable.
//!
//! All numbers are little-endian. The file is written in full once and then in place, so that saving works on
//! a full disk. A lane's position is that of its intact slot with the highest sequence number. A lane without
//! an intact slot begins at the oldest position. So a torn write causes a repetition and never loses a
//! sample.

use super::settled::{Lane, Settled};
use crate::config::identity::Owner;
use crate::queue::lanes::LANES;
use model::Kinds;
use wal::Position;

const MAGIC: &[u8; 8] = b"narthexP";
const VERSION: u32 = 4;
pub(super) const REMOVED_AT: u64 = 3072;
pub(super) const ONLY_IN_MEMORY: u64 = 3328;
const SLOT_BYTES: usize = 32;
const WIDE_BYTES: usize = 64;
/// Number of used bytes of a wide slot.
const WIDE_USED: usize = 8 + 2 * 20 + 4;
/// Where the wide slots of an area begin.
const WIDE: usize = LANES * SLOT_BYTES;
pub(super) const AREA_BYTES: u64 = (LANES * (SLOT_BYTES + WIDE_BYTES)) as u64;
/// Bit of a slot's sequence: the slot has a wide slot, too.
const HAS_WIDE: u64 = 1 << 63;
/// The highest sequence without this bit. Only a damaged file has such a number.
pub(super) const SEQUENCE_MAX: u64 = HAS_WIDE - 1;
pub(super) const SLOTS: [u64; 3] = [4096, 4096 + AREA_BYTES, 4096 + 2 * AREA_BYTES];
pub(super) const FILE_BYTES: u64 = 4096 + 3 * AREA_BYTES;

pub(super) fn read_removed(bytes: &[u8]) -> Option<i64> {
    let mut rest = bytes.get(REMOVED_AT as usize..)?;
    let ms = take::<8>(&mut rest)?;
    (u32::from_le_bytes(take(&mut rest)?) == crc32c::crc32c(&ms)).then(|| i64::from_le_bytes(ms))
}

pub(super) fn put_only_in_memory(kinds: Kinds) -> Vec<u8> {
    let numbers = [kinds.samples, kinds.histograms, kinds.exemplars];
    let mut bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    bytes
}

/// Returns `None` if the numbers were never written.
pub(super) fn read_only_in_memory(bytes: &[u8]) -> Option<Kinds> {
    let mut rest = bytes.get(ONLY_IN_MEMORY as usize..)?;
    let numbers = take::<24>(&mut rest)?;
    if u32::from_le_bytes(take(&mut rest)?) != crc32c::crc32c(&numbers) {
        return None;
    }
    let mut numbers = numbers.as_slice();
    let mut next = || Some(u64::from_le_bytes(take(&mut numbers)?));
    Some(Kinds { samples: next()?, histograms: next()?, exemplars: next()? })
}

/// Returns the newest intact slot of each lane.
pub(super) fn read_lanes(bytes: &[u8]) -> [Option<Lane>; LANES] {
    std::array::from_fn(|lane| {
        let slots = SLOTS.iter().filter_map(|start| read_slot(bytes, *start as usize, lane));
        slots.max_by_key(|slot| slot.sequence)
    })
}

/// Encodes an area.
pub(super) fn put_area(buffer: &mut Vec<u8>, sequence: u64, settled: &Settled) {
    let sequence = sequence | settled.ahead.map_or(0, |_| HAS_WIDE);
    buffer.clear();
    for (lane, done) in (0u32..).zip(&settled.lanes) {
        put_slot(buffer, lane, sequence, &[*done]);
    }
    if let Some(ahead) = &settled.ahead {
        for (lane, live) in (0u32..).zip(&ahead.lanes) {
            put_slot(buffer, lane, sequence, &[ahead.from, *live]);
            buffer.extend_from_slice(&[0; WIDE_BYTES - WIDE_USED]);
        }
    }
}

/// Returns the highest sequence number in an area.
pub(super) fn newest_of(bytes: &[u8], area: usize) -> u64 {
    let start = SLOTS.get(area).copied().unwrap_or_default() as usize;
    let slots = (0..LANES).filter_map(|lane| read_slot(bytes, start, lane));
    slots.map(|slot| slot.sequence).max().unwrap_or(0)
}

fn slot_crc(bytes: &[u8], lane: u32) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&lane.to_le_bytes()), bytes)
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*first)
}

pub(super) fn header(owner: &Owner, fingerprint: u64) -> Vec<u8> {
    let mut header = MAGIC.to_vec();
    header.extend_from_slice(&VERSION.to_le_bytes());
    header.extend_from_slice(&(LANES as u32).to_le_bytes());
    header.extend_from_slice(&fingerprint.to_le_bytes());
    header.extend_from_slice(&owner.variant.to_le_bytes());
    header.push(u8::from(owner.name.is_some()));
    for text in [owner.name.as_deref().unwrap_or_default(), &owner.url] {
        // The texts were bounded when the owner was made.
        header.extend_from_slice(&(text.len() as u16).to_le_bytes());
        header.extend_from_slice(text.as_bytes());
    }
    header.extend_from_slice(&crc32c::crc32c(&header).to_le_bytes());
    header
}

/// Returns the fingerprint and the owner.
pub(super) fn read_header(bytes: &[u8]) -> Option<(u64, Owner)> {
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

fn put_slot(buffer: &mut Vec<u8>, lane: u32, sequence: u64, positions: &[Position]) {
    let start = buffer.len();
    buffer.extend_from_slice(&sequence.to_le_bytes());
    for position in positions {
        buffer.extend_from_slice(&position.segment.to_le_bytes());
        buffer.extend_from_slice(&position.offset.to_le_bytes());
        buffer.extend_from_slice(&position.index.to_le_bytes());
    }
    let crc = slot_crc(buffer.get(start..).unwrap_or_default(), lane);
    buffer.extend_from_slice(&crc.to_le_bytes());
}

/// Returns a lane's slot in the area that begins at `start`, with its wide slot if it has one.
fn read_slot(bytes: &[u8], start: usize, lane: usize) -> Option<Lane> {
    let (sequence, [done]) = read_positions(bytes, start + lane * SLOT_BYTES, lane)?;
    let ahead = match sequence & HAS_WIDE {
        0 => None,
        _ => {
            let (other, [from, live]) = read_positions(bytes, start + WIDE + lane * WIDE_BYTES, lane)?;
            Some((from, live)).filter(|_| other == sequence).map(Some)?
        }
    };
    Some(Lane { sequence: sequence & !HAS_WIDE, done, ahead })
}

fn read_positions<const N: usize>(bytes: &[u8], start: usize, lane: usize) -> Option<(u64, [Position; N])> {
    let slot = bytes.get(start..start + 8 + N * 20 + 4)?;
    let mut rest = slot;
    let sequence = u64::from_le_bytes(take(&mut rest)?);
    let mut positions = [Position::default(); N];
    for position in &mut positions {
        position.segment = u64::from_le_bytes(take(&mut rest)?);
        position.offset = u64::from_le_bytes(take(&mut rest)?);
        position.index = u32::from_le_bytes(take(&mut rest)?);
    }
    let right = u32::from_le_bytes(take(&mut rest)?) == slot_crc(slot.get(..slot.len() - 4)?, lane as u32);
    (right && sequence > 0).then_some((sequence, positions))
}
