//! The chunks that a queue holds, and how many of their points are still in the queue.

use crate::Source;
use std::collections::VecDeque;
use std::sync::Arc;
use wal::Position;

/// A point in the queue: its chunk by a running number, which may wrap around, and its index in the chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Ref {
    pub(crate) chunk: u32,
    pub(crate) point: u32,
}

#[derive(Debug)]
struct Slot<C> {
    /// `None` once none of its points is in the queue.
    chunk: Option<Arc<C>>,
    end: Position,
    /// How many of its points are in the queue.
    open: u32,
    bytes: usize,
    /// The newest timestamp of the log up to here.
    newest: i64,
}

/// See the module. Chunks are in the log's order.
#[derive(Debug)]
pub(crate) struct Chunks<C> {
    slots: VecDeque<Slot<C>>,
    /// The number of the first slot.
    first: u32,
    references: usize,
    bytes: usize,
}

impl<C: Source> Chunks<C> {
    pub(crate) fn new() -> Self {
        Chunks { slots: VecDeque::new(), first: 0, references: 0, bytes: 0 }
    }

    /// The number that the next chunk gets.
    pub(crate) fn next_number(&self) -> u32 {
        self.first.wrapping_add(self.slots.len() as u32)
    }

    /// Adds the chunk that has [`Chunks::next_number`], with this many points in the queue, at least one.
    pub(crate) fn push(&mut self, chunk: Arc<C>, end: Position, open: u32, newest: i64) {
        let bytes = chunk.bytes();
        self.references += open as usize;
        self.bytes += bytes;
        self.slots.push_back(Slot { chunk: Some(chunk), end, open, bytes, newest });
    }

    /// How many chunks there are.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Points in the queue.
    pub(crate) fn references(&self) -> usize {
        self.references
    }

    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Sorts points in the log's order.
    pub(crate) fn order(&self, at: Ref) -> (u32, u32) {
        (at.chunk.wrapping_sub(self.first), at.point)
    }

    fn slot(&self, at: Ref) -> Option<&Slot<C>> {
        self.slots.get(at.chunk.wrapping_sub(self.first) as usize)
    }

    /// The chunk of a point. It is there as long as the point is in the queue.
    pub(crate) fn get(&self, at: Ref) -> Option<&Arc<C>> {
        let chunk = self.slot(at).and_then(|slot| slot.chunk.as_ref());
        model::invariant!(chunk.is_some(), "the chunk of a point in the queue is there");
        chunk
    }

    /// The end of a point's chunk, and the newest timestamp of the log up to there.
    pub(crate) fn end(&self, at: Ref) -> Option<(Position, i64)> {
        self.slot(at).map(|slot| (slot.end, slot.newest))
    }

    /// The newest timestamp of the log up to the end of the oldest chunk.
    pub(crate) fn newest_of_oldest(&self) -> Option<i64> {
        self.slots.front().map(|slot| slot.newest)
    }

    /// Tells the points of chunks that end at `position` or before it from those behind.
    pub(crate) fn before(&self, position: Position) -> impl Fn(&Ref) -> bool + Clone + 'static {
        let (count, first) = (self.slots.partition_point(|slot| slot.end <= position), self.first);
        move |at| (at.chunk.wrapping_sub(first) as usize) < count
    }

    /// The point is no longer in the queue.
    pub(crate) fn release(&mut self, at: Ref) {
        let index = at.chunk.wrapping_sub(self.first) as usize;
        let Some(slot) = self.slots.get_mut(index).filter(|slot| slot.open > 0) else {
            model::invariant!(false, "a point leaves the queue once", slot = index);
            return;
        };
        self.references -= 1;
        slot.open -= 1;
        if slot.open == 0 {
            self.bytes -= slot.bytes;
            slot.chunk = None;
            while self.slots.front().is_some_and(|slot| slot.open == 0) {
                self.slots.pop_front();
                self.first = self.first.wrapping_add(1);
            }
        }
    }
}
