//! What a round changes: requests and due groups become changes of the state.

use super::Keeper;
use super::timing::as_ms;
use crate::Refusal;
use crate::ask::{Ask, Push};
use crate::change::Change;
use crate::state::{Sent, Undo};
use crate::{consistency, limits};

/// The most points of groups that are sent again in one round (one group may have more).
const TURN_POINTS: usize = 20_000;

/// The changes of a round, applied to the state and not yet committed.
#[derive(Default)]
pub(super) struct Round {
    pub(super) sent: Sent,
    pub(super) changes: Vec<Change>,
    pub(super) undo: Undo,
    pub(super) counts: Counts,
}

/// What is added to the stats once the round is committed.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) failures: u64,
    pub(super) emissions: u64,
    pub(super) expirations: u64,
    pub(super) forgotten: u64,
}

/// The result of planning one request.
pub(super) enum Outcome {
    /// It was planned, or there was nothing to do.
    Done,
    /// It is refused, whatever becomes of the round.
    Refused(Refusal),
}

impl Keeper {
    pub(super) fn plan(&mut self, ask: &Ask, round: &mut Round) -> Outcome {
        match ask {
            Ask::Push(push) => self.plan_push(push, round),
            Ask::Delete(key) => {
                let (key, at) = (key.clone(), self.state.next_time(key, self.clock.now_ms()));
                if self.state.get(&key).is_some() {
                    self.make(Change::Deleted { key, at }, round);
                }
                Outcome::Done
            }
            Ask::Wipe | Ask::Turns | Ask::Options(_) | Ask::Read(_) => Outcome::Done,
        }
    }

    fn plan_push(&mut self, push: &Push, round: &mut Round) -> Outcome {
        let wall = self.clock.now_ms();
        let group = self.state.get(&push.key).cloned();
        let group = group.as_deref();
        if group.is_none() && self.state.len() >= self.options.max_groups {
            let limit = self.options.max_groups;
            return Outcome::Refused(Refusal::TooMany(format!(
                "there are {limit} groups already: the limit"
            )));
        }
        let key = push.key.clone();
        let at = self.state.next_time(&key, wall);
        let checked = push.families.as_ref().map_err(String::clone).and_then(|families| {
            consistency::check(&self.state, group, push.replace, families)
                .map(|()| families)
                .map_err(|error| error.to_string())
        });
        let families = match checked {
            Ok(families) => families,
            Err(reason) => {
                let id = self.state.id_of(&key);
                self.make(Change::Refused { id, key, at, wall, reason: reason.clone() }, round);
                round.counts.failures += 1;
                // Nothing is wrong with a push of which everything is over a limit.
                if let (Some(left_out), Err(_)) = (&push.left_out, &push.families) {
                    return Outcome::Refused(left_out.refusal());
                }
                let text =
                    format!("pushed metrics are invalid or inconsistent with existing metrics: {reason}");
                return Outcome::Refused(Refusal::Invalid(text));
            }
        };
        if let Some(over) = limits::broken(&self.options, &self.state, &key, group, push.replace, families) {
            return Outcome::Refused(Refusal::TooMany(over));
        }
        let ttl = match push.ttl {
            Some(ttl) => ttl.map(as_ms),
            // A push without a time to live leaves that of the group as it is.
            None => group.map_or_else(|| self.options.ttl.map(as_ms), |group| group.ttl),
        };
        let id = self.state.id_of(&key);
        let families = families.clone();
        let pushed = Change::Pushed { id, key: key.clone(), replace: push.replace, at, wall, ttl, families };
        self.make(pushed, round);
        let Some(left_out) = &push.left_out else { return Outcome::Done };
        // After the push time, so that `push_failure_time_seconds > push_time_seconds` holds: alerts compare them.
        let (at, wall) = (self.state.next_time(&key, wall), wall.saturating_add(1));
        self.make(Change::Refused { id, key, at, wall, reason: left_out.text.clone() }, round);
        round.counts.failures += 1;
        Outcome::Refused(left_out.refusal())
    }

    /// Applies a change to the state and adds it to the round.
    pub(super) fn make(&mut self, change: Change, round: &mut Round) {
        self.state.apply(&change, &mut round.undo, &mut round.sent);
        round.changes.push(change);
    }

    /// Plans the groups that are due: to be sent again, to expire, or to be forgotten.
    pub(super) fn due(&mut self, round: &mut Round) {
        let (now, wall) = (self.clock.monotonic(), self.clock.now_ms());
        while let Some(id) = self.ends.pop(now) {
            let Some(group) = self.state.by_id(id).cloned() else { continue };
            let at = self.state.next_time(&group.key, wall);
            let key = group.key.clone();
            if group.expired.is_some() {
                self.make(Change::Deleted { key, at }, round);
                round.counts.forgotten += 1;
            } else {
                self.make(Change::Expired { key, at, wall }, round);
                round.counts.expirations += 1;
            }
        }
        let mut together: Vec<(i64, Vec<u64>)> = Vec::new();
        let mut points = 0;
        while points < TURN_POINTS
            && let Some(id) = self.turns.pop(now)
        {
            let Some(group) = self.state.by_id(id) else { continue };
            points += group.series() + 2;
            round.counts.emissions += 1;
            let at = self.state.next_time(&group.key, wall);
            match together.iter_mut().find(|(time, _)| *time == at) {
                Some((_, ids)) => ids.push(id),
                None => together.push((at, vec![id])),
            }
        }
        for (at, ids) in together {
            self.make(Change::Emitted { at, ids }, round);
        }
    }
}
