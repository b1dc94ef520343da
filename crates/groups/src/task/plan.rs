//! Plans a round: converts requests and due groups to changes of the state.

use super::GroupsTask;
use super::timing::as_ms;
use crate::Refusal;
use crate::add;
use crate::ask::{Ask, Push};
use crate::change::Change;
use crate::group::{Family, Group};
use crate::keys::{Applied, Known};
use crate::state::{Sent, Undo};
use crate::{consistency, limits};
use std::sync::Arc;

/// The maximum of points of groups that are sent again in one round. One group may have more.
const TURN_POINTS: usize = 20_000;

/// The changes of a round, applied to the state but not committed yet.
#[derive(Default)]
pub(super) struct Round {
    pub(super) sent: Sent,
    pub(super) changes: Vec<Change>,
    pub(super) undo: Undo,
    pub(super) counts: Counts,
}

/// The counts that are added to the stats after the commit.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) failures: u64,
    pub(super) emissions: u64,
    pub(super) expirations: u64,
    pub(super) removed: u64,
}

/// The result of planning one request.
pub(super) enum Outcome {
    /// The request was planned, or nothing was to be done.
    Done,
    /// The request was applied before: in a committed round or in this one.
    Repeated,
    /// The request is refused, independent of the result of the round.
    Refused(Refusal),
}

impl GroupsTask {
    pub(super) fn plan(&mut self, ask: &Ask, round: &mut Round) -> Outcome {
        match ask {
            Ask::Push(push) => self.plan_push(push, round),
            Ask::Delete(key) => {
                let (key, at) = (key.clone(), self.state.next_time(key, self.clock.now_ms()));
                // After a failed commit the answer needs a successful one: until then the group of the failed commit
                // may exist again after a power cut.
                if self.state.get(&key).is_some() || self.has_failed {
                    self.make(Change::Deleted { key, at }, round);
                }
                Outcome::Done
            }
            Ask::Wipe | Ask::Turns | Ask::Options(_) | Ask::Read(_) => Outcome::Done,
        }
    }

    fn plan_push(&mut self, push: &Push, round: &mut Round) -> Outcome {
        let wall = self.clock.now_ms();
        match push.keyed.map_or(Known::New, |keyed| self.state.known(&push.key, keyed)) {
            Known::New => {}
            Known::Applied => return Outcome::Repeated,
            Known::Other => {
                let text = "the Idempotency-Key was used for another push to this group: each push needs a key of its own";
                return Outcome::Refused(Refusal::Invalid(text.into()));
            }
        }
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
        let checked = push_families(push, group, wall).and_then(|families| {
            let checked = consistency::check(&self.state, group, push.replace, &families);
            checked.map(|()| families).map_err(|error| error.to_string())
        });
        let families = match checked {
            Ok(families) => families,
            Err(reason) => {
                let id = self.state.id_of(&key);
                self.make(Change::Refused { id, key, at, wall, reason: reason.clone() }, round);
                round.counts.failures += 1;
                // A push whose series are all over a limit on series is valid.
                if let (Some(left_out), true) = (&push.left_out, push.families.is_err() || push.add.is_some())
                {
                    return Outcome::Refused(left_out.refusal());
                }
                let text =
                    format!("pushed metrics are invalid or inconsistent with existing metrics: {reason}");
                return Outcome::Refused(Refusal::Invalid(text));
            }
        };
        if let Some(over) = limits::broken(&self.options, &self.state, &key, group, push.replace, &families) {
            return Outcome::Refused(Refusal::TooMany(over));
        }
        let ttl = match push.ttl {
            Some(ttl) => ttl.map(as_ms),
            // A push without a time to live does not change that of the group.
            None => group.map_or_else(|| self.options.ttl.map(as_ms), |group| group.ttl),
        };
        let id = self.state.id_of(&key);
        let pushed = Change::Pushed { id, key: key.clone(), replace: push.replace, at, wall, ttl, families };
        self.make(pushed, round);
        // A push with parts left out is answered with 4xx each time that it is sent, so its key is not remembered.
        if let Some(keyed) = push.keyed.filter(|_| push.left_out.is_none()) {
            self.make(Change::Keyed(Applied { group: id, keyed, wall }), round);
        }
        let Some(left_out) = &push.left_out else { return Outcome::Done };
        // One millisecond after the push time, so that `push_failure_time_seconds > push_time_seconds` holds: alerts
        // compare them.
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

    /// Plans the groups that are due: to be sent again, to expire, or to be removed.
    pub(super) fn due(&mut self, round: &mut Round) {
        let (now, wall) = (self.clock.monotonic(), self.clock.now_ms());
        while let Some(id) = self.ends.pop(now) {
            let Some(group) = self.state.by_id(id).cloned() else { continue };
            let at = self.state.next_time(&group.key, wall);
            let key = group.key.clone();
            if group.expired.is_some() {
                self.make(Change::Deleted { key, at }, round);
                round.counts.removed += 1;
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

/// The families that the group gets: the pushed ones, or the sum of those and the group's.
fn push_families(
    push: &Push,
    group: Option<&Group>,
    wall: i64,
) -> Result<Vec<(String, Arc<Family>)>, String> {
    let families = push.families.clone()?;
    let Some(gauges) = push.add else { return Ok(families) };
    if let Some(left_out) = &push.left_out {
        return Err(left_out.text.clone());
    }
    let had = group.map(|group| group.families.unpack()).unwrap_or_default();
    add::added(&had, &families, gauges, wall).map_err(|error| error.to_string())
}
