//! The fate of points (sent, refused, dropped, parked), and the number of points appended to the log.

use super::seconds;
use super::table::Table;
use crate::telemetry::{Outlet, counter, gauge};
use model::{Family, Kinds};

type Pick = fn(Kinds) -> u64;

/// Prometheus' metric names for one kind of point.
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

/// The fate of points of each kind.
pub(super) fn kinds(table: &mut Table) {
    for Kind { pick, total, failed, retried, dropped, pending } in KINDS {
        // As in Prometheus, refused points count as sent, so that failed/total is a fraction.
        table.counter(total, "Points sent, including those that the destination refused.", |s| {
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
        table.gauge(
            pending,
            "Points in the queue that are neither delivered, refused, dropped nor parked.",
            |s| pick(s.pending()) as f64,
        );
    }
}

/// Points that are dead letters or parked, and points that were not delivered as a whole.
pub(super) fn aside(table: &mut Table) {
    table.counter(
        "narthex_remote_dead_letters_dropped_total",
        "Refused points that were not kept as dead letters, because there were too many or the disk failed.",
        |s| s.dead_letters_dropped.get(),
    );
    table.counter(
        "narthex_remote_set_aside_total",
        "Points that were parked in the side queue, because they kept failing.",
        |s| s.set_aside.get().total(),
    );
    table.reasons(
        "narthex_remote_start_timestamps_dropped_total",
        "Points delivered without their start timestamp, by reason.",
        |s| vec![("unsupported", s.without_start.get())],
    );
    table.gauge(
        "narthex_remote_aside_points",
        "Points in the side queue, which are retried every 5 minutes.",
        |s| s.aside_points.get() as f64,
    );
    table.gauge("narthex_remote_aside_bytes", "Bytes on disk of the side queue.", |s| {
        s.aside_bytes.get() as f64
    });
}

/// The reasons of refusals: by the receiver's answer and its status, or, without a status, by how narthex
/// found the refused points.
pub(super) fn refused(table: &mut Table) {
    table.labelled(
        "narthex_remote_refused_total",
        "Refused points by the reason in the answer; without a status: some of the same points by how they were found.",
        |s| {
            let found = [
                ("perhaps_already_written", s.refused_or_already_written.get()),
                ("presumed", s.refused_presumed.get()),
                ("poisoned", s.refused_poisoned.get()),
            ];
            let found = found.map(|(reason, count)| (vec![("reason", reason)], count));
            let said = s.refused_reasons().into_iter().map(|(refusal, count)| {
                (vec![("reason", refusal.reason.as_str()), ("status", refusal.status)], count)
            });
            found.into_iter().chain(said).collect()
        },
    );
}

/// The points that were appended to the log, for comparison with the points sent.
pub(super) fn came_in(destinations: &[Outlet], log: &storage::Stats, out: &mut Vec<Family>) {
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
        out.push(counter(name, help, count.get()));
    }
    let highest = destinations.iter().map(|d| d.stats.highest_read_ms.get()).max().unwrap_or(0);
    out.push(gauge(
        "prometheus_remote_storage_highest_timestamp_in_seconds",
        "Newest timestamp in the log.",
        seconds(highest),
    ));
}
