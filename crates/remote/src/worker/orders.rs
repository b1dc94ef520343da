//! What a worker is told, and how it says that it ended.

use std::time::Duration;

/// What a worker is told while it runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Orders {
    /// Bytes of batches that may wait in memory.
    pub(crate) memory: usize,
    /// Whether to end.
    pub(crate) stop: Option<Stop>,
}

/// How to end.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Stop {
    /// Once everything is sent, or after this long.
    Flush(Duration),
    /// Once there are answers to what is under way, or after this long.
    HandOver(Duration),
}

/// A worker that was told to stop.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ending {
    /// By the monotonic clock: then it ends in any case.
    pub(super) at: Duration,
    /// From then on it ends as soon as the destination is failing. Nothing for a destination that accepted samples
    /// when the worker was told to stop: its failure may pass.
    pub(super) at_if_failing: Option<Duration>,
    /// It sends nothing any more and ends with the answers to what is under way.
    pub(super) hands_over: bool,
}

impl Ending {
    /// When it has to be looked at again.
    pub(super) fn wakes(&self, now: Duration) -> impl Iterator<Item = Duration> + use<> {
        let if_failing = self.at_if_failing.filter(|at| *at > now);
        [Some(self.at), if_failing].into_iter().flatten()
    }
}

/// How a destination ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShutdownReport {
    /// Everything in the log is delivered, or refused, or dropped by a rule.
    pub complete: bool,
    /// Points in memory that were not settled. They, and what was not read yet, are sent after the next
    /// start.
    pub pending: usize,
    /// The positions are on disk. Where not, more than necessary is sent again after the next start.
    pub positions_saved: bool,
}

impl ShutdownReport {
    /// Of a destination that could not end in order.
    pub(crate) const FAILED: ShutdownReport =
        ShutdownReport { complete: false, pending: 0, positions_saved: false };
}
