//! Segments that the log drops before they are delivered. Samples that were not read are lost, and the log counts them.
//! Samples in memory are still sent. Their number is on disk, so that the next start counts them as lost if this process
//! is killed before.

use super::Worker;
use super::backlog::Backlog;
use crate::outgoing::Outgoing;
use crate::queue::Queue;
use model::Kinds;
use wal::Position;

impl Worker {
    /// The position before which nothing has to be read any more.
    pub(super) fn read_up_to(&self) -> Position {
        let backlog = self.backlog.as_ref().filter(|backlog| !backlog.is_read());
        // A straggler reads again what lies behind its queue's head.
        let stragglers = self.stragglers.iter().filter(|straggler| !straggler.returning);
        let stragglers =
            stragglers.map(|straggler| straggler.follower.position().min(straggler.queue.head()));
        let main = std::iter::once(self.follower.position());
        let backlog = backlog.map(|backlog: &Backlog| backlog.follower.position());
        main.chain(backlog).chain(stragglers).min().unwrap_or_default()
    }

    /// A segment was dropped; it is deleted once this has saved how many of its samples are in memory.
    pub(super) fn note_dropped(&mut self) {
        let dropped = self.pin.dropped();
        self.write_only_in_memory();
        self.pin.note(dropped);
    }

    /// Saves how many undelivered samples are only in memory, if that has changed.
    pub(super) fn write_only_in_memory(&mut self) {
        let dropped = self.pin.dropped();
        let mut kinds = Kinds::default();
        let mut count = |queue: &Queue<Outgoing>| {
            for (outgoing, index) in queue.pending_before(dropped) {
                if let Some(point) = outgoing.point(index) {
                    kinds.count(&point.value);
                }
            }
        };
        self.queues_mut().for_each(|(_, queue)| count(queue));
        if kinds == self.file.only_in_memory() {
            return;
        }
        if let Err(error) = self.file.write_only_in_memory(kinds) {
            self.positions_failed(&error);
        }
    }
}
