//! The part of the rings that one member needs: its own slots.

use crate::ring::Slots;
use std::sync::Arc;
use wal::Position;

/// The series that one member owns: its slots from each ring's position on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Share(Vec<(Position, Slots)>);

impl Share {
    /// Adds a ring: from `from` on, which is after all others, the member owns these slots.
    pub(crate) fn push(&mut self, from: Position, slots: Slots) {
        self.0.push((from, slots));
    }

    /// Returns the numbers of the rings that are in force somewhere between `start` and `end`.
    pub fn between(&self, start: Position, end: Position) -> std::ops::RangeInclusive<usize> {
        let last = self.0.partition_point(|(from, _)| *from < end);
        self.at(start)..=last.max(self.at(start))
    }

    /// Returns the number of the ring that is in force at this position, from 1 to
    /// [`crate::rings::RINGS_MAX`]. 0 before the first ring.
    pub fn at(&self, position: Position) -> usize {
        self.0.partition_point(|(from, _)| *from <= position)
    }

    /// Returns true if the member owns the series with this hash by the ring with this number. It owns
    /// nothing before the first ring, because all members had passed the removed ones.
    pub fn holds(&self, ring: usize, series_hash: u64) -> bool {
        let ring = ring.checked_sub(1).and_then(|index| self.0.get(index));
        ring.is_some_and(|(_, slots)| slots.holds(series_hash))
    }
}

/// A member's part of the log.
#[derive(Debug, Clone)]
pub struct Part {
    /// The series that it owns, along the log.
    pub share: Arc<Share>,
    /// Where it begins if it has no positions yet.
    pub begin: Position,
    /// Where it ends, if the member leaves.
    pub end: Option<Position>,
}

impl PartialEq for Part {
    /// The beginning makes no difference to a running member.
    fn eq(&self, other: &Self) -> bool {
        (&self.share, self.end) == (&other.share, other.end)
    }
}
