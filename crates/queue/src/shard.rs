//! A shard: a set of lanes with one queue of references and at most one request under way.

use crate::attempt::Attempt;
use crate::chunks::Ref;
use std::collections::VecDeque;
use std::time::Duration;

/// Each lane of a shard is delivered up to the shard's oldest reference.
#[derive(Debug, Default)]
pub(crate) struct Shard {
    /// Number of lanes.
    pub(crate) lanes: usize,
    /// Some of the lanes belong to another shard. They move there when the shard has no attempt.
    pub(crate) has_misplaced_lanes: bool,
    /// The waiting points, in the log's order.
    pub(crate) waiting: VecDeque<Ref>,
    /// The batch that is being sent.
    pub(crate) attempt: Option<Attempt>,
    /// The last point of the present batch when it was made. Points before it may have been sent.
    pub(crate) drawn_to: Option<Ref>,
    /// The shard sends nothing before this time. It outlives the attempt, because the receiver may have asked
    /// for the pause.
    pub(crate) not_before: Duration,
    /// When the present or last request was sent.
    pub(crate) sent_at: Duration,
    /// When the first waiting point arrived that should be sent early.
    pub(crate) urgent_since: Option<Duration>,
    /// Most points of a batch. Refusals and 413 lower it, successes raise it again.
    pub(crate) limit: usize,
    /// Number of single points that were too large since the last success.
    pub(crate) too_large: u32,
}

impl Shard {
    /// Returns the first unsettled point of the batch and the first waiting point. One of the two is the
    /// shard's oldest.
    pub(crate) fn oldest(&self) -> impl Iterator<Item = Ref> + '_ {
        let in_batch = self.attempt.as_ref().and_then(|attempt| attempt.unsettled().next());
        in_batch.into_iter().chain(self.waiting.front().copied())
    }
}
