//! Delivery to one destination: all decisions, and no I/O.
//!
//! ```text
//!           feed             begin_request           answered
//!  log ───────────► streams ───────────────► output ──────────► streams
//!                                                       │
//!                                  positions, dead letters, parked samples
//! ```
//!
//! The caller, which is the worker or a simulation, has four tasks:
//!
//! - give chunks of the log to [`Delivery::feed`];
//! - send the requests that [`Delivery::begin_request`] returns, and pass the replies to
//!   [`Delivery::answered`];
//! - write what [`Delivery::take_keeps`] returns: dead letters and parked samples;
//! - write the positions that [`Delivery::settled`] returns, but only once everything that was to be kept
//!   before is on disk, or is counted as not kept.

mod answers;
mod feed;
mod isolation;
mod newest_first;
mod parking;
mod refused;
mod reshard;
mod sending;
mod settings;
mod sharding;
mod stream;

pub use isolation::ISOLATED_MAX;
#[cfg(test)]
pub(crate) use isolation::MEMORY_PART;
pub(crate) use parking::Parking;
pub(crate) use sending::Flight;
pub(crate) use settings::Settings;
pub(crate) use stream::{Kind, Stream};

use self::reshard::Resharding;
use crate::disk::keep::Keep;
use crate::disk::positions::{Ahead, Settled};
use crate::outgoing::{Outgoing, Rules};
use crate::output::Output;
use crate::pace::Pace;
use crate::queue::lanes::LANES;
use crate::queue::{Health, Queue};
use crate::stats::Stats;
use model::{Clock, Kinds};
use std::sync::Arc;
use std::time::Duration;
use wal::Position;

pub(crate) struct Parts<O> {
    pub(crate) name: String,
    pub(crate) output: O,
    pub(crate) rules: Rules,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) parking: Parking,
    pub(crate) seed: u64,
}

pub(crate) struct Delivery<O> {
    name: String,
    output: O,
    rules: Rules,
    settings: Settings,
    clock: Arc<dyn Clock>,
    stats: Arc<Stats>,
    rng: fastrand::Rng,
    /// In the order in which they send.
    streams: Vec<Stream>,
    /// Number of requests of other streams since the last one of isolated lanes.
    since_isolated: u32,
    last_number: u64,
    health: Health,
    pace: Pace,
    resharding: Resharding,
    parking: Parking,
    keeps: Vec<Keep>,
    /// Points that were dropped from memory and are read again.
    rereads: Vec<(Position, Kinds)>,
    /// Up to here the log was read from disk. Chunks from disk do not say when they arrived.
    behind_until: Position,
    /// The live stream waits for the backlog.
    is_live_held: bool,
    /// When the last answer came that says that the destination has written samples.
    written_at: Option<Duration>,
    /// When the newest request was sent of which the destination has written a sample.
    accepted_at: Option<Duration>,
    /// The destination has asked for a pause until then.
    pause_until: Duration,
    /// Delivery is stopping: no backlog and no retry of parked samples begins.
    is_stopping: bool,
    was_full: bool,
}

/// The log as delivery needs it.
pub(crate) trait Log {
    /// The position of the next sample that is appended.
    fn end(&self) -> Position;
    /// When the record at a position arrived, by the monotonic clock.
    fn arrived(&self, at: Position) -> Duration;
}

impl Log for storage::Storage {
    fn end(&self) -> Position {
        storage::Storage::end(self)
    }

    fn arrived(&self, at: Position) -> Duration {
        storage::Storage::arrived(self, at)
    }
}

impl<O: Output> Delivery<O> {
    /// Continues where an earlier run ended. `repeats_until` is the end of the log at that time: requests
    /// with samples before it may have been under way.
    pub(crate) fn new(
        settings: Settings,
        settled: &Settled,
        repeats_until: Option<Position>,
        parts: Parts<O>,
    ) -> Self {
        let Parts { name, output, rules, clock, stats, parking, seed } = parts;
        settings.show(&stats);
        let now = clock.monotonic();
        let (pace, resharding) =
            (Pace::new(settings.max_bytes_per_second, slowest(&settings.queue), now), Resharding::since(now));
        let mut delivery = Delivery {
            name,
            output,
            rules,
            settings,
            clock,
            stats,
            rng: fastrand::Rng::with_seed(seed),
            streams: Vec::new(),
            since_isolated: 0,
            last_number: 0,
            health: Health::default(),
            pace,
            resharding,
            parking,
            keeps: Vec::new(),
            rereads: Vec::new(),
            behind_until: Position::default(),
            is_live_held: false,
            written_at: None,
            accepted_at: None,
            pause_until: Duration::ZERO,
            is_stopping: false,
            was_full: false,
        };
        delivery.begin_streams(settled);
        if let Some(until) = repeats_until {
            delivery.streams.iter_mut().for_each(|stream| stream.queue.expect_repeats(until));
        }
        delivery
    }

    /// Adds a stream. Returns its number.
    fn add_stream(
        &mut self,
        kind: Kind,
        is_isolated: bool,
        queue: Queue<Outgoing>,
        until: Option<Position>,
    ) -> u64 {
        self.last_number += 1;
        let (number, is_closed) = (self.last_number, matches!(kind, Kind::Parked(_)));
        self.insert(Stream { number, kind, is_isolated, until, queue, is_closed, is_rejoining: false });
        number
    }

    fn insert(&mut self, stream: Stream) {
        let at = self.streams.partition_point(|other| other.rank() <= stream.rank());
        self.streams.insert(at, stream);
    }

    fn stream_mut(&mut self, number: u64) -> Option<&mut Stream> {
        self.streams.iter_mut().find(|stream| stream.number == number)
    }

    pub(crate) fn streams(&self) -> &[Stream] {
        &self.streams
    }

    pub(crate) fn live(&self) -> Option<&Queue<Outgoing>> {
        self.main(Kind::Live).map(|stream| &stream.queue)
    }

    /// Returns the stream of this kind that is not isolated.
    pub(crate) fn main(&self, kind: Kind) -> Option<&Stream> {
        self.streams.iter().find(|stream| stream.kind == kind && !stream.is_isolated)
    }

    /// Returns the monotonic time.
    pub(crate) fn now(&self) -> Duration {
        self.clock.monotonic()
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    pub(crate) fn output(&self) -> &O {
        &self.output
    }

    pub(crate) fn output_mut(&mut self) -> &mut O {
        &mut self.output
    }

    pub(crate) fn health(&self) -> &Health {
        &self.health
    }

    /// Returns the number of unsettled points in memory, without those of parked entries.
    pub(crate) fn pending(&self) -> usize {
        self.log_queues().map(Queue::pending).sum()
    }

    /// Returns the queues of streams that read from the log.
    pub(crate) fn log_queues(&self) -> impl Iterator<Item = &Queue<Outgoing>> {
        self.streams.iter().filter(|stream| stream.follows_log()).map(|stream| &stream.queue)
    }

    /// Returns true if everything is delivered: of the live stream as far as it has read, of the other
    /// streams completely.
    pub(crate) fn is_all_delivered(&self) -> bool {
        let mut others = self.streams.iter().filter(|stream| stream.follows_log() && !is_main_live(stream));
        self.live().is_none_or(|live| live.pending() == 0)
            && others
                .all(|stream| stream.queue.pending() == 0 && (stream.is_read() || self.has_caught_up(stream)))
    }

    /// Returns true if the stream has read as far as the live one.
    fn has_caught_up(&self, stream: &Stream) -> bool {
        self.live().is_some_and(|live| stream.queue.head() >= live.head())
    }

    /// Returns true if a member that leaves has delivered its part of the log.
    pub(crate) fn is_through(&self) -> bool {
        self.settings.until.is_some()
            && self.streams.iter().all(Stream::is_delivered)
            && self.parking.is_empty()
    }

    /// Notes that the log has no unread points for the stream before `position`.
    pub(crate) fn advance(&mut self, number: u64, position: Position) {
        if let Some(stream) = self.stream_mut(number) {
            let until = stream.until.unwrap_or(position);
            stream.queue.advance(position.min(until));
        }
    }

    #[cfg(test)]
    pub(crate) fn is_parking_empty(&self) -> bool {
        self.parking.is_empty()
    }

    /// Returns what has to be kept since the last call, in this order.
    pub(crate) fn take_keeps(&mut self) -> Vec<Keep> {
        std::mem::take(&mut self.keeps)
    }

    /// Returns the points that were dropped from memory since the last call and are read again, with their
    /// positions.
    pub(crate) fn take_rereads(&mut self) -> Vec<(Position, Kinds)> {
        std::mem::take(&mut self.rereads)
    }

    /// Returns the position of each lane.
    pub(crate) fn settled(&self) -> Settled {
        let mut live = [Position::default(); LANES];
        let (is_live, is_backlog) =
            (|stream: &Stream| stream.is_live(), |stream: &Stream| stream.kind == Kind::Backlog);
        self.put_positions(&mut live, is_live);
        if let Some(until) = self.settings.until.filter(|_| self.is_through()) {
            // The live stream has no points before that.
            live.iter_mut().for_each(|position| *position = until.max(*position));
        }
        let Some(from) =
            self.streams.iter().find(|stream| is_backlog(stream)).and_then(|stream| stream.until)
        else {
            return live.into();
        };
        // A lane without a backlog has only its live position.
        let mut lanes = live;
        self.put_positions(&mut lanes, is_backlog);
        Settled { lanes, ahead: Some(Ahead { from, lanes: live.map(|position| position.max(from)) }) }
    }

    fn put_positions(&self, lanes: &mut [Position; LANES], of: impl Fn(&Stream) -> bool) {
        for stream in self.streams.iter().filter(|stream| of(stream)) {
            for (lane, (position, own)) in lanes.iter_mut().zip(stream.queue.positions()).enumerate() {
                if stream.queue.serves(lane) {
                    *position = own;
                }
            }
        }
    }

    /// Sets the memory of all queues together, in bytes.
    pub(crate) fn set_memory(&mut self, bytes: usize) {
        self.settings.queue.memory = bytes;
        self.share_memory();
    }

    /// From now on sends waiting points at once, in full batches or not, and begins nothing else.
    pub(crate) fn stop(&mut self) {
        self.is_stopping = true;
        self.streams.iter_mut().for_each(|stream| stream.queue.set_flushing(true));
    }

    pub(crate) fn count_full(&mut self) {
        let is_full = self.live().is_some_and(|live| !live.wants_more());
        self.stats.full.add(u64::from(is_full && !self.was_full));
        self.was_full = is_full;
    }

    pub(crate) fn credentials_changed(&mut self) {
        self.health.probe_now(self.now());
    }

    pub(crate) fn every_second(&mut self, log: &impl Log) {
        self.tick_newest_first(log);
        self.tick_parking();
        self.end_streams();
        self.reshard(log);
        self.show_pace();
    }

    /// Shows whether a limit of the pace delays waiting samples.
    fn show_pace(&self) {
        let now = self.now();
        let mut streams = self.sending_streams();
        let waits = streams.any(|stream| stream.queue.next_wakeup(&self.health).is_some_and(|at| at <= now));
        let limit = self.settings.max_bytes_per_second.filter(|_| waits && self.pace.is_held_by_limit(now));
        self.stats.held_to_bytes_per_second.set(limit.map_or(0, |limit| limit as i64));
        let pause = self.pause_until.checked_sub(now).filter(|left| !left.is_zero());
        let until = pause.map_or(0, |left| self.clock.now_ms() + left.as_millis() as i64);
        self.stats.pause_until_ms.set(until);
    }
}

/// Returns the least samples a second that a destination is sent, however often it answers 429: one full
/// request per longest pause between two tries.
fn slowest(settings: &crate::queue::Settings) -> f64 {
    settings.max_points as f64 / settings.max_backoff.as_secs_f64().max(1.0)
}

fn is_main_live(stream: &Stream) -> bool {
    stream.is_live() && !stream.is_isolated
}
