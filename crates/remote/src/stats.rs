//! What a destination has to tell of itself, as numbers that are read without waiting.

use crate::refusal::{Refusal, Refusals};
use formats::remote_write::Protocol;
use model::Kinds;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
pub use storage::stats::Counter;

/// A number that is set.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Sets.
    pub fn set(&self, to: i64) {
        self.0.store(to, Ordering::Relaxed);
    }
    /// Sets, unless it is larger already.
    pub fn raise(&self, to: i64) {
        self.0.fetch_max(to, Ordering::Relaxed);
    }
    /// The number now.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A counter for each kind of point.
#[derive(Debug, Default)]
pub struct PerKind {
    /// Float samples.
    pub samples: Counter,
    /// Native histograms.
    pub histograms: Counter,
    /// Exemplars.
    pub exemplars: Counter,
}

impl PerKind {
    /// Adds these numbers.
    pub fn add(&self, kinds: Kinds) {
        self.samples.add(kinds.samples);
        self.histograms.add(kinds.histograms);
        self.exemplars.add(kinds.exemplars);
    }

    /// The sums so far.
    pub fn get(&self) -> Kinds {
        Kinds {
            samples: self.samples.get(),
            histograms: self.histograms.get(),
            exemplars: self.exemplars.get(),
        }
    }
}

/// Upper bounds of [`Stats::request_duration`]'s buckets, in seconds: Prometheus' own for
/// `sent_batch_duration_seconds`.
pub const DURATION_BUCKETS: [f64; 17] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0, 120.0, 300.0, 600.0, 1200.0];

/// How long something took.
#[derive(Debug, Default)]
pub struct Durations {
    /// Counts per bucket, not cumulative; the last is for all above.
    pub buckets: [Counter; DURATION_BUCKETS.len() + 1],
    /// Sum in nanoseconds.
    pub sum_ns: Counter,
}

impl Durations {
    /// Counts one.
    pub fn observe(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let bucket = DURATION_BUCKETS.partition_point(|bound| *bound < seconds);
        if let Some(bucket) = self.buckets.get(bucket) {
            bucket.add(1);
        }
        self.sum_ns.add(duration.as_nanos() as u64);
    }
}

/// Saved positions that could not be used, in lanes. Each such lane begins earlier, or, where the log has gone,
/// with the oldest that is there.
#[derive(Debug, Default)]
pub struct PositionsReset {
    /// They could not be read.
    pub damaged: Counter,
    /// The log ends before them.
    pub beyond_end: Counter,
    /// No record begins there.
    pub misplaced: Counter,
    /// That part of the log is gone.
    pub gone: Counter,
}

/// What a destination does now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum State {
    /// Nothing has been sent yet.
    #[default]
    Starting,
    /// The last requests were taken, at least in part.
    Delivering,
    /// Requests fail and are sent again.
    Waiting {
        /// Why, in words.
        reason: String,
    },
    /// The destination refuses what is sent for good, and has not written anything for a while.
    Refusing {
        /// Status and the destination's words.
        reason: String,
    },
    /// The destination lets nobody in: only a probe now and then.
    Denied {
        /// Status and the destination's words.
        reason: String,
    },
    /// Shut down.
    Stopped,
    /// A member that has left and delivered its part: nothing of the log is its own any more.
    Left,
}

/// The words of a [`State`], for a page or a log.
impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Starting => f.write_str("nothing sent yet"),
            Self::Delivering => f.write_str("delivering"),
            Self::Waiting { reason } => write!(f, "waiting: {reason}"),
            Self::Refusing { reason } => write!(f, "refuses the samples: {reason}"),
            Self::Denied { reason } => write!(f, "refused: {reason}"),
            Self::Stopped => f.write_str("stopped"),
            Self::Left => f.write_str("left"),
        }
    }
}

#[derive(Debug, Default)]
struct Words {
    state: State,
    last_error: Option<(String, SystemTime)>,
    protocol: Option<Protocol>,
    stuck: Option<String>,
}

/// Numbers and words of one destination. Counters of points count each point once.
#[derive(Debug, Default)]
pub struct Stats {
    /// Points given to the queue.
    pub queued: PerKind,
    /// Points that the destination has taken.
    pub delivered: PerKind,
    /// Points that the destination refused for good (with those below).
    pub refused: PerKind,
    /// The refused points by what the receiver said.
    pub refused_by: Refusals,
    /// Of the refused: those that may have been written by an earlier try, and were then refused as out of
    /// order, out of bounds or a duplicate. Such a try got no answer, or was refused for something else in it.
    pub refused_or_already_written: Counter,
    /// Of the refused: those that were not sent alone, since all probes of their batch were refused.
    pub refused_presumed: Counter,
    /// Of the refused: those that met 408, 429 or 5xx for so long that the side queue had no room for them
    /// any more.
    pub refused_poisoned: Counter,
    /// Points in requests that were sent again after 408, 429, 5xx or a failure of the network.
    pub retried: PerKind,
    /// Points that were let go of, since their shard was stuck, to be read and queued again.
    pub left_behind: PerKind,
    /// Points left out because the configuration says so (kinds, relabelling).
    pub dropped_by_rule: PerKind,
    /// Points left out because they were older than `sample_age_limit`.
    pub dropped_too_old: PerKind,
    /// Of these: those that became so while they waited in the queue.
    pub expired: PerKind,
    /// Points that left the queue for the side queue: they met 408, 429 or 5xx for a long time while others
    /// went through, and are tried now and then.
    pub set_aside: PerKind,
    /// Points that left the side queue, delivered or refused.
    pub aside_settled: PerKind,
    /// Points that are in the side queue, as they were put aside.
    pub aside_points: Gauge,
    /// Bytes on disk of the side queue.
    pub aside_bytes: Gauge,
    /// Points left out because the version of the protocol can't carry them.
    pub dropped_unsupported: PerKind,
    /// Points that were taken without their start timestamps, since the version of the protocol has none.
    pub without_start: Counter,
    /// Points left out because their series in the log could not be read.
    pub dropped_no_series: PerKind,
    /// Points that the log's budget took before they were delivered.
    pub lost: PerKind,
    /// Of these: points that the log dropped because they were older than `log.max_age`.
    pub lost_too_old: PerKind,
    /// Requests answered or failed, by what they meant: taken, retried, refused, denied.
    pub requests: Counter,
    /// Requests that failed or were answered with 408, 429 or 5xx.
    pub requests_retried: Counter,
    /// Requests sent again after one that was sent had failed or was answered with 408, 429 or 5xx. A try that
    /// found no connection is none of these.
    pub requests_sent_again: Counter,
    /// Bytes sent, compressed, as they went out.
    pub bytes: Counter,
    /// Bytes before compression.
    pub plain_bytes: Counter,
    /// Requests sent as they came in, without encoding them anew.
    pub verbatim: Counter,
    /// Metadata entries sent by themselves (1.0).
    pub metadata: Counter,
    /// Metadata entries that the destination refused.
    pub metadata_failed: Counter,
    /// Metadata entries whose request failed, or was answered with 408, 429 or 5xx: they come again.
    pub metadata_retried: Counter,
    /// Bytes of such requests, compressed.
    pub metadata_bytes: Counter,
    /// How often reading stopped because the queue was full.
    pub full: Counter,
    /// How long requests took.
    pub request_duration: Durations,
    /// Newest timestamp read from the log, of points that rules drop as well, in milliseconds since 1970.
    pub highest_read_ms: Gauge,
    /// Newest timestamp given to the queue, in milliseconds since 1970.
    pub highest_ms: Gauge,
    /// Newest timestamp that has left the queue, delivered or refused or dropped, in milliseconds since 1970.
    pub highest_sent_ms: Gauge,
    /// Shards now.
    pub shards: Gauge,
    /// Fewest shards.
    pub shards_min: Gauge,
    /// Most shards.
    pub shards_max: Gauge,
    /// Shards wanted, in thousandths.
    pub shards_desired_milli: Gauge,
    /// Samples that a shard may hold.
    pub shard_capacity: Gauge,
    /// Samples per request.
    pub max_samples_per_send: Gauge,
    /// How long a sample may wait for a request to fill up, in milliseconds.
    pub batch_send_deadline_ms: Gauge,
    /// Bytes of batches held in memory.
    pub memory_bytes: Gauge,
    /// Lanes that are stuck and served by themselves, from disk.
    pub lanes_behind: Gauge,
    /// Lanes that the destination has failed over for 5 s while it accepts others; with those served from disk.
    pub stuck_lanes: Gauge,
    /// Samples and histograms that wait for this destination: those in the queue and those in the log that the
    /// queue has not read yet. Without those that were in the log before it was opened.
    pub waiting: Gauge,
    /// Whether some of what waits was in the log before it was opened, and so is not counted: 1 or 0.
    pub waiting_before_open: Gauge,
    /// How long the oldest sample that waits has done so, in milliseconds; 0 where none waits.
    pub waiting_ms: Gauge,
    /// How long the oldest sample has waited that is not in a stuck lane, in milliseconds; 0 where there is none.
    pub moving_ms: Gauge,
    /// How old the oldest point that is not settled is, in milliseconds; 0 where there is none.
    pub lag_ms: Gauge,
    /// The same without the backlog, while the newest is sent before it.
    pub newest_lag_ms: Gauge,
    /// Whether the newest is sent before a backlog: 1 or 0.
    pub newest_first: Gauge,
    /// Whether it reads from disk: 1 or 0.
    pub behind: Gauge,
    /// How long the next try is away, in milliseconds; 0 where nothing is waited for.
    pub retry_in_ms: Gauge,
    /// `queue_config.max_bytes_per_second`, while samples wait because of it; 0 otherwise.
    pub held_to_bytes_per_second: Gauge,
    /// Until when the destination has asked for a pause (`Retry-After`), in milliseconds since 1970; 0 if it has not.
    pub pause_until_ms: Gauge,
    /// When a sample was first written by the destination, in milliseconds since 1970; 0 while nothing was.
    pub first_accepted_ms: Gauge,
    /// When a sample was last written by the destination, in milliseconds since 1970; 0 while nothing was.
    pub last_accepted_ms: Gauge,
    /// Records of the log gone through, from memory or from disk.
    pub records_read: Counter,
    /// Of these, records that came from disk, since it was behind.
    pub records_read_behind: Counter,
    /// Positions that could not be saved.
    pub positions_failed: Counter,
    /// Lanes that did not begin at their saved positions, by why.
    pub positions_reset: PositionsReset,
    /// The segment of the lowest saved position.
    pub position_segment: Gauge,
    /// The byte of it in its segment.
    pub position_offset: Gauge,
    /// Refused points that were not kept aside, since too many came or the disk failed.
    pub dead_letters_dropped: Counter,
    words: Mutex<Words>,
}

impl Stats {
    fn words(&self) -> MutexGuard<'_, Words> {
        self.words.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Points that are in the queue and not settled.
    pub fn pending(&self) -> Kinds {
        let settled = [
            &self.delivered,
            &self.refused,
            &self.dropped_unsupported,
            &self.left_behind,
            &self.expired,
            &self.set_aside,
        ];
        let all = self.queued.get().plus(self.aside_settled.get());
        settled.into_iter().fold(all, |left, settled| left.minus(settled.get()))
    }

    /// The refused points by reason and status.
    pub fn refused_reasons(&self) -> Vec<(Refusal, u64)> {
        self.refused_by.get()
    }

    /// What the destination does now.
    pub fn state(&self) -> State {
        self.words().state.clone()
    }

    /// Why some lanes are stuck while others pass, in words.
    pub fn stuck(&self) -> Option<String> {
        self.words().stuck.clone()
    }

    /// Sets why some lanes are stuck; says whether none was before.
    pub(crate) fn set_stuck(&self, reason: Option<String>) -> bool {
        let is_set = reason.is_some();
        let before = std::mem::replace(&mut self.words().stuck, reason);
        is_set && before.is_none()
    }

    /// The last thing that went wrong, in words.
    pub fn last_error(&self) -> Option<String> {
        self.words().last_error.as_ref().map(|(words, _)| words.clone())
    }

    /// The last thing that went wrong, in words, and when, in milliseconds since 1970 by the machine's clock.
    pub fn last_error_at(&self) -> Option<(String, i64)> {
        let (words, at) = self.words().last_error.clone()?;
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        Some((words, i64::try_from(since.as_millis()).unwrap_or(i64::MAX)))
    }

    /// The version of the protocol that the destination has understood last.
    pub fn protocol(&self) -> Option<Protocol> {
        self.words().protocol
    }

    /// The destination has answered: it is neither away nor does it deny access.
    pub(crate) fn set_reached(&self) {
        let has_accepted = self.last_accepted_ms.get() > 0;
        let mut words = self.words();
        if matches!(words.state, State::Waiting { .. } | State::Denied { .. }) {
            words.state = if has_accepted { State::Delivering } else { State::Starting };
        }
    }

    /// Sets the state. Returns whether it was another one before.
    pub(crate) fn set_state(&self, state: State) -> bool {
        let mut words = self.words();
        let changed = words.state != state;
        if changed {
            words.state = state;
        }
        changed
    }

    /// Points up to this time have left the queue.
    pub(crate) fn raise_sent(&self, newest: Option<i64>) {
        if let Some(newest) = newest {
            self.highest_sent_ms.raise(newest);
        }
    }

    pub(crate) fn set_error(&self, error: String) {
        self.words().last_error = Some((error, SystemTime::now()));
    }

    pub(crate) fn set_protocol(&self, protocol: Protocol) {
        self.words().protocol = Some(protocol);
    }
}
