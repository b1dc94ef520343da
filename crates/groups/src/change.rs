//! What can happen to groups. [`super::entry`] has its bytes in the journal. Pure.

use super::group::{Family, Group};
use super::keys::Applied;
use model::Labels;
use std::sync::Arc;

/// Something that happened to groups. Times are milliseconds since 1970; `at` is by the group's own clock.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// A push was taken.
    Pushed {
        /// The group's number.
        id: u64,
        /// The group's labels.
        key: Labels,
        /// It replaced the whole group rather than families of the same name.
        replace: bool,
        /// What the group sent then.
        at: i64,
        /// When, by the wall clock.
        wall: i64,
        /// The group's time to live from then on, in milliseconds.
        ttl: Option<i64>,
        /// What was pushed.
        families: Vec<(String, Arc<Family>)>,
    },
    /// A push was refused for what was in it.
    Refused {
        /// The group's number.
        id: u64,
        /// The group's labels.
        key: Labels,
        /// What the group sent then.
        at: i64,
        /// When, by the wall clock.
        wall: i64,
        /// Why.
        reason: String,
    },
    /// A group was deleted, or forgotten.
    Deleted {
        /// The group's labels.
        key: Labels,
        /// The last that was sent of it.
        at: i64,
    },
    /// A group's time to live was over.
    Expired {
        /// The group's labels.
        key: Labels,
        /// What the group sent then.
        at: i64,
        /// When, by the wall clock.
        wall: i64,
    },
    /// Groups were sent anew.
    Emitted {
        /// With which time.
        at: i64,
        /// Their numbers.
        ids: Vec<u64>,
    },
    /// A group as it is.
    Snapshot(Arc<Group>),
    /// A request with a key was applied.
    Keyed(Applied),
    /// The last time of a group that is no more: should it come back, it goes on from there.
    Departed {
        /// The group's labels.
        key: Labels,
        /// The last that was sent of it.
        at: i64,
    },
}

impl Change {
    /// The group whose contents it changes; none where only times do.
    pub fn key(&self) -> Option<&Labels> {
        match self {
            Self::Pushed { key, .. }
            | Self::Refused { key, .. }
            | Self::Deleted { key, .. }
            | Self::Expired { key, .. }
            | Self::Departed { key, .. } => Some(key),
            Self::Snapshot(group) => Some(&group.key),
            Self::Emitted { .. } | Self::Keyed(_) => None,
        }
    }
}
