//! The input of the summary's decision: plain values that are read from all parts at one moment.

use super::summary::LATE_MS;
use super::window::{Entry, Key};
use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// Nothing has been sent yet.
    Idle,
    /// The last request was accepted.
    Accepting,
    /// Requests fail and are retried, for this reason.
    Failing(String),
    /// The destination refuses all samples for good, for this reason.
    Refusing(String),
    /// The destination does not authorise narthex, for this reason.
    Unauthorized(String),
    /// The URL is no endpoint of remote write, as this answer shows.
    NotAnEndpoint(String),
    /// The destination is stopped, or is a member that has left.
    Ended,
}

/// The state of one destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestinationFacts {
    pub name: String,
    pub delivery: Delivery,
    /// True if it has accepted a sample since the start.
    pub delivered: bool,
    /// Samples that wait for it, as far as they are counted.
    pub waiting: u64,
    /// True if samples from before this start wait, too. They are not counted.
    pub waiting_before_start: bool,
    /// How long the oldest waiting sample has waited, in milliseconds; 0 if none waits.
    pub waiting_ms: i64,
    /// Like `waiting_ms`, without the samples in stuck lanes.
    pub moving_ms: i64,
    /// How long a sample may wait for a request to fill up, in milliseconds.
    pub deadline_ms: i64,
    /// `queue_config.max_bytes_per_second`, as long as samples wait because of it.
    pub held_to_bytes_per_second: Option<u64>,
    /// The end of the pause that the destination asked for, in milliseconds since 1970.
    pub pause_until_ms: Option<i64>,
    pub parked: u64,
    /// The number of lanes that the destination fails on while it accepts others.
    pub stuck_lanes: u64,
    /// Why it fails on them.
    pub stuck_reason: Option<String>,
    /// Samples that relabelling rules or a setting of the user's dropped, since the start.
    pub dropped_by_rule: u64,
    /// Requests that failed and are retried, since the start.
    pub retries: u64,
}

impl DestinationFacts {
    /// Returns true if samples wait for longer than they should. Samples in stuck lanes do not count: they
    /// are reported separately.
    pub fn is_late(&self) -> bool {
        let waiting_ms = if self.stuck_lanes > 0 { self.moving_ms } else { self.waiting_ms };
        waiting_ms > self.deadline_ms + LATE_MS
    }

    /// How far the destination is behind, if its oldest sample is `lag_ms` old. Stuck lanes do not count.
    pub fn lag_ms(&self, lag_ms: i64) -> i64 {
        if self.stuck_lanes > 0 { self.moving_ms.min(lag_ms) } else { lag_ms }
    }
}

/// The state of an input with sockets of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerFacts {
    pub name: String,
    /// Why the input does not listen; `None` if it does.
    pub down: Option<String>,
    /// The number of its connections, if all are in use and further ones wait.
    pub connections_full: Option<u64>,
    /// The size of the kernel's buffer for its datagrams, in bytes.
    pub buffer_granted: u64,
    /// The size that narthex requests from the kernel, in bytes.
    pub buffer_wanted: u64,
}

/// A destination that was removed from the configuration before all samples were delivered to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemovedFacts {
    pub name: String,
    /// The bytes of the log that are not delivered to it.
    pub behind_bytes: u64,
    /// How long its position is kept, in milliseconds since 1970.
    pub until_ms: i64,
}

/// All facts about narthex.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// The time of the monotonic clock in milliseconds; the times of [`Facts::window`] are of the same clock.
    pub running_ms: i64,
    /// Milliseconds since 1970.
    pub wall_ms: i64,
    /// True if the wall clock shows a time that can be true.
    pub clock_is_plausible: bool,
    pub data: String,
    /// True if the inputs accept nothing because the disk is full.
    pub disk_full: bool,
    /// The bytes that must become free, after the disk was full, before the inputs accept samples again.
    pub disk_bytes_to_go_on: u64,
    /// True if the inputs accept nothing because the log's budget is used up.
    pub log_full: bool,
    /// A task that inputs need and that has ended.
    pub dead_task: Option<&'static str>,
    /// Destinations whose task ended unexpectedly.
    pub dead_destinations: Vec<String>,
    pub destinations: Vec<DestinationFacts>,
    /// Destinations that were removed from the configuration before all samples were delivered to them.
    pub removed: Vec<RemovedFacts>,
    /// The events of the last hour.
    pub window: Vec<Entry>,
    /// Why the last reload failed, if it did.
    pub reload_error: Option<String>,
    /// Groups whose last push was refused.
    pub groups_failing: u64,
    pub listeners: Vec<ListenerFacts>,
    /// The names of the failing collectors.
    pub collectors_failing: Vec<&'static str>,
    /// Inputs whose relabelling rules dropped samples since the start, and how many.
    pub dropped_at_inputs: Vec<(String, u64)>,
    /// The text of the last answer to a refused request, for each input and reason.
    pub last_answers: BTreeMap<Key, String>,
}
