//! Refusals: counted by what the receiver said, and apart from repeats of what an earlier try may have written.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use common::{World, wait_for_number};
use remote::config::Message;
use remote::{RemoteWrite, Stats};
use support::receiver::{Answer, Ending};
use support::{SOON, wait_until};

/// Reason, status and number of points.
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
fn each_refused_sample_is_counted_by_what_the_receiver_said() {
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
fn by_2_0_the_rest_of_the_counts_is_refused_for_the_reason_given() {
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
fn a_lost_answer_makes_the_refusals_of_the_next_try_repeats_also_by_2_0() {
    // One by one in the dead letters, and as a summary.
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
fn what_was_under_way_at_a_kill_may_have_been_written() {
    for message in [Message::V1, Message::V2] {
        for repeats in [true, false] {
            let mut world = World::new();
            // Positions are there from a first run on.
            let first = world.start(by(&world, message));
            world.push(6);
            world.wait_for_all();
            if repeats {
                // Stored, and nobody is told.
                world.receiver.answer(|request| Answer::success(request).ending(Ending::NoAnswer));
                world.push(6);
                wait_until("the request", SOON, || world.receiver.requests().len() > 1);
            }
            world.stop_now(first);
            world.receiver.answer(|request| {
                let written = "X-Prometheus-Remote-Write-Samples-Written";
                match request.version() {
                    support::wire::Version::V1 => Answer::status(400).body("out of order sample"),
                    support::wire::Version::V2 => {
                        Answer::status(400).header(written, "0").body("out of order sample")
                    }
                }
            });
            world.reopen();
            let destination = world.start(by(&world, message));
            if !repeats {
                world.push(6);
            }
            let stats = destination.stats().clone();
            wait_for_number("refusals", 6, || stats.refused.get().samples);
            world.stop(destination);
            let maybe = stats.refused_or_already_written.get();
            assert_eq!(maybe, if repeats { 6 } else { 0 }, "{message:?}");
        }
    }
}

#[test]
fn only_requests_that_had_a_connection_are_sent_again() {
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
