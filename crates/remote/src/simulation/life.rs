//! One run of a destination in a simulation, from its start to its kill. Plays the worker around
//! [`Delivery`], with virtual time and a simulated disk.

use super::checks::Checks;
use super::history::letters;
use super::log::{Sample, SimLog};
use super::receiver::SimOutput;
use crate::config::identity::Owner;
use crate::delivery::{self, Delivery, Flight, Log, Parking, Settings};
use crate::disk::aside::Files;
use crate::disk::keep::{self, Keep};
use crate::disk::positions::{Found, Lanes, PositionFile};
use crate::disk::progress::{Progress, Saving};
use crate::members::share::Share;
use crate::outgoing::Rules;
use crate::output::Output;
use crate::stats::Stats;
use futures_util::FutureExt;
use model::Clock;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use wal::Position;
use wal::sim::SimFilesystem;

/// Most events at one point in time.
const ROUNDS_MAX: u64 = 10_000;
/// The start of the simulation, in milliseconds since 1970.
pub(super) const EPOCH_MS: i64 = 1_700_000_000_000;
pub(super) const DATA: &str = "/data";

/// Virtual time, in nanoseconds.
#[derive(Debug, Default)]
pub(super) struct SimClock(AtomicU64);

impl SimClock {
    pub(super) fn set(&self, now: Duration) {
        self.0.store(now.as_nanos() as u64, Ordering::Relaxed);
    }
}

impl Clock for SimClock {
    fn now_ms(&self) -> i64 {
        EPOCH_MS + self.monotonic().as_millis() as i64
    }

    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

/// The environment of a life.
pub(super) struct Ground {
    pub(super) clock: Arc<SimClock>,
    pub(super) log: SimLog,
    pub(super) fs: SimFilesystem,
    pub(super) rng: fastrand::Rng,
    /// Longest time of an answer, in milliseconds.
    pub(super) slowness: u64,
    /// Longest time of a write to disk, in milliseconds.
    pub(super) disk_slowness: u64,
    /// Samples that were refused, whether their dead letters were kept or not.
    pub(super) refused: BTreeSet<Sample>,
    /// A hash over all events, so that two runs can be compared.
    pub(super) trace: u64,
}

impl Ground {
    pub(super) fn note(&mut self, what: u64) {
        self.trace = (self.trace ^ what).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(17);
    }
}

/// An operation that ends at some time.
enum Due {
    Reply(Box<Flight<Vec<Sample>>>, crate::Verdict),
    Kept(Keep),
    Synced(Box<Saving>),
    Loaded(u64),
}

pub(super) struct Life {
    pub(super) delivery: Delivery<SimOutput>,
    pub(super) stats: Arc<Stats>,
    progress: Progress,
    disk: keep::Disk,
    files: Files,
    due: BTreeMap<(Duration, u64), Due>,
    number: u64,
    /// The position of each stream's reader.
    readers: BTreeMap<u64, Position>,
    opened: Position,
    handed: u64,
    kept: u64,
    /// The ends of writes by the keeper. Each write begins after the one before.
    keeping: VecDeque<Duration>,
    tick_at: Duration,
    memory: usize,
    checks: Checks,
}

impl Life {
    /// Returns `None` if the disk prevents the start.
    pub(super) fn begin(
        ground: &mut Ground,
        name: &str,
        settings: Settings,
        output: SimOutput,
        share: Option<Arc<Share>>,
        begin: Position,
    ) -> Option<Life> {
        let clock: Arc<dyn Clock> = ground.clock.clone();
        let (memory, checks) = (settings.queue.memory, Checks::new(&settings));
        let stats: Arc<Stats> = Arc::default();
        let owner = Owner { name: Some(name.to_string()), url: "http://simulated/".into(), variant: 0 };
        let path = Path::new(DATA).join("positions").join(name);
        let opened = PositionFile::open(&ground.fs, &path, &owner, 1, begin, Position::default());
        let (file, settled, found) = opened.ok()?;
        let dead = Path::new(DATA).join("dead");
        let files = Files::new(&dead, name);
        let shelf = files.list(&ground.fs).ok()?;
        let fs: Arc<dyn wal::Filesystem> = Arc::new(ground.fs.clone());
        let (letters, now) = (dead.join(format!("{name}.jsonl")), clock.monotonic());
        let disk = keep::Disk::new(fs, clock.clone(), letters, files.clone(), stats.clone());
        let mut rules = Rules::default();
        rules.share = share;
        let parts = delivery::Parts {
            name: name.to_string(),
            output,
            rules,
            clock,
            stats: stats.clone(),
            parking: Parking::new(shelf, now),
            seed: ground.rng.u64(..),
        };
        let repeats_until = (found != Found::New).then(|| ground.log.end());
        let delivery = Delivery::new(settings, &settled, repeats_until, parts);
        let progress = Progress::new(name.to_string(), stats.clone(), file, settled);
        Some(Life {
            delivery,
            stats,
            progress,
            disk,
            files,
            due: BTreeMap::new(),
            number: 0,
            readers: BTreeMap::new(),
            opened: ground.log.end(),
            handed: 0,
            kept: 0,
            keeping: VecDeque::new(),
            tick_at: now,
            memory,
            checks,
        })
    }

    fn add(&mut self, at: Duration, due: Due) {
        self.number += 1;
        self.due.insert((at, self.number), due);
    }

    /// Runs all events until `until`.
    pub(super) fn run(&mut self, ground: &mut Ground, until: Duration) {
        let (mut begun, mut rounds) = (ground.clock.monotonic(), 0);
        loop {
            self.work(ground);
            let now = ground.clock.monotonic();
            // An event that repeats without a pause would never end.
            (begun, rounds) = if now == begun { (begun, rounds + 1) } else { (now, 0) };
            assert!(rounds < ROUNDS_MAX, "{rounds} rounds at {now:?}: {}", self.shown());
            let due = self.due.keys().next().map(|(at, _)| *at);
            let wake = self.delivery.next_wakeup();
            let next = due.into_iter().chain(wake).chain([self.tick_at]).min().unwrap_or(until).max(now);
            if next > until {
                break;
            }
            ground.clock.set(next);
            ground.note(next.as_nanos() as u64);
            if let Some(entry) = self.due.first_entry().filter(|entry| entry.key().0 <= next) {
                let due = entry.remove();
                self.ended(ground, due);
            } else if self.tick_at <= next {
                self.tick_at = next + Duration::from_secs(1);
                self.delivery.every_second(&ground.log);
                self.update(ground);
                self.save(ground);
                Checks::tick(&self.delivery);
            }
        }
        ground.clock.set(until.max(ground.clock.monotonic()));
    }

    fn shown(&self) -> String {
        let due = self.due.keys().next();
        let streams = self.delivery.streams().iter().map(|stream| {
            let queue = &stream.queue;
            (
                stream.number,
                stream.kind,
                stream.is_isolated,
                queue.pending(),
                queue.head(),
                stream.is_rejoining,
            )
        });
        let streams: Vec<_> = streams.collect();
        format!(
            "due {due:?}, wakes {:?}, {streams:?}, {:?}",
            self.delivery.next_wakeup(),
            self.delivery.health()
        )
    }

    /// Reads chunks and sends requests, as long as there are any.
    fn work(&mut self, ground: &mut Ground) {
        self.update(ground);
        while self.read(ground) {
            self.update(ground);
        }
        let mut requests = 0;
        while let Some(flight) = self.delivery.begin_request() {
            requests += 1;
            assert!(requests < ROUNDS_MAX, "{requests} requests at once: {}", self.shown());
            self.checks.sent(&self.delivery, &flight);
            let message = flight.encoded.message.as_ref().unwrap();
            ground.note(
                message
                    .iter()
                    .fold(flight.stream, |sum, (series, time)| sum.rotate_left(7) ^ series ^ *time as u64),
            );
            let reply = self.delivery.output().send(message, flight.request.tries);
            let reply = reply.now_or_never().unwrap();
            let latency = Duration::from_millis(1 + ground.rng.u64(..ground.slowness));
            let at = ground.clock.monotonic() + latency;
            self.add(at, Due::Reply(Box::new(flight), reply));
        }
    }

    /// Gives the next chunk to a stream that wants one. Returns false if there is none.
    fn read(&mut self, ground: &Ground) -> bool {
        let wanted = self.delivery.streams().iter().filter(|stream| self.delivery.wants_chunk(stream));
        let next = wanted.filter_map(|stream| {
            let from = self.readers.get(&stream.number).copied().unwrap_or(stream.queue.head());
            Some((stream.number, ground.log.next(from, self.opened)?))
        });
        let Some((number, (chunk, is_from_disk))) = next.min_by_key(|(number, _)| *number) else {
            return false;
        };
        let stream = self.delivery.streams().iter().find(|stream| stream.number == number);
        Checks::read(stream.unwrap(), self.memory);
        self.readers.insert(number, chunk.end);
        self.delivery.feed(number, chunk, is_from_disk, true);
        true
    }

    /// Does the follow-up of any event.
    fn update(&mut self, ground: &mut Ground) {
        let now = ground.clock.monotonic();
        for keep in self.delivery.take_keeps().into_iter().filter(|keep| !keep.is_empty()) {
            self.handed += 1;
            ground.refused.extend(letters(keep.lines.as_bytes()).map(|(sample, _)| sample));
            let at = self.keeping.back().copied().unwrap_or(now).max(now)
                + Duration::from_millis(ground.rng.u64(..ground.disk_slowness));
            self.keeping.push_back(at);
            self.add(at, Due::Kept(keep));
        }
        self.delivery.take_rereads();
        let end = ground.log.end();
        let streams = self.delivery.streams();
        let read = |number: u64, head| self.readers.get(&number).copied().unwrap_or(head);
        let nothing_left = streams.iter().filter(|stream| stream.follows_log()).filter(|stream| {
            ground.log.next(read(stream.number, stream.queue.head()), self.opened).is_none()
        });
        let level: Vec<u64> = nothing_left.map(|stream| stream.number).collect();
        for number in level {
            self.delivery.advance(number, end);
        }
        if self.kept == self.handed
            && let Some(id) = self.delivery.entry_to_load()
        {
            self.add(now + Duration::from_millis(5), Due::Loaded(id));
        }
    }

    fn ended(&mut self, ground: &mut Ground, due: Due) {
        match due {
            Due::Reply(flight, reply) => {
                let sent_at = flight.sent_at;
                self.checks.replied(&flight, reply, ground.clock.monotonic());
                self.delivery.answered(*flight, &reply);
                self.checks.told(&self.delivery, sent_at, reply);
                self.update(ground);
                self.write();
            }
            Due::Kept(keep) => {
                self.keeping.pop_front();
                self.disk.keep(vec![keep]);
                self.kept += 1;
                if self.progress.is_held() {
                    self.write();
                }
            }
            Due::Synced(saving) => {
                let result = saving.wait();
                self.progress.end_sync(*saving, result);
            }
            Due::Loaded(id) => {
                let read = self.files.load(&ground.fs, id);
                self.delivery.entry_loaded(Some(read));
            }
        }
    }

    fn write(&mut self) {
        let settled = self.delivery.settled();
        self.checks.positions(&settled);
        self.progress.write(settled, self.handed, self.kept);
    }

    fn save(&mut self, ground: &mut Ground) {
        self.write();
        if let Some(saving) = self.progress.begin_sync() {
            let at = ground.clock.monotonic() + Duration::from_millis(ground.rng.u64(..ground.disk_slowness));
            self.add(at, Due::Synced(Box::new(saving)));
        }
    }

    /// Returns the positions that are durable. The log may have been deleted before them.
    pub(super) fn saved(&self) -> Lanes {
        self.progress.saved().lanes
    }

    /// Returns true if positions, dead letters or parked entries are being written.
    pub(super) fn is_writing(&self) -> bool {
        !self.keeping.is_empty() || self.progress.is_saving()
    }

    /// Returns true if no sample is under way, waits, or is parked.
    pub(super) fn is_delivered(&self, ground: &Ground) -> bool {
        let main = self.delivery.main(delivery::Kind::Live).unwrap();
        let is_read = main.is_read() || main.queue.head() >= ground.log.end();
        is_read
            && self.delivery.is_all_delivered()
            && self.stats.pending().total() == 0
            && self.delivery.is_parking_empty()
            && self.due.is_empty()
    }

    /// Hands over as a reload does: sends nothing more, waits for the answers, and saves.
    pub(super) fn hand_over(mut self, ground: &mut Ground) {
        self.delivery.stop();
        while let Some(entry) = self.due.first_entry() {
            let at = entry.key().0;
            let due = entry.remove();
            ground.clock.set(at.max(ground.clock.monotonic()));
            self.ended(ground, due);
            self.update(ground);
        }
        for _ in 0..2 {
            self.write();
            if let Some(saving) = self.progress.begin_sync() {
                let result = saving.wait();
                self.progress.end_sync(saving, result);
            }
        }
    }
}
