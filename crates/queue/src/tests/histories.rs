//! The queue against a model: random chunks, answers, resharding, restarts.

use super::*;
use ::model::Kinds;
use proptest::prelude::*;
use std::collections::{BTreeMap, HashMap};

#[derive(Debug, Clone)]
enum Event {
    Push(Vec<u64>),
    Poll,
    Answer(usize, Verdict),
    Trim(usize),
    Pass(u64),
    Reshard(usize),
    Restart,
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        6 => Just(Verdict::Delivered),
        1 => Just(Verdict::Partial { refused: Kinds::default() }),
        2 => any::<bool>().prop_map(|answered| {
            let reached = if answered { Reached::Receiver } else { Reached::NoAnswer };
            Verdict::Failed { reached, retry_after: None }
        }),
        1 => Just(Verdict::Resend),
        1 => Just(Verdict::Unsent),
        2 => Just(Verdict::Refused { fits_a_repeat: false }),
        1 => Just(Verdict::RefusedWhole),
        1 => Just(Verdict::TooLarge),
        1 => Just(Verdict::Denied),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => prop::collection::vec(0u64..600, 0..40).prop_map(Event::Push),
        6 => Just(Event::Poll),
        6 => (any::<usize>(), verdict()).prop_map(|(which, verdict)| Event::Answer(which, verdict)),
        1 => (1usize..12).prop_map(Event::Trim),
        2 => (0u64..70_000).prop_map(Event::Pass),
        1 => (0usize..9).prop_map(Event::Reshard),
        1 => Just(Event::Restart),
    ]
}

/// The queue and its model.
struct World {
    queue: Tested,
    now: Duration,
    log: Vec<Points>,
    settled: BTreeMap<(u64, u32), Fate>,
    /// Per series, the newest point of a request that was answered as delivered, to detect reordering.
    newest_taken: HashMap<u64, (u64, u32)>,
    under_way: Vec<Request>,
    saved: [Position; LANES],
}

impl World {
    fn poll(&mut self, trim: Option<usize>) {
        let Some(request) = self.queue.poll(self.now) else { return };
        if let (true, Some(keep)) = (request.whole, trim) {
            self.queue.trim(request.shard, keep);
        }
        let points: Vec<_> = self.queue.points(request.shard).map(|(c, p)| (c.number, p)).collect();
        assert!(!points.is_empty() && points.is_sorted());
        assert!(points.iter().all(|point| !self.settled.contains_key(point)), "sent after it was settled");
        for other in &self.under_way {
            for (chunk, point) in self.queue.points(other.shard) {
                let lane = lane_of(chunk.series(point));
                assert!(
                    self.queue.points(request.shard).all(|(c, p)| lane_of(c.series(p)) != lane),
                    "two requests with lane {lane} at once"
                );
            }
        }
        // Outside this request, no older point of the same series may be open.
        for (chunk, point) in self.queue.points(request.shard) {
            let series = chunk.series(point);
            for older in &self.log[..=chunk.number as usize] {
                for index in 0..older.points.len() as u32 {
                    let at = (older.number, index);
                    if at < (chunk.number, point) && older.series(index) == series {
                        assert!(self.settled.contains_key(&at) || points.contains(&at), "{at:?} overtaken");
                    }
                }
            }
        }
        self.under_way.push(request);
    }

    fn answer(&mut self, which: usize, verdict: Verdict) {
        if self.under_way.is_empty() {
            return;
        }
        let request = self.under_way.swap_remove(which % self.under_way.len());
        let (settled, newest) = (&mut self.settled, &mut self.newest_taken);
        self.queue.answer(request.shard, verdict, self.now, |chunk, point, fate| {
            let at = (chunk.number, point);
            assert_eq!(settled.insert(at, fate), None, "settled twice");
            if fate == Fate::Delivered {
                let last = newest.insert(chunk.series(point), at);
                assert!(last.is_none_or(|last| last < at), "delivered out of order");
            }
        });
    }

    fn check_positions(&mut self) {
        let positions = self.queue.positions();
        for chunk in &self.log {
            for point in 0..chunk.points.len() as u32 {
                let lane = usize::from(lane_of(chunk.series(point)));
                assert!(
                    self.settled.contains_key(&(chunk.number, point))
                        || positions[lane] <= chunk.position(point),
                    "the position of lane {lane} passes {point} of {}",
                    chunk.number
                );
            }
        }
        for (now, before) in positions.iter().zip(&self.saved) {
            assert!(now >= before, "a position went back");
        }
        self.saved = positions;
        assert_eq!(
            self.queue.pending() + self.settled.len(),
            self.log.iter().map(|chunk| chunk.points.len()).sum::<usize>()
        );
    }

    /// Simulates a kill and a start from the saved positions. Answers that are under way are lost.
    fn restart(&mut self) {
        self.under_way.clear();
        self.queue = Tested::new(settings(), &self.saved);
        let head = self.queue.head();
        // Points after the positions are sent again, so the model forgets that they were settled.
        self.settled.retain(|(number, point), _| {
            let chunk = &self.log[*number as usize];
            self.saved[usize::from(lane_of(chunk.series(*point)))] > chunk.position(*point)
        });
        self.newest_taken.clear();
        for chunk in self.log.clone() {
            if chunk.number >= head.offset {
                push(&mut self.queue, chunk);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn random_histories_lose_and_reorder_nothing(events in prop::collection::vec(event(), 1..120)) {
        let mut world = World {
            queue: Tested::new(settings(), &[]),
            now: Duration::ZERO,
            log: Vec::new(),
            settled: BTreeMap::new(),
            newest_taken: HashMap::new(),
            under_way: Vec::new(),
            saved: [Position::default(); LANES],
        };
        for event in events {
            match event {
                Event::Push(series) => {
                    if world.queue.wants_more() {
                        let mut chunk = chunk(world.log.len() as u64, series);
                        chunk.arrived = world.now;
                        world.log.push(chunk.clone());
                        push(&mut world.queue, chunk);
                    }
                }
                Event::Poll => world.poll(None),
                Event::Trim(keep) => world.poll(Some(keep)),
                Event::Answer(which, verdict) => world.answer(which, verdict),
                Event::Pass(ms) => {
                    world.now += Duration::from_millis(ms);
                    world.queue.tick(world.now);
                }
                Event::Reshard(shards) => world.queue.reshard(shards),
                Event::Restart => world.restart(),
            }
            world.check_positions();
        }
        // In the end the destination accepts all requests, and all points are settled.
        while !world.under_way.is_empty() {
            world.answer(0, Verdict::Delivered);
        }
        for _ in 0..10_000 {
            world.now += Duration::from_secs(61);
            world.poll(None);
            world.answer(0, Verdict::Delivered);
        }
        world.check_positions();
        prop_assert_eq!(world.queue.pending(), 0);
        prop_assert_eq!(world.queue.bytes(), 0);
        prop_assert!(world.saved.iter().all(|position| *position == world.queue.head()));
    }
}
