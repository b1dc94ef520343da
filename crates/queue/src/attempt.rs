//! The batch that a shard is sending. An [`Attempt`] has all state of one batch, so dropping it resets all of
//! it.

use crate::PROBE_AFTER;
use crate::chunks::Ref;
use crate::health::Health;
use crate::narrow::{Goal, Known, Narrow};
use std::time::Duration;

/// A batch that is being sent, or waits to be sent again.
#[derive(Debug, Default)]
pub(crate) struct Attempt {
    /// In the log's order. While the batch is narrowed, settled points stay in it.
    pub(crate) batch: Vec<Ref>,
    pub(crate) narrow: Option<Narrow>,
    /// A request with points of the batch is under way.
    pub(crate) under_way: bool,
    /// Number of failed tries of the present request.
    pub(crate) tries: u32,
    /// A request with the batch, or with a part of it, was sent before.
    pub(crate) sent_before: bool,
    /// How the batch fails, if its last try did.
    pub(crate) failing: Option<Failing>,
}

impl Attempt {
    pub(crate) fn unsettled(&self) -> impl Iterator<Item = Ref> + '_ {
        let mut open = self.narrow.as_ref().map(Narrow::unsettled);
        self.batch
            .iter()
            .copied()
            .filter(move |_| open.as_mut().is_none_or(|open| open.next().unwrap_or(true)))
    }

    /// Returns the held points: they fail while the destination answers other requests.
    pub(crate) fn held(&self) -> impl Iterator<Item = Ref> + '_ {
        let known = self.narrow.iter().flat_map(Narrow::known);
        self.batch.iter().zip(known).filter(|(_, known)| **known == Known::Held).map(|(at, _)| *at)
    }

    /// Returns true if only the held points count as failing, because the destination answered other
    /// requests.
    pub(crate) fn only_held_fail(&self) -> bool {
        self.narrow.as_ref().is_some_and(|narrow| narrow.goal() == Goal::Isolate && narrow.has_answer())
    }

    /// Returns the points of the present request, in the log's order.
    pub(crate) fn request(&self) -> impl Iterator<Item = Ref> + Clone + '_ {
        let (whole, part) = match &self.narrow {
            None => (self.batch.as_slice(), Default::default()),
            Some(narrow) => (Default::default(), narrow.request()),
        };
        let part = part.iter().filter_map(|index| self.batch.get(*index as usize));
        whole.iter().chain(part).copied()
    }
}

/// How a batch has failed so far. A refusal is not a failure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Failing {
    pub(crate) since: Duration,
    last: Duration,
    /// Up to here, the successes of other requests have been added to `beside`.
    counted_to: Duration,
    /// For how long other requests succeeded while the batch failed.
    pub(crate) beside: Duration,
    /// The batch may be narrowed again from this time on.
    pub(crate) narrow_at: Duration,
}

impl Failing {
    /// Notes the first failure.
    pub(crate) fn new(now: Duration) -> Self {
        Failing { since: now, last: now, counted_to: now, beside: Duration::ZERO, narrow_at: now }
    }

    /// Notes another failure. Returns true if a request succeeded since the previous failure: then the batch
    /// fails because of its data, and not because the destination is away.
    ///
    /// Of the time between two successes at most a minute counts, or the time between two tries if that is
    /// longer. The destination may have been away for the rest of it.
    pub(crate) fn again(&mut self, health: &Health, now: Duration) -> bool {
        let most = now.saturating_sub(std::mem::replace(&mut self.last, now)).max(PROBE_AFTER);
        let Some(success) = health.last_success().filter(|success| *success > self.counted_to) else {
            return false;
        };
        self.beside += (success - self.counted_to).min(most);
        self.counted_to = success;
        true
    }
}
