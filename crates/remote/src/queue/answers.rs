//! What an answer means for the points of its request.

use super::{
    DENIED_ALONE, DENIED_INTERVAL, FAST_ANSWER, Fate, Gate, NARROWED_AFTER, Outcome, POISONED_AFTER,
    PROBE_AFTER, Queue, Reached, SMALLEST_BATCH, Source,
};
use crate::queue::backoff;
use crate::queue::lanes::{LANES, lane_of};
use crate::queue::narrow::{self, Candidate, Narrow};
use crate::queue::shard::{Failures, Mode, Ref};
use std::time::Duration;
use wal::Position;

impl<C: Source> Queue<C> {
    /// Takes what became of the request under way in `shard`; `settle` is called for each point that is
    /// settled by it, in the log's order.
    pub fn answer(
        &mut self,
        shard: usize,
        outcome: Outcome,
        now: Duration,
        mut settle: impl FnMut(&C, u32, Fate),
    ) {
        let index = shard;
        let Some(shard) = self.shards.get_mut(index).filter(|shard| shard.under_way) else {
            model::invariant!(false, "an answer belongs to a request that is under way", shard = index);
            return;
        };
        shard.under_way = false;
        self.is_fast = matches!(outcome, Outcome::Delivered | Outcome::Settled)
            && now.saturating_sub(shard.sent_at) <= FAST_ANSWER;
        if outcome.lets_in() {
            self.gate = None;
        }
        match outcome {
            Outcome::Delivered | Outcome::Settled => {
                // Not the time of the answer: a request that was under way when another one failed says
                // nothing of what came after.
                self.last_success = self.last_success.max(Some(shard.sent_at));
                let fate = if outcome == Outcome::Delivered {
                    Fate::Delivered
                } else {
                    Fate::Settled { maybe_written: false }
                };
                self.request_settled(index, fate, now, &mut settle);
            }
            // It says nothing of the destination.
            Outcome::Unsent => self.request_settled(index, Fate::Delivered, now, &mut settle),
            Outcome::Resend => shard.not_before = now,
            Outcome::Retry { reached, after, jitter } => {
                shard.sent_before |= reached != Reached::Nothing;
                shard.attempt = shard.attempt.saturating_add(1);
                shard.failures.stuck_since.get_or_insert(now);
                let (min, max) = (self.settings.min_backoff, self.settings.max_backoff);
                shard.not_before = now + backoff::delay(min, max, shard.attempt, after, jitter);
                // Behind a gate nothing else would keep the pause.
                if let Some(gate) = &mut self.gate {
                    gate.next_probe = gate.next_probe.max(shard.not_before);
                }
                if reached.may_be_written() {
                    self.note_request_tried(index);
                }
                if reached.is_answer() {
                    self.failed(index, now, &mut settle);
                }
            }
            Outcome::Denied => self.denied(index, now, &mut settle),
            Outcome::RefusedWhole => {
                let fate = Fate::Refused { maybe_written: false };
                if matches!(shard.mode, Mode::Narrow(_)) {
                    self.refused(index, fate, now, &mut settle);
                } else {
                    self.request_settled(index, fate, now, &mut settle);
                }
            }
            Outcome::Refused { fits_a_repeat } => {
                if !fits_a_repeat {
                    self.note_request_tried(index);
                }
                self.refused(index, Fate::Refused { maybe_written: false }, now, &mut settle);
            }
            Outcome::TooLarge => {
                let count = shard.batch.len();
                if count > 1 && matches!(shard.mode, Mode::Whole) {
                    shard.limit = (count / 2).max(1);
                    shard.attempt = 0;
                    shard.not_before = now;
                    let keep = shard.limit;
                    self.trim(index, keep);
                } else {
                    self.refused(index, Fate::Refused { maybe_written: false }, now, &mut settle);
                }
            }
        }
        self.move_lanes(index);
    }

    /// The request met 408, 429 or 5xx: something in it may be why, if others pass meanwhile.
    fn failed(&mut self, index: usize, now: Duration, settle: &mut impl FnMut(&C, u32, Fate)) {
        let is_home = index < self.first_side();
        let Some(shard) = self.shards.get_mut(index) else { return };
        // Time counts up to the newest success, a probe of this batch's own among them. Of the time without any no
        // more than what there was between two tries, or a probe's: others may have met an outage in it.
        let failures = &mut shard.failures;
        let from = failures.counted_to.max(*failures.since.get_or_insert(now));
        if let Some(success) = self.last_success.filter(|success| *success > from) {
            let between_tries = now.saturating_sub(failures.at);
            failures.beside += (success - from).min(between_tries.max(PROBE_AFTER));
            failures.counted_to = success;
        }
        failures.at = now;
        let Failures { beside, narrowed_at, .. } = *failures;
        if matches!(&shard.mode, Mode::Narrow(search) if search.holds()) {
            self.narrowed(index, false, Fate::Poisoned, now, settle);
        } else if self.settings.put_aside && (shard.poisoned || beside >= POISONED_AFTER) {
            // A probe asks whether anything goes through: that it doesn't says nothing of its point.
            if !matches!(shard.mode, Mode::Probe(_)) {
                shard.poisoned = true;
                self.refused(index, Fate::Poisoned, now, settle);
            }
        } else if is_home && beside >= narrowed_at.max(NARROWED_AFTER) && matches!(shard.mode, Mode::Whole) {
            self.begin_narrowing(index, true, now);
        }
    }

    /// Nobody was let in by the request, or there is no receiver.
    fn denied(&mut self, index: usize, now: Duration, settle: &mut impl FnMut(&C, u32, Fate)) {
        let Some(shard) = self.shards.get_mut(index) else { return };
        let before = shard.denied_at.replace(now);
        let others_pass = before.zip(self.last_success).is_some_and(|(at, success)| success > at);
        shard.denied_alone += u32::from(others_pass);
        let is_alone = shard.denied_alone >= DENIED_ALONE;
        if is_alone && self.may_give_up(index, now) {
            return self.refused(index, Fate::Refused { maybe_written: false }, now, settle);
        }
        let next_probe = now + DENIED_INTERVAL;
        if let Some(shard) = self.shards.get_mut(index) {
            shard.not_before = next_probe;
        }
        // While others pass it is this batch's own affair; where they don't, they will be told themselves.
        let passes =
            others_pass || is_alone && self.last_success.is_some_and(|at| now < at + DENIED_INTERVAL);
        self.gate = match self.gate.take() {
            Some(gate) => Some(Gate { next_probe: gate.next_probe.max(next_probe), probes: gate.probes + 1 }),
            None if passes => None,
            None => Some(Gate { next_probe, probes: 0 }),
        };
    }

    /// Whether the request that was denied may be taken for one that was refused. A probe never: it asks whether
    /// anybody is let in. Always, where that only begins or goes on with a search. Where it costs points, something has
    /// to have gone through since the last ones were given up: else credentials that run out in the middle of a search
    /// would cost all of them. A search that has waited for that is broken off, since something else of the batch may
    /// go through.
    fn may_give_up(&mut self, index: usize, now: Duration) -> bool {
        let Some(shard) = self.shards.get_mut(index) else { return false };
        let costs = match &shard.mode {
            Mode::Probe(_) => return false,
            Mode::Whole => !self.settings.narrow || shard.batch.len() == 1,
            Mode::Narrow(search) => !search.holds() && search.request().len() == 1,
        };
        if !costs {
            return true;
        }
        if self.last_success > Some(shard.given_up_at) {
            shard.given_up_at = now;
            return true;
        }
        if now >= shard.given_up_at + DENIED_INTERVAL && matches!(shard.mode, Mode::Narrow(_)) {
            self.break_off(index);
        }
        false
    }

    /// Ends a search before it is through: what it has not settled is the batch now.
    fn break_off(&mut self, index: usize) {
        self.note_searched(index);
        if let Some(shard) = self.shards.get_mut(index) {
            shard.batch = shard.take_batch();
            shard.mode = Mode::Whole;
        }
    }

    /// All points of the request are settled.
    fn request_settled(
        &mut self,
        index: usize,
        fate: Fate,
        now: Duration,
        settle: &mut impl FnMut(&C, u32, Fate),
    ) {
        let Some(shard) = self.shards.get_mut(index) else { return };
        if !matches!(fate, Fate::Delivered | Fate::Settled { .. }) {
            shard.refused_at = now;
        }
        match &mut shard.mode {
            Mode::Whole => {
                let batch = std::mem::take(&mut shard.batch);
                shard.limit = (shard.limit * 2).min(self.settings.max_points.max(1));
                shard.forget_batch();
                self.note_overtaken(index, &batch);
                for point in &batch {
                    self.settle(*point, fate, settle);
                }
                // The buffer is kept for the next batch.
                if let Some(shard) = self.shards.get_mut(index) {
                    shard.batch = batch;
                    shard.batch.clear();
                }
            }
            Mode::Probe(at) => {
                let at = *at as usize;
                shard.mode = Mode::Whole;
                if shard.failures.since.is_none() {
                    shard.attempt = 0;
                }
                shard.not_before = now;
                if at >= shard.batch.len() {
                    return;
                }
                let mut batch = std::mem::take(&mut shard.batch);
                let others = (0..).map(|place| place != at);
                self.note_done(self.with_series(&batch).zip(others).collect());
                let point = batch.remove(at);
                if let Some(shard) = self.shards.get_mut(index) {
                    shard.batch = batch;
                    if shard.batch.is_empty() {
                        shard.forget_batch();
                    }
                }
                self.settle(point, fate, settle);
            }
            Mode::Narrow(_) => self.narrowed(index, true, fate, now, settle),
        }
    }

    /// The request was refused for good, for something in it.
    fn refused(&mut self, index: usize, fate: Fate, now: Duration, settle: &mut impl FnMut(&C, u32, Fate)) {
        let mode = self.shards.get(index).map(|shard| &shard.mode);
        if matches!(mode, Some(Mode::Narrow(_))) {
            return self.narrowed(index, false, fate, now, settle);
        }
        let narrows = matches!(mode, Some(Mode::Whole)) && self.begin_narrowing(index, false, now);
        if !narrows {
            self.request_settled(index, fate, now, settle);
        }
    }

    /// Begins to narrow the shard's batch down, if it may be and there is anything to narrow. See [`Narrow::new`].
    fn begin_narrowing(&mut self, index: usize, holds: bool, now: Duration) -> bool {
        let Some(shard) = self.shards.get(index) else { return false };
        // What is refused alone is settled; what fails alone can still be taken out of the others' way.
        if !self.settings.narrow || shard.batch.len() < if holds { 1 } else { 2 } {
            return false;
        }
        let candidates = shard.batch.iter().map(|point| match self.chunk(*point) {
            Some(chunk) => {
                Candidate { series: chunk.series(point.point), timestamp: chunk.timestamp(point.point) }
            }
            None => {
                model::invariant!(false, "the chunk of an unsettled point is in the queue");
                Candidate { series: 0, timestamp: 0 }
            }
        });
        let search = Narrow::new(candidates.collect(), holds);
        if let Some(shard) = self.shards.get_mut(index) {
            shard.mode = Mode::Narrow(search);
            shard.attempt = 0;
            shard.not_before = shard.not_before.max(now);
        }
        true
    }

    /// An answer to a request of a search.
    fn narrowed(
        &mut self,
        index: usize,
        taken: bool,
        fate: Fate,
        now: Duration,
        settle: &mut impl FnMut(&C, u32, Fate),
    ) {
        let Some(shard) = self.shards.get_mut(index) else { return };
        let Mode::Narrow(search) = &mut shard.mode else { return };
        let request = search.request().to_vec();
        let before = search.fates().to_vec();
        search.answer(taken);
        let through = search.request().is_empty();
        let after = search.fates().to_vec();
        shard.attempt = 0;
        shard.not_before = shard.not_before.max(now);
        let presumed = if shard.poisoned { Fate::Poisoned } else { Fate::Presumed { maybe_written: false } };
        for (position, (before, after)) in before.iter().zip(&after).enumerate() {
            let (narrow::Fate::Open, true) = (*before, after.is_settled()) else { continue };
            let Some(point) = self.shards.get(index).and_then(|shard| shard.batch.get(position)) else {
                model::invariant!(false, "a search is about the points of its batch", position = position);
                continue;
            };
            let was_sent = request.binary_search(&(position as u32)).is_ok();
            self.settle(*point, if was_sent { fate } else { presumed }, settle);
        }
        if through {
            self.narrowing_ended(index, now, settle);
        }
    }

    /// Puts back what is open or held, and takes out the lanes that were refused or failed, so that they don't
    /// hold up the others again. What is open of a poisoned batch is poisoned too: its lanes have waited long
    /// enough.
    fn narrowing_ended(&mut self, index: usize, now: Duration, settle: &mut impl FnMut(&C, u32, Fate)) {
        self.note_searched(index);
        let Some(shard) = self.shards.get_mut(index) else { return };
        // Checked first: without a search the batch would be taken out of the shard and lost.
        if !model::invariant!(matches!(shard.mode, Mode::Narrow(_)), "only a search that runs can end") {
            return;
        }
        let mut open = shard.take_batch();
        let Mode::Narrow(search) = std::mem::take(&mut shard.mode) else { return };
        let holds = search.holds();
        let mut stuck = [false; LANES];
        for (point, fate) in search.points().iter().zip(search.fates()) {
            let is_stuck = if holds { *fate == narrow::Fate::Held } else { *fate != narrow::Fate::Delivered };
            if let Some(stuck) = stuck.get_mut(usize::from(lane_of(point.series))) {
                *stuck |= is_stuck;
            }
        }
        let (poisoned, mut failures, not_before) = (shard.poisoned, shard.failures, shard.not_before);
        // Next time after twice as long: it costs requests.
        failures.narrowed_at = failures.beside * 2;
        shard.forget_batch_but_pause();
        shard.refused_at = now;
        if poisoned {
            for point in open.drain(..) {
                self.settle(point, Fate::Poisoned, settle);
            }
        } else if !open.is_empty() && !holds {
            shard.limit = (shard.limit / 4).max(SMALLEST_BATCH).min(self.settings.max_points.max(1));
        }
        let left = open.len();
        self.put_back(index, open);
        let side = self.take_out(index, &stuck, now);
        if !holds || left == 0 {
            return;
        }
        // What was not given up goes on failing where it is now; where it stays, as the batch that it was.
        if let Some(shard) = self.shards.get_mut(side.unwrap_or(index)) {
            shard.failures = failures;
            shard.not_before = shard.not_before.max(not_before);
        }
        if let (None, Some(shard)) = (side, self.shards.get_mut(index)) {
            shard.limit = shard.limit.min(left);
        }
    }

    /// While a batch was under way, older points of other lanes may have moved into its shard. The shard's
    /// position then says nothing of the batch's lanes, so it is said of each that it is done so far.
    fn note_overtaken(&mut self, index: usize, batch: &[Ref]) {
        let key = |point: &Ref| (point.chunk.wrapping_sub(self.first_chunk), point.point);
        let oldest = self.shards.get(index).and_then(|shard| shard.waiting.front()).map(key);
        let overtaken = batch.last().map(key).zip(oldest).is_some_and(|(last, oldest)| oldest < last);
        if overtaken {
            self.note_done(self.with_series(batch).map(|point| (point, false)).collect());
        }
    }

    /// A search has settled some of the batch of this shard, whose position is that of the oldest that is left.
    pub(super) fn note_searched(&mut self, index: usize) {
        let Some(shard) = self.shards.get(index) else { return };
        let Mode::Narrow(search) = &shard.mode else { return };
        let series = search.points().iter().map(|point| Some(point.series));
        let batch = shard.batch.iter().copied().zip(series);
        self.note_done(batch.zip(search.unsettled()).collect());
    }

    /// These points with their series; without one if their chunk is gone.
    fn with_series<'a>(&'a self, points: &'a [Ref]) -> impl Iterator<Item = (Ref, Option<u64>)> + 'a {
        points.iter().map(|point| {
            let chunk = self.chunk(*point);
            model::invariant!(chunk.is_some(), "the chunk of an unsettled point is in the queue");
            (*point, chunk.map(|chunk| chunk.series(point.point)))
        })
    }

    /// Says of each lane of a batch how far it is done: to the first of its points that is `left`, or past the last
    /// one. The points, with their series, are in the log's order, and those of their lanes that are not among them
    /// are settled or younger.
    fn note_done(&mut self, batch: Vec<((Ref, Option<u64>), bool)>) {
        let mut has_left = [false; LANES];
        for ((point, series), left) in batch {
            let Some(series) = series else { continue };
            let lane = usize::from(lane_of(series));
            let (Some(lane), Some(has_left)) = (self.lanes.get_mut(lane), has_left.get_mut(lane)) else {
                continue;
            };
            let slot = self.slots.get(point.chunk.wrapping_sub(self.first_chunk) as usize);
            let (Some(slot), false) = (slot, *has_left) else { continue };
            *has_left = left;
            let done = match &slot.chunk {
                Some(chunk) => {
                    let at = chunk.position(point.point);
                    if left { at } else { Position { index: at.index + 1, ..at } }
                }
                // All of it is settled.
                None => slot.end,
            };
            lane.floor = lane.floor.max(done);
        }
    }

    pub(super) fn settle(&mut self, point: Ref, fate: Fate, settle: &mut impl FnMut(&C, u32, Fate)) {
        let fate = fate.with(self.may_be_written(point));
        let Some(chunk) = self.chunk(point) else {
            model::invariant!(false, "the chunk of an unsettled point is in the queue");
            return;
        };
        settle(chunk, point.point, fate);
        self.release(point);
    }

    /// The queue no longer holds this point.
    pub(super) fn release(&mut self, point: Ref) {
        let slot = point.chunk.wrapping_sub(self.first_chunk) as usize;
        let Some(slot) = self.slots.get_mut(slot).filter(|slot| slot.open > 0) else {
            model::invariant!(false, "a point is released once", slot = slot);
            return;
        };
        self.references -= 1;
        slot.open -= 1;
        if slot.open == 0 {
            self.bytes -= slot.bytes;
            slot.chunk = None;
            while self.slots.front().is_some_and(|slot| slot.open == 0) {
                self.slots.pop_front();
                self.first_chunk = self.first_chunk.wrapping_add(1);
            }
        }
    }
}
