//! What came to the inputs, for the status.

use receive::Stats;
use receive::stats::{Door, RefusedReason};
use serde::Serialize;
use std::collections::BTreeMap;

/// The inputs together.
#[derive(Debug, Serialize)]
pub(super) struct Inputs {
    /// Requests answered with 2xx.
    accepted: u64,
    /// Requests that were not, whatever the reason.
    refused: u64,
    /// The same by input and reason; without those that are 0.
    refused_by: BTreeMap<&'static str, BTreeMap<&'static str, u64>>,
    /// The last answer to one of them.
    last_refused: Option<String>,
}

impl Inputs {
    pub(super) fn now(stats: &Stats) -> Inputs {
        let mut refused_by = BTreeMap::new();
        let mut unauthorized = BTreeMap::new();
        unauthorized.insert(RefusedReason::Unauthorized.as_str(), stats.pushes_unauthorized.get());
        refused_by.insert("any", unauthorized);
        for door in Door::ALL {
            let count = |reason: RefusedReason| (reason.as_str(), stats.door(door).refused_for(reason));
            refused_by.insert(door.as_str(), RefusedReason::ALL.map(count).into());
        }
        for reasons in refused_by.values_mut() {
            reasons.retain(|_, count| *count > 0);
        }
        refused_by.retain(|_, reasons| !reasons.is_empty());
        Inputs {
            accepted: Door::ALL.iter().map(|door| stats.door(*door).accepted.get()).sum(),
            refused: refused_by.values().flat_map(BTreeMap::values).sum(),
            refused_by,
            last_refused: stats.last_refused(),
        }
    }
}
