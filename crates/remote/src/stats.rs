//! The numbers and the status of a destination. They are read without waiting.

use crate::refusal::{Refusal, Refusals};
use formats::remote_write::Protocol;
use model::Kinds;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
pub use storage::stats::Counter;

#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    pub fn set(&self, to: i64) {
        self.0.store(to, Ordering::Relaxed);
    }
    /// Sets the number, unless it is larger already.
    pub fn raise(&self, to: i64) {
        self.0.fetch_max(to, Ordering::Relaxed);
    }
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
pub struct PerKind {
    pub samples: Counter,
    pub histograms: Counter,
    pub exemplars: Counter,
}

impl PerKind {
    pub fn add(&self, kinds: Kinds) {
        self.samples.add(kinds.samples);
        self.histograms.add(kinds.histograms);
        self.exemplars.add(kinds.exemplars);
    }

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

/// A histogram of durations.
#[derive(Debug, Default)]
pub struct Durations {
    /// Counts per bucket, not cumulative. The last one is for everything above the bounds.
    pub buckets: [Counter; DURATION_BUCKETS.len() + 1],
    /// In nanoseconds.
    pub sum_ns: Counter,
}

impl Durations {
    pub fn observe(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let bucket = DURATION_BUCKETS.partition_point(|bound| *bound < seconds);
        if let Some(bucket) = self.buckets.get(bucket) {
            bucket.add(1);
        }
        self.sum_ns.add(duration.as_nanos() as u64);
    }
}

/// Number of lanes whose saved position could not be used, by reason. Such a lane begins earlier, or at the
/// oldest position of the log if the earlier part is gone.
#[derive(Debug, Default)]
pub struct PositionsReset {
    /// The position could not be read.
    pub damaged: Counter,
    /// The log ends before the position.
    pub beyond_end: Counter,
    /// No record begins at the position.
    pub misplaced: Counter,
    /// The log has deleted that segment.
    pub gone: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum State {
    #[default]
    Starting,
    /// The last requests were accepted, at least in part.
    Delivering,
    /// Requests fail and are sent again.
    Waiting {
        reason: String,
    },
    /// The destination refuses all samples for good, and has not written any for a while.
    Refusing {
        /// Status and the receiver's words.
        reason: String,
    },
    /// The destination denies access. Only probes are sent.
    Denied {
        /// Status and the receiver's words.
        reason: String,
    },
    Stopped,
    /// A member that was removed and has delivered its part of the log.
    Left,
}

/// The words for a page or a log line.
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

/// Each point is counted once in the counters of points.
#[derive(Debug, Default)]
pub struct Stats {
    pub queued: PerKind,
    /// Points that the destination has accepted.
    pub delivered: PerKind,
    /// Points that the destination refused for good. Includes the three counters below.
    pub refused: PerKind,
    pub refused_by: Refusals,
    /// Of the refused points, those that an earlier try may have written, and that were then refused as out
    /// of order, out of bounds or duplicate. The earlier try got no answer, or was refused because of another
    /// point.
    pub refused_or_already_written: Counter,
    /// Of the refused points, those that were not sent alone, because all probes of their batch were refused.
    pub refused_presumed: Counter,
    /// Of the refused points, those that were parked and removed because the files of parked samples were
    /// full.
    pub refused_poisoned: Counter,
    /// Points in requests that were sent again after 408, 429, 5xx or a network failure.
    pub retried: PerKind,
    /// Points that were dropped from memory when their lanes were isolated, to be read and queued again.
    pub left_behind: PerKind,
    /// Points dropped by the configuration (kinds, relabelling).
    pub dropped_by_rule: PerKind,
    /// Points dropped because they were older than `sample_age_limit`.
    pub dropped_too_old: PerKind,
    /// Of these, the points that became too old while they waited in the queue.
    pub expired: PerKind,
    /// Parked points: they met 408, 429 or 5xx for a long time while others were delivered, and are retried.
    pub set_aside: PerKind,
    /// Points that were parked and are now delivered or refused.
    pub aside_settled: PerKind,
    /// Points that are parked now, as counted when they were parked.
    pub aside_points: Gauge,
    /// Bytes on disk of parked samples.
    pub aside_bytes: Gauge,
    /// Points dropped because the version of the protocol can't carry them.
    pub dropped_unsupported: PerKind,
    /// Points sent without their start timestamps, because the version of the protocol has none.
    pub without_start: Counter,
    /// Points dropped because their series in the log could not be read.
    pub dropped_no_series: PerKind,
    /// Points that the log's budget deleted before they were delivered.
    pub lost: PerKind,
    /// Of these, points that the log deleted because they were older than `log.max_age`.
    pub lost_too_old: PerKind,
    /// Requests that were answered or failed, whatever the verdict.
    pub requests: Counter,
    /// Requests that failed or were answered with 408, 429 or 5xx.
    pub requests_retried: Counter,
    /// Requests sent again after a sent request had failed or was answered with 408, 429 or 5xx. A try
    /// without a connection does not count.
    pub requests_sent_again: Counter,
    /// Compressed bytes sent.
    pub bytes: Counter,
    /// Bytes before compression.
    pub plain_bytes: Counter,
    /// Requests sent as they came in, without being encoded again.
    pub verbatim: Counter,
    /// Metadata entries sent in requests of their own (1.0).
    pub metadata: Counter,
    /// Metadata entries that the destination refused.
    pub metadata_failed: Counter,
    /// Metadata entries whose request failed, or was answered with 408, 429 or 5xx. They are sent again.
    pub metadata_retried: Counter,
    /// Compressed bytes of metadata requests.
    pub metadata_bytes: Counter,
    /// How often reading stopped because the queue was full.
    pub full: Counter,
    pub request_duration: Durations,
    /// Newest timestamp read from the log, including points that rules drop, in milliseconds since 1970.
    pub highest_read_ms: Gauge,
    /// Newest timestamp given to the queue, in milliseconds since 1970.
    pub highest_ms: Gauge,
    /// Newest timestamp of points that left the queue (delivered, refused or dropped), in milliseconds since
    /// 1970.
    pub highest_sent_ms: Gauge,
    pub shards: Gauge,
    pub shards_min: Gauge,
    pub shards_max: Gauge,
    /// Wanted number of shards, in thousandths.
    pub shards_desired_milli: Gauge,
    /// Most samples that a shard holds.
    pub shard_capacity: Gauge,
    /// Most samples in a request.
    pub max_samples_per_send: Gauge,
    /// How long a sample waits at most for a request to fill up, in milliseconds.
    pub batch_send_deadline_ms: Gauge,
    /// Bytes of batches held in memory.
    pub memory_bytes: Gauge,
    /// Isolated lanes that have not caught up.
    pub lanes_behind: Gauge,
    /// Lanes that have failed for 5 s while the destination accepts others, and isolated lanes that have not
    /// caught up.
    pub stuck_lanes: Gauge,
    /// Samples and histograms that wait for this destination, in the queue or unread in the log. Excludes
    /// those that were in the log before it was opened.
    pub waiting: Gauge,
    /// 1 if some waiting samples were in the log before it was opened, and so are not counted; otherwise 0.
    pub waiting_before_open: Gauge,
    /// How long the oldest waiting sample has waited, in milliseconds. 0 if none waits.
    pub waiting_ms: Gauge,
    /// How long the oldest sample outside stuck lanes has waited, in milliseconds. 0 if there is none.
    pub moving_ms: Gauge,
    /// Age of the oldest unsettled point, in milliseconds. 0 if there is none.
    pub lag_ms: Gauge,
    /// The same without the backlog, while the newest samples are sent before it.
    pub newest_lag_ms: Gauge,
    /// 1 while the newest samples are sent before a backlog; otherwise 0.
    pub newest_first: Gauge,
    /// 1 while it reads from disk; otherwise 0.
    pub behind: Gauge,
    /// Time until the next try, in milliseconds. 0 if no retry is pending.
    pub retry_in_ms: Gauge,
    /// `queue_config.max_bytes_per_second`, while samples wait because of it; otherwise 0.
    pub held_to_bytes_per_second: Gauge,
    /// End of the pause that the destination has asked for (`Retry-After`), in milliseconds since 1970. 0 if
    /// it has not.
    pub pause_until_ms: Gauge,
    /// When the destination first wrote a sample, in milliseconds since 1970. 0 before.
    pub first_accepted_ms: Gauge,
    /// When the destination last wrote a sample, in milliseconds since 1970. 0 if it never did.
    pub last_accepted_ms: Gauge,
    /// Records of the log read, from memory or from disk.
    pub records_read: Counter,
    /// Of these, records read from disk, because the destination was behind.
    pub records_read_behind: Counter,
    pub positions_failed: Counter,
    /// Lanes that did not begin at their saved positions, by reason.
    pub positions_reset: PositionsReset,
    /// Segment of the lowest saved position.
    pub position_segment: Gauge,
    /// Byte of the lowest saved position in its segment.
    pub position_offset: Gauge,
    /// Refused points that did not become dead letters, because there were too many or the disk failed.
    pub dead_letters_dropped: Counter,
    words: Mutex<Words>,
}

impl Stats {
    fn words(&self) -> MutexGuard<'_, Words> {
        self.words.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the points that were queued and are not settled.
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

    pub fn refused_reasons(&self) -> Vec<(Refusal, u64)> {
        self.refused_by.get()
    }

    pub fn state(&self) -> State {
        self.words().state.clone()
    }

    /// Returns why some lanes are stuck while others are delivered.
    pub fn stuck(&self) -> Option<String> {
        self.words().stuck.clone()
    }

    /// Sets why some lanes are stuck. Returns true if a reason is set and none was before.
    pub(crate) fn set_stuck(&self, reason: Option<String>) -> bool {
        let is_set = reason.is_some();
        let before = std::mem::replace(&mut self.words().stuck, reason);
        is_set && before.is_none()
    }

    pub fn last_error(&self) -> Option<String> {
        self.words().last_error.as_ref().map(|(words, _)| words.clone())
    }

    /// Returns the last error, and when it happened, in milliseconds since 1970 by the machine's clock.
    pub fn last_error_at(&self) -> Option<(String, i64)> {
        let (words, at) = self.words().last_error.clone()?;
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        Some((words, i64::try_from(since.as_millis()).unwrap_or(i64::MAX)))
    }

    /// Returns the version of the protocol that the destination last accepted.
    pub fn protocol(&self) -> Option<Protocol> {
        self.words().protocol
    }

    /// Notes an answer: the destination is not away and does not deny access.
    pub(crate) fn set_reached(&self) {
        let has_accepted = self.last_accepted_ms.get() > 0;
        let mut words = self.words();
        if matches!(words.state, State::Waiting { .. } | State::Denied { .. }) {
            words.state = if has_accepted { State::Delivering } else { State::Starting };
        }
    }

    /// Sets the state. Returns true if it changed.
    pub(crate) fn set_state(&self, state: State) -> bool {
        let mut words = self.words();
        let changed = words.state != state;
        if changed {
            words.state = state;
        }
        changed
    }

    /// Notes that points up to this timestamp have left the queue.
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
