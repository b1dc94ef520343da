//! The log of a simulation: chunks in memory that survive kills and power cuts.

use crate::delivery::Log;
use model::{Batch, Labels, Series};
use std::sync::Arc;
use std::time::Duration;
use storage::{Chunk, RecordSpan};
use wal::Position;

/// A series' number and a timestamp.
pub(super) type Sample = (u64, i64);

#[derive(Default)]
pub(super) struct SimLog {
    chunks: Vec<Arc<Chunk>>,
    end: Position,
}

impl SimLog {
    /// Begins a new segment, as each run of narthex does.
    pub(super) fn begin_segment(&mut self) {
        self.end = Position::start_of(self.end.segment + 1);
    }

    /// Appends a batch of samples. Each value is the number of its series.
    pub(super) fn append(&mut self, samples: &[Sample], now: Duration) {
        let mut batch = Batch::new();
        for (series, time) in samples {
            let number = series.to_string();
            let labels = Labels::from_pairs([("__name__", "m"), ("number", number.as_str())]);
            let index = batch.add_series(labels.as_ref(), Series::NO_METADATA);
            batch.push_float(index, *time, *series as f64);
        }
        let start = self.end;
        self.end = Position { offset: start.offset + 100, ..start };
        let refs = (0..batch.series.len() as u64).collect();
        let records = vec![RecordSpan { offset: start.offset, first_point: 0 }];
        let (segment, end) = (start.segment, self.end);
        self.chunks.push(Arc::new(Chunk { batch, refs, segment, records, start, end, arrived: now }));
    }

    /// Returns the next chunk for a reader at this position, and whether it comes from disk. It does if it
    /// was written before `opened`.
    pub(super) fn next(&self, from: Position, opened: Position) -> Option<(Arc<Chunk>, bool)> {
        let index = self.chunks.partition_point(|chunk| chunk.end <= from);
        self.chunks.get(index).map(|chunk| (chunk.clone(), chunk.start < opened))
    }
}

impl Log for SimLog {
    fn end(&self) -> Position {
        self.end
    }

    fn arrived(&self, at: Position) -> Duration {
        let index = self.chunks.partition_point(|chunk| chunk.end <= at);
        self.chunks.get(index).map_or(Duration::ZERO, |chunk| chunk.arrived)
    }
}
