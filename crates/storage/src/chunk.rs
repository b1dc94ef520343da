//! A committed batch as queues see it. It is the same whether it comes from memory or is read from disk.

use model::{Batch, Point};
use std::time::Duration;
use wal::Position;

/// A data record of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordSpan {
    /// Byte of the segment where the record starts.
    pub offset: u64,
    /// The record's first point in [`Chunk::batch`]. The record's points end where those of the next record
    /// begin.
    pub first_point: u32,
}

/// A committed batch and its position in the log. All queues share it, and it is never changed.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// The label sets, and the points in the order of the log.
    pub batch: Batch,
    /// The reference of each series of the batch.
    pub refs: Vec<u64>,
    /// The segment that contains the chunk.
    pub segment: u64,
    /// The chunk's data records, in order.
    pub records: Vec<RecordSpan>,
    /// Start of the chunk, which is the end of the previous chunk.
    pub start: Position,
    /// End of the chunk.
    pub end: Position,
    /// Monotonic time at which the batch was accepted or, if it comes from disk, was read.
    pub arrived: Duration,
}

/// Returns the memory of the labels to the arena, for the next large request.
impl Drop for Chunk {
    fn drop(&mut self) {
        model::arena::give(std::mem::take(&mut self.batch.bytes));
    }
}

impl Chunk {
    /// Returns the position before point number `point`, or the chunk's end if there is no such point.
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

    /// Returns the index of the first point at or after `position`. Needed when a chunk is returned for a
    /// position in its middle.
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

    pub fn points(&self) -> &[Point] {
        &self.batch.points
    }

    /// Bytes of memory that the chunk uses.
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
    fn a_points_position_is_its_record_and_its_index() {
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
