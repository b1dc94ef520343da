//! The doors' metrics.

use super::gauge;
use model::{Family, MetricType};
use receive::Stats;
use receive::stats::Door;

/// Adds them.
pub(super) fn families(stats: &Stats, out: &mut Vec<Family>) {
    let counters = |name, help| Family::new(name, help, MetricType::Counter);
    let mut requests = counters(
        "narthex_receive_requests_total",
        "Requests at the doors, by how they were answered: accepted (2xx), refused (4xx), deferred (429, 503).",
    );
    let mut bytes = counters("narthex_receive_bytes_total", "Bytes of request bodies, as sent.");
    let mut points = counters("narthex_receive_points_total", "Samples, histograms and exemplars taken in.");
    let mut rejected = counters(
        "narthex_receive_rejected_total",
        "Samples, histograms and exemplars that were not taken in because they are invalid, too old or too far ahead.",
    );
    for door in Door::ALL {
        let own = stats.door(door);
        let name = door.as_str();
        for (answer, count) in
            [("accepted", &own.accepted), ("refused", &own.refused), ("deferred", &own.deferred)]
        {
            requests.push(&[("door", name), ("answer", answer)], count.get() as f64);
        }
        bytes.push(&[("door", name)], own.bytes.get() as f64);
        points.push(&[("door", name)], own.points.get() as f64);
        rejected.push(&[("door", name)], own.invalid.get() as f64);
    }
    out.extend([requests, bytes, points, rejected]);
    out.push(gauge(
        "narthex_groups",
        "Groups pushed through the Pushgateway's interface.",
        stats.groups.get() as f64,
    ));
    out.push(gauge("narthex_group_series", "Series of all groups.", stats.group_series.get() as f64));
    out.push(gauge(
        "narthex_groups_expired",
        "Groups whose time to live is over.",
        stats.groups_expired.get() as f64,
    ));
}
