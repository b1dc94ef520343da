//! The queue against a model: random chunks, answers, resharding, restarts.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helper functions of tests")]

use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

#[derive(Debug, Clone)]
pub(super) struct Points {
    pub(super) number: u64,
    pub(super) points: Rc<Vec<(u64, i64)>>,
    pub(super) arrived: Duration,
    pub(super) together: bool,
    pub(super) can_wait: bool,
}

impl Source for Points {
    fn position(&self, point: u32) -> Position {
        Position { segment: 0, offset: self.number, index: point }
    }
    fn series(&self, point: u32) -> u64 {
        self.points[point as usize].0
    }
    fn timestamp(&self, point: u32) -> i64 {
        self.points[point as usize].1
    }
    fn arrived(&self) -> Duration {
        self.arrived
    }
    fn can_wait(&self) -> bool {
        self.can_wait
    }
    fn keeps_together(&self) -> bool {
        self.together
    }
    fn bytes(&self) -> usize {
        100
    }
}

pub(super) fn settings() -> Settings {
    Settings {
        min_shards: 1,
        max_shards: 6,
        capacity: 100,
        max_points: 10,
        deadline: Duration::from_secs(5),
        early: false,
        min_backoff: Duration::from_millis(30),
        max_backoff: Duration::from_secs(5),
        memory: 1 << 20,
        narrow: true,
        put_aside: true,
    }
}

/// With large batches, which wait for nothing.
pub(super) fn started(shards: usize) -> Queue<Points> {
    let mut queue =
        Queue::new(Settings { min_shards: shards, max_points: 100, capacity: 100_000, ..settings() }, &[]);
    queue.set_flushing(true);
    queue
}

pub(super) const RETRY: Outcome = Outcome::Retry { reached: Reached::Receiver, after: None, jitter: 0.0 };

pub(super) fn chunk(number: u64, series: impl IntoIterator<Item = u64>) -> Points {
    let points = series.into_iter().map(|series| (series, number as i64)).collect();
    Points { number, points: Rc::new(points), arrived: Duration::ZERO, together: false, can_wait: false }
}

pub(super) fn push(queue: &mut Queue<Points>, chunk: Points) -> usize {
    let count = chunk.points.len() as u32;
    let end = Position { segment: 0, offset: chunk.number + 1, index: 0 };
    queue.push(chunk, end, count, |_, _| true)
}

pub(super) fn sent(queue: &Queue<Points>, request: Request) -> Vec<(u64, i64)> {
    queue.points(request.shard).map(|(chunk, point)| chunk.points[point as usize]).collect()
}

pub(super) fn answer(
    queue: &mut Queue<Points>,
    request: Request,
    outcome: Outcome,
    now: Duration,
) -> Vec<Fate> {
    let mut fates = Vec::new();
    queue.answer(request.shard, outcome, now, |_, _, fate| fates.push(fate));
    fates
}

#[test]
fn a_batch_goes_out_when_it_is_full_or_its_oldest_point_has_waited() {
    let mut queue = Queue::new(settings(), &[]);
    push(&mut queue, chunk(0, 0..4));
    assert_eq!(queue.poll(Duration::from_secs(4)), None);
    assert_eq!(queue.next_wakeup(), Some(Duration::from_secs(5)));
    push(&mut queue, chunk(1, 0..7));
    let request = queue.poll(Duration::from_secs(4)).unwrap();
    assert_eq!(sent(&queue, request).len(), 10);
    assert_eq!(queue.poll(Duration::from_secs(9)), None, "one request a shard");
    assert_eq!(answer(&mut queue, request, Outcome::Delivered, Duration::from_secs(9)).len(), 10);
    let request = queue.poll(Duration::from_secs(9)).unwrap();
    assert_eq!(sent(&queue, request), [(6, 1)]);
    assert_eq!(queue.positions()[0], Position { segment: 0, offset: 1, index: 6 });
    answer(&mut queue, request, Outcome::Delivered, Duration::from_secs(9));
    assert_eq!((queue.pending(), queue.bytes(), queue.head().offset), (0, 0, 2));
    assert!(queue.positions().iter().all(|position| *position == queue.head()));
}

#[test]
fn the_first_batch_after_a_pause_waits_for_its_companions_only() {
    let mut queue = Queue::new(settings(), &[]);
    let at = |seconds: f64| Duration::from_secs_f64(seconds);
    let arrive = |queue: &mut Queue<Points>, number, seconds| {
        push(queue, Points { arrived: at(seconds), ..chunk(number, 0..4) });
        queue.next_wakeup().unwrap()
    };
    assert_eq!(arrive(&mut queue, 0, 60.0), at(60.0) + LINGER);
    assert_eq!(queue.poll(at(60.0)), None);
    let request = queue.poll(at(60.1)).unwrap();
    answer(&mut queue, request, Outcome::Delivered, at(60.2));
    // What comes soon after shares one request, a deadline after the last; at the latest a deadline after
    // it arrived.
    assert_eq!(arrive(&mut queue, 1, 61.0), at(65.1));
    let request = queue.poll(at(65.1)).unwrap();
    answer(&mut queue, request, Outcome::Delivered, at(65.2));
    assert_eq!(arrive(&mut queue, 2, 70.05), at(70.15));
    assert_eq!(queue.poll(at(70.1)), None);
}

#[test]
fn what_fails_is_sent_again_with_growing_waits_and_counted_tries() {
    let mut queue = Queue::new(settings(), &[]);
    queue.set_flushing(true);
    push(&mut queue, chunk(0, 0..4));
    let mut now = Duration::ZERO;
    for (attempt, wait) in [30, 60, 120, 240].into_iter().enumerate() {
        let request = queue.poll(now).unwrap();
        assert_eq!(request.attempt, attempt as u32);
        assert_eq!(answer(&mut queue, request, RETRY, now), []);
        assert_eq!(queue.next_wakeup(), Some(now + Duration::from_millis(wait)));
        assert_eq!(queue.poll(now), None);
        now += Duration::from_millis(wait);
    }
    let request = queue.poll(now).unwrap();
    assert_eq!(sent(&queue, request).len(), 4);
}

#[test]
fn one_bad_sample_costs_one_sample_and_its_lane_is_taken_out_for_a_while() {
    let mut queue = Queue::new(Settings { max_points: 64, ..settings() }, &[]);
    queue.set_flushing(true);
    push(&mut queue, chunk(0, 0..64));
    let now = Duration::from_secs(100);
    let (mut delivered, mut refused, mut requests) = (0, 0, 0);
    while let Some(request) = queue.poll(now) {
        let bad = sent(&queue, request).iter().any(|(series, _)| *series == 17);
        let outcome = if bad { Outcome::Refused { fits_a_repeat: false } } else { Outcome::Delivered };
        for fate in answer(&mut queue, request, outcome, now) {
            match fate {
                Fate::Delivered => delivered += 1,
                Fate::Refused { .. } => refused += 1,
                other => panic!("{other:?}"),
            }
        }
        requests += 1;
    }
    assert_eq!((delivered, refused), (63, 1));
    assert!(requests <= 1 + 12 + 16, "{requests}");
    // The next batch goes out in two: the lane of the bad series by itself.
    push(&mut queue, chunk(1, 0..64));
    let a = queue.poll(now).unwrap();
    let b = queue.poll(now).unwrap();
    let mut sizes = [sent(&queue, a).len(), sent(&queue, b).len()];
    sizes.sort_unstable();
    assert_eq!(sizes, [1, 63]);
    answer(&mut queue, a, Outcome::Delivered, now);
    answer(&mut queue, b, Outcome::Delivered, now);
    queue.tick(now + SIDE_TIME);
    push(&mut queue, chunk(2, 0..64));
    let request = queue.poll(now + SIDE_TIME).unwrap();
    assert_eq!(sent(&queue, request).len(), 64, "it is back");
}

#[test]
fn a_batch_that_is_too_large_is_halved() {
    let mut queue = Queue::new(settings(), &[]);
    queue.set_flushing(true);
    push(&mut queue, chunk(0, 0..8));
    let mut sizes = Vec::new();
    while let Some(request) = queue.poll(Duration::ZERO) {
        let size = sent(&queue, request).len();
        sizes.push(size);
        let outcome = if size > 3 { Outcome::TooLarge } else { Outcome::Delivered };
        answer(&mut queue, request, outcome, Duration::ZERO);
    }
    assert_eq!(sizes[..3], [8, 4, 2]);
    assert_eq!(queue.pending(), 0);
}

#[test]
fn a_destination_that_lets_nobody_in_is_tried_once_a_minute_and_nothing_is_lost() {
    let mut queue = Queue::new(Settings { min_shards: 3, ..settings() }, &[]);
    queue.set_flushing(true);
    push(&mut queue, chunk(0, 0..30));
    let mut now = Duration::ZERO;
    let first: Vec<Request> = std::iter::from_fn(|| queue.poll(now)).collect();
    assert_eq!(first.len(), 3);
    for request in first {
        answer(&mut queue, request, Outcome::Denied, now);
    }
    for _ in 0..10 {
        assert_eq!(queue.poll(now + DENIED_INTERVAL - Duration::from_millis(1)), None);
        now = queue.next_wakeup().unwrap();
        let request = queue.poll(now).unwrap();
        assert_eq!(sent(&queue, request).len(), 1, "a single point is enough to ask");
        assert_eq!(queue.poll(now), None);
        answer(&mut queue, request, Outcome::Denied, now);
    }
    now = queue.next_wakeup().unwrap();
    let request = queue.poll(now).unwrap();
    answer(&mut queue, request, Outcome::Delivered, now);
    let mut delivered = 1;
    now += DENIED_INTERVAL;
    while let Some(request) = queue.poll(now) {
        delivered += answer(&mut queue, request, Outcome::Delivered, now).len();
    }
    assert_eq!((delivered, queue.pending()), (30, 0));
}

#[test]
fn what_alone_is_denied_while_others_pass_is_narrowed_down() {
    for culprit in 0..10 {
        let mut queue = Queue::new(settings(), &[]);
        queue.set_flushing(true);
        push(&mut queue, chunk(0, 0..10));
        let mut now = Duration::ZERO;
        let mut refused = Vec::new();
        while let Some(at) = queue.next_wakeup() {
            now = now.max(at) + Duration::from_millis(1);
            let Some(request) = queue.poll(now) else { continue };
            let bad = sent(&queue, request).iter().any(|(series, _)| *series == culprit);
            let outcome = if bad { Outcome::Denied } else { Outcome::Delivered };
            queue.answer(request.shard, outcome, now, |chunk, point, fate| {
                if fate != Fate::Delivered {
                    refused.push(chunk.points[point as usize].0);
                }
            });
            assert!(now < Duration::from_secs(600), "{culprit}: {} wait", queue.pending());
        }
        assert_eq!((refused, queue.pending()), (vec![culprit], 0));
    }
}

#[test]
fn a_sample_that_makes_the_receiver_fail_is_found_after_a_quarter_of_an_hour() {
    let mut queue = Queue::new(settings(), &[]);
    queue.set_flushing(true);
    push(&mut queue, chunk(0, 0..10));
    let mut now = Duration::ZERO;
    let (mut poisoned, mut number) = (Vec::new(), 1);
    while queue.pending() > 0 && now < POISONED_AFTER * 8 {
        if now >= Duration::from_secs(60) * number as u32 {
            push(&mut queue, chunk(number, 4..8));
            number += 1;
        }
        let at = queue.next_wakeup().unwrap_or(now).min(now + Duration::from_secs(1));
        now = now.max(at) + Duration::from_millis(1);
        let Some(request) = queue.poll(now) else { continue };
        let bad = sent(&queue, request).iter().any(|(series, _)| *series == 3);
        let outcome = if bad { RETRY } else { Outcome::Delivered };
        queue.answer(request.shard, outcome, now, |chunk, point, fate| {
            if fate != Fate::Delivered {
                assert_eq!(fate, Fate::Poisoned);
                poisoned.push((chunk.points[point as usize].0, now));
            }
        });
    }
    assert_eq!(poisoned.len(), 1);
    assert_eq!(poisoned[0].0, 3);
    assert!(poisoned[0].1 >= POISONED_AFTER && poisoned[0].1 < POISONED_AFTER * 4, "{poisoned:?}");
}

#[test]
fn it_stops_asking_at_each_of_its_limits() {
    let mut queue = Queue::new(Settings { capacity: 5, ..settings() }, &[]);
    push(&mut queue, chunk(0, 0..4));
    assert!(queue.wants_more());
    push(&mut queue, chunk(1, 0..4));
    assert!(!queue.wants_more(), "references");
    let mut queue = Queue::new(Settings { memory: 200, ..settings() }, &[]);
    push(&mut queue, chunk(0, 0..1));
    assert!(queue.wants_more());
    push(&mut queue, chunk(1, 0..1));
    assert!(!queue.wants_more(), "bytes");
    let mut queue = Queue::new(Settings { capacity: usize::MAX, memory: usize::MAX, ..settings() }, &[]);
    for number in 0..CHUNKS_MAX as u64 {
        assert!(queue.wants_more());
        push(&mut queue, chunk(number, 0..1));
    }
    assert!(!queue.wants_more(), "chunks");
}

/// Something that happens.
#[derive(Debug, Clone)]
enum Event {
    Push(Vec<u64>),
    Poll,
    Answer(usize, Outcome),
    Trim(usize),
    Pass(u64),
    Reshard(usize),
    Restart,
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        6 => Just(Outcome::Delivered),
        1 => Just(Outcome::Settled),
        2 => (any::<bool>(), 0.0..1.0).prop_map(|(answered, jitter)| {
            let reached = if answered { Reached::Receiver } else { Reached::NoAnswer };
            Outcome::Retry { reached, after: None, jitter }
        }),
        1 => Just(Outcome::Resend),
        1 => Just(Outcome::Unsent),
        2 => Just(Outcome::Refused { fits_a_repeat: false }),
        1 => Just(Outcome::RefusedWhole),
        1 => Just(Outcome::TooLarge),
        1 => Just(Outcome::Denied),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => prop::collection::vec(0u64..600, 0..40).prop_map(Event::Push),
        6 => Just(Event::Poll),
        6 => (any::<usize>(), outcome()).prop_map(|(which, outcome)| Event::Answer(which, outcome)),
        1 => (1usize..12).prop_map(Event::Trim),
        2 => (0u64..70_000).prop_map(Event::Pass),
        1 => (0usize..9).prop_map(Event::Reshard),
        1 => Just(Event::Restart),
    ]
}

/// The model beside the queue.
struct World {
    queue: Queue<Points>,
    now: Duration,
    log: Vec<Points>,
    settled: BTreeMap<(u64, u32), Fate>,
    /// Per lane, what was in the last request that was answered as taken, to see disorder.
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
        // Nothing older of the same series may be open outside this request.
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

    fn answer(&mut self, which: usize, outcome: Outcome) {
        if self.under_way.is_empty() {
            return;
        }
        let request = self.under_way.swap_remove(which % self.under_way.len());
        let (settled, newest) = (&mut self.settled, &mut self.newest_taken);
        self.queue.answer(request.shard, outcome, self.now, |chunk, point, fate| {
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

    /// Killed and started again from the saved positions, with answers lost.
    fn restart(&mut self) {
        self.under_way.clear();
        self.queue = Queue::new(settings(), &self.saved);
        let head = self.queue.head();
        // What the positions don't cover comes again: forget that it was settled.
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
    fn nothing_is_lost_or_reordered_whatever_happens(events in prop::collection::vec(event(), 1..120)) {
        let mut world = World {
            queue: Queue::new(settings(), &[]),
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
                Event::Answer(which, outcome) => world.answer(which, outcome),
                Event::Pass(ms) => {
                    world.now += Duration::from_millis(ms);
                    world.queue.tick(world.now);
                }
                Event::Reshard(shards) => world.queue.reshard(shards),
                Event::Restart => world.restart(),
            }
            world.check_positions();
        }
        // In the end the destination takes everything, and everything is settled.
        while !world.under_way.is_empty() {
            world.answer(0, Outcome::Delivered);
        }
        for _ in 0..10_000 {
            world.now += Duration::from_secs(61);
            world.poll(None);
            world.answer(0, Outcome::Delivered);
        }
        world.check_positions();
        prop_assert_eq!(world.queue.pending(), 0);
        prop_assert_eq!(world.queue.bytes(), 0);
        prop_assert!(world.saved.iter().all(|position| *position == world.queue.head()));
    }
}

#[test]
fn the_oldest_that_moves_is_not_one_that_is_stuck_while_others_pass() {
    let mut queue = Queue::new(Settings { min_shards: 2, ..settings() }, &[]);
    queue.set_flushing(true);
    push(&mut queue, chunk(5, [0]));
    push(&mut queue, chunk(7, [1]));
    let oldest = |queue: &Queue<Points>, seconds| {
        queue
            .oldest_moving(Duration::from_secs(seconds), STUCK_AFTER)
            .map(|(points, point, _)| points.series(point))
    };
    assert_eq!(oldest(&queue, 0), Some(0));
    let [first, second] = [0; 2].map(|_| queue.poll(Duration::ZERO).unwrap());
    assert_eq!(sent(&queue, first), [(0, 5)]);
    answer(&mut queue, first, RETRY, Duration::ZERO);
    answer(&mut queue, second, RETRY, Duration::ZERO);
    // The destination is away: nothing is stuck.
    assert_eq!(oldest(&queue, 100), Some(0));
    push(&mut queue, chunk(9, [1]));
    queue.others_pass(Duration::from_secs(90));
    assert_eq!(oldest(&queue, 100), None);
    let again = queue.poll(Duration::from_secs(100)).unwrap();
    let other = queue.poll(Duration::from_secs(100)).unwrap();
    let passing = if sent(&queue, again)[0].0 == 1 { again } else { other };
    answer(&mut queue, passing, Outcome::Delivered, Duration::from_secs(100));
    assert_eq!(oldest(&queue, 100), Some(1));
    assert_eq!(queue.oldest().map(|(points, point)| points.series(point)), Some(0));
}

#[test]
fn what_is_read_stays_a_quarter_of_an_hour_of_sample_time_ahead_of_what_is_not_settled() {
    let mut queue = Queue::new(Settings { min_shards: 2, ..settings() }, &[]);
    queue.set_flushing(true);
    let at = |number: u64, series: u64, minutes: i64| Points {
        points: Rc::new(vec![(series, minutes * 60_000)]),
        ..chunk(number, [])
    };
    let now = Duration::from_secs(1);
    push(&mut queue, at(0, 0, 0));
    push(&mut queue, at(1, 1, 15));
    assert!(queue.wants_more());
    let [first, second] = [0; 2].map(|_| queue.poll(now).unwrap());
    assert_eq!((sent(&queue, first), sent(&queue, second)), (vec![(0, 0)], vec![(1, 15 * 60_000)]));
    answer(&mut queue, second, Outcome::Delivered, now);
    push(&mut queue, at(2, 1, 16));
    // However quick the one lane is: the other still has a sample of 16 minutes before that to deliver.
    assert!(!queue.wants_more());
    let third = queue.poll(now).unwrap();
    answer(&mut queue, third, Outcome::Delivered, now);
    assert!(!queue.wants_more());
    answer(&mut queue, first, Outcome::Delivered, now);
    assert!(queue.wants_more());
    // What comes late by its own time holds nothing up once it is settled, either.
    push(&mut queue, at(3, 1, -60));
    let late = queue.poll(now).unwrap();
    answer(&mut queue, late, Outcome::Delivered, now);
    assert!(queue.wants_more());
}

#[test]
fn chunks_that_belong_together_are_not_cut_where_they_fit_into_a_batch() {
    let batches = |sizes: &[u64], together: bool, shards: usize| {
        let settings = Settings { min_shards: shards, capacity: 1000, ..settings() };
        let mut queue = Queue::new(settings, &[]);
        for (number, size) in sizes.iter().enumerate() {
            push(&mut queue, Points { together, ..chunk(number as u64, 0..*size) });
        }
        queue.set_flushing(true);
        let mut batches = Vec::new();
        while let Some(request) = queue.poll(Duration::ZERO) {
            batches.push(queue.points(request.shard).count());
            queue.answer(request.shard, Outcome::Delivered, Duration::ZERO, |_, _, _| {});
        }
        batches
    };
    assert_eq!(batches(&[10, 10], true, 1), [10, 10]);
    assert_eq!(batches(&[4, 10, 10], true, 1), [4, 10, 10], "as they came");
    assert_eq!(batches(&[4, 4, 4, 4, 4], true, 1), [8, 8, 4], "as many as fit");
    assert_eq!(batches(&[4, 11, 10, 3], true, 1), [10, 5, 10, 3], "a larger one is cut, and the next is not");
    assert_eq!(batches(&[4, 10, 10], false, 1), [10, 10, 4]);
    let divided = batches(&[40, 40], true, 2);
    assert!(
        divided.iter().filter(|size| **size == 10).count() >= 6,
        "others have a part of each: {divided:?}"
    );
}
