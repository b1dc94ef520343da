//! The log's metrics. They have the names of Prometheus' agent and write-ahead log if those have such a
//! metric.

use super::{counter, gauge};
use model::{Family, MetricType};
use storage::stats::FSYNC_BUCKETS_US;
use storage::{Stats, Storage};

/// Adds the families, in the order of the page.
pub(super) fn families(storage: &Storage, out: &mut Vec<Family>) {
    let stats = storage.stats();
    appended(stats, out);
    written(stats, out);
    segments(stats, out);
    budget(storage, out);
    commits(stats, out);
    memory(storage, out);
    read_back(stats, out);
    out.push(gauge(
        "narthex_log_orphaned_pins",
        "Destinations that ended unexpectedly, and for which the log is kept until they are started again.",
        storage.orphans().len() as f64,
    ));
}

/// Series and samples that were appended.
fn appended(stats: &Stats, out: &mut Vec<Family>) {
    out.push(gauge(
        "prometheus_agent_active_series",
        "Number of active series being tracked by the WAL storage.",
        stats.series.get() as f64,
    ));
    let mut appended = Family::new(
        "prometheus_agent_samples_appended_total",
        "Total number of samples appended to the storage.",
        MetricType::Counter,
    );
    appended.push(&[("type", "float")], stats.samples.get() as f64);
    appended.push(&[("type", "histogram")], stats.histograms.get() as f64);
    out.push(appended);
    out.push(counter(
        "prometheus_agent_exemplars_appended_total",
        "Total number of exemplars appended to the storage.",
        stats.exemplars.get(),
    ));
    out.push(counter(
        "prometheus_agent_corruptions_total",
        "Stretches of the log that could not be read.",
        stats.damages.get(),
    ));
}

/// Syncs, pages and records that were written.
fn written(stats: &Stats, out: &mut Vec<Family>) {
    out.push(fsync(stats));
    out.push(counter(
        "prometheus_tsdb_wal_corruptions_total",
        "Stretches of the log that could not be read.",
        stats.damages.get(),
    ));
    out.push(counter(
        "prometheus_tsdb_wal_page_flushes_total",
        "Total number of page flushes.",
        stats.page_flushes.get(),
    ));
    out.push(counter(
        "prometheus_tsdb_wal_completed_pages_total",
        "Total number of completed pages.",
        stats.pages_completed.get(),
    ));
    out.push(counter(
        "prometheus_tsdb_wal_record_part_writes_total",
        "Total number of record parts written before flushing.",
        stats.record_parts.get(),
    ));
    out.push(counter(
        "prometheus_tsdb_wal_record_parts_bytes_written_total",
        "Total number of record part bytes written before flushing, including CRC and compression headers.",
        stats.record_bytes.get(),
    ));
    let mut saved = Family::new(
        "prometheus_tsdb_wal_record_bytes_saved_total",
        "Total number of bytes saved by record compression.",
        MetricType::Counter,
    );
    saved.push(&[("compression", "snappy")], stats.record_bytes_saved.get() as f64);
    out.push(saved);
}

fn segments(stats: &Stats, out: &mut Vec<Family>) {
    out.push(gauge(
        "prometheus_tsdb_wal_segment_current",
        "Write log segment index that is currently being written to.",
        stats.segment.get() as f64,
    ));
    out.push(gauge(
        "prometheus_tsdb_wal_storage_size_bytes",
        "Size of the write log directory.",
        stats.log_bytes.get() as f64,
    ));
    out.push(counter(
        "prometheus_tsdb_wal_writes_failed_total",
        "Total number of write log writes that failed.",
        stats.commits_failed.get(),
    ));
    out.push(counter(
        "prometheus_tsdb_wal_truncations_total",
        "Segments removed because every destination had acknowledged them.",
        stats.segments_truncated.get(),
    ));
    out.push(counter(
        "prometheus_tsdb_wal_truncations_failed_total",
        "Segments that could not be removed.",
        stats.truncations_failed.get(),
    ));
}

/// The log's budget, and what was deleted or refused because of it.
fn budget(storage: &Storage, out: &mut Vec<Family>) {
    let stats = storage.stats();
    out.push(gauge(
        "narthex_log_max_bytes",
        "Maximum size of the log on disk (log.max_size).",
        storage.max_size() as f64,
    ));
    out.push(gauge("narthex_log_oldest_segment", "Oldest segment kept.", stats.oldest_segment.get() as f64));
    out.push(counter(
        "narthex_log_segments_dropped_total",
        "Segments removed by the budget or by age before every destination had acknowledged them.",
        stats.segments_dropped.get(),
    ));
}

/// Batches that wait for a commit.
fn commits(stats: &Stats, out: &mut Vec<Family>) {
    out.push(counter(
        "narthex_log_commits_total",
        "Groups of batches written and synced together.",
        stats.commits.get(),
    ));
    out.push(counter("narthex_log_batches_total", "Batches acknowledged.", stats.batches.get()));
    out.push(counter(
        "narthex_log_batches_refused_total",
        "Batches that were not acknowledged.",
        stats.refused.get(),
    ));
    out.push(counter(
        "narthex_log_written_bytes_total",
        "Bytes written to the log.",
        stats.bytes_written.get(),
    ));
    out.push(gauge(
        "narthex_log_waiting_bytes",
        "Bytes of batches that wait for the disk.",
        stats.waiting_bytes.get() as f64,
    ));
    out.push(gauge(
        "narthex_log_full",
        "1 while the inputs accept nothing because there is no room.",
        f64::from(u8::from(stats.is_full())),
    ));
    out.push(gauge(
        "narthex_log_disk_full",
        "1 while the inputs accept nothing because the disk is full, and not because log.max_size is used up.",
        stats.disk_full.get() as f64,
    ));
}

/// What the log holds in memory.
fn memory(storage: &Storage, out: &mut Vec<Family>) {
    let stats = storage.stats();
    out.push(counter(
        "narthex_log_series_created_total",
        "Series that were given a reference.",
        stats.series_created.get(),
    ));
    out.push(gauge(
        "narthex_log_registry_bytes",
        "Memory of the series registry.",
        stats.registry_bytes.get() as f64,
    ));
    out.push(gauge(
        "narthex_log_tail_bytes",
        "Committed batches kept in memory for destinations that keep up.",
        storage.tail_bytes() as f64,
    ));
}

/// What destinations read back from disk.
fn read_back(stats: &Stats, out: &mut Vec<Family>) {
    out.push(counter(
        "narthex_log_records_read_back_total",
        "Records read back from disk, for all destinations.",
        stats.records_read.get(),
    ));
    out.push(counter(
        "narthex_log_reads_failed_total",
        "Reads of the log that failed. They are retried for some minutes.",
        stats.reads_failed.get(),
    ));
    out.push(counter(
        "narthex_log_damaged_bytes_total",
        "Bytes of the log that could not be read.",
        stats.damaged_bytes.get(),
    ));
    out.push(counter(
        "narthex_log_points_without_series_total",
        "Points read back whose series record could not be read.",
        stats.points_without_series.get(),
    ));
}

/// Prometheus has a summary here. This is a histogram, because buckets can be added up over agents. Queries
/// for `_sum` and `_count` work on both.
fn fsync(stats: &Stats) -> Family {
    let fsync = &stats.fsync;
    let mut family = Family::new(
        "prometheus_tsdb_wal_fsync_duration_seconds",
        "Duration of write log fsync.",
        MetricType::Histogram,
    );
    let mut sum = 0;
    for (index, bucket) in fsync.buckets.iter().enumerate() {
        sum += bucket.get();
        let bound = match FSYNC_BUCKETS_US.get(index) {
            Some(micros) => (*micros as f64 / 1e6).to_string(),
            None => "+Inf".to_string(),
        };
        family.push_suffixed("_bucket", &[("le", bound.as_str())], sum as f64);
    }
    family.push_suffixed("_sum", &[], fsync.sum_ns.get() as f64 / 1e9);
    family.push_suffixed("_count", &[], sum as f64);
    family
}
