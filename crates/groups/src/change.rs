//! The changes of groups. [`super::entry`] converts them to bytes for the journal. Pure.

use super::group::{Family, Group};
use super::keys::Applied;
use model::Labels;
use std::sync::Arc;

/// A change of groups. Times are milliseconds since 1970; `at` is by the group's own clock.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// A push was accepted.
    Pushed {
        id: u64,
        key: Labels,
        /// True if the push replaced the whole group, and false if only families of the same name.
        replace: bool,
        /// The time of the samples that the group sent.
        at: i64,
        /// The time by the wall clock.
        wall: i64,
        /// The group's time to live from then on, in milliseconds.
        ttl: Option<i64>,
        /// The pushed families.
        families: Vec<(String, Arc<Family>)>,
    },
    /// A push was refused because of its content.
    Refused {
        id: u64,
        key: Labels,
        /// The time of the samples that the group sent.
        at: i64,
        /// The time by the wall clock.
        wall: i64,
        reason: String,
    },
    /// A group was deleted by a request, or removed some time after it expired.
    Deleted {
        key: Labels,
        /// The last time of a sample of the group.
        at: i64,
    },
    /// The time to live of a group ended.
    Expired {
        key: Labels,
        /// The time of the samples that the group sent.
        at: i64,
        /// The time by the wall clock.
        wall: i64,
    },
    /// Groups were sent again.
    Emitted {
        /// The time of the samples.
        at: i64,
        /// The numbers of the groups.
        ids: Vec<u64>,
    },
    /// A whole group, in a rewritten journal.
    Snapshot(Arc<Group>),
    /// A request with a key was applied.
    Keyed(Applied),
    /// Tombstone: the last time of a deleted group. If it is pushed again, it continues after that time.
    Tombstone {
        key: Labels,
        /// The last time of a sample of the group.
        at: i64,
    },
}

impl Change {
    /// The group whose content changes. `None` if only times change.
    pub fn key(&self) -> Option<&Labels> {
        match self {
            Self::Pushed { key, .. }
            | Self::Refused { key, .. }
            | Self::Deleted { key, .. }
            | Self::Expired { key, .. }
            | Self::Tombstone { key, .. } => Some(key),
            Self::Snapshot(group) => Some(&group.key),
            Self::Emitted { .. } | Self::Keyed(_) => None,
        }
    }
}
