//! The queue: its throughput, its shards, its lag, and its reader.

use super::seconds;
use super::table::Table;

/// The throughput of the queue.
pub(super) fn through(table: &mut Table) {
    table.counter("prometheus_remote_storage_bytes_total", "Bytes sent, compressed.", |s| s.bytes.get());
    table.counter(
        "prometheus_remote_storage_enqueue_retries_total",
        "Times that reading stopped because the queue was full.",
        |s| s.full.get(),
    );
    table.gauge(
        "prometheus_remote_storage_queue_highest_timestamp_seconds",
        "Newest timestamp given to the queue.",
        |s| seconds(s.highest_ms.get()),
    );
    table.gauge(
        "prometheus_remote_storage_queue_highest_sent_timestamp_seconds",
        "Newest timestamp that has left the queue: delivered, refused or dropped.",
        |s| seconds(s.highest_sent_ms.get()),
    );
}

/// The number of shards (now, allowed and desired), and what each holds and sends.
pub(super) fn shards(table: &mut Table) {
    table.gauge("prometheus_remote_storage_shards", "Current number of shards.", |s| s.shards.get() as f64);
    table.gauge("prometheus_remote_storage_shards_min", "Minimum number of shards.", |s| {
        s.shards_min.get() as f64
    });
    table.gauge("prometheus_remote_storage_shards_max", "Maximum number of shards.", |s| {
        s.shards_max.get() as f64
    });
    table.gauge("prometheus_remote_storage_shards_desired", "Number of shards that the load needs.", |s| {
        s.shards_desired_milli.get() as f64 / 1000.0
    });
    table.gauge("prometheus_remote_storage_shard_capacity", "Capacity of a shard, in samples.", |s| {
        s.shard_capacity.get() as f64
    });
    table.gauge(
        "prometheus_remote_storage_max_samples_per_send",
        "Maximum number of samples in a request.",
        |s| s.max_samples_per_send.get() as f64,
    );
}

/// How far the queue is behind, and what it waits for.
pub(super) fn lag(table: &mut Table) {
    table.gauge(
        "narthex_remote_lag_seconds",
        "Age of the oldest point that is neither delivered nor refused; without series that were isolated because \
         the destination keeps failing on them (narthex_remote_stuck_lanes), and without parked points.",
        |s| s.lag_ms.get() as f64 / 1000.0,
    );
    table.gauge(
        "narthex_remote_newest_lag_seconds",
        "Age of the oldest point outside of the backlog, while new samples are sent before it.",
        |s| s.newest_lag_ms.get() as f64 / 1000.0,
    );
    table.gauge("narthex_remote_newest_first", "1 while the newest is sent before a backlog.", |s| {
        s.newest_first.get() as f64
    });
    table.gauge(
        "narthex_remote_retry_in_seconds",
        "Seconds until the next attempt; 0 if none is waiting.",
        |s| s.retry_in_ms.get() as f64 / 1000.0,
    );
    table.gauge(
        "narthex_remote_stuck_lanes",
        "Lanes (of 256) that the destination fails on while it accepts the others.",
        |s| s.stuck_lanes.get() as f64,
    );
}

/// What the queue reads from and holds, and when the destination last accepted something.
pub(super) fn reading(table: &mut Table) {
    table.gauge("narthex_remote_behind", "1 while the queue reads from disk rather than from memory.", |s| {
        s.behind.get() as f64
    });
    table.gauge("narthex_remote_memory_bytes", "Batches held in memory for this destination.", |s| {
        s.memory_bytes.get() as f64
    });
    table.gauge(
        "narthex_remote_last_accepted_timestamp_seconds",
        "When the destination last wrote a sample; 0 if never.",
        |s| seconds(s.last_accepted_ms.get()),
    );
}
