//! `catch_up: newest_first`: after an outage new samples arrive before the backlog, and the complete backlog
//! after them. Each of the two is in order, and neither has samples beyond the receiver's window.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use common::{World, wait_for_decisions};
use model::Clock;
use remote::config::CatchUp;
use remote::{Destination, Identity, Prepared, RemoteWrite, Stats};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;
use support::receiver::{Answer, Received};
use support::wire::visit;
use support::{SOON, wait_until};

const SERIES: usize = 10;
const WINDOW: Duration = Duration::from_secs(3600);

/// A receiver with a window like Prometheus': 400 for samples that are older than its newest one by more than
/// that.
struct Windowed {
    world: World,
    away: Arc<AtomicBool>,
}

fn times(request: &Received) -> Vec<i64> {
    let mut times = Vec::new();
    visit(request.version(), &request.content, |view| {
        times.extend(view.samples.iter().map(|(time, _)| *time))
    })
    .unwrap();
    times
}

impl Windowed {
    fn new() -> Windowed {
        let world = World::new();
        let (away, newest) = (Arc::new(AtomicBool::new(false)), AtomicI64::new(0));
        let is_away = away.clone();
        world.receiver.answer(move |request| {
            if is_away.load(Ordering::SeqCst) {
                return Answer::status(503);
            }
            let times = times(request);
            let newest = newest.fetch_max(times.iter().copied().max().unwrap_or(0), Ordering::SeqCst);
            match times.iter().any(|time| newest - time > WINDOW.as_millis() as i64) {
                true => Answer::status(400).body("too old sample"),
                false => Answer::success(request).delay(Duration::from_millis(8)),
            }
        });
        Windowed { world, away }
    }

    fn config(&self) -> RemoteWrite {
        let mut config = self.world.config();
        config.catch_up = CatchUp::NewestFirst;
        config.out_of_order_window = WINDOW;
        config.queue_config.max_samples_per_send = 2;
        config.queue_config.max_shards = 2;
        config
    }

    /// Starts the destination, and waits until the first samples are accepted.
    fn begin(&self) -> Destination {
        let destination = self.world.start(self.config());
        self.push();
        self.world.wait_for_all();
        destination
    }

    fn push(&self) {
        // Each timestamp is later than all before.
        self.world.clock.jump(Duration::from_millis(2));
        self.world.push_at(SERIES, self.world.clock.now_ms());
    }

    /// An outage with so many pushes, so many seconds apart.
    fn outage(&self, destination: &Destination, pushes: usize, seconds: u64) {
        self.away.store(true, Ordering::SeqCst);
        for _ in 0..pushes {
            self.push();
            self.world.clock.jump(Duration::from_secs(seconds));
        }
        // The real outage is longer than the clock's jumps take, because delivery decides only every second.
        wait_for_decisions(destination.stats());
    }

    fn come_back(&self) {
        self.away.store(false, Ordering::SeqCst);
    }

    /// Returns the timestamps of one series, in the order of their first arrival.
    fn order(&self) -> Vec<i64> {
        let arrivals = self.world.receiver.arrivals();
        let first = arrivals.into_iter().find(|(labels, _)| labels["instance"] == "3");
        let (mut seen, times) = (BTreeSet::new(), first.map(|(_, samples)| samples).unwrap_or_default());
        times.into_iter().map(|(time, _)| time).filter(|time| seen.insert(*time)).collect()
    }
}

fn is_sorted(times: impl Iterator<Item = i64>) -> bool {
    let times: Vec<i64> = times.collect();
    times.is_sorted()
}

fn is_split(stats: &Stats) -> bool {
    stats.newest_first.get() == 1
}

#[test]
fn new_samples_after_an_outage_arrive_before_the_backlog() {
    let peer = Windowed::new();
    let destination = peer.begin();
    peer.outage(&destination, 60, 10);
    let end = peer.world.clock.now_ms();
    peer.come_back();
    let stats = destination.stats().clone();
    wait_until("the newest to go first", SOON, || is_split(&stats));
    let newest = peer.world.clock.now_ms();
    peer.push();
    wait_until("the newest", SOON, || peer.order().iter().any(|time| *time >= newest));
    assert!(peer.world.tally().lost > 100, "the backlog should be on its way still");
    assert!(stats.lag_ms.get() > 60_000 && stats.newest_lag_ms.get() < 30_000);
    let tally = peer.world.wait_for_all();
    assert_eq!((tally.repeated, stats.refused.get().total()), (0, 0));
    wait_until("one queue again", SOON, || !is_split(&stats));
    let order = peer.order();
    assert!(is_sorted(order.iter().copied().filter(|time| *time < end)), "{order:?}");
    assert!(is_sorted(order.iter().copied().filter(|time| *time >= end)), "{order:?}");
    peer.push();
    peer.world.wait_for_all();
    assert!(peer.world.stop(destination).complete);
}

#[test]
fn no_sample_is_sent_beyond_the_receivers_window() {
    let peer = Windowed::new();
    let destination = peer.begin();
    let stats = destination.stats().clone();
    // Two hours are more than the window, so their first part is sent in order.
    peer.outage(&destination, 120, 60);
    peer.come_back();
    wait_until("the newest to go first", SOON, || is_split(&stats));
    let (reached, now) = (*peer.order().last().unwrap(), peer.world.clock.now_ms());
    assert!(now - reached < WINDOW.as_millis() as i64, "split {} s back", (now - reached) / 1000);
    peer.push();
    // Another outage before that is delivered.
    peer.outage(&destination, 50, 60);
    peer.come_back();
    for _ in 0..10 {
        peer.push();
        std::thread::sleep(Duration::from_millis(50));
    }
    let tally = peer.world.wait_for_all();
    assert_eq!((tally.repeated, stats.refused.get().total()), (0, 0));
    assert!(peer.world.stop(destination).complete);
}

/// Kills while the newest samples are sent first, also with the other setting afterwards: neither half is
/// sent again.
#[test]
fn kill_during_newest_first_loses_and_repeats_neither_half() {
    let mut peer = Windowed::new();
    let destination = peer.begin();
    peer.outage(&destination, 60, 10);
    peer.come_back();
    let mut destination = Some(destination);
    for round in 0..3 {
        let stats = destination.as_ref().unwrap().stats().clone();
        wait_until("the newest to go first", SOON, || is_split(&stats));
        peer.push();
        let newest = peer.world.clock.now_ms() - 1000;
        wait_until("the newest", SOON, || peer.order().iter().any(|time| *time >= newest));
        drop(destination.take());
        assert!(peer.world.tally().lost > 0, "the backlog should be on its way still");
        peer.world.reopen();
        let mut config = peer.config();
        if round == 2 {
            config.catch_up = CatchUp::OldestFirst;
        }
        destination = Some(peer.world.start(config));
    }
    let tally = peer.world.wait_for_all();
    // At most the requests under way at each kill: two with two samples each, and one more while lanes move
    // between shards.
    assert!(tally.repeated <= 3 * (2 + 1) * 2, "{tally:?}");
    let destination = destination.unwrap();
    assert_eq!(destination.stats().refused.get().total(), 0);
    assert!(peer.world.stop(destination).complete);
}

#[test]
fn configuration_without_a_window_is_rejected() {
    let mut config = World::new().config();
    config.catch_up = CatchUp::NewestFirst;
    for seconds in [0, 59] {
        config.out_of_order_window = Duration::from_secs(seconds);
        let identity = Identity::of(&config);
        let error = Prepared::new(config.clone(), identity, &[]).unwrap_err().to_string();
        assert!(error.contains("catch_up: newest_first") && error.contains("out_of_order_window"), "{error}");
    }
    config.out_of_order_window = Duration::from_secs(60);
    Prepared::new(config.clone(), Identity::of(&config), &[]).unwrap();
}

mod histories {
    //! Random histories on a file system that loses power, with outages, kills and power cuts between any two steps.

    use super::*;
    use common::{JumpingClock, Life};
    use model::{Batch, Labels, Series, SystemClock};
    use support::FakeReceiver;
    use wal::sim::SimFilesystem;

    const SAMPLES_MAX: usize = 3;
    const SHARDS_MAX: usize = 3;

    struct History {
        seed: u64,
        rng: fastrand::Rng,
        fs: SimFilesystem,
        clock: Arc<JumpingClock>,
        receiver: FakeReceiver,
        /// Number of requests that the receiver still accepts.
        quota: Arc<AtomicI64>,
        expected: BTreeMap<support::Labels, Vec<i64>>,
        kills: usize,
        cuts: usize,
        splits: usize,
    }

    impl History {
        fn new(seed: u64) -> History {
            let (receiver, quota) = (FakeReceiver::start(), Arc::new(AtomicI64::new(0)));
            let left = quota.clone();
            receiver.answer(move |request| match left.fetch_sub(1, Ordering::SeqCst) > 0 {
                true => Answer::success(request),
                false => Answer::status(503),
            });
            History {
                seed,
                rng: fastrand::Rng::with_seed(seed),
                fs: SimFilesystem::new(seed),
                clock: Arc::new(JumpingClock::new(SystemClock::new())),
                receiver,
                quota,
                expected: BTreeMap::new(),
                kills: 0,
                cuts: 0,
                splits: 0,
            }
        }

        fn config(&mut self) -> RemoteWrite {
            let mut config = RemoteWrite::to(remote::Url::parse(&self.receiver.write_url()).unwrap());
            config.start_at = remote::config::StartAt::Oldest;
            config.catch_up = if self.rng.u8(..6) == 0 { CatchUp::OldestFirst } else { CatchUp::NewestFirst };
            config.out_of_order_window = Duration::from_secs([600, 7200][self.rng.usize(..2)]);
            config.queue_config.batch_send_deadline = Duration::from_millis(2);
            config.queue_config.max_backoff = Duration::from_millis(40);
            config.queue_config.max_samples_per_send = SAMPLES_MAX;
            config.queue_config.min_shards = self.rng.usize(1..=SHARDS_MAX);
            config.queue_config.max_shards = SHARDS_MAX;
            config
        }

        fn begin(&mut self) -> Life {
            Life::begin(self.fs.clone(), self.clock.clone(), || self.config()).unwrap()
        }

        fn push(&mut self, life: &Life) {
            // Each timestamp is later than all before, whatever the clock did.
            self.clock.jump(Duration::from_millis(2));
            let timestamp = self.clock.now_ms();
            let mut batch = Batch::new();
            let pairs = |number: &'static str| [("__name__", "m"), ("instance", number)];
            let numbers = ["0", "1", "2", "3", "4", "5", "6", "7"];
            for number in numbers {
                let series =
                    batch.add_series(Labels::from_pairs(pairs(number)).as_ref(), Series::NO_METADATA);
                batch.push_float(series, timestamp, timestamp as f64);
            }
            if life.runtime.block_on(life.storage.append(batch)).is_ok() {
                for number in numbers {
                    let labels = support::query::labels(pairs(number));
                    self.expected.entry(labels).or_default().push(timestamp);
                }
            }
        }

        fn live(&mut self) {
            let life = self.begin();
            let power = self.rng.u8(..3) == 0;
            for _ in 0..self.rng.usize(2..5) {
                match self.rng.u8(..3) {
                    0 => {
                        self.quota.store(0, Ordering::SeqCst);
                        for _ in 0..self.rng.usize(2..8) {
                            self.push(&life);
                            self.clock.jump(Duration::from_secs(self.rng.u64(5..30)));
                        }
                    }
                    1 => self.push(&life),
                    _ => {
                        self.quota.store(self.rng.i64(1..40), Ordering::SeqCst);
                        std::thread::sleep(Duration::from_millis(self.rng.u64(0..1500)));
                        self.push(&life);
                    }
                }
                std::thread::sleep(Duration::from_millis(self.rng.u64(0..20)));
            }
            self.end(life, power);
        }

        fn end(&mut self, life: Life, power: bool) {
            self.splits += usize::from(is_split(life.destination.stats()));
            if power {
                // No task of this life may touch the disk after the power cut.
                self.fs.power_cut();
                self.cuts += 1;
            }
            life.kill();
            self.kills += 1;
            self.fs.heal();
        }

        fn check(&mut self) {
            self.quota.store(i64::MAX, Ordering::SeqCst);
            let life = self.begin();
            self.push(&life);
            let seed = self.seed;
            let tally = support::wait_for("everything", support::SOON, || {
                let tally = self.receiver.tally(&self.expected);
                if tally.lost == 0 { Ok(tally) } else { Err(format!("seed {seed}: {tally:?}")) }
            });
            assert_eq!(life.destination.stats().refused.get().total(), 0, "seed {seed}");
            self.end(life, false);
            if self.cuts == 0 {
                let under_way = SHARDS_MAX * SAMPLES_MAX;
                assert!(tally.repeated as usize <= self.kills * under_way, "seed {seed}: {tally:?}");
            }
            for (labels, samples) in self.receiver.arrivals() {
                let mut seen = BTreeSet::new();
                let order: Vec<i64> =
                    samples.iter().map(|(time, _)| *time).filter(|time| seen.insert(*time)).collect();
                assert!(is_of_two_streams(&order), "seed {seed}: {labels:?} {order:?}");
            }
        }
    }

    /// Returns true if the timestamps are two ordered sequences merged, so that there are no three descending
    /// ones.
    fn is_of_two_streams(times: &[i64]) -> bool {
        let [mut first, mut second] = [i64::MIN; 2];
        for time in times {
            if *time > first {
                first = *time;
            } else if *time > second {
                second = *time;
            } else {
                return false;
            }
        }
        true
    }

    #[test]
    fn two_streams_are_told_from_three() {
        assert!(is_of_two_streams(&[1, 5, 2, 6, 3, 7, 4, 8]));
        assert!(!is_of_two_streams(&[3, 2, 1]));
    }

    #[test]
    fn random_histories_deliver_all_in_at_most_two_streams() {
        let number = |name: &str, or: u64| std::env::var(name).map_or(or, |value| value.parse().unwrap());
        let first = number("NARTHEX_HISTORIES_SEED", 1);
        let seeds: Vec<u64> = (first..first + number("NARTHEX_HISTORIES", 12)).collect();
        let run = |seed: u64| {
            let mut history = History::new(seed);
            for _ in 0..5 {
                history.live();
            }
            history.check();
            (history.splits, history.kills, history.cuts)
        };
        let [mut splits, mut kills, mut cuts] = [0; 3];
        for seeds in seeds.chunks(4) {
            std::thread::scope(|scope| {
                let running: Vec<_> = seeds.iter().map(|seed| scope.spawn(|| run(*seed))).collect();
                for history in running {
                    let (split, killed, cut) = history.join().unwrap();
                    (splits, kills, cuts) = (splits + split, kills + killed, cuts + cut);
                }
            });
        }
        println!("{kills} kills, of them {cuts} power cuts; {splits} while the newest went first");
        assert!(splits > 0 && cuts > 0 && kills > cuts, "it should have tried everything");
    }
}
