//! Lanes that move to a queue of their own, so that they delay only themselves, and return.

use super::{Queue, Settings, Source};
use crate::attempt::Attempt;
use crate::chunks::{Chunks, Ref};
use crate::lanes::{Mask, lane_of};
use crate::shard::Shard;
use std::time::Duration;

impl<C: Source> Queue<C> {
    /// Moves these lanes of a shard to a new queue, with their waiting points and their part of the batch.
    /// The shard must have no request under way.
    ///
    /// At most `memory` bytes move, but always the rest of the batch, because some of it may be settled. The
    /// other points are dropped: `dropped` is called for each, and the new queue has to be fed from its
    /// [`Queue::head`] on.
    pub fn split(
        &mut self,
        index: usize,
        lanes: &Mask,
        memory: usize,
        now: Duration,
        mut dropped: impl FnMut(&C, u32),
    ) -> Queue<C> {
        let mut part = self.empty_part(index, lanes, memory, now);
        let Some(shard) = self.shards.get_mut(index) else {
            model::invariant!(false, "lanes are isolated from a shard of the queue", shard = index);
            return part;
        };
        part.shards.iter_mut().for_each(|own| own.not_before = shard.not_before);
        let attempt = shard.attempt.take();
        let drawn_to = shard.drawn_to;
        let (waiting, failing) =
            (std::mem::take(&mut shard.waiting), attempt.as_ref().and_then(|a| a.failing));
        let unsettled: Vec<Ref> = attempt.iter().flat_map(Attempt::unsettled).collect();
        let leaves = |at: &Ref| {
            let lane = self.chunks.get(*at).map(|chunk| usize::from(lane_of(chunk.series(at.point))));
            lane.and_then(|lane| lanes.get(lane)) == Some(&true)
        };
        let (batch, rest): (Vec<Ref>, Vec<Ref>) = unsettled.into_iter().partition(leaves);
        let (waiting, staying): (Vec<Ref>, Vec<Ref>) = waiting.into_iter().partition(leaves);
        if let Some(shard) = self.shards.get_mut(index) {
            shard.waiting = staying.into();
        }
        self.put_back(index, rest);
        // A failing batch stays a batch. Otherwise all points wait.
        let attempt = attempt.filter(|_| failing.is_some() && !batch.is_empty());
        self.hand_over(&mut part, (&batch, drawn_to), &waiting, attempt, &mut dropped);
        for at in batch.into_iter().chain(waiting) {
            self.chunks.release(at);
        }
        let mut left = 0;
        for (lane, leaves) in self.lanes.iter_mut().zip(lanes) {
            if *leaves && lane.is_served && lane.shard == index {
                lane.is_served = false;
                left += 1;
            }
        }
        if let Some(shard) = self.shards.get_mut(index) {
            shard.lanes -= left;
        }
        part
    }

    /// Returns a queue for some of the lanes, with their positions and without points.
    fn empty_part(&self, index: usize, lanes: &Mask, memory: usize, now: Duration) -> Queue<C> {
        let settings = Settings { min_shards: 1, max_shards: 1, memory, ..self.settings.clone() };
        let limit = settings.max_points.max(1);
        let mut own = self.lanes.clone();
        for (lane, leaves) in own.iter_mut().zip(lanes) {
            lane.is_served &= *leaves && lane.shard == index;
            lane.shard = 0;
        }
        let count = own.iter().filter(|lane| lane.is_served).count();
        Queue {
            settings,
            chunks: Chunks::new(),
            head: self.head,
            skip_before: self.skip_before,
            lanes: own,
            shards: vec![Shard { lanes: count, limit, ..Shard::default() }],
            wanted_shards: 1,
            flushing: self.flushing,
            next_shard: 0,
            newest: i64::MIN,
            restart: self.restart,
            troubled_at: Some(now),
        }
    }

    /// Copies points to the new queue: the whole batch, and as many waiting points as there is room for.
    fn hand_over(
        &self,
        part: &mut Queue<C>,
        (batch, drawn_to): (&[Ref], Option<Ref>),
        waiting: &[Ref],
        attempt: Option<Attempt>,
        dropped: &mut impl FnMut(&C, u32),
    ) {
        let order = |at: &Ref| self.chunks.order(*at);
        // A chunk is removed when all its points are settled.
        let drawn_to =
            drawn_to.map(|at| order(&at)).filter(|(chunk, _)| (*chunk as usize) < self.chunks.len());
        let needed = batch.last().map(order).max(drawn_to);
        let mut all: Vec<(Ref, bool)> = batch.iter().map(|at| (*at, attempt.is_some())).collect();
        all.extend(waiting.iter().map(|at| (*at, false)));
        all.sort_by_key(|(at, _)| order(at));
        let [mut sent, mut waits] = [const { Vec::new() }; 2];
        let mut is_full = false;
        for points in all.chunk_by(|(one, _), (other, _)| one.chunk == other.chunk) {
            let Some((first, _)) = points.first().copied() else { continue };
            let (Some(chunk), Some((end, newest))) = (self.chunks.get(first), self.chunks.end(first)) else {
                continue;
            };
            let is_needed = needed.is_some_and(|needed| order(&first) <= needed);
            is_full |= !is_needed && part.chunks.bytes() >= part.settings.memory;
            if is_full {
                // All dropped points are after the copied ones.
                part.head = part.head.min(chunk.position(first.point));
                points.iter().for_each(|(at, _)| dropped(chunk, at.point));
                continue;
            }
            let number = part.chunks.next_number();
            part.chunks.push(chunk.clone(), end, points.len() as u32, newest);
            part.newest = newest;
            for (at, is_sent) in points {
                let at = Ref { chunk: number, point: at.point };
                if *is_sent { sent.push(at) } else { waits.push(at) }
            }
        }
        if let Some(shard) = part.shards.first_mut() {
            shard.waiting = waits.into();
            shard.attempt = attempt.map(|attempt| Attempt { batch: sent, narrow: None, ..attempt });
        }
    }

    /// Keeps only the lanes for which `serves` returns true. The queue must be empty.
    pub fn serve_only(&mut self, serves: impl Fn(usize) -> bool) {
        for (number, lane) in self.lanes.iter_mut().enumerate().filter(|(number, _)| !serves(*number)) {
            if let Some(shard) = self.shards.get_mut(lane.shard).filter(|_| lane.is_served) {
                model::invariant!(
                    shard.waiting.is_empty(),
                    "a queue gives up lanes only while it is empty",
                    lane = number
                );
                shard.lanes -= 1;
                lane.is_served = false;
            }
        }
    }

    /// Takes lanes back from `other`, which must be empty and must have been fed at least as far as this
    /// queue.
    pub fn rejoin(&mut self, other: &Queue<C>) {
        let positions = other.positions();
        let returning = other.lanes.iter().zip(positions).enumerate().filter(|(_, (lane, _))| lane.is_served);
        for (number, (theirs, position)) in returning {
            let shard = number % self.wanted_shards;
            if let (Some(lane), Some(shard_of)) = (self.lanes.get_mut(number), self.shards.get_mut(shard)) {
                *lane = super::Lane { shard, floor: position.max(lane.floor), ..*theirs };
                shard_of.lanes += 1;
            }
        }
        // The points that the other queue settled are before this position.
        self.skip_before = self.skip_before.max(other.head);
    }
}
