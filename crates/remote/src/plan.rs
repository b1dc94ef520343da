//! What a reload does, as a value: which destinations stay, stop and start, and under which names their numbers go on.
//! Pure: [`crate::Destinations`] carries it out.

use crate::config::RemoteWrite;
use crate::config::identity::Identity;

/// Labels that everything that is sent gets.
pub(crate) type Labels = Vec<(String, String)>;
/// The files of destinations that go on under another name: the old one, the new one.
pub(crate) type Moved = Vec<(String, String)>;

/// What a destination is made from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Asked {
    pub(crate) config: RemoteWrite,
    pub(crate) identity: Identity,
    pub(crate) labels: Labels,
}

impl Asked {
    pub(crate) fn name(&self) -> &str {
        self.identity.shown()
    }

    /// Whether nothing but its share of the memory differs.
    fn is_same(&self, other: &Asked) -> bool {
        let mut same = self.clone();
        same.config.max_in_memory = other.config.max_in_memory;
        same == *other
    }

    /// Whether its numbers go on under the same name and URL.
    fn is_shown_as(&self, other: &Asked) -> bool {
        self.name() == other.name() && self.config.url.redacted() == other.config.url.redacted()
    }
}

/// What a reload did, as names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// These were not touched.
    pub kept: Vec<String>,
    /// These have changed, and went on from their positions. `(was …)` follows where they had another name or
    /// URL.
    pub changed: Vec<String>,
    /// These are new.
    pub new: Vec<String>,
    /// These are gone; their positions are kept for a while.
    pub removed: Vec<String>,
}

/// A destination before a reload.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Before<'a> {
    pub(crate) asked: &'a Asked,
    /// Whether its task has ended.
    pub(crate) has_ended: bool,
}

/// What becomes of a destination that is asked for, in the configuration's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The one with this index stays; only its share of the memory may change.
    Keep(usize),
    /// One is started. Its numbers go on with those of the one with this index.
    Start {
        /// `None` if its numbers begin at zero.
        numbers_of: Option<usize>,
    },
}

/// See the module. Indices are of the destinations before the reload.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    /// These stop.
    pub(crate) stops: Vec<usize>,
}

impl Plan {
    /// What leads from the destinations before to the ones that are asked for.
    pub(crate) fn new(before: &[Before<'_>], asked: &[Asked]) -> Plan {
        let mut stays = vec![false; before.len()];
        let mut keep = |new: &Asked| {
            let is_same = |old: &Before<'_>| !old.has_ended && old.asked.is_same(new);
            let index = before.iter().zip(&stays).position(|(old, stays)| !stays && is_same(old))?;
            if let Some(stays) = stays.get_mut(index) {
                *stays = true;
            }
            Some(index)
        };
        let step = |new: &Asked| match keep(new) {
            Some(index) => Step::Keep(index),
            None => Step::Start { numbers_of: before.iter().position(|old| old.asked.is_shown_as(new)) },
        };
        let steps = asked.iter().map(step).collect();
        let stops = (0..before.len()).filter(|index| stays.get(*index) != Some(&true)).collect();
        Plan { steps, stops }
    }

    /// The destinations that are asked for and have to be started.
    pub(crate) fn starts<'a>(&'a self, asked: &'a [Asked]) -> impl Iterator<Item = &'a Asked> {
        let both = self.steps.iter().zip(asked);
        both.filter(|(step, _)| matches!(step, Step::Start { .. })).map(|(_, asked)| asked)
    }

    /// What it is called, once it is carried out. `moved` are the files that go on under another name.
    pub(crate) fn changes(&self, before: &[Before<'_>], asked: &[Asked], moved: &Moved) -> Changes {
        let mut changes = Changes::default();
        for (step, new) in self.steps.iter().zip(asked) {
            let name = new.name().to_string();
            let Step::Start { numbers_of } = step else {
                changes.kept.push(name);
                continue;
            };
            let from = moved.iter().filter(|(_, to)| to == new.identity.file());
            let was = from.filter_map(|(from, _)| {
                before.iter().find(|old| old.asked.identity.file() == from).map(|old| old.asked.name())
            });
            match was.filter(|was| *was != name).last() {
                Some(was) => changes.changed.push(format!("{name} (was {was})")),
                None if numbers_of.is_some() => changes.changed.push(name),
                None => changes.new.push(name),
            }
        }
        for old in self.gone(before, asked) {
            if !moved.iter().any(|(from, _)| from == old.identity.file()) {
                changes.removed.push(old.name().to_string());
            }
        }
        changes
    }

    /// The destinations whose names are asked for no more: nothing of the log is held for them any longer.
    pub(crate) fn gone<'a>(&self, before: &[Before<'a>], asked: &[Asked]) -> impl Iterator<Item = &'a Asked> {
        let stopped = self.stops.iter().filter_map(|index| before.get(*index));
        stopped.map(|old| old.asked).filter(|old| !asked.iter().any(|new| new.name() == old.name()))
    }
}

#[cfg(test)]
mod tests;
