//! What a queue and whoever drives it tell each other.

#[cfg(doc)]
use super::{EARLY_INTERVAL, LINGER, Queue, backoff};
use std::time::Duration;
use wal::Position;

/// What the queue needs to know of a chunk.
pub trait Source {
    /// The position before this point.
    fn position(&self, point: u32) -> Position;
    /// Hash of the point's series by its outgoing labels, see [`crate::queue::lanes`].
    fn series(&self, point: u32) -> u64;
    /// The point's time in milliseconds.
    fn timestamp(&self, point: u32) -> i64;
    /// When it arrived, by the monotonic clock.
    fn arrived(&self) -> Duration;
    /// Whether nobody waits for it, so that no request is sent early because of it.
    fn can_wait(&self) -> bool;
    /// Whether it costs less to send all of it in one request.
    fn keeps_together(&self) -> bool;
    /// Bytes of memory it keeps.
    fn bytes(&self) -> usize;
}

/// Settings of a queue.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Shards to begin with.
    pub min_shards: usize,
    /// Most shards.
    pub max_shards: usize,
    /// References per shard; all shards together share them.
    pub capacity: usize,
    /// Points per request.
    pub max_points: usize,
    /// How long a point waits at most for a batch to fill up: so long after the shard's last request, or
    /// for [`LINGER`] where that was long ago.
    pub deadline: Duration,
    /// Whether what waits is sent before the deadline while the destination is idle and answers fast: see
    /// [`EARLY_INTERVAL`].
    pub early: bool,
    /// First wait after a failed request.
    pub min_backoff: Duration,
    /// Longest wait after a failed request.
    pub max_backoff: Duration,
    /// Bytes of chunks held.
    pub memory: usize,
    /// Whether refused batches are narrowed down.
    pub narrow: bool,
    /// Whether what keeps meeting 408, 429 or 5xx while others pass is put aside.
    pub put_aside: bool,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Outcome {
    /// Everything was taken.
    Delivered,
    /// The receiver told how much it wrote, and the rest it will never take. Nothing is sent again.
    Settled,
    /// To be sent again.
    Retry {
        /// How far the request came.
        reached: Reached,
        /// The receiver's `Retry-After`.
        after: Option<Duration>,
        /// Between 0 and 1, see [`backoff::delay`].
        jitter: f64,
    },
    /// To be sent again at once, in another form.
    Resend,
    /// Nothing of it could be sent, or is worth to be: it is settled, and says nothing of the destination.
    Unsent,
    /// Something in it is refused for good, it is not known what.
    Refused {
        /// The receiver may refuse samples for this reason that it has written before. Where it gives any other
        /// reason, it may have written the rest of the request.
        fits_a_repeat: bool,
    },
    /// All of it is refused for good.
    RefusedWhole,
    /// Too large.
    TooLarge,
    /// Nobody is let in, or what is there is no receiver: see [`crate::client::answer::Verdict::Denied`].
    Denied,
}

/// How far a request came that is to be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// It was not sent: there was no connection.
    Nothing,
    /// It was sent, at least in part, and there was no answer: the receiver may have written it.
    NoAnswer,
    /// A gateway answered that it had no answer of the receiver's: that may have written it, too.
    Gateway,
    /// The receiver answered that it has not written it.
    Receiver,
}

impl Reached {
    /// How far a request came that was answered with 408, 429 or 5xx.
    pub fn by(status: u16) -> Reached {
        match status {
            502 | 504 => Reached::Gateway,
            _ => Reached::Receiver,
        }
    }

    /// Whether there was an answer (408, 429, 5xx) rather than a failure of the network.
    pub fn is_answer(self) -> bool {
        matches!(self, Reached::Gateway | Reached::Receiver)
    }

    /// Whether the receiver may have written the request, and its answer was lost.
    pub(super) fn may_be_written(self) -> bool {
        matches!(self, Reached::NoAnswer | Reached::Gateway)
    }
}

impl Outcome {
    /// Whether there is a receiver, and it knows us: whoever refuses something has let us in, too.
    pub(super) fn lets_in(self) -> bool {
        match self {
            Outcome::Delivered
            | Outcome::Settled
            | Outcome::Refused { .. }
            | Outcome::RefusedWhole
            | Outcome::TooLarge => true,
            Outcome::Retry { .. } | Outcome::Resend | Outcome::Unsent | Outcome::Denied => false,
        }
    }
}

/// How a point was settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The receiver has it.
    Delivered,
    /// It was in a request of which the receiver said how many it wrote.
    Settled {
        /// An earlier try may have written it.
        maybe_written: bool,
    },
    /// The receiver refuses it.
    Refused {
        /// An earlier try may have written it.
        maybe_written: bool,
    },
    /// It was not sent alone, but all probes of its batch were refused.
    Presumed {
        /// An earlier try may have written it.
        maybe_written: bool,
    },
    /// It kept meeting 408, 429 or 5xx while others went through: to be put aside and tried later.
    Poisoned,
}

impl Fate {
    /// The same, of a point that an earlier try may have written, or not.
    pub(super) fn with(self, maybe_written: bool) -> Fate {
        match self {
            Fate::Settled { .. } => Fate::Settled { maybe_written },
            Fate::Refused { .. } => Fate::Refused { maybe_written },
            Fate::Presumed { .. } => Fate::Presumed { maybe_written },
            Fate::Delivered | Fate::Poisoned => self,
        }
    }
}

/// A request to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// The shard, to be given back with the answer.
    pub shard: usize,
    /// Failed tries before this one.
    pub attempt: u32,
    /// Whether one of those was sent, rather than that there was no connection.
    pub sent_before: bool,
    /// Whether [`Queue::trim`] may be used: it is a whole batch.
    pub whole: bool,
}
