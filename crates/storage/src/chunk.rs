//! What one batch became in the log, as every queue sees it: from memory or read back, the same.

use model::{Batch, Point};
use std::time::Duration;
use wal::Position;

/// A data record of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordSpan {
    /// Byte in the segment where the record starts.
    pub offset: u64,
    /// The first of [`Chunk::batch`]'s points that it holds; it ends where the next one begins.
    pub first_point: u32,
}

/// A committed batch with its place in the log. Shared by all queues, never changed.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// Label sets and points, the points in the log's order.
    pub batch: Batch,
    /// The reference of each of the batch's series.
    pub refs: Vec<u64>,
    /// The segment that holds it.
    pub segment: u64,
    /// Its data records, in order.
    pub records: Vec<RecordSpan>,
    /// Where it begins. Nothing lies between this and the end of the chunk before it.
    pub start: Position,
    /// Where what follows begins.
    pub end: Position,
    /// When it was accepted, by the monotonic clock; when it was read, for what comes from disk.
    pub arrived: Duration,
}

/// Its labels' memory goes to the next large request.
impl Drop for Chunk {
    fn drop(&mut self) {
        model::arena::give(std::mem::take(&mut self.batch.bytes));
    }
}

impl Chunk {
    /// The position before point number `point`; the chunk's end where there is no such point.
    pub fn position(&self, point: u32) -> Position {
        if point as usize >= self.batch.points.len() {
            return self.end;
        }
        let after = self.records.partition_point(|record| record.first_point <= point);
        match after.checked_sub(1).and_then(|index| self.records.get(index)) {
            Some(record) => {
                Position { segment: self.segment, offset: record.offset, index: point - record.first_point }
            }
            None => self.start,
        }
    }

    /// The first point at or after `position`, as an index into the batch's points: a chunk that was
    /// handed out for a position in its middle is used from there on.
    pub fn first_point_from(&self, position: Position) -> u32 {
        if position <= self.start {
            return 0;
        }
        let (mut low, mut high) = (0, self.batch.points.len() as u32);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.position(middle) < position { low = middle + 1 } else { high = middle }
        }
        low
    }

    /// The points.
    pub fn points(&self) -> &[Point] {
        &self.batch.points
    }

    /// Bytes of memory behind it.
    pub fn heap_bytes(&self) -> usize {
        self.batch.heap_bytes()
            + self.refs.capacity() * size_of::<u64>()
            + self.records.capacity() * size_of::<RecordSpan>()
            + size_of::<Chunk>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_numbered_by_its_record() {
        let mut batch = Batch::new();
        let series = batch.add_series(model::LabelsRef::EMPTY, model::Series::NO_METADATA);
        for timestamp in 0..5 {
            batch.push_float(series, timestamp, 0.0);
        }
        let records =
            vec![RecordSpan { offset: 100, first_point: 0 }, RecordSpan { offset: 150, first_point: 3 }];
        let start = Position { segment: 4, offset: 90, index: 0 };
        let end = Position { segment: 4, offset: 200, index: 0 };
        let chunk = Chunk { batch, refs: vec![1], segment: 4, records, start, end, arrived: Duration::ZERO };
        let at = |offset, index| Position { segment: 4, offset, index };
        assert_eq!(chunk.position(0), at(100, 0));
        assert_eq!(chunk.position(2), at(100, 2));
        assert_eq!(chunk.position(3), at(150, 0));
        assert_eq!(chunk.position(5), end);
        assert_eq!(chunk.first_point_from(at(90, 0)), 0);
        assert_eq!(chunk.first_point_from(at(100, 1)), 1);
        assert_eq!(chunk.first_point_from(at(100, 9)), 3);
        assert_eq!(chunk.first_point_from(at(150, 1)), 4);
        assert_eq!(chunk.first_point_from(end), 5);
    }
}
