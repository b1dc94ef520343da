//! Which part of the log is settled, for each lane.
//!
//! ```text
//! oldest_first     settled ──────────┐ done
//!                  ██████████████████░░░░░░░░░░░░░░░░░░░░░ the log
//!
//! newest_first     settled ┐ done        from ┌─ settled ──┐ live
//!                  ████████░░░░░░░░░░░░░░░░░░░████████████░░░░░░
//!                          └── the backlog ──┘
//! ```
//!
//! `from` is the same for all lanes: the end of the log when the live stream was split from the backlog.

use super::Lanes;
use crate::queue::lanes::LANES;
use wal::Position;

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settled {
    /// Everything before a lane's position is settled.
    pub lanes: Lanes,
    /// What is settled after the backlog, with newest first.
    pub ahead: Option<Ahead>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ahead {
    /// The end of the backlog.
    pub from: Position,
    /// Up to where each lane is settled from there on.
    pub lanes: Lanes,
}

impl From<Lanes> for Settled {
    fn from(lanes: Lanes) -> Self {
        Settled { lanes, ahead: None }
    }
}

/// One lane, as it is on disk.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Lane {
    pub(super) sequence: u64,
    pub(super) done: Position,
    /// The end of the backlog, and up to where the lane is settled from there on.
    pub(super) ahead: Option<(Position, Position)>,
}

impl Settled {
    /// Returns the lowest position for all lanes, to be used when the lanes have lost their meaning.
    pub(super) fn lowest(&self) -> Settled {
        let lowest = |lanes: &Lanes| [lanes.iter().min().copied().unwrap_or_default(); LANES];
        let ahead = self.ahead.map(|ahead| Ahead { from: ahead.from, lanes: lowest(&ahead.lanes) });
        Settled { lanes: lowest(&self.lanes), ahead }
    }

    /// Combines lanes that may be of different writes: one lane may have a backlog that another lane has
    /// already delivered, or does not have yet. Nothing counts as settled unless a lane says so.
    pub(super) fn of(found: &[Option<Lane>; LANES], oldest: Position) -> Settled {
        let done = found.map(|lane| lane.map_or(oldest, |lane| lane.done));
        let from = found.iter().flatten().filter_map(|lane| lane.ahead).map(|(from, _)| from).max();
        let Some(from) = from else { return done.into() };
        let mut ahead = Ahead { from, lanes: [from; LANES] };
        for ((live, lane), done) in ahead.lanes.iter_mut().zip(found).zip(done) {
            // Of an older backlog it is unknown what is settled after it.
            let known = lane.and_then(|lane| lane.ahead).filter(|(own, _)| *own == from);
            *live = known.map_or(from, |(_, live)| live).max(done).max(from);
        }
        Settled { lanes: done, ahead: Some(ahead) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(segment: u64) -> Position {
        Position { segment, offset: 0, index: 0 }
    }

    fn lane(done: u64, ahead: Option<(u64, u64)>) -> Option<Lane> {
        Some(Lane { sequence: 1, done: at(done), ahead: ahead.map(|(from, live)| (at(from), at(live))) })
    }

    #[test]
    fn lanes_of_different_writes_are_combined_without_skipping() {
        let mut found = [lane(3, Some((10, 12))); LANES];
        let settled = Settled::of(&found, at(1));
        assert_eq!(settled.ahead, Some(Ahead { from: at(10), lanes: [at(12); LANES] }));
        // Backlog not begun yet, already delivered, an older one, unreadable.
        found[0] = lane(4, None);
        found[1] = lane(14, None);
        found[2] = lane(2, Some((5, 9)));
        found[3] = None;
        let settled = Settled::of(&found, at(1));
        assert_eq!(settled.lanes[..5], [4, 14, 2, 1, 3].map(at));
        let ahead = settled.ahead.unwrap();
        assert_eq!(ahead.from, at(10));
        assert_eq!(ahead.lanes[..5], [10, 14, 10, 10, 12].map(at));
    }

    #[test]
    fn lowest_is_taken_of_each_half() {
        let mut found = [lane(3, Some((10, 12))); LANES];
        found[7] = lane(2, Some((10, 11)));
        let lowest = Settled::of(&found, at(1)).lowest();
        assert_eq!(lowest.lanes, [at(2); LANES]);
        assert_eq!(lowest.ahead, Some(Ahead { from: at(10), lanes: [at(11); LANES] }));
    }
}
