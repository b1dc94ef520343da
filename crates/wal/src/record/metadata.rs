//! Metadata records: types, units and help texts of references.
//!
//! ```text
//! ┌───┬───────────┬────────┬──────────┬──────────────────────┬───────────────────────┐
//! │ 6 │ reference │ type   │ number   │ length, name (UNIT,  │ length, value, as     │ ...
//! │   │ uvarint   │ 1 byte │ uvarint  │ HELP, ...) as bytes  │ bytes                 │
//! └───┴───────────┴────────┴──────────┴──────────────────────┴───────────────────────┘
//!                                     └── as often as the number says ───────────────┘
//! ```
//!
//! A Prometheus agent deletes or hangs on a log with such records, so narthex keeps them in a separate log.

use super::{Cursor, DecodeError, RecordType, take_byte};
use model::{MetricType, varint};

/// The metadata of a reference. The texts are the stored bytes; those that Prometheus writes are UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetadataEntry<'a> {
    /// Reference of the series.
    pub reference: u64,
    /// The metric's type. Its numbers in the log are those of remote write.
    pub kind: MetricType,
    pub unit: &'a [u8],
    pub help: &'a [u8],
}

#[derive(Debug, Clone)]
pub struct MetadataBuilder {
    bytes: Vec<u8>,
    entries: u32,
}

impl MetadataBuilder {
    pub fn new() -> Self {
        MetadataBuilder { bytes: vec![RecordType::Metadata as u8], entries: 0 }
    }

    /// Adds the metadata of a series.
    pub fn push(&mut self, entry: MetadataEntry<'_>) {
        varint::put_u64(&mut self.bytes, entry.reference);
        self.bytes.push(entry.kind as u8);
        varint::put_u64(&mut self.bytes, 2);
        for text in [b"UNIT", entry.unit, b"HELP", entry.help] {
            varint::put_bytes(&mut self.bytes, text);
        }
        self.entries += 1;
    }
}

finished_record!(MetadataBuilder);

impl Default for MetadataBuilder {
    fn default() -> Self {
        Self::new()
    }
}

/// Decodes a record of metadata.
pub fn metadata(record: &[u8]) -> Result<MetadataEntries<'_>, DecodeError> {
    Ok(MetadataEntries(Cursor::new(record, |kind| kind == RecordType::Metadata)?.0))
}

/// The iterator of [`metadata()`].
#[derive(Debug, Clone)]
pub struct MetadataEntries<'a>(Cursor<'a>);

impl<'a> Iterator for MetadataEntries<'a> {
    type Item = Result<MetadataEntry<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next(|rest, _| {
            let reference = varint::take_u64(rest)?;
            let kind = MetricType::from_number(u64::from(take_byte(rest)?));
            let mut entry = MetadataEntry { reference, kind, unit: b"", help: b"" };
            // A field has at least two bytes, so a wrong count stops at the end of the record.
            for _ in 0..varint::take_u64(rest)? {
                let (name, value) = (varint::take_bytes(rest)?, varint::take_bytes(rest)?);
                match name {
                    b"UNIT" => entry.unit = value,
                    b"HELP" => entry.help = value,
                    _ => {}
                }
            }
            Some(entry)
        })
    }
}
