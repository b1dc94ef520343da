//! Finds the label sets of a segment by reference, in bounded memory. A reader of the log needs it to turn
//! references into label sets.
//!
//! It stores where a label set is in the segment, not the label set: the number of the series record and the
//! offset in it, about 20 bytes per series ([`crate::places`]). The records are read again when needed, and
//! the newest ones are cached. Samples come in the order in which their series were first seen, so the cache
//! nearly always suffices.

use crate::damage::{OPENING, Verdict};
use crate::places::{Place, Places};
use crate::shared::Shared;
use model::LabelsRef;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use wal::{SegmentReader, WalError};

/// Limit on the decompressed bytes of cached series records.
pub(crate) const CACHE_BYTES: usize = 8 << 20;

pub(crate) struct LabelsIndex {
    dir: PathBuf,
    segment: u64,
    /// First byte of each series record in the segment.
    records: Vec<u64>,
    places: Places,
    cache: VecDeque<(u32, Arc<[u8]>)>,
    cached_bytes: usize,
    /// The record that was used last. It is nearly always the next one too.
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

    /// Adds the label sets of a series record.
    pub(crate) fn add(&mut self, start: u64, bytes: &[u8]) -> Result<(), wal::record::DecodeError> {
        let record = self.records.len() as u32;
        self.records.push(start);
        for entry in wal::record::series(bytes)? {
            let (reference, labels) = entry?;
            let labels = labels.as_bytes();
            // The label set is a part of `bytes`, so the difference of the addresses is its offset.
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

    /// Calls `take` with the label set of `reference`. Returns `None` if no series record has the reference,
    /// or if the record could not be read again. After an error the caller should try again.
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
        // Search the newest records first: the right one is nearly always among them.
        if let Some((_, bytes)) = self.cache.iter().rev().find(|(number, _)| *number == record) {
            return Ok(Some(bytes.clone()));
        }
        let Some(start) = self.records.get(record as usize).copied() else {
            model::invariant!(false, "the place of a label set names a record of the index", record = record);
            return Ok(None);
        };
        let mut reader = match SegmentReader::open(&*shared.fs, &self.dir, self.segment, start) {
            Ok(reader) => reader,
            // The segment was deleted for the log's budget while it was read.
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
