//! Tombstone records: time ranges of series that a server deleted on request. narthex reads them; only a
//! repair writes them.
//!
//! ```text
//! ┌───┬───────────┬──────────┬──────────┐
//! │ 3 │ reference │ from     │ to       │ ...
//! │   │ 8 bytes   │ varint   │ varint   │
//! └───┴───────────┴──────────┴──────────┘
//! ```

use super::{Cursor, DecodeError, RecordType, take_be64};
use model::varint;

/// A deleted time range of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tombstone {
    /// Reference of the series.
    pub reference: u64,
    /// First deleted timestamp, in milliseconds since 1970.
    pub from: i64,
    /// Last deleted timestamp.
    pub to: i64,
}

/// Decodes a record of tombstones.
pub fn tombstones(record: &[u8]) -> Result<Tombstones<'_>, DecodeError> {
    Ok(Tombstones(Cursor::new(record, |kind| kind == RecordType::Tombstones)?.0))
}

/// The iterator of [`tombstones()`].
#[derive(Debug, Clone)]
pub struct Tombstones<'a>(Cursor<'a>);

impl Iterator for Tombstones<'_> {
    type Item = Result<Tombstone, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next(|rest, _| {
            let reference = take_be64(rest)?;
            Some(Tombstone { reference, from: varint::take_i64(rest)?, to: varint::take_i64(rest)? })
        })
    }
}
