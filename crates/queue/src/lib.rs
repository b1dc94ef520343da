//! The queue of one stream: which points wait, what is sent next, and what an answer means for them.
//!
//! A pure state machine: no sockets, clocks, files or encodings. Chunks come in with [`Queue::push`].
//! [`Queue::begin_request`] names the next request, [`Queue::answer`] is told what became of it, and
//! [`Queue::positions`] says up to where each lane is delivered. Time is passed in.
//!
//! What it promises, and its tests check:
//! - A point that was pushed is settled exactly once, or it is still in the queue.
//! - Points of one lane (so, of one series) are first sent in the log's order, and two of them are never under way in
//!   different requests.
//! - A lane's position never passes a point of it that is not settled, and never goes back.
//! - Memory: it wants more ([`Queue::wants_more`]) only below its limits on references, bytes and chunks.
//!
//! Two things happen to data that does not get through: a batch is narrowed ([`narrow`]) to find what it is refused
//! for or fails on, and what keeps failing is parked. While the destination as a whole is away, or refuses our
//! credentials, everything waits ([`health`]).

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

/// How long the first points after a pause wait for others: what a push or a round of measuring brings mostly arrives
/// within it.
pub const LINGER: Duration = Duration::from_millis(100);
/// The shortest time between two requests of which the second is sent early: before it is full and before its
/// deadline.
pub const EARLY_INTERVAL: Duration = Duration::from_millis(200);
/// A shard's batches are not made smaller than this because of refusals.
pub const SMALLEST_BATCH: usize = 16;
/// Most chunks held, however small they are.
pub const CHUNKS_MAX: usize = 1 << 16;
/// A batch that has failed for this long is narrowed: the rest is delivered, and what fails alone is isolated.
pub const NARROWED_AFTER: Duration = Duration::from_secs(30);
/// What has failed for this long, counted while other data was delivered, is parked.
pub const PARKED_AFTER: Duration = Duration::from_secs(15 * 60);
/// Of the time between two successes at most this much counts towards [`PARKED_AFTER`], unless there is more between
/// two tries. A destination that does not answer is shown as away after this time without a success.
pub const PROBE_AFTER: Duration = Duration::from_secs(60);
/// An isolated lane goes back after this time without a failure or refusal.
pub const ISOLATION_TIME: Duration = Duration::from_secs(60);
/// A shard whose batch has failed for this long while other data was delivered is stuck: it no longer counts where
/// the age of what waits decides.
pub const STUCK_AFTER: Duration = Duration::from_secs(30);
/// A shard whose batch has failed for this long while other data was delivered is shown as stuck. That is before its
/// samples are late, so that the destination is not shown as catching up because of them.
pub const SHOWN_STUCK_AFTER: Duration = Duration::from_secs(5);
/// How far reading runs ahead of the oldest point that is not settled, in milliseconds of sample time: Prometheus
/// refuses what is an hour older than the newest sample that it has of any series, so lanes must stay together while
/// a backlog is delivered.
pub const AHEAD_MS: i64 = 15 * 60 * 1000;

#[derive(Debug, Clone, Copy)]
struct Lane {
    /// Whether this queue has it. An isolated lane belongs to another queue.
    is_served: bool,
    shard: usize,
    /// It is delivered at least up to here.
    floor: Position,
    /// Points before this may have been written by an earlier try, see [`repeats`].
    tried: Position,
}

/// See the module.
#[derive(Debug)]
pub struct Queue<C> {
    settings: Settings,
    chunks: Chunks<C>,
    head: Position,
    /// Some lanes have points before this that must not be fed: they were settled in an earlier run, or by another
    /// queue.
    skip_before: Position,
    lanes: Vec<Lane>,
    shards: Vec<Shard>,
    wanted_shards: usize,
    flushing: bool,
    next_shard: usize,
    newest: i64,
    restart: Option<repeats::Restart>,
    /// When something of it last failed or was refused.
    troubled_at: Option<Duration>,
}

impl<C: Source> Queue<C> {
    /// An empty queue of all lanes, which are delivered up to `positions` (one per lane; the start of the log for
    /// those that are missing). It has to be fed from [`Queue::head`] on.
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

    /// How far the queue has been fed.
    pub fn head(&self) -> Position {
        self.head
    }

    /// Whether it accepts more. Otherwise something has to be settled first.
    pub fn wants_more(&self) -> bool {
        self.chunks.references() < self.settings.capacity.saturating_mul(self.wanted_shards)
            && self.chunks.bytes() < self.settings.memory
            && self.chunks.len() < CHUNKS_MAX
            && self
                .chunks
                .newest_of_oldest()
                .is_none_or(|oldest| self.newest.saturating_sub(oldest) <= AHEAD_MS)
    }

    /// Feeds a chunk of `count` points; `end` is where the next one begins. Points that are settled, or belong to
    /// another queue, are left out. Of the others, `accept` is asked in the log's order.
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
        // The chunk may begin before the position that was asked for.
        let has_settled = chunk.position(0) < self.skip_before.max(self.head);
        // With one shard for everything it makes no difference which lane a point belongs to, and no labels have to
        // be hashed.
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
            self.chunks.push(chunk, end, open, self.newest);
        }
        open as usize
    }

    /// There is nothing more to be fed before `position`.
    pub fn advance(&mut self, position: Position) {
        self.head = self.head.max(position);
    }

    /// From now on as many bytes may wait. What waits already stays.
    pub fn set_memory(&mut self, memory: usize) {
        self.settings.memory = memory;
    }

    /// From now on what is there is sent at once, full batch or not.
    pub fn set_flushing(&mut self, flushing: bool) {
        self.flushing = flushing;
    }

    /// Whether this lane is one of its own.
    pub fn serves(&self, lane: usize) -> bool {
        self.lanes.get(lane).is_some_and(|lane| lane.is_served)
    }

    /// How many lanes it serves.
    pub fn lanes_served(&self) -> usize {
        self.lanes.iter().filter(|lane| lane.is_served).count()
    }

    /// How many lanes a shard has.
    pub fn lanes_of(&self, shard: usize) -> usize {
        self.shards.get(shard).map_or(0, |shard| shard.lanes)
    }

    /// Up to where everything of a shard is settled.
    fn shard_position(&self, shard: &Shard) -> Position {
        // Without its chunk the lanes stay where they are: something is sent again rather than skipped.
        let position =
            |at: Ref| self.chunks.get(at).map_or(Position::default(), |chunk| chunk.position(at.point));
        shard.oldest().map(position).min().unwrap_or(self.head)
    }

    /// Up to where each of its lanes is delivered.
    pub fn positions(&self) -> [Position; LANES] {
        let shards: Vec<Position> = self.shards.iter().map(|shard| self.shard_position(shard)).collect();
        let mut positions = [Position::default(); LANES];
        for (lane, position) in self.lanes.iter().zip(&mut positions) {
            let shard = shards.get(lane.shard).filter(|_| lane.is_served);
            *position = shard.map_or(lane.floor, |shard| lane.floor.max(*shard));
        }
        positions
    }

    /// Remembers how far the lanes are, before points move between shards: the shard of a lane may then begin with an
    /// older point of another lane.
    fn keep_floors(&mut self) {
        let positions = self.positions();
        for (lane, position) in self.lanes.iter_mut().zip(positions) {
            lane.floor = position;
        }
    }

    /// Points that are not settled.
    pub fn pending(&self) -> usize {
        self.chunks.references()
    }

    /// The points of chunks that end at `position` or before it and are not settled.
    pub fn pending_before<'a>(&'a self, position: Position) -> impl Iterator<Item = (&'a C, u32)> {
        let is_before = self.chunks.before(position);
        // Both are in the log's order. This is called with each answer, so it must not go through what is behind.
        let of_shard = move |Shard { attempt, waiting, .. }: &'a Shard| {
            let sent = attempt.iter().flat_map(|attempt| attempt.unsettled()).take_while(is_before.clone());
            sent.chain(waiting.iter().copied().take_while(is_before.clone()))
        };
        self.shards.iter().flat_map(of_shard).filter_map(|at| Some((&**self.chunks.get(at)?, at.point)))
    }

    /// Bytes of chunks held.
    pub fn bytes(&self) -> usize {
        self.chunks.bytes()
    }

    /// Shards in use.
    pub fn shards(&self) -> usize {
        self.wanted_shards
    }

    /// The point that has not been settled for longest.
    pub fn oldest(&self) -> Option<(&C, u32)> {
        let oldest = self.shards.iter().flat_map(Shard::oldest).min_by_key(|at| self.chunks.order(*at))?;
        Some((&**self.chunks.get(oldest)?, oldest.point))
    }

    /// The point that has not been settled for longest, without those of shards that have been stuck for `after`, and
    /// the newest timestamp of the log up to there.
    pub fn oldest_moving(&self, now: Duration, after: Duration, health: &Health) -> Option<(&C, u32, i64)> {
        let moving = self.shards.iter().filter(|shard| !is_stuck(shard, now, after, health));
        let oldest = moving.flat_map(Shard::oldest).min_by_key(|at| self.chunks.order(*at))?;
        let (_, newest) = self.chunks.end(oldest)?;
        Some((&**self.chunks.get(oldest)?, oldest.point, newest))
    }

    /// How many of its lanes have failed for [`SHOWN_STUCK_AFTER`] while other data was delivered.
    pub fn stuck_lanes(&self, now: Duration, health: &Health) -> usize {
        let stuck = self.shards.iter().filter(|shard| is_stuck(shard, now, SHOWN_STUCK_AFTER, health));
        stuck.map(|shard| shard.lanes).sum()
    }

    /// When what this shard sends first failed, if its last try did.
    pub fn failing_since(&self, shard: usize) -> Option<Duration> {
        self.shards.get(shard)?.attempt.as_ref()?.failing.map(|failing| failing.since)
    }

    /// Whether nothing of it fails now.
    pub fn is_working(&self) -> bool {
        !self
            .shards
            .iter()
            .any(|shard| shard.attempt.as_ref().is_some_and(|attempt| attempt.failing.is_some()))
    }

    /// Whether nothing of it has failed or was refused for [`ISOLATION_TIME`].
    pub fn is_clean(&self, now: Duration) -> bool {
        self.is_working() && self.troubled_at.is_none_or(|at| now >= at + ISOLATION_TIME)
    }

    /// Whether a batch is being narrowed.
    pub fn is_narrowing(&self) -> bool {
        self.shards.iter().any(|shard| shard.attempt.as_ref().is_some_and(|attempt| attempt.narrow.is_some()))
    }
}

/// Whether the shard's batch has failed for this long while other data was delivered.
fn is_stuck(shard: &Shard, now: Duration, after: Duration, health: &Health) -> bool {
    let since = shard.attempt.as_ref().and_then(|attempt| attempt.failing).map(|failing| failing.since);
    since.is_some_and(|since| now >= since + after && health.last_success() > Some(since))
}
