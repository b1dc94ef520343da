//! Leaving lanes behind and taking them back, against a model: series that are stuck at random, a queue
//! that is small, and other queues that read the same log.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helper functions of tests")]

use super::behind::Mask;
use super::tests::{Points, chunk, settings};
use super::*;
use proptest::prelude::*;
use std::collections::{BTreeSet, HashMap, HashSet};

#[derive(Debug, Clone)]
enum Event {
    Append(Vec<u64>),
    Stick(u64),
    Free,
    Work,
    Pass(u64),
    Reshard(usize),
    Restart,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        14 => prop::collection::vec(0u64..60, 1..12).prop_map(Event::Append),
        2 => (0u64..60).prop_map(Event::Stick),
        1 => Just(Event::Free),
        18 => Just(Event::Work),
        10 => (10_000u64..60_000).prop_map(Event::Pass),
        1 => (1usize..6).prop_map(Event::Reshard),
        1 => Just(Event::Restart),
    ]
}

struct Straggler {
    queue: Queue<Points>,
    lanes: Mask,
    next: usize,
    returning: bool,
}

struct World {
    log: Vec<Points>,
    main: Queue<Points>,
    next: usize,
    stragglers: Vec<Straggler>,
    stuck: HashSet<u64>,
    now: Duration,
    settled: BTreeSet<(u64, u32)>,
    newest: HashMap<u64, (u64, u32)>,
    saved: [Position; LANES],
    left: usize,
}

fn small() -> Settings {
    Settings { capacity: 8, max_points: 5, min_shards: 3, ..settings() }
}

fn lane(points: &Points, point: u32) -> usize {
    usize::from(lane_of(points.series(point)))
}

fn end(chunk: &Points) -> Position {
    Position { segment: 0, offset: chunk.number + 1, index: 0 }
}

impl World {
    fn new() -> World {
        World {
            log: Vec::new(),
            main: Queue::new(small(), &[]),
            next: 0,
            stragglers: Vec::new(),
            stuck: HashSet::new(),
            now: Duration::ZERO,
            settled: BTreeSet::new(),
            newest: HashMap::new(),
            saved: [Position::default(); LANES],
            left: 0,
        }
    }

    /// Sends everything that a queue names, one request at a time.
    fn answer_all(
        queue: &mut Queue<Points>,
        now: Duration,
        stuck: &HashSet<u64>,
        settled: &mut BTreeSet<(u64, u32)>,
        newest: &mut HashMap<u64, (u64, u32)>,
    ) {
        while let Some(request) = queue.poll(now) {
            let mut series = queue.points(request.shard).map(|(chunk, point)| chunk.series(point));
            let fails = series.find(|series| stuck.contains(series));
            drop(series);
            let outcome = match fails.map(|series| series % 6) {
                // Some fail by an answer, so that they are narrowed down.
                Some(0 | 3) => Outcome::Retry {
                    reached: Reached::Receiver,
                    after: Some(Duration::from_secs(20)),
                    jitter: 0.0,
                },
                Some(1) => Outcome::Denied,
                Some(2) => Outcome::Refused { fits_a_repeat: false },
                Some(_) => Outcome::Retry { reached: Reached::NoAnswer, after: None, jitter: 0.0 },
                None if queue.points(request.shard).count() == 5 => Outcome::TooLarge,
                None => Outcome::Delivered,
            };
            queue.answer(request.shard, outcome, now, |chunk, point, fate| {
                let series = chunk.series(point);
                let may = match series % 6 {
                    _ if !stuck.contains(&series) => fate == Fate::Delivered,
                    0 | 3 => matches!(fate, Fate::Delivered | Fate::Poisoned),
                    1 | 2 => matches!(fate, Fate::Delivered | Fate::Refused { .. } | Fate::Presumed { .. }),
                    _ => fate == Fate::Delivered,
                };
                assert!(may, "{series}: {fate:?}");
                let at = (chunk.number, point);
                assert!(settled.insert(at), "{at:?} settled twice");
                let last = newest.insert(series, at);
                assert!(last.is_none_or(|last| last < at), "{at:?} settled after {last:?}");
            });
        }
    }

    fn work(&mut self) {
        let World { main, stragglers, log, settled, newest, stuck, now, .. } = self;
        while main.wants_more() && self.next < log.len() {
            let chunk = log[self.next].clone();
            self.next += 1;
            let count = chunk.points.len() as u32;
            main.push(chunk.clone(), end(&chunk), count, |_, _| true);
        }
        Self::answer_all(main, *now, stuck, settled, newest);
        if let Some(left) = main.leave_behind(*now, |_, _| {}) {
            self.left += 1;
            let again =
                stragglers.iter_mut().find(|straggler| straggler.returning && straggler.lanes == left.lanes);
            match again {
                Some(straggler) => {
                    straggler.returning = false;
                    straggler.next = left.from.offset as usize;
                }
                None => stragglers.push(Straggler {
                    queue: Queue::new(small(), &left.positions),
                    lanes: left.lanes,
                    next: left.from.offset as usize,
                    returning: false,
                }),
            }
        }
        for straggler in stragglers.iter_mut() {
            straggler.queue.set_flushing(true);
            while !straggler.returning && straggler.queue.wants_more() && straggler.next < log.len() {
                let (chunk, head) = (log[straggler.next].clone(), main.head());
                straggler.next += 1;
                let (count, to) = (chunk.points.len() as u32, end(&chunk).min(head));
                straggler.queue.push(chunk.clone(), to, count, |chunk, point| {
                    straggler.lanes[lane(chunk, point)] && chunk.position(point) < head
                });
                if end(&chunk) > head {
                    straggler.next = head.offset as usize;
                    break;
                }
            }
            let read = Position { segment: 0, offset: straggler.next as u64, index: 0 };
            if !straggler.returning && read >= main.head() {
                straggler.returning = main.begin_return(&straggler.lanes);
            }
            Self::answer_all(&mut straggler.queue, *now, stuck, settled, newest);
        }
        stragglers.retain(|straggler| {
            let through = straggler.returning && straggler.queue.pending() == 0;
            if through {
                main.end_return(&straggler.lanes);
            }
            !through
        });
        main.tick(*now);
        self.check();
    }

    fn check(&mut self) {
        let mut positions = self.main.positions();
        for straggler in &mut self.stragglers {
            for (lane, own) in straggler.queue.positions().into_iter().enumerate() {
                if straggler.lanes[lane] {
                    positions[lane] = own;
                }
            }
        }
        for (lane, (now, before)) in positions.iter().zip(&self.saved).enumerate() {
            assert!(now >= before, "the position of lane {lane} went back");
        }
        for chunk in &self.log {
            for point in 0..chunk.points.len() as u32 {
                let lane = lane(chunk, point);
                assert!(
                    self.settled.contains(&(chunk.number, point)) || positions[lane] <= chunk.position(point),
                    "the position of lane {lane} passes {point} of {}",
                    chunk.number
                );
            }
        }
        self.saved = positions;
    }

    fn restart(&mut self) {
        self.stragglers.clear();
        self.main = Queue::new(small(), &self.saved);
        self.next = self.main.head().offset as usize;
        self.settled.retain(|(number, point)| {
            let chunk = &self.log[*number as usize];
            self.saved[lane(chunk, *point)] > chunk.position(*point)
        });
        self.newest.clear();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn lanes_that_are_left_and_come_back_lose_and_reorder_nothing(
        events in prop::collection::vec(event(), 50..250)) {
        let mut world = World::new();
        for event in events {
            match event {
                Event::Append(series) => {
                    let mut chunk = chunk(world.log.len() as u64, series);
                    chunk.arrived = world.now;
                    world.log.push(chunk);
                }
                Event::Stick(series) => drop(world.stuck.insert(series)),
                Event::Free => world.stuck.clear(),
                Event::Work => world.work(),
                Event::Pass(ms) => world.now += Duration::from_millis(ms),
                Event::Reshard(shards) => world.main.reshard(shards),
                Event::Restart => world.restart(),
            }
        }
        world.stuck.clear();
        for _ in 0..1000 {
            world.now += Duration::from_secs(61);
            world.work();
        }
        let all: usize = world.log.iter().map(|chunk| chunk.points.len()).sum();
        prop_assert_eq!(world.settled.len(), all);
        prop_assert!(world.stragglers.is_empty() && world.main.pending() == 0);
    }
}

#[test]
fn a_stuck_shard_is_left_behind_only_while_others_pass_and_comes_back() {
    let mut world = World::new();
    world.stuck.insert(0);
    for number in 0..100 {
        world.log.push(chunk(number, [0, 1, 2]));
    }
    for _ in 0..200 {
        world.now += Duration::from_secs(1);
        world.work();
    }
    assert!(world.left >= 1);
    assert_eq!(world.stragglers.len(), 1);
    // Lanes 1 and 2 are done, and lane 0 has not moved.
    assert_eq!((world.settled.len(), world.saved[0]), (200, Position::default()));
    world.stuck.clear();
    for _ in 0..200 {
        world.now += Duration::from_secs(1);
        world.work();
    }
    assert_eq!((world.settled.len(), world.stragglers.len()), (300, 0));
}
