//! How fast a destination is sent to: a limit of the user's, and a receiver that limits the rate itself.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use common::World;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::receiver::Answer;
use support::wire::visit;

#[test]
fn a_limit_in_bytes_a_second_is_held_for_all_requests_together() {
    const RATE: u64 = 20 << 10;
    let world = World::new();
    let mut config = world.config();
    config.queue_config.max_bytes_per_second = Some(RATE);
    config.queue_config.max_samples_per_send = 100;
    (config.queue_config.min_shards, config.queue_config.max_shards) = (4, 4);
    let destination = world.start(config);
    let began = Instant::now();
    for _ in 0..60 {
        world.push(200);
    }
    world.wait_for_all();
    let took = began.elapsed();
    let bytes = destination.stats().bytes.get();
    // What a second lets through at once, and the last request, come on top.
    let most = (took.as_secs_f64() + 1.0) * RATE as f64 + 8192.0;
    assert!((bytes as f64) < most, "{bytes} bytes in {took:?}");
    assert!(bytes > 3 * RATE, "too little to tell: {bytes} bytes in {took:?}");
    assert!(world.stop(destination).complete);
}

#[test]
fn a_receiver_that_answers_429_is_sent_little_more_than_it_accepts() {
    const RATE: f64 = 5000.0;
    const BURST: f64 = 5000.0;
    let world = World::new();
    let level = Arc::new(Mutex::new((BURST, Instant::now())));
    let [offered, accepted] = [(); 2].map(|()| Arc::new(AtomicU64::new(0)));
    let (offers, accepts) = (offered.clone(), accepted.clone());
    world.receiver.answer(move |request| {
        let mut samples = 0;
        visit(request.version(), &request.content, |view| samples += view.samples.len() as u64).unwrap();
        offers.fetch_add(samples, Ordering::Relaxed);
        let mut level = level.lock().unwrap();
        let now = Instant::now();
        level.0 = (level.0 + RATE * (now - level.1).as_secs_f64()).min(BURST);
        level.1 = now;
        if level.0 < samples as f64 {
            return Answer::status(429).body("ingestion rate limit (5000) exceeded");
        }
        level.0 -= samples as f64;
        accepts.fetch_add(samples, Ordering::Relaxed);
        Answer::success(request)
    });
    let mut config = world.config();
    config.queue_config.max_samples_per_send = 100;
    config.queue_config.min_backoff = Duration::from_millis(30);
    config.queue_config.max_backoff = Duration::from_secs(5);
    (config.queue_config.min_shards, config.queue_config.max_shards) = (8, 8);
    let destination = world.start(config);
    for _ in 0..200 {
        world.push(200);
    }
    common::wait_for_number("delivery", 40_000, || destination.stats().delivered.get().samples);
    let (offered, accepted) = (offered.load(Ordering::Relaxed), accepted.load(Ordering::Relaxed));
    // With the search for the limit in the first seconds. Over two minutes it is a tenth: see the simulation in `pace.rs`.
    assert!(offered as f64 <= 1.25 * accepted as f64, "{offered} offered, {accepted} accepted");
    assert!(world.stop(destination).complete);
}
