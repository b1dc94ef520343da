//! Lanes that delay others move to a stream of their own, and return once they work.

use super::{Delivery, Kind, Stream};
use crate::output::Output;
use crate::queue::lanes::Mask;
use crate::queue::{Queue, Source};
use model::Kinds;

/// Most isolated streams. With as many, lanes that fail delay the others of their shard.
pub const ISOLATED_MAX: usize = 8;
/// An isolated stream gets this fraction (one sixteenth) of the destination's memory.
pub(crate) const MEMORY_PART: usize = 16;

impl<O: Output> Delivery<O> {
    /// Moves lanes of a shard to a new stream, if one more is allowed and the shard has other lanes to
    /// protect.
    pub(super) fn isolate(&mut self, number: u64, shard: usize, lanes: &Mask) {
        let now = self.now();
        let count = lanes.iter().filter(|leaves| **leaves).count();
        let isolated = self.isolated().filter(|stream| stream.follows_log()).count();
        let memory = self.settings.queue.memory / MEMORY_PART;
        let Some(stream) = self.stream_mut(number) else { return };
        let memory = if stream.follows_log() { memory } else { usize::MAX };
        let all = stream.queue.lanes_of(shard);
        // If most lanes of the shard are bad, there is nothing to protect, unless other shards have lanes,
        // too.
        let is_whole_shard = count == all && stream.queue.lanes_served() > 2 * all;
        if isolated >= ISOLATED_MAX || count == 0 || (count * 2 > all && !is_whole_shard) {
            return;
        }
        let mut dropped = Vec::new();
        let queue = stream.queue.split(shard, lanes, memory, now, |outgoing, index| {
            if let Some(point) = outgoing.point(index) {
                let mut kinds = Kinds::default();
                kinds.count(&point.value);
                dropped.push((outgoing.position(index), kinds));
            }
        });
        let (kind, until) = (stream.kind, stream.until);
        self.add_stream(kind, true, queue, until);
        // These points are read, and counted, again.
        self.stats.left_behind.add(dropped.iter().fold(Kinds::default(), |sum, (_, kinds)| sum.plus(*kinds)));
        self.rereads.extend(dropped);
        self.share_memory();
        tracing::warn!(
            destination = %self.name, lanes = count,
            "samples of some series fail or are refused; they are sent apart from the others"
        );
    }

    /// Divides the destination's memory among its queues. Each queue accepts one chunk even if that is larger
    /// than its share, so that it does not stop.
    pub(super) fn share_memory(&mut self) {
        let memory = self.settings.queue.memory;
        let isolated = self.isolated().filter(|stream| stream.follows_log()).count();
        let mains = self.streams.iter().filter(|stream| stream.is_main()).count();
        let rest = memory.saturating_sub(memory / MEMORY_PART * isolated);
        for stream in self.streams.iter_mut().filter(|stream| stream.follows_log()) {
            let part = if stream.is_isolated { memory / MEMORY_PART } else { rest / mains.max(1) };
            stream.queue.set_memory(part);
        }
    }

    /// Ends streams that are not needed any more. The lanes of an isolated stream return to the live stream
    /// when it works, has caught up, and is empty. Until it is empty, neither of the two reads on.
    pub(super) fn end_streams(&mut self) {
        self.end_backlog();
        if !self.streams.iter().any(|stream| stream.is_isolated) {
            return;
        }
        let now = self.now();
        let Some(live) = self.live().map(Queue::head) else { return };
        let is_stopping = self.is_stopping;
        let may_return = |stream: &Stream| {
            stream.is_isolated
                && stream.is_live()
                && stream.queue.is_clean(now)
                && stream.queue.head() >= live
        };
        for stream in &mut self.streams {
            stream.is_rejoining = !is_stopping && may_return(stream);
            if stream.is_isolated {
                // The live stream waits for it.
                stream.queue.set_flushing(stream.is_rejoining || is_stopping);
            }
        }
        let ends = |stream: &Stream| {
            let is_backlog = stream.is_isolated && stream.kind == Kind::Backlog && stream.is_delivered();
            is_backlog || stream.is_rejoining && stream.queue.pending() == 0
        };
        let Some(at) = self.streams.iter().position(ends) else { return };
        let ended = self.streams.remove(at);
        if let (true, Some(live)) =
            (ended.is_live(), self.streams.iter_mut().find(|stream| super::is_main_live(stream)))
        {
            live.queue.rejoin(&ended.queue);
        }
        self.share_memory();
        tracing::info!(destination = %self.name, "series that were sent apart have caught up");
    }

    /// Returns the number of isolated lanes that have not caught up.
    pub(crate) fn lanes_behind(&self) -> usize {
        self.isolated()
            .filter(|stream| !self.is_level(stream))
            .map(|stream| stream.queue.lanes_served())
            .sum()
    }

    /// Returns the number of lanes that have failed for a few seconds while the destination accepts others,
    /// or that have not caught up since.
    pub(crate) fn stuck_lanes(&self) -> usize {
        let now = self.now();
        let stuck = self.streams.iter().filter(|stream| stream.follows_log()).map(|stream| {
            if stream.is_isolated && !self.is_level(stream) {
                stream.queue.lanes_served()
            } else {
                stream.queue.stuck_lanes(now, &self.health)
            }
        });
        stuck.sum()
    }

    fn isolated(&self) -> impl Iterator<Item = &Stream> {
        self.streams.iter().filter(|stream| stream.is_isolated)
    }

    fn is_level(&self, stream: &Stream) -> bool {
        stream.is_read() || self.has_caught_up(stream)
    }
}
