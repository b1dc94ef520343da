//! The destinations' positions in the log.

use super::table::{Table, own};
use crate::telemetry::{Outlet, counter};
use model::{Family, MetricType};
use remote::Stats;
use storage::Storage;
use wal::Position;

/// Saved positions that could not be used, and failures to save one.
pub(super) fn failures(table: &mut Table) {
    table.reasons(
        "narthex_remote_positions_reset_total",
        "Lanes that did not begin at their saved positions, by reason.",
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
}

/// The bytes of the log after each destination's saved position.
pub fn lag_bytes(destinations: &[Outlet], storage: &Storage) -> Vec<u64> {
    let position = |stats: &Stats| Position {
        segment: u64::try_from(stats.position_segment.get()).unwrap_or(0),
        offset: u64::try_from(stats.position_offset.get()).unwrap_or(0),
        index: 0,
    };
    let positions: Vec<_> = destinations.iter().map(|destination| position(&destination.stats)).collect();
    storage.bytes_from(&positions)
}

/// [`lag_bytes`] as a family.
pub(super) fn lag(destinations: &[Outlet], storage: &Storage, out: &mut Vec<Family>) {
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

/// The metrics of Prometheus' log watcher. Prometheus has one watcher for each destination. Here the records
/// are also counted for each destination, but damage is counted for all of them together.
pub(super) fn watcher(destinations: &[Outlet], log: &storage::Stats, out: &mut Vec<Family>) {
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
        |stats| stats.position_segment.get() as f64,
    );
    add(
        "prometheus_wal_watcher_records_read_total",
        "Records with points that the destination has read, from memory or from disk.",
        MetricType::Counter,
        |stats| stats.records_read.get() as f64,
    );
    add(
        "prometheus_wal_watcher_samples_sent_pre_tailing_total",
        "Records with points that the destination has read from disk, because it was behind.",
        MetricType::Counter,
        |stats| stats.records_read_behind.get() as f64,
    );
    out.push(counter(
        "prometheus_wal_watcher_record_decode_failures_total",
        "Stretches of the log that could not be read, for all destinations.",
        log.damages.get(),
    ));
}
