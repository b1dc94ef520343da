//! Keeps a state for a while, so that the display does not flicker. A worse state replaces it immediately, a
//! better one after [`HOLD_MS`]. No I/O.

use super::summary::{Detail, HOLD_MS, Kind, Level, Verdict};
use serde::Serialize;

/// The state of all of narthex, as `GET /api/v1/status/summary` answers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    pub level: Level,
    pub kind: Kind,
    /// The worst detail in a sentence.
    pub sentence: String,
    /// When the state began, in milliseconds since 1970. If narthex started in this state, it is the time of
    /// the first event of the last hour that caused it.
    pub since: i64,
    /// All details, the worst first.
    pub details: Vec<Detail>,
}

/// The state that is shown.
#[derive(Debug, Default)]
pub struct Held {
    shown: Option<Shown>,
}

#[derive(Debug)]
struct Shown {
    kind: Kind,
    sentence: String,
    /// The beginning of the state by the monotonic clock. It is before the start if an earlier run saw the
    /// events.
    since_ms: i64,
    /// When the state was shown first, by the monotonic clock.
    shown_ms: i64,
}

impl Held {
    /// The summary at `now_ms` of the monotonic clock and `wall_ms` of the wall clock.
    pub fn show(&mut self, verdict: Verdict, now_ms: i64, wall_ms: i64) -> Summary {
        let Verdict { kind, sentence, first_ms, details } = verdict;
        let shown = match self.shown.take() {
            Some(shown) if shown.kind == kind => Shown { sentence, ..shown },
            Some(shown) if is_better(kind, shown.kind) && now_ms - shown.shown_ms < HOLD_MS => shown,
            Some(_) => Shown { kind, sentence, since_ms: now_ms, shown_ms: now_ms },
            None => {
                Shown { kind, sentence, since_ms: first_ms.unwrap_or(now_ms).min(now_ms), shown_ms: now_ms }
            }
        };
        let summary = Summary {
            level: shown.kind.level(),
            kind: shown.kind,
            sentence: shown.sentence.clone(),
            since: wall_ms - (now_ms - shown.since_ms),
            details,
        };
        self.shown = Some(shown);
        summary
    }
}

/// Returns true if `kind` is less bad than `than`. A state with level `Ok` is never held.
fn is_better(kind: Kind, than: Kind) -> bool {
    let rank = |kind: Kind| (kind.level(), std::cmp::Reverse(kind));
    than.level() > Level::Ok && rank(kind) < rank(than)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(kind: Kind) -> Verdict {
        Verdict { kind, sentence: kind.as_str().into(), first_ms: None, details: Vec::new() }
    }

    #[test]
    fn worse_states_show_at_once_and_better_ones_later() {
        let mut held = Held::default();
        let mut show = |kind, now_ms| {
            let summary = held.show(verdict(kind), now_ms, 1_000_000 + now_ms);
            (summary.kind, summary.since - 1_000_000)
        };
        assert_eq!(show(Kind::Idle, 0), (Kind::Idle, 0));
        assert_eq!(show(Kind::Delivered, 1), (Kind::Delivered, 1), "both are well: nothing to hold");
        assert_eq!(show(Kind::DestinationRetrying, 2000), (Kind::DestinationRetrying, 2000));
        assert_eq!(show(Kind::Delivered, 3000), (Kind::DestinationRetrying, 2000), "held");
        assert_eq!(show(Kind::Refusing, 4000), (Kind::Refusing, 4000));
        assert_eq!(show(Kind::DestinationFailing, 13_999), (Kind::Refusing, 4000));
        assert_eq!(show(Kind::DestinationFailing, 14_000), (Kind::DestinationFailing, 14_000));
        assert_eq!(show(Kind::Losing, 14_001), (Kind::Losing, 14_001), "a worse one of the same level");
        assert_eq!(show(Kind::Losing, 99_000), (Kind::Losing, 14_001));
        assert_eq!(show(Kind::Delivered, 99_001), (Kind::Delivered, 99_001));
    }

    #[test]
    fn first_state_of_a_run_begins_with_the_events_of_an_earlier_run() {
        let mut held = Held::default();
        let lost = || Verdict { first_ms: Some(-300_000), ..verdict(Kind::Lost) };
        assert_eq!(held.show(lost(), 1000, 1_001_000).since, 700_000);
        assert_eq!(held.show(lost(), 2000, 1_002_000).since, 700_000);
        // A held state is held from the time when it was first shown. A later state begins when it is first
        // seen.
        assert_eq!(held.show(verdict(Kind::Delivered), 3000, 1_003_000).kind, Kind::Lost);
        assert_eq!(held.show(verdict(Kind::Delivered), 11_000, 1_011_000).since, 1_011_000);
        assert_eq!(held.show(lost(), 12_000, 1_012_000).since, 1_012_000);
    }

    #[test]
    fn a_continuing_state_shows_new_numbers() {
        let mut held = Held::default();
        held.show(verdict(Kind::Lost), 0, 0);
        let more = Verdict { sentence: "more".into(), ..verdict(Kind::Lost) };
        assert_eq!(held.show(more, 1, 1).sentence, "more");
    }
}
