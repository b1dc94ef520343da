//! What a summary is decided from: plain values, read off all parts at one moment.

use super::summary::LATE_MS;
use super::window::{Entry, Key};
use std::collections::BTreeMap;

/// The state that a destination is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// Nothing was sent yet.
    Idle,
    /// The last request was accepted.
    Accepting,
    /// Requests fail and are sent again, for this reason.
    Failing(String),
    /// The destination refuses all samples for good, for this reason.
    Refusing(String),
    /// The destination does not authorise narthex, for this reason.
    Unauthorized(String),
    /// The URL is no endpoint of remote write, which this answer shows.
    NotAnEndpoint(String),
    /// Stopped, or a member that has left.
    Ended,
}

/// One destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestinationFacts {
    /// Its name.
    pub name: String,
    /// The state that it is in.
    pub delivery: Delivery,
    /// Whether it has accepted a sample since the start.
    pub delivered: bool,
    /// Samples that wait for it, as far as they are counted.
    pub waiting: u64,
    /// Whether some from before this start wait, too, which are not counted.
    pub waiting_before_start: bool,
    /// How long the oldest of them has waited, in milliseconds; 0 where none waits.
    pub waiting_ms: i64,
    /// The same without what waits in stuck lanes.
    pub moving_ms: i64,
    /// How long a sample may wait for a request to fill up, in milliseconds.
    pub deadline_ms: i64,
    /// `queue_config.max_bytes_per_second`, while samples wait because of it.
    pub held_to_bytes_per_second: Option<u64>,
    /// Until when it has asked for a pause, in milliseconds since 1970.
    pub pause_until_ms: Option<i64>,
    /// Samples that are parked.
    pub parked: u64,
    /// Lanes that the destination fails on while it accepts others, and why.
    pub stuck_lanes: u64,
    /// Why it fails on them.
    pub stuck_reason: Option<String>,
    /// Samples that relabelling or a setting of the user's left out, since the start.
    pub dropped_by_rule: u64,
    /// Requests that failed and are sent again, since the start.
    pub retries: u64,
}

impl DestinationFacts {
    /// Whether samples wait for longer than they should. Those in stuck lanes are shown as such, and say nothing of the
    /// others.
    pub fn is_late(&self) -> bool {
        let waiting_ms = if self.stuck_lanes > 0 { self.moving_ms } else { self.waiting_ms };
        waiting_ms > self.deadline_ms + LATE_MS
    }

    /// How far the destination is behind where its oldest sample is `lag_ms` old.
    pub fn lag_ms(&self, lag_ms: i64) -> i64 {
        if self.stuck_lanes > 0 { self.moving_ms.min(lag_ms) } else { lag_ms }
    }
}

/// An input with sockets of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerFacts {
    /// Its name.
    pub name: String,
    /// Why it does not listen although it is to.
    pub down: Option<String>,
    /// The number of its connections, where all are in use and further ones wait.
    pub connections_full: Option<u64>,
    /// The size of the kernel's buffer for its datagrams, in bytes.
    pub buffer_granted: u64,
    /// The size that narthex asks the kernel for.
    pub buffer_wanted: u64,
}

/// A destination that the configuration has no more, and that has not got all samples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemovedFacts {
    /// Its name.
    pub name: String,
    /// The bytes of the log that are not delivered to it.
    pub behind_bytes: u64,
    /// Until when its position is kept, in milliseconds since 1970.
    pub until_ms: i64,
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// Milliseconds of the monotonic clock, which the times of [`Facts::window`] go by.
    pub running_ms: i64,
    /// Milliseconds since 1970.
    pub wall_ms: i64,
    /// Whether the wall clock is set to a time that can be true.
    pub clock_is_plausible: bool,
    /// The data folder.
    pub data: String,
    /// Whether the inputs accept nothing because the disk is full.
    pub disk_full: bool,
    /// The free bytes that the disk needs, once it was full, until the inputs accept samples again.
    pub disk_bytes_to_go_on: u64,
    /// Whether the inputs accept nothing because the log's budget is used up.
    pub log_full: bool,
    /// A task that inputs need and that has ended.
    pub dead_task: Option<&'static str>,
    /// Destinations whose task ended unexpectedly.
    pub dead_destinations: Vec<String>,
    /// The destinations.
    pub destinations: Vec<DestinationFacts>,
    /// Destinations that are not in the configuration any more, and that have not got all samples.
    pub removed: Vec<RemovedFacts>,
    /// What happened within the last hour.
    pub window: Vec<Entry>,
    /// Why the last reload failed, if it did.
    pub reload_error: Option<String>,
    /// Groups whose last push was refused.
    pub groups_failing: u64,
    /// The inputs with sockets of their own.
    pub listeners: Vec<ListenerFacts>,
    /// Collectors that fail.
    pub collectors_failing: Vec<&'static str>,
    /// Inputs whose relabelling rules dropped samples since the start, and how many.
    pub dropped_at_inputs: Vec<(String, u64)>,
    /// The text of the last answer to a refused request, for each input and reason.
    pub last_answers: BTreeMap<Key, String>,
}
