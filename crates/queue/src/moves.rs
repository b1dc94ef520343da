//! Moves lanes between shards when the number of shards changes.
//!
//! Only waiting references move, and only while the shard that they leave has no attempt. So a move can
//! neither drop nor reorder points.

use super::{Queue, Source};
use crate::chunks::Ref;
use crate::lanes::{LANES, lane_of};
use std::collections::VecDeque;
use std::time::Duration;

impl<C: Source> Queue<C> {
    /// Spreads the lanes over this many shards, within the configured bounds. A shard with an attempt gives
    /// up its lanes when the attempt is settled.
    pub fn reshard(&mut self, shards: usize) {
        self.wanted_shards = shards.clamp(1, self.settings.max_shards.clamp(1, LANES));
        for shard in &mut self.shards {
            shard.has_misplaced_lanes = shard.lanes > 0;
        }
        for shard in 0..self.shards.len() {
            self.move_lanes(shard);
        }
    }

    /// Moves the lanes that belong to other shards, if `from` has no attempt.
    pub(super) fn move_lanes(&mut self, from: usize) {
        let Some(shard) = self.shards.get_mut(from) else { return };
        if !shard.has_misplaced_lanes || shard.attempt.is_some() {
            return;
        }
        shard.has_misplaced_lanes = false;
        self.keep_floors();
        let mut moved = 0;
        for (number, lane) in self.lanes.iter_mut().enumerate() {
            let to = number % self.wanted_shards;
            if !lane.is_served || lane.shard != from || to == from {
                continue;
            }
            lane.shard = to;
            moved += 1;
            if let Some(shard) = self.shards.get_mut(to) {
                shard.lanes += 1;
            }
        }
        let Some(shard) = self.shards.get_mut(from).filter(|_| moved > 0) else { return };
        shard.lanes -= moved;
        let waiting = std::mem::take(&mut shard.waiting);
        let mut leaving: Vec<Vec<Ref>> = Vec::new();
        leaving.resize_with(self.shards.len(), Vec::new);
        for at in waiting {
            let lane = self.chunks.get(at).map(|chunk| usize::from(lane_of(chunk.series(at.point))));
            let to = lane.and_then(|lane| self.lanes.get(lane)).map_or(from, |lane| lane.shard);
            let is_shard =
                model::invariant!(to < leaving.len(), "a lane has a shard of the queue", shard = to);
            if let Some(leaving) = leaving.get_mut(if is_shard { to } else { from }) {
                leaving.push(at);
            }
        }
        for (shard, leaving) in leaving.into_iter().enumerate() {
            self.put_back(shard, leaving);
        }
    }

    /// Puts points back among the waiting points of a shard, in the log's order.
    pub(super) fn put_back(&mut self, shard: usize, points: Vec<Ref>) {
        if points.is_empty() {
            return;
        }
        let count = self.shards.len();
        let is_shard =
            model::invariant!(shard < count, "points go back to a shard of the queue", shard = shard);
        let chunks = &self.chunks;
        let order = |at: &Ref| chunks.order(*at);
        let Some(shard) = self.shards.get_mut(if is_shard { shard } else { 0 }) else { return };
        if shard.waiting.front().map(order) > points.last().map(order) {
            for at in points.into_iter().rev() {
                shard.waiting.push_front(at);
            }
        } else {
            shard.waiting = merge(std::mem::take(&mut shard.waiting), points, order);
        }
        // The arrival time of the first urgent point is not known any more. These points have waited long
        // enough.
        if self.settings.early {
            shard.urgent_since.get_or_insert(Duration::ZERO);
        }
    }
}

/// Merges two lists that are in the log's order into one in the log's order.
fn merge(a: VecDeque<Ref>, b: Vec<Ref>, order: impl Fn(&Ref) -> (u32, u32)) -> VecDeque<Ref> {
    if a.is_empty() {
        return b.into();
    }
    let mut merged = VecDeque::with_capacity(a.len() + b.len());
    let (mut a, mut b) = (a.into_iter().peekable(), b.into_iter().peekable());
    loop {
        let next = match (a.peek(), b.peek()) {
            (Some(left), Some(right)) if order(left) <= order(right) => a.next(),
            (_, Some(_)) => b.next(),
            (_, None) => a.next(),
        };
        match next {
            Some(at) => merged.push_back(at),
            None => return merged,
        }
    }
}
