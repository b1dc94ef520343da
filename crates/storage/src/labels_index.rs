//! Where a segment's label sets are: what a reader of the log needs to turn references back into label
//! sets, in bounded memory.
//!
//! It remembers where a label set stands in the segment rather than the label set: the series record's
//! number and the place inside it, 16 bytes a series and some. The records themselves are read again when
//! needed; the last few are kept, and since samples come in the order in which their series were first
//! seen, that is nearly always enough.

use hashbrown::HashMap;
use model::LabelsRef;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use wal::{Filesystem, SegmentReader};

/// Most bytes of series records kept, decompressed.
pub(crate) const CACHE_BYTES: usize = 8 << 20;

pub(crate) struct LabelsIndex {
    dir: PathBuf,
    segment: u64,
    /// Where each series record starts in the segment.
    records: Vec<u64>,
    places: HashMap<u64, Place>,
    cache: VecDeque<(u32, Arc<[u8]>)>,
    cached_bytes: usize,
    /// The record that was used last, which is nearly always the one that is used next.
    last: Option<(u32, Arc<[u8]>)>,
}

#[derive(Clone, Copy)]
struct Place {
    record: u32,
    start: u32,
    len: u32,
}

impl LabelsIndex {
    pub(crate) fn new(dir: &Path, segment: u64) -> Self {
        LabelsIndex {
            dir: dir.to_path_buf(),
            segment,
            records: Vec::new(),
            places: HashMap::new(),
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

    /// Hands the label set of `reference` to `take`; `None` where no series record named it.
    pub(crate) fn with<T>(
        &mut self,
        fs: &dyn Filesystem,
        reference: u64,
        take: impl FnOnce(LabelsRef<'_>) -> T,
    ) -> Option<T> {
        let place = *self.places.get(&reference)?;
        if self.last.as_ref().is_none_or(|(record, _)| *record != place.record) {
            self.last = Some((place.record, self.record(fs, place.record)?));
        }
        let (_, bytes) = self.last.as_ref()?;
        let start = place.start as usize;
        Some(take(LabelsRef::trusted(bytes.get(start..start + place.len as usize)?)))
    }

    fn record(&mut self, fs: &dyn Filesystem, record: u32) -> Option<Arc<[u8]>> {
        // Newest last: the one in use is nearly always among the last.
        if let Some((_, bytes)) = self.cache.iter().rev().find(|(number, _)| *number == record) {
            return Some(bytes.clone());
        }
        let start = *self.records.get(record as usize)?;
        let mut reader = SegmentReader::open(fs, &self.dir, self.segment, start).ok()?;
        let bytes: Arc<[u8]> = reader.next().ok()??.bytes.into();
        self.keep(record, bytes.clone());
        Some(bytes)
    }

    /// Number of series.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }
}
