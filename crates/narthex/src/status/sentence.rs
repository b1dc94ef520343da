//! A destination's state in words that help whoever is on call: what is the matter, what becomes of the
//! samples, and what may be done.

use super::CATCHING_UP_MS;
use crate::config::duration::human;
use remote::queue::lanes::LANES;
use remote::{RefusedReason, State, Stats};
use std::collections::BTreeSet;
use std::time::Duration;

/// One or more sentences.
pub(super) fn sentence(stats: &Stats) -> String {
    of(stats.state(), stats)
}

fn of(state: State, stats: &Stats) -> String {
    let lag_ms = stats.lag_ms.get();
    let mut text = match state {
        State::Starting => "Nothing has been sent yet.".to_string(),
        State::Delivering if lag_ms > CATCHING_UP_MS && stats.newest_first.get() > 0 => {
            format!("Takes what is sent, the newest first; the backlog is {} behind.", rounded(lag_ms))
        }
        State::Delivering if lag_ms > CATCHING_UP_MS => {
            format!("Takes what is sent; catching up, {} behind.", rounded(lag_ms))
        }
        State::Delivering => "Takes what is sent.".to_string(),
        State::Waiting { reason } => {
            let next = match stats.retry_in_ms.get() {
                ..1000 => "Tried again all the time".to_string(),
                ms => format!("The next try is in {}", rounded(ms)),
            };
            format!("Does not take what is sent: {reason}. {next}; what was taken in waits in the log.")
        }
        State::Refusing { reason } => {
            format!("Refuses all samples for good: {reason}. They are kept as dead letters.")
        }
        State::Denied { reason } => format!(
            "Does not let narthex in: {reason}. Check the URL, the credentials and what the destination allows. It is \
             asked once a minute; what was taken in waits in the log."
        ),
        State::Stopped => "Stopped; what it has not taken is in the log for the next start.".to_string(),
        State::Left => {
            "Has left: all that was its own has been delivered. It is shown until the next reload or start."
                .to_string()
        }
    };
    let stuck = stats.stuck_lanes.get();
    if stuck > 0 {
        let reason = stats.stuck().map(|reason| format!(": {reason}")).unwrap_or_default();
        text.push_str(&format!(
            " It fails over a part of the series ({stuck} of {LANES} lanes) and accepts the others{reason}. That part is \
             sent again by itself, so that it delays nothing else."
        ));
    }
    let aside = stats.aside_points.get();
    if aside > 0 {
        text.push_str(&format!(
            " {aside} samples are set aside: the destination failed just these again and again. They are \
             tried every five minutes."
        ));
    }
    let points = |kinds: &remote::stats::PerKind| {
        let kinds = kinds.get();
        kinds.samples + kinds.histograms + kinds.exemplars
    };
    let lost = points(&stats.lost);
    if lost > 0 {
        text.push_str(&format!(
            " {lost} samples were dropped undelivered since the log was full: raise log.max_size, or mend \
             what holds this destination up."
        ));
    }
    let refused = points(&stats.refused);
    if refused > 0 {
        text.push_str(&format!(
            " {refused} samples were refused for good; `narthex wal dump --dead` shows which and why."
        ));
    }
    let reasons: BTreeSet<_> = stats.refused_reasons().into_iter().map(|(said, _)| said.reason).collect();
    for advice in reasons.into_iter().filter_map(RefusedReason::advice) {
        text.push(' ');
        text.push_str(advice);
    }
    text
}

/// To the second, since nobody needs more.
fn rounded(ms: i64) -> String {
    human(Duration::from_secs(u64::try_from(ms / 1000).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Kinds;

    #[test]
    fn a_destination_that_is_well_needs_few_words() {
        let stats = Stats::default();
        assert_eq!(sentence(&stats), "Nothing has been sent yet.");
    }

    #[test]
    fn each_state_says_what_becomes_of_the_samples() {
        let stats = Stats::default();
        let reason = || "503 Service Unavailable: later".to_string();
        for (state, says) in [
            (State::Starting, "Nothing has been sent yet."),
            (State::Delivering, "Takes what is sent."),
            (
                State::Waiting { reason: reason() },
                "Does not take what is sent: 503 Service Unavailable: later. Tried again all the time; what was \
                 taken in waits in the log.",
            ),
            (
                State::Denied { reason: reason() },
                "Does not let narthex in: 503 Service Unavailable: later. Check the URL, the credentials and what \
                 the destination allows. It is asked once a minute; what was taken in waits in the log.",
            ),
            (
                State::Refusing { reason: reason() },
                "Refuses all samples for good: 503 Service Unavailable: later. They are kept as dead letters.",
            ),
            (State::Stopped, "Stopped; what it has not taken is in the log for the next start."),
            (
                State::Left,
                "Has left: all that was its own has been delivered. It is shown until the next reload or start.",
            ),
        ] {
            assert_eq!(of(state, &stats), says);
        }
        stats.lag_ms.set(3_600_000);
        assert_eq!(of(State::Delivering, &stats), "Takes what is sent; catching up, 1 h behind.");
        assert!(!of(State::Left, &stats).contains("behind"));
    }

    #[test]
    fn what_was_lost_or_refused_is_said_with_what_to_do() {
        let stats = Stats::default();
        stats.lost.add(Kinds { samples: 7, ..Kinds::default() });
        stats.refused.add(Kinds { samples: 1, exemplars: 2, ..Kinds::default() });
        stats.stuck_lanes.set(3);
        stats.aside_points.set(9);
        let text = sentence(&stats);
        assert!(text.contains("7 samples were dropped") && text.contains("log.max_size"), "{text}");
        assert!(
            text.contains("3 samples were refused") && text.contains("narthex wal dump --dead"),
            "{text}"
        );
        assert!(text.contains("fails over a part of the series (3 of 256 lanes)"), "{text}");
        assert!(text.contains("9 samples are set aside"), "{text}");
    }
    #[test]
    fn refused_native_histograms_are_told_with_the_flag_to_set() {
        let stats = Stats::default();
        for status in [400, 500] {
            stats.refused_by.add(remote::Refusal::of(status, "native histograms are disabled"), 2);
        }
        let text = sentence(&stats);
        assert!(text.contains("--enable-feature=native-histograms"), "{text}");
        assert_eq!(text.matches("--enable-feature").count(), 1);
    }
}
