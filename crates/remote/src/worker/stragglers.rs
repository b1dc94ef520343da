//! Lanes that were left behind, each handful with a queue and a reader of its own: see
//! [`crate::queue::behind`].

use super::Worker;
use crate::disk::positions::Lanes;
use crate::outgoing::Outgoing;
use crate::queue::behind::{Left, Mask};
use crate::queue::lanes::lane_of;
use crate::queue::{Queue, Settings, Source};
use futures_util::future::select_all;
use model::Kinds;
use std::sync::Arc;
use std::time::Duration;
use storage::{Chunk, Follower, ReadError};

/// Most stragglers of a queue; while there are as many, a stuck shard holds up the others.
pub(crate) const STRAGGLERS_MAX: usize = 3;
/// A straggler's part of the destination's memory.
const MEMORY_PART: usize = 8;

/// Lanes that were left behind, and what serves them.
pub(crate) struct Straggler {
    pub(crate) number: u64,
    /// The queue that left the lanes behind.
    pub(crate) parent: u64,
    pub(crate) queue: Queue<Outgoing>,
    pub(super) follower: Follower,
    lanes: Mask,
    /// It has everything up to its parent's head, where that goes on.
    pub(super) returning: bool,
    /// It reads on with the next second's tick: the log is closed, or another one is on its way back.
    rests: bool,
}

/// The next chunk for a straggler that reads.
pub(crate) async fn next_of(stragglers: &mut [Straggler]) -> (usize, Result<Arc<Chunk>, ReadError>) {
    let reading = stragglers
        .iter_mut()
        .enumerate()
        .filter(|(_, straggler)| !straggler.returning && !straggler.rests && straggler.queue.wants_more());
    let next: Vec<_> = reading
        .map(|(index, straggler)| Box::pin(async move { (index, straggler.follower.next().await) }))
        .collect();
    if next.is_empty() {
        return std::future::pending().await;
    }
    select_all(next).await.0
}

impl Worker {
    /// Leaves lanes of shards behind that hold up the others.
    pub(super) fn leave_behind(&mut self) {
        self.leave_behind_of(self.main);
        if let Some(number) = self.backlog.as_ref().map(|backlog| backlog.number) {
            self.leave_behind_of(number);
        }
    }

    fn leave_behind_of(&mut self, parent: u64) {
        let own = || self.stragglers.iter().filter(|straggler| straggler.parent == parent);
        if own().count() >= STRAGGLERS_MAX && !own().any(|straggler| straggler.returning) {
            return;
        }
        let now = self.clock.monotonic();
        let mut points = Vec::new();
        let Some(queue) = self.queue_mut(parent) else { return };
        let left = queue.leave_behind(now, |outgoing, index| {
            points.extend(outgoing.point(index).map(|point| (outgoing.position(index), point.value)));
        });
        let Some(left) = left else { return };
        self.begin_straggler(parent, &left);
        // The points are read, and counted, again, except for those whose segment was dropped.
        let dropped_before = self.pin.set_read(self.read_up_to());
        let [mut left_behind, mut lost] = [Kinds::default(); 2];
        for (position, value) in points {
            left_behind.count(&value);
            if position < dropped_before {
                lost.count(&value);
            }
        }
        self.stats.left_behind.add(left_behind);
        self.stats.lost.add(lost);
    }

    /// Starts a queue with a reader of its own for lanes that were left behind.
    fn begin_straggler(&mut self, parent: u64, left: &Left) {
        let follower = self.storage.follow(left.from);
        let known = |straggler: &&mut Straggler| {
            straggler.parent == parent && straggler.returning && straggler.lanes == left.lanes
        };
        if let Some(straggler) = self.stragglers.iter_mut().find(known) {
            straggler.returning = false;
            straggler.follower = follower;
            return;
        }
        self.queue_number += 1;
        let settings = Settings {
            memory: self.settings.memory / MEMORY_PART,
            min_shards: self.settings.min_shards.min(4),
            max_shards: self.settings.max_shards.min(4),
            ..self.settings.clone()
        };
        let mut queue = Queue::new(settings, &left.positions);
        queue.set_flushing(true);
        let count = left.lanes.iter().filter(|left| **left).count();
        tracing::warn!(
            destination = %self.name, lanes = count,
            "a part of the series is stuck; the others go on without it"
        );
        self.stragglers.push(Straggler {
            number: self.queue_number,
            parent,
            queue,
            follower,
            lanes: left.lanes,
            returning: false,
            rests: false,
        });
        self.share_memory();
    }

    /// All queues of the destination together keep to its share of the memory; each takes a chunk even where
    /// that is larger, so that it goes on.
    pub(super) fn share_memory(&mut self) {
        let part = self.settings.memory / MEMORY_PART;
        self.stragglers.iter_mut().for_each(|straggler| straggler.queue.set_memory(part));
        let rest = self.settings.memory.saturating_sub(part * self.stragglers.len());
        match &mut self.backlog {
            Some(backlog) => {
                backlog.queue.set_memory(rest / 2);
                self.queue.set_memory(rest / 2);
            }
            None => self.queue.set_memory(rest),
        }
    }

    /// How far a queue has been fed.
    fn head_of(&mut self, number: u64) -> wal::Position {
        let head = self.queue_mut(number).map(|queue| queue.head());
        // Without it the lanes stay where they are.
        model::invariant!(
            head.is_some(),
            "a queue outlives the lanes that were taken out of it",
            queue = number
        );
        head.unwrap_or_default()
    }

    /// Gives a straggler a chunk: what is its own and not its parent's.
    pub(super) fn read_for_straggler(&mut self, index: usize, chunk: Result<Arc<Chunk>, ReadError>) {
        let Some(straggler) = self.stragglers.get_mut(index) else { return };
        let chunk = match chunk {
            Ok(chunk) => chunk,
            Err(ReadError::Closed) => {
                straggler.rests = true;
                self.begin_return(index);
                return;
            }
            Err(error) => return self.read_failed(&error),
        };
        let (number, lanes, parent) = (straggler.number, straggler.lanes, straggler.parent);
        let head = self.head_of(parent);
        let end = chunk.end;
        self.feed(number, chunk, end.min(head), |outgoing, point| {
            let lane = usize::from(lane_of(outgoing.series(point)));
            lanes.get(lane) == Some(&true) && outgoing.position(point) < head
        });
        self.pin.set_read(self.read_up_to());
        if end >= head && !self.begin_return(index) && end > head {
            // Another one is on its way back. What is behind the head comes again when it is this one's turn, and
            // not at once: until then it would be the same chunk again and again.
            if let Some(straggler) = self.stragglers.get_mut(index) {
                straggler.rests = true;
            }
        }
    }

    /// Lets its parent have what comes from its head on, where the straggler has all before it.
    fn begin_return(&mut self, index: usize) -> bool {
        let Some(straggler) = self.stragglers.get(index) else { return false };
        let (parent, lanes, read) = (straggler.parent, straggler.lanes, straggler.follower.position());
        if straggler.returning || read < self.head_of(parent) {
            return self.stragglers.get(index).is_some_and(|straggler| straggler.returning);
        }
        let returning = self.queue_mut(parent).is_some_and(|queue| queue.begin_return(&lanes));
        if let Some(straggler) = self.stragglers.get_mut(index) {
            straggler.returning = returning;
        }
        returning
    }

    /// Ends the return of stragglers that are through.
    pub(super) fn end_returns(&mut self) {
        let mut index = 0;
        while let Some(straggler) = self.stragglers.get(index) {
            if straggler.returning && straggler.queue.pending() == 0 {
                let (parent, lanes) = (straggler.parent, straggler.lanes);
                if let Some(queue) = self.queue_mut(parent) {
                    queue.end_return(&lanes);
                }
                self.stragglers.remove(index);
                self.share_memory();
                tracing::info!(destination = %self.name, "the stuck part has caught up");
            } else {
                index += 1;
            }
        }
    }

    /// To be called every second.
    pub(super) fn tick_stragglers(&mut self, now: Duration) {
        for index in 0..self.stragglers.len() {
            if let Some(straggler) = self.stragglers.get_mut(index) {
                straggler.queue.tick(now);
                if straggler.rests && !straggler.returning {
                    straggler.follower = self.storage.follow(straggler.queue.head());
                    straggler.rests = false;
                }
            }
            self.begin_return(index);
        }
        self.end_returns();
    }

    /// Puts how far each lane of a queue is done where a straggler serves it.
    pub(super) fn with_stragglers(&mut self, positions: &mut Lanes, parent: u64) {
        for straggler in self.stragglers.iter_mut().filter(|straggler| straggler.parent == parent) {
            let own = straggler.queue.positions();
            for ((position, own), is_own) in positions.iter_mut().zip(own).zip(straggler.lanes) {
                if is_own {
                    *position = own;
                }
            }
        }
    }

    pub(super) fn lanes_behind(&self) -> usize {
        let lanes = self.stragglers.iter().flat_map(|straggler| straggler.lanes);
        lanes.filter(|behind| *behind).count()
    }
}
