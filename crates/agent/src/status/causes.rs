//! Turns facts into one [`Detail`] for each problem. No I/O.

use super::facts::{Delivery, DestinationFacts, Facts};
use super::summary::{Detail, Kind, NOW_MS};
use super::window::{Entry, Event};
use super::words::{input_name, span};
use command::shell::wal_command;
use model::moment;
use model::size::Human;
use model::words::{are, counted, number, was};
use remote::RefusedReason;
use remote::queue::lanes::LANES;
use std::path::Path;

/// The advice for samples that a version of the protocol can't carry.
pub(super) const UNSUPPORTED_ADVICE: &str = "Only remote write 2.0 carries native histograms with custom buckets: set \
     protobuf_message to io.prometheus.write.v2.Request if the receiver accepts it.";

/// The advice for a URL that is no endpoint of remote write.
pub(super) const ENDPOINT_ADVICE: &str = "Check the URL (the path of Prometheus is /api/v1/write), and that the receiver has remote write enabled.";

/// All details, in no particular order.
pub(super) fn causes(facts: &Facts) -> Vec<Detail> {
    let mut details = Vec::new();
    log(facts, &mut details);
    for destination in &facts.destinations {
        delivery(destination, &mut details);
    }
    removed(facts, &mut details);
    events(facts, &mut details);
    listeners(facts, &mut details);
    own(facts, &mut details);
    details
}

fn add(details: &mut Vec<Detail>, kind: Kind, destination: Option<&str>, sentence: String) {
    let destination = destination.map(str::to_string);
    details.push(Detail {
        level: kind.level(),
        kind,
        sentence,
        destination,
        short: String::new(),
        count: 0,
        about: String::new(),
        retries: None,
        first_ms: None,
        last_ms: None,
    });
}

fn log(facts: &Facts, details: &mut Vec<Detail>) {
    if facts.disk_full {
        let (data, needs) = (&facts.data, Human(facts.disk_bytes_to_go_on));
        let sentence = format!(
            "The disk is full: the inputs accept no samples until {needs} are free on the file system of {data}. Free \
             space there."
        );
        add(details, Kind::DiskFull, None, sentence);
    }
    if facts.log_full {
        let waiting = waiting_of_all(facts.destinations.iter());
        let sentence = format!(
            "The log is full (log.max_size): the inputs accept no samples until a destination has made room.{waiting}"
        );
        add(details, Kind::LogFull, None, sentence);
    }
    if let Some(task) = facts.dead_task {
        let sentence =
            format!("The inputs accept no samples: {task} has ended unexpectedly, so narthex ends, too.");
        add(details, Kind::TaskDead, None, sentence);
    }
    for name in &facts.dead_destinations {
        let sentence = format!(
            "Delivery to {name} has ended unexpectedly, by a mistake in narthex. It is started again; its samples are \
             kept in the log."
        );
        add(details, Kind::DestinationDead, Some(name), sentence);
    }
}

/// The problems of one destination now.
fn delivery(destination: &DestinationFacts, details: &mut Vec<Detail>) {
    let (name, late) = (&destination.name, destination.is_late());
    let waiting = waiting_of_all(std::iter::once(destination));
    match &destination.delivery {
        Delivery::Failing(reason) => {
            let kind = if late { Kind::DestinationFailing } else { Kind::DestinationRetrying };
            let slowed = slowed(destination);
            add(details, kind, Some(name), format!("{name} is failing: {reason}.{slowed}{waiting}"));
            if let Some(detail) = details.last_mut() {
                detail.retries = Some(destination.retries);
            }
        }
        Delivery::Unauthorized(reason) => {
            let sentence = format!(
                "{name} does not authorise narthex: {reason}. Check its URL and credentials; it is tried once a minute.{waiting}"
            );
            add(details, Kind::Unauthorized, Some(name), sentence);
        }
        Delivery::NotAnEndpoint(reason) => {
            let sentence = format!(
                "The URL of {name} is not a remote write endpoint: {reason}. {ENDPOINT_ADVICE} It is tried once a minute.{waiting}"
            );
            add(details, Kind::WrongUrl, Some(name), sentence);
        }
        Delivery::Refusing(_) | Delivery::Accepting | Delivery::Idle if late => {
            let slowed = slowed(destination);
            add(details, Kind::CatchingUp, Some(name), format!("{name} is catching up.{slowed}{waiting}"));
        }
        // Refused samples are reported as an event. The state itself lasts longer than the hour if nothing
        // else is sent.
        Delivery::Refusing(_) | Delivery::Accepting | Delivery::Idle | Delivery::Ended => {}
    }
    if destination.parked > 0 {
        let parked = are(destination.parked, "sample");
        let sentence =
            format!("{parked} parked: {name} keeps failing on them. They are retried every 5 minutes.");
        add(details, Kind::Parked, Some(name), sentence);
        if let Some(detail) = details.last_mut() {
            detail.count = destination.parked;
        }
    }
    if destination.stuck_lanes > 0 {
        let reason = destination.stuck_reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
        let sentence = match destination.stuck_lanes {
            some if some < LANES as u64 => format!(
                "{name} fails on a part of the series ({some} of {LANES} lanes) and accepts the others{reason}."
            ),
            _ => format!("{name} fails on all series{reason}."),
        };
        add(details, Kind::SeriesStuck, Some(name), sentence);
    }
    if destination.dropped_by_rule > 0 {
        let dropped = was(destination.dropped_by_rule, "sample");
        let sentence = format!("{dropped} not sent to {name} because of its rules, since the start.");
        add(details, Kind::DroppedByRule, Some(name), sentence);
    }
}

/// Why less is sent to a destination than could be sent: one sentence for each reason.
pub(super) fn slowed(destination: &DestinationFacts) -> String {
    let mut text = String::new();
    if let Some(rate) = destination.held_to_bytes_per_second {
        let rate = Human(rate);
        text.push_str(&format!(" It is sent at most {rate} a second (queue_config.max_bytes_per_second)."));
    }
    if let Some(until) = destination.pause_until_ms {
        let until = moment::show(until);
        text.push_str(&format!(" It has asked for a pause (Retry-After) until {until}."));
    }
    text
}

/// Samples that were not delivered to destinations that have been removed from the configuration.
fn removed(facts: &Facts, details: &mut Vec<Detail>) {
    for removed in &facts.removed {
        let (name, behind) = (&removed.name, Human(removed.behind_bytes));
        let sentence = format!(
            "{name} is not in the configuration any more: {behind} of the log were not delivered to it. Its position \
             is kept until {}: add the destination again before then to deliver what is still in the log.",
            moment::show(removed.until_ms)
        );
        add(details, Kind::DestinationRemoved, Some(name), sentence);
    }
}

/// ` 52,439 samples are waiting in the log, the oldest for 2 min 48 s.`; empty if none waits.
pub(super) fn waiting_of_all<'a>(destinations: impl Iterator<Item = &'a DestinationFacts>) -> String {
    // Samples that wait for several destinations are in the log once.
    let (mut waiting, mut before, mut oldest) = (0, false, 0);
    for destination in destinations {
        waiting = destination.waiting.max(waiting);
        before |= destination.waiting_before_start;
        oldest = destination.waiting_ms.max(oldest);
    }
    let oldest = span(oldest);
    match (waiting, before) {
        (0, false) => String::new(),
        (0, true) => {
            format!(" Samples from before the last start are waiting in the log, the oldest for {oldest}.")
        }
        (some, false) => {
            format!(" {} waiting in the log, the oldest for {oldest}.", are(some, "sample"))
        }
        // Some of the samples from before the start may be counted by now, because the queue has read them.
        (some, true) => {
            format!(" At least {} waiting in the log, the oldest for {oldest}.", are(some, "sample"))
        }
    }
}

/// The events of the window.
fn events(facts: &Facts, details: &mut Vec<Detail>) {
    for entry in &facts.window {
        let Some((kind, count)) = kind_of(entry, facts.running_ms) else { continue };
        let ago = facts.running_ms.saturating_sub(entry.last_ms);
        let place = entry.key.place.as_str();
        let destination = Some(place).filter(|place| !place.is_empty() && !entry.key.event.is_of_an_input());
        let sentence = event_sentence(entry, count, ago, facts);
        add(details, kind, destination, sentence);
        if let Some(detail) = details.last_mut() {
            detail.count = count;
            detail.short.clone_from(&entry.key.reason);
            detail.about = match (entry.key.event.is_of_an_input(), entry.key.reason.as_str()) {
                (true, reason) if reason != place => format!("{place} {reason}").trim().to_string(),
                (_, reason) => reason.to_string(),
            };
            (detail.first_ms, detail.last_ms) = (Some(entry.first_ms), Some(entry.last_ms));
        }
    }
}

/// The kind of an entry, and its count; `None` if the entry is too old.
fn kind_of(entry: &Entry, running_ms: i64) -> Option<(Kind, u64)> {
    // It is not known whether an event that an earlier run saw still happens.
    let is_now = entry.is_of_this_run && running_ms.saturating_sub(entry.last_ms) < NOW_MS;
    let (kind, count) = match entry.key.event {
        Event::Lost if is_now => (Kind::Losing, entry.hour),
        Event::Lost => (Kind::Lost, entry.hour),
        Event::Refused if is_now => (Kind::Refusing, entry.hour),
        Event::Refused => (Kind::Refused, entry.hour),
        Event::Unreadable => (Kind::LogUnreadable, entry.hour),
        Event::DeadLetterLost => (Kind::DeadLettersLost, entry.hour),
        Event::AlreadyWritten => (Kind::AlreadyWritten, entry.hour),
        Event::Unsupported => (Kind::Unsupported, entry.hour),
        Event::TooOld => (Kind::TooOld, entry.hour),
        Event::InputRefused => (Kind::PushesRefused, entry.ten_minutes),
        Event::CollectionFailed => (Kind::CollectionsFailed, entry.hour),
        Event::InputLost => (Kind::InputLost, entry.hour),
        Event::Forgotten => (Kind::HourForgotten, entry.hour),
        Event::SamplesRejected => (Kind::SamplesRejected, entry.ten_minutes),
        Event::DatagramsDropped => (Kind::DatagramsDropped, entry.hour),
    };
    (count > 0).then_some((kind, count))
}

/// The advice for samples that a receiver refuses for this reason.
fn advice(reason: &str) -> String {
    let known = RefusedReason::ALL.into_iter().find(|known| known.as_str().replace('_', " ") == reason);
    known.and_then(RefusedReason::advice).map_or(String::new(), |advice| format!("{advice} "))
}

/// The command that shows the samples that a destination refused, if any of them could be kept.
fn dead_letters(place: &str, facts: &Facts) -> String {
    let count = |event: Event| {
        let of = facts.window.iter().filter(|entry| entry.key.event == event && entry.key.place == place);
        of.map(|entry| entry.hour).sum::<u64>()
    };
    let refused = count(Event::Refused) + count(Event::AlreadyWritten);
    let shows = match count(Event::DeadLetterLost) {
        0 => "what is known of them",
        lost if lost < refused => "what is known of those that were kept",
        _ => return String::new(),
    };
    format!("`{}` shows {shows}.", command("dump --dead", facts))
}

/// A `narthex wal` command with its data folder, as a user types it.
fn command(words: &str, facts: &Facts) -> String {
    wal_command(words, Path::new(&facts.data))
}

fn event_sentence(entry: &Entry, count: u64, ago: i64, facts: &Facts) -> String {
    let (place, reason) = (entry.key.place.as_str(), entry.key.reason.as_str());
    let last = format!("the last {} ago", span(ago));
    let why = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
    let samples = was(count, "sample");
    match entry.key.event {
        Event::Lost => format!(
            "{samples} lost for {place} in the last hour{why}, {last}. `{}` shows the log; raise log.max_size, or fix what holds up {place}.",
            command("stat", facts)
        ),
        Event::Unreadable => format!(
            "{} of the log could not be read in the last hour, {last}. What they held and was not delivered is lost; `{}` shows where.",
            counted(count, "stretch"),
            command("verify", facts)
        ),
        Event::DeadLetterLost => format!(
            "{} not kept as dead letters of {place} in the last hour, {last}: too many came, or the disk failed.",
            was(count, "refused sample")
        ),
        Event::Refused => format!(
            "{samples} refused by {place} in the last hour{why}, {last}. {}{}",
            advice(reason),
            dead_letters(place, facts)
        )
        .trim_end()
        .to_string(),
        Event::AlreadyWritten => format!(
            "{samples} refused by {place} in the last hour because an earlier request had already written them, {last}."
        ),
        Event::Unsupported => {
            format!("{samples} not sent to {place} in the last hour{why}, {last}. {UNSUPPORTED_ADVICE}")
        }
        Event::TooOld => format!(
            "{samples} not sent to {place} in the last hour because they were older than sample_age_limit, {last}."
        ),
        Event::InputRefused => {
            let answer = facts.last_answers.get(&entry.key);
            let words = answer.map_or(String::new(), |text| format!(" The last answer: {text}"));
            let input = if place.is_empty() { String::new() } else { format!(" at {}", input_name(place)) };
            format!("{} refused{input} in the last 10 minutes{why}, {last}.{words}", was(count, "push"))
        }
        Event::InputLost => format!(
            "{place}: {samples} lost in the last hour, {last}: the log accepted none until narthex stopped."
        ),
        Event::Forgotten => format!(
            "Losses and refusals of the last hour may be missing here: the file last-hour in {} could not be used when \
             narthex started {} ago.",
            facts.data,
            span(ago)
        ),
        Event::SamplesRejected => {
            let words = last_reasons(entry, facts);
            format!("{place}: {samples} rejected in the last 10 minutes, {last}.{words}")
        }
        Event::DatagramsDropped => format!(
            "{place}: {} dropped by the kernel in the last hour, {last}: they came faster than narthex read them.{}",
            was(count, "datagram"),
            buffer_advice(place, facts)
        ),
        Event::CollectionFailed => {
            let because = match reason {
                "too many" => {
                    "new series over collect.max_series or collect.max_series_per_metric were refused"
                }
                _ => "the log did not accept what narthex collects itself",
            };
            let words = last_reasons(entry, facts);
            format!(
                "{} lost in the last hour{why}, {last}: {because}.{words}",
                was(count, "collected sample")
            )
        }
    }
}

/// ` The last reasons: …`, for samples that were rejected without an answer to the sender.
fn last_reasons(entry: &Entry, facts: &Facts) -> String {
    let text = facts.last_answers.get(&entry.key);
    text.map_or(String::new(), |text| format!(" The last reasons: {text}"))
}

/// The advice for dropped datagrams, which depends on the size of the kernel's buffer.
fn buffer_advice(input: &str, facts: &Facts) -> String {
    let Some(listener) = facts.listeners.iter().find(|listener| listener.name == input) else {
        return String::new();
    };
    let (granted, wanted) = (listener.buffer_granted, listener.buffer_wanted);
    if granted < wanted {
        let granted = Human(granted);
        return format!(
            " The kernel's buffer for them is {granted}: after `sysctl net.core.rmem_max={wanted}` and a restart it is \
             {}.",
            Human(wanted)
        );
    }
    format!(
        " The kernel's buffer for them is {}, as much as narthex asks for: let the clients send by TCP, or less at a \
         time.",
        Human(granted)
    )
}

/// Problems of inputs with sockets of their own.
fn listeners(facts: &Facts, details: &mut Vec<Detail>) {
    for listener in &facts.listeners {
        if let Some(why) = &listener.down {
            let sentence = format!(
                "{} is not listening: {why}. It is tried again, after at most 5 minutes.",
                listener.name
            );
            add(details, Kind::InputDown, None, sentence);
            if let Some(detail) = details.last_mut() {
                detail.about.clone_from(&listener.name);
            }
        }
        if let Some(connections) = listener.connections_full {
            let (name, connections) = (&listener.name, number(connections));
            let sentence = format!(
                "{name}: all {connections} connections are in use; further ones wait until one ends. Let each client \
                 keep one connection, and close those that it does not use."
            );
            add(details, Kind::ConnectionsFull, None, sentence);
            if let Some(detail) = details.last_mut() {
                detail.about.clone_from(name);
            }
        }
    }
}

/// Problems of narthex itself.
fn own(facts: &Facts, details: &mut Vec<Detail>) {
    if let Some(error) = &facts.reload_error {
        let sentence = format!("The configuration was not reloaded, and the old one is in use: {error}");
        add(details, Kind::ReloadFailed, None, sentence);
    }
    if !facts.clock_is_plausible {
        let sentence = "This machine's clock is not set: nothing is collected until it is.".to_string();
        add(details, Kind::ClockNotSet, None, sentence);
    }
    for (input, dropped) in &facts.dropped_at_inputs {
        let (dropped, input) = (was(*dropped, "sample"), input_name(input));
        let sentence = format!("{dropped} dropped at {input} by the rules of this input, since the start.");
        add(details, Kind::DroppedByRule, None, sentence);
    }
    if facts.groups_failing > 0 {
        let sentence = match facts.groups_failing {
            1 => "The last push to 1 group was refused, wholly or in part.".to_string(),
            several => {
                format!("The last pushes to {} groups were refused, wholly or in part.", number(several))
            }
        };
        add(details, Kind::GroupsFailing, None, sentence);
    }
    if !facts.collectors_failing.is_empty() {
        let names = facts.collectors_failing.join(", ");
        let (noun, are) =
            if facts.collectors_failing.len() == 1 { ("collector", "is") } else { ("collectors", "are") };
        add(details, Kind::CollectorFailing, None, format!("The {noun} {names} {are} failing."));
    }
}
