//! A stream: a range of the log for a set of lanes, with its queue. Each request of a destination belongs to
//! one of its streams.
//!
//! | stream | lanes | range | ends |
//! | --- | --- | --- | --- |
//! | live | all but isolated ones | to the log's end | never |
//! | backlog, with `catch_up: newest_first` | all but isolated ones | to where the live stream began | when it is delivered |
//! | isolated | lanes that keep failing or are refused | the range of their previous stream | when it has caught up after a minute without a failure, or is delivered |
//! | parked | | an entry of the parked samples | when it is delivered, or has failed again |

use crate::outgoing::Outgoing;
use crate::queue::Queue;
use wal::Position;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// The log up to its end.
    Live,
    /// A parked entry, by its number.
    Parked(u64),
    /// The log up to where the live stream began.
    Backlog,
}

pub(crate) struct Stream {
    /// Identifies the stream for its requests and its reader. Never used again.
    pub(crate) number: u64,
    pub(crate) kind: Kind,
    /// Whether its lanes were moved out of another stream.
    pub(crate) is_isolated: bool,
    /// The end of its range.
    pub(crate) until: Option<Position>,
    pub(crate) queue: Queue<Outgoing>,
    /// There is no more to read.
    pub(crate) is_closed: bool,
    /// The stream reads nothing more, because its lanes return to the live stream as soon as it is empty.
    pub(crate) is_rejoining: bool,
}

impl Stream {
    pub(crate) fn is_read(&self) -> bool {
        self.is_closed || self.until.is_some_and(|until| self.queue.head() >= until)
    }

    pub(crate) fn is_delivered(&self) -> bool {
        self.is_read() && self.queue.pending() == 0
    }

    pub(crate) fn follows_log(&self) -> bool {
        !matches!(self.kind, Kind::Parked(_))
    }

    /// Returns true if the stream follows the log for all lanes that are not isolated.
    pub(crate) fn is_main(&self) -> bool {
        self.follows_log() && !self.is_isolated
    }

    pub(crate) fn is_isolated_live(&self) -> bool {
        self.is_isolated && self.is_live()
    }

    pub(crate) fn is_live(&self) -> bool {
        self.kind == Kind::Live
    }

    /// The order in which streams send: live before backlog. Isolated lanes also get a share, see
    /// `sending.rs`.
    pub(crate) fn rank(&self) -> (Kind, bool) {
        let kind = if let Kind::Parked(_) = self.kind { Kind::Parked(0) } else { self.kind };
        (kind, self.is_isolated)
    }
}
