//! A refused sample's position moves only once its dead letter is written, or is counted as not kept.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use common::{World, wait_for_number};
use remote::config::Message;
use remote::config::identity::Identity;
use std::sync::mpsc;
use support::receiver::{Answer, Received};
use support::wire::visit;

fn has_17(request: &Received) -> bool {
    let mut found = false;
    visit(request.version(), &request.content, |view| found |= view.labels_map()["instance"] == "17")
        .unwrap();
    found
}

#[test]
fn kill_before_the_dead_letter_is_written_repeats_the_sample() {
    let mut world = World::new();
    // The only thread for files is busy, so no dead letter can be written.
    let runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = { runtime }.worker_threads(2).max_blocking_threads(1).enable_all().build().unwrap();
    let (release, busy) = mpsc::channel::<()>();
    runtime.spawn_blocking(move || busy.recv());
    let healthy = std::mem::replace(&mut world.runtime, runtime);
    world.receiver.answer(|request| match has_17(request) {
        true => Answer::status(400).body("out of bounds"),
        false => Answer::success(request),
    });
    let mut config = world.config();
    config.protobuf_message = Some(Message::V1);
    let destination = world.start(config.clone());
    world.push(40);
    let stats = destination.stats().clone();
    wait_for_number("the refusal", 1, || stats.refused.get().samples);
    wait_for_number("the others", 39, || stats.delivered.get().samples);
    assert_eq!(world.dead_letters().len(), 0);
    drop(destination);
    // Like a killed process, this runtime never gets to write.
    let killed = std::mem::replace(&mut world.runtime, healthy);
    world.reopen();
    let destination = world.start(config);
    wait_for_number("the refusal again", 1, || destination.stats().refused.get().samples);
    world.stop(destination);
    assert_eq!(world.dead_letters().len(), 1);
    let tally = world.tally();
    assert_eq!((tally.lost, tally.out_of_order), (1, 0), "all but the refused one arrived");
    killed.shutdown_background();
    drop(release);
}

#[test]
fn unwritten_dead_letters_are_counted_by_sample() {
    let world = World::new();
    // A folder with the name of the file prevents its creation.
    let config = world.config();
    let name = format!("{}.jsonl", Identity::of(&config).file());
    std::fs::create_dir_all(world.dir.path().join("dead").join(name)).unwrap();
    world.receiver.answer(|_| Answer::status(410).body("gone"));
    let destination = world.start(config);
    world.push(123);
    let stats = destination.stats().clone();
    wait_for_number("the letters", 123, || stats.dead_letters_dropped.get());
    assert_eq!(stats.refused.get().samples, 123);
    let report = world.stop(destination);
    assert!(report.complete && report.positions_saved, "it goes on: {report:?}");
}
