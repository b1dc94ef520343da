//! The tail: the newest chunks in memory, for queues that keep up, and the durable end, for followers that
//! read the log.
//!
//! It is a ring with a limit in bytes, and never waits for a follower. Chunks that all followers have passed
//! are removed. If the ring exceeds its limit, the oldest chunk is removed even if a follower still needs it;
//! that follower then reads from disk.

use crate::chunk::Chunk;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;
use wal::Position;

/// The ring of the newest chunks; see the module's documentation.
pub(crate) struct Tail {
    ring: Mutex<Ring>,
    /// The durable end. It moves only after an fsync.
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

/// Result of [`Tail::get`].
pub(crate) enum Lookup {
    Chunk(Arc<Chunk>),
    /// There is no later chunk yet.
    CaughtUp,
    /// The next chunk is no longer in memory.
    Behind,
}

impl Tail {
    /// Makes an empty tail at `end` with a limit of `limit` bytes.
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

    /// Adds committed chunks; `end` is the new durable end.
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

    pub(crate) fn end(&self) -> Position {
        *self.end.borrow()
    }

    /// Returns a receiver that reports each move of the durable end.
    pub(crate) fn watch(&self) -> watch::Receiver<Position> {
        self.end.subscribe()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.ring().bytes
    }

    /// Registers a follower at `position` and returns its number.
    pub(crate) fn join(&self, position: Position) -> u64 {
        let mut ring = self.ring();
        ring.next_follower += 1;
        let id = ring.next_follower;
        ring.followers.insert(id, position);
        id
    }

    /// Removes a follower.
    pub(crate) fn leave(&self, id: u64) {
        let mut ring = self.ring();
        ring.followers.remove(&id);
        ring.trim();
    }

    /// Returns the chunk at or after `position` and moves the follower past it.
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
            // A follower that reads from disk does not keep chunks in memory. It registers again once it has
            // caught up.
            Lookup::Behind => ring.followers.remove(&id),
        };
        ring.trim();
        found
    }

    /// Returns true if everything after `position` is in memory.
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
    fn chunks_stay_until_all_followers_have_passed_them() {
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
    fn beyond_the_limit_the_oldest_chunk_is_removed() {
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
    fn a_position_inside_a_chunk_returns_that_chunk() {
        let tail = Tail::new(at(0), 1 << 20);
        let id = tail.join(at(0));
        tail.publish(vec![chunk(0, 10, 10), chunk(10, 20, 10)], at(20));
        assert!(matches!(tail.get(id, at(12)), Lookup::Chunk(c) if c.start == at(10)));
    }
}
