//! What becomes of a sample by the verdict on its request.

#[cfg(doc)]
use write_client::verdict::Verdict;

/// What became of a sample that leaves the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The receiver has written it.
    Delivered,
    /// Its request got [`Verdict::Partial`]: the receiver has written it or refused it.
    Partial {
        /// An earlier try may have written it.
        maybe_written: bool,
    },
    /// The receiver refuses it.
    Refused {
        /// An earlier try may have written it.
        maybe_written: bool,
    },
    /// It was not sent alone, but it is no newer than samples of its batch that were refused alone.
    Presumed {
        /// An earlier try may have written it.
        maybe_written: bool,
    },
    /// It kept failing while other samples were delivered: it is kept on disk and retried.
    Parked,
    /// It was not sent: [`Verdict::Unsent`].
    Unsent,
}

impl Fate {
    /// Whether it is known whether the receiver has written it.
    pub(crate) fn is_certain(self) -> bool {
        matches!(self, Fate::Delivered | Fate::Parked | Fate::Unsent)
    }

    /// The same for a sample that an earlier try may have written, or not.
    pub(crate) fn with(self, maybe_written: bool) -> Fate {
        match self {
            Fate::Partial { .. } => Fate::Partial { maybe_written },
            Fate::Refused { .. } => Fate::Refused { maybe_written },
            Fate::Presumed { .. } => Fate::Presumed { maybe_written },
            Fate::Delivered | Fate::Parked | Fate::Unsent => self,
        }
    }
}

/// A refusal of which nothing is known yet about repeats.
pub(crate) const REFUSED: Fate = Fate::Refused { maybe_written: false };
