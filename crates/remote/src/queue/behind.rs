//! Lanes that are left behind: where a shard is stuck past the queue's memory, the queue goes on without
//! its lanes, and another queue with a reader of its own serves them from the log until it has caught up.
//!
//! ```text
//!         leave_behind                begin_return              end_return
//!  Here ──────────────► Behind ─────────────────────► Returning ──────────► Here
//!                         ▲   the other queue has read up     │  the other queue
//!                         │   to this one's head              │  has settled all
//!                         └────────── leave_behind ───────────┘
//! ```
//!
//! A returning lane's new points wait in a shard of their own, so that none overtakes what the other queue
//! still has. The lane's position is the other queue's until it has returned.

use super::{Queue, STUCK_AFTER, Source, Stay};
use crate::queue::lanes::LANES;
use crate::queue::shard::Ref;
use std::time::Duration;
use wal::Position;

/// Which lanes.
pub type Mask = [bool; LANES];

/// Lanes that were left behind.
#[derive(Debug, Clone, PartialEq)]
pub struct Left {
    /// Which.
    pub lanes: Mask,
    /// Everything of them before this is settled, or with the queue that serves them already.
    pub from: Position,
    /// By lane; `from` for lanes that were not left.
    pub positions: [Position; LANES],
}

impl<C: Source> Queue<C> {
    /// The shard where returning lanes wait.
    fn returning_shard(&self) -> usize {
        self.shards.len() - 1
    }

    /// Whether the shard must not send, because its lanes' older points are with another queue.
    pub(super) fn is_returning(&self, shard: usize) -> bool {
        shard == self.returning_shard()
            && self.lanes.iter().any(|lane| lane.shard == shard && lane.stay == Stay::Returning)
    }

    /// Where the queue is full because of one shard that is stuck while others pass (or because of lanes
    /// that wait for their return): lets go of all points of its lanes, and names the lanes. `dropped` is
    /// called for each point.
    pub fn leave_behind(&mut self, now: Duration, mut dropped: impl FnMut(&C, u32)) -> Option<Left> {
        if self.wants_more() || self.gate.is_some() {
            return None;
        }
        let stuck = (0..self.shards.len()).find(|index| {
            let Some(shard) = self.shards.get(*index).filter(|shard| !shard.under_way) else { return false };
            // Only whoever holds the oldest chunk holds up the others.
            if !shard.oldest().any(|point| point.chunk == self.first_chunk) {
                return false;
            }
            self.is_stuck(shard, now, STUCK_AFTER) || self.is_returning(*index)
        })?;
        let from = self.shards.get(stuck).map(|shard| self.shard_position(shard))?;
        self.note_searched(stuck);
        let mut lanes = [false; LANES];
        let mut positions = [from; LANES];
        for ((lane, left), position) in self.lanes.iter_mut().zip(&mut lanes).zip(&mut positions) {
            if lane.shard != stuck || lane.stay == Stay::Behind {
                continue;
            }
            if lane.stay == Stay::Here {
                lane.floor = lane.floor.max(from);
                *position = lane.floor;
            }
            lane.stay = Stay::Behind;
            *left = true;
        }
        let shard = self.shards.get_mut(stuck)?;
        let mut points: Vec<Ref> = shard.take_batch();
        points.extend(std::mem::take(&mut shard.waiting));
        shard.forget_batch();
        for point in points {
            if let Some(chunk) = self.chunk(point) {
                dropped(chunk, point.point);
            }
            self.release(point);
        }
        self.move_lanes(stuck);
        Some(Left { lanes, from, positions })
    }

    /// The other queue has everything of these lanes before [`Queue::head`]: what comes from here on is
    /// this one's. Not possible while other lanes are on their way back.
    pub fn begin_return(&mut self, lanes: &Mask) -> bool {
        let to = self.returning_shard();
        if self.is_returning(to) || self.shards.get(to).is_none_or(|shard| shard.lanes > 0) {
            return false;
        }
        let mut count = 0;
        for (lane, _) in self.lanes.iter_mut().zip(lanes).filter(|(_, returns)| **returns) {
            if let Some(shard) = self.shards.get_mut(lane.shard) {
                shard.lanes -= 1;
            }
            lane.stay = Stay::Returning;
            lane.shard = to;
            lane.side = Some(to);
            count += 1;
        }
        if let Some(shard) = self.shards.get_mut(to) {
            shard.lanes = count;
            shard.refused_at = Duration::ZERO;
        }
        true
    }

    /// The other queue is through with these lanes.
    pub fn end_return(&mut self, lanes: &Mask) {
        for (lane, _) in self.lanes.iter_mut().zip(lanes).filter(|(_, returns)| **returns) {
            lane.stay = Stay::Here;
        }
    }
}
