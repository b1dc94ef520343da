//! Refusals: counted by the receiver's reason, and separately if an earlier try may have written the samples.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use common::{World, wait_for_number};
use model::{Batch, BucketSpan, Clock, Counts, Histogram, Labels, ResetHint, Series};
use remote::config::Message;
use remote::{RemoteWrite, State, Stats};
use std::time::Duration;
use support::receiver::{Answer, Ending, Received};
use support::wire::Version;
use support::{SOON, wait_until};

/// Returns reason, status and number of points.
fn reasons(stats: &Stats) -> Vec<(&'static str, &'static str, u64)> {
    let all = stats.refused_reasons().into_iter();
    all.map(|(refusal, count)| (refusal.reason.as_str(), refusal.status, count)).collect()
}

fn by(world: &World, message: Message) -> RemoteWrite {
    let mut config = world.config();
    config.protobuf_message = Some(message);
    config
}

#[test]
fn refused_samples_are_counted_by_the_receivers_reason() {
    let table = [
        (409, "add 1 samples: out of bounds", "out_of_bounds", "409"),
        (400, "series has too many labels (actual: 31, limit: 30) series: 'x'", "too_many_labels", "400"),
        (400, "per-user series limit of 10 exceeded (err-mimir-max-series-per-user)", "series_limit", "400"),
        (400, "out of order sample", "out_of_order", "400"),
        (422, "something new", "other", "422"),
        (418, "something new", "other", "other"),
    ];
    for (status, words, reason, label) in table {
        for count in [1, 40] {
            let world = World::new();
            world.receiver.answer(move |_| Answer::status(status).body(words));
            let destination = world.start(by(&world, Message::V1));
            world.push(count);
            let stats = destination.stats().clone();
            wait_for_number("all refused", count as u64, || stats.refused.get().samples);
            assert!(world.stop(destination).complete);
            assert_eq!(reasons(&stats), [(reason, label, count as u64)]);
            assert_eq!(stats.refused_or_already_written.get(), 0, "{words}: no earlier try was unanswered");
        }
    }
}

#[test]
fn unwritten_samples_of_2_0_are_refused_for_the_given_reason() {
    let world = World::new();
    world.receiver.answer(|request| {
        let written = "X-Prometheus-Remote-Write-Samples-Written";
        match request.number {
            0 => Answer::status(400).header(written, "7").body("duplicate sample for timestamp"),
            _ => Answer::success(request),
        }
    });
    let destination = world.start(by(&world, Message::V2));
    world.push(10);
    let stats = destination.stats().clone();
    wait_for_number("all to be settled", 10, || stats.refused.get().samples + stats.delivered.get().samples);
    assert!(world.stop(destination).complete);
    assert_eq!(reasons(&stats), [("duplicate", "400", 3)]);
    assert_eq!(stats.refused_or_already_written.get(), 0);
}

#[test]
fn refusals_after_a_lost_answer_are_repeats_in_2_0() {
    // With one dead letter per sample, and with a summary.
    for count in [10, 150] {
        let world = World::new();
        world.receiver.answer(move |request| match request.number {
            0 => Answer::success(request).ending(Ending::NoAnswer),
            _ => Answer::status(400)
                .header("X-Prometheus-Remote-Write-Samples-Written", "4")
                .body("out of order sample"),
        });
        let destination = world.start(by(&world, Message::V2));
        world.push(count);
        let stats = destination.stats().clone();
        wait_for_number("refusals", count as u64 - 4, || stats.refused.get().samples);
        assert!(world.stop(destination).complete);
        assert_eq!(stats.refused_or_already_written.get(), count as u64 - 4);
        assert_eq!(reasons(&stats), [("out_of_order", "400", count as u64 - 4)]);
    }
}

#[test]
fn requests_under_way_at_a_kill_may_have_been_written() {
    for message in [Message::V1, Message::V2] {
        for repeats in [true, false] {
            let mut world = World::new();
            // A first run writes positions.
            let first = world.start(by(&world, message));
            world.push(6);
            // It is not enough that the samples arrived: without the answer they would be under way as well.
            wait_for_number("delivery", 6, || first.stats().delivered.get().samples);
            if repeats {
                // The samples are stored, but no answer is sent.
                world.receiver.answer(|request| Answer::success(request).ending(Ending::NoAnswer));
                world.push(6);
                wait_until("the request", SOON, || world.receiver.requests().len() > 1);
            }
            world.stop_now(first);
            world.receiver.answer(|request| {
                let written = "X-Prometheus-Remote-Write-Samples-Written";
                match request.version() {
                    Version::V1 => Answer::status(400).body("out of order sample"),
                    Version::V2 => Answer::status(400).header(written, "0").body("out of order sample"),
                }
            });
            world.reopen();
            let destination = world.start(by(&world, message));
            if !repeats {
                world.push(6);
            }
            let stats = destination.stats().clone();
            wait_for_number("refusals", 6, || stats.refused.get().samples);
            // It has refused only samples that it had already written.
            let is_refusing = matches!(stats.state(), State::Refusing { .. });
            assert_eq!(is_refusing, !repeats, "{message:?}: {:?}", stats.state());
            world.stop(destination);
            let maybe = stats.refused_or_already_written.get();
            assert_eq!(maybe, if repeats { 6 } else { 0 }, "{message:?}");
        }
    }
}

#[test]
fn refused_repeats_show_that_the_destination_is_back() {
    let world = World::new();
    world.receiver.answer(|request| match request.number {
        0 => Answer::success(request).ending(Ending::NoAnswer),
        1..4 => Answer::status(503),
        _ => Answer::status(409).body("duplicate sample for timestamp"),
    });
    let destination = world.start(by(&world, Message::V1));
    world.push(5);
    let stats = destination.stats().clone();
    wait_until("a failure", SOON, || matches!(stats.state(), State::Waiting { .. }));
    wait_for_number("repeats", 5, || stats.refused_or_already_written.get());
    assert_eq!(stats.state(), State::Starting);
    assert!(world.stop(destination).complete);
}

#[test]
fn only_requests_with_a_connection_count_as_sent_again() {
    let world = World::new();
    world.receiver.go_away();
    let destination = world.start(by(&world, Message::V1));
    world.push(5);
    let stats = destination.stats().clone();
    wait_until("failures", SOON, || stats.requests_retried.get() >= 5);
    assert_eq!((stats.requests_sent_again.get(), stats.bytes.get()), (0, 0));
    world.receiver.answer(|request| match request.number {
        0..3 => Answer::status(503),
        _ => Answer::success(request),
    });
    world.receiver.come_back();
    world.wait_for_all();
    assert!(world.stop(destination).complete);
    assert_eq!(stats.requests_sent_again.get(), 3);
    assert!(stats.bytes.get() > 0);
}

/// The answer of a receiver that refuses everything.
fn refuses_all(request: &Received) -> Answer {
    let answer = Answer::status(400).body("out of bounds");
    match request.version() {
        Version::V1 => answer,
        Version::V2 => answer.header("X-Prometheus-Remote-Write-Samples-Written", "0"),
    }
}

#[test]
fn destination_that_refuses_everything_has_accepted_nothing() {
    for message in [Message::V1, Message::V2] {
        let world = World::new();
        world.receiver.answer(refuses_all);
        let destination = world.start(by(&world, message));
        let stats = destination.stats().clone();
        for pushed in 1..4 {
            world.push(20);
            wait_for_number("refusals", 20 * pushed, || stats.refused.get().samples);
        }
        let says =
            |state: State| matches!(state, State::Refusing { reason } if reason.contains("out of bounds"));
        assert!(says(stats.state()), "{:?}", stats.state());
        assert_eq!((stats.first_accepted_ms.get(), stats.last_accepted_ms.get()), (0, 0));
        assert_eq!(stats.delivered.get().total(), 0);
        // As in Prometheus, refused samples count as sent: they are not behind.
        assert_eq!(stats.highest_ms.get(), stats.highest_sent_ms.get());
        world.receiver.answer(Answer::success);
        world.push(20);
        wait_for_number("delivery", 20, || stats.delivered.get().samples);
        wait_until("the state", SOON, || stats.state() == State::Delivering);
        assert!(stats.first_accepted_ms.get() > 0);
        // A destination that refuses a part accepts the rest. One that refuses everything for a while accepts
        // nothing any more.
        world.receiver.answer(refuses_all);
        world.push(20);
        wait_for_number("refusals", 80, || stats.refused.get().samples);
        assert_eq!(stats.state(), State::Delivering, "it has written samples just now");
        world.clock.jump(Duration::from_secs(11));
        world.push(20);
        wait_for_number("refusals", 100, || stats.refused.get().samples);
        assert!(says(stats.state()), "{:?}", stats.state());
        assert!(world.stop(destination).complete);
    }
}

#[test]
fn success_status_that_wrote_nothing_is_no_acceptance() {
    let world = World::new();
    world.receiver.answer(|_| Answer::status(204).header("X-Prometheus-Remote-Write-Samples-Written", "0"));
    let destination = world.start(by(&world, Message::V2));
    world.push(5);
    let stats = destination.stats().clone();
    wait_for_number("refusals", 5, || stats.refused.get().samples);
    assert!(matches!(stats.state(), State::Refusing { .. }), "{:?}", stats.state());
    assert_eq!((stats.first_accepted_ms.get(), stats.delivered.get().total()), (0, 0));
    assert_eq!(reasons(&stats), [("other", "204", 5)]);
    assert!(world.stop(destination).complete);
}

#[test]
fn points_dropped_by_rules_do_not_count_as_queued() {
    let world = World::new();
    let mut config = by(&world, Message::V1);
    let keep = r#"[{"source_labels": ["instance"], "regex": "0", "action": "keep"}]"#;
    config.write_relabel_configs = serde_json::from_str(keep).unwrap();
    let destination = world.start(config);
    let stats = destination.stats().clone();
    // Series 0 is kept, and comes only the first time.
    world.push_at(1, 1_000_000);
    wait_for_number("delivery", 1, || stats.delivered.get().samples);
    let mut batch = Batch::new();
    let labels = Labels::from_pairs([("__name__", "other"), ("instance", "1")]);
    let series = batch.add_series(labels.as_ref(), Series::NO_METADATA);
    batch.push_float(series, 2_000_000, 1.0);
    world.runtime.block_on(world.storage().append(batch)).unwrap();
    wait_for_number("the drop", 1, || stats.dropped_by_rule.get().samples);
    assert!(world.stop(destination).complete);
    assert_eq!((stats.highest_ms.get(), stats.highest_sent_ms.get()), (1_000_000, 1_000_000));
    assert_eq!(stats.highest_read_ms.get(), 2_000_000);
}

#[test]
fn points_the_version_cannot_carry_are_not_behind() {
    let world = World::new();
    let destination = world.start(by(&world, Message::V1));
    let stats = destination.stats().clone();
    let mut batch = Batch::new();
    let labels = Labels::from_pairs([("__name__", "with_custom_bounds")]);
    let series = batch.add_series(labels.as_ref(), Series::NO_METADATA);
    let histogram = Histogram {
        reset_hint: ResetHint::Unknown,
        schema: -53,
        zero_threshold: 0.0,
        sum: 9.0,
        positive_spans: vec![BucketSpan { offset: 0, length: 1 }],
        negative_spans: vec![],
        counts: Counts::Integer { count: 2, zero: 0, positive: vec![2], negative: vec![] },
        custom_values: vec![1.0],
    };
    batch.push_histogram(series, 3_000_000, 0, histogram);
    world.runtime.block_on(world.storage().append(batch)).unwrap();
    wait_for_number("the drop", 1, || stats.dropped_unsupported.get().histograms);
    assert_eq!((stats.highest_ms.get(), stats.highest_sent_ms.get()), (3_000_000, 3_000_000));
    assert!(world.stop(destination).complete);
}

#[test]
fn points_expired_in_the_queue_are_not_behind() {
    let world = World::new();
    world.receiver.answer(|_| Answer::status(503));
    let mut config = by(&world, Message::V1);
    config.queue_config.sample_age_limit = Duration::from_secs(60);
    let destination = world.start(config);
    let stats = destination.stats().clone();
    world.push_at(3, world.clock.now_ms());
    wait_until("a failure", SOON, || stats.requests_retried.get() > 0);
    assert!(stats.highest_sent_ms.get() < stats.highest_ms.get());
    world.clock.jump(Duration::from_secs(120));
    wait_for_number("expiry", 3, || stats.expired.get().samples);
    assert_eq!(stats.highest_ms.get(), stats.highest_sent_ms.get());
    world.stop(destination);
}
