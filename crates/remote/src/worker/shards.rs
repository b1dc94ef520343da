//! How many shards there are to be, by what went in and out: see [`crate::queue::reshard`].

use super::Worker;
use crate::queue::Queue;
use crate::queue::reshard::{self, MovingRate, Rates};
use model::Kinds;
use std::time::Duration;

/// What goes in and out, for the number of shards.
#[derive(Default)]
pub(super) struct Rate {
    input: MovingRate,
    output: MovingRate,
    dropped: MovingRate,
    sending: MovingRate,
    pub(super) last: Duration,
}

impl Rate {
    /// To be measured from now on.
    pub(super) fn since(now: Duration) -> Self {
        Rate { last: now, ..Rate::default() }
    }
}

impl Worker {
    /// The age of the oldest point that isn't settled, by its arrival: whoever pushes by a wrong clock must
    /// not change the number of shards, as the lag that is shown may.
    fn delay(&self, now: Duration) -> Duration {
        let backlog = self.backlog.as_ref().map(|backlog| &backlog.queue);
        let oldest = backlog.into_iter().chain([&self.queue]).filter_map(Queue::oldest);
        let arrived = oldest.map(|(outgoing, point)| self.arrived(outgoing, point));
        arrived.min().map_or(Duration::ZERO, |arrived| now.saturating_sub(arrived))
    }

    /// Decides again how many shards there are to be.
    pub(super) fn reshard(&mut self, now: Duration) {
        let seconds = now.saturating_sub(self.rate.last).as_secs_f64();
        self.rate.last = now;
        let stats = &self.stats;
        let total = |kinds: Kinds| kinds.total() as f64;
        let delivered = total(stats.delivered.get()) + total(stats.refused.get());
        let rates = Rates {
            input: self.rate.input.tick(total(stats.queued.get()), seconds),
            output: self.rate.output.tick(delivered, seconds),
            dropped: self.rate.dropped.tick(total(stats.dropped_by_rule.get()), seconds),
            sending: self.rate.sending.tick(stats.request_duration.sum_ns.get() as f64 / 1e9, seconds),
            delay: self.delay(now).as_secs_f64(),
        };
        if let Some(desired) = reshard::desired(rates) {
            stats.shards_desired_milli.set((desired * 1000.0) as i64);
        }
        let shards = self.shards().min(self.settings.max_shards);
        let decided = reshard::decide(shards, rates, self.settings.min_shards, self.settings.max_shards);
        if decided != shards {
            tracing::info!(destination = %self.name, from = shards, to = decided, ?rates, "resharding");
            self.set_shards(decided);
        }
    }
}
