//! The destinations' metrics, under the names that Prometheus' remote storage has given them.

use super::Outlet;
use formats::remote_write::Protocol;
use model::Kinds;
use model::{Family, MetricType};
use remote::State;
use remote::stats::{DURATION_BUCKETS, Stats};
use storage::Storage;
use wal::Position;

/// The families of one kind of number, filled destination by destination.
struct Table<'a> {
    destinations: &'a [Outlet],
    out: &'a mut Vec<Family>,
}

impl Table<'_> {
    /// One number a destination.
    fn add(
        &mut self,
        name: &'static str,
        help: &'static str,
        kind: MetricType,
        value: impl Fn(&Stats) -> f64,
    ) {
        let mut family = Family::new(name, help, kind);
        for destination in self.destinations {
            family.push(&own(destination), value(&destination.stats));
        }
        self.out.push(family);
    }

    fn counter(&mut self, name: &'static str, help: &'static str, value: impl Fn(&Stats) -> u64) {
        self.add(name, help, MetricType::Counter, |stats| value(stats) as f64);
    }

    fn gauge(&mut self, name: &'static str, help: &'static str, value: impl Fn(&Stats) -> f64) {
        self.add(name, help, MetricType::Gauge, value);
    }

    /// One number a destination and reason.
    fn reasons(
        &mut self,
        name: &'static str,
        help: &'static str,
        values: impl Fn(&Stats) -> Vec<(&'static str, u64)>,
    ) {
        let values = |stats: &Stats| values(stats).into_iter().map(|(reason, count)| (reason, count as f64));
        self.each(name, help, MetricType::Counter, "reason", |stats| values(stats).collect());
    }

    /// One number a destination and value of one more label.
    fn each(
        &mut self,
        name: &'static str,
        help: &'static str,
        kind: MetricType,
        label: &'static str,
        values: impl Fn(&Stats) -> Vec<(&'static str, f64)>,
    ) {
        let mut family = Family::new(name, help, kind);
        for destination in self.destinations {
            let [name, url] = own(destination);
            for (which, value) in values(&destination.stats) {
                family.push(&[name, url, (label, which)], value);
            }
        }
        self.out.push(family);
    }
}

/// The labels that tell destinations apart.
fn own(destination: &Outlet) -> [(&'static str, &str); 2] {
    [("remote_name", &destination.name), ("url", &destination.url)]
}

type Pick = fn(Kinds) -> u64;

/// A kind of point: Prometheus' names for what happened to it.
struct Kind {
    pick: Pick,
    total: &'static str,
    failed: &'static str,
    retried: &'static str,
    dropped: &'static str,
    pending: &'static str,
}

const KINDS: [Kind; 3] = [
    Kind {
        pick: |kinds| kinds.samples,
        total: "prometheus_remote_storage_samples_total",
        failed: "prometheus_remote_storage_samples_failed_total",
        retried: "prometheus_remote_storage_samples_retried_total",
        dropped: "prometheus_remote_storage_samples_dropped_total",
        pending: "prometheus_remote_storage_samples_pending",
    },
    Kind {
        pick: |kinds| kinds.histograms,
        total: "prometheus_remote_storage_histograms_total",
        failed: "prometheus_remote_storage_histograms_failed_total",
        retried: "prometheus_remote_storage_histograms_retried_total",
        dropped: "prometheus_remote_storage_histograms_dropped_total",
        pending: "prometheus_remote_storage_histograms_pending",
    },
    Kind {
        pick: |kinds| kinds.exemplars,
        total: "prometheus_remote_storage_exemplars_total",
        failed: "prometheus_remote_storage_exemplars_failed_total",
        retried: "prometheus_remote_storage_exemplars_retried_total",
        dropped: "prometheus_remote_storage_exemplars_dropped_total",
        pending: "prometheus_remote_storage_exemplars_pending",
    },
];

/// The states of a destination, by the names that `narthex_remote_state` has for them. The status has words of
/// its own, which tell of the lag as well.
const STATES: [&str; 6] = ["starting", "delivering", "waiting", "denied", "stopped", "left"];

/// The name of a state.
const fn state_name(state: &State) -> &'static str {
    match state {
        State::Starting => "starting",
        State::Delivering => "delivering",
        State::Waiting { .. } => "waiting",
        State::Denied { .. } => "denied",
        State::Stopped => "stopped",
        State::Left => "left",
    }
}

/// The name of a version, as in `remote write 2.0`.
pub const fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::V1 => "1.0",
        Protocol::V2 => "2.0",
    }
}

/// Bytes of the log that each destination has not settled: from its saved position to the end.
pub fn lag_bytes(destinations: &[Outlet], storage: &Storage) -> Vec<u64> {
    let position = |stats: &Stats| Position {
        segment: u64::try_from(stats.position_segment.get()).unwrap_or(0),
        offset: u64::try_from(stats.position_offset.get()).unwrap_or(0),
        index: 0,
    };
    let positions: Vec<_> = destinations.iter().map(|destination| position(&destination.stats)).collect();
    storage.bytes_from(&positions)
}

/// Adds them.
pub(super) fn families(destinations: &[Outlet], storage: &Storage, out: &mut Vec<Family>) {
    let mut table = Table { destinations, out };
    for Kind { pick, total, failed, retried, dropped, pending } in KINDS {
        // As in Prometheus, what was sent and refused counts as sent, so that failed/total is a share.
        table.counter(total, "Points sent, those that the destination refused included.", |s| {
            pick(s.delivered.get()) + pick(s.refused.get())
        });
        table.counter(failed, "Points that the destination refused for good.", |s| pick(s.refused.get()));
        table.counter(retried, "Points in requests that were sent again.", |s| pick(s.retried.get()));
        table.reasons(dropped, "Points that were not sent, by reason.", |s| {
            vec![
                ("rule", pick(s.dropped_by_rule.get())),
                ("too_old", pick(s.dropped_too_old.get())),
                ("unsupported", pick(s.dropped_unsupported.get())),
                ("no_series", pick(s.dropped_no_series.get())),
                ("log_budget", pick(s.lost.get())),
            ]
        });
        table.gauge(pending, "Points in the queue that are not settled.", |s| pick(s.pending()) as f64);
    }
    table.counter(
        "prometheus_remote_storage_metadata_total",
        "Metadata entries sent by themselves (remote write 1.0).",
        |s| s.metadata.get(),
    );
    table.counter(
        "prometheus_remote_storage_metadata_failed_total",
        "Metadata entries that the destination refused.",
        |s| s.metadata_failed.get(),
    );
    table.counter(
        "prometheus_remote_storage_metadata_retried_total",
        "Metadata entries whose request failed and that come again.",
        |s| s.metadata_retried.get(),
    );
    table.counter(
        "prometheus_remote_storage_metadata_bytes_total",
        "Bytes of metadata requests, compressed.",
        |s| s.metadata_bytes.get(),
    );
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
        "Newest timestamp that the destination has taken.",
        |s| seconds(s.highest_sent_ms.get()),
    );
    table.gauge("prometheus_remote_storage_shards", "Shards now.", |s| s.shards.get() as f64);
    table.gauge("prometheus_remote_storage_shards_min", "Fewest shards.", |s| s.shards_min.get() as f64);
    table.gauge("prometheus_remote_storage_shards_max", "Most shards.", |s| s.shards_max.get() as f64);
    table.gauge("prometheus_remote_storage_shards_desired", "Shards wanted.", |s| {
        s.shards_desired_milli.get() as f64 / 1000.0
    });
    table.gauge("prometheus_remote_storage_shard_capacity", "Samples that a shard may hold.", |s| {
        s.shard_capacity.get() as f64
    });
    table.gauge("prometheus_remote_storage_max_samples_per_send", "Most samples in a request.", |s| {
        s.max_samples_per_send.get() as f64
    });

    table.gauge("narthex_remote_lag_seconds", "How old the oldest point is that is not settled.", |s| {
        s.lag_ms.get() as f64 / 1000.0
    });
    table.gauge(
        "narthex_remote_newest_lag_seconds",
        "The same without the backlog, while the newest is sent before it.",
        |s| s.newest_lag_ms.get() as f64 / 1000.0,
    );
    table.gauge("narthex_remote_newest_first", "1 while the newest is sent before a backlog.", |s| {
        s.newest_first.get() as f64
    });
    table.gauge(
        "narthex_remote_retry_in_seconds",
        "How long the next try is away; 0 where nothing is waited for.",
        |s| s.retry_in_ms.get() as f64 / 1000.0,
    );
    table.gauge(
        "narthex_remote_stuck_lanes",
        "Lanes that are stuck and served by themselves, so that they hold up nobody else.",
        |s| s.lanes_behind.get() as f64,
    );
    table.counter(
        "narthex_remote_dead_letters_dropped_total",
        "Refused points that were not kept as dead letters, since too many came or the disk failed.",
        |s| s.dead_letters_dropped.get(),
    );
    table.counter(
        "narthex_remote_set_aside_total",
        "Points that met 408, 429 or 5xx for so long that they went to the side queue.",
        |s| {
            let kinds = s.set_aside.get();
            kinds.samples + kinds.histograms + kinds.exemplars
        },
    );
    table.reasons(
        "narthex_remote_start_timestamps_dropped_total",
        "Points delivered without their start timestamp, by reason.",
        |s| vec![("unsupported", s.without_start.get())],
    );
    table.gauge("narthex_remote_aside_points", "Points in the side queue, tried now and then.", |s| {
        s.aside_points.get() as f64
    });
    table.gauge("narthex_remote_aside_bytes", "Bytes on disk of the side queue.", |s| {
        s.aside_bytes.get() as f64
    });
    table.gauge("narthex_remote_behind", "1 while the queue reads from disk rather than from memory.", |s| {
        s.behind.get() as f64
    });
    table.gauge("narthex_remote_memory_bytes", "Batches held in memory for this destination.", |s| {
        s.memory_bytes.get() as f64
    });
    table.gauge(
        "narthex_remote_last_accepted_timestamp_seconds",
        "When the destination last took something; 0 if never.",
        |s| seconds(s.last_accepted_ms.get()),
    );
    table.counter("narthex_remote_requests_total", "Requests answered or failed.", |s| s.requests.get());
    table.counter(
        "narthex_remote_requests_retried_total",
        "Requests that failed or were answered with 408, 429 or 5xx.",
        |s| s.requests_retried.get(),
    );
    table.counter("narthex_remote_plain_bytes_total", "Bytes sent, before compression.", |s| {
        s.plain_bytes.get()
    });
    table.counter(
        "narthex_remote_requests_verbatim_total",
        "Requests sent as they came in, without encoding them anew.",
        |s| s.verbatim.get(),
    );
    table.reasons(
        "narthex_remote_positions_reset_total",
        "Lanes that did not begin at their saved positions, by why.",
        |s| {
            let reset = &s.positions_reset;
            vec![
                ("damaged", reset.damaged.get()),
                ("beyond_end", reset.beyond_end.get()),
                ("misplaced", reset.misplaced.get()),
                ("gone", reset.gone.get()),
            ]
        },
    );
    table.counter("narthex_remote_positions_failed_total", "Positions that could not be saved.", |s| {
        s.positions_failed.get()
    });
    table.reasons(
        "narthex_remote_refused_total",
        "Of the refused points: those with a closer reason.",
        |s| {
            vec![
                ("perhaps_already_written", s.refused_or_already_written.get()),
                ("presumed", s.refused_presumed.get()),
                ("poisoned", s.refused_poisoned.get()),
            ]
        },
    );
    table.each(
        "narthex_remote_state",
        "1 for the state that the destination is in, 0 for the others.",
        MetricType::Gauge,
        "state",
        |s| {
            let now = state_name(&s.state());
            STATES.map(|state| (state, f64::from(u8::from(state == now)))).to_vec()
        },
    );
    table.each(
        "narthex_remote_protocol",
        "The version of remote write in use: 1.",
        MetricType::Gauge,
        "protocol",
        |s| s.protocol().map(|protocol| (protocol_name(protocol), 1.0)).into_iter().collect(),
    );
    duration(destinations, out);
    lag(destinations, storage, out);
    watcher(destinations, storage.stats(), out);
    came_in(storage.stats(), out);
    let highest = destinations.iter().map(|d| d.stats.highest_ms.get()).max().unwrap_or(0);
    out.push(super::gauge(
        "prometheus_remote_storage_highest_timestamp_in_seconds",
        "Newest timestamp that came into the log.",
        seconds(highest),
    ));
}

fn duration(destinations: &[Outlet], out: &mut Vec<Family>) {
    let mut family = Family::new(
        "prometheus_remote_storage_sent_batch_duration_seconds",
        "How long requests took.",
        MetricType::Histogram,
    );
    for destination in destinations {
        let own = own(destination);
        let durations = &destination.stats.request_duration;
        let mut sum = 0;
        for (index, bucket) in durations.buckets.iter().enumerate() {
            sum += bucket.get();
            let bound = DURATION_BUCKETS.get(index).map_or("+Inf".to_string(), f64::to_string);
            let [name, url] = own;
            family.push_suffixed("_bucket", &[name, url, ("le", bound.as_str())], sum as f64);
        }
        family.push_suffixed("_sum", &own, durations.sum_ns.get() as f64 / 1e9);
        family.push_suffixed("_count", &own, sum as f64);
    }
    out.push(family);
}

fn lag(destinations: &[Outlet], storage: &Storage, out: &mut Vec<Family>) {
    let mut family = Family::new(
        "narthex_remote_lag_bytes",
        "Bytes of the log from the destination's saved position to the end.",
        MetricType::Gauge,
    );
    for (destination, bytes) in destinations.iter().zip(lag_bytes(destinations, storage)) {
        family.push(&own(destination), bytes as f64);
    }
    out.push(family);
}

/// What Prometheus' watcher tells of its way through the log. There is one for each destination there; here
/// what is read back is decoded for one of them, but damage is counted for all.
fn watcher(destinations: &[Outlet], log: &storage::Stats, out: &mut Vec<Family>) {
    let mut add = |name, help, kind, value: fn(&Stats) -> f64| {
        let mut family = Family::new(name, help, kind);
        for destination in destinations {
            family.push(&[("consumer", destination.name.as_str())], value(&destination.stats));
        }
        out.push(family);
    };
    add(
        "prometheus_wal_watcher_current_segment",
        "Segment of the destination's lowest position.",
        MetricType::Gauge,
        |stats| stats.segment.get() as f64,
    );
    add(
        "prometheus_wal_watcher_records_read_total",
        "Records with points that the destination has gone through, from memory or from disk.",
        MetricType::Counter,
        |stats| stats.records_read.get() as f64,
    );
    add(
        "prometheus_wal_watcher_samples_sent_pre_tailing_total",
        "Of these, records that came from disk, since the destination was behind.",
        MetricType::Counter,
        |stats| stats.records_read_behind.get() as f64,
    );
    out.push(super::counter(
        "prometheus_wal_watcher_record_decode_failures_total",
        "Stretches of the log that could not be read, for all destinations.",
        log.damages.get(),
    ));
}

/// What came into the log, for comparison with what went out.
fn came_in(log: &storage::Stats, out: &mut Vec<Family>) {
    for (name, help, count) in [
        (
            "prometheus_remote_storage_samples_in_total",
            "Samples in to remote storage, compare to samples out for queue managers.",
            &log.samples,
        ),
        (
            "prometheus_remote_storage_histograms_in_total",
            "Histograms in to remote storage, compare to histograms out for queue managers.",
            &log.histograms,
        ),
        (
            "prometheus_remote_storage_exemplars_in_total",
            "Exemplars in to remote storage, compare to exemplars out for queue managers.",
            &log.exemplars,
        ),
    ] {
        out.push(super::counter(name, help, count.get()));
    }
}

fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}
