//! What the answer to a request means.

use model::Kinds;
use std::time::Duration;

/// What the answer to a request means, or what became of a request that got no answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Verdict {
    /// The receiver has written everything.
    Delivered,
    /// The receiver has written some of it, and refuses this much for good. It does not say which samples.
    Partial {
        /// How many it refuses.
        refused: Kinds,
    },
    /// Something in the request is refused for good. The answer does not say what.
    Refused {
        /// A receiver may refuse samples for this reason because it has written them before. For any other reason
        /// it may have written the rest of the request.
        fits_a_repeat: bool,
    },
    /// Everything in the request is refused for good.
    RefusedWhole,
    /// The native histograms in the request are refused for good, and the receiver has written nothing of it.
    HistogramsRefused,
    /// The request is larger than the receiver accepts.
    TooLarge,
    /// The request failed: 408, 429, 5xx, or no answer. It is sent again after a pause.
    Failed {
        /// How far the request came.
        reached: Reached,
        /// The receiver's `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// Our credentials are refused, or the URL is not that of a receiver.
    Denied,
    /// The request is sent again at once, in another version of the protocol.
    Resend,
    /// Nothing was sent: no sample of the request can be sent in this version, or is still wanted.
    Unsent,
}

impl Verdict {
    /// Whether the endpoint exists and accepted our credentials. A refusal of the data proves that too.
    pub fn proves_access(self) -> bool {
        match self {
            Self::Delivered
            | Self::Partial { .. }
            | Self::Refused { .. }
            | Self::RefusedWhole
            | Self::HistogramsRefused
            | Self::TooLarge => true,
            Self::Failed { .. } | Self::Denied | Self::Resend | Self::Unsent => false,
        }
    }

    /// Whether the receiver has written the request, as far as it ever will.
    pub fn is_success(self) -> bool {
        matches!(self, Self::Delivered | Self::Partial { .. })
    }
}

/// How far a request came that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// There was no connection, so nothing was sent.
    Nothing,
    /// It was sent, at least in part, and there was no answer: the receiver may have written it.
    NoAnswer,
    /// A gateway answered that the receiver did not answer: the receiver may have written it.
    Gateway,
    /// The receiver answered that it has not written it.
    Receiver,
    /// The receiver answered 429: it is sent too much, and has not written it.
    Limit,
}

impl Reached {
    /// How far a request came that was answered with 408, 429 or 5xx.
    pub fn by(status: u16) -> Reached {
        match status {
            502 | 504 => Reached::Gateway,
            429 => Reached::Limit,
            _ => Reached::Receiver,
        }
    }

    /// Whether there was an answer (408, 429, 5xx) rather than a failure of the network.
    pub fn is_answer(self) -> bool {
        matches!(self, Reached::Gateway | Reached::Receiver | Reached::Limit)
    }

    /// Whether the receiver may have written the request although we do not know of it.
    pub fn may_be_written(self) -> bool {
        matches!(self, Reached::NoAnswer | Reached::Gateway)
    }
}
