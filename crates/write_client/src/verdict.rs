//! The verdicts on a request.

use model::Kinds;
use std::time::Duration;

/// What the answer to a request means, or what happened to a request without an answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Verdict {
    Delivered,
    /// The receiver has written some points, and refuses this many for good. It does not say which ones.
    Partial {
        refused: Kinds,
    },
    /// At least one point of the request is refused for good. The answer does not say which one.
    Refused {
        /// A receiver may refuse samples for this reason because it has already written them. For any other
        /// reason it may have written the rest of the request.
        fits_a_repeat: bool,
    },
    /// All points of the request are refused for good.
    RefusedWhole,
    /// The native histograms of the request are refused for good, and the receiver has written nothing of it.
    HistogramsRefused,
    /// The request is larger than the receiver accepts.
    TooLarge,
    /// The request failed: 408, 429, 5xx, or no answer. It is sent again after a pause.
    Failed {
        /// How far the request came.
        reached: Reached,
        retry_after: Option<Duration>,
    },
    /// Our credentials are refused, or the URL is not that of a receiver.
    Denied,
    /// The request is sent again at once, in another version of the protocol.
    Resend,
    /// Nothing was sent: this version can't carry any point of the request, or none is wanted any more.
    Unsent,
}

impl Verdict {
    /// Returns true if the endpoint exists and accepted our credentials. A refusal of the data proves that,
    /// too.
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

    /// Returns true if the receiver has written at least a part of the request, and the rest is refused.
    pub fn is_success(self) -> bool {
        matches!(self, Self::Delivered | Self::Partial { .. })
    }
}

/// How far a failed request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// There was no connection, so nothing was sent.
    Nothing,
    /// It was sent, at least in part, and got no answer. The receiver may have written it.
    NoAnswer,
    /// A gateway answered that the receiver did not answer. The receiver may have written it.
    Gateway,
    /// The receiver answered that it has not written it.
    Receiver,
    /// The receiver answered 429: it gets too many samples, and has not written these.
    Limit,
}

impl Reached {
    /// Returns how far a request came that was answered with 408, 429 or 5xx.
    pub fn by(status: u16) -> Reached {
        match status {
            502 | 504 => Reached::Gateway,
            429 => Reached::Limit,
            _ => Reached::Receiver,
        }
    }

    /// Returns true if there was an answer (408, 429, 5xx) and not a network failure.
    pub fn is_answer(self) -> bool {
        matches!(self, Reached::Gateway | Reached::Receiver | Reached::Limit)
    }

    /// Returns true if the receiver may have written the request without our knowledge.
    pub fn may_be_written(self) -> bool {
        matches!(self, Reached::NoAnswer | Reached::Gateway)
    }
}
