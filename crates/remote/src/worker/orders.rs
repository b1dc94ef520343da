//! The orders to a worker, and its report when it ends.

use std::time::Duration;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Orders {
    /// Bytes of batches that may wait in memory.
    pub(crate) memory: usize,
    /// How to end, if the worker is told to.
    pub(crate) stop: Option<Stop>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Stop {
    /// When everything is sent, or after this long.
    Flush(Duration),
    /// When the requests under way are answered, or after this long.
    HandOver(Duration),
}

/// A worker that was told to stop.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ending {
    /// The worker ends at this time in any case, by the monotonic clock.
    pub(super) at: Duration,
    /// From this time on, the worker ends as soon as the destination is failing. `None` for a destination
    /// that accepted samples when the worker was told to stop, because its failure may pass.
    pub(super) at_if_failing: Option<Duration>,
    /// The worker sends nothing more, and ends when the requests under way are answered.
    pub(super) hands_over: bool,
}

impl Ending {
    /// Returns the times at which [`Ending`] has to be checked again.
    pub(super) fn wakes(&self, now: Duration) -> impl Iterator<Item = Duration> + use<> {
        let if_failing = self.at_if_failing.filter(|at| *at > now);
        [Some(self.at), if_failing].into_iter().flatten()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShutdownReport {
    /// Everything in the log is delivered, refused, or dropped by a rule.
    pub complete: bool,
    /// Unsettled points in memory. They, and the points that were not read yet, are sent after the next
    /// start.
    pub pending: usize,
    /// The positions are on disk. Otherwise more points than necessary are sent again after the next start.
    pub positions_saved: bool,
}

impl ShutdownReport {
    /// The report of a destination that failed to end in order.
    pub(crate) const FAILED: ShutdownReport =
        ShutdownReport { complete: false, pending: 0, positions_saved: false };
}
