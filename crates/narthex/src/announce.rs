//! What is said on standard error while it runs: when a destination first accepted, and when it accepts
//! again. What goes wrong is logged where it happens.

use crate::say::say;
use crate::status::protocol_name;
use crate::telemetry::Outlet;
use remote::State;
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
pub(crate) async fn watch(outlets: Vec<Outlet>) {
    let mut told = vec![Told::Nothing; outlets.len()];
    loop {
        for (outlet, told) in outlets.iter().zip(&mut told) {
            let (next, sentence) = look(*told, &outlet.stats.state());
            *told = next;
            if let Some(sentence) = sentence {
                let protocol = outlet.stats.protocol().map_or("", protocol_name);
                say(format_args!("{}: {sentence} (remote write {protocol})", outlet.url));
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What to remember and what to say.
fn look(told: Told, state: &State) -> (Told, Option<&'static str>) {
    match (told, state) {
        (Told::Nothing, State::Delivering) => (Told::Accepts, Some("accepted what was sent")),
        (Told::Trouble, State::Delivering) => (Told::Accepts, Some("accepts again")),
        (Told::Accepts, State::Waiting { .. } | State::Denied { .. }) => (Told::Trouble, None),
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
                let (next, sentence) = look(told, state);
                told = next;
                sentence
            })
            .collect();
        assert_eq!(said, [None, Some("accepted what was sent"), None, None, None, Some("accepts again")]);
    }
}
