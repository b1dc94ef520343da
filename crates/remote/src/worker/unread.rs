//! The exact number of samples that a destination has not read yet: the committed ones less those that its
//! followers have read.

use model::Value;
use storage::{Chunk, Storage};
use wal::Position;

/// Number of samples and histograms that were committed since the log was opened, up to a follower's
/// position.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Passed {
    at: Position,
    pub(super) points: u64,
}

impl Passed {
    /// Counts those before `at`.
    pub(super) fn before(storage: &Storage, at: Position) -> Passed {
        Passed { at, points: storage.committed().saturating_sub(storage.waiting(at).points) }
    }

    /// Returns the number of unread samples. Those in dropped segments do not count.
    pub(super) fn unread(&self, storage: &Storage) -> u64 {
        let oldest = storage.oldest();
        match oldest.segment > self.at.segment {
            true => storage.waiting(oldest).points,
            false => storage.committed().saturating_sub(self.points),
        }
    }

    /// Notes that the follower has read a chunk.
    pub(super) fn read(&mut self, storage: &Storage, chunk: &Chunk) {
        if storage.oldest().segment > self.at.segment {
            // The segments between the two positions were dropped.
            *self = Passed::before(storage, self.at.max(chunk.start));
        }
        if !storage.waiting(chunk.start).before_open {
            let first = chunk.first_point_from(self.at) as usize;
            let points = chunk.batch.points.iter().skip(first);
            // Most chunks have no exemplars.
            self.points += match chunk.batch.exemplars.is_empty() {
                true => points.len() as u64,
                false => points.filter(|point| !matches!(point.value, Value::Exemplar(_))).count() as u64,
            };
        }
        self.at = self.at.max(chunk.end);
    }
}
