//! Sends the waiting entries. Only the process that has the turn does this.
//!
//! The target may fail on every try of one entry (5xx). After [`FAILURES_BEFORE_PROBE`] deliveries that
//! stopped at the same entry, the entries behind it are sent, at most [`PROBES_MAX`], until the target
//! accepts one. The entries that failed are then sent once more. Those that fail again are parked, so that
//! they delay no others (see [`crate::spool`]).

use super::PATIENCE;
use super::{Courier, Held, held_by};
use crate::entry::{Entry, NotSent};
use crate::older::Older;
use crate::spool::{Number, Spool};
use std::time::Instant;

/// The number of deliveries that stop at a failing entry before another entry is tried instead. Until then
/// the order is kept, because the target may be down as a whole.
pub const FAILURES_BEFORE_PROBE: u32 = 3;
/// The most entries behind a failing one that are sent to find out whether the target or the entry is at
/// fault.
pub const PROBES_MAX: usize = 16;

/// The result of sending the waiting entries.
pub(super) enum Drained {
    All,
    Stuck(Held),
    /// The target failed again on the oldest entry, and no other entry waits that could be tried instead.
    Failing(Suspect),
}

/// An entry that the target fails on. The cause may be the entry itself.
pub(super) struct Suspect {
    number: Number,
    entry: Entry,
    pub(super) reason: String,
}

impl Courier {
    /// Sends the waiting entries, oldest first. The caller must have the turn.
    pub(super) async fn drain(&self, spool: &Spool, notes: &mut Vec<String>, deadline: Instant) -> Drained {
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
            // Entries behind this one show whether the target or this entry is at fault. Several in a row may
            // be at fault.
            let mut suspects = vec![Suspect { number, entry, reason }];
            let mut last = number;
            loop {
                let next = spool.next(last + 1).map_err(|error| Held::later(error.to_string()))?;
                let probe = match next {
                    Some((number, Some(entry))) => Some((number, entry)),
                    // The push's own entry can be tried instead. It must not overtake entries that may still
                    // be sent.
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

    /// Sends `entry` although the target fails on the oldest waiting entry. If the target accepts `entry`,
    /// the oldest one is tried once more and parked if it fails again.
    pub(super) async fn send_beside(
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

    /// Tries an entry once more after the target accepted another one, and parks it if it fails again.
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

    /// Removes an entry that was delivered or refused. Returns the reason if the target failed on it.
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

    /// Removes parked entries of the same group after a gateway accepted this entry: they are older and must
    /// not be sent after it.
    pub(super) fn replace_parked(&self, spool: &Spool, entry: &Entry, older: &mut Older) {
        if !self.target.is_straight() {
            older.replaced += spool.remove_parked_of(&entry.labels).unwrap_or(0);
        }
    }

    /// Retries the parked entries that are due. The caller must have the turn and have sent all other
    /// entries.
    pub(super) async fn retry_parked(&self, spool: &Spool, notes: &mut Vec<String>, deadline: Instant) {
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
}

fn remove(spool: &Spool, number: Number) -> Result<(), Held> {
    spool.remove(number).map_err(|error| Held::later(error.to_string()))
}
