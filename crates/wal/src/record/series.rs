//! Series records: the label sets of references.
//!
//! ```text
//! ┌───┬───────────┬───────────────────────────┐
//! │ 1 │ reference │ label set: count, (length │ ...
//! │   │ 8 bytes   │ name, length, value) each │
//! └───┴───────────┴───────────────────────────┘
//! ```
//!
//! The label set is stored in the canonical bytes of [`model::labels`].

use super::{Cursor, DecodeError, RecordType, take_be64};
use model::LabelsRef;

#[derive(Debug, Clone)]
pub struct SeriesBuilder {
    bytes: Vec<u8>,
    entries: u32,
}

impl Default for SeriesBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl SeriesBuilder {
    pub fn new() -> Self {
        SeriesBuilder { bytes: vec![RecordType::Series as u8], entries: 0 }
    }

    #[inline]
    pub fn push(&mut self, reference: u64, labels: LabelsRef<'_>) {
        self.bytes.extend_from_slice(&reference.to_be_bytes());
        self.bytes.extend_from_slice(labels.as_bytes());
        self.entries += 1;
    }
}

finished_record!(SeriesBuilder);

/// Decodes a series record into references and their label sets. The encoding of the label sets is checked,
/// the order of their names is not (see [`LabelsRef::parse`]).
pub fn series(record: &[u8]) -> Result<Series<'_>, DecodeError> {
    Ok(Series(Cursor::new(record, |kind| kind == RecordType::Series)?.0))
}

/// The iterator of [`series()`].
#[derive(Debug, Clone)]
pub struct Series<'a>(Cursor<'a>);

impl<'a> Iterator for Series<'a> {
    type Item = Result<(u64, LabelsRef<'a>), DecodeError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.0.next(|rest, _| Some((take_be64(rest)?, LabelsRef::take(rest).ok()?)))
    }
}
