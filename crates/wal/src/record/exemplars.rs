//! Exemplar records: like sample records, with a label set after each value.
//!
//! ```text
//! ┌───┬───────────┬───────────┬──────────────────────┬──────────────────────┬─────────┬───────────┐
//! │ 4 │ reference │ timestamp │ reference minus the  │ timestamp minus the  │ value   │ label set │ ...
//! │   │ 8 bytes   │ 8 bytes   │ first one, varint    │ first one, varint    │ 8 bytes │           │
//! └───┴───────────┴───────────┴──────────────────────┴──────────────────────┴─────────┴───────────┘
//! ```

use super::{Base, Cursor, DecodeError, RecordType, take_f64};
use model::{LabelsRef, varint};

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExemplarEntry<'a> {
    /// Reference of the series.
    pub reference: u64,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    pub value: f64,
    /// The exemplar's own labels.
    pub labels: LabelsRef<'a>,
}

#[derive(Debug, Clone)]
pub struct ExemplarsBuilder {
    bytes: Vec<u8>,
    entries: u32,
    base: Base,
}

impl ExemplarsBuilder {
    pub fn new() -> Self {
        ExemplarsBuilder { bytes: vec![RecordType::Exemplars as u8], entries: 0, base: Base::default() }
    }

    pub fn push(&mut self, reference: u64, timestamp: i64, value: f64, labels: LabelsRef<'_>) {
        if self.entries == 0 {
            self.base = Base { reference, timestamp };
            self.base.put(&mut self.bytes);
        }
        varint::put_i64(&mut self.bytes, reference.wrapping_sub(self.base.reference) as i64);
        varint::put_i64(&mut self.bytes, timestamp.wrapping_sub(self.base.timestamp));
        self.bytes.extend_from_slice(&value.to_bits().to_be_bytes());
        self.bytes.extend_from_slice(labels.as_bytes());
        self.entries += 1;
    }
}

finished_record!(ExemplarsBuilder);

impl Default for ExemplarsBuilder {
    fn default() -> Self {
        Self::new()
    }
}

/// Decodes a record of exemplars.
pub fn exemplars(record: &[u8]) -> Result<Exemplars<'_>, DecodeError> {
    let (mut cursor, _) = Cursor::new(record, |kind| kind == RecordType::Exemplars)?;
    let base = cursor.take_base()?;
    Ok(Exemplars { cursor, base })
}

/// The iterator of [`exemplars()`].
#[derive(Debug, Clone)]
pub struct Exemplars<'a> {
    cursor: Cursor<'a>,
    base: Base,
}

impl<'a> Iterator for Exemplars<'a> {
    type Item = Result<ExemplarEntry<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let base = self.base;
        self.cursor.next(|rest, _| {
            let reference = base.reference.wrapping_add(varint::take_i64(rest)? as u64);
            let timestamp = base.timestamp.wrapping_add(varint::take_i64(rest)?);
            let value = take_f64(rest)?;
            Some(ExemplarEntry { reference, timestamp, value, labels: LabelsRef::take(rest).ok()? })
        })
    }
}
