//! Pages and fragments: the layout of records in a segment.
//!
//! ```text
//! segment  ┌────────────────┬────────────────┬──────────
//!          │ page, 32768 B  │ page           │ ...        only the last page may be shorter
//!          └────────────────┴────────────────┴──────────
//!
//! page     ┌──────────┬──────────┬─────────────┬───────┐
//!          │ fragment │ fragment │ ...         │ zeros │  the rest, where no header fits or a writer
//!          └──────────┴──────────┴─────────────┴───────┘  stopped
//!
//!            0            1        3           7
//! fragment ┌────────────┬────────┬───────────┬───────────────┐
//!          │ type,flags │ length │ CRC32C of │ data          │   numbers are big-endian
//!          │ 1 byte     │ u16    │ data, u32 │ length bytes  │
//!          └────────────┴────────┴───────────┴───────────────┘
//!
//! type,flags   . . . z s t t t
//!                    │ │ └─┴─┴── 0 the rest of the page is empty, 1 a full record,
//!                    │ │         2 the first, 3 a middle, 4 the last fragment of a record
//!                    │ └──────── the record is compressed with snappy (block format)
//!                    └────────── the record is compressed with zstd
//! ```
//!
//! A record that does not fit into the rest of its page starts with a first fragment that fills the page,
//! continues in middle fragments that fill whole pages, and ends in a last fragment. The first fragment has
//! no data if exactly a header fits. All fragments of a record have the same flags. A record never continues
//! in another segment.
//!
//! The checksum covers the data of a fragment, not its header, and not the whole record. So a reader must
//! also check that the fragments of a record follow each other correctly: see [`crate::SegmentReader`].

use crate::compression::Compression;

pub const PAGE_BYTES: usize = 32 * 1024;

pub const HEADER_BYTES: usize = 7;

/// Which part of a record a fragment holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FragmentType {
    /// A complete record.
    Full,
    /// The beginning of a record. It fills its page.
    First,
    /// A later part that is not the last. It fills its page.
    Middle,
    /// The end of a record.
    Last,
}

const SNAPPY: u8 = 1 << 3;
const ZSTD: u8 = 1 << 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub part: FragmentType,
    /// The compression of the record.
    pub compression: Compression,
    pub length: u16,
    /// CRC-32C of the data.
    pub crc: u32,
}

impl Header {
    /// Makes the header for `data`.
    pub fn of(part: FragmentType, compression: Compression, data: &[u8]) -> Self {
        debug_assert!(data.len() <= PAGE_BYTES - HEADER_BYTES);
        Header { part, compression, length: data.len() as u16, crc: crc32c::crc32c(data) }
    }

    pub fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let part = match self.part {
            FragmentType::Full => 1,
            FragmentType::First => 2,
            FragmentType::Middle => 3,
            FragmentType::Last => 4,
        };
        let flag = match self.compression {
            Compression::None => 0,
            Compression::Snappy => SNAPPY,
            Compression::Zstd => ZSTD,
        };
        let [l0, l1] = self.length.to_be_bytes();
        let [c0, c1, c2, c3] = self.crc.to_be_bytes();
        [part | flag, l0, l1, c0, c1, c2, c3]
    }

    /// Parses a header. If the type byte is invalid, it is returned as the error; this includes 0, which ends
    /// a page.
    pub fn parse(bytes: [u8; HEADER_BYTES]) -> Result<Self, u8> {
        let [kind, l0, l1, c0, c1, c2, c3] = bytes;
        let part = match kind & 7 {
            1 => FragmentType::Full,
            2 => FragmentType::First,
            3 => FragmentType::Middle,
            4 => FragmentType::Last,
            _ => return Err(kind),
        };
        let compression = match kind & !7 {
            0 => Compression::None,
            SNAPPY => Compression::Snappy,
            ZSTD => Compression::Zstd,
            _ => return Err(kind),
        };
        let (length, crc) = (u16::from_be_bytes([l0, l1]), u32::from_be_bytes([c0, c1, c2, c3]));
        Ok(Header { part, compression, length, crc })
    }
}

/// Returns where the next fragment can start: at `offset`, or at the start of the next page if no header fits
/// into the rest of this one.
pub const fn next_start(offset: u64) -> u64 {
    let left = PAGE_BYTES as u64 - offset % PAGE_BYTES as u64;
    if left < HEADER_BYTES as u64 { offset + left } else { offset }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_encoded_as_in_prometheus() {
        let header = Header::of(FragmentType::Last, Compression::Snappy, b"123456789");
        // The check value of CRC-32C.
        assert_eq!(header.to_bytes(), [0x0c, 0, 9, 0xe3, 0x06, 0x92, 0x83]);
        assert_eq!(Header::parse(header.to_bytes()), Ok(header));
    }

    #[test]
    fn invalid_type_bytes_are_refused() {
        let known: Vec<u8> =
            (0..=255u8).filter(|&kind| Header::parse([kind, 0, 0, 0, 0, 0, 0]).is_ok()).collect();
        assert_eq!(known, [1, 2, 3, 4, 9, 10, 11, 12, 17, 18, 19, 20]);
    }

    #[test]
    fn no_fragment_starts_where_its_header_does_not_fit() {
        let page = PAGE_BYTES as u64;
        assert_eq!(next_start(page - 7), page - 7);
        assert_eq!(next_start(page - 6), page);
        assert_eq!(next_start(2 * page), 2 * page);
    }
}
