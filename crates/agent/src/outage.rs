//! An outage of one destination, from the first failure until the samples that waited are delivered. The
//! decision reads no clock.

use remote::State;
use std::time::Duration;

/// A destination has caught up when its oldest waiting sample is younger than this: the default batch
/// deadline and ten seconds.
const CAUGHT_UP: Duration = Duration::from_secs(15);

/// The state of a destination at one time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen<'a> {
    /// The time by the monotonic clock.
    pub now: Duration,
    pub state: &'a State,
    /// The age of its oldest waiting sample.
    pub lag: Duration,
    /// Samples delivered since the start of narthex.
    pub delivered: u64,
}

/// The state of a destination with respect to outages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Outage {
    #[default]
    None,
    /// The destination fails.
    Failing {
        /// The time of the first failure.
        since: Duration,
        /// Samples delivered before the outage.
        delivered: u64,
    },
    /// The destination accepts requests again, and the samples that waited are being sent.
    CatchingUp {
        /// How long the destination failed.
        lasted: Duration,
        /// When it accepted a request again.
        since: Duration,
        /// Samples delivered before the outage.
        delivered: u64,
    },
}

/// A change that is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The destination accepts requests again.
    Accepts { lasted: Duration },
    /// The samples that waited are delivered.
    CaughtUp { lasted: Duration, took: Duration, samples: u64 },
}

impl Outage {
    /// The next state, and the change to log.
    pub(crate) fn next(self, seen: Seen<'_>) -> (Outage, Option<Turn>) {
        let fails =
            matches!(seen.state, State::Waiting { .. } | State::Refusing { .. } | State::Denied { .. });
        match self {
            Outage::Failing { since, delivered } if *seen.state == State::Delivering => {
                let lasted = seen.now.saturating_sub(since);
                // The destination is first seen delivering after some samples were delivered, so the count
                // from before the outage is kept.
                let next = Outage::CatchingUp { lasted, since: seen.now, delivered };
                (next, Some(Turn::Accepts { lasted }))
            }
            Outage::Failing { .. } => (self, None),
            _ if fails => (Outage::Failing { since: seen.now, delivered: seen.delivered }, None),
            Outage::CatchingUp { lasted, since, delivered } if seen.lag < CAUGHT_UP => {
                let took = seen.now.saturating_sub(since);
                let samples = seen.delivered.saturating_sub(delivered);
                // If the outage was short, no sample waited longer than it does without an outage, and
                // nothing is logged.
                let turn = (lasted >= CAUGHT_UP).then_some(Turn::CaughtUp { lasted, took, samples });
                (Outage::None, turn)
            }
            other => (other, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn waiting() -> State {
        State::Waiting { reason: "connection refused".into() }
    }

    /// The changes that are logged for a series of observations: seconds, state, lag in seconds, samples
    /// delivered.
    fn turns(seen: &[(u32, State, u32, u64)]) -> Vec<Turn> {
        let mut outage = Outage::None;
        let mut turns = Vec::new();
        for (at, state, lag, delivered) in seen {
            let seen = Seen { now: SECOND * *at, state, lag: SECOND * *lag, delivered: *delivered };
            let (next, turn) = outage.next(seen);
            outage = next;
            turns.extend(turn);
        }
        turns
    }

    #[test]
    fn the_end_of_an_outage_reports_its_length_and_samples() {
        let said = turns(&[
            (0, State::Delivering, 0, 50),
            (10, waiting(), 1, 50),
            (100, waiting(), 90, 50),
            (210, State::Delivering, 200, 50),
            (215, State::Delivering, 120, 400),
            (222, State::Delivering, 3, 950),
            (230, State::Delivering, 3, 990),
        ]);
        let lasted = SECOND * 200;
        let caught_up = Turn::CaughtUp { lasted, took: SECOND * 12, samples: 900 };
        assert_eq!(said, [Turn::Accepts { lasted }, caught_up]);
    }

    #[test]
    fn samples_delivered_before_the_first_look_are_counted_as_caught_up() {
        let said = turns(&[
            (0, State::Delivering, 0, 50),
            (10, waiting(), 1, 50),
            (56, State::Delivering, 0, 33_665),
            (57, State::Delivering, 0, 33_665),
        ]);
        let caught_up = Turn::CaughtUp { lasted: SECOND * 46, took: SECOND, samples: 33_615 };
        assert_eq!(said.last(), Some(&caught_up));
    }

    #[test]
    fn a_second_failure_begins_a_second_outage() {
        let said = turns(&[
            (0, waiting(), 0, 0),
            (60, State::Delivering, 60, 0),
            (70, waiting(), 50, 100),
            (80, State::Delivering, 40, 100),
            (90, State::Delivering, 0, 500),
        ]);
        assert_eq!(said, [Turn::Accepts { lasted: SECOND * 60 }, Turn::Accepts { lasted: SECOND * 10 }]);
    }
}
