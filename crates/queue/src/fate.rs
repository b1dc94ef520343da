//! What becomes of a sample.

#[cfg(doc)]
use write_client::verdict::Verdict;

/// How a sample leaves the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The receiver has written it.
    Delivered,
    /// Its request got [`Verdict::Partial`]: the receiver has either written or refused the sample.
    Partial {
        /// An earlier try may have written it.
        maybe_written: bool,
    },
    Refused {
        /// An earlier try may have written it.
        maybe_written: bool,
    },
    /// The sample was not sent alone, but it is not newer than samples of its batch that were refused alone.
    Presumed {
        /// An earlier try may have written it.
        maybe_written: bool,
    },
    /// The sample kept failing while other samples were delivered. It is kept on disk and retried.
    Parked,
    /// The sample was not sent: [`Verdict::Unsent`].
    Unsent,
}

impl Fate {
    /// Returns true if an earlier try makes no difference to this fate.
    pub(crate) fn is_certain(self) -> bool {
        matches!(self, Fate::Delivered | Fate::Parked | Fate::Unsent)
    }

    /// Sets `maybe_written`, if the fate has it.
    pub(crate) fn with(self, maybe_written: bool) -> Fate {
        match self {
            Fate::Partial { .. } => Fate::Partial { maybe_written },
            Fate::Refused { .. } => Fate::Refused { maybe_written },
            Fate::Presumed { .. } => Fate::Presumed { maybe_written },
            Fate::Delivered | Fate::Parked | Fate::Unsent => self,
        }
    }
}

/// A refusal before it is checked whether the sample is a repeat.
pub(crate) const REFUSED: Fate = Fate::Refused { maybe_written: false };
