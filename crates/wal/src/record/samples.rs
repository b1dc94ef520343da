//! Sample records: float samples, without and with start timestamps.
//!
//! ```text
//! ┌───┬───────────┬───────────┬──────────────────────┬──────────────────────┬─────────┐
//! │ 2 │ reference │ timestamp │ reference minus the  │ timestamp minus the  │ value   │ ...
//! │   │ 8 bytes   │ 8 bytes   │ first one, varint    │ first one, varint    │ 8 bytes │
//! └───┴───────────┴───────────┴──────────────────────┴──────────────────────┴─────────┘
//!
//! ┌────┬───────────┬───────────┬─────────────┬─────────┬──────────────┬───────────┬────────────┬─────────┐
//! │ 11 │ reference │ timestamp │ start time- │ value   │ reference,   │ timestamp │ start time-│ value   │ ...
//! │    │ varint    │ varint    │ stamp varint│ 8 bytes │ less the one │ less the  │ stamp      │ 8 bytes │
//! │    │           │           │             │         │ before       │ first     │            │         │
//! └────┴───────────┴───────────┴─────────────┴─────────┴──────────────┴───────────┴────────────┴─────────┘
//! start timestamp:  0 none │ 1 that of the entry before │ 2, then a varint: minus the first start timestamp
//! ```

use super::{Base, Cursor, DecodeError, RecordType, StartBase, take_f64};
use model::varint;

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SampleEntry {
    /// Reference of the series.
    pub reference: u64,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// Milliseconds since 1970; 0 means unset.
    pub start_timestamp: i64,
    pub value: f64,
}

#[derive(Debug, Clone)]
pub struct SamplesBuilder {
    bytes: Vec<u8>,
    entries: u32,
    base: Base,
    start: Option<StartBase>,
}

impl SamplesBuilder {
    /// Makes an empty record without start timestamps, which every version of Prometheus can read.
    pub fn new() -> Self {
        SamplesBuilder {
            bytes: vec![RecordType::Samples as u8],
            entries: 0,
            base: Base::default(),
            start: None,
        }
    }

    /// Makes an empty record with start timestamps.
    pub fn with_start_timestamps() -> Self {
        let start = Some(StartBase::default());
        SamplesBuilder { bytes: vec![RecordType::SamplesWithStart as u8], start, ..Self::new() }
    }

    /// Adds a sample. A record without start timestamps ignores `start_timestamp`.
    #[inline]
    pub fn push(&mut self, reference: u64, timestamp: i64, start_timestamp: i64, value: f64) {
        let first = self.entries == 0;
        match &mut self.start {
            Some(start) => start.put(&mut self.bytes, first, reference, timestamp, start_timestamp),
            None => {
                if first {
                    self.base = Base { reference, timestamp };
                    self.base.put(&mut self.bytes);
                }
                self.bytes.reserve(2 * varint::MAX_LEN + 8);
                varint::put_i64(&mut self.bytes, reference.wrapping_sub(self.base.reference) as i64);
                varint::put_i64(&mut self.bytes, timestamp.wrapping_sub(self.base.timestamp));
            }
        }
        self.bytes.extend_from_slice(&value.to_bits().to_be_bytes());
        self.entries += 1;
    }
}

finished_record!(SamplesBuilder);

impl Default for SamplesBuilder {
    fn default() -> Self {
        Self::new()
    }
}

/// Decodes a record of float samples, with or without start timestamps.
pub fn samples(record: &[u8]) -> Result<Samples<'_>, DecodeError> {
    let accepts = |kind| matches!(kind, RecordType::Samples | RecordType::SamplesWithStart);
    let (mut cursor, kind) = Cursor::new(record, accepts)?;
    if kind == RecordType::SamplesWithStart {
        return Ok(Samples { cursor, base: Base::default(), start: Some(StartBase::default()) });
    }
    let base = cursor.take_base()?;
    Ok(Samples { cursor, base, start: None })
}

/// The iterator of [`samples()`].
#[derive(Debug, Clone)]
pub struct Samples<'a> {
    cursor: Cursor<'a>,
    base: Base,
    start: Option<StartBase>,
}

impl Iterator for Samples<'_> {
    type Item = Result<SampleEntry, DecodeError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let Samples { cursor, base, start } = self;
        cursor.next(|rest, first| {
            let (reference, timestamp, start_timestamp) = match start {
                Some(start) => start.take(rest, first)?,
                None => {
                    let reference = base.reference.wrapping_add(varint::take_i64(rest)? as u64);
                    (reference, base.timestamp.wrapping_add(varint::take_i64(rest)?), 0)
                }
            };
            Some(SampleEntry { reference, timestamp, start_timestamp, value: take_f64(rest)? })
        })
    }
}
