//! Brings entries to a target, by way of its spool where need be.
//!
//! Who has the turn first sends what waits, oldest first, then his own. Where that can't be done within
//! [`PATIENCE`], the entry joins the spool. Nothing here ends the program: what went wrong is told in a
//! `Report`.

use super::args::TargetArgs;
use super::entry::Entry;
use super::entry::NotSent;
use super::spool::{Spool, Turn};
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
    failed: Option<(Instant, String)>,
}

/// How sending what waits ended.
enum Drained {
    All,
    Stuck(String),
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
        match self.drain(spool, &mut notes, Instant::now() + PATIENCE).await {
            Drained::All => {
                self.failed = None;
                let _ = self.target.send(entry).await;
                self.leave(turn, &mut notes, Instant::now()).await;
            }
            Drained::Stuck(reason) => self.failed = Some((Instant::now(), reason)),
        }
        for note in notes {
            tracing::warn!("{note}");
        }
    }

    async fn try_deliver(&mut self, entry: &Entry, notes: &mut Vec<String>) -> Outcome {
        let deadline = Instant::now() + PATIENCE;
        let Ok(spool) = &self.spool else { return self.send_or_lose(entry, None).await };
        if let Some((at, reason)) = &self.failed
            && at.elapsed() < FAILURE_HOLDS
        {
            return self.keep(spool, entry, reason.clone(), notes).await;
        }
        let turn = match spool.turn(TURN_PATIENCE).await {
            Ok(turn) => turn,
            Err(error) => return self.send_or_lose(entry, Some(error.to_string())).await,
        };
        let Some(turn) = turn else {
            let outcome = self.keep(spool, entry, "another push is under way".into(), notes).await;
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
            Drained::Stuck(reason) => Err(NotSent::Later(reason)),
        };
        let (failed, outcome) = match sent {
            Ok(()) => (None, Outcome::Delivered),
            Err(NotSent::Never(reason)) => (None, Outcome::Refused(reason)),
            Err(NotSent::Later(reason)) => {
                (Some((Instant::now(), reason.clone())), self.keep(spool, entry, reason, notes).await)
            }
        };
        if failed.is_none() {
            self.leave(turn, notes, deadline).await;
        }
        self.failed = failed;
        outcome
    }

    /// Gives the turn up; first sends what others added meanwhile.
    async fn leave(&self, turn: Turn, notes: &mut Vec<String>, deadline: Instant) {
        let Ok(spool) = &self.spool else { return };
        let mut turn = turn;
        while let Ok(Some(kept)) = spool.leave(turn).await {
            turn = kept;
            if let Drained::Stuck(_) = self.drain(spool, notes, deadline).await {
                return;
            }
        }
    }

    /// Sends what waits, oldest first. For whoever has the turn.
    async fn drain(&self, spool: &Spool, notes: &mut Vec<String>, deadline: Instant) -> Drained {
        let (mut refused, mut damaged) = (Vec::new(), 0);
        let end = loop {
            let (number, entry) = match spool.oldest() {
                Ok(Some(oldest)) => oldest,
                Ok(None) => break Drained::All,
                Err(error) => break Drained::Stuck(error.to_string()),
            };
            if Instant::now() >= deadline {
                break Drained::Stuck(format!("sending what waits takes longer than {PATIENCE:?}"));
            }
            match entry {
                Some(entry) => match self.target.send(&entry).await {
                    Ok(()) => {}
                    Err(NotSent::Later(reason)) => break Drained::Stuck(reason),
                    Err(NotSent::Never(reason)) => refused.push(reason),
                },
                None => damaged += 1,
            }
            if let Err(error) = spool.remove(number) {
                break Drained::Stuck(error.to_string());
            }
        };
        if let Some(reason) = refused.first() {
            notes.push(format!("{} pushes that waited were refused and are gone: {reason}", refused.len()));
        }
        if damaged > 0 {
            notes.push(format!("{damaged} pushes that waited were damaged on disk and are gone"));
        }
        end
    }

    async fn keep(&self, spool: &Spool, entry: &Entry, reason: String, notes: &mut Vec<String>) -> Outcome {
        match spool.add(entry).await {
            Ok(added) => {
                if added.dropped > 0 {
                    notes.push(format!("the spool is full: its {} oldest pushes are gone", added.dropped));
                }
                Outcome::Kept { reason, waiting: added.waiting }
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
            Err(NotSent::Later(reason)) => Outcome::Lost(format!("{reason}; {trouble}")),
        }
    }
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
