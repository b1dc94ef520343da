//! Restarts, kills and outages: accepted samples arrive in order.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use common::{World, wait_until_waiting};
use remote::config::StartAt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::receiver::{Answer, Ending};
use support::{SOON, wait_until};

#[test]
fn new_destination_begins_with_new_samples_or_the_oldest() {
    let world = World::new();
    world.push(10);
    let destination = world.start(world.config());
    let mut config = world.config();
    config.name = Some("from the oldest".into());
    config.url = remote::Url::parse(&format!("{}/oldest", world.receiver.url())).unwrap();
    config.start_at = StartAt::Oldest;
    let other = world.start(config);
    world.push(10);
    let (a, b) = (destination.stats().clone(), other.stats().clone());
    wait_until("both", SOON, || a.delivered.get().samples == 10 && b.delivered.get().samples == 20);
    assert!(world.stop(destination).complete && world.stop(other).complete);
    assert_eq!((a.delivered.get().samples, b.delivered.get().samples), (10, 20));
}

#[test]
fn restart_continues_after_the_last_answered_request() {
    let mut world = World::new();
    for round in 0..5_u32 {
        let destination = world.start(world.config());
        for _ in 0..10 {
            world.push(50);
        }
        world.wait_for_all();
        assert!(world.stop(destination).positions_saved);
        if round.is_multiple_of(2) {
            world.reopen();
        }
    }
    let tally = world.tally();
    assert_eq!((tally.arrived, tally.repeated, tally.out_of_order), (2500, 0, 0));
}

#[test]
fn samples_accepted_without_a_destination_arrive_after_its_start() {
    let mut world = World::new();
    let destination = world.start(world.config());
    world.push(10);
    world.wait_for_all();
    world.stop(destination);
    for _ in 0..10 {
        world.push(10);
    }
    world.reopen();
    world.push(10);
    let destination = world.start(world.config());
    let tally = world.wait_for_all();
    assert_eq!((tally.repeated, tally.out_of_order), (0, 0));
    world.stop(destination);
}

#[test]
fn kills_at_any_moment_lose_and_reorder_nothing() {
    let mut world = World::new();
    // The receiver fails some requests, and stores some without an answer.
    let mut random = fastrand::Rng::with_seed(7);
    world.receiver.answer(move |request| match random.u8(0..10) {
        0 => Answer::status(503),
        1 => Answer::success(request).ending(Ending::NoAnswer),
        2 => Answer::status(204).ending(Ending::NoAnswer),
        _ => Answer::success(request).delay(Duration::from_millis(random.u64(0..4))),
    });
    let mut random = fastrand::Rng::with_seed(8);
    for round in 0..12 {
        let mut config = world.config();
        config.queue_config.max_samples_per_send = 40;
        config.queue_config.min_shards = random.usize(1..6);
        let destination = world.start(config);
        for _ in 0..random.usize(1..30) {
            world.push(100);
        }
        std::thread::sleep(Duration::from_millis(random.u64(0..1500)));
        // Like a kill: no flush, no last save.
        drop(destination);
        if round % 3 == 0 {
            world.reopen();
        }
    }
    let destination = world.start(world.config());
    let tally = world.wait_for_all();
    assert_eq!((tally.out_of_order, tally.unexpected), (0, 0), "{tally:?}");
    assert!(world.stop(destination).complete);
}

#[test]
fn outage_keeps_the_memory_budget_and_delivers_from_disk() {
    let world = World::with(|options| options.tail_bytes = 200 << 10);
    let mut config = world.config();
    config.max_in_memory = 300 << 10;
    config.queue_config.capacity = 5000;
    let destination = world.start(config);
    world.push(100);
    world.wait_for_all();
    world.receiver.go_away();
    for _ in 0..200 {
        world.push(200);
    }
    let stats = destination.stats().clone();
    wait_until_waiting(&stats, "refused");
    wait_until("the queue to be full", SOON, || stats.full.get() > 0);
    assert!(stats.pending().total() < 20_000 && stats.memory_bytes.get() < 400 << 10);
    world.receiver.come_back();
    let tally = world.wait_for_all();
    assert_eq!((tally.repeated, tally.out_of_order), (0, 0));
    let report = world.stop(destination);
    assert!(report.complete && report.positions_saved);
}

/// Returns a world with a log of 8 MiB, and a destination that holds only a part of a segment in memory.
fn small_log() -> (World, remote::RemoteWrite) {
    let world = World::with(|options| {
        options.max_size = storage::Options::MIN_SIZE;
        options.tail_bytes = 200 << 10;
        options.compression = wal::Compression::None;
    });
    world.storage().begin_truncating();
    let mut config = world.config();
    config.max_in_memory = 300 << 10;
    config.queue_config.capacity = 5000;
    (world, config)
}

/// Pushes to a destination that is away until a part of the samples is lost, and until segments are dropped
/// of which the destination has samples in memory.
fn push_until_lost(world: &World, destination: &remote::Destination) {
    world.push(100);
    world.wait_for_all();
    world.receiver.go_away();
    let stats = destination.stats();
    wait_until("samples to be lost", SOON * 4, || {
        for _ in 0..20 {
            world.push(1000);
        }
        stats.lost.get().samples > 200_000
    });
    // The last segments may still be in the process of being dropped. Losses are counted once a second.
    let pushed: usize = world.expected.lock().unwrap().values().map(Vec::len).sum();
    wait_until("each sample to be delivered, lost or waiting", SOON, || {
        let waiting = u64::try_from(stats.waiting.get()).unwrap();
        stats.delivered.get().samples + stats.lost.get().samples + waiting == pushed as u64
    });
}

/// Waits until no sample is waiting or under way.
fn wait_until_drained(world: &World, destination: &remote::Destination) {
    let stats = destination.stats();
    let is_drained = || stats.pending().total() == 0 && stats.waiting.get() == 0;
    world.push(1);
    wait_until("all that is left to be delivered", SOON * 4, || {
        is_drained() && stats.queued.get().samples > 0
    });
}

#[test]
fn samples_lost_to_the_log_budget_are_counted_exactly() {
    let (world, config) = small_log();
    let destination = world.start(config);
    push_until_lost(&world, &destination);
    world.receiver.come_back();
    wait_until_drained(&world, &destination);
    let stats = destination.stats().clone();
    assert!(world.stop(destination).complete);
    let tally = world.tally();
    assert_eq!(stats.lost.get().samples as usize, tally.lost, "{tally:?}");
    assert_eq!((tally.repeated, tally.out_of_order), (0, 0), "{tally:?}");
}

#[test]
fn start_after_a_kill_counts_samples_only_in_memory_once() {
    let (mut world, config) = small_log();
    let destination = world.start(config.clone());
    push_until_lost(&world, &destination);
    let first = destination.stats().lost.get().samples;
    let held = destination.stats().pending().samples;
    // Like a kill: no flush, no last save.
    drop(destination);
    world.reopen();
    let destination = world.start(config.clone());
    world.storage().begin_truncating();
    let second = destination.stats().clone();
    assert!((1..=held).contains(&second.lost.get().samples), "{} of {held}", second.lost.get().samples);
    world.receiver.come_back();
    wait_until_drained(&world, &destination);
    assert!(world.stop(destination).complete);
    let tally = world.tally();
    assert_eq!((first + second.lost.get().samples) as usize, tally.lost, "{tally:?}");
    let destination = world.start(config);
    assert_eq!(destination.stats().lost.get().samples, 0);
    world.stop(destination);
}

#[test]
fn shutdown_during_an_outage_ends_at_its_deadline_without_loss() {
    let mut world = World::new();
    let destination = world.start(world.config());
    world.push(10);
    world.wait_for_all();
    world.receiver.go_away();
    world.push(10);
    let report = world.runtime.block_on(destination.shutdown(Duration::from_millis(300)));
    assert!(!report.complete && report.pending == 10 && report.positions_saved, "{report:?}");
    world.receiver.come_back();
    world.reopen();
    let destination = world.start(world.config());
    let tally = world.wait_for_all();
    assert_eq!((tally.repeated, tally.out_of_order), (0, 0));
    world.stop(destination);
}

#[test]
fn shutdown_gives_a_closed_port_5_s_before_the_first_request() {
    let world = World::new();
    let mut config = world.config();
    config.queue_config.batch_send_deadline = Duration::from_secs(3600);
    world.receiver.go_away();
    let destination = world.start(config);
    world.push(10);
    assert_eq!(destination.stats().state(), remote::State::Starting);
    let stats = destination.stats().clone();
    let ending = world.runtime.spawn(destination.shutdown(Duration::from_secs(3600)));
    wait_until_waiting(&stats, "refused");
    assert!(!ending.is_finished());
    world.clock.jump(Duration::from_secs(5));
    wait_until("the end", SOON, || ending.is_finished());
    let report = world.runtime.block_on(ending).unwrap();
    assert!(!report.complete && report.pending == 10 && report.positions_saved, "{report:?}");
}

#[test]
fn shutdown_waits_for_a_slow_first_answer() {
    let world = World::new();
    let [asked, may_answer] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
    let (is_asked, ready) = (asked.clone(), may_answer.clone());
    world.receiver.answer(move |request| {
        is_asked.store(true, Ordering::SeqCst);
        Answer::success(request).once(&ready)
    });
    let destination = world.start(world.config());
    world.push(10);
    let stats = destination.stats().clone();
    let ending = world.runtime.spawn(destination.shutdown(Duration::from_secs(3600)));
    wait_until("the request", SOON, || asked.load(Ordering::SeqCst));
    world.clock.jump(Duration::from_secs(60));
    may_answer.store(true, Ordering::SeqCst);
    wait_until("the end", SOON, || ending.is_finished());
    assert!(world.runtime.block_on(ending).unwrap().complete);
    assert_eq!(stats.delivered.get().samples, 10);
}

#[test]
fn shutdown_sends_batches_that_are_not_full() {
    let world = World::new();
    let mut config = world.config();
    config.queue_config.batch_send_deadline = Duration::from_secs(3600);
    let destination = world.start(config);
    world.push(10);
    assert!(world.stop(destination).complete);
    assert_eq!(world.tally().lost, 0);
}

#[test]
fn one_destination_never_delays_another() {
    let world = World::new();
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = world.config();
    // This server accepts connections and never answers.
    config.url = remote::Url::parse(&format!("http://{}/", dead.local_addr().unwrap())).unwrap();
    let stuck = world.start(config);
    let destination = world.start(world.config());
    for _ in 0..50 {
        world.push(100);
    }
    let tally = world.wait_for_all();
    assert_eq!((tally.repeated, tally.out_of_order), (0, 0));
    assert!(world.stop(destination).complete);
    assert_eq!(stuck.stats().delivered.get().total(), 0);
}

#[test]
fn changed_external_labels_repeat_and_never_skip() {
    let mut world = World::new();
    let labels = |value: &str| vec![("region".to_string(), value.to_string())];
    let destination = world.start_with(world.config(), &labels("a"));
    world.push(10);
    let stats = destination.stats().clone();
    wait_until("delivery", SOON, || stats.delivered.get().samples == 10);
    drop(destination);
    world.push(10);
    world.reopen();
    let destination = world.start_with(world.config(), &labels("b"));
    assert!(world.stop(destination).complete);
    let with = |value: &str| {
        let arrivals = world.receiver.arrivals();
        arrivals
            .iter()
            .filter(|(labels, _)| labels["region"] == value)
            .map(|(_, list)| list.len())
            .sum::<usize>()
    };
    assert_eq!(with("a"), 10);
    assert!(with("b") >= 10);
}

#[test]
fn deleted_log_is_created_again() {
    let mut world = World::new();
    for _ in 0..3 {
        let destination = world.start(world.config());
        world.push(10);
        world.wait_for_all();
        world.stop(destination);
        world.reopen();
    }
    world.storage.take().unwrap().close();
    std::fs::remove_dir_all(world.dir.path().join("wal")).unwrap();
    let _ = std::fs::remove_file(world.dir.path().join("state"));
    world.open();
    world.push(10);
    let destination = world.start(world.config());
    world.wait_for_all();
    world.stop(destination);
}
