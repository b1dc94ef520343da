//! A destination's configuration in the form that delivery uses.

use crate::config::{BATCH_SEND_DEADLINE, CatchUp, Narrowing, RemoteWrite};
use crate::queue::lanes::LANES;
use crate::{queue, stats::Stats};
use std::time::Duration;
use wal::Position;

#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) queue: queue::Settings,
    pub(crate) age_limit: Option<Duration>,
    /// With newest first: how far back the receiver accepts samples out of order.
    pub(crate) window: Option<Duration>,
    /// For a member that leaves: where its part of the log ends.
    pub(crate) until: Option<Position>,
    pub(crate) max_bytes_per_second: Option<u64>,
}

impl Settings {
    pub(crate) fn of(config: &RemoteWrite) -> Settings {
        let own = &config.queue_config;
        let max_shards = own.max_shards.clamp(1, LANES);
        let queue = queue::Settings {
            min_shards: own.min_shards.clamp(1, max_shards),
            max_shards,
            capacity: own.capacity.max(own.max_samples_per_send),
            max_points: own.max_samples_per_send,
            deadline: own.batch_send_deadline,
            early: !own.deadline_is_set && own.batch_send_deadline == BATCH_SEND_DEADLINE,
            min_backoff: own.min_backoff,
            max_backoff: own.max_backoff,
            memory: config.max_in_memory,
            narrow: config.narrow == Narrowing::Auto,
            park: config.put_aside,
            was_parked: false,
        };
        Settings {
            queue,
            age_limit: Some(own.sample_age_limit).filter(|limit| !limit.is_zero()),
            window: Some(config.out_of_order_window).filter(|_| config.catch_up == CatchUp::NewestFirst),
            until: config.part.as_ref().and_then(|part| part.end),
            max_bytes_per_second: own.max_bytes_per_second,
        }
    }

    /// Sets the gauges of the settings.
    pub(crate) fn show(&self, stats: &Stats) {
        let queue = &self.queue;
        stats.shards.set(queue.min_shards as i64);
        stats.shards_min.set(queue.min_shards as i64);
        stats.shards_max.set(queue.max_shards as i64);
        stats.shards_desired_milli.set(queue.min_shards as i64 * 1000);
        stats.shard_capacity.set(queue.capacity as i64);
        stats.max_samples_per_send.set(queue.max_points as i64);
        stats.batch_send_deadline_ms.set(queue.deadline.as_millis() as i64);
    }
}
