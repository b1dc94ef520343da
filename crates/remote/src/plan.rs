//! What a reload does, as a value: which destinations stay, stop and start, and under which names their
//! counters continue. Pure: [`crate::Destinations`] carries it out.

use crate::config::RemoteWrite;
use crate::config::identity::Identity;

/// Labels that are added to all series.
pub(crate) type Labels = Vec<(String, String)>;
/// Destinations whose files continue under another name: the old name and the new one.
pub(crate) type Moved = Vec<(String, String)>;

/// The settings from which a destination is made.
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

    /// Returns true if at most the share of the memory differs.
    fn is_same(&self, other: &Asked) -> bool {
        let mut same = self.clone();
        same.config.max_in_memory = other.config.max_in_memory;
        same == *other
    }

    /// Returns true if name and URL are the same, so that its counters continue under them.
    fn is_shown_as(&self, other: &Asked) -> bool {
        self.name() == other.name() && self.config.url.redacted() == other.config.url.redacted()
    }
}

/// What a reload did, as names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Not touched.
    pub kept: Vec<String>,
    /// Changed, and continued from their positions. `(was …)` follows if the name or the URL was another one.
    pub changed: Vec<String>,
    pub new: Vec<String>,
    /// Removed. Their positions are kept for a while.
    pub removed: Vec<String>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Before<'a> {
    pub(crate) asked: &'a Asked,
    pub(crate) has_ended: bool,
}

/// The step for one wanted destination, in the configuration's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The destination with this index stays. At most its share of the memory changes.
    Keep(usize),
    /// A destination is started. Its counters continue those of the destination with index `numbers_of`.
    Start {
        /// `None` if its counters begin at zero.
        numbers_of: Option<usize>,
    },
}

/// Indices are those of the destinations before the reload.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    /// The destinations to stop.
    pub(crate) stops: Vec<usize>,
}

impl Plan {
    /// Decides the steps from the destinations before the reload to the wanted ones.
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

    /// Returns the wanted destinations that have to be started.
    pub(crate) fn starts<'a>(&'a self, asked: &'a [Asked]) -> impl Iterator<Item = &'a Asked> {
        let both = self.steps.iter().zip(asked);
        both.filter(|(step, _)| matches!(step, Step::Start { .. })).map(|(_, asked)| asked)
    }

    /// Returns the names for the log message about the reload. `moved` has the destinations whose files
    /// continue under another name.
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

    /// Returns the destinations whose names are not wanted any more, so that the log keeps nothing for them.
    pub(crate) fn gone<'a>(&self, before: &[Before<'a>], asked: &[Asked]) -> impl Iterator<Item = &'a Asked> {
        let stopped = self.stops.iter().filter_map(|index| before.get(*index));
        stopped.map(|old| old.asked).filter(|old| !asked.iter().any(|new| new.name() == old.name()))
    }
}

#[cfg(test)]
mod tests;
