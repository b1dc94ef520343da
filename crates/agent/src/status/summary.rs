//! The state of narthex in one sentence: a decision without I/O, which the page, the API and the log share.
//!
//! Each problem is a [`Detail`], and the worst of them is the summary. [`Kind`] lists the problems from the
//! worst on, and defines the level of each.

use super::causes::{causes, waiting_of_all};
use super::facts::{Delivery, Facts};
use super::words::span;
use model::words::{are, number, was};
use serde::Serialize;
use std::collections::BTreeSet;

/// Events of this run that are at most this old are reported as happening now.
pub const NOW_MS: i64 = 60_000;
/// How much older than the batch deadline a sample may be before it counts as late.
pub const LATE_MS: i64 = 10_000;
/// The shortest time that a state is shown, unless a worse one replaces it.
pub const HOLD_MS: i64 = 10_000;

/// How bad a state is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// No problem.
    Ok,
    /// Somebody should look at it, but it is not urgent.
    Warning,
    /// Samples are lost, refused or late, or will be.
    Error,
}

/// The kinds of states, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    DiskFull,
    LogFull,
    TaskDead,
    DestinationDead,
    InputDown,
    Losing,
    Refusing,
    Unauthorized,
    WrongUrl,
    DestinationFailing,
    Lost,
    CollectionsFailed,
    InputLost,
    LogUnreadable,
    DeadLettersLost,
    Refused,
    DestinationRetrying,
    CatchingUp,
    Parked,
    SeriesStuck,
    ReloadFailed,
    ClockNotSet,
    GroupsFailing,
    CollectorFailing,
    Unsupported,
    TooOld,
    PushesRefused,
    SamplesRejected,
    DatagramsDropped,
    ConnectionsFull,
    HourForgotten,
    DestinationRemoved,
    AlreadyWritten,
    DroppedByRule,
    Idle,
    Delivered,
}

impl Kind {
    pub const fn level(self) -> Level {
        match self {
            Kind::DiskFull
            | Kind::LogFull
            | Kind::TaskDead
            | Kind::DestinationDead
            | Kind::Losing
            | Kind::Refusing
            | Kind::Unauthorized
            | Kind::WrongUrl
            | Kind::DestinationFailing
            | Kind::Lost
            | Kind::CollectionsFailed
            | Kind::InputLost
            | Kind::InputDown
            | Kind::LogUnreadable
            | Kind::DeadLettersLost
            | Kind::Refused => Level::Error,
            Kind::DestinationRetrying
            | Kind::CatchingUp
            | Kind::Parked
            | Kind::SeriesStuck
            | Kind::ReloadFailed
            | Kind::ClockNotSet
            | Kind::GroupsFailing
            | Kind::CollectorFailing
            | Kind::Unsupported
            | Kind::TooOld
            | Kind::PushesRefused
            | Kind::SamplesRejected
            | Kind::DatagramsDropped
            | Kind::ConnectionsFull
            | Kind::HourForgotten => Level::Warning,
            Kind::DestinationRemoved
            | Kind::AlreadyWritten
            | Kind::DroppedByRule
            | Kind::Idle
            | Kind::Delivered => Level::Ok,
        }
    }

    /// Its name in JSON and in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::DiskFull => "disk_full",
            Kind::LogFull => "log_full",
            Kind::TaskDead => "task_dead",
            Kind::DestinationDead => "destination_dead",
            Kind::Losing => "losing",
            Kind::Refusing => "refusing",
            Kind::Unauthorized => "unauthorized",
            Kind::WrongUrl => "wrong_url",
            Kind::DestinationFailing => "destination_failing",
            Kind::Lost => "lost",
            Kind::LogUnreadable => "log_unreadable",
            Kind::DeadLettersLost => "dead_letters_lost",
            Kind::Refused => "refused",
            Kind::InputDown => "input_down",
            Kind::DestinationRetrying => "destination_retrying",
            Kind::CatchingUp => "catching_up",
            Kind::Parked => "parked",
            Kind::SeriesStuck => "series_stuck",
            Kind::ReloadFailed => "reload_failed",
            Kind::ClockNotSet => "clock_not_set",
            Kind::GroupsFailing => "groups_failing",
            Kind::CollectorFailing => "collector_failing",
            Kind::Unsupported => "unsupported",
            Kind::TooOld => "too_old",
            Kind::PushesRefused => "pushes_refused",
            Kind::CollectionsFailed => "collections_failed",
            Kind::InputLost => "input_lost",
            Kind::SamplesRejected => "samples_rejected",
            Kind::DatagramsDropped => "datagrams_dropped",
            Kind::ConnectionsFull => "connections_full",
            Kind::HourForgotten => "hour_forgotten",
            Kind::DestinationRemoved => "destination_removed",
            Kind::AlreadyWritten => "already_written",
            Kind::DroppedByRule => "dropped_by_rule",
            Kind::Idle => "idle",
            Kind::Delivered => "delivered",
        }
    }
}

/// One problem or fact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Detail {
    pub level: Level,
    pub kind: Kind,
    /// One or two sentences with advice.
    pub sentence: String,
    /// The destination that the detail is about.
    pub destination: Option<String>,
    /// The detail in few words and without the name, for a sentence about several destinations.
    #[serde(skip)]
    pub short: String,
    /// The number of samples or pushes that the detail is about.
    #[serde(skip)]
    pub count: u64,
    /// Distinguishes it from other details of this kind and destination, in few words: the input, the reason.
    #[serde(skip)]
    pub about: String,
    /// Requests that failed since the start, if the destination is failing.
    #[serde(skip)]
    pub retries: Option<u64>,
    /// The time of the first event in the last hour that the detail is about, by the monotonic clock.
    #[serde(skip)]
    pub first_ms: Option<i64>,
    /// The time of the last event; `None` if the detail is a state and not an event.
    #[serde(skip)]
    pub last_ms: Option<i64>,
}

/// The result of the decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The kind of the worst detail, which the sentence is about.
    pub kind: Kind,
    pub sentence: String,
    /// The time of the first event that the sentence is about, by the monotonic clock.
    pub first_ms: Option<i64>,
    /// All details, the worst first.
    pub details: Vec<Detail>,
}

/// Decides the state from the facts.
pub fn decide(facts: &Facts) -> Verdict {
    let mut details = causes(facts);
    details.sort_by_key(|detail| detail.kind);
    let worst = details.iter().max_by(|one, two| one.level.cmp(&two.level).then(two.kind.cmp(&one.kind)));
    let (kind, sentence) = match worst.filter(|worst| worst.level > Level::Ok) {
        Some(worst) => (worst.kind, headline(worst.kind, &details, facts)),
        None if is_idle(facts) => (Kind::Idle, "Nothing has been delivered yet.".to_string()),
        None if !facts.removed.is_empty() => {
            (Kind::Delivered, "Everything is delivered to the destinations of the configuration.".to_string())
        }
        None => (Kind::Delivered, "Everything is delivered.".to_string()),
    };
    let first_ms = details.iter().filter(|one| one.kind == kind).filter_map(|one| one.first_ms).min();
    Verdict { kind, sentence, first_ms, details }
}

fn is_idle(facts: &Facts) -> bool {
    !facts
        .destinations
        .iter()
        .any(|destination| destination.delivery == Delivery::Accepting || destination.delivered)
}

/// The sentence about the worst kind, which may have several details.
fn headline(kind: Kind, details: &[Detail], facts: &Facts) -> String {
    let all: Vec<&Detail> = details.iter().filter(|detail| detail.kind == kind).collect();
    let (Some(first), total) = (all.first(), all.iter().map(|detail| detail.count).sum::<u64>()) else {
        return String::new();
    };
    let destinations: BTreeSet<&str> =
        all.iter().filter_map(|detail| detail.destination.as_deref()).collect();
    let reasons: BTreeSet<&str> =
        all.iter().map(|detail| detail.short.as_str()).filter(|text| !text.is_empty()).collect();
    let reasons: Vec<&str> = reasons.into_iter().collect();
    let why = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
    let several = format!("{} destinations", destinations.len());
    let who = match destinations.first() {
        Some(only) if destinations.len() == 1 => *only,
        _ => several.as_str(),
    };
    let last = all.iter().filter_map(|detail| detail.last_ms).max();
    let last = last.map_or(String::new(), |last_ms| {
        format!(", the last {} ago", span(facts.running_ms.saturating_sub(last_ms)))
    });
    let (is, keep) = if destinations.len() == 1 { ("is", "keeps") } else { ("are", "keep") };
    match kind {
        Kind::Losing => format!("Samples are being lost: {} in the last hour{why}.", number(total)),
        Kind::Lost => format!("{} lost in the last hour{why}{last}.", was(total, "sample")),
        Kind::CollectionsFailed => {
            format!("{} lost in the last hour{why}.", was(total, "collected sample"))
        }
        Kind::InputLost => {
            format!(
                "{} lost in the last hour{why}: the log did not accept them.",
                was(total, "received sample")
            )
        }
        Kind::SamplesRejected => {
            format!("{} rejected in the last 10 minutes{why}.", was(total, "received sample"))
        }
        Kind::DatagramsDropped => {
            format!("{} dropped by the kernel in the last hour{why}.", was(total, "datagram"))
        }
        Kind::Refusing => {
            format!("{who} {is} refusing samples: {} in the last hour{why}.", number(total))
        }
        Kind::Refused => format!("{} refused by {who} in the last hour{why}{last}.", was(total, "sample")),
        Kind::DeadLettersLost => {
            format!("{} not kept as dead letters in the last hour.", was(total, "refused sample"))
        }
        Kind::Unsupported => {
            format!("{} not sent to {who} in the last hour{why}.", was(total, "sample"))
        }
        Kind::TooOld => {
            format!("{} dropped in the last hour: older than sample_age_limit.", was(total, "sample"))
        }
        Kind::PushesRefused => format!("{} refused in the last 10 minutes{why}.", was(total, "push")),
        Kind::WrongUrl if destinations.len() > 1 => {
            let about = facts.destinations.iter().filter(|one| destinations.contains(one.name.as_str()));
            let waiting = waiting_of_all(about);
            format!("The URLs of {who} are not remote write endpoints: {}.{waiting}", list(&destinations))
        }
        Kind::Parked => format!("{} parked: {who} {keep} failing on them.", are(total, "sample")),
        Kind::DestinationFailing | Kind::DestinationRetrying | Kind::CatchingUp | Kind::Unauthorized
            if destinations.len() > 1 =>
        {
            let does = match kind {
                Kind::CatchingUp => "catching up",
                Kind::Unauthorized => "not authorising narthex",
                _ => "failing",
            };
            let about = facts.destinations.iter().filter(|one| destinations.contains(one.name.as_str()));
            format!("{who} are {does}: {}.{}", list(&destinations), waiting_of_all(about))
        }
        // The details have the other lines, such as the wrong line of the file.
        _ => first.sentence.lines().next().unwrap_or_default().to_string(),
    }
}

/// At most five names, and the number of the others.
fn list(names: &BTreeSet<&str>) -> String {
    let some: Vec<&str> = names.iter().take(5).copied().collect();
    let more = names.len().saturating_sub(some.len());
    if more > 0 { format!("{} and {more} more", some.join(", ")) } else { some.join(", ") }
}
