//! Limits on the rate at which a destination is sent to.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use common::World;
use std::time::Instant;

#[test]
fn byte_rate_limit_applies_to_all_requests_together() {
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
    // The burst of one second, and the last request, are added.
    let most = (took.as_secs_f64() + 1.0) * RATE as f64 + 8192.0;
    assert!((bytes as f64) < most, "{bytes} bytes in {took:?}");
    assert!(bytes > 3 * RATE, "too little to tell: {bytes} bytes in {took:?}");
    assert!(world.stop(destination).complete);
}
