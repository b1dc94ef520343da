//! The requests and samples of the inputs, for the status.

use crate::host;
use intake::{ByName, Counters, InputCounters, Protocol, RefusedReason};
use receive::Denied;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The inputs together.
#[derive(Debug, Serialize)]
pub(super) struct Inputs {
    /// Requests answered with 2xx.
    accepted: u64,
    /// Requests answered with anything else.
    refused: u64,
    /// The refused requests by input and reason; numbers that are 0 are left out.
    refused_by: BTreeMap<&'static str, BTreeMap<&'static str, u64>>,
    /// The last answer to a refused request.
    last_refused: Option<String>,
    /// Samples in lines by input and type, for inputs whose lines have types; numbers that are 0 are left
    /// out.
    lines: ByInput,
    /// Lines, samples and tags that were left out, by input and reason; numbers that are 0 are left out.
    line_errors: ByInput,
}

type ByInput = BTreeMap<&'static str, BTreeMap<&'static str, u64>>;

impl Inputs {
    pub(super) fn now(counters: &Counters, denied: &Denied) -> Inputs {
        let inputs = pushed_to(counters);
        let mut refused_by = BTreeMap::new();
        let mut unauthorized = BTreeMap::new();
        unauthorized.insert(RefusedReason::Unauthorized.as_str(), denied.pushes.get());
        refused_by.insert("any", unauthorized);
        for (name, counters) in &inputs {
            // Senders that get no answer do not retry, so nothing counts as a refused request.
            if counters.listener().is_some() {
                continue;
            }
            let count = |reason: RefusedReason| (reason.as_str(), counters.refused_for(reason));
            refused_by.insert(*name, RefusedReason::ALL.map(count).into());
        }
        for reasons in refused_by.values_mut() {
            reasons.retain(|_, count| *count > 0);
        }
        refused_by.retain(|_, reasons| !reasons.is_empty());
        Inputs {
            accepted: inputs.values().map(|counters| counters.accepted.get()).sum(),
            refused: refused_by.values().flat_map(BTreeMap::values).sum(),
            refused_by,
            last_refused: counters.last_answer(),
            lines: by_name(&inputs, |protocol| &protocol.lines),
            line_errors: by_name(&inputs, |protocol| &protocol.errors),
        }
    }
}

fn by_name(
    inputs: &BTreeMap<&'static str, Arc<InputCounters>>,
    of: impl Fn(&Protocol) -> &ByName,
) -> ByInput {
    let mut all = ByInput::new();
    for (name, counters) in inputs {
        if let Some(protocol) = counters.listener().and_then(|listener| listener.protocol.get()) {
            all.insert(*name, of(protocol).iter().filter(|(_, count)| *count > 0).collect());
        }
    }
    all
}

/// The inputs that clients push to: all except the collection.
pub(super) fn pushed_to(counters: &Counters) -> BTreeMap<&'static str, Arc<InputCounters>> {
    let mut inputs = counters.all();
    inputs.remove(host::INPUT);
    inputs
}
