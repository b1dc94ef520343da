//! One random history: several lives of narthex, and the checks at the end.

use super::life::{DATA, EPOCH_MS, Ground, Life};
use super::log::Sample;
use super::receiver::{Mode, Opinion, Receiver, SimOutput, Style};
use super::{LIVES, PATIENCE, SECOND, SERIES, STEPS, ground, receiver, settings};
use crate::delivery::{Log, Settings};
use crate::disk::positions::Lanes;
use crate::members::rings::Rings;
use crate::members::share::Share;
use model::Clock;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use wal::sim::Op;
use wal::{Filesystem, Position};

pub(super) struct History {
    seed: u64,
    pub(super) ground: Ground,
    pub(super) receiver: Arc<Mutex<Receiver>>,
    rings: Option<Rings>,
    lives: Vec<(String, Life)>,
    times: Vec<i64>,
    pub(super) acknowledged: Vec<Sample>,
    not_kept: u64,
    too_old: u64,
    pub(super) parked: u64,
    pub(super) refused: u64,
    newest_first: bool,
    /// For each destination, the positions that were durable when its last life ended.
    saved: BTreeMap<String, Lanes>,
    /// All lives so far narrowed batches. Otherwise good samples may be refused with their batches.
    narrows: bool,
    pub(super) kills: u64,
}

impl History {
    fn new(seed: u64) -> History {
        let mut ground = ground(seed);
        let mut receiver = receiver(seed);
        receiver.style = [Style::Counts, Style::WritesNothing, Style::WritesTheRest][ground.rng.usize(..3)];
        receiver.rarity = [60, 300, 3000][ground.rng.usize(..3)];
        receiver.spans = [9, 40, u64::MAX][ground.rng.usize(..3)];
        receiver.most = if ground.rng.u8(..4) == 0 { ground.rng.usize(3..15) } else { usize::MAX };
        let rings = (ground.rng.u8(..5) == 0).then(Rings::default);
        History {
            seed,
            ground,
            receiver: Arc::new(Mutex::new(receiver)),
            rings,
            lives: Vec::new(),
            times: vec![EPOCH_MS; SERIES as usize],
            acknowledged: Vec::new(),
            not_kept: 0,
            too_old: 0,
            parked: 0,
            refused: 0,
            newest_first: false,
            saved: BTreeMap::new(),
            narrows: true,
            kills: 0,
        }
    }

    fn settings(&mut self) -> Settings {
        let rng = &mut self.ground.rng;
        let mut settings = settings();
        let queue = &mut settings.queue;
        queue.min_shards = rng.usize(1..4);
        queue.max_points = rng.usize(4..40);
        queue.capacity = rng.usize(40..400);
        queue.memory = [8 << 10, 64 << 10, 1 << 20][rng.usize(..3)];
        queue.early = rng.bool();
        queue.narrow = rng.u8(..8) > 0;
        queue.park = rng.u8(..6) > 0;
        self.narrows &= queue.narrow;
        settings.age_limit = (rng.u8(..10) == 0).then_some(Duration::from_secs(600));
        // A rate so low that the streams wait for each other.
        settings.max_bytes_per_second = (rng.u8(..5) == 0).then(|| rng.u64(500..5000));
        settings.window = (rng.u8(..3) == 0).then_some(Duration::from_secs(3600));
        self.newest_first |= settings.window.is_some();
        settings
    }

    /// Starts all destinations. Returns false if the disk prevents one of them from starting.
    fn begin(&mut self) -> bool {
        let settings = self.settings();
        let Some(rings) = &mut self.rings else {
            return self.begin_one("only", settings, None, Position::default());
        };
        let all = ["a", "b", "c"];
        let count = self.ground.rng.usize(1..3);
        let first = self.ground.rng.usize(..2);
        let members: Vec<String> = all[first..first + count].iter().map(|name| name.to_string()).collect();
        let end = self.ground.log.end();
        if !rings.are_now(&members, 1) && rings.all().len() < 8 {
            rings.change(end, &members, 1).unwrap();
        }
        let rings = rings.clone();
        rings.all_members().into_iter().all(|name| {
            let (begin, until) = rings.part(&name).unwrap();
            let settings = Settings { until, ..settings.clone() };
            self.begin_one(&name, settings, Some(Arc::new(rings.share(&name))), begin)
        })
    }

    fn begin_one(
        &mut self,
        name: &str,
        settings: Settings,
        share: Option<Arc<Share>>,
        begin: Position,
    ) -> bool {
        let output = SimOutput { receiver: self.receiver.clone() };
        let life = Life::begin(&mut self.ground, name, settings, output, share, begin);
        let has_begun = life.is_some();
        if let (Some(life), Some(saved)) = (&life, self.saved.get(name)) {
            let lost = saved.iter().zip(life.saved()).position(|(saved, found)| found < *saved);
            assert_eq!(lost, None, "seed {}: durable positions of {name} are lost", self.seed);
        }
        self.lives.extend(life.map(|life| (name.to_string(), life)));
        has_begun
    }

    fn append(&mut self) {
        let count = self.ground.rng.u64(1..=SERIES);
        let first = self.ground.rng.u64(..SERIES);
        let samples: Vec<Sample> = (first..first + count)
            .map(|number| {
                let series = number % SERIES;
                let time = &mut self.times[series as usize];
                *time = (*time + 1).max(self.ground.clock.now_ms());
                (series, *time)
            })
            .collect();
        let now = self.ground.clock.monotonic();
        self.ground.log.append(&samples, now);
        self.acknowledged.extend(samples);
    }

    /// Half an hour in which the receiver works, so that samples on which it keeps failing are parked.
    fn calm(&mut self) {
        self.receiver.lock().unwrap().mode = Mode::Works;
        self.ground.slowness = 50;
        for _ in 0..60 {
            self.append();
            self.pass(30 * SECOND);
        }
    }

    fn step(&mut self) {
        if self.ground.rng.u8(..80) == 0 {
            self.calm();
        }
        for _ in 0..self.ground.rng.u64(..4) {
            self.append();
        }
        let rng = &mut self.ground.rng;
        if rng.u8(..4) == 0 {
            let modes = [
                Mode::Works,
                Mode::Works,
                Mode::Away,
                Mode::Fails,
                Mode::Limits,
                Mode::Denies,
                Mode::LosesAnswers,
            ];
            self.receiver.lock().unwrap().mode = modes[rng.usize(..modes.len())];
        }
        if rng.u8(..20) == 0 {
            self.receiver.lock().unwrap().is_sick ^= true;
        }
        if rng.u8(..8) == 0 {
            self.ground.slowness = [5, 50, 2000, 20_000][rng.usize(..4)];
        }
        let seconds = match rng.u8(..10) {
            0..=5 => rng.u64(..5),
            6..=8 => rng.u64(..120),
            _ => rng.u64(..900),
        };
        let millis = rng.u64(..1000);
        self.pass(Duration::from_millis(seconds * 1000 + millis));
    }

    fn pass(&mut self, time: Duration) {
        let until = self.ground.clock.monotonic() + time;
        // The destinations share the clock, so they run in turn for a few seconds each.
        while self.ground.clock.monotonic() < until {
            let slice = (self.ground.clock.monotonic() + 5 * SECOND).min(until);
            let begin = self.ground.clock.monotonic();
            for (_, life) in &mut self.lives {
                self.ground.clock.set(begin);
                life.run(&mut self.ground, slice);
            }
            self.ground.clock.set(slice);
        }
    }

    /// Runs until a write to disk is under way, for at most a minute, and a little longer.
    fn wait_for_writing(&mut self) {
        for _ in 0..120 {
            if self.lives.iter().any(|(_, life)| life.is_writing()) {
                break;
            }
            self.pass(SECOND / 2);
        }
        let millis = self.ground.rng.u64(..500);
        self.pass(Duration::from_millis(millis));
    }

    fn live(&mut self) {
        self.ground.log.begin_segment();
        if !self.begin() {
            self.lives.clear();
            self.ground.fs.heal();
            return;
        }
        match self.ground.rng.u8(..6) {
            0 => {
                let ops = [Op::Write, Op::Sync, Op::Create, Op::Rename, Op::Remove, Op::SyncDir];
                let op = ops[self.ground.rng.usize(..ops.len())];
                self.ground.fs.fail(op, self.ground.rng.u64(..20), self.ground.rng.u64(1..4));
            }
            1 => self.ground.fs.set_space(Some(self.ground.rng.u64(..20_000))),
            _ => {}
        }
        self.ground.disk_slowness = [50, 500, 10_000][self.ground.rng.usize(..3)];
        for _ in 0..STEPS {
            self.step();
        }
        if self.ground.rng.bool() {
            self.wait_for_writing();
        }
        self.end();
    }

    fn end(&mut self) {
        let how = self.ground.rng.u8(..3);
        for (name, life) in std::mem::take(&mut self.lives) {
            let stats = life.stats.clone();
            self.saved.insert(name, life.saved());
            if how == 0 {
                life.hand_over(&mut self.ground);
            }
            self.not_kept += stats.dead_letters_dropped.get();
            self.too_old += stats.dropped_too_old.get().samples;
            self.parked += stats.set_aside.get().samples;
            self.refused += stats.refused.get().samples;
        }
        if how == 1 {
            self.ground.fs.power_cut();
        }
        self.kills += u64::from(how > 0);
        self.ground.fs.heal();
    }

    fn dead(&self) -> Vec<(Sample, String)> {
        let folder = Path::new(DATA).join("dead");
        let names = self.ground.fs.read_dir(&folder).unwrap_or_default();
        let files = names.iter().filter(|name| name.to_string_lossy().contains(".jsonl"));
        let texts = files.map(|name| self.ground.fs.contents(&folder.join(name)).unwrap());
        // The last line of a file may have been cut.
        let text: Vec<u8> = texts.flat_map(|text| text.into_iter().chain(*b"\n")).collect();
        letters(&text).collect()
    }

    /// Removes all faults, and runs until everything is delivered.
    fn finish(&mut self) {
        {
            let mut receiver = self.receiver.lock().unwrap();
            (receiver.mode, receiver.is_sick) = (Mode::Works, false);
        }
        (self.ground.slowness, self.ground.disk_slowness) = (20, 50);
        self.ground.log.begin_segment();
        assert!(self.begin(), "seed {}: the disk works", self.seed);
        let until = self.ground.clock.monotonic() + PATIENCE;
        while !self.lives.iter().all(|(_, life)| life.is_delivered(&self.ground)) {
            assert!(self.ground.clock.monotonic() < until, "seed {}: not delivered in time", self.seed);
            self.pass(10 * SECOND);
        }
        let names = self.ground.fs.read_dir(&Path::new(DATA).join("dead")).unwrap_or_default();
        let is_entry = |name: &str| name.contains(".aside-") && !name.ends_with("-new");
        let left: Vec<_> = names.iter().filter(|name| is_entry(&name.to_string_lossy())).collect();
        assert!(left.is_empty(), "seed {}: {left:?} are left of the parked samples", self.seed);
        self.end();
        self.check();
    }

    fn check(&self) {
        let seed = self.seed;
        let receiver = self.receiver.lock().unwrap();
        let written: BTreeSet<Sample> = receiver
            .written
            .iter()
            .flat_map(|(series, times)| times.iter().map(|time| (*series, *time)))
            .collect();
        let dead = self.dead();
        let letters: BTreeSet<Sample> = dead.iter().map(|(sample, _)| *sample).collect();
        let is_there = |sample: &&Sample| written.contains(*sample) || letters.contains(*sample);
        let missing: Vec<&Sample> = self.acknowledged.iter().filter(|sample| !is_there(sample)).collect();
        assert!(
            missing.len() as u64 <= self.not_kept + self.too_old,
            "seed {seed}: {:?} are lost, {} were not kept; {:?}, {} refused, {} letters",
            missing.iter().map(|sample| (**sample, receiver.opinion(**sample))).collect::<Vec<_>>(),
            self.not_kept,
            receiver.style,
            self.refused,
            dead.len()
        );
        for (sample, reason) in &dead {
            // For a request with counts it is unknown which samples were refused.
            let is_right = matches!(receiver.opinion(*sample), Opinion::Bad | Opinion::PoisonBad)
                || reason == "presumed"
                || !self.narrows
                || receiver.style == Style::Counts
                || written.contains(sample);
            assert!(is_right, "seed {seed}: {sample:?} was refused for nothing: {reason}");
        }
        // Without narrowing, a good sample is refused with its batch.
        if self.newest_first || self.rings.is_some() || !self.narrows {
            return;
        }
        let mut late = Vec::new();
        for (series, times) in &receiver.written {
            let (mut seen, mut newest) = (BTreeSet::new(), i64::MIN);
            for time in times.iter().filter(|time| seen.insert(**time)) {
                // A sample that was presumed refused is sent again if a power cut loses its dead letter or
                // the position.
                if *time < newest && !self.ground.refused.contains(&(*series, *time)) {
                    late.push((*series, *time));
                }
                newest = newest.max(*time);
            }
        }
        // Parked samples arrive late. So may samples that were too old at their first try.
        let most = self.parked + self.too_old;
        assert!(late.len() as u64 <= most, "seed {seed}: {late:?} out of order, {} were parked", self.parked);
    }

    pub(super) fn run(seed: u64) -> History {
        let mut history = History::new(seed);
        for _ in 0..LIVES {
            history.live();
        }
        history.finish();
        history
    }
}

/// Returns the samples of dead letters, and why they were refused.
pub(super) fn letters(text: &[u8]) -> impl Iterator<Item = (Sample, String)> + '_ {
    let lines = text.split(|byte| *byte == b'\n');
    let parsed = lines.filter_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok());
    parsed.filter_map(|line| {
        let series = line["labels"]["number"].as_str()?.parse().ok()?;
        Some(((series, line["timestamp"].as_i64()?), line["reason"].as_str()?.to_string()))
    })
}
