//! Random histories of delivery in virtual time: no sockets, threads or sleeps, and the same seed gives the
//! same trace.
//!
//! The log survives everything. Positions, dead letters and parked samples are on a simulated disk that
//! fails, fills up and loses power. The receiver refuses some samples, fails on others, is away, denies
//! access, asks for pauses, loses answers, and accepts only small requests. Lives end by kills, power cuts
//! and reloads, and continue with other settings. Members of an entry join and leave.
//!
//! At the end each acknowledged sample has arrived, is in the dead letters, or is counted as not kept. At
//! every moment each series is in at most one request of the live stream and one of the backlog, positions do
//! not go back, and failed requests are few (`checks.rs`).
//!
//! `NARTHEX_SIMULATIONS` sets the number of histories, `NARTHEX_SIMULATIONS_SEED` the first seed.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is how a test reports")]

mod checks;
mod history;
mod life;
mod log;
mod receiver;
mod scenarios;

use crate::delivery::Settings;
use crate::queue;
use history::History;
use life::{DATA, Ground, SimClock};
use log::SimLog;
use model::Clock;
use receiver::{Mode, Receiver, Style};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use wal::Filesystem;
use wal::sim::SimFilesystem;

const SERIES: u64 = 24;
const LIVES: u64 = 3;
const STEPS: u64 = 14;
const SECOND: Duration = Duration::from_secs(1);
/// How long the delivery of all samples may take at the end.
const PATIENCE: Duration = Duration::from_secs(6 * 3600);

/// Settings that are fast enough, and small enough that each limit is reached.
fn settings() -> Settings {
    let queue = queue::Settings {
        min_shards: 1,
        max_shards: 4,
        capacity: 1000,
        max_points: 20,
        deadline: SECOND,
        early: true,
        min_backoff: Duration::from_millis(30),
        max_backoff: 5 * SECOND,
        memory: 1 << 20,
        narrow: true,
        park: true,
        was_parked: false,
    };
    Settings { queue, age_limit: None, window: None, until: None, max_bytes_per_second: None }
}

fn ground(seed: u64) -> Ground {
    let fs = SimFilesystem::new(seed);
    fs.create_dir_all(Path::new(DATA)).unwrap();
    fs.sync_dir(Path::new("/")).unwrap();
    Ground {
        clock: Arc::new(SimClock::default()),
        log: SimLog::default(),
        fs,
        rng: fastrand::Rng::with_seed(seed),
        slowness: 20,
        disk_slowness: 50,
        refused: BTreeSet::new(),
        trace: seed,
    }
}

fn receiver(seed: u64) -> Receiver {
    Receiver {
        mode: Mode::Works,
        style: Style::WritesNothing,
        is_sick: true,
        most: usize::MAX,
        rarity: u64::MAX,
        spans: u64::MAX,
        poison: Vec::new(),
        written: BTreeMap::new(),
        requests: 0,
        denied: 0,
        rng: fastrand::Rng::with_seed(!seed),
    }
}

fn number(name: &str, or: u64) -> u64 {
    std::env::var(name).map_or(or, |value| value.parse().unwrap())
}

#[test]
fn random_histories_deliver_keep_or_count_every_acknowledged_sample() {
    let first = number("NARTHEX_SIMULATIONS_SEED", 1);
    let count = number("NARTHEX_SIMULATIONS", 150);
    let [mut samples, mut refused, mut parked, mut kills, mut requests] = [0; 5];
    for seed in first..first + count {
        let history = History::run(seed);
        samples += history.acknowledged.len() as u64;
        refused += history.refused;
        parked += history.parked;
        kills += history.kills;
        requests += history.receiver.lock().unwrap().requests;
    }
    println!("{samples} samples, {requests} requests, {refused} refused, {parked} parked, {kills} kills");
    assert!(refused > 0 && parked > 0 && kills > 0, "the histories should have tried everything");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 1..6 {
        let [one, other] = [History::run(seed), History::run(seed)];
        assert_eq!(
            (one.ground.trace, one.ground.clock.monotonic()),
            (other.ground.trace, other.ground.clock.monotonic())
        );
    }
    assert_ne!(History::run(1).ground.trace, History::run(2).ground.trace);
}
