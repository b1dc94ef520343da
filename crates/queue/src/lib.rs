//! The queue of one stream: which points wait, which points are sent next, and what an answer means for them.
//!
//! The queue is a pure state machine without sockets, clocks, files or encodings; callers pass the time in.
//! [`Queue::push`] adds chunks, [`Queue::begin_request`] returns the next request, [`Queue::answer`] takes
//! the verdict on a request, and [`Queue::positions`] returns the position of each lane.
//!
//! A point is *settled* when it leaves the queue: delivered, refused, parked or dropped.
//!
//! The queue promises, and its tests check:
//! - Each point that was pushed is settled exactly once, or is still in the queue.
//! - Points of one lane (and so of one series) are first sent in the log's order. Two points of a lane are
//!   never under way in different requests.
//! - A lane's position never passes an unsettled point of the lane, and never goes back.
//! - Memory: [`Queue::wants_more`] is true only below the limits on references, bytes and chunks.
//!
//! Two mechanisms deal with data that the destination does not accept. A batch is narrowed ([`narrow`]) to
//! find the points that are refused or that fail. Points that keep failing are parked. While the destination
//! as a whole is away, or denies access, all points wait ([`health`]).

mod answers;
mod attempt;
pub mod backoff;
mod chunks;
mod fate;
pub mod health;
mod isolate;
pub mod lanes;
mod moves;
pub mod narrow;
mod repeats;
mod sending;
mod settings;
mod shard;
#[cfg(test)]
mod tests;

pub use fate::Fate;
pub use health::{DENIED_INTERVAL, FAST_ANSWER, Health};
pub use settings::{Request, Settings, Source};

use crate::chunks::{Chunks, Ref};
use crate::lanes::{LANES, lane_of};
use crate::shard::Shard;
use std::sync::Arc;
use std::time::Duration;
use wal::Position;

/// How long the first points after a pause wait for others. Most samples of one push or one round of
/// collection arrive within this time.
pub const LINGER: Duration = Duration::from_millis(100);
/// Shortest time before a request that is sent early, that is before its batch is full and before its
/// deadline.
pub const EARLY_INTERVAL: Duration = Duration::from_millis(200);
/// Refusals do not make a shard's batches smaller than this.
pub const SMALLEST_BATCH: usize = 16;
/// Most chunks that a queue holds, however small they are.
pub const CHUNKS_MAX: usize = 1 << 16;
/// A batch that has failed for this long is narrowed: the good points are delivered, and points that fail
/// alone are isolated.
pub const NARROWED_AFTER: Duration = Duration::from_secs(30);
/// Points that have failed for this long are parked. Only time in which other data was delivered counts.
pub const PARKED_AFTER: Duration = Duration::from_secs(15 * 60);
/// Of the time between two successes at most this much counts towards [`PARKED_AFTER`], or the time between
/// two tries if that is longer. A destination that does not answer is shown as away after this time without a
/// success.
pub const PROBE_AFTER: Duration = Duration::from_secs(60);
/// An isolated lane returns after this time without a failure or refusal.
pub const ISOLATION_TIME: Duration = Duration::from_secs(60);
/// A shard is stuck when its batch has failed for this long while other data was delivered. Decisions that
/// depend on the age of the waiting points then ignore the shard.
pub const STUCK_AFTER: Duration = Duration::from_secs(30);
/// A shard is shown as stuck when its batch has failed for this long while other data was delivered. This is
/// shorter than the time after which samples count as late, so that the destination is not shown as catching
/// up.
pub const SHOWN_STUCK_AFTER: Duration = Duration::from_secs(5);
/// How far reading runs ahead of the oldest unsettled point, in milliseconds of sample time. Prometheus
/// refuses samples that are an hour older than its newest sample of any series, so the lanes must stay
/// together while a backlog is delivered.
pub const AHEAD_MS: i64 = 15 * 60 * 1000;

#[derive(Debug, Clone, Copy)]
struct Lane {
    /// False for an isolated lane, which belongs to another queue.
    is_served: bool,
    shard: usize,
    /// The lane is delivered at least up to here.
    floor: Position,
    /// An earlier try may have written points before this position, see [`repeats`].
    tried: Position,
}

#[derive(Debug)]
pub struct Queue<C> {
    settings: Settings,
    chunks: Chunks<C>,
    head: Position,
    /// Before this position some lanes have points that must not be fed, because an earlier run or another
    /// queue settled them.
    skip_before: Position,
    lanes: Vec<Lane>,
    shards: Vec<Shard>,
    wanted_shards: usize,
    flushing: bool,
    next_shard: usize,
    newest: i64,
    restart: Option<repeats::Restart>,
    /// When a request of this queue last failed or was refused.
    troubled_at: Option<Duration>,
}

impl<C: Source> Queue<C> {
    /// Returns an empty queue of all lanes, which are delivered up to `positions` (one per lane; a missing
    /// one means the start of the log). The first chunk to push is the one at [`Queue::head`].
    pub fn new(settings: Settings, positions: &[Position]) -> Self {
        let max_shards = settings.max_shards.clamp(1, LANES);
        let wanted_shards = settings.min_shards.clamp(1, max_shards);
        let mut shards: Vec<Shard> = Vec::new();
        shards.resize_with(max_shards, || Shard { limit: settings.max_points.max(1), ..Shard::default() });
        let lanes: Vec<Lane> = (0..LANES)
            .map(|lane| Lane {
                is_served: true,
                shard: lane % wanted_shards,
                floor: positions.get(lane).copied().unwrap_or_default(),
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
            skip_before: lanes.iter().map(|lane| lane.floor).max().unwrap_or_default(),
            settings,
            chunks: Chunks::new(),
            lanes,
            shards,
            wanted_shards,
            flushing: false,
            next_shard: 0,
            newest: i64::MIN,
            restart: None,
            troubled_at: None,
        }
    }

    /// Returns the position up to which chunks were pushed.
    pub fn head(&self) -> Position {
        self.head
    }

    /// Returns true if the queue accepts another chunk. Otherwise points have to be settled first.
    pub fn wants_more(&self) -> bool {
        self.chunks.references() < self.settings.capacity.saturating_mul(self.wanted_shards)
            && self.chunks.bytes() < self.settings.memory
            && self.chunks.len() < CHUNKS_MAX
            && self
                .chunks
                .newest_of_oldest()
                .is_none_or(|oldest| self.newest.saturating_sub(oldest) <= AHEAD_MS)
    }

    /// Adds a chunk of `count` points. `end` is the position of the next chunk. Points that are settled or
    /// belong to another queue are skipped. `accept` is called for the others, in the log's order, and
    /// decides whether they are added. Returns the number of points added.
    pub fn push(
        &mut self,
        chunk: C,
        end: Position,
        count: u32,
        mut accept: impl FnMut(&C, u32) -> bool,
    ) -> usize {
        let chunk = Arc::new(chunk);
        let number = self.chunks.next_number();
        let mut open = 0;
        // The chunk may begin before the requested position.
        let has_settled = chunk.position(0) < self.skip_before.max(self.head);
        // If one shard has all lanes, a point's lane makes no difference, and the labels need no hash.
        let first = self.lanes.first().map(|lane| lane.shard);
        let is_usual = |lane: &Lane| lane.is_served && Some(lane.shard) == first;
        let only_shard = first.filter(|_| !has_settled && self.lanes.iter().all(is_usual));
        let is_urgent = self.settings.early && !chunk.can_wait();
        for point in 0..count {
            let shard = match only_shard {
                Some(shard) => shard,
                None => {
                    let lane = self.lanes.get(usize::from(lane_of(chunk.series(point))));
                    let Some(lane) = lane.filter(|lane| lane.is_served) else { continue };
                    if has_settled && chunk.position(point) < lane.floor.max(self.head) {
                        continue;
                    }
                    lane.shard
                }
            };
            if !accept(&chunk, point) {
                continue;
            }
            let count = self.shards.len();
            let is_shard = model::invariant!(shard < count, "a lane has a shard of the queue", shard = shard);
            // Any shard can deliver the point, while leaving it out would lose it.
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
            self.chunks.push(chunk, end, open, self.newest);
        }
        open as usize
    }

    /// Notes that the log has no more points to push before `position`.
    pub fn advance(&mut self, position: Position) {
        self.head = self.head.max(position);
    }

    /// Changes the limit on bytes. Points that wait already stay.
    pub fn set_memory(&mut self, memory: usize) {
        self.settings.memory = memory;
    }

    /// While set, points are sent at once, in full batches or not.
    pub fn set_flushing(&mut self, flushing: bool) {
        self.flushing = flushing;
    }

    pub fn serves(&self, lane: usize) -> bool {
        self.lanes.get(lane).is_some_and(|lane| lane.is_served)
    }

    pub fn lanes_served(&self) -> usize {
        self.lanes.iter().filter(|lane| lane.is_served).count()
    }

    pub fn lanes_of(&self, shard: usize) -> usize {
        self.shards.get(shard).map_or(0, |shard| shard.lanes)
    }

    /// Returns the position up to which all points of a shard are settled.
    fn shard_position(&self, shard: &Shard) -> Position {
        // If a chunk is missing, the lanes stay where they are: points may be sent again, but none is
        // skipped.
        let position =
            |at: Ref| self.chunks.get(at).map_or(Position::default(), |chunk| chunk.position(at.point));
        shard.oldest().map(position).min().unwrap_or(self.head)
    }

    /// Returns the position up to which each lane is delivered.
    pub fn positions(&self) -> [Position; LANES] {
        let shards: Vec<Position> = self.shards.iter().map(|shard| self.shard_position(shard)).collect();
        let mut positions = [Position::default(); LANES];
        for (lane, position) in self.lanes.iter().zip(&mut positions) {
            let shard = shards.get(lane.shard).filter(|_| lane.is_served);
            *position = shard.map_or(lane.floor, |shard| lane.floor.max(*shard));
        }
        positions
    }

    /// Saves the lanes' positions before points move between shards. Afterwards the shard of a lane may begin
    /// with an older point of another lane.
    fn keep_floors(&mut self) {
        let positions = self.positions();
        for (lane, position) in self.lanes.iter_mut().zip(positions) {
            lane.floor = position;
        }
    }

    /// Returns the number of unsettled points.
    pub fn pending(&self) -> usize {
        self.chunks.references()
    }

    /// Returns the unsettled points of chunks that end at or before `position`.
    pub fn pending_before<'a>(&'a self, position: Position) -> impl Iterator<Item = (&'a C, u32)> {
        let is_before = self.chunks.before(position);
        // Both lists are in the log's order. This runs for each answer, so it must not visit the points after
        // `position`.
        let of_shard = move |Shard { attempt, waiting, .. }: &'a Shard| {
            let sent = attempt.iter().flat_map(|attempt| attempt.unsettled()).take_while(is_before.clone());
            sent.chain(waiting.iter().copied().take_while(is_before.clone()))
        };
        self.shards.iter().flat_map(of_shard).filter_map(|at| Some((&**self.chunks.get(at)?, at.point)))
    }

    pub fn bytes(&self) -> usize {
        self.chunks.bytes()
    }

    pub fn shards(&self) -> usize {
        self.wanted_shards
    }

    /// Returns the oldest unsettled point.
    pub fn oldest(&self) -> Option<(&C, u32)> {
        let oldest = self.shards.iter().flat_map(Shard::oldest).min_by_key(|at| self.chunks.order(*at))?;
        Some((&**self.chunks.get(oldest)?, oldest.point))
    }

    /// Returns the oldest unsettled point outside shards that have been stuck for `after`, and the newest
    /// timestamp of the log up to there.
    pub fn oldest_moving(&self, now: Duration, after: Duration, health: &Health) -> Option<(&C, u32, i64)> {
        let moving = self.shards.iter().filter(|shard| !is_stuck(shard, now, after, health));
        let oldest = moving.flat_map(Shard::oldest).min_by_key(|at| self.chunks.order(*at))?;
        let (_, newest) = self.chunks.end(oldest)?;
        Some((&**self.chunks.get(oldest)?, oldest.point, newest))
    }

    /// Returns the number of lanes that have failed for [`SHOWN_STUCK_AFTER`] while other data was delivered.
    pub fn stuck_lanes(&self, now: Duration, health: &Health) -> usize {
        let stuck = self.shards.iter().filter(|shard| is_stuck(shard, now, SHOWN_STUCK_AFTER, health));
        stuck.map(|shard| shard.lanes).sum()
    }

    /// Returns when the shard's batch first failed, or `None` if its last try did not fail.
    pub fn failing_since(&self, shard: usize) -> Option<Duration> {
        self.shards.get(shard)?.attempt.as_ref()?.failing.map(|failing| failing.since)
    }

    /// Returns true if no batch is failing.
    pub fn is_working(&self) -> bool {
        !self
            .shards
            .iter()
            .any(|shard| shard.attempt.as_ref().is_some_and(|attempt| attempt.failing.is_some()))
    }

    /// Returns true if no request has failed or was refused for [`ISOLATION_TIME`].
    pub fn is_clean(&self, now: Duration) -> bool {
        self.is_working() && self.troubled_at.is_none_or(|at| now >= at + ISOLATION_TIME)
    }

    pub fn is_narrowing(&self) -> bool {
        self.shards.iter().any(|shard| shard.attempt.as_ref().is_some_and(|attempt| attempt.narrow.is_some()))
    }
}

/// Returns true if the shard's batch has failed for `after` while other data was delivered.
fn is_stuck(shard: &Shard, now: Duration, after: Duration, health: &Health) -> bool {
    let since = shard.attempt.as_ref().and_then(|attempt| attempt.failing).map(|failing| failing.since);
    since.is_some_and(|since| now >= since + after && health.last_success() > Some(since))
}
