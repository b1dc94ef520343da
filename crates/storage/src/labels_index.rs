//! Where a segment's label sets are: what a reader of the log needs to turn references back into label
//! sets, in bounded memory.
//!
//! It remembers where a label set stands in the segment rather than the label set: the series record's
//! number and the place inside it, 20 bytes a series and some ([`crate::places`]). The records themselves are read again when
//! needed; the last few are kept, and since samples come in the order in which their series were first
//! seen, that is nearly always enough.

use crate::damage::{OPENING, Verdict};
use crate::places::{Place, Places};
use crate::shared::Shared;
use model::LabelsRef;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use wal::{SegmentReader, WalError};

/// Most bytes of series records kept, decompressed.
pub(crate) const CACHE_BYTES: usize = 8 << 20;

pub(crate) struct LabelsIndex {
    dir: PathBuf,
    segment: u64,
    /// Where each series record starts in the segment.
    records: Vec<u64>,
    places: Places,
    cache: VecDeque<(u32, Arc<[u8]>)>,
    cached_bytes: usize,
    /// The record that was used last, which is nearly always the one that is used next.
    last: Option<(u32, Arc<[u8]>)>,
}

impl LabelsIndex {
    pub(crate) fn new(dir: &Path, segment: u64) -> Self {
        LabelsIndex {
            dir: dir.to_path_buf(),
            segment,
            records: Vec::new(),
            places: Places::default(),
            cache: VecDeque::new(),
            cached_bytes: 0,
            last: None,
        }
    }

    /// Takes a series record in.
    pub(crate) fn add(&mut self, start: u64, bytes: &[u8]) -> Result<(), wal::record::DecodeError> {
        let record = self.records.len() as u32;
        self.records.push(start);
        for entry in wal::record::series(bytes)? {
            let (reference, labels) = entry?;
            let labels = labels.as_bytes();
            // The label set is a part of `bytes`, so its place is the distance of the two.
            let place = labels.as_ptr().addr() - bytes.as_ptr().addr();
            let place = Place { record, start: place as u32, len: labels.len() as u32 };
            self.places.insert(reference, place);
        }
        self.keep(record, bytes.into());
        Ok(())
    }

    fn keep(&mut self, record: u32, bytes: Arc<[u8]>) {
        self.cached_bytes += bytes.len();
        self.cache.push_back((record, bytes));
        while self.cached_bytes > CACHE_BYTES && self.cache.len() > 1 {
            if let Some((_, old)) = self.cache.pop_front() {
                self.cached_bytes -= old.len();
            }
        }
    }

    /// Hands the label set of `reference` to `take`; `None` where no series record named it, or it can't be
    /// read again. An error is one of the disk that may pass.
    pub(crate) fn with<T>(
        &mut self,
        shared: &Shared,
        reference: u64,
        take: impl FnOnce(LabelsRef<'_>) -> T,
    ) -> Result<Option<T>, WalError> {
        let Some(place) = self.places.get(reference) else { return Ok(None) };
        if self.last.as_ref().is_none_or(|(record, _)| *record != place.record) {
            let Some(bytes) = self.record(shared, place.record)? else { return Ok(None) };
            self.last = Some((place.record, bytes));
        }
        let start = place.start as usize;
        let labels = self.last.as_ref().and_then(|(_, bytes)| bytes.get(start..start + place.len as usize));
        Ok(labels.map(|labels| take(LabelsRef::trusted(labels))))
    }

    fn record(&mut self, shared: &Shared, record: u32) -> Result<Option<Arc<[u8]>>, WalError> {
        // Newest last: the one in use is nearly always among the last.
        if let Some((_, bytes)) = self.cache.iter().rev().find(|(number, _)| *number == record) {
            return Ok(Some(bytes.clone()));
        }
        let Some(start) = self.records.get(record as usize).copied() else {
            model::invariant!(false, "the place of a label set names a record of the index", record = record);
            return Ok(None);
        };
        let mut reader = match SegmentReader::open(&*shared.fs, &self.dir, self.segment, start) {
            Ok(reader) => reader,
            // Dropped by the budget while it was read.
            Err(WalError::NoSegment { .. }) => return Ok(None),
            Err(error) => return self.failed(shared, OPENING, error),
        };
        let bytes: Arc<[u8]> = match reader.next() {
            Ok(Some(raw)) => raw.bytes.into(),
            Ok(None) => return Ok(None),
            Err(error) => return self.failed(shared, reader.unreadable_page(), error),
        };
        self.keep(record, bytes.clone());
        Ok(Some(bytes))
    }

    fn failed<T>(&self, shared: &Shared, page: u64, error: WalError) -> Result<Option<T>, WalError> {
        match shared.read_failed(self.segment, page, &error) {
            Verdict::Again => Err(error),
            Verdict::GiveUp => Ok(None),
        }
    }

    /// Number of series.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }
}
