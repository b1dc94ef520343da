//! Requests: their number, size and duration, and those with metadata alone.

use super::table::{Table, own};
use crate::telemetry::Outlet;
use model::{Family, MetricType};
use remote::stats::DURATION_BUCKETS;

/// Requests with metadata alone, which exist in remote write 1.0.
pub(super) fn metadata(table: &mut Table) {
    table.counter(
        "prometheus_remote_storage_metadata_total",
        "Metadata entries sent in their own requests (remote write 1.0).",
        |s| s.metadata.get(),
    );
    table.counter(
        "prometheus_remote_storage_metadata_failed_total",
        "Metadata entries that the destination refused.",
        |s| s.metadata_failed.get(),
    );
    table.counter(
        "prometheus_remote_storage_metadata_retried_total",
        "Metadata entries whose request failed and is sent again.",
        |s| s.metadata_retried.get(),
    );
    table.counter(
        "prometheus_remote_storage_metadata_bytes_total",
        "Bytes of metadata requests, compressed.",
        |s| s.metadata_bytes.get(),
    );
}

/// All other requests.
pub(super) fn requests(table: &mut Table) {
    table.counter("narthex_remote_requests_total", "Requests answered or failed.", |s| s.requests.get());
    table.counter(
        "narthex_remote_requests_retried_total",
        "Requests that failed or were answered with 408, 429 or 5xx.",
        |s| s.requests_retried.get(),
    );
    table.counter(
        "narthex_remote_requests_sent_again_total",
        "Requests that were sent again. Attempts without a connection do not count.",
        |s| s.requests_sent_again.get(),
    );
    table.counter("narthex_remote_plain_bytes_total", "Bytes sent, before compression.", |s| {
        s.plain_bytes.get()
    });
    table.counter(
        "narthex_remote_requests_verbatim_total",
        "Requests that were forwarded unchanged, without being encoded again.",
        |s| s.verbatim.get(),
    );
}

/// The duration of requests.
pub(super) fn duration(destinations: &[Outlet], out: &mut Vec<Family>) {
    let mut family = Family::new(
        "prometheus_remote_storage_sent_batch_duration_seconds",
        "Duration of requests.",
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
