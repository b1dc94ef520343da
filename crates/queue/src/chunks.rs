//! The chunks of the points in a queue, with the number of their points that are still in it.

use crate::Source;
use std::collections::VecDeque;
use std::sync::Arc;
use wal::Position;

/// A point in the queue: the running number of its chunk, which may wrap around, and its index in the chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Ref {
    pub(crate) chunk: u32,
    pub(crate) point: u32,
}

#[derive(Debug)]
struct Slot<C> {
    /// `None` when none of its points is in the queue any more.
    chunk: Option<Arc<C>>,
    end: Position,
    /// Number of its points in the queue.
    open: u32,
    bytes: usize,
    /// The newest timestamp of the log up to the chunk's end.
    newest: i64,
}

/// In the log's order.
#[derive(Debug)]
pub(crate) struct Chunks<C> {
    slots: VecDeque<Slot<C>>,
    first: u32,
    references: usize,
    bytes: usize,
}

impl<C: Source> Chunks<C> {
    pub(crate) fn new() -> Self {
        Chunks { slots: VecDeque::new(), first: 0, references: 0, bytes: 0 }
    }

    pub(crate) fn next_number(&self) -> u32 {
        self.first.wrapping_add(self.slots.len() as u32)
    }

    /// Adds a chunk, whose number is [`Chunks::next_number`]. `open` of its points are in the queue, at least
    /// one.
    pub(crate) fn push(&mut self, chunk: Arc<C>, end: Position, open: u32, newest: i64) {
        let bytes = chunk.bytes();
        self.references += open as usize;
        self.bytes += bytes;
        self.slots.push_back(Slot { chunk: Some(chunk), end, open, bytes, newest });
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Returns the number of points in the queue.
    pub(crate) fn references(&self) -> usize {
        self.references
    }

    /// Returns the bytes of memory that the chunks keep.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns a key that sorts points in the log's order.
    pub(crate) fn order(&self, at: Ref) -> (u32, u32) {
        (at.chunk.wrapping_sub(self.first), at.point)
    }

    fn slot(&self, at: Ref) -> Option<&Slot<C>> {
        self.slots.get(at.chunk.wrapping_sub(self.first) as usize)
    }

    /// Returns the chunk of a point. It exists as long as the point is in the queue.
    pub(crate) fn get(&self, at: Ref) -> Option<&Arc<C>> {
        let chunk = self.slot(at).and_then(|slot| slot.chunk.as_ref());
        model::invariant!(chunk.is_some(), "the chunk of a point in the queue is there");
        chunk
    }

    /// Returns the end of a point's chunk, and the newest timestamp of the log up to there.
    pub(crate) fn end(&self, at: Ref) -> Option<(Position, i64)> {
        self.slot(at).map(|slot| (slot.end, slot.newest))
    }

    pub(crate) fn newest_of_oldest(&self) -> Option<i64> {
        self.slots.front().map(|slot| slot.newest)
    }

    /// Returns a filter for points whose chunks end at or before `position`.
    pub(crate) fn before(&self, position: Position) -> impl Fn(&Ref) -> bool + Clone + 'static {
        let (count, first) = (self.slots.partition_point(|slot| slot.end <= position), self.first);
        move |at| (at.chunk.wrapping_sub(first) as usize) < count
    }

    /// Notes that the point has left the queue.
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
