//! Decides what is sent next, and when.

use super::{EARLY_INTERVAL, Health, LINGER, NARROWED_AFTER, PARKED_AFTER, Queue, Request, Source};
use crate::attempt::Attempt;
use crate::chunks::Ref;
use crate::fate::{Fate, REFUSED};
use crate::lanes::LANES;
use crate::narrow::{Candidate, Goal, Narrow};
use crate::shard::Shard;
use std::time::Duration;

impl<C: Source> Queue<C> {
    /// Returns the next request, if one is to be sent now. It is under way until [`Queue::answer`].
    pub fn begin_request(&mut self, now: Duration, health: &mut Health) -> Option<Request> {
        if health.opens_at().is_none_or(|at| at > now) {
            return None;
        }
        let count = self.shards.len();
        for offset in 0..count {
            let index = (self.next_shard + offset) % count;
            if self.ready_at(index, health).is_none_or(|at| at > now) {
                continue;
            }
            self.prepare(index, now, health);
            let shard = self.shards.get_mut(index)?;
            let Some(attempt) = &mut shard.attempt else { continue };
            attempt.under_way = true;
            shard.sent_at = now;
            health.sent(now);
            self.next_shard = (index + 1) % count;
            let Attempt { tries, sent_before, .. } = *attempt;
            return Some(Request { shard: index, tries, sent_before, whole: attempt.narrow.is_none() });
        }
        None
    }

    /// Makes a batch for the shard, or continues its present one.
    fn prepare(&mut self, index: usize, now: Duration, health: &Health) {
        let Some(shard) = self.shards.get_mut(index) else { return };
        if shard.attempt.is_none() {
            let batch = self.draw(index, self.batch_len(index));
            if let Some(shard) = self.shards.get_mut(index) {
                shard.attempt = Some(Attempt { batch, ..Attempt::default() });
            }
        }
        let Some(attempt) = self.shards.get(index).and_then(|shard| shard.attempt.as_ref()) else { return };
        let fails_long = attempt.failing.is_some_and(|failing| {
            // Before points are parked, the whole batch is tried once more.
            let is_parked_next = self.settings.park && failing.beside >= PARKED_AFTER;
            !is_parked_next && now >= (failing.since + NARROWED_AFTER).max(failing.narrow_at)
        });
        // While access is denied, a single point is enough as a probe.
        if self.settings.narrow && attempt.narrow.is_none() && (fails_long || health.is_closed()) {
            self.refill(index);
            self.begin_narrowing(index, Goal::Isolate);
        }
    }

    /// Adds waiting points to a batch in which all points fail, as many as a batch may have. Only other
    /// points can show whether the destination accepts any data.
    fn refill(&mut self, index: usize) {
        let Some(batch) = self
            .shards
            .get_mut(index)
            .and_then(|shard| Some(std::mem::take(&mut shard.attempt.as_mut()?.batch)))
        else {
            return;
        };
        self.put_back(index, batch);
        let batch = self.draw(index, self.settings.max_points.max(1));
        if let Some(attempt) = self.shards.get_mut(index).and_then(|shard| shard.attempt.as_mut()) {
            attempt.batch = batch;
        }
    }

    /// Begins to narrow the shard's batch, if the settings allow it and the batch has enough points. Returns
    /// true if it did.
    pub(super) fn begin_narrowing(&mut self, index: usize, goal: Goal) -> bool {
        let Some(attempt) = self.shards.get(index).and_then(|shard| shard.attempt.as_ref()) else {
            return false;
        };
        // A single point can be isolated. To be refused or parked, it needs no search.
        let least = if goal == Goal::Isolate { 1 } else { 2 };
        if !self.settings.narrow || attempt.batch.len() < least {
            return false;
        }
        let candidate = |at: &Ref| {
            self.chunks.get(*at).map_or(Candidate { series: 0, timestamp: 0 }, |chunk| Candidate {
                series: chunk.series(at.point),
                timestamp: chunk.timestamp(at.point),
            })
        };
        let narrow = Narrow::new(attempt.batch.iter().map(candidate).collect(), goal);
        if let Some(attempt) = self.shards.get_mut(index).and_then(|shard| shard.attempt.as_mut()) {
            attempt.narrow = Some(narrow);
        }
        true
    }

    /// Returns how many waiting points make the shard's next batch. That is the shard's limit, except that a
    /// chunk that is cheaper to send whole is not cut if it fits into the batch after this one.
    fn batch_len(&self, index: usize) -> usize {
        let Some(shard) = self.shards.get(index) else { return 0 };
        let (waiting, limit) = (&shard.waiting, shard.limit);
        let Some(next) = waiting.get(limit) else { return waiting.len() };
        // With several shards, each of them has a part of each chunk.
        if shard.lanes < LANES || !self.chunks.get(*next).is_some_and(|chunk| chunk.keeps_together()) {
            return limit;
        }
        let is_of_next = |at: &&Ref| at.chunk == next.chunk;
        let cut = limit - waiting.range(..limit).rev().take_while(is_of_next).count();
        let fits = waiting.get(cut + limit).is_none_or(|after| after.chunk != next.chunk);
        if cut > 0 && fits { cut } else { limit }
    }

    /// Takes the first `count` waiting points, or all if there are fewer.
    fn draw(&mut self, index: usize, count: usize) -> Vec<Ref> {
        let Some(shard) = self.shards.get_mut(index) else { return Vec::new() };
        let batch: Vec<Ref> = shard.waiting.drain(..count.min(shard.waiting.len())).collect();
        shard.drawn_to = batch.last().copied();
        if shard.waiting.is_empty() {
            shard.urgent_since = None;
        }
        batch
    }

    /// Returns when [`Queue::begin_request`] may next return a request, if nothing else happens.
    pub fn next_wakeup(&self, health: &Health) -> Option<Duration> {
        let opens_at = health.opens_at()?;
        let ready = (0..self.shards.len()).filter_map(|shard| self.ready_at(shard, health)).min()?;
        Some(ready.max(opens_at))
    }

    /// Returns when the shard has a request to send. The time is in the past if it is ready now.
    fn ready_at(&self, index: usize, health: &Health) -> Option<Duration> {
        let shard = self.shards.get(index)?;
        if let Some(attempt) = &shard.attempt {
            // While access is denied, the destination's pause replaces those of the shards, so that each
            // shard gets its turn.
            let at = if health.is_closed() { Duration::ZERO } else { shard.not_before };
            return (!attempt.under_way).then_some(at);
        }
        let oldest = shard.waiting.front()?;
        // At a limit no more points come that could fill the batch.
        if self.flushing || shard.waiting.len() >= shard.limit || !self.wants_more() {
            return Some(shard.not_before);
        }
        let (deadline, sent_at) = (self.settings.deadline, shard.sent_at);
        let arrived = self.chunks.get(*oldest)?.arrived();
        // There is one batch that is not full per deadline, so the first one after a pause need not wait for
        // the deadline.
        let filled = (arrived + LINGER.min(deadline)).max((sent_at + deadline).min(arrived + deadline));
        let early = shard.urgent_since.and_then(|since| health.early_at(since, LINGER, EARLY_INTERVAL));
        Some(filled.min(early.unwrap_or(filled)).max(shard.not_before))
    }

    /// Returns the earliest time of a retry, while the queue waits for the destination.
    pub fn waits_until(&self, health: &Health) -> Option<Duration> {
        let is_waiting = |shard: &&Shard| {
            shard.attempt.as_ref().is_some_and(|attempt| attempt.tries > 0 && !attempt.under_way)
        };
        let next = || self.shards.iter().filter(is_waiting).map(|shard| shard.not_before).min();
        health.probe_at().or_else(next)
    }

    /// Returns the points of the request that is under way in `shard`, in the log's order.
    pub fn points(&self, shard: usize) -> impl Iterator<Item = (&C, u32)> + Clone {
        let attempt = self.shards.get(shard).and_then(|shard| shard.attempt.as_ref());
        let request = attempt.into_iter().flat_map(Attempt::request);
        request.filter_map(|at| Some((&**self.chunks.get(at)?, at.point)))
    }

    /// Keeps the first `count` points of a whole batch in the request. The others wait again.
    pub fn trim(&mut self, shard: usize, count: usize) {
        let Some(attempt) = self.shards.get_mut(shard).and_then(|shard| shard.attempt.as_mut()) else {
            return;
        };
        let batch = &mut attempt.batch;
        let rest = batch.split_off(count.max(1).min(batch.len()));
        self.put_back(shard, rest);
    }

    /// Drops unwanted points of the request's batch and calls `dropped` for each. If the batch is being
    /// narrowed, the narrowing starts again. If no point is left, the request's verdict is
    /// [`write_client::Verdict::Unsent`].
    pub fn expire(
        &mut self,
        request: &mut Request,
        is_unwanted: impl Fn(&C, u32) -> bool,
        mut dropped: impl FnMut(&C, u32),
    ) {
        let Some(attempt) = self.shards.get(request.shard).and_then(|shard| shard.attempt.as_ref()) else {
            return;
        };
        let goes = |at: Ref| self.chunks.get(at).is_some_and(|chunk| is_unwanted(chunk, at.point));
        if !attempt.unsettled().any(goes) {
            return;
        }
        let is_failing = !attempt.only_held_fail() || attempt.held().any(|at| !goes(at));
        let goal = self.stop_narrowing(request.shard).filter(|_| is_failing);
        for at in self.take_from_batch(request.shard, is_unwanted) {
            if let Some(chunk) = self.chunks.get(at) {
                dropped(chunk, at.point);
            }
            self.chunks.release(at);
        }
        if let Some(attempt) = self.attempt_mut(request.shard).filter(|_| !is_failing) {
            // The failed points are gone, and the others have never failed.
            attempt.failing = None;
        }
        request.whole = !goal.is_some_and(|goal| self.begin_narrowing(request.shard, goal));
    }

    /// Ends the narrowing: the unsettled points become the batch. Returns the goal of the narrowing.
    pub(super) fn stop_narrowing(&mut self, shard: usize) -> Option<Goal> {
        let attempt = self.shards.get_mut(shard).and_then(|shard| shard.attempt.as_mut())?;
        attempt.batch = attempt.unsettled().collect();
        attempt.narrow.take().map(|narrow| narrow.goal())
    }

    /// Settles the points that the receiver refuses. Nothing is known of the other points of the batch. Must
    /// not be called while the batch is being narrowed.
    pub fn refuse_some(
        &mut self,
        shard: usize,
        is_refused: impl FnMut(&C, u32) -> bool,
        settle: &mut impl FnMut(&C, u32, Fate),
    ) {
        for at in self.take_from_batch(shard, is_refused) {
            self.settle(at, REFUSED, settle);
        }
    }

    fn take_from_batch(&mut self, shard: usize, mut is_taken: impl FnMut(&C, u32) -> bool) -> Vec<Ref> {
        let attempt = self.shards.get_mut(shard).and_then(|shard| shard.attempt.as_mut());
        let Some(attempt) = attempt.filter(|attempt| attempt.narrow.is_none()) else { return Vec::new() };
        let batch = std::mem::take(&mut attempt.batch);
        let is_taken = |at: &Ref| self.chunks.get(*at).is_some_and(|chunk| is_taken(chunk, at.point));
        let (taken, kept): (Vec<Ref>, Vec<Ref>) = batch.into_iter().partition(is_taken);
        attempt.batch = kept;
        taken
    }
}
