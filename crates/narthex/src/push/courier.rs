//! Brings entries to a target, by way of its spool where need be.
//!
//! The process that has the turn first sends what waits, oldest first, then its own entry. Where that can't be
//! done within [`PATIENCE`], the entry joins the spool. Nothing here ends the program: what went wrong is told
//! in a `Report`.
//!
//! An entry may be one that the target always fails on (5xx). After [`FAILURES_BEFORE_PROBE`] deliveries that
//! ended at it, the entries behind it are sent, at most [`PROBES_MAX`], until the target accepts one. The entries
//! before that one are then sent again, and parked if the target fails on them, so that they hold nothing up (see
//! [`super::spool`]).

use super::args::TargetArgs;
use super::entry::Entry;
use super::entry::NotSent;
use super::older::Older;
use super::spool::{Number, Spool, Turn};
use super::target::{Chosen, Target};
use crate::config::env::Lookup;
use crate::data_dir::DataDirError;
use crate::failure::Failure;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long one delivery may take before what is left waits for the next; a request under way then is
/// still awaited ([`super::entry::REQUEST_TIMEOUT`]).
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait while another process is sending.
pub const TURN_PATIENCE: Duration = Duration::from_secs(5);
/// After a failure the target is not asked again for so long; what comes meanwhile joins the spool at once.
const FAILURE_HOLDS: Duration = Duration::from_secs(10);

/// How many deliveries end at an entry that the target fails on before another entry is tried instead. Until
/// then the order is kept, as after an outage of the target.
pub const FAILURES_BEFORE_PROBE: u32 = 3;
/// The most entries that are sent behind a failing one to find out whether the target fails or the entry.
pub const PROBES_MAX: usize = 16;

/// What came of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The target has it.
    Delivered,
    /// It waits in the spool.
    Kept {
        /// Why it could not be sent.
        reason: String,
        /// Entries there, this one included.
        waiting: usize,
        /// Whether somebody has to fix credentials, a certificate or the URL before it can be sent.
        denied: bool,
    },
    /// The target refuses it for good.
    Refused(String),
    /// It could neither be sent nor kept.
    Lost(String),
}

/// What came of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) outcome: Outcome,
    /// What became of older entries, where that is worth a word.
    pub(crate) notes: Vec<String>,
}

/// A target with its spool.
#[derive(Debug)]
pub(crate) struct Courier {
    target: Target,
    spool: Result<Spool, String>,
    failed: Option<(Instant, Held)>,
}

/// Why nothing can be sent now.
#[derive(Debug, Clone)]
struct Held {
    reason: String,
    /// Whether waiting does not help; see [`Outcome::Kept`].
    denied: bool,
}

impl Held {
    fn later(reason: impl Into<String>) -> Held {
        Held { reason: reason.into(), denied: false }
    }
}

/// How sending what waits ended.
enum Drained {
    All,
    Stuck(Held),
    /// The target failed again on the oldest entry, and no other one waits that could tell why.
    Failing(Suspect),
}

/// An entry that the target fails on, perhaps because of the entry.
struct Suspect {
    number: Number,
    entry: Entry,
    reason: String,
}

impl Courier {
    /// A courier for the target that flags and environment name. A spool that can't be used is no error
    /// until it is needed.
    pub(crate) fn new(args: &TargetArgs, environment: Lookup<'_>) -> Result<Courier, Failure> {
        let Chosen { target, key } = Target::choose(args, environment)?;
        let base = match &args.spool {
            Some(base) => Ok(base.clone()),
            None => default_spool(environment).map_err(|_| {
                "there is no spool: give --spool DIR, or set XDG_STATE_HOME or HOME".to_string()
            }),
        };
        let spool = base
            .and_then(|base| Spool::open(&base, &key, &target.shown()).map_err(|error| error.to_string()));
        Ok(Courier { target, spool, failed: None })
    }

    /// The target.
    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// The target's spool, for people.
    pub(crate) fn spool_shown(&self) -> String {
        self.spool.as_ref().map_or_else(String::clone, |spool| spool.folder().display().to_string())
    }

    /// Delivers an entry, or sees to it that it waits.
    pub(crate) async fn deliver(&mut self, entry: &Entry) -> Report {
        let mut notes = Vec::new();
        let outcome = self.try_deliver(entry, &mut notes).await;
        Report { outcome, notes }
    }

    /// Sends an entry that is worth nothing later: nothing is kept where that can't be done now. Sends what
    /// waits first.
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
            // The other one may have left between our last try and our adding.
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

    /// Gives the turn up; first sends what others added meanwhile.
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

    /// Sends what waits, oldest first. For the process that has the turn.
    async fn drain(&self, spool: &Spool, notes: &mut Vec<String>, deadline: Instant) -> Drained {
        let mut older = Older::default();
        let end = self.drain_into(spool, &mut older, deadline).await;
        older.tell(notes);
        end.unwrap_or_else(Drained::Stuck)
    }

    async fn drain_into(&self, spool: &Spool, older: &mut Older, deadline: Instant) -> Result<Drained, Held> {
        loop {
            let Some((number, entry)) = spool.oldest().map_err(|error| Held::later(error.to_string()))?
            else {
                return Ok(Drained::All);
            };
            if Instant::now() >= deadline {
                return Err(Held::later(format!("sending what waits takes longer than {PATIENCE:?}")));
            }
            let Some(entry) = entry else {
                older.damaged += 1;
                remove(spool, number)?;
                continue;
            };
            let result = self.target.send(&entry).await;
            let Some(reason) = self.settle(spool, number, &entry, result, older)? else { continue };
            if spool.count_failure(number) < FAILURES_BEFORE_PROBE {
                return Err(Held::later(reason));
            }
            // Is it the target that fails, or this entry? Entries behind it tell. Several in a row may be at fault.
            let mut suspects = vec![Suspect { number, entry, reason }];
            let mut last = number;
            loop {
                let next = spool.next(last + 1).map_err(|error| Held::later(error.to_string()))?;
                let probe = match next {
                    Some((number, Some(entry))) => Some((number, entry)),
                    // The push's own entry may tell. It must not overtake entries that may still be sent.
                    _ if suspects.len() == 1 => return Ok(Drained::Failing(suspects.swap_remove(0))),
                    _ => None,
                };
                let probe = probe.filter(|_| suspects.len() <= PROBES_MAX && Instant::now() < deadline);
                let Some((number, entry)) = probe else {
                    return Err(Held::later(suspects.swap_remove(0).reason));
                };
                let result = self.target.send(&entry).await;
                let Some(reason) = self.settle(spool, number, &entry, result, older)? else { break };
                suspects.push(Suspect { number, entry, reason });
                last = number;
            }
            for suspect in suspects {
                self.try_again_or_park(spool, suspect, older).await?;
            }
        }
    }

    /// Sends an entry although the target fails on the oldest one that waits; parks that one if the target
    /// takes this one.
    async fn send_beside(
        &self,
        spool: &Spool,
        entry: &Entry,
        suspect: Suspect,
        notes: &mut Vec<String>,
    ) -> Result<(), NotSent> {
        let sent = self.target.send(entry).await;
        if matches!(sent, Ok(()) | Err(NotSent::Never(_))) {
            let mut older = Older::default();
            if let Err(held) = self.try_again_or_park(spool, suspect, &mut older).await {
                notes.push(held.reason);
            }
            older.tell(notes);
        }
        sent
    }

    /// The target took another entry: tries this one once more, and parks it where that fails again.
    async fn try_again_or_park(
        &self,
        spool: &Spool,
        suspect: Suspect,
        older: &mut Older,
    ) -> Result<(), Held> {
        let result = self.target.send(&suspect.entry).await;
        if let Some(reason) = self.settle(spool, suspect.number, &suspect.entry, result, older)? {
            let parked = spool.park(suspect.number).await;
            older.parked_dropped += parked.map_err(|error| Held::later(error.to_string()))?;
            older.parked.push(reason);
        }
        Ok(())
    }

    /// Removes an entry that is settled. Returns the reason where the target failed on it.
    fn settle(
        &self,
        spool: &Spool,
        number: Number,
        entry: &Entry,
        result: Result<(), NotSent>,
        older: &mut Older,
    ) -> Result<Option<String>, Held> {
        match result {
            Ok(()) => self.replace_parked(spool, entry, older),
            Err(NotSent::Never(reason)) => older.refused.push(reason),
            Err(NotSent::Failed(reason)) => return Ok(Some(reason)),
            Err(not_sent) => return Err(held_by(not_sent)),
        }
        remove(spool, number).map(|()| None)
    }

    /// A gateway has this entry: a parked one of the same group must not come after it.
    fn replace_parked(&self, spool: &Spool, entry: &Entry, older: &mut Older) {
        if !self.target.is_straight() {
            older.replaced += spool.remove_parked_of(&entry.labels).unwrap_or(0);
        }
    }

    /// Tries parked entries again that have rested long enough. For the process that has the turn, once all
    /// others are sent.
    async fn retry_parked(&self, spool: &Spool, notes: &mut Vec<String>, deadline: Instant) {
        let mut older = Older::default();
        for (number, entry) in spool.parked_due().unwrap_or_default() {
            if Instant::now() >= deadline {
                break;
            }
            let settled = match entry {
                None => {
                    older.damaged += 1;
                    spool.remove_parked(number)
                }
                Some(entry) => match self.target.send(&entry).await {
                    Ok(()) => spool.remove_parked(number),
                    Err(NotSent::Never(reason)) => {
                        older.refused.push(reason);
                        spool.remove_parked(number)
                    }
                    Err(NotSent::Failed(_)) => spool.tried(number),
                    Err(NotSent::Later(_) | NotSent::Denied(_)) => break,
                },
            };
            if let Err(error) = settled {
                notes.push(error.to_string());
                break;
            }
        }
        older.tell(notes);
    }

    async fn keep(&self, spool: &Spool, entry: &Entry, held: Held, notes: &mut Vec<String>) -> Outcome {
        let Held { reason, denied } = held;
        match spool.add(entry).await {
            Ok(added) => {
                if added.dropped > 0 {
                    notes.push(format!("the spool is full: its {} oldest pushes are gone", added.dropped));
                }
                Outcome::Kept { reason, waiting: added.waiting, denied }
            }
            Err(error) => Outcome::Lost(format!("{reason}; {error}")),
        }
    }

    /// Without a spool: `trouble` is what is wrong with it.
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

fn remove(spool: &Spool, number: Number) -> Result<(), Held> {
    spool.remove(number).map_err(|error| Held::later(error.to_string()))
}

/// The spool where no flag names one. A unit's state folder is the job's, so ours is one of our own in it.
fn default_spool(environment: Lookup<'_>) -> Result<PathBuf, DataDirError> {
    let state = crate::data_dir::default_path(environment)?;
    let of_unit = environment("STATE_DIRECTORY").is_some_and(|paths| paths.starts_with('/'));
    Ok(if of_unit { state.join("narthex/spool") } else { state.join("spool") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spool_has_a_folder_of_its_own_in_the_state_folder() {
        let path = |variables: &[(&str, &str)]| {
            default_spool(&|name| variables.iter().find(|(key, _)| *key == name).map(|(_, v)| v.to_string()))
                .map(|path| path.display().to_string())
                .unwrap_or_default()
        };
        assert_eq!(path(&[("HOME", "/home/u")]), "/home/u/.local/state/narthex/spool");
        assert_eq!(path(&[("HOME", "/home/u"), ("XDG_STATE_HOME", "/s")]), "/s/narthex/spool");
        assert_eq!(path(&[("STATE_DIRECTORY", "/var/lib/job")]), "/var/lib/job/narthex/spool");
        assert_eq!(path(&[]), "");
    }
}
