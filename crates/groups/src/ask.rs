//! The requests to the groups' task.

use super::add::Gauges;
use super::group::Family;
use super::keys::Keyed;
use super::state::State;
use crate::Options;
use crate::Refusal;
use model::Labels;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// A push whose body has been decoded.
#[derive(Debug, Clone)]
pub struct Push {
    pub key: Labels,
    /// Replaces the whole group (PUT) instead of families with the same name (POST).
    pub replace: bool,
    /// Adds to the values of the group, with this rule for gauges. `replace` is then ignored, and a push of which
    /// something was left out is refused as a whole.
    pub add: Option<Gauges>,
    /// The key of the request, which makes it apply only once.
    pub keyed: Option<Keyed>,
    /// The group's time to live from now on. `None` leaves it unchanged, `Some(None)` means forever.
    pub ttl: Option<Option<Duration>>,
    /// The pushed families, or why the push is refused although it could be decoded.
    pub families: Result<Vec<(String, Arc<Family>)>, String>,
    /// What was left out of the push. The rest is kept, if there is any, and the push counts as refused.
    pub left_out: Option<LeftOut>,
}

/// The parts of a push that were left out.
#[derive(Debug, Clone)]
pub struct LeftOut {
    /// How much, and why.
    pub text: String,
    /// Only new series over a limit on active series were left out.
    pub is_over_series_limit: bool,
}

impl LeftOut {
    /// The answer to the push.
    pub fn refusal(&self) -> Refusal {
        let text = self.text.clone();
        if self.is_over_series_limit { Refusal::SeriesLimit(text) } else { Refusal::Invalid(text) }
    }
}

/// A request to the groups' task.
pub enum Ask {
    Push(Push),
    Delete(Labels),
    Wipe,
    /// Sends the groups that are due. For tests: the task's timer does not know their clock.
    Turns,
    Options(Box<Options>),
    Read(Box<dyn FnOnce(&State) + Send + Sync>),
}

/// A request and the channel for its answer.
pub struct Asked {
    pub ask: Ask,
    /// The answer: done, or the reason of the refusal.
    pub reply: oneshot::Sender<Result<(), Refusal>>,
}
