//! What a shard is sending. An [`Attempt`] is everything that belongs to one batch, so dropping it forgets all of it.

use crate::PROBE_AFTER;
use crate::chunks::Ref;
use crate::health::Health;
use crate::narrow::{Goal, Known, Narrow};
use std::time::Duration;

/// A batch that is being sent, or waits to be sent again.
#[derive(Debug, Default)]
pub(crate) struct Attempt {
    /// In the log's order. While it is narrowed, points that are settled stay in it.
    pub(crate) batch: Vec<Ref>,
    /// How it is narrowed, if it is.
    pub(crate) narrow: Option<Narrow>,
    /// A request with it is under way.
    pub(crate) under_way: bool,
    /// Failed tries of the present request.
    pub(crate) tries: u32,
    /// A request with it, or with a part of it, was sent and is sent again.
    pub(crate) sent_before: bool,
    /// Since its first failure.
    pub(crate) failing: Option<Failing>,
}

impl Attempt {
    /// The points that are not settled.
    pub(crate) fn unsettled(&self) -> impl Iterator<Item = Ref> + '_ {
        let mut open = self.narrow.as_ref().map(Narrow::unsettled);
        self.batch
            .iter()
            .copied()
            .filter(move |_| open.as_mut().is_none_or(|open| open.next().unwrap_or(true)))
    }

    /// The points that are held: they fail while the destination answers other requests.
    pub(crate) fn held(&self) -> impl Iterator<Item = Ref> + '_ {
        let known = self.narrow.iter().flat_map(Narrow::known);
        self.batch.iter().zip(known).filter(|(_, known)| **known == Known::Held).map(|(at, _)| *at)
    }

    /// Whether only its held points count as failing: the destination has answered for others.
    pub(crate) fn only_held_fail(&self) -> bool {
        self.narrow.as_ref().is_some_and(|narrow| narrow.goal() == Goal::Isolate && narrow.has_answer())
    }

    /// The points of the present request, in the log's order.
    pub(crate) fn request(&self) -> impl Iterator<Item = Ref> + Clone + '_ {
        let (whole, part) = match &self.narrow {
            None => (self.batch.as_slice(), Default::default()),
            Some(narrow) => (Default::default(), narrow.request()),
        };
        let part = part.iter().filter_map(|index| self.batch.get(*index as usize));
        whole.iter().chain(part).copied()
    }
}

/// How a batch has failed so far. A refusal is no failure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Failing {
    /// When it first failed.
    pub(crate) since: Duration,
    /// When it last failed.
    last: Duration,
    /// Up to when the successes of other requests have been added to `beside`.
    counted_to: Duration,
    /// For how long other requests succeeded while it failed.
    pub(crate) beside: Duration,
    /// When it may be narrowed again.
    pub(crate) narrow_at: Duration,
}

impl Failing {
    /// The first failure.
    pub(crate) fn new(now: Duration) -> Self {
        Failing { since: now, last: now, counted_to: now, beside: Duration::ZERO, narrow_at: now }
    }

    /// Notes another failure. Returns whether a request succeeded since the failure before: then it is the data of
    /// this batch that fails, and not the destination.
    ///
    /// Of the time between two successes at most a minute counts, or the time between two tries if that is longer: the
    /// destination may have been away in the rest of it.
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
