//! One stuck series delays only the series of its shard, and loses nothing.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use common::World;
use remote::queue::STUCK_AFTER;
use remote::{Destination, RemoteWrite};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use support::receiver::Answer;
use support::wire::visit;
use support::{SOON, wait_for, wait_until};

const SERIES: usize = 100;
const ROUNDS: usize = 150;

struct Stuck {
    world: World,
    is_stuck: Arc<AtomicBool>,
}

impl Stuck {
    fn new() -> Stuck {
        let world = World::with(|options| options.tail_bytes = 100 << 10);
        let is_stuck = Arc::new(AtomicBool::new(true));
        let stuck = is_stuck.clone();
        world.receiver.answer(move |request| {
            let mut has = false;
            visit(request.version(), &request.content, |view| has |= view.labels_map()["instance"] == "17")
                .unwrap();
            if has && stuck.load(Ordering::SeqCst) { Answer::status(503) } else { Answer::success(request) }
        });
        Stuck { world, is_stuck }
    }

    fn config(&self) -> RemoteWrite {
        let mut config = self.world.config();
        config.queue_config.min_shards = 4;
        config.queue_config.max_shards = 4;
        config.queue_config.max_samples_per_send = 50;
        config.max_in_memory = 200 << 10;
        config
    }

    /// Pushes until the stuck lanes are isolated, and waits until all samples of the other lanes have
    /// arrived.
    fn others_go_on(&self, destination: &Destination) {
        let stats = destination.stats();
        for _ in 0..ROUNDS {
            self.world.push(SERIES);
        }
        wait_until("the queue to be full", SOON, || stats.full.get() > 0);
        // Long enough to be stuck, and too short to be parked.
        self.world.clock.jump(STUCK_AFTER * 2);
        wait_until("the stuck shard to be left behind", SOON, || stats.lanes_behind.get() > 0);
        wait_for("the others to have everything", SOON, || {
            let arrivals = self.world.receiver.arrivals();
            let whole = arrivals.values().filter(|samples| samples.len() >= ROUNDS).count();
            // A quarter of the lanes is stuck. How many series these have depends on chance.
            if whole > SERIES / 2 { Ok(()) } else { Err(format!("{whole} series of {SERIES}")) }
        });
        assert_eq!(stats.refused.get().total(), 0);
    }
}

#[test]
fn other_lanes_go_on_and_stuck_ones_follow_later() {
    let stuck = Stuck::new();
    let destination = stuck.world.start(stuck.config());
    stuck.others_go_on(&destination);
    let stats = destination.stats().clone();
    // Both queues together. Each may hold one chunk more than its share.
    assert!(stats.memory_bytes.get() < 300 << 10, "{}", stats.memory_bytes.get());
    stuck.is_stuck.store(false, Ordering::SeqCst);
    for _ in 0..20 {
        stuck.world.push(SERIES);
    }
    let tally = stuck.world.wait_for_all();
    assert_eq!((tally.repeated, tally.out_of_order, tally.unexpected), (0, 0, 0));
    wait_until("the return", SOON, || stats.lanes_behind.get() == 0);
    stuck.world.push(SERIES);
    let tally = stuck.world.wait_for_all();
    assert_eq!((tally.repeated, tally.out_of_order, tally.unexpected), (0, 0, 0));
    let report = stuck.world.stop(destination);
    assert!(report.complete && report.positions_saved, "{report:?}");
    assert_eq!(stats.pending().total(), 0);
}

#[test]
fn kill_with_isolated_lanes_loses_and_reorders_nothing() {
    let mut stuck = Stuck::new();
    let destination = stuck.world.start(stuck.config());
    stuck.others_go_on(&destination);
    drop(destination);
    stuck.world.reopen();
    let destination = stuck.world.start(stuck.config());
    stuck.world.push(SERIES);
    stuck.is_stuck.store(false, Ordering::SeqCst);
    let tally = stuck.world.wait_for_all();
    assert_eq!((tally.out_of_order, tally.unexpected), (0, 0));
    assert!(stuck.world.stop(destination).complete);
}
