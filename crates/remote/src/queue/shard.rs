//! A shard: a set of lanes with one queue of references and at most one request under way.

use crate::queue::narrow::Narrow;
use std::collections::VecDeque;
use std::time::Duration;

/// A point of a chunk that the queue holds: the chunk by its running number (it may wrap around), the
/// point by its index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ref {
    pub(crate) chunk: u32,
    pub(crate) point: u32,
}

/// What the request of a shard's batch is about.
#[derive(Debug, Default)]
pub(crate) enum Mode {
    /// The whole batch.
    #[default]
    Whole,
    /// One point, to see whether the destination takes anything.
    Probe(u32),
    /// Part of the batch: it was refused and is being narrowed down.
    Narrow(Narrow),
}

/// A shard. A lane of it is done up to its oldest reference that is not settled.
#[derive(Debug, Default)]
pub(crate) struct Shard {
    /// How many lanes it has.
    pub(crate) lanes: usize,
    /// Some of its lanes belong elsewhere and move when no request is under way.
    pub(crate) lanes_to_move: bool,
    /// What waits, in the log's order.
    pub(crate) waiting: VecDeque<Ref>,
    /// What is being sent, in the log's order: under way, or to be sent again.
    pub(crate) batch: Vec<Ref>,
    pub(crate) mode: Mode,
    pub(crate) under_way: bool,
    /// Failed tries of what is being sent.
    pub(crate) attempt: u32,
    /// What is being sent must not be sent before this time.
    pub(crate) not_before: Duration,
    /// When the request under way, or the last one, was sent.
    pub(crate) sent_at: Duration,
    /// When the first arrived of what waits and should not wait for long.
    pub(crate) urgent_since: Option<Duration>,
    /// How the batch has fared so far.
    pub(crate) failures: Failures,
    /// The batch was found to be poisoned and is being narrowed down for that.
    pub(crate) poisoned: bool,
    /// When the batch last met 401, 403 or 404.
    pub(crate) denied_at: Option<Duration>,
    /// How often it did again though others had passed since: often enough, and that is treated as a refusal.
    pub(crate) denied_alone: u32,
    /// When a point of the batch was last given up for that.
    pub(crate) given_up_at: Duration,
    /// Number of probes sent for the batch, so that each is of another point.
    pub(crate) probes: usize,
    /// The batch, or a part of it, was sent and is to be sent again.
    pub(crate) sent_before: bool,
    /// Most points of a batch; lowered by refusals and 413, raised again by success.
    pub(crate) limit: usize,
    /// For a shard of stuck lanes: when a sample was last refused.
    pub(crate) refused_at: Duration,
}

impl Shard {
    /// Whether nothing is queued or being sent.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.batch.is_empty()
    }

    /// The references that are not settled and of which all others are younger: at most two.
    pub(crate) fn oldest(&self) -> impl Iterator<Item = Ref> {
        let in_batch = match &self.mode {
            Mode::Narrow(narrow) => narrow.first_unsettled().unwrap_or(0),
            Mode::Whole | Mode::Probe(_) => 0,
        };
        self.batch.get(in_batch).copied().into_iter().chain(self.waiting.front().copied())
    }

    /// The points of the batch that are not settled.
    pub(crate) fn unsettled(&self) -> impl Iterator<Item = &Ref> {
        let narrow = match &self.mode {
            Mode::Narrow(narrow) => Some(narrow),
            Mode::Whole | Mode::Probe(_) => None,
        };
        let mut open = narrow.map(Narrow::unsettled);
        self.batch.iter().filter(move |_| open.as_mut().is_none_or(|open| open.next().unwrap_or(true)))
    }

    /// Takes what is not settled of the batch.
    pub(crate) fn take_batch(&mut self) -> Vec<Ref> {
        let batch = std::mem::take(&mut self.batch);
        let Mode::Narrow(narrow) = &self.mode else { return batch };
        // A search settles point by point, and the batch stays whole meanwhile.
        batch.into_iter().zip(narrow.unsettled()).filter(|(_, open)| *open).map(|(point, _)| point).collect()
    }

    /// The batch is settled or handed back: what is known of it is forgotten.
    pub(crate) fn forget_batch(&mut self) {
        self.batch.clear();
        self.mode = Mode::Whole;
        self.attempt = 0;
        self.not_before = Duration::ZERO;
        self.failures = Failures::default();
        self.poisoned = false;
        self.denied_at = None;
        self.denied_alone = 0;
        self.given_up_at = Duration::ZERO;
        self.probes = 0;
        self.sent_before = false;
    }

    /// The same, but for a pause that was asked for.
    pub(crate) fn forget_batch_but_pause(&mut self) {
        let not_before = self.not_before;
        self.forget_batch();
        self.not_before = not_before;
    }
}

/// How a batch has fared so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Failures {
    /// When it first met an answer that holds it up (408, 429, 5xx).
    pub(crate) since: Option<Duration>,
    /// When it last did.
    pub(crate) at: Duration,
    /// Up to when it has been looked at what went through meanwhile.
    pub(crate) counted_to: Duration,
    /// How long it has been held up so while others went through.
    pub(crate) beside: Duration,
    /// After how much of that it is narrowed down, so that what does not fail goes on.
    pub(crate) narrowed_at: Duration,
    /// When it first failed, for whatever reason.
    pub(crate) stuck_since: Option<Duration>,
}
