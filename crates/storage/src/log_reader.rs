//! Reads the log for a follower that has fallen behind, and turns its records back into chunks.
//!
//! A segment is read from its start, because its label sets begin there. Data records before the position are
//! skipped without being decoded.

use crate::chunk::{Chunk, RecordSpan};
use crate::damage::{OPENING, Verdict};
use crate::error::ReadError;
use crate::labels_index::LabelsIndex;
use crate::records;
use crate::shared::Shared;
use hashbrown::HashMap;
use model::{Batch, Series};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use wal::record::RecordType;
use wal::{Damage, DamageKind, Position, SegmentReader, WalError, dir};

/// Limits on the chunks and bytes of one [`LogReader::read`].
const READ_CHUNKS: usize = 64;
const READ_BYTES: usize = 4 << 20;

/// Reads chunks from disk; see the module's documentation.
pub(crate) struct LogReader {
    shared: Arc<Shared>,
    position: Position,
    open: Option<Open>,
}

struct Open {
    segment: u64,
    reader: SegmentReader,
    index: LabelsIndex,
    /// Start of a record that has to be read again, because a label set for it could not be read.
    once_more: Option<u64>,
}

impl LogReader {
    pub(crate) fn new(shared: Arc<Shared>, position: Position) -> Self {
        LogReader { shared, position, open: None }
    }

    /// Everything before this position was read.
    pub(crate) fn position(&self) -> Position {
        self.position
    }

    /// Returns the next chunks, limited in size and number. Returns none if the durable end (at the time of
    /// the call) is reached. After an I/O error, the next call continues at the same position.
    pub(crate) fn read(&mut self) -> Result<Vec<Arc<Chunk>>, ReadError> {
        let end = self.shared.tail.end();
        let (mut chunks, mut bytes) = (Vec::new(), 0);
        while chunks.len() < READ_CHUNKS && bytes < READ_BYTES {
            if self.position >= end {
                break;
            }
            let next = match self.open_segment(end) {
                Ok(true) => self.next_chunk(end),
                Ok(false) => {
                    self.position = self.position.max(end);
                    break;
                }
                Err(error) => Err(error),
            };
            let next = match next {
                // Return the chunks that were read; the next call meets the error again.
                Err(_) if !chunks.is_empty() => break,
                next => next?,
            };
            match next {
                Some(chunk) => {
                    bytes += chunk.heap_bytes();
                    self.position = chunk.end;
                    chunks.push(Arc::new(chunk));
                }
                // The end of the segment that is still written. The next call continues here.
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

    /// Opens the segment of the current position, or the next existing one. Returns false if there is none.
    fn open_segment(&mut self, end: Position) -> Result<bool, ReadError> {
        let oldest = self.shared.oldest.load(Ordering::Acquire);
        if self.position.segment < oldest {
            // The segment was deleted for the log's budget, before or during the read.
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
                    self.open = Some(Open { segment, reader, index, once_more: None });
                    return Ok(true);
                }
                Err(WalError::NoSegment { .. }) => {
                    let next = dir::segments(fs, dir)?.into_iter().find(|other| other.number > segment);
                    let Some(next) = next else { return Ok(false) };
                    for missing in segment..next.number {
                        self.shared.missing(missing);
                    }
                    self.position = Position::start_of(next.number);
                }
                Err(error) => {
                    if self.shared.read_failed(segment, OPENING, &error) == Verdict::Again {
                        return Err(error.into());
                    }
                    self.give_up(segment);
                    self.position = Position::start_of(segment + 1).min(end);
                    if segment == end.segment {
                        return Ok(false);
                    }
                }
            }
        }
        Ok(false)
    }

    /// Reports a whole segment that could not be opened.
    fn give_up(&self, segment: u64) {
        let file = dir::segment_path(&self.shared.wal_dir, segment);
        let bytes = self.shared.fs.metadata(&file).ok().flatten().map_or(0, |metadata| metadata.len);
        let kind = DamageKind::Unreadable;
        self.shared.damaged(segment, &Damage { file, offset: 0, bytes, kind });
    }

    fn next_chunk(&mut self, end: Position) -> Result<Option<Chunk>, ReadError> {
        if let Some(open) = &mut self.open
            && let Some(from) = open.once_more.take()
        {
            match SegmentReader::open(&*self.shared.fs, &self.shared.wal_dir, open.segment, from) {
                Ok(reader) => open.reader = reader,
                Err(error) => {
                    // Read the segment from its start next time.
                    self.open = None;
                    return Err(error.into());
                }
            }
        }
        let Some(Open { segment, reader, index, once_more }) = &mut self.open else { return Ok(None) };
        let (shared, segment) = (&self.shared, *segment);
        let limit = if segment == end.segment { Some(end.offset) } else { shared.end_of(segment) };
        reader.set_limit(limit.unwrap_or(u64::MAX));
        let mut found = Ok(None);
        loop {
            let record = match reader.next() {
                Ok(Some(record)) => record,
                Ok(None) => break,
                Err(error) => {
                    if shared.read_failed(segment, reader.unreadable_page(), &error) == Verdict::Again {
                        found = Err(error.into());
                        break;
                    }
                    reader.skip_page();
                    continue;
                }
            };
            let damage = |entry| Damage {
                file: dir::segment_path(&shared.wal_dir, segment),
                offset: record.start,
                bytes: record.end - record.start,
                kind: DamageKind::Record { kind: record.kind, entry },
            };
            shared.stats.records_read.add(1);
            if record.kind == RecordType::Series {
                if let Err(error) = index.add(record.start, record.bytes) {
                    shared.damaged(segment, &damage(error.entry));
                }
                continue;
            }
            if !records::is_data(record.kind) || record.start < self.position.offset {
                continue;
            }
            // If the position is inside the record, the chunk still begins with the record: each point has
            // its own position.
            let start = Position { index: 0, ..self.position };
            let chunk_end = Position::record(segment, record.end);
            let (offset, arrived) = (record.start, shared.clock.monotonic());
            let Decoded { batch, refs, unknown, malformed } =
                match decode(shared, index, record.kind, record.bytes) {
                    Ok(decoded) => decoded,
                    Err(error) => {
                        *once_more = Some(offset);
                        found = Err(error.into());
                        break;
                    }
                };
            if let Some(entry) = malformed {
                shared.damaged(segment, &damage(entry));
            }
            if unknown > 0 {
                let known = index.len();
                tracing::warn!(segment, offset, unknown, known, "points of series that are not known");
                shared.stats.points_without_series.add(unknown);
            }
            let records = vec![RecordSpan { offset, first_point: 0 }];
            found = Ok(Some(Chunk { batch, refs, segment, records, start, end: chunk_end, arrived }));
            break;
        }
        for damage in reader.take_damage() {
            shared.damaged(segment, &damage);
        }
        found
    }
}

/// The decoded contents of a data record.
struct Decoded {
    batch: Batch,
    /// The reference of each series.
    refs: Vec<u64>,
    /// Number of points whose series has no series record.
    unknown: u64,
    /// The first malformed entry.
    malformed: Option<u32>,
}

/// Decodes a data record. After an error the caller should try again.
fn decode(
    shared: &Shared,
    index: &mut LabelsIndex,
    kind: RecordType,
    bytes: &[u8],
) -> Result<Decoded, WalError> {
    let (mut batch, mut refs) = (Batch::new(), Vec::new());
    let mut numbers: HashMap<u64, u32> = HashMap::new();
    let mut failed = None;
    let series = |batch: &mut Batch, reference: u64| {
        if let Some(number) = numbers.get(&reference) {
            return Some(*number);
        }
        if failed.is_some() {
            return None;
        }
        let add = |labels: model::LabelsRef<'_>| batch.add_series(labels, Series::NO_METADATA);
        let number = match index.with(shared, reference, add) {
            Ok(number) => number?,
            Err(error) => {
                failed = Some(error);
                return None;
            }
        };
        refs.push(reference);
        numbers.insert(reference, number);
        Some(number)
    };
    let (unknown, malformed) = match records::read_points(kind, bytes, &mut batch, series) {
        Ok(unknown) => (unknown, None),
        Err(error) => (0, Some(error.entry)),
    };
    match failed {
        Some(error) => Err(error),
        None => Ok(Decoded { batch, refs, unknown, malformed }),
    }
}
