//! Which version of the protocol a receiver gets while it is replaced by an older or a newer one, and which
//! points each version can carry.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use common::{World, wait_until_denied};
use formats::remote_write::Protocol;
use model::Kinds;
use remote::client::protocol::UPGRADE_INTERVAL;
use remote::config::Message;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use support::receiver::Answer;
use support::wire::{Version, visit};
use support::{SOON, wait_until};

/// A receiver that supports 2.0 only while the returned flag is set.
fn changing(world: &World) -> Arc<AtomicBool> {
    let second = Arc::new(AtomicBool::new(true));
    let own = second.clone();
    world.receiver.answer(move |request| match request.version() {
        Version::V2 if !own.load(Ordering::SeqCst) => Answer::status(415).body("unknown proto"),
        _ => Answer::success(request),
    });
    second
}

fn versions(world: &World) -> Vec<Version> {
    world.receiver.requests().iter().map(|request| request.version()).collect()
}

#[test]
fn a_receiver_that_is_replaced_by_an_older_one_and_back_loses_nothing() {
    let world = World::new();
    let second = changing(&world);
    let mut config = world.config();
    config.metadata_config.send = false;
    let destination = world.start(config);
    let stats = destination.stats().clone();
    world.push(10);
    world.wait_for_all();
    wait_until("2.0 to be agreed on", SOON, || stats.protocol() == Some(Protocol::V2));
    second.store(false, Ordering::SeqCst);
    world.push(10);
    world.wait_for_all();
    wait_until("1.0 to be remembered", SOON, || stats.protocol() == Some(Protocol::V1));
    let before = versions(&world).len();
    for _ in 0..5 {
        world.push(10);
        world.wait_for_all();
    }
    assert!(versions(&world)[before..].iter().all(|version| *version == Version::V1), "it is remembered");
    // It is still the older one: one request in 2.0, and delivery goes on.
    world.clock.jump(UPGRADE_INTERVAL);
    for _ in 0..5 {
        world.push(10);
        world.wait_for_all();
    }
    let asked = versions(&world)[before..].iter().filter(|version| **version == Version::V2).count();
    assert_eq!(asked, 1);
    second.store(true, Ordering::SeqCst);
    world.clock.jump(UPGRADE_INTERVAL);
    world.push(10);
    world.wait_for_all();
    wait_until("2.0 again", SOON, || stats.protocol() == Some(Protocol::V2));
    world.push(10);
    let tally = world.wait_for_all();
    assert_eq!((tally.lost, tally.repeated, tally.out_of_order), (0, 0, 0));
    assert_eq!(versions(&world).last(), Some(&Version::V2));
    assert!(world.stop(destination).complete);
}

#[test]
fn destination_waits_for_a_receiver_of_neither_version() {
    let world = World::new();
    world.receiver.answer(|_| Answer::status(415).body("what is this?"));
    let destination = world.start(world.config());
    world.push(10);
    let stats = destination.stats().clone();
    wait_until_denied(&stats, "no version of remote write");
    assert!(versions(&world).len() <= 3, "{:?}", versions(&world));
    world.receiver.answer(Answer::success);
    world.clock.jump(std::time::Duration::from_secs(61));
    world.wait_for_all();
    assert!(world.stop(destination).complete);
}

#[test]
fn points_dropped_by_settings_are_counted() {
    use model::{Batch, Counts, Histogram, Labels, ResetHint, Series};
    for message in [Message::V1, Message::V2] {
        for (exemplars, histograms) in [(true, true), (true, false), (false, true), (false, false)] {
            let world = World::new();
            let mut config = world.config();
            config.protobuf_message = Some(message);
            config.send_exemplars = exemplars;
            config.send_native_histograms = histograms;
            let destination = world.start(config);
            let mut batch = Batch::new();
            let labels = |name| Labels::from_pairs([("__name__", name)]);
            let series = batch.add_series(labels("plain").as_ref(), Series::NO_METADATA);
            batch.push_float(series, 1000, 1.0);
            let start = batch.bytes.len();
            batch.bytes.extend_from_slice(Labels::from_pairs([("trace_id", "abc")]).as_ref().as_bytes());
            batch.push_exemplar(series, 1000, start, 1.0);
            let series = batch.add_series(labels("native").as_ref(), Series::NO_METADATA);
            let histogram = Histogram {
                reset_hint: ResetHint::Unknown,
                schema: 0,
                zero_threshold: 0.0,
                sum: 0.0,
                positive_spans: Vec::new(),
                negative_spans: Vec::new(),
                counts: Counts::Integer { count: 1, zero: 1, positive: Vec::new(), negative: Vec::new() },
                custom_values: Vec::new(),
            };
            batch.push_histogram(series, 1000, 0, histogram);
            world.runtime.block_on(world.storage().append(batch)).unwrap();
            let stats = destination.stats().clone();
            let sent =
                Kinds { samples: 1, histograms: u64::from(histograms), exemplars: u64::from(exemplars) };
            let held_back =
                Kinds { samples: 0, histograms: 1 - sent.histograms, exemplars: 1 - sent.exemplars };
            let what = format!("{message:?}, exemplars {exemplars}, histograms {histograms}");
            wait_until("delivery", SOON, || stats.delivered.get().total() == sent.total());
            assert!(world.stop(destination).complete);
            assert_eq!((stats.delivered.get(), stats.dropped_by_rule.get()), (sent, held_back), "{what}");
            assert_eq!(stats.refused.get().total() + stats.dropped_unsupported.get().total(), 0, "{what}");
            let mut arrived = Kinds::default();
            for request in world.receiver.requests().iter() {
                visit(request.version(), &request.content, |view| {
                    arrived.samples += view.samples.len() as u64;
                    arrived.histograms += view.histograms.len() as u64;
                    arrived.exemplars += view.exemplars.len() as u64;
                })
                .unwrap();
            }
            assert_eq!(arrived, sent, "{what}");
        }
    }
}
