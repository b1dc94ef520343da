//! The destinations' states, and the version of remote write that they use.

use super::table::Table;
use model::MetricType;
use remote::State;

/// The names of the states in `narthex_remote_state`. The status has other names, which include the lag.
const STATES: [&str; 7] = ["starting", "delivering", "waiting", "refusing", "denied", "stopped", "left"];

const fn state_name(state: &State) -> &'static str {
    match state {
        State::Starting => "starting",
        State::Delivering => "delivering",
        State::Waiting { .. } => "waiting",
        State::Refusing { .. } => "refusing",
        State::Denied { .. } => "denied",
        State::Stopped => "stopped",
        State::Left => "left",
    }
}

/// Adds the families.
pub(super) fn families(table: &mut Table) {
    table.each(
        "narthex_remote_state",
        "1 for the state that the destination is in, 0 for the others.",
        MetricType::Gauge,
        "state",
        |s| {
            let now = state_name(&s.state());
            STATES.map(|state| (state, f64::from(u8::from(state == now)))).to_vec()
        },
    );
    table.each(
        "narthex_remote_protocol",
        "The version of remote write in use: 1.",
        MetricType::Gauge,
        "protocol",
        |s| s.protocol().map(|protocol| (protocol.name(), 1.0)).into_iter().collect(),
    );
}
