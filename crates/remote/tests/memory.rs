//! All queues together keep to one memory budget, and each has its share of it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use common::World;
use remote::{Base, Destinations, RemoteWrite};
use std::sync::Arc;
use std::time::Duration;
use support::{FakeReceiver, SOON, wait_for, wait_until};
use wal::RealFilesystem;

const MEMORY: usize = 1 << 20;
/// More bytes than any chunk in this test. A queue stops at its limit, but may exceed it by one chunk.
const CHUNK: i64 = 100 << 10;

fn held(all: &Destinations) -> Vec<i64> {
    all.iter().map(|one| one.stats().memory_bytes.get()).collect()
}

#[test]
fn queues_share_one_memory_budget_and_read_the_rest_from_disk() {
    let world = World::with(|options| options.tail_bytes = 100 << 10);
    let receivers: Vec<FakeReceiver> = (0..4).map(|_| FakeReceiver::start()).collect();
    let to = |receiver: &FakeReceiver| {
        let mut config = RemoteWrite::to(remote::Url::parse(&receiver.write_url()).unwrap());
        config.queue_config.batch_send_deadline = Duration::from_millis(20);
        config.queue_config.max_backoff = Duration::from_millis(50);
        config.queue_config.capacity = usize::MAX / 2;
        config
    };
    let configs: Vec<RemoteWrite> = receivers.iter().map(to).collect();
    let base = Base {
        storage: world.storage().clone(),
        fs: Arc::new(RealFilesystem),
        clock: world.clock.clone(),
        data_dir: world.dir.path().to_path_buf(),
    };
    let mut all = {
        let _guard = world.runtime.enter();
        Destinations::start(configs[..2].to_vec(), &[], MEMORY, base).unwrap()
    };
    receivers.iter().for_each(FakeReceiver::go_away);
    for _ in 0..400 {
        world.push(200);
    }
    let full = |all: &Destinations| all.iter().all(|one| one.stats().full.get() > 0);
    wait_until("both to be full", SOON, || full(&all) && held(&all).iter().all(|held| *held > 0));
    let share = MEMORY as i64 / 2;
    wait_for("each to have its share", SOON, || {
        let held = held(&all);
        if held.iter().all(|held| *held >= share) { Ok(()) } else { Err(format!("{held:?}")) }
    });
    assert!(held(&all).iter().all(|held| *held < share + CHUNK), "{:?}", held(&all));

    // Two more destinations, which begin with the oldest sample: the same memory for four.
    let mut more = configs;
    more.iter_mut().for_each(|config| config.start_at = remote::config::StartAt::Oldest);
    more[..2].iter_mut().for_each(|config| config.queue_config.max_shards = 3);
    world.runtime.block_on(all.reload(more, &[], MEMORY)).unwrap();
    let share = MEMORY as i64 / 4;
    wait_for("each to have its smaller share", SOON, || {
        let held = held(&all);
        if held.iter().all(|held| *held >= share) { Ok(()) } else { Err(format!("{held:?}")) }
    });
    assert!(held(&all).iter().all(|held| *held < share + CHUNK), "{:?}", held(&all));
    let pending: u64 = all.iter().map(|one| one.stats().pending().total()).sum();
    assert!(pending < 4 * 80_000 / 2, "{pending}: most of it is on disk only");

    receivers.iter().for_each(FakeReceiver::come_back);
    let expected = world.expected.lock().unwrap().clone();
    for receiver in &receivers {
        wait_for("everything to arrive", SOON, || {
            let tally = receiver.tally(&expected);
            if tally.lost == 0 { Ok(()) } else { Err(format!("{tally:?}")) }
        });
        assert_eq!(receiver.tally(&expected).out_of_order, 0);
    }
    for destination in all.into_all() {
        assert!(world.runtime.block_on(destination.shutdown(SOON)).complete);
    }
}
