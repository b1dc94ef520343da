//! Lanes moving between shards: resharding, and taking out lanes that hold up others.
//!
//! Only queued references move, and only while the shard they leave has no batch, so a move can't drop or
//! reorder anything.

use super::{Queue, SIDE_SHARDS, SIDE_TIME, Source};
use crate::queue::lanes::{LANES, lane_of};
use crate::queue::shard::Ref;
use std::collections::VecDeque;
use std::time::Duration;

impl<C: Source> Queue<C> {
    /// Spreads the lanes over this many shards (within the bounds). A shard with a batch hands its lanes
    /// over when that is settled.
    pub fn reshard(&mut self, shards: usize) {
        self.wanted_shards = shards.clamp(1, self.settings.max_shards.clamp(1, LANES));
        for shard in &mut self.shards {
            shard.lanes_to_move = shard.lanes > 0;
        }
        for shard in 0..self.shards.len() {
            self.move_lanes(shard);
        }
    }

    /// To be called every second or so: brings lanes home that were taken out and have been clean since.
    pub fn tick(&mut self, now: Duration) {
        for side in self.first_side()..self.shards.len() {
            if self.is_returning(side) {
                continue;
            }
            let Some(shard) = self.shards.get_mut(side) else { continue };
            // What fails stays until it is settled, so that it is known for how long it has.
            if shard.lanes > 0 && shard.failures.since.is_none() && now >= shard.refused_at + SIDE_TIME {
                shard.lanes_to_move = true;
                for lane in self.lanes.iter_mut().filter(|lane| lane.side == Some(side)) {
                    lane.side = None;
                }
                self.move_lanes(side);
            }
        }
    }

    /// The first of the shards for lanes that are taken out.
    pub(super) fn first_side(&self) -> usize {
        self.shards.len() - 1 - SIDE_SHARDS
    }

    /// Gives `stuck` lanes a shard of their own, if there is one free and it helps: where most lanes of
    /// the shard are stuck there is nobody to be protected. Returns which.
    pub(super) fn take_out(&mut self, from: usize, stuck: &[bool; LANES], now: Duration) -> Option<usize> {
        let has = self.shards.get(from)?.lanes;
        let count = stuck.iter().filter(|stuck| **stuck).count();
        let side = (self.first_side()..self.shards.len() - 1)
            .find(|side| self.shards.get(*side).is_some_and(|shard| shard.lanes == 0 && shard.is_empty()))?;
        if count == 0 || count * 2 > has {
            return None;
        }
        for (lane, _) in self.lanes.iter_mut().zip(stuck).filter(|(_, stuck)| **stuck) {
            lane.side = Some(side);
        }
        if let Some(shard) = self.shards.get_mut(side) {
            shard.refused_at = now;
            shard.limit = self.settings.max_points.max(1);
        }
        if let Some(shard) = self.shards.get_mut(from) {
            shard.lanes_to_move = true;
        }
        Some(side)
    }

    /// Hands the lanes that belong elsewhere over, if `from` has no batch.
    pub(super) fn move_lanes(&mut self, from: usize) {
        let Some(shard) = self.shards.get(from) else { return };
        if !shard.lanes_to_move || !shard.batch.is_empty() {
            return;
        }
        // What lanes have reached must not be forgotten: neither by those that leave, for their new shard's
        // oldest point, nor by those that get company, for what that brings along.
        self.positions();
        let mut moved = 0;
        for (number, lane) in self.lanes.iter_mut().enumerate() {
            let to = lane.side.unwrap_or(number % self.wanted_shards);
            if lane.shard != from || to == from {
                continue;
            }
            lane.shard = to;
            moved += 1;
            if let Some(shard) = self.shards.get_mut(to) {
                shard.lanes += 1;
            }
        }
        let Some(shard) = self.shards.get_mut(from) else { return };
        shard.lanes_to_move = false;
        shard.lanes -= moved;
        if moved == 0 {
            return;
        }
        // What was known of failures may be about lanes that have left. A pause that was asked for holds on.
        shard.forget_batch_but_pause();
        let waiting = std::mem::take(&mut shard.waiting);
        let mut leaving: Vec<Vec<Ref>> = Vec::new();
        leaving.resize_with(self.shards.len(), Vec::new);
        for point in waiting {
            let lane = self.chunk(point).map(|chunk| usize::from(lane_of(chunk.series(point.point))));
            let to = lane.and_then(|lane| self.lanes.get(lane)).map_or(from, |lane| lane.shard);
            let is_shard =
                model::invariant!(to < leaving.len(), "a lane has a shard of the queue", shard = to);
            if let Some(leaving) = leaving.get_mut(if is_shard { to } else { from }) {
                leaving.push(point);
            }
        }
        for (shard, leaving) in leaving.into_iter().enumerate() {
            self.put_back(shard, leaving);
        }
    }

    /// Lets these wait in a shard, at their places in the log's order.
    pub(super) fn put_back(&mut self, shard: usize, points: Vec<Ref>) {
        if points.is_empty() {
            return;
        }
        let count = self.shards.len();
        let is_shard =
            model::invariant!(shard < count, "points go back to a shard of the queue", shard = shard);
        let Some(shard) = self.shards.get_mut(if is_shard { shard } else { 0 }) else { return };
        let first_chunk = self.first_chunk;
        let key = |point: &Ref| (point.chunk.wrapping_sub(first_chunk), point.point);
        if shard.waiting.front().map(key) > points.last().map(key) {
            for point in points.into_iter().rev() {
                shard.waiting.push_front(point);
            }
        } else {
            shard.waiting = merge(std::mem::take(&mut shard.waiting), points, key);
        }
    }
}

/// Both are in the log's order, and so is the result.
fn merge(a: VecDeque<Ref>, b: Vec<Ref>, key: impl Fn(&Ref) -> (u32, u32)) -> VecDeque<Ref> {
    if a.is_empty() {
        return b.into();
    }
    let mut merged = VecDeque::with_capacity(a.len() + b.len());
    let (mut a, mut b) = (a.into_iter().peekable(), b.into_iter().peekable());
    loop {
        let next = match (a.peek(), b.peek()) {
            (Some(left), Some(right)) if key(left) <= key(right) => a.next(),
            (_, Some(_)) => b.next(),
            (_, None) => a.next(),
        };
        match next {
            Some(point) => merged.push_back(point),
            None => return merged,
        }
    }
}
