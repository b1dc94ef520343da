//! What of the log is one member's: of the rings, it knows its own slots only.

use crate::ring::Slots;
use std::sync::Arc;
use wal::Position;

/// Which series are one member's, along the log: the slots that are its own from a position on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Share(Vec<(Position, Slots)>);

impl Share {
    /// From `from` on, behind all others, these slots are its own.
    pub(crate) fn push(&mut self, from: Position, slots: Slots) {
        self.0.push((from, slots));
    }

    /// The rings that hold somewhere between `start` and `end`, by number.
    pub fn between(&self, start: Position, end: Position) -> std::ops::RangeInclusive<usize> {
        let last = self.0.partition_point(|(from, _)| *from < end);
        self.at(start)..=last.max(self.at(start))
    }

    /// The number of the ring that holds for the point at this position, from 1 to [`crate::rings::RINGS_MAX`];
    /// 0 before the first one.
    pub fn at(&self, position: Position) -> usize {
        self.0.partition_point(|(from, _)| *from <= position)
    }

    /// Whether the series with this hash is this member's by the ring with this number. By none before the
    /// first: all members of what was forgotten had passed it.
    pub fn holds(&self, ring: usize, series_hash: u64) -> bool {
        let ring = ring.checked_sub(1).and_then(|index| self.0.get(index));
        ring.is_some_and(|(_, slots)| slots.holds(series_hash))
    }
}

/// A member's part of the log.
#[derive(Debug, Clone)]
pub struct Part {
    /// Which series are its own, along the log.
    pub share: Arc<Share>,
    /// Where it begins if it has no positions yet.
    pub begin: Position,
    /// Where it ends, for one that leaves.
    pub end: Option<Position>,
}

impl PartialEq for Part {
    /// Where it begins tells nothing of one that runs.
    fn eq(&self, other: &Self) -> bool {
        (&self.share, self.end) == (&other.share, other.end)
    }
}
