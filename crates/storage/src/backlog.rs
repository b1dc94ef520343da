//! Reads the log for a follower that has fallen behind: records back into chunks, from a position on.
//!
//! A segment is read from its start, since that is where its label sets begin; data records before the
//! position are passed over without being decoded.

use crate::chunk::{Chunk, RecordSpan};
use crate::error::ReadError;
use crate::labels_index::LabelsIndex;
use crate::records;
use crate::shared::Shared;
use hashbrown::HashMap;
use model::{Batch, Series};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use wal::record::RecordType;
use wal::{Position, SegmentReader, WalError, dir};

/// Most chunks and bytes of one [`Backlog::read`].
const READ_CHUNKS: usize = 64;
const READ_BYTES: usize = 4 << 20;

pub(crate) struct Backlog {
    shared: Arc<Shared>,
    position: Position,
    open: Option<Open>,
}

struct Open {
    segment: u64,
    reader: SegmentReader,
    index: LabelsIndex,
}

impl Backlog {
    pub(crate) fn new(shared: Arc<Shared>, position: Position) -> Self {
        Backlog { shared, position, open: None }
    }

    /// All before it was read.
    pub(crate) fn position(&self) -> Position {
        self.position
    }

    /// The next chunks; none when the durable end (as of this call) is reached. Bounded in size and number.
    pub(crate) fn read(&mut self) -> Result<Vec<Arc<Chunk>>, ReadError> {
        let end = self.shared.tail.end();
        let (mut chunks, mut bytes) = (Vec::new(), 0);
        while chunks.len() < READ_CHUNKS && bytes < READ_BYTES {
            if self.position >= end || !self.open_segment(end)? {
                self.position = self.position.max(end);
                break;
            }
            match self.next_chunk(end)? {
                Some(chunk) => {
                    bytes += chunk.heap_bytes();
                    self.position = chunk.end;
                    chunks.push(Arc::new(chunk));
                }
                // The segment's end. What is being written goes on later.
                None if self.position.segment >= end.segment => {
                    self.position = self.position.max(end);
                    break;
                }
                None => {
                    self.position = Position::start_of(self.position.segment + 1);
                    self.open = None;
                }
            }
        }
        Ok(chunks)
    }

    /// Opens the segment of the position, or the next one that is there. `false` where there is none.
    fn open_segment(&mut self, end: Position) -> Result<bool, ReadError> {
        let oldest = self.shared.oldest.load(Ordering::Acquire);
        if self.position.segment < oldest {
            // Dropped by the budget while it was read, or before.
            self.position = Position::start_of(oldest);
        }
        if self.open.as_ref().is_some_and(|open| open.segment == self.position.segment) {
            return Ok(true);
        }
        self.open = None;
        let (fs, dir) = (&*self.shared.fs, &self.shared.wal_dir);
        while self.position.segment <= end.segment {
            let segment = self.position.segment;
            match SegmentReader::open(fs, dir, segment, 0) {
                Ok(reader) => {
                    let index = LabelsIndex::new(dir, segment);
                    self.open = Some(Open { segment, reader, index });
                    return Ok(true);
                }
                Err(WalError::NoSegment { .. }) => {
                    let next = dir::segments(fs, dir)?.into_iter().find(|other| other.number > segment);
                    let Some(next) = next else { return Ok(false) };
                    tracing::warn!(segment, next = next.number, "a segment of the log is missing");
                    self.shared.stats.damages.add(1);
                    self.position = Position::start_of(next.number);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(false)
    }

    fn next_chunk(&mut self, end: Position) -> Result<Option<Chunk>, ReadError> {
        let Some(Open { segment, reader, index }) = &mut self.open else { return Ok(None) };
        let (shared, segment) = (&self.shared, *segment);
        let limit = if segment == end.segment { Some(end.offset) } else { shared.end_of(segment) };
        reader.set_limit(limit.unwrap_or(u64::MAX));
        let mut found = None;
        loop {
            let record = match reader.next() {
                Ok(Some(record)) => record,
                Ok(None) => break,
                Err(error) => {
                    // A page that the disk can't read costs that page.
                    tracing::warn!(%error, "part of the log could not be read");
                    shared.stats.damages.add(1);
                    reader.skip_page();
                    continue;
                }
            };
            shared.stats.records_read.add(1);
            if record.kind == RecordType::Series {
                if let Err(error) = index.add(record.start, record.bytes) {
                    tracing::warn!(segment, offset = record.start, %error, "a series record is damaged");
                    shared.stats.damages.add(1);
                }
                continue;
            }
            if !records::is_data(record.kind) || record.start < self.position.offset {
                continue;
            }
            // A position inside the record begins with the record: points have their own positions.
            let start = Position { index: 0, ..self.position };
            let chunk_end = Position::record(segment, record.end);
            let (offset, arrived) = (record.start, shared.clock.monotonic());
            let (batch, refs) = decode(shared, index, record.kind, record.bytes, segment, offset);
            let records = vec![RecordSpan { offset, first_point: 0 }];
            found = Some(Chunk { batch, refs, segment, records, start, end: chunk_end, arrived });
            break;
        }
        for damage in reader.take_damage() {
            tracing::warn!(%damage, "part of the log could not be read");
            shared.stats.damages.add(1);
            shared.stats.damaged_bytes.add(damage.bytes);
        }
        Ok(found)
    }
}

fn decode(
    shared: &Shared,
    index: &mut LabelsIndex,
    kind: RecordType,
    bytes: &[u8],
    segment: u64,
    offset: u64,
) -> (Batch, Vec<u64>) {
    let (mut batch, mut refs) = (Batch::new(), Vec::new());
    let mut numbers: HashMap<u64, u32> = HashMap::new();
    let series = |batch: &mut Batch, reference: u64| {
        if let Some(number) = numbers.get(&reference) {
            return Some(*number);
        }
        let add = |labels: model::LabelsRef<'_>| batch.add_series(labels, Series::NO_METADATA);
        let number = index.with(&*shared.fs, reference, add)?;
        refs.push(reference);
        numbers.insert(reference, number);
        Some(number)
    };
    match records::read_points(kind, bytes, &mut batch, series) {
        Ok(0) => {}
        Ok(unknown) => {
            tracing::warn!(
                segment,
                offset,
                unknown,
                known = index.len(),
                "points of series that are not known"
            );
            shared.stats.points_without_series.add(unknown);
        }
        Err(error) => {
            tracing::warn!(segment, offset, %error, "a record is damaged");
            shared.stats.damages.add(1);
            shared.stats.damaged_bytes.add(bytes.len() as u64);
        }
    }
    (batch, refs)
}
