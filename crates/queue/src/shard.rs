//! A shard: a set of lanes with one queue of references and at most one request under way.

use crate::attempt::Attempt;
use crate::chunks::Ref;
use std::collections::VecDeque;
use std::time::Duration;

/// A shard. Each of its lanes is delivered up to the shard's oldest reference.
#[derive(Debug, Default)]
pub(crate) struct Shard {
    /// How many lanes it has.
    pub(crate) lanes: usize,
    /// Some of its lanes belong to another shard, and move there when there is no attempt.
    pub(crate) has_misplaced_lanes: bool,
    /// What waits, in the log's order.
    pub(crate) waiting: VecDeque<Ref>,
    /// What is being sent.
    pub(crate) attempt: Option<Attempt>,
    /// The last point that was in the present batch when it was made: what is before it may have been sent.
    pub(crate) drawn_to: Option<Ref>,
    /// Nothing is sent before this time. It outlives the attempt, because the receiver may have asked for the pause.
    pub(crate) not_before: Duration,
    /// When the request under way, or the last one, was sent.
    pub(crate) sent_at: Duration,
    /// When the first arrived of what waits and should not wait for long.
    pub(crate) urgent_since: Option<Duration>,
    /// Most points of a batch; lowered by refusals and 413, raised again by success.
    pub(crate) limit: usize,
    /// How many single points have been too large since something was accepted.
    pub(crate) too_large: u32,
}

impl Shard {
    /// The references of which all others are younger: at most two.
    pub(crate) fn oldest(&self) -> impl Iterator<Item = Ref> + '_ {
        let in_batch = self.attempt.as_ref().and_then(|attempt| attempt.unsettled().next());
        in_batch.into_iter().chain(self.waiting.front().copied())
    }
}
