//! The shards of a destination, spread over its streams.

use super::{Delivery, Kind, Log, reshard};
use crate::output::Output;
use crate::queue::{Queue, Source};
use std::time::Duration;

impl<O: Output> Delivery<O> {
    /// Returns the number of shards of all streams that are not isolated.
    pub(crate) fn shards(&self) -> usize {
        let mains = self.streams.iter().filter(|stream| stream.is_main());
        mains.map(|stream| stream.queue.shards()).sum()
    }

    /// Decides the number of shards again, if it is time.
    pub(super) fn reshard(&mut self, log: &impl Log) {
        let now = self.now();
        if !self.resharding.is_due(now) {
            return;
        }
        // By the arrival of the oldest point, because the clock of a client must not change the number of
        // shards.
        let oldest = self.log_queues().filter_map(Queue::oldest).map(|(outgoing, point)| {
            let at = outgoing.position(point);
            if self.is_from_disk(outgoing, point) { log.arrived(at) } else { outgoing.arrived() }
        });
        let delay = oldest.min().map_or(Duration::ZERO, |arrived| now.saturating_sub(arrived));
        let rates = self.resharding.measure(&self.stats, delay, now);
        if let Some(desired) = reshard::desired(rates) {
            self.stats.shards_desired_milli.set((desired * 1000.0) as i64);
        }
        let (min, max) = (self.settings.queue.min_shards, self.settings.queue.max_shards);
        let shards = self.shards().min(max);
        let decided = reshard::decide(shards, rates, min, max);
        if decided != shards {
            tracing::info!(destination = %self.name, from = shards, to = decided, ?rates, "resharding");
            self.set_shards(decided);
        }
    }

    pub(super) fn set_shards(&mut self, shards: usize) {
        let has_backlog = self.main(Kind::Backlog).is_some();
        for stream in self.streams.iter_mut().filter(|stream| stream.is_main()) {
            let own = match (stream.kind, has_backlog) {
                (Kind::Backlog, _) => shards - shards / 2,
                (_, true) => shards / 2,
                (_, false) => shards,
            };
            stream.queue.reshard(own);
        }
    }
}
