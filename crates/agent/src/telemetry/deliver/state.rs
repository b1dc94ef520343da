//! The state that destinations are in, and the version of remote write they speak.

use super::table::Table;
use model::MetricType;
use remote::State;

/// The states of a destination, by the names that `narthex_remote_state` has for them. The status has words of
/// its own, which tell of the lag as well.
const STATES: [&str; 7] = ["starting", "delivering", "waiting", "refusing", "denied", "stopped", "left"];

/// The name of a state.
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

/// Adds both.
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
