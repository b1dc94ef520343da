//! The tail: the newest chunks in memory, for queues that keep up, and the durable end for those that
//! read the log.
//!
//! It is a ring bounded in bytes that waits for nobody: what all followers have passed goes at once, and
//! past the bound the oldest goes whether or not somebody still wanted it; who did finds it in the log.

use crate::chunk::Chunk;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;
use wal::Position;

/// See the module.
pub(crate) struct Tail {
    ring: Mutex<Ring>,
    /// The durable end. Moved after fsync only.
    end: watch::Sender<Position>,
}

struct Ring {
    chunks: VecDeque<Arc<Chunk>>,
    bytes: usize,
    limit: usize,
    /// All chunks from here to the end are in the ring.
    floor: Position,
    end: Position,
    followers: HashMap<u64, Position>,
    next_follower: u64,
}

/// What follows a position.
pub(crate) enum Lookup {
    Chunk(Arc<Chunk>),
    /// Nothing yet.
    CaughtUp,
    /// It is not in memory any more.
    Behind,
}

impl Tail {
    /// A tail that begins at `end`, of at most `limit` bytes.
    pub(crate) fn new(end: Position, limit: usize) -> Self {
        let ring = Ring {
            chunks: VecDeque::new(),
            bytes: 0,
            limit,
            floor: end,
            end,
            followers: HashMap::new(),
            next_follower: 0,
        };
        Tail { ring: Mutex::new(ring), end: watch::Sender::new(end) }
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands on what was committed; `end` is the durable end now.
    pub(crate) fn publish(&self, chunks: Vec<Arc<Chunk>>, end: Position) {
        let mut ring = self.ring();
        for chunk in chunks {
            ring.bytes += chunk.heap_bytes();
            ring.chunks.push_back(chunk);
        }
        ring.end = end;
        ring.trim();
        drop(ring);
        self.end.send_replace(end);
    }

    /// The durable end.
    pub(crate) fn end(&self) -> Position {
        *self.end.borrow()
    }

    /// Tells when the durable end moves.
    pub(crate) fn watch(&self) -> watch::Receiver<Position> {
        self.end.subscribe()
    }

    /// Bytes in the ring.
    pub(crate) fn bytes(&self) -> usize {
        self.ring().bytes
    }

    /// A new follower at `position`; returns its number.
    pub(crate) fn join(&self, position: Position) -> u64 {
        let mut ring = self.ring();
        ring.next_follower += 1;
        let id = ring.next_follower;
        ring.followers.insert(id, position);
        id
    }

    /// A follower has gone.
    pub(crate) fn leave(&self, id: u64) {
        let mut ring = self.ring();
        ring.followers.remove(&id);
        ring.trim();
    }

    /// What follows `position`; the follower is then past it.
    pub(crate) fn get(&self, id: u64, position: Position) -> Lookup {
        let mut ring = self.ring();
        let found = if position < ring.floor {
            Lookup::Behind
        } else {
            let index = ring.chunks.partition_point(|chunk| chunk.end <= position);
            match ring.chunks.get(index) {
                Some(chunk) => Lookup::Chunk(chunk.clone()),
                None => Lookup::CaughtUp,
            }
        };
        match &found {
            Lookup::Chunk(chunk) => ring.followers.insert(id, chunk.end),
            Lookup::CaughtUp => ring.followers.insert(id, position),
            // Who reads the log is no reason to keep anything here; it joins again when it has caught up.
            Lookup::Behind => ring.followers.remove(&id),
        };
        ring.trim();
        found
    }

    /// Whether everything after `position` is in memory.
    pub(crate) fn holds(&self, position: Position) -> bool {
        position >= self.ring().floor
    }
}

impl Ring {
    fn trim(&mut self) {
        let wanted = self.followers.values().copied().min();
        while let Some(chunk) = self.chunks.front() {
            let passed = wanted.is_none_or(|wanted| wanted >= chunk.end);
            if !passed && self.bytes <= self.limit {
                break;
            }
            self.bytes -= chunk.heap_bytes();
            self.floor = chunk.end;
            self.chunks.pop_front();
        }
        if self.chunks.is_empty() {
            self.floor = self.end.max(self.floor);
            self.chunks.shrink_to(64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Batch;
    use std::time::Duration;

    fn chunk(from: u64, to: u64, bytes: usize) -> Arc<Chunk> {
        let at = |offset| Position { segment: 0, offset, index: 0 };
        let mut batch = Batch::new();
        batch.bytes = Vec::with_capacity(bytes);
        Arc::new(Chunk {
            batch,
            refs: vec![],
            segment: 0,
            records: vec![],
            start: at(from),
            end: at(to),
            arrived: Duration::ZERO,
        })
    }

    fn at(offset: u64) -> Position {
        Position { segment: 0, offset, index: 0 }
    }

    #[test]
    fn what_all_have_passed_goes_and_what_one_still_wants_stays() {
        let tail = Tail::new(at(0), 1 << 20);
        let (a, b) = (tail.join(at(0)), tail.join(at(0)));
        tail.publish(vec![chunk(0, 10, 100), chunk(10, 20, 100)], at(20));
        assert!(matches!(tail.get(a, at(0)), Lookup::Chunk(c) if c.end == at(10)));
        assert!(matches!(tail.get(a, at(10)), Lookup::Chunk(c) if c.end == at(20)));
        assert!(matches!(tail.get(a, at(20)), Lookup::CaughtUp));
        assert!(matches!(tail.get(b, at(0)), Lookup::Chunk(c) if c.end == at(10)));
        tail.leave(b);
        assert_eq!(tail.bytes(), 0);
        assert!(!tail.holds(at(10)) && tail.holds(at(20)));
    }

    #[test]
    fn past_its_bound_the_oldest_goes_and_who_wanted_it_is_behind() {
        let tail = Tail::new(at(0), 2500);
        let slow = tail.join(at(0));
        for n in 0..5 {
            tail.publish(vec![chunk(n * 10, n * 10 + 10, 800)], at(n * 10 + 10));
        }
        assert!(tail.bytes() <= 2500 && tail.bytes() > 0);
        assert!(matches!(tail.get(slow, at(0)), Lookup::Behind));
        assert_eq!(tail.bytes(), 0, "who reads the log is no reason to keep anything in memory");
        assert!(matches!(tail.get(slow, at(50)), Lookup::CaughtUp));
    }

    #[test]
    fn a_position_inside_a_chunk_gets_that_chunk() {
        let tail = Tail::new(at(0), 1 << 20);
        let id = tail.join(at(0));
        tail.publish(vec![chunk(0, 10, 10), chunk(10, 20, 10)], at(20));
        assert!(matches!(tail.get(id, at(12)), Lookup::Chunk(c) if c.start == at(10)));
    }
}
