//! Random histories of a destination on a file system that fails, fills up and loses power: log, positions,
//! dead letters and parked samples together, with a receiver that refuses some samples, keeps failing on
//! others and fails at random. At the end each acknowledged sample has arrived, is in the dead letters, or is
//! counted.
//!
//! `NARTHEX_HISTORIES` sets the number of histories, `NARTHEX_HISTORIES_SEED` the first seed.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use common::{EPOCH_MS, JumpingClock, Life};
use model::{Batch, Labels, Series, SystemClock};
use remote::config::Message;
use remote::{RemoteWrite, Stats, Url};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use support::FakeReceiver;
use support::receiver::{Answer, Ending, Received};
use support::wire::visit;
use wal::sim::{Op, SimFilesystem};

const SERIES: u64 = 24;
const LIVES: u64 = 4;
const PUSHES: u64 = 6;

/// How the receiver treats a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Good,
    Refused,
    Hurts,
}

fn kind_of(series: u64, timestamp: i64) -> Kind {
    let mixed =
        (series ^ (timestamp as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    match (mixed >> 33) % 150 {
        0 => Kind::Hurts,
        1..=3 => Kind::Refused,
        _ => Kind::Good,
    }
}

/// Returns whether the request has samples on which the receiver fails, and whether it has samples that are
/// refused.
fn bad(request: &Received) -> (bool, bool) {
    let (mut hurts, mut refused) = (false, false);
    visit(request.version(), &request.content, |view| {
        let series = view.labels_map()["instance"].parse().unwrap();
        for (timestamp, _) in &view.samples {
            let kind = kind_of(series, *timestamp);
            hurts |= kind == Kind::Hurts;
            refused |= kind == Kind::Refused;
        }
    })
    .unwrap();
    (hurts, refused)
}

/// A series' number and a timestamp.
type Sample = (u64, i64);

struct History {
    seed: u64,
    rng: fastrand::Rng,
    fs: SimFilesystem,
    clock: Arc<JumpingClock>,
    receiver: FakeReceiver,
    /// Whether the receiver still fails, on certain samples and at random.
    moody: Arc<AtomicBool>,
    pushed: u64,
    acknowledged: Vec<Sample>,
    not_kept: u64,
    put_aside: u64,
    refused: u64,
    kills: u64,
    cuts: u64,
}

impl History {
    fn new(seed: u64) -> History {
        let (receiver, moody) = (FakeReceiver::start(), Arc::new(AtomicBool::new(true)));
        let (is_moody, count) = (moody.clone(), AtomicU64::new(0));
        receiver.answer(move |request| {
            let moody = is_moody.load(Ordering::SeqCst);
            let chance =
                (count.fetch_add(1, Ordering::SeqCst) ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60;
            match bad(request) {
                (true, _) if moody => Answer::status(500).body("it hurts"),
                (_, true) => Answer::status(400).body("out of bounds"),
                _ if !moody => Answer::success(request),
                _ => match chance {
                    0 => Answer::status(503),
                    1 => Answer::status(429).header("Retry-After", "1"),
                    2 => Answer::success(request).ending(Ending::NoAnswer),
                    _ => Answer::success(request),
                },
            }
        });
        let fs = SimFilesystem::new(seed);
        History {
            seed,
            rng: fastrand::Rng::with_seed(seed),
            fs,
            clock: Arc::new(JumpingClock::new(SystemClock::new())),
            receiver,
            moody,
            pushed: 0,
            acknowledged: Vec::new(),
            not_kept: 0,
            put_aside: 0,
            refused: 0,
            kills: 0,
            cuts: 0,
        }
    }

    fn config(&mut self) -> RemoteWrite {
        let mut config = RemoteWrite::to(Url::parse(&self.receiver.write_url()).unwrap());
        config.protobuf_message = Some(Message::V1);
        config.start_at = remote::config::StartAt::Oldest;
        config.queue_config.batch_send_deadline = Duration::from_millis(2);
        config.queue_config.max_backoff = Duration::from_millis(40);
        config.queue_config.min_shards = self.rng.usize(2..6);
        config.queue_config.max_shards = 6;
        config
    }

    /// Returns `None` if the disk prevents the start.
    fn begin(&mut self) -> Option<Life> {
        Life::begin(self.fs.clone(), self.clock.clone(), || self.config())
    }

    fn push(&mut self, life: &Life) {
        let timestamp = (EPOCH_MS + self.pushed * 1000) as i64;
        self.pushed += 1;
        let mut batch = Batch::new();
        for number in 0..SERIES {
            let instance = number.to_string();
            let pairs = [("__name__", "test_metric"), ("job", "test"), ("instance", instance.as_str())];
            let series = batch.add_series(Labels::from_pairs(pairs).as_ref(), Series::NO_METADATA);
            batch.push_float(series, timestamp, timestamp as f64);
        }
        if life.runtime.block_on(life.storage.append(batch)).is_ok() {
            self.acknowledged.extend((0..SERIES).map(|series| (series, timestamp)));
        }
    }

    fn live(&mut self) {
        let Some(life) = self.begin() else {
            self.fs.power_cut();
            return;
        };
        if self.rng.bool() {
            let ops = [Op::Write, Op::Sync, Op::Create, Op::Rename, Op::Remove, Op::SyncDir];
            let op = ops[self.rng.usize(..ops.len())];
            self.fs.fail(op, self.rng.u64(..20), self.rng.u64(1..4));
        }
        if self.rng.u8(..4) == 0 {
            self.fs.set_space(Some(self.rng.u64(..20_000)));
        }
        let power = self.rng.bool();
        if power {
            self.fs.die_after(self.rng.u64(..120));
        }
        for _ in 0..PUSHES {
            self.push(&life);
            self.settle_for_a_moment(life.destination.stats());
            self.clock.jump(Duration::from_secs(self.rng.u64(..400)));
        }
        self.end(life, power);
    }

    /// Waits until everything is settled, but only for a moment.
    fn settle_for_a_moment(&self, stats: &Stats) {
        for _ in 0..40 {
            if stats.queued.get().total() > 0 && stats.pending().total() == 0 {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn end(&mut self, life: Life, power: bool) {
        let stats = life.destination.stats().clone();
        let graceful = !power && self.rng.bool();
        if power {
            // No task of this life may touch the disk after the power cut.
            self.cuts += 1;
            self.fs.power_cut();
        }
        if graceful {
            life.end();
        } else {
            life.kill();
            self.kills += 1;
        }
        self.fs.heal();
        self.not_kept += stats.dead_letters_dropped.get();
        self.put_aside += stats.set_aside.get().samples;
        self.refused += stats.refused.get().samples;
        assert_eq!(stats.lost.get().total() + stats.dropped_no_series.get().total(), 0);
    }

    fn arrived(&self) -> BTreeMap<u64, Vec<i64>> {
        let arrivals = self.receiver.arrivals();
        let by_number = arrivals.iter().map(|(labels, samples)| {
            let number = labels["instance"].parse().unwrap();
            (number, samples.iter().map(|(timestamp, _)| *timestamp).collect())
        });
        by_number.collect()
    }

    fn dead(&self) -> BTreeSet<Sample> {
        use wal::Filesystem;
        let folder = Path::new(Life::DATA).join("dead");
        let names = self.fs.read_dir(&folder).unwrap_or_default();
        let letters = names.iter().filter(|name| name.to_string_lossy().contains(".jsonl"));
        let texts = letters.map(|name| self.fs.contents(&folder.join(name)).unwrap());
        let text: Vec<u8> = texts.flatten().collect();
        let lines = text.split(|byte| *byte == b'\n');
        // A line that was cut short is not a dead letter.
        let parsed = lines.filter_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok());
        let sample = |line: serde_json::Value| {
            let series = line["labels"]["instance"].as_str()?.parse().ok()?;
            Some((series, line["timestamp"].as_i64()?))
        };
        parsed.filter_map(sample).collect()
    }

    fn missing(&self) -> Vec<Sample> {
        let (arrived, dead) = (self.arrived(), self.dead());
        let there: BTreeSet<Sample> = arrived
            .iter()
            .flat_map(|(series, times)| times.iter().map(|timestamp| (*series, *timestamp)))
            .chain(dead)
            .collect();
        self.acknowledged.iter().filter(|sample| !there.contains(sample)).copied().collect()
    }

    /// Returns the samples whose first arrival was after a later sample of their series.
    fn out_of_order(&self) -> Vec<(Sample, Kind, i64)> {
        let mut late = Vec::new();
        for (series, times) in self.arrived() {
            let (mut seen, mut newest) = (BTreeSet::new(), i64::MIN);
            for timestamp in times.into_iter().filter(|timestamp| seen.insert(*timestamp)) {
                if timestamp < newest {
                    late.push(((series, timestamp), kind_of(series, timestamp), newest));
                }
                newest = newest.max(timestamp);
            }
        }
        late
    }

    fn check(&mut self) {
        self.moody.store(false, Ordering::SeqCst);
        let life = self.begin().unwrap();
        let stats = life.destination.stats().clone();
        self.push(&life);
        support::wait_for("everything", support::SOON, || {
            self.clock.jump(Duration::from_secs(5 * 60));
            let missing = self.missing();
            let not_kept = self.not_kept + stats.dead_letters_dropped.get();
            if missing.len() as u64 <= not_kept && stats.aside_points.get() == 0 {
                return Ok(());
            }
            let (seed, aside) = (self.seed, stats.aside_points.get());
            Err(format!("seed {seed}: {missing:?} are neither here nor counted ({not_kept}), {aside} aside"))
        });
        self.end(life, false);
        let (late, aside, seed) = (self.out_of_order(), self.put_aside, self.seed);
        assert!(late.len() as u64 <= aside, "seed {seed}: {late:?} out of order, {aside} were put aside");
    }
}

#[test]
fn random_histories_deliver_keep_or_count_every_acknowledged_sample() {
    let number = |name: &str, or: u64| std::env::var(name).map_or(or, |value| value.parse().unwrap());
    let first = number("NARTHEX_HISTORIES_SEED", 1);
    let [mut samples, mut refused, mut aside, mut not_kept, mut kills, mut cuts] = [0u64; 6];
    for seed in first..first + number("NARTHEX_HISTORIES", 12) {
        let mut history = History::new(seed);
        for _ in 0..LIVES {
            history.live();
        }
        history.check();
        samples += history.acknowledged.len() as u64;
        refused += history.refused;
        aside += history.put_aside;
        not_kept += history.not_kept;
        (kills, cuts) = (kills + history.kills, cuts + history.cuts);
    }
    println!(
        "{samples} acknowledged, {refused} refused, {aside} put aside, {not_kept} not kept, {kills} kills, of \
         them {cuts} power cuts"
    );
    assert!(refused > 0 && aside > 0 && cuts > 0 && kills > cuts, "it should have tried everything");
}
