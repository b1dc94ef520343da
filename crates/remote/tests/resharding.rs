//! Which measurements the number of shards depends on.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::World;
use model::Clock;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::receiver::Answer;
use support::{SOON, wait_until};

#[test]
fn wrong_clock_of_a_client_does_not_change_the_shards() {
    for restarted in [false, true] {
        let mut world = World::with(|options| options.tail_bytes = 0);
        let mut config = world.config();
        config.queue_config.max_samples_per_send = 10;
        let destination = world.start(config.clone());
        world.push(10);
        world.wait_for_all();
        assert!(world.stop(destination).complete);
        // Their timestamps are years old, and they are read from disk, because they come while no worker
        // reads.
        for _ in 0..100 {
            world.push(10);
        }
        if restarted {
            world.reopen();
        }
        let sent = world.receiver.requests().len();
        world.receiver.answer(move |request| match request.number - sent {
            0..5 => Answer::success(request).delay(Duration::from_millis(10)),
            _ => Answer::status(503),
        });
        let destination = world.start(config);
        let stats = destination.stats().clone();
        wait_until("a failure", SOON, || stats.requests_retried.get() > 0);
        assert!(stats.records_read_behind.get() > 0, "it reads from disk");
        let first = stats.shards_desired_milli.get();
        world.clock.jump(Duration::from_secs(10));
        wait_until("a look at the number of shards", SOON, || stats.shards_desired_milli.get() != first);
        let years = 2 * 365 * 24 * 3_600_000;
        assert!(world.clock.now_ms() - common::EPOCH_MS as i64 > years, "the machine's clock is right");
        assert!(stats.lag_ms.get() > years, "the lag that is shown is by sample time");
        // By the age since their arrival, a handful of shards at most, even if a request took ten seconds.
        let desired = stats.shards_desired_milli.get() / 1000;
        assert!(desired < 50, "{desired} shards for {:?}", stats.lag_ms.get());
        world.stop_now(destination);
    }
}

/// After an outage the backlog is sent by as many requests at once as allowed, and no shard idles.
#[test]
fn backlog_is_sent_by_all_allowed_shards() {
    const SHARDS: usize = 16;
    const ANSWER: Duration = Duration::from_millis(100);
    let world = World::new();
    let mut config = world.config();
    config.queue_config.max_samples_per_send = 10;
    config.queue_config.max_shards = SHARDS;
    world.receiver.go_away();
    let destination = world.start(config);
    let stats = destination.stats().clone();
    for _ in 0..16 {
        world.push(200);
    }
    wait_until("an outage", SOON, || stats.requests_retried.get() > 1);
    world.clock.jump(Duration::from_secs(60));
    let times = Arc::new(Mutex::new(Vec::new()));
    let seen = times.clone();
    world.receiver.answer(move |request| {
        seen.lock().unwrap().push(Instant::now());
        Answer::success(request).delay(ANSWER)
    });
    world.receiver.come_back();
    wait_until("the first requests", SOON, || world.receiver.requests().len() > 2);
    world.clock.jump(Duration::from_secs(10));
    let tally = world.wait_for_all();
    assert_eq!((tally.out_of_order, tally.unexpected), (0, 0));
    // The requests that began while another one was under way, by the time at which that one began.
    let times = times.lock().unwrap();
    let beside =
        |start: &Instant| times.iter().filter(|time| **time >= *start && **time < *start + ANSWER).count();
    let most = times.iter().map(beside).max().unwrap();
    assert!((SHARDS - 2..=SHARDS + 1).contains(&most), "{most} at once of {} requests", times.len());
    assert_eq!(stats.shards.get(), SHARDS as i64);
    assert!(world.stop(destination).complete);
}
