//! What is said on standard error while it runs: when a destination first accepted, and when it accepts
//! again. What goes wrong is logged where it happens.

use crate::say::say;
use crate::telemetry::Telemetry;
use crate::telemetry::protocol_name;
use remote::{State, Stats};
use std::sync::Arc;
use std::time::Duration;

/// How often the destinations are looked at.
const LOOK: Duration = Duration::from_millis(200);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Nothing,
    Accepts,
    Trouble,
}

/// Watches until it is dropped.
pub(crate) async fn watch(telemetry: Arc<Telemetry>) {
    let mut known: Vec<(Arc<Stats>, Told)> = Vec::new();
    loop {
        let outlets = telemetry.outlets();
        known.retain(|(stats, _)| outlets.running.iter().any(|outlet| Arc::ptr_eq(&outlet.stats, stats)));
        for outlet in &outlets.running {
            let at = known.iter().position(|(stats, _)| Arc::ptr_eq(&outlet.stats, stats));
            let told = at.and_then(|at| known.get(at)).map_or(Told::Nothing, |(_, told)| *told);
            let delivered = outlet.stats.delivered.get().total() > 0;
            let (next, sentence) = look(told, &outlet.stats.state(), delivered);
            match at.and_then(|at| known.get_mut(at)) {
                Some((_, told)) => *told = next,
                None => known.push((outlet.stats.clone(), next)),
            }
            if let Some(sentence) = sentence {
                let protocol = outlet.stats.protocol().map_or("", protocol_name);
                say(format_args!("{}: {sentence} (remote write {protocol})", outlet.url));
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What to remember and what to say. A destination that has refused everything has accepted nothing.
fn look(told: Told, state: &State, delivered: bool) -> (Told, Option<&'static str>) {
    match (told, state) {
        (_, State::Delivering) if !delivered => (told, None),
        (Told::Nothing, State::Delivering) => (Told::Accepts, Some("accepted what was sent")),
        (Told::Trouble, State::Delivering) => (Told::Accepts, Some("accepts again")),
        (Told::Accepts, State::Waiting { .. } | State::Refusing { .. } | State::Denied { .. }) => {
            (Told::Trouble, None)
        }
        _ => (told, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acceptance_is_told_once_and_after_trouble_again() {
        let trouble = State::Waiting { reason: "connection refused".into() };
        let states =
            [&trouble, &State::Delivering, &State::Delivering, &trouble, &trouble, &State::Delivering];
        let mut told = Told::Nothing;
        let said: Vec<_> = states
            .into_iter()
            .map(|state| {
                let (next, sentence) = look(told, state, true);
                told = next;
                sentence
            })
            .collect();
        assert_eq!(said, [None, Some("accepted what was sent"), None, None, None, Some("accepts again")]);
    }

    #[test]
    fn a_destination_that_refuses_everything_does_not_accept() {
        let refusing = State::Refusing { reason: "400 Bad Request: out of bounds".into() };
        assert_eq!(look(Told::Nothing, &refusing, false), (Told::Nothing, None));
        assert_eq!(look(Told::Accepts, &refusing, true), (Told::Trouble, None));
        let again = look(Told::Trouble, &State::Delivering, true);
        assert_eq!(again, (Told::Accepts, Some("accepts again")));
    }

    #[test]
    fn a_destination_that_accepted_no_sample_is_not_said_to_accept() {
        assert_eq!(look(Told::Nothing, &State::Delivering, false), (Told::Nothing, None));
        let first = look(Told::Nothing, &State::Delivering, true);
        assert_eq!(first, (Told::Accepts, Some("accepted what was sent")));
    }
}
