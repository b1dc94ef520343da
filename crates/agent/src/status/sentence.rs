//! The state of one destination in sentences for the person on call: the state, what it means for the
//! samples, and what to do.

use super::CATCHING_UP_MS;
use super::causes::{ENDPOINT_ADVICE, UNSUPPORTED_ADVICE, slowed, waiting_of_all};
use super::facts::DestinationFacts;
use super::words::{is_about_authorization, span};
use model::words::{are, was};
use remote::queue::lanes::LANES;
use remote::{RefusedReason, State, Stats};
use std::collections::BTreeSet;
use std::path::Path;

pub(super) fn sentence(stats: &Stats, facts: &DestinationFacts, data: &Path) -> String {
    of(stats.state(), stats, facts, data)
}

fn of(state: State, stats: &Stats, facts: &DestinationFacts, data: &Path) -> String {
    let lag_ms = facts.lag_ms(stats.lag_ms.get());
    let waiting = waiting_of_all(std::iter::once(facts));
    let mut text = match state {
        State::Starting => format!("Nothing has been delivered yet.{waiting}"),
        State::Delivering if lag_ms > CATCHING_UP_MS && stats.newest_first.get() > 0 => {
            format!("Accepts samples, the newest first; the backlog is {} behind.{waiting}", span(lag_ms))
        }
        State::Delivering if lag_ms > CATCHING_UP_MS => {
            format!("Accepts samples and is catching up, {} behind.{waiting}", span(lag_ms))
        }
        State::Delivering => "Accepts samples.".to_string(),
        State::Waiting { reason } => {
            let next = match stats.retry_in_ms.get() {
                ..1000 => "It is retried within a second".to_string(),
                ms => format!("The next retry is in {}", span(ms)),
            };
            format!("Fails: {reason}. {next}.{waiting}")
        }
        State::Refusing { reason } => {
            format!("Refuses all samples for good: {reason}.")
        }
        State::Denied { reason } if !is_about_authorization(&reason) => format!(
            "The URL is not a remote write endpoint: {reason}. {ENDPOINT_ADVICE} It is retried once a minute.{waiting}"
        ),
        State::Denied { reason } => format!(
            "Does not authorise narthex: {reason}. Check the URL, the credentials and what the destination allows. It \
             is retried once a minute.{waiting}"
        ),
        State::Stopped => "Stopped. What is not delivered is kept in the log for the next start.".to_string(),
        State::Left => {
            "Has left: all samples of its part are delivered. It is shown until the next reload or start."
                .to_string()
        }
    };
    text.push_str(&slowed(facts));
    if facts.stuck_lanes > 0 {
        let (stuck, reason) = (facts.stuck_lanes, facts.stuck_reason.as_deref().unwrap_or("no reason given"));
        text.push_str(&match stuck {
            some if some < LANES as u64 => format!(
                " It fails on a part of the series ({stuck} of {LANES} lanes) and accepts the others: {reason}. That \
                 part is retried by itself, so that it delays no other series."
            ),
            _ => format!(" It fails on all series: {reason}."),
        });
    }
    let count = |number: i64| u64::try_from(number).unwrap_or(0);
    let parked = count(stats.aside_points.get());
    if parked > 0 {
        let parked = are(parked, "sample");
        text.push_str(&format!(
            " {parked} parked: the destination keeps failing on them. They are retried every 5 minutes."
        ));
    }
    let total = |kinds: &remote::stats::PerKind| kinds.get().total();
    let lost = total(&stats.lost);
    if lost > 0 {
        let lost = was(lost, "sample");
        text.push_str(&format!(
            " {lost} dropped undelivered since the start because the log was full or too old: raise log.max_size, or fix what holds up this destination."
        ));
    }
    let not_kept = stats.dead_letters_dropped.get();
    let written = stats.refused_or_already_written.get();
    let refused = total(&stats.refused).saturating_sub(written);
    if refused > 0 {
        let command = command::shell::wal_command("dump --dead", data);
        let shows = match not_kept {
            0 => format!("; `{command}` shows what is known of them"),
            some if some < refused => format!("; `{command}` shows what is known of those that were kept"),
            _ => String::new(),
        };
        text.push_str(&format!(" {} refused for good since the start{shows}.", was(refused, "sample")));
    }
    if not_kept > 0 {
        let not_kept = was(not_kept, "refused sample");
        text.push_str(&format!(" {not_kept} not kept as dead letters: too many came, or the disk failed."));
    }
    let unsupported = total(&stats.dropped_unsupported);
    if unsupported > 0 {
        let unsupported = was(unsupported, "sample");
        text.push_str(&format!(" {unsupported} not sent. {UNSUPPORTED_ADVICE}"));
    }
    let too_old = total(&stats.dropped_too_old);
    if too_old > 0 {
        let too_old = was(too_old, "sample");
        text.push_str(&format!(" {too_old} not sent because they were older than sample_age_limit."));
    }
    let no_series = total(&stats.dropped_no_series);
    if no_series > 0 {
        let no_series = was(no_series, "sample");
        text.push_str(&format!(" {no_series} lost because their labels in the log could not be read."));
    }
    let reasons: BTreeSet<_> = stats.refused_reasons().into_iter().map(|(said, _)| said.reason).collect();
    for advice in reasons.into_iter().filter_map(RefusedReason::advice) {
        text.push(' ');
        text.push_str(advice);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::facts::Delivery;
    use model::Kinds;

    fn of(state: State, stats: &Stats, facts: &DestinationFacts) -> String {
        super::of(state, stats, facts, Path::new("/data"))
    }

    fn sentence(stats: &Stats, facts: &DestinationFacts) -> String {
        super::sentence(stats, facts, Path::new("/data"))
    }

    fn facts(waiting: u64, waiting_ms: i64) -> DestinationFacts {
        DestinationFacts {
            name: "a".into(),
            delivery: Delivery::Idle,
            delivered: false,
            waiting,
            waiting_before_start: false,
            waiting_ms,
            moving_ms: waiting_ms,
            deadline_ms: 5000,
            held_to_bytes_per_second: None,
            pause_until_ms: None,
            parked: 0,
            stuck_lanes: 0,
            stuck_reason: None,
            dropped_by_rule: 0,
            retries: 0,
        }
    }

    #[test]
    fn each_sentence_says_what_happens_to_the_samples() {
        let stats = Stats::default();
        let reason = || "503 Service Unavailable: later".to_string();
        let waiting = "52,439 samples are waiting in the log, the oldest for 2 min 48 s.";
        for (state, says) in [
            (State::Starting, format!("Nothing has been delivered yet. {waiting}")),
            (State::Delivering, "Accepts samples.".into()),
            (
                State::Waiting { reason: reason() },
                format!("Fails: 503 Service Unavailable: later. It is retried within a second. {waiting}"),
            ),
            (
                State::Denied { reason: "405 Method Not Allowed".into() },
                format!(
                    "The URL is not a remote write endpoint: 405 Method Not Allowed. Check the URL (the path of \
                     Prometheus is /api/v1/write), and that the receiver has remote write enabled. It is retried once \
                     a minute. {waiting}"
                ),
            ),
            (
                State::Denied { reason: "401 Unauthorized: who".into() },
                format!(
                    "Does not authorise narthex: 401 Unauthorized: who. Check the URL, the credentials and \
                     what the destination allows. It is retried once a minute. {waiting}"
                ),
            ),
            (
                State::Refusing { reason: reason() },
                "Refuses all samples for good: 503 Service Unavailable: later.".into(),
            ),
            (State::Stopped, "Stopped. What is not delivered is kept in the log for the next start.".into()),
            (
                State::Left,
                "Has left: all samples of its part are delivered. It is shown until the next reload or start.".into(),
            ),
        ] {
            assert_eq!(of(state, &stats, &facts(52_439, 168_000)), says);
        }
        assert_eq!(of(State::Starting, &stats, &facts(0, 0)), "Nothing has been delivered yet.");
        stats.lag_ms.set(3_600_000);
        let behind = of(State::Delivering, &stats, &facts(1, 3_600_000));
        assert_eq!(
            behind,
            "Accepts samples and is catching up, 1 h behind. 1 sample is waiting in the log, the oldest for 1 h."
        );
    }

    #[test]
    fn the_reason_for_sending_slower_is_named() {
        let stats = Stats::default();
        let slow = DestinationFacts { held_to_bytes_per_second: Some(100 << 10), ..facts(0, 0) };
        assert_eq!(
            of(State::Delivering, &stats, &slow),
            "Accepts samples. It is sent at most 100 KiB a second (queue_config.max_bytes_per_second)."
        );
        let asks = DestinationFacts { pause_until_ms: Some(1_700_000_000_000), ..facts(0, 0) };
        assert_eq!(
            of(State::Waiting { reason: "429 Too Many Requests".into() }, &stats, &asks),
            "Fails: 429 Too Many Requests. It is retried within a second. It has asked for a pause (Retry-After) until \
             2023-11-14T22:13:20.000Z."
        );
    }

    #[test]
    fn losses_and_refusals_are_named_with_advice() {
        let stats = Stats::default();
        stats.lost.add(Kinds { samples: 7, ..Kinds::default() });
        stats.refused.add(Kinds { samples: 1, exemplars: 2, ..Kinds::default() });
        stats.aside_points.set(9);
        stats.dead_letters_dropped.add(2);
        stats.dropped_unsupported.add(Kinds { histograms: 5, ..Kinds::default() });
        stats.dropped_too_old.add(Kinds { samples: 6, ..Kinds::default() });
        stats.dropped_no_series.add(Kinds { samples: 8, ..Kinds::default() });
        let facts = DestinationFacts { stuck_lanes: 3, ..facts(0, 0) };
        let text = sentence(&stats, &facts);
        for words in [
            "7 samples were dropped",
            "log.max_size",
            "3 samples were refused for good since the start",
            "fails on a part of the series (3 of 256 lanes)",
            "9 samples are parked",
            "`narthex wal dump --dead /data` shows what is known of those that were kept",
            "2 refused samples were not kept as dead letters",
            "5 samples were not sent. Only remote write 2.0 carries",
            "6 samples were not sent because they were older than sample_age_limit",
            "8 samples were lost because their labels in the log could not be read",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
    }

    #[test]
    fn refused_native_histograms_are_shown_with_the_flag_to_set() {
        let stats = Stats::default();
        for status in [400, 500] {
            stats.refused_by.add(remote::Refusal::of(status, "native histograms are disabled"), 2);
        }
        let text = sentence(&stats, &facts(0, 0));
        assert!(text.contains("--enable-feature=native-histograms"), "{text}");
        assert_eq!(text.matches("--enable-feature").count(), 1);
    }
}
