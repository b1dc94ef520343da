//! Sends entries to a target, and keeps them in its spool if they can't be sent.
//!
//! The process that has the turn first sends the waiting entries, oldest first (`drain`), then its own. If
//! that takes longer than [`PATIENCE`], its own entry is added to the spool. No function here ends the
//! program: a `Report` says what went wrong.

mod drain;
mod place;

pub use drain::{FAILURES_BEFORE_PROBE, PROBES_MAX};

use self::drain::Drained;
use self::place::{default_spool, take_over};
use crate::args::TargetArgs;
use crate::entry::{Entry, NotSent};
use crate::older::Older;
use crate::spool::{Spool, Turn};
use crate::target::{Chosen, Target};
use command::Failure;
use command::Lookup;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The longest time for one delivery. Entries that are left wait for the next delivery. A request that is in
/// flight at the end of this time is still awaited ([`crate::entry::REQUEST_TIMEOUT`]).
pub const PATIENCE: Duration = Duration::from_secs(10);
/// The longest wait for the turn while another process is sending.
pub const TURN_PATIENCE: Duration = Duration::from_secs(5);
/// The pause after a failure. Entries that are delivered during it are added to the spool without a request.
const FAILURE_HOLDS: Duration = Duration::from_secs(10);

/// The result of delivering an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Delivered,
    /// The entry waits in the spool.
    Kept {
        /// Why the entry could not be sent.
        reason: String,
        /// The number of waiting entries, this one included.
        waiting: usize,
        /// True if the entry can be sent only after the user has fixed credentials, a certificate or the URL.
        denied: bool,
    },
    /// The target refused the entry for good.
    Refused(String),
    /// The entry could neither be sent nor kept.
    Lost(String),
}

/// The result of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) outcome: Outcome,
    /// Messages about older entries.
    pub(crate) notes: Vec<String>,
}

/// A target with its spool.
#[derive(Debug)]
pub(crate) struct Courier {
    target: Target,
    spool: Result<Spool, String>,
    /// The folder of all spools, and the spool in it whose entries this target takes over.
    earlier: Option<(PathBuf, String)>,
    failed: Option<(Instant, Held)>,
}

/// Why nothing can be sent now.
#[derive(Debug, Clone)]
struct Held {
    reason: String,
    /// True if waiting does not help; see [`Outcome::Kept`].
    denied: bool,
}

impl Held {
    fn later(reason: impl Into<String>) -> Held {
        Held { reason: reason.into(), denied: false }
    }
}

impl Courier {
    /// A courier for the target that the flags and the environment name. A spool that can't be used is an
    /// error only once an entry has to be kept.
    pub(crate) fn new(args: &TargetArgs, environment: Lookup<'_>) -> Result<Courier, Failure> {
        let Chosen { target, key, key_without_tls } = Target::choose(args, environment)?;
        let base = match &args.spool {
            Some(base) => Ok(base.clone()),
            None => default_spool(environment).map_err(|_| {
                "there is no spool: give --spool DIR, or set XDG_STATE_HOME or HOME".to_string()
            }),
        };
        let earlier = base.as_ref().ok().cloned().zip(key_without_tls);
        let spool = base
            .and_then(|base| Spool::open(&base, &key, &target.shown()).map_err(|error| error.to_string()));
        Ok(Courier { target, spool, earlier, failed: None })
    }

    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// The path of the target's spool, for messages.
    pub(crate) fn spool_shown(&self) -> String {
        self.spool.as_ref().map_or_else(String::clone, |spool| spool.folder().display().to_string())
    }

    /// Delivers an entry, or adds it to the spool.
    pub(crate) async fn deliver(&mut self, entry: &Entry) -> Report {
        let mut notes = Vec::new();
        if let (Some((base, from)), Ok(spool)) = (self.earlier.take(), &self.spool) {
            match take_over(&base, &from, spool).await {
                Ok(dropped) => note_dropped(dropped, &mut notes),
                Err(error) => notes.push(error.to_string()),
            }
        }
        let outcome = self.try_deliver(entry, &mut notes).await;
        Report { outcome, notes }
    }

    /// Sends the waiting entries, then this one. This entry is not added to the spool if it can't be sent: a
    /// later entry replaces it.
    pub(crate) async fn try_now(&mut self, entry: &Entry) {
        let mut notes = Vec::new();
        let Ok(spool) = &self.spool else {
            let _ = self.target.send(entry).await;
            return;
        };
        let Ok(Some(turn)) = spool.turn(Duration::ZERO).await else { return };
        let deadline = Instant::now() + PATIENCE;
        match self.drain(spool, &mut notes, deadline).await {
            Drained::All => {
                self.failed = None;
                let _ = self.target.send(entry).await;
                self.retry_parked(spool, &mut notes, deadline).await;
                self.leave(turn, &mut notes, deadline).await;
            }
            Drained::Stuck(held) => self.failed = Some((Instant::now(), held)),
            Drained::Failing(suspect) => self.failed = Some((Instant::now(), Held::later(suspect.reason))),
        }
        for note in notes {
            tracing::warn!("{note}");
        }
    }

    async fn try_deliver(&mut self, entry: &Entry, notes: &mut Vec<String>) -> Outcome {
        let deadline = Instant::now() + PATIENCE;
        let Ok(spool) = &self.spool else { return self.send_or_lose(entry, None).await };
        if let Some((at, held)) = &self.failed
            && at.elapsed() < FAILURE_HOLDS
        {
            return self.keep(spool, entry, held.clone(), notes).await;
        }
        let turn = match spool.turn(TURN_PATIENCE).await {
            Ok(turn) => turn,
            Err(error) => return self.send_or_lose(entry, Some(error.to_string())).await,
        };
        let Some(turn) = turn else {
            let outcome = self.keep(spool, entry, Held::later("another push is under way"), notes).await;
            // The other process may have given up the turn between our attempt to take it and the addition of
            // our entry.
            if let Ok(Some(turn)) = spool.turn(Duration::ZERO).await {
                self.leave(turn, notes, deadline).await;
                if spool.waiting() == 0 {
                    return Outcome::Delivered;
                }
            }
            return outcome;
        };
        let sent = match self.drain(spool, notes, deadline).await {
            Drained::All => self.target.send(entry).await,
            Drained::Stuck(held) => {
                let outcome = self.keep(spool, entry, held.clone(), notes).await;
                self.failed = Some((Instant::now(), held));
                return outcome;
            }
            Drained::Failing(suspect) => self.send_beside(spool, entry, suspect, notes).await,
        };
        let (held, outcome) = match sent {
            Ok(()) => {
                let mut older = Older::default();
                self.replace_parked(spool, entry, &mut older);
                older.tell(notes);
                (None, Outcome::Delivered)
            }
            Err(NotSent::Never(reason)) => (None, Outcome::Refused(reason)),
            Err(not_sent) => {
                let held = held_by(not_sent);
                (Some(held.clone()), self.keep(spool, entry, held, notes).await)
            }
        };
        if held.is_none() {
            self.retry_parked(spool, notes, deadline).await;
            self.leave(turn, notes, deadline).await;
        }
        self.failed = held.map(|held| (Instant::now(), held));
        outcome
    }

    /// Gives up the turn. Entries that other processes added meanwhile are sent first.
    async fn leave(&self, turn: Turn, notes: &mut Vec<String>, deadline: Instant) {
        let Ok(spool) = &self.spool else { return };
        let mut turn = turn;
        while let Ok(Some(kept)) = spool.leave(turn).await {
            turn = kept;
            if !matches!(self.drain(spool, notes, deadline).await, Drained::All) {
                return;
            }
        }
    }

    async fn keep(&self, spool: &Spool, entry: &Entry, held: Held, notes: &mut Vec<String>) -> Outcome {
        let Held { reason, denied } = held;
        match spool.add(entry).await {
            Ok(added) => {
                note_dropped(added.dropped, notes);
                Outcome::Kept { reason, waiting: added.waiting, denied }
            }
            Err(error) => Outcome::Lost(format!("{reason}; {error}")),
        }
    }

    /// Sends an entry that can't be kept because the spool can't be used. `trouble` says why it can't be
    /// used.
    async fn send_or_lose(&self, entry: &Entry, trouble: Option<String>) -> Outcome {
        let trouble = trouble.or_else(|| self.spool.as_ref().err().cloned()).unwrap_or_default();
        match self.target.send(entry).await {
            Ok(()) => Outcome::Delivered,
            Err(NotSent::Never(reason)) => Outcome::Refused(reason),
            Err(not_sent) => Outcome::Lost(format!("{}; {trouble}", held_by(not_sent).reason)),
        }
    }
}

fn held_by(not_sent: NotSent) -> Held {
    match not_sent {
        NotSent::Denied(reason) => Held { reason, denied: true },
        NotSent::Later(reason) | NotSent::Failed(reason) | NotSent::Never(reason) => Held::later(reason),
    }
}

fn note_dropped(dropped: usize, notes: &mut Vec<String>) {
    if dropped > 0 {
        notes.push(format!("the spool is full: its {dropped} oldest pushes are gone"));
    }
}
