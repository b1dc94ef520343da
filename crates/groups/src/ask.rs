//! What is asked of the keeper.

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
    /// The group's labels.
    pub key: Labels,
    /// Replace the whole group (PUT) rather than families of the same name (POST).
    pub replace: bool,
    /// Add to what the group has, with this rule for gauges. Then `replace` has no meaning, and a push of which something
    /// was left out is refused as a whole.
    pub add: Option<Gauges>,
    /// Of a request with a key, which is applied once.
    pub keyed: Option<Keyed>,
    /// The group's time to live from now on: none to leave it as it is, `Some(None)` for ever.
    pub ttl: Option<Option<Duration>>,
    /// What is pushed, or why it is refused although it could be read.
    pub families: Result<Vec<(String, Arc<Family>)>, String>,
    /// What was left out of it, and why. The rest is kept, if there is any, and the push counts as refused.
    pub left_out: Option<LeftOut>,
}

/// What was left out of a push.
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

/// What is asked of the keeper.
pub enum Ask {
    /// A push.
    Push(Push),
    /// Delete one group.
    Delete(Labels),
    /// Delete all groups.
    Wipe,
    /// Send the groups whose turn it is. For tests, whose clock the keeper's timer doesn't know.
    Turns,
    /// Use other settings from now on.
    Options(Box<Options>),
    /// Read the groups.
    Read(Box<dyn FnOnce(&State) + Send + Sync>),
}

/// Something asked, and where the answer goes.
pub struct Asked {
    /// What.
    pub ask: Ask,
    /// The answer: 2xx or why not.
    pub reply: oneshot::Sender<Result<(), Refusal>>,
}
