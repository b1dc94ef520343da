//! The queue of one destination: which points wait, what to send next, what an answer means for them.
//!
//! A pure state machine: no sockets, clocks, files or encodings. Chunks come in with [`Queue::push`],
//! [`Queue::poll`] names the next request, [`Queue::answer`] takes what became of it, and
//! [`Queue::positions`] says how far each lane is done. Time is passed in.
//!
//! What it promises, and its tests hold it to:
//! - A point that was pushed is settled exactly once, or it is still in the queue.
//! - Points of one lane (so, of one series) are first sent in the log's order, and never two at once in
//!   different requests.
//! - A lane's position never passes a point of it that is not settled, and never goes back.
//! - Memory: it asks for more ([`Queue::wants_more`]) only below its limits on references, bytes and chunks.

mod answers;
pub mod backoff;
pub mod behind;
#[cfg(test)]
mod behind_tests;
#[cfg(test)]
mod denied_tests;
#[cfg(test)]
mod early_tests;
#[cfg(test)]
mod failing_tests;
pub mod lanes;
mod moves;
pub mod narrow;
mod repeats;
pub mod reshard;
pub(crate) mod shard;
#[cfg(test)]
mod tests;
mod words;

pub use words::{Fate, Outcome, Reached, Request, Settings, Source};

use crate::queue::lanes::{LANES, lane_of};
use crate::queue::shard::{Mode, Ref, Shard};
use std::collections::VecDeque;
use std::time::Duration;
use wal::Position;

/// How long the first points after a pause wait for those that belong to them: what a push or a round of
/// measuring brings mostly arrives within it.
pub const LINGER: Duration = Duration::from_millis(100);
/// The shortest time between two requests of which the second is sent early: before it is full and before its
/// deadline.
pub const EARLY_INTERVAL: Duration = Duration::from_millis(200);
/// A destination that takes longer to answer is not sent anything early.
pub const FAST_ANSWER: Duration = Duration::from_millis(200);
/// Shards for lanes that are taken out because of refusals, beside the configured ones.
pub const SIDE_SHARDS: usize = 8;
/// A lane that was taken out goes back after this long without a refusal.
pub const SIDE_TIME: Duration = Duration::from_secs(60);
/// A shard's batches are not made smaller than this because of refusals.
pub const SMALLEST_BATCH: usize = 16;
/// Most chunks held, however small they are.
pub const CHUNKS_MAX: usize = 1 << 16;
/// How long nothing but one request is tried after 401, 403 or 404.
pub const DENIED_INTERVAL: Duration = Duration::from_secs(60);
/// A batch is refused for good by 401, 403 or 404 only when it met them so often again, each time after others had
/// passed: where there are several receivers behind one address, one of them may be set up wrongly.
pub const DENIED_ALONE: u32 = 2;
/// A batch that has met 408, 429 or 5xx for this long while others went through is poisoned: it is narrowed
/// down, and what goes on failing is put aside.
pub const POISONED_AFTER: Duration = Duration::from_secs(15 * 60);
/// After so much of that time it is narrowed down too, but nothing of it is put aside yet: the rest goes on, and
/// what fails is tried again in a shard of its own.
pub const NARROWED_AFTER: Duration = Duration::from_secs(30);
/// Where nothing has gone through for this long, a batch that meets 408, 429 or 5xx is tried by a single point:
/// that is enough to ask, and tells a destination that is away from a batch that it fails over.
pub const PROBE_AFTER: Duration = Duration::from_secs(60);

/// A shard whose batch has failed for this long, while others went through, may be left behind.
pub const STUCK_AFTER: Duration = Duration::from_secs(30);
/// A shard whose batch has failed for this long, while others went through, is shown as stuck. That is before its
/// samples are late, so that the destination does not count as catching up because of them.
pub const SHOWN_STUCK_AFTER: Duration = Duration::from_secs(5);
/// How far reading runs ahead of the oldest point that is not settled, in milliseconds of sample time:
/// Prometheus refuses what is an hour older than the newest it has, whatever the series, so that lanes must
/// stay together while a backlog is worked off.
pub const AHEAD_MS: i64 = 15 * 60 * 1000;

#[derive(Debug)]
struct Slot<C> {
    /// `None` once all of it is settled.
    chunk: Option<C>,
    end: Position,
    open: u32,
    bytes: usize,
    /// The newest timestamp of the log up to here.
    newest: i64,
}

#[derive(Debug, Clone, Copy)]
struct Lane {
    shard: usize,
    side: Option<usize>,
    floor: Position,
    stay: Stay,
    /// What is before this may have been written by an earlier try, see [`repeats`].
    tried: Position,
}

/// Where a lane's points are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stay {
    /// Here.
    Here,
    /// Left behind: another queue serves it.
    Behind,
    /// On its way back: what comes from here on waits until the other queue is through.
    Returning,
}

#[derive(Debug)]
struct Gate {
    next_probe: Duration,
    probes: usize,
}

/// See the module.
#[derive(Debug)]
pub struct Queue<C> {
    settings: Settings,
    slots: VecDeque<Slot<C>>,
    first_chunk: u32,
    head: Position,
    /// Up to here some lanes have points that were settled in an earlier run.
    seen_until: Position,
    lanes: Vec<Lane>,
    shards: Vec<Shard>,
    wanted_shards: usize,
    references: usize,
    bytes: usize,
    gate: Option<Gate>,
    /// When the newest of the requests that were taken had been sent.
    last_success: Option<Duration>,
    /// When the last request was sent.
    sent_at: Option<Duration>,
    /// The last request was accepted within [`FAST_ANSWER`], or none has been sent.
    is_fast: bool,
    flushing: bool,
    next_shard: usize,
    newest: i64,
    restart: Option<repeats::Restart>,
}

impl<C: Source> Queue<C> {
    /// An empty queue whose lanes are done up to `positions` (one per lane; the start of the log for those
    /// that are missing). It has to be fed from [`Queue::head`] on.
    pub fn new(settings: Settings, positions: &[Position]) -> Self {
        let max_shards = settings.max_shards.clamp(1, LANES);
        let wanted_shards = settings.min_shards.clamp(1, max_shards);
        let mut shards: Vec<Shard> = Vec::new();
        shards.resize_with(max_shards + SIDE_SHARDS + 1, || Shard {
            limit: settings.max_points.max(1),
            ..Shard::default()
        });
        let lanes: Vec<Lane> = (0..LANES)
            .map(|lane| Lane {
                shard: lane % wanted_shards,
                side: None,
                floor: positions.get(lane).copied().unwrap_or_default(),
                stay: Stay::Here,
                tried: Position::default(),
            })
            .collect();
        for lane in &lanes {
            if let Some(shard) = shards.get_mut(lane.shard) {
                shard.lanes += 1;
            }
        }
        Queue {
            head: lanes.iter().map(|lane| lane.floor).min().unwrap_or_default(),
            seen_until: lanes.iter().map(|lane| lane.floor).max().unwrap_or_default(),
            settings,
            slots: VecDeque::new(),
            first_chunk: 0,
            lanes,
            shards,
            wanted_shards,
            references: 0,
            bytes: 0,
            gate: None,
            last_success: None,
            sent_at: None,
            is_fast: true,
            flushing: false,
            next_shard: 0,
            newest: i64::MIN,
            restart: None,
        }
    }

    /// How far the queue has been fed.
    pub fn head(&self) -> Position {
        self.head
    }

    /// Whether it takes more. Where it doesn't, something has to be settled first.
    pub fn wants_more(&self) -> bool {
        self.references < self.settings.capacity.saturating_mul(self.wanted_shards)
            && self.bytes < self.settings.memory
            && self.slots.len() < CHUNKS_MAX
            && self.slots.front().is_none_or(|oldest| self.newest.saturating_sub(oldest.newest) <= AHEAD_MS)
    }

    /// Feeds a chunk of `count` points; `end` is where what follows it begins. Points that were settled in
    /// an earlier run are left out; of the others, `take` is asked in order. Gives the number taken.
    pub fn push(
        &mut self,
        chunk: C,
        end: Position,
        count: u32,
        mut take: impl FnMut(&C, u32) -> bool,
    ) -> usize {
        let number = self.first_chunk.wrapping_add(self.slots.len() as u32);
        let mut open = 0;
        // Of what was settled in an earlier run, or fed before: the chunk may begin earlier than asked for.
        let again = chunk.position(0) < self.seen_until.max(self.head);
        // Then it makes no difference which lane a point belongs to.
        let first = self.lanes.first().map(|lane| lane.shard);
        let is_usual = |lane: &Lane| lane.stay != Stay::Behind && Some(lane.shard) == first;
        let is_urgent = self.settings.early && !chunk.can_wait();
        let only_shard = first.filter(|_| !again && self.lanes.iter().all(is_usual));
        for point in 0..count {
            let shard = match only_shard {
                Some(shard) => shard,
                None => {
                    let lane = self.lanes.get(usize::from(lane_of(chunk.series(point))));
                    let Some(lane) = lane.filter(|lane| lane.stay != Stay::Behind) else { continue };
                    if again && chunk.position(point) < lane.floor.max(self.head) {
                        continue;
                    }
                    lane.shard
                }
            };
            if !take(&chunk, point) {
                continue;
            }
            let count = self.shards.len();
            let is_shard = model::invariant!(shard < count, "a lane has a shard of the queue", shard = shard);
            // Any shard delivers the point. To leave it out would lose it.
            if let Some(shard) = self.shards.get_mut(if is_shard { shard } else { 0 }) {
                shard.waiting.push_back(Ref { chunk: number, point });
                if is_urgent {
                    shard.urgent_since.get_or_insert(chunk.arrived());
                }
                self.newest = self.newest.max(chunk.timestamp(point));
                open += 1;
                self.note_fed(&chunk, point);
            }
        }
        self.head = self.head.max(end);
        if open > 0 {
            let bytes = chunk.bytes();
            self.references += open as usize;
            self.bytes += bytes;
            self.slots.push_back(Slot { chunk: Some(chunk), end, open, bytes, newest: self.newest });
        }
        open as usize
    }

    /// From now on as many bytes may wait; what waits already stays.
    pub fn set_memory(&mut self, memory: usize) {
        self.settings.memory = memory;
    }

    /// Sends what is there at once from now on, full batch or not.
    pub fn set_flushing(&mut self, flushing: bool) {
        self.flushing = flushing;
    }

    /// The next request, if one is to be sent now. It is then under way until [`Queue::answer`].
    pub fn poll(&mut self, now: Duration) -> Option<Request> {
        if let Some(gate) = &self.gate
            && (now < gate.next_probe || self.shards.iter().any(|shard| shard.under_way))
        {
            return None;
        }
        let count = self.shards.len();
        for offset in 0..count {
            let index = (self.next_shard + offset) % count;
            if self.ready_at(index).is_none_or(|at| at > now) {
                continue;
            }
            if self.shards.get(index).is_some_and(|shard| shard.batch.is_empty()) {
                self.draw(index, self.batch_len(index));
            }
            let Some(shard) = self.shards.get(index) else { continue };
            let silent = self.last_success.is_none_or(|success| now >= success + PROBE_AFTER);
            let failing = silent && shard.failures.since.is_some_and(|since| now >= since + PROBE_AFTER);
            if failing {
                self.refill(index);
            }
            self.begin_probe(index, failing || self.gate.as_ref().is_some_and(|gate| gate.probes > 0));
            let shard = self.shards.get_mut(index)?;
            shard.under_way = true;
            shard.sent_at = now;
            self.sent_at = Some(now);
            self.next_shard = (index + 1) % count;
            let whole = matches!(shard.mode, Mode::Whole);
            let (attempt, sent_before) = (shard.attempt, shard.sent_before);
            return Some(Request { shard: index, attempt, sent_before, whole });
        }
        None
    }

    /// How many of the points that wait make the shard's next batch: as many as it may have, but a chunk that
    /// should rather stay together is not cut where it fits into the batch after this one.
    fn batch_len(&self, index: usize) -> usize {
        let Some(shard) = self.shards.get(index) else { return 0 };
        let (waiting, limit) = (&shard.waiting, shard.limit);
        let Some(next) = waiting.get(limit) else { return waiting.len() };
        // Where there are other shards, they have a part of each chunk already.
        if shard.lanes < LANES || !self.chunk(*next).is_some_and(Source::keeps_together) {
            return limit;
        }
        let is_of_next = |point: &&Ref| point.chunk == next.chunk;
        let cut = limit - waiting.range(..limit).rev().take_while(is_of_next).count();
        let fits = waiting.get(cut + limit).is_none_or(|after| after.chunk != next.chunk);
        if cut > 0 && fits { cut } else { limit }
    }

    /// Asks a destination that let nobody in again now: something about us is different.
    pub fn probe_now(&mut self, now: Duration) {
        if let Some(gate) = &mut self.gate {
            gate.next_probe = now;
        }
    }

    /// When [`Queue::poll`] may next have something, if nothing else happens.
    pub fn next_wakeup(&self) -> Option<Duration> {
        let ready = (0..self.shards.len()).filter_map(|shard| self.ready_at(shard)).min()?;
        match &self.gate {
            Some(_) if self.shards.iter().any(|shard| shard.under_way) => None,
            Some(gate) => Some(ready.max(gate.next_probe)),
            None => Some(ready),
        }
    }

    /// When the shard has something to send: now or in the past if it is ready, in the future if it waits.
    fn ready_at(&self, index: usize) -> Option<Duration> {
        let shard = self.shards.get(index)?;
        if shard.under_way {
            return None;
        }
        if !shard.batch.is_empty() {
            return Some(if self.gate.is_some() { Duration::ZERO } else { shard.not_before });
        }
        let oldest = shard.waiting.front()?;
        if self.is_returning(index) {
            return None;
        }
        // At a limit nothing more comes that could fill the batch up.
        if self.flushing || shard.waiting.len() >= shard.limit || !self.wants_more() {
            return Some(shard.not_before);
        }
        let (deadline, sent_at) = (self.settings.deadline, shard.sent_at);
        self.chunk(*oldest).map(|chunk| {
            let arrived = chunk.arrived();
            // One batch that is not full per deadline, so the first after a pause need not wait for it.
            let filled = (arrived + LINGER.min(deadline)).max((sent_at + deadline).min(arrived + deadline));
            let early = self.early_at(shard).unwrap_or(filled);
            filled.min(early).max(shard.not_before)
        })
    }

    /// When the shard may send a batch that is not full although its deadline has not passed: if somebody waits for
    /// what is in it, and the destination is idle and answers fast.
    fn early_at(&self, shard: &Shard) -> Option<Duration> {
        let since = shard.urgent_since.filter(|_| self.is_fast)?;
        let is_idle = self.shards.iter().all(|shard| !shard.under_way);
        is_idle.then(|| (since + LINGER).max(self.sent_at.map_or(since, |sent| sent + EARLY_INTERVAL)))
    }

    /// Where all points of a batch fail, only others can tell whether the destination takes anything: as many as
    /// a batch may have of those that wait join it.
    fn refill(&mut self, index: usize) {
        let Some(shard) = self.shards.get_mut(index) else { return };
        if matches!(shard.mode, Mode::Narrow(_)) {
            return;
        }
        shard.mode = Mode::Whole;
        (shard.denied_at, shard.denied_alone) = (None, 0);
        let batch = std::mem::take(&mut shard.batch);
        self.put_back(index, batch);
        self.draw(index, self.settings.max_points.max(1));
    }

    /// Makes a batch of the first points that wait, so many or all.
    fn draw(&mut self, index: usize, count: usize) {
        let Some(shard) = self.shards.get_mut(index) else { return };
        let count = count.min(shard.waiting.len());
        shard.batch.extend(shard.waiting.drain(..count));
        if shard.waiting.is_empty() {
            shard.urgent_since = None;
        }
    }

    /// While nothing is known to go through, a single point is sent rather than the whole batch: the
    /// oldest of its series, each time of another series.
    fn begin_probe(&mut self, index: usize, probe: bool) {
        let Some(shard) = self.shards.get(index) else { return };
        if matches!(shard.mode, Mode::Narrow(_)) {
            return;
        }
        let mode = if probe && shard.batch.len() > 1 {
            let mut seen = std::collections::HashSet::new();
            let heads: Vec<u32> = (0u32..)
                .zip(&shard.batch)
                .filter(|(_, point)| {
                    self.chunk(**point).is_some_and(|chunk| seen.insert(chunk.series(point.point)))
                })
                .map(|(index, _)| index)
                .collect();
            let pick = shard.probes.wrapping_mul(7919) % heads.len().max(1);
            Mode::Probe(heads.get(pick).copied().unwrap_or(0))
        } else {
            Mode::Whole
        };
        if let Some(shard) = self.shards.get_mut(index) {
            shard.probes += usize::from(matches!(mode, Mode::Probe(_)));
            shard.mode = mode;
        }
    }

    /// The points of the request that is under way (or was last) in `shard`, in the log's order.
    pub fn points(&self, shard: usize) -> impl Iterator<Item = (&C, u32)> + Clone {
        let shard = self.shards.get(shard);
        let batch = shard.map(|shard| shard.batch.as_slice()).unwrap_or_default();
        let (whole, some): (&[Ref], &[u32]) = match shard.map(|shard| &shard.mode) {
            Some(Mode::Whole) => (batch, &[]),
            Some(Mode::Probe(index)) => (&[], std::slice::from_ref(index)),
            Some(Mode::Narrow(narrow)) => (&[], narrow.request()),
            None => (&[], &[]),
        };
        let some = some.iter().filter_map(|index| batch.get(*index as usize));
        whole.iter().chain(some).filter_map(|point| Some((self.chunk(*point)?, point.point)))
    }

    /// Only the first `taken` points of a whole batch fit into the request: the rest waits again.
    pub fn trim(&mut self, shard: usize, taken: usize) {
        let Some(batch) = self.shards.get_mut(shard).map(|shard| &mut shard.batch) else { return };
        let rest = batch.split_off(taken.max(1).min(batch.len()));
        self.put_back(shard, rest);
    }

    /// Lets go of those points of the batch in `shard` that are `unwanted` by now. Not while it is being
    /// narrowed down. Where all are, there is nothing to send: [`Outcome::Unsent`].
    pub fn drop_unwanted(&mut self, shard: usize, unwanted: impl FnMut(&C, u32) -> bool) {
        for point in self.take_from_batch(shard, unwanted) {
            self.release(point);
        }
    }

    /// The receiver refuses those of the batch in `shard` that are `refused`, and nothing is known of the others.
    /// Not while it is being narrowed down.
    pub fn refuse_some(
        &mut self,
        shard: usize,
        refused: impl FnMut(&C, u32) -> bool,
        settle: &mut impl FnMut(&C, u32, Fate),
    ) {
        for point in self.take_from_batch(shard, refused) {
            self.settle(point, Fate::Refused { maybe_written: false }, settle);
        }
    }

    fn take_from_batch(&mut self, shard: usize, mut unwanted: impl FnMut(&C, u32) -> bool) -> Vec<Ref> {
        let Some(batch) = self.shards.get_mut(shard).filter(|shard| !matches!(shard.mode, Mode::Narrow(_)))
        else {
            return Vec::new();
        };
        let probe = match batch.mode {
            Mode::Probe(at) => batch.batch.get(at as usize).copied(),
            Mode::Whole | Mode::Narrow(_) => None,
        };
        let points = std::mem::take(&mut batch.batch);
        let (dropped, kept): (Vec<Ref>, Vec<Ref>) = points
            .into_iter()
            .partition(|point| self.chunk(*point).is_some_and(|chunk| unwanted(chunk, point.point)));
        let at = kept.iter().position(|point| Some(*point) == probe).unwrap_or(0);
        if let Some(shard) = self.shards.get_mut(shard) {
            shard.mode =
                if probe.is_some() && !kept.is_empty() { Mode::Probe(at as u32) } else { Mode::Whole };
            shard.batch = kept;
        }
        dropped
    }

    /// Another queue of this destination had a request taken that was sent at this time.
    pub fn others_pass(&mut self, sent_at: Duration) {
        self.gate = None;
        self.last_success = self.last_success.max(Some(sent_at));
    }

    /// Whether a batch is being narrowed down.
    pub fn is_narrowing(&self) -> bool {
        self.shards.iter().any(|shard| matches!(shard.mode, Mode::Narrow(_)))
    }

    fn chunk(&self, point: Ref) -> Option<&C> {
        self.slots.get(point.chunk.wrapping_sub(self.first_chunk) as usize)?.chunk.as_ref()
    }

    /// The position up to which everything of a shard is settled.
    fn shard_position(&self, shard: &Shard) -> Position {
        let position = |point: Ref| match self.chunk(point) {
            Some(chunk) => chunk.position(point.point),
            None => {
                model::invariant!(false, "the chunk of an unsettled point is in the queue");
                // The lanes stay where they are: something is sent again rather than skipped.
                Position::default()
            }
        };
        shard.oldest().map(position).min().unwrap_or(self.head)
    }

    /// How far each lane is done.
    pub fn positions(&mut self) -> [Position; LANES] {
        let shards: Vec<Position> = self.shards.iter().map(|shard| self.shard_position(shard)).collect();
        let mut positions = [Position::default(); LANES];
        for (lane, position) in self.lanes.iter_mut().zip(&mut positions) {
            if let (Stay::Here, Some(shard)) = (lane.stay, shards.get(lane.shard)) {
                lane.floor = lane.floor.max(*shard);
            }
            *position = lane.floor;
        }
        positions
    }

    /// Points that are not settled.
    pub fn pending(&self) -> usize {
        self.references
    }

    /// The points before `position` that are not settled.
    pub fn pending_before(&self, position: Position) -> impl Iterator<Item = (&C, u32)> {
        let before = self.slots.partition_point(|slot| slot.end <= position);
        let is_before = move |point: &&Ref| (point.chunk.wrapping_sub(self.first_chunk) as usize) < before;
        // Both are in the log's order. This is asked for with each answer, so it must not go through what is behind.
        let of_shard = move |shard| {
            let sent = Shard::unsettled(shard).take_while(is_before);
            sent.chain(shard.waiting.iter().take_while(is_before))
        };
        self.shards.iter().flat_map(of_shard).filter_map(|point| Some((self.chunk(*point)?, point.point)))
    }

    /// Bytes of chunks held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Shards in use.
    pub fn shards(&self) -> usize {
        self.wanted_shards
    }

    /// The point that has not been settled for longest.
    pub fn oldest(&self) -> Option<(&C, u32)> {
        let oldest = self.shards.iter().flat_map(|shard| shard.oldest());
        let oldest = oldest.filter_map(|point| Some((self.chunk(point)?, point.point)));
        oldest.min_by_key(|(chunk, point)| chunk.position(*point))
    }

    /// Whether the shard's batch has failed for this long, while others went through.
    fn is_stuck(&self, shard: &Shard, now: Duration, after: Duration) -> bool {
        shard.failures.stuck_since.is_some_and(|since| {
            now >= since + after && self.last_success.is_some_and(|success| success > since)
        })
    }

    /// How many lanes have failed for [`SHOWN_STUCK_AFTER`], while others passed.
    pub fn stuck_lanes(&self, now: Duration) -> usize {
        let is_stuck = |lane: &&Lane| {
            let shard = self.shards.get(lane.shard).filter(|_| lane.stay == Stay::Here);
            shard.is_some_and(|shard| self.is_stuck(shard, now, SHOWN_STUCK_AFTER))
        };
        self.lanes.iter().filter(is_stuck).count()
    }

    /// When what is sent by this shard first failed.
    pub fn failing_since(&self, shard: usize) -> Option<Duration> {
        self.shards.get(shard)?.failures.stuck_since
    }

    /// The point that has not been settled for longest, without those of shards that have been stuck for `after`
    /// while others pass and without those that wait for such lanes to return; and the newest timestamp of the log up
    /// to there.
    pub fn oldest_moving(&self, now: Duration, after: Duration) -> Option<(&C, u32, i64)> {
        let shards = self.shards.iter().enumerate();
        let moving =
            shards.filter(|(index, shard)| !self.is_stuck(shard, now, after) && !self.is_returning(*index));
        let oldest = moving.flat_map(|(_, shard)| shard.oldest());
        let oldest = oldest.min_by_key(|at| (at.chunk.wrapping_sub(self.first_chunk), at.point))?;
        let slot = self.slots.get(oldest.chunk.wrapping_sub(self.first_chunk) as usize)?;
        Some((slot.chunk.as_ref()?, oldest.point, slot.newest))
    }

    /// The earliest time for the next try, where the destination is being waited for.
    pub fn waits_until(&self) -> Option<Duration> {
        if let Some(gate) = &self.gate {
            return Some(gate.next_probe);
        }
        self.shards.iter().filter(|shard| shard.attempt > 0 && !shard.under_way).map(|s| s.not_before).min()
    }
}
