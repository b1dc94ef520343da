//! Logs changes in the state of destinations: the first accepted request, the end of an outage, and the
//! delivery of the samples that waited. Failures are logged where they happen.

use crate::outage::{Outage, Seen, Turn};
use crate::telemetry::{Outlet, Telemetry};
use formats::remote_write::Protocol;
use model::duration::human;
use remote::{State, Stats};
use std::sync::Arc;
use std::time::{Duration, Instant};
use supervisor::Task;
use tokio::task::JoinHandle;

/// How often the state of the destinations is read.
const LOOK: Duration = Duration::from_millis(200);

const FIRST: &str = "accepted what was sent";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Nothing,
    Accepts,
    Trouble,
}

/// Watches the destinations in a task, until the task is aborted.
pub fn spawn(telemetry: Arc<Telemetry>) -> JoinHandle<()> {
    let watch = move || watch(telemetry.clone());
    tokio::spawn(supervisor::supervise(Task::only("announcements"), watch))
}

async fn watch(telemetry: Arc<Telemetry>) {
    let began = Instant::now();
    let mut known: Vec<(Arc<Stats>, Told, Outage)> = Vec::new();
    loop {
        let outlets = telemetry.outlets();
        known.retain(|(stats, ..)| outlets.running.iter().any(|outlet| Arc::ptr_eq(&outlet.stats, stats)));
        for outlet in &outlets.running {
            let at = known.iter().position(|(stats, ..)| Arc::ptr_eq(&outlet.stats, stats));
            let (told, outage) = match at.and_then(|at| known.get(at)) {
                Some((_, told, outage)) => (*told, *outage),
                None => (Told::Nothing, Outage::None),
            };
            let state = outlet.stats.state();
            let lag = Duration::from_millis(u64::try_from(outlet.stats.lag_ms.get()).unwrap_or(0));
            let delivered = outlet.stats.delivered.get().total();
            let (told, sentence) = look(told, &state, delivered > 0);
            let (outage, turn) = outage.next(Seen { now: began.elapsed(), state: &state, lag, delivered });
            match at.and_then(|at| known.get_mut(at)) {
                Some(known) => (known.1, known.2) = (told, outage),
                None => known.push((outlet.stats.clone(), told, outage)),
            }
            if let Some(sentence) = sentence {
                accepted(outlet, sentence, turn);
            }
            if let Some(Turn::CaughtUp { lasted, took, samples }) = turn {
                let (name, lasted, took) = (&outlet.name, human(lasted), human(took));
                let sentence = caught_up(outlet.stats.stuck_lanes.get(), outlet.stats.aside_points.get());
                tracing::info!(destination = %name, outage = %lasted, %took, samples, "{sentence}");
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn accepted(outlet: &Outlet, sentence: &str, turn: Option<Turn>) {
    let Outlet { name, url, stats } = outlet;
    let protocol = stats.protocol().map_or("", Protocol::name);
    match turn {
        Some(Turn::Accepts { lasted }) if sentence != FIRST => {
            let outage = human(lasted);
            tracing::info!(destination = %name, %url, %outage, "{sentence} (remote write {protocol})");
        }
        _ => tracing::info!(destination = %name, %url, "{sentence} (remote write {protocol})"),
    }
}

/// The log message once no samples are late except those that the destination still fails on: stuck lanes and
/// parked points.
fn caught_up(stuck: i64, parked: i64) -> &'static str {
    match (stuck > 0, parked > 0) {
        (false, false) => "caught up after an outage",
        (true, false) => "caught up after an outage, without the series that the destination still fails on",
        (_, true) => "caught up after an outage, without the samples that the destination still fails on",
    }
}

/// The next state to remember, and the message to log. A destination that has refused everything has accepted
/// nothing.
fn look(told: Told, state: &State, delivered: bool) -> (Told, Option<&'static str>) {
    match (told, state) {
        (_, State::Delivering) if !delivered => (told, None),
        (Told::Nothing, State::Delivering) => (Told::Accepts, Some(FIRST)),
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
    fn acceptance_is_logged_once_and_again_after_failures() {
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
    fn caught_up_message_excludes_series_that_still_fail() {
        assert_eq!(caught_up(0, 0), "caught up after an outage");
        assert!(caught_up(3, 0).ends_with("without the series that the destination still fails on"));
        for stuck in [0, 3] {
            assert!(caught_up(stuck, 9).ends_with("without the samples that the destination still fails on"));
        }
    }

    #[test]
    fn a_destination_that_refuses_everything_has_not_accepted() {
        let refusing = State::Refusing { reason: "400 Bad Request: out of bounds".into() };
        assert_eq!(look(Told::Nothing, &refusing, false), (Told::Nothing, None));
        assert_eq!(look(Told::Accepts, &refusing, true), (Told::Trouble, None));
        let again = look(Told::Trouble, &State::Delivering, true);
        assert_eq!(again, (Told::Accepts, Some("accepts again")));
    }

    #[test]
    fn nothing_is_logged_before_a_sample_was_accepted() {
        assert_eq!(look(Told::Nothing, &State::Delivering, false), (Told::Nothing, None));
        let first = look(Told::Nothing, &State::Delivering, true);
        assert_eq!(first, (Told::Accepts, Some("accepted what was sent")));
    }
}
