//! A queue together with the queues of lanes that were isolated from it, as delivery runs them. All are fed
//! the same chunks, and the lanes of an isolated queue return when it is clean and empty.

use super::super::*;
use crate::fate::Fate;
use crate::lanes::Mask;
use std::rc::Rc;
use write_client::verdict::Verdict;

/// Most queues. With as many, no more lanes are isolated.
pub(super) const QUEUES_MAX: usize = 9;
/// Shards have one numbering over all queues.
const SHARDS: usize = 100;

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

pub(super) struct Tested {
    /// The others were isolated from the first one.
    queues: Vec<Queue<Points>>,
    health: Health,
}

impl Tested {
    pub(super) fn new(settings: Settings, positions: &[Position]) -> Self {
        Tested { queues: vec![Queue::new(settings, positions)], health: Health::default() }
    }

    pub(super) fn main(&mut self) -> &mut Queue<Points> {
        &mut self.queues[0]
    }

    /// Feeds a chunk. Returns how many of its points the queues accepted together.
    pub(super) fn push(&mut self, chunk: &Points) -> usize {
        let count = chunk.points.len() as u32;
        let end = Position { segment: 0, offset: chunk.number + 1, index: 0 };
        self.queues.iter_mut().map(|queue| queue.push(chunk.clone(), end, count, |_, _| true)).sum()
    }

    pub(super) fn poll(&mut self, now: Duration) -> Option<Request> {
        let queues = self.queues.iter_mut().enumerate();
        let mut next = queues.filter_map(|(number, queue)| {
            let request = queue.begin_request(now, &mut self.health)?;
            Some(Request { shard: request.shard + number * SHARDS, ..request })
        });
        next.next()
    }

    fn of(&mut self, shard: usize) -> (&mut Queue<Points>, usize) {
        (&mut self.queues[shard / SHARDS], shard % SHARDS)
    }

    pub(super) fn points(&self, shard: usize) -> impl Iterator<Item = (&Points, u32)> + Clone {
        self.queues[shard / SHARDS].points(shard % SHARDS)
    }

    pub(super) fn answer(
        &mut self,
        shard: usize,
        verdict: Verdict,
        now: Duration,
        settle: impl FnMut(&Points, u32, Fate),
    ) {
        let (queue, own) = (&mut self.queues[shard / SHARDS], shard % SHARDS);
        let lanes = queue.answer(own, verdict, now, 0.0, &mut self.health, settle);
        if let Some(lanes) = lanes {
            self.isolate(shard, &lanes, now);
        }
    }

    fn isolate(&mut self, shard: usize, lanes: &Mask, now: Duration) {
        let has_room = self.queues.len() < QUEUES_MAX;
        let (queue, own) = self.of(shard);
        let count = lanes.iter().filter(|leaves| **leaves).count();
        let all = queue.lanes_of(own);
        if has_room && count > 0 && (count * 2 <= all || count == all && queue.lanes_served() > 2 * all) {
            let part = queue.split(own, lanes, usize::MAX, now, |_, _| panic!("there is room for all"));
            self.queues.push(part);
        }
    }

    /// To be called every second or so.
    pub(super) fn tick(&mut self, now: Duration) {
        let head = self.queues[0].head();
        let returns =
            |queue: &Queue<Points>| queue.is_clean(now) && queue.pending() == 0 && queue.head() >= head;
        while let Some(at) = self.queues.iter().skip(1).position(returns) {
            let part = self.queues.remove(at + 1);
            self.queues[0].rejoin(&part);
        }
    }

    pub(super) fn next_wakeup(&self) -> Option<Duration> {
        self.queues.iter().filter_map(|queue| queue.next_wakeup(&self.health)).min()
    }

    pub(super) fn pending(&self) -> usize {
        self.queues.iter().map(Queue::pending).sum()
    }

    pub(super) fn bytes(&self) -> usize {
        self.queues.iter().map(Queue::bytes).sum()
    }

    pub(super) fn head(&self) -> Position {
        self.queues[0].head()
    }

    pub(super) fn positions(&self) -> [Position; LANES] {
        let mut positions = [Position::default(); LANES];
        let mut times_served = [0; LANES];
        for queue in &self.queues {
            for (lane, own) in
                queue.positions().into_iter().enumerate().filter(|(lane, _)| queue.serves(*lane))
            {
                positions[lane] = own;
                times_served[lane] += 1;
            }
        }
        assert_eq!(times_served, [1; LANES], "each lane belongs to one queue");
        positions
    }

    pub(super) fn wants_more(&self) -> bool {
        self.queues.iter().all(Queue::wants_more)
    }

    pub(super) fn set_flushing(&mut self, flushing: bool) {
        self.queues[0].set_flushing(flushing);
    }

    pub(super) fn reshard(&mut self, shards: usize) {
        self.queues[0].reshard(shards);
    }

    pub(super) fn trim(&mut self, shard: usize, count: usize) {
        let (queue, own) = self.of(shard);
        queue.trim(own, count);
    }

    pub(super) fn expire(&mut self, request: Request, is_unwanted: impl Fn(&Points, u32) -> bool) {
        let (queue, own) = self.of(request.shard);
        queue.expire(&mut Request { shard: own, ..request }, is_unwanted, |_, _| {});
    }

    /// A request of a queue outside this test, sent at this time, succeeded.
    pub(super) fn others_pass(&mut self, sent_at: Duration) {
        self.health.sent(sent_at);
        self.health.answered(Verdict::Delivered, sent_at, sent_at);
    }

    pub(super) fn probe_now(&mut self, now: Duration) {
        self.health.probe_now(now);
    }

    pub(super) fn oldest(&self) -> Option<(&Points, u32)> {
        self.queues[0].oldest()
    }

    pub(super) fn oldest_moving(&self, now: Duration, after: Duration) -> Option<(&Points, u32, i64)> {
        self.queues[0].oldest_moving(now, after, &self.health)
    }
}
