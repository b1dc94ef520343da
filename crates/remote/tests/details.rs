//! Smaller promises of delivery: late samples, settings that forbid retries, metadata by interval, and
//! refusals of samples that the receiver may already have.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use common::{EPOCH_MS, World, wait_for_decisions, wait_for_number};
use formats::remote_write::{DecodeOptions, Protocol, decode};
use model::{Batch, Labels, Metadata, MetricType, Series};
use remote::config::Message;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use support::receiver::{Answer, Ending, Received};
use support::wire::visit;
use support::{SOON, wait_until};

#[test]
fn samples_are_sent_in_the_order_of_acceptance() {
    let hour = 3_600_000;
    for message in [Message::V1, Message::V2] {
        let world = World::new();
        let mut config = world.config();
        config.protobuf_message = Some(message);
        let destination = world.start(config);
        let times = [0, -2, -1, -100, 1].map(|hours| EPOCH_MS as i64 + hours * hour);
        for time in times {
            world.push_at(5, time);
        }
        wait_for_number("delivery", 25, || destination.stats().delivered.get().samples);
        let arrivals = world.receiver.arrivals();
        assert_eq!(arrivals.len(), 5);
        for samples in arrivals.values() {
            assert_eq!(samples.iter().map(|(time, _)| *time).collect::<Vec<_>>(), times, "{message:?}");
        }
        assert!(world.stop(destination).complete);
    }
}

#[test]
fn where_it_is_said_so_429_is_a_refusal() {
    for (retried, requests) in [(false, 1), (true, 2)] {
        let world = World::new();
        world.receiver.answer(|request| match request.number {
            0 => Answer::status(429).header("Retry-After", "0").body("too many series"),
            _ => Answer::success(request),
        });
        let mut config = world.config();
        config.queue_config.retry_on_http_429 = retried;
        let destination = world.start(config);
        world.push(50);
        let stats = destination.stats().clone();
        let settled = || stats.delivered.get().samples + stats.refused.get().samples;
        wait_for_number("all to be settled", 50, settled);
        assert!(world.stop(destination).complete);
        assert_eq!(stats.refused.get().samples, if retried { 0 } else { 50 });
        assert_eq!(world.receiver.requests().len(), requests);
        let dead = world.dead_letters();
        assert_eq!(dead.len(), if retried { 0 } else { 50 });
        assert!(dead.iter().all(|line| line["answer"].as_str().unwrap().contains("too many series")));
    }
}

/// As the specification says: refused data is never sent again.
#[test]
fn where_it_is_said_so_no_4xx_is_followed_by_another_request() {
    for status in [400, 401, 403, 404, 405, 407, 408, 409, 410, 413, 415, 422] {
        let world = World::new();
        world.receiver.answer(move |request| match request.number {
            0 => Answer::status(status).body("no"),
            _ => Answer::success(request),
        });
        let mut config = world.config();
        config.protobuf_message = Some(Message::V1);
        config.retry_on_http_4xx = false;
        let destination = world.start(config);
        world.push(50);
        let stats = destination.stats().clone();
        wait_for_number("all to be refused", 50, || stats.refused.get().samples);
        world.push(50);
        wait_for_number("what comes then", 50, || stats.delivered.get().samples);
        assert!(world.stop(destination).complete);
        assert_eq!((stats.refused.get().samples, world.receiver.requests().len()), (50, 2), "{status}");
        assert_eq!((world.dead_letters().len(), stats.lost.get().total()), (50, 0), "{status}");
    }
}

fn push_with_metadata(world: &World) {
    let mut batch = Batch::new();
    batch.metadata.push(Metadata {
        family: "things_total".into(),
        kind: MetricType::Counter,
        help: "how many there were".into(),
        unit: String::new(),
    });
    let labels = Labels::from_pairs([("__name__", "things_total")]);
    let series = batch.add_series(labels.as_ref(), Series::NO_METADATA);
    batch.push_float(series, EPOCH_MS as i64, 1.0);
    world.runtime.block_on(world.storage().append(batch)).unwrap();
}

/// Returns the number of requests with metadata.
fn told(world: &World) -> u64 {
    let requests = world.receiver.requests();
    let tells = |request: &&Received| {
        let decoded = decode(Protocol::V1, &request.content, &DecodeOptions::default()).unwrap();
        decoded.batch.metadata.iter().any(|metadata| metadata.help == "how many there were")
    };
    requests.iter().filter(tells).count() as u64
}

#[test]
fn metadata_in_1_0_is_repeated_each_interval_and_not_before() {
    let world = World::new();
    let interval = Duration::from_secs(600);
    let nearly = interval - Duration::from_secs(30);
    let mut config = world.config();
    config.protobuf_message = Some(Message::V1);
    config.metadata_config.send_interval = interval;
    let destination = world.start(config);
    push_with_metadata(&world);
    let stats = destination.stats().clone();
    for round in 1..3 {
        wait_for_number("metadata", round, || told(&world));
        wait_for_number("the count", round, || stats.metadata.get());
        let bytes = stats.metadata_bytes.get();
        world.clock.jump(nearly);
        wait_for_decisions(&stats);
        // They are counted when they are sent, whether or not they arrive.
        assert_eq!((told(&world), stats.metadata_bytes.get()), (round, bytes));
        world.clock.jump(interval - nearly);
    }
    wait_for_number("the last", 3, || told(&world));
    world.stop(destination);
}

#[test]
fn metadata_is_not_sent_if_switched_off() {
    let world = World::new();
    let mut config = world.config();
    config.protobuf_message = Some(Message::V1);
    config.metadata_config.send = false;
    let interval = config.metadata_config.send_interval;
    let destination = world.start(config);
    push_with_metadata(&world);
    let stats = destination.stats().clone();
    wait_for_number("delivery", 1, || stats.delivered.get().samples);
    world.clock.jump(interval);
    wait_for_decisions(&stats);
    assert_eq!((told(&world), stats.metadata_bytes.get()), (0, 0));
    world.stop(destination);
}

/// Returns the series and timestamps of a request.
fn samples(request: &Received) -> Vec<(String, i64)> {
    let mut all = Vec::new();
    visit(request.version(), &request.content, |view| {
        let instance = view.labels_map()["instance"].clone();
        all.extend(view.samples.iter().map(|(time, _)| (instance.clone(), *time)));
    })
    .unwrap();
    all
}

/// Like Prometheus with 1.0: one sample that is older than the newest of its series undoes the whole request.
#[test]
fn refused_repeat_of_an_unanswered_request_is_no_loss() {
    let world = World::new();
    let mut newest: BTreeMap<String, i64> = BTreeMap::new();
    world.receiver.answer(move |request| {
        let all = samples(request);
        if all.iter().any(|(series, time)| newest.get(series).is_some_and(|newest| time < newest)) {
            return Answer::status(400).body("out of order sample");
        }
        newest.extend(all);
        match request.number {
            // The samples are stored, but no answer is sent.
            0 => Answer::success(request).ending(Ending::NoAnswer),
            _ => Answer::success(request),
        }
    });
    let mut config = world.config();
    config.protobuf_message = Some(Message::V1);
    config.queue_config.batch_send_deadline = Duration::from_secs(3600);
    config.queue_config.max_samples_per_send = 6;
    config.queue_config.max_shards = 1;
    let destination = world.start(config);
    world.push(3);
    world.push(3);
    let stats = destination.stats().clone();
    wait_until("all to be settled", SOON, || {
        stats.delivered.get().samples + stats.refused.get().samples == 6
    });
    assert!(world.stop(destination).complete);
    assert_eq!(world.tally().lost, 0);
    // The older sample of each series is refused. An exact repetition of the newest one is accepted.
    assert_eq!((stats.refused.get().samples, stats.refused_or_already_written.get()), (3, 3));
    assert_eq!(stats.lost.get().total(), 0);
    assert_eq!(world.dead_letters().len(), 3);
}

/// Like receivers of 1.0 that keep the good samples of a request that they refuse.
#[test]
fn refused_repeat_of_a_refused_request_is_no_loss() {
    let world = World::new();
    let mut there: BTreeSet<(String, i64)> = BTreeSet::new();
    world.receiver.answer(move |request| {
        let all = samples(request);
        let bad = all.iter().any(|(series, _)| series == "3");
        let known = all.iter().any(|sample| there.contains(sample));
        there.extend(all.into_iter().filter(|(series, _)| series != "3"));
        match (bad, known) {
            (true, false) => Answer { stored: true, ..Answer::status(400).body("invalid label value") },
            (_, true) => Answer::status(400).body("duplicate sample for timestamp"),
            (false, false) => Answer::success(request),
        }
    });
    let mut config = world.config();
    config.protobuf_message = Some(Message::V1);
    let destination = world.start(config);
    world.push(6);
    let stats = destination.stats().clone();
    wait_for_number("all to be settled", 6, || stats.delivered.get().samples + stats.refused.get().samples);
    assert!(world.stop(destination).complete);
    assert_eq!((stats.refused.get().samples, stats.refused_or_already_written.get()), (6, 5));
    assert_eq!(stats.lost.get().total(), 0);
    let dead = world.dead_letters();
    let invalid = dead.iter().filter(|line| line["answer"].as_str().unwrap().contains("invalid label value"));
    assert_eq!(invalid.map(|line| line["labels"]["instance"].clone()).collect::<Vec<_>>(), ["3"]);
}

/// If a whole batch is refused because it was written before, the samples that were not sent alone may be
/// written, too.
#[test]
fn presumed_refusals_of_written_samples_are_no_loss() {
    for (words, there) in [("duplicate sample for timestamp", 40), ("invalid label value", 0)] {
        let world = World::new();
        world.receiver.answer(move |request| match request.number {
            // The samples are stored, but no answer is sent.
            0 => Answer::success(request).ending(Ending::NoAnswer),
            _ => Answer::status(400).body(words),
        });
        let mut config = world.config();
        config.protobuf_message = Some(Message::V1);
        let destination = world.start(config);
        world.push(40);
        let stats = destination.stats().clone();
        wait_for_number("all to be settled", 40, || stats.refused.get().samples);
        assert!(world.stop(destination).complete);
        assert_eq!(
            (stats.refused_or_already_written.get(), stats.refused_presumed.get()),
            (there, 32),
            "{words}"
        );
        assert_eq!(stats.lost.get().total(), 0);
    }
}
