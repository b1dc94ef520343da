//! A test for each state, from facts to level and sentence.

use super::facts::{Delivery, DestinationFacts, Facts, ListenerFacts, RemovedFacts};
use super::summary::{Kind, Level, decide};
use super::window::{Entry, Event, Key};

const NOW: i64 = 5_000_000;
const MINUTE: i64 = 60_000;

fn accepting(name: &str) -> DestinationFacts {
    DestinationFacts {
        name: name.into(),
        delivery: Delivery::Accepting,
        delivered: true,
        waiting: 0,
        waiting_before_start: false,
        waiting_ms: 0,
        moving_ms: 0,
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

/// One destination, `prod`, and no problem.
fn well() -> Facts {
    Facts {
        running_ms: NOW,
        wall_ms: 1_800_000_000_000,
        clock_is_plausible: true,
        data: "/var/lib/narthex".into(),
        destinations: vec![accepting("prod")],
        ..Facts::default()
    }
}

fn with(change: impl FnOnce(&mut Facts)) -> Facts {
    let mut facts = well();
    change(&mut facts);
    facts
}

fn event(event: Event, place: &str, reason: &str, count: u64, ago_ms: i64) -> Entry {
    let ten_minutes = if ago_ms < 10 * MINUTE { count } else { 0 };
    let key = Key::new(event, place, reason);
    let at = NOW - ago_ms;
    Entry { key, hour: count, ten_minutes, first_ms: at, last_ms: at, is_of_this_run: true }
}

fn with_event(entry: Entry) -> Facts {
    with(|facts| facts.window.push(entry))
}

fn with_destination(change: impl FnOnce(&mut DestinationFacts)) -> Facts {
    let mut one = accepting("prod");
    change(&mut one);
    with(|facts| facts.destinations = vec![one])
}

#[track_caller]
fn expect(facts: &Facts, level: Level, kind: Kind, sentence: &str) {
    let verdict = decide(facts);
    assert_eq!((verdict.kind, verdict.kind.level()), (kind, level), "{verdict:?}");
    assert_eq!(verdict.sentence, sentence);
}

#[test]
fn all_delivered_is_green() {
    expect(&well(), Level::Ok, Kind::Delivered, "Everything is delivered.");
    let young = with_destination(|one| (one.waiting, one.waiting_ms) = (100, 15_000));
    expect(&young, Level::Ok, Kind::Delivered, "Everything is delivered.");
}

#[test]
fn idle_does_not_claim_delivery() {
    let idle = with_destination(|one| (one.delivery, one.delivered) = (Delivery::Idle, false));
    expect(&idle, Level::Ok, Kind::Idle, "Nothing has been delivered yet.");
}

#[test]
fn a_full_disk_and_a_full_log_are_different_states() {
    let disk = with(|facts| (facts.disk_full, facts.disk_bytes_to_go_on) = (true, 24 << 20));
    let sentence = "The disk is full: the inputs accept no samples until 24.0 MiB are free on the file \
                    system of /var/lib/narthex. Free space there.";
    expect(&disk, Level::Error, Kind::DiskFull, sentence);
    let log = with(|facts| {
        facts.log_full = true;
        facts.destinations =
            vec![DestinationFacts { waiting: 9000, waiting_ms: 61_000, ..accepting("prod") }];
    });
    let sentence = "The log is full (log.max_size): the inputs accept no samples until a destination has \
                    made room. 9,000 samples are waiting in the log, the oldest for 1 min 1 s.";
    expect(&log, Level::Error, Kind::LogFull, sentence);
}

#[test]
fn a_task_that_has_ended_is_an_error() {
    let task = with(|facts| facts.dead_task = Some("the task that keeps groups"));
    let sentence = "The inputs accept no samples: the task that keeps groups has ended unexpectedly, so narthex ends, too.";
    expect(&task, Level::Error, Kind::TaskDead, sentence);
    let destination = with(|facts| facts.dead_destinations = vec!["prod".into()]);
    let sentence = "Delivery to prod has ended unexpectedly, by a mistake in narthex. It is started again; its \
                    samples are kept in the log.";
    expect(&destination, Level::Error, Kind::DestinationDead, sentence);
}

#[test]
fn samples_dropped_for_the_budget_are_an_error_for_an_hour() {
    let now = with_event(event(Event::Lost, "prod", "log full", 180_204, 5000));
    let sentence = "Samples are being lost: 180,204 in the last hour (log full).";
    expect(&now, Level::Error, Kind::Losing, sentence);
    let later = with_event(event(Event::Lost, "prod", "log full", 180_204, 50 * MINUTE));
    let sentence = "180,204 samples were lost in the last hour (log full), the last 50 min ago.";
    expect(&later, Level::Error, Kind::Lost, sentence);
    let one = with_event(event(Event::Lost, "prod", "older than log.max_age", 1, 50 * MINUTE));
    let sentence = "1 sample was lost in the last hour (older than log.max_age), the last 50 min ago.";
    expect(&one, Level::Error, Kind::Lost, sentence);
}

#[test]
fn refusals_by_a_receiver_are_an_error_for_an_hour() {
    let now = with_event(event(Event::Refused, "prod", "out of bounds", 1336, 0));
    let sentence = "prod is refusing samples: 1,336 in the last hour (out of bounds).";
    expect(&now, Level::Error, Kind::Refusing, sentence);
    let later = with_event(event(Event::Refused, "prod", "out of bounds", 1336, 30 * MINUTE));
    let sentence =
        "1,336 samples were refused by prod in the last hour (out of bounds), the last 30 min ago.";
    expect(&later, Level::Error, Kind::Refused, sentence);
    let two = with(|facts| {
        facts.window.push(event(Event::Refused, "a", "out of order", 10, 0));
        facts.window.push(event(Event::Refused, "b", "too many labels", 5, 0));
    });
    let sentence =
        "2 destinations are refusing samples: 15 in the last hour (out of order, too many labels).";
    expect(&two, Level::Error, Kind::Refusing, sentence);
}

#[test]
fn events_of_an_earlier_run_are_in_the_past_tense() {
    for (kind, shown, sentence) in [
        (
            Event::Refused,
            Kind::Refused,
            "7 samples were refused by prod in the last hour (x), the last 36 s ago.",
        ),
        (Event::Lost, Kind::Lost, "7 samples were lost in the last hour (x), the last 36 s ago."),
    ] {
        let entry = Entry { is_of_this_run: false, ..event(kind, "prod", "x", 7, 36_000) };
        expect(&with_event(entry), Level::Error, shown, sentence);
    }
}

#[test]
fn undelivered_samples_of_a_removed_destination_are_level_ok() {
    let until_ms = 1_800_000_000_000;
    let removed = RemovedFacts { name: "old".into(), behind_bytes: 3 << 20, until_ms };
    let facts = with(|facts| facts.removed = vec![removed]);
    let sentence = "Everything is delivered to the destinations of the configuration.";
    expect(&facts, Level::Ok, Kind::Delivered, sentence);
    let details = decide(&facts).details;
    let is = (details[0].kind, details[0].level, details[0].destination.as_deref());
    assert_eq!(is, (Kind::DestinationRemoved, Level::Ok, Some("old")));
    let sentence = "old is not in the configuration any more: 3.00 MiB of the log were not delivered to it. Its position \
                    is kept until 2027-01-15T08:00:00.000Z: add the destination again before then to deliver what is \
                    still in the log.";
    assert_eq!(details[0].sentence, sentence);
}

#[test]
fn a_forgotten_hour_is_a_warning() {
    let facts = with_event(event(Event::Forgotten, "", "", 1, 3 * MINUTE));
    let sentence = "Losses and refusals of the last hour may be missing here: the file last-hour in /var/lib/narthex \
                    could not be used when narthex started 3 min ago.";
    expect(&facts, Level::Warning, Kind::HourForgotten, sentence);
}

#[test]
fn an_unreadable_log_is_an_error() {
    let facts = with_event(event(Event::Unreadable, "", "", 2, 30 * MINUTE));
    let verdict = decide(&facts);
    assert_eq!((verdict.kind, verdict.kind.level()), (Kind::LogUnreadable, Level::Error));
    assert!(verdict.sentence.starts_with("2 stretches of the log could not be read"), "{}", verdict.sentence);
}

#[test]
fn dead_letters_that_could_not_be_kept_are_an_error() {
    let facts = with_event(event(Event::DeadLetterLost, "prod", "", 1, 30 * MINUTE));
    let sentence = "1 refused sample was not kept as dead letters in the last hour.";
    expect(&facts, Level::Error, Kind::DeadLettersLost, sentence);
}

#[test]
fn advice_names_only_dead_letters_that_were_kept() {
    for (lost, shows) in [
        (0, "shows what is known of them"),
        (9, "shows what is known of those that were kept"),
        (10, "less than a second ago."),
    ] {
        let facts = with(|facts| {
            facts.window.push(event(Event::Refused, "prod", "out of order", 10, 0));
            facts.window.push(event(Event::DeadLetterLost, "prod", "", lost, 0));
            facts.window.push(event(Event::DeadLetterLost, "other", "", 10, 0));
        });
        let details = decide(&facts).details;
        let refused = details.iter().find(|one| one.kind == Kind::Refusing);
        let text = refused.map_or("", |one| one.sentence.as_str());
        assert!(text.contains(shows), "{lost}: {text}");
        assert_eq!(text.contains("`narthex wal dump --dead /var/lib/narthex` shows"), lost < 10, "{text}");
    }
}

#[test]
fn each_suggested_command_names_the_data_folder() {
    use clap::Parser;

    #[derive(Debug, Parser)]
    enum Program {
        Wal(wal_command::args::WalArgs),
    }

    let facts = with(|facts| {
        facts.data = "/srv/my data".into();
        for kind in [Event::Lost, Event::Unreadable, Event::Refused] {
            facts.window.push(event(kind, "prod", "", 1, 0));
        }
    });
    let details = decide(&facts).details;
    let commands: Vec<&str> = details.iter().filter_map(|one| one.sentence.split('`').nth(1)).collect();
    assert_eq!(commands.len(), 3, "{details:#?}");
    for command in commands {
        let own = command.strip_suffix(" '/srv/my data'").unwrap_or_else(|| panic!("{command}"));
        let words = own.split(' ').chain(["/srv/my data"]);
        assert!(Program::try_parse_from(words).is_ok(), "{command}");
    }
}

#[test]
fn a_destination_that_does_not_authorise_narthex_is_an_error() {
    let facts = with_destination(|one| one.delivery = Delivery::Unauthorized("403 Forbidden".into()));
    let sentence = "prod does not authorise narthex: 403 Forbidden. Check its URL and credentials; it is tried \
                    once a minute.";
    expect(&facts, Level::Error, Kind::Unauthorized, sentence);
}

#[test]
fn a_url_without_remote_write_is_an_error_about_the_url() {
    let wrong = |name| DestinationFacts {
        delivery: Delivery::NotAnEndpoint("404 Not Found".into()),
        ..accepting(name)
    };
    let one = with(|facts| facts.destinations = vec![wrong("prod")]);
    let sentence = "The URL of prod is not a remote write endpoint: 404 Not Found. Check the URL (the path of \
                    Prometheus is /api/v1/write), and that the receiver has remote write enabled. It is tried \
                    once a minute.";
    expect(&one, Level::Error, Kind::WrongUrl, sentence);
    let denied =
        DestinationFacts { delivery: Delivery::Unauthorized("401 Unauthorized".into()), ..accepting("c") };
    let mut three = with(|facts| facts.destinations = vec![wrong("a"), wrong("b"), denied]);
    let sentence = "c does not authorise narthex: 401 Unauthorized. Check its URL and credentials; it is tried \
                    once a minute.";
    expect(&three, Level::Error, Kind::Unauthorized, sentence);
    three.destinations.pop();
    let sentence = "The URLs of 2 destinations are not remote write endpoints: a, b.";
    expect(&three, Level::Error, Kind::WrongUrl, sentence);
}

#[test]
fn a_failing_destination_is_a_warning_until_samples_are_late() {
    let failing = |waiting_ms| {
        with_destination(|one| {
            one.delivery = Delivery::Failing("connection refused".into());
            (one.waiting, one.waiting_ms) = (52_439, waiting_ms);
        })
    };
    let sentence =
        "prod is failing: connection refused. 52,439 samples are waiting in the log, the oldest for 15 s.";
    expect(&failing(15_000), Level::Warning, Kind::DestinationRetrying, sentence);
    let sentence = "prod is failing: connection refused. 52,439 samples are waiting in the log, the oldest for 2 min 48 s.";
    expect(&failing(168_000), Level::Error, Kind::DestinationFailing, sentence);
    let four = with(|facts| {
        facts.destinations = ["a", "b", "c", "d"]
            .map(|name| DestinationFacts {
                delivery: Delivery::Failing("x".into()),
                waiting: 52_439,
                waiting_ms: 168_000,
                ..accepting(name)
            })
            .into();
    });
    let sentence = "4 destinations are failing: a, b, c, d. 52,439 samples are waiting in the log, the oldest \
                    for 2 min 48 s.";
    expect(&four, Level::Error, Kind::DestinationFailing, sentence);
}

#[test]
fn catching_up_is_a_warning() {
    let facts = with_destination(|one| (one.waiting, one.waiting_ms) = (1, 15_001));
    let sentence = "prod is catching up. 1 sample is waiting in the log, the oldest for 15 s.";
    expect(&facts, Level::Warning, Kind::CatchingUp, sentence);
    let before = with_destination(|one| (one.waiting_before_start, one.waiting_ms) = (true, 15_001));
    let sentence = "prod is catching up. Samples from before the last start are waiting in the log, the oldest for 15 s.";
    expect(&before, Level::Warning, Kind::CatchingUp, sentence);
    let both = with_destination(|one| {
        (one.waiting, one.waiting_before_start, one.waiting_ms) = (10_000, true, 15_001);
    });
    let sentence =
        "prod is catching up. At least 10,000 samples are waiting in the log, the oldest for 15 s.";
    expect(&both, Level::Warning, Kind::CatchingUp, sentence);
}

#[test]
fn parked_samples_and_stuck_series_are_warnings() {
    let facts = with_destination(|one| one.parked = 3);
    expect(&facts, Level::Warning, Kind::Parked, "3 samples are parked: prod keeps failing on them.");
    let facts = with_destination(|one| {
        (one.stuck_lanes, one.stuck_reason) = (1, Some("503 Service Unavailable".into()));
    });
    let sentence = "prod fails on a part of the series (1 of 256 lanes) and accepts the others: 503 Service Unavailable.";
    expect(&facts, Level::Warning, Kind::SeriesStuck, sentence);
    let all = with_destination(|one| {
        (one.stuck_lanes, one.stuck_reason) = (256, Some("503 Service Unavailable".into()));
    });
    let on_all = "prod fails on all series: 503 Service Unavailable.";
    expect(&all, Level::Warning, Kind::SeriesStuck, on_all);
    // Samples in stuck lanes do not make the others late.
    let late = |moving_ms| {
        let mut facts = facts.clone();
        (facts.destinations[0].waiting_ms, facts.destinations[0].moving_ms) = (240_000, moving_ms);
        facts
    };
    expect(&late(15_000), Level::Warning, Kind::SeriesStuck, sentence);
    assert!(decide(&late(15_001)).sentence.starts_with("prod is catching up."));
    let failing = |moving_ms| {
        let mut facts = late(moving_ms);
        facts.destinations[0].delivery = Delivery::Failing("503 Service Unavailable".into());
        decide(&facts).kind
    };
    assert_eq!([failing(1000), failing(15_001)], [Kind::DestinationRetrying, Kind::DestinationFailing]);
}

#[test]
fn unsupported_and_too_old_samples_are_warnings() {
    let why = "not in its version of remote write";
    let facts = with_event(event(Event::Unsupported, "prod", why, 12, 30 * MINUTE));
    let sentence = "12 samples were not sent to prod in the last hour (not in its version of remote write).";
    expect(&facts, Level::Warning, Kind::Unsupported, sentence);
    let facts = with_event(event(Event::TooOld, "prod", "", 12, 30 * MINUTE));
    let sentence = "12 samples were dropped in the last hour: older than sample_age_limit.";
    expect(&facts, Level::Warning, Kind::TooOld, sentence);
}

#[test]
fn refused_pushes_are_a_warning_for_ten_minutes() {
    let facts = with_event(event(Event::InputRefused, "import", "invalid", 1, 9 * MINUTE));
    expect(
        &facts,
        Level::Warning,
        Kind::PushesRefused,
        "1 push was refused in the last 10 minutes (invalid).",
    );
    let facts = with_event(event(Event::InputRefused, "remote_write_v2", "invalid", 2, MINUTE));
    let sentence =
        "2 pushes were refused at remote write 2.0 in the last 10 minutes (invalid), the last 1 min ago.";
    assert_eq!(decide(&facts).details[0].sentence, sentence);
    let facts = with_event(event(Event::InputRefused, "import", "invalid", 1, 11 * MINUTE));
    expect(&facts, Level::Ok, Kind::Delivered, "Everything is delivered.");
}

#[test]
fn problems_of_narthex_itself_are_warnings() {
    let facts = with(|facts| facts.reload_error = Some("narthex.yml: line 3: unknown key".into()));
    let sentence =
        "The configuration was not reloaded, and the old one is in use: narthex.yml: line 3: unknown key";
    expect(&facts, Level::Warning, Kind::ReloadFailed, sentence);
    let full = "n.yml:3:5: log.max_sice: unknown key\n  3 |     max_sice: 1\n    |     ^";
    let facts = with(|facts| facts.reload_error = Some(full.into()));
    let sentence =
        "The configuration was not reloaded, and the old one is in use: n.yml:3:5: log.max_sice: unknown key";
    expect(&facts, Level::Warning, Kind::ReloadFailed, sentence);
    assert!(decide(&facts).details[0].sentence.ends_with(full), "the detail has the line");
    let facts = with(|facts| facts.clock_is_plausible = false);
    let sentence = "This machine's clock is not set: nothing is collected until it is.";
    expect(&facts, Level::Warning, Kind::ClockNotSet, sentence);
    let facts = with(|facts| facts.groups_failing = 1);
    expect(
        &facts,
        Level::Warning,
        Kind::GroupsFailing,
        "The last push to 1 group was refused, wholly or in part.",
    );
    let facts = with(|facts| facts.collectors_failing = vec!["diskstats", "mdadm"]);
    let sentence = "The collectors diskstats, mdadm are failing.";
    expect(&facts, Level::Warning, Kind::CollectorFailing, sentence);
}

#[test]
fn collected_samples_that_could_not_be_stored_are_an_error_for_an_hour() {
    let mut facts = with_event(event(Event::CollectionFailed, "", "log full", 10_080, 30 * MINUTE));
    facts.window.push(event(Event::InputRefused, "import", "log full", 1, MINUTE));
    let sentence = "10,080 collected samples were lost in the last hour (log full).";
    expect(&facts, Level::Error, Kind::CollectionsFailed, sentence);
    let details = decide(&facts).details;
    let sentence = "10,080 collected samples were lost in the last hour (log full), the last 30 min ago: the log did \
                    not accept what narthex collects itself.";
    assert_eq!(details.first().map(|one| one.sentence.as_str()), Some(sentence));
    let one = with_event(event(Event::CollectionFailed, "", "disk full", 1, 0));
    let sentence = "1 collected sample was lost in the last hour (disk full).";
    expect(&one, Level::Error, Kind::CollectionsFailed, sentence);
}

#[test]
fn rules_and_repeats_are_details_with_level_ok() {
    let mut facts = with_destination(|one| one.dropped_by_rule = 7);
    facts.dropped_at_inputs = vec![("remote_write_v1".into(), 1), ("import".into(), 4000)];
    facts.window.push(event(Event::AlreadyWritten, "prod", "", 200, 0));
    expect(&facts, Level::Ok, Kind::Delivered, "Everything is delivered.");
    let details = decide(&facts).details;
    assert_eq!(
        details.iter().map(|one| one.kind).collect::<Vec<_>>(),
        [Kind::AlreadyWritten, Kind::DroppedByRule, Kind::DroppedByRule, Kind::DroppedByRule]
    );
    let sentences: Vec<&str> = details.iter().skip(1).map(|one| one.sentence.as_str()).collect();
    assert_eq!(
        sentences,
        [
            "7 samples were not sent to prod because of its rules, since the start.",
            "1 sample was dropped at remote write 1.0 by the rules of this input, since the start.",
            "4,000 samples were dropped at import by the rules of this input, since the start.",
        ]
    );
    assert!(details.iter().all(|one| one.level == Level::Ok));
}

#[test]
fn details_are_complete_and_the_worst_is_first() {
    let mut facts = with_destination(|one| one.delivery = Delivery::Failing("away".into()));
    facts.disk_full = true;
    facts.reload_error = Some("x".into());
    facts.window.push(event(Event::Lost, "prod", "log full", 3, 0));
    facts.window.push(event(Event::Refused, "prod", "", 3, 40 * MINUTE));
    let verdict = decide(&facts);
    let kinds: Vec<Kind> = verdict.details.iter().map(|one| one.kind).collect();
    let expected =
        [Kind::DiskFull, Kind::Losing, Kind::Refused, Kind::DestinationRetrying, Kind::ReloadFailed];
    assert_eq!((verdict.kind, kinds), (Kind::DiskFull, expected.to_vec()));
}

#[test]
fn no_loss_or_refusal_is_ever_green() {
    let all = [
        Event::Lost,
        Event::Unreadable,
        Event::DeadLetterLost,
        Event::Refused,
        Event::Unsupported,
        Event::TooOld,
        Event::CollectionFailed,
    ];
    for kind in all {
        for ago in 0..60 {
            let verdict = decide(&with_event(event(kind, "prod", "", 1, ago * MINUTE)));
            assert!(verdict.kind.level() > Level::Ok, "{kind:?} {ago} minutes ago: {verdict:?}");
        }
    }
}

#[test]
fn refused_native_histograms_come_with_the_flag_to_set() {
    let facts = with_event(event(Event::Refused, "prod", "native histograms disabled", 3, 0));
    let details = decide(&facts).details;
    let says = |one: &super::summary::Detail| one.sentence.contains("--enable-feature=native-histograms");
    assert!(details.iter().any(says), "{details:?}");
}

fn listener(connections_full: Option<u64>, buffer_granted: u64) -> ListenerFacts {
    let name = "graphite".into();
    ListenerFacts { name, down: None, connections_full, buffer_granted, buffer_wanted: 4 << 20 }
}

#[test]
fn an_input_that_does_not_listen_is_an_error_that_says_why() {
    let down = Some("graphite.listen: can't listen on TCP 127.0.0.1:2003: the port is already in use".into());
    let facts = with(|facts| facts.listeners = vec![ListenerFacts { down, ..listener(None, 0) }]);
    let sentence = "graphite is not listening: graphite.listen: can't listen on TCP 127.0.0.1:2003: the port is already \
                    in use. It is tried again, after at most 5 minutes.";
    expect(&facts, Level::Error, Kind::InputDown, sentence);
}

#[test]
fn connections_that_are_all_in_use_are_a_warning() {
    let full = with(|facts| facts.listeners = vec![listener(Some(512), 0)]);
    let sentence = "graphite: all 512 connections are in use; further ones wait until one ends. Let each client keep \
                    one connection, and close those that it does not use.";
    expect(&full, Level::Warning, Kind::ConnectionsFull, sentence);
}

#[test]
fn advice_about_dropped_datagrams_depends_on_the_buffer() {
    for (buffer, advice) in [
        (
            212_992,
            " The kernel's buffer for them is 208 KiB: after `sysctl net.core.rmem_max=4194304` and a restart it is \
             4.00 MiB.",
        ),
        (
            4 << 20,
            " The kernel's buffer for them is 4.00 MiB, as much as narthex asks for: let the clients send by TCP, or \
             less at a time.",
        ),
    ] {
        let facts = with(|facts| {
            facts.window.push(event(Event::DatagramsDropped, "graphite", "graphite", 7, 0));
            facts.listeners = vec![listener(None, buffer)];
        });
        let details = decide(&facts).details;
        let sentence = details.first().map_or("", |detail| detail.sentence.as_str());
        let said = sentence.split_once("faster than narthex read them.").map(|(_, advice)| advice);
        assert_eq!(said, Some(advice), "{sentence}");
    }
}

#[test]
fn a_destination_behind_its_own_limit_names_the_key() {
    let facts = with_destination(|one| {
        (one.waiting, one.waiting_ms, one.held_to_bytes_per_second) = (100, 15_001, Some(100 << 10));
    });
    let verdict = decide(&facts);
    assert_eq!((verdict.kind, verdict.kind.level()), (Kind::CatchingUp, Level::Warning));
    assert_eq!(
        verdict.sentence,
        "prod is catching up. It is sent at most 100 KiB a second (queue_config.max_bytes_per_second). 100 samples \
         are waiting in the log, the oldest for 15 s."
    );
}

#[test]
fn a_pause_that_a_destination_asks_for_is_named_with_its_end() {
    let facts = with_destination(|one| {
        one.delivery = Delivery::Failing("429 Too Many Requests".into());
        one.pause_until_ms = Some(1_700_000_000_000);
    });
    assert_eq!(
        decide(&facts).sentence,
        "prod is failing: 429 Too Many Requests. It has asked for a pause (Retry-After) until 2023-11-14T22:13:20.000Z."
    );
}
