//! The metrics of the inputs and of the groups.

use super::{counter, gauge};
use groups::Stats;
use intake::known::KnownSeries;
use intake::{ByName, Counters, Intake, RefusedReason, State};
use model::{Family, MetricType};
use receive::Denied;
use std::collections::BTreeSet;

/// Adds the families.
pub(super) fn families(intake: &Intake, denied: &Denied, stats: &Stats, out: &mut Vec<Family>) {
    requests(intake.counters(), out);
    control(intake, out);
    listeners(intake, out);
    known_series(intake.known_series(), out);
    groups(stats, out);
    events(denied, stats, out);
}

/// The labels of an input's series: its name as `input` and, as in earlier versions, as `door`, and `more`.
fn of<'a>(input: &'a str, more: &[(&'static str, &'a str)]) -> Vec<(&'static str, &'a str)> {
    [&[("door", input), ("input", input)], more].concat()
}

/// The requests to each input.
fn requests(inputs: &Counters, out: &mut Vec<Family>) {
    let counters = |name, help| Family::new(name, help, MetricType::Counter);
    let mut requests = counters(
        "narthex_receive_requests_total",
        "Requests to the inputs, by answer: accepted (2xx), refused (4xx), deferred (429, 503).",
    );
    let mut bytes = counters("narthex_receive_bytes_total", "Bytes of request bodies, as sent.");
    let mut points =
        counters("narthex_receive_points_total", "Samples, histograms and exemplars that were kept.");
    let mut rejected = counters(
        "narthex_receive_rejected_total",
        "Samples, histograms and exemplars that were rejected: invalid, too old or too far ahead of the clock.",
    );
    let mut reasons = counters(
        "narthex_receive_refused_total",
        "Requests to the inputs that were refused or deferred, by reason.",
    );
    let mut left_out = counters(
        "narthex_receive_left_out_total",
        "Parts of requests that are neither samples nor errors, by reason: string_field, repeated_sample.",
    );
    for (name, own) in inputs.all() {
        for (answer, count) in
            [("accepted", &own.accepted), ("refused", &own.refused), ("deferred", &own.deferred)]
        {
            requests.push(&of(name, &[("answer", answer)]), count.get() as f64);
        }
        bytes.push(&of(name, &[]), own.bytes.get() as f64);
        points.push(&of(name, &[]), own.points.get() as f64);
        rejected.push(&of(name, &[]), own.rejected.get() as f64);
        for (reason, count) in own.left_out.get().iter().flat_map(|left_out| left_out.iter()) {
            left_out.push(&of(name, &[("reason", reason)]), count as f64);
        }
        for reason in RefusedReason::ALL {
            let count = own.refused_for(reason) as f64;
            reasons.push(&of(name, &[("reason", reason.as_str())]), count);
        }
    }
    out.extend([requests, bytes, points, rejected, reasons, left_out]);
}

/// The effect of `labels`, `metric_relabel_configs` and limits on series.
fn control(intake: &Intake, out: &mut Vec<Family>) {
    let mut dropped = Family::new(
        "narthex_receive_dropped_total",
        "Samples, histograms and exemplars that the input's metric_relabel_configs dropped.",
        MetricType::Counter,
    );
    let mut active = Family::new(
        "narthex_receive_active_series",
        "Series with a sample in the last hour, for inputs with max_series or max_series_per_metric.",
        MetricType::Gauge,
    );
    let mut refused = Family::new(
        "narthex_receive_series_refused_total",
        "New series that were refused because of max_series or max_series_per_metric, by metric name.",
        MetricType::Counter,
    );
    let mut left_out = Family::new(
        "narthex_receive_data_points_rejected_total",
        "Data points of OTLP that were left out, by reason.",
        MetricType::Counter,
    );
    let mut sections = BTreeSet::new();
    for input in intake.inputs() {
        for (reason, count) in input.counters().data_points_rejected.get().into_iter().flat_map(ByName::iter)
        {
            left_out.push(&of(input.name(), &[("reason", reason)]), count as f64);
        }
        dropped.push(&of(input.name(), &[]), input.counters().dropped.get() as f64);
        // Both versions of remote write share one limit.
        let section = input.section();
        if !sections.insert(section) {
            continue;
        }
        active.push(&of(section, &[]), input.active_series() as f64);
        for (metric, count) in input.blamed_metrics() {
            refused.push(&of(section, &[("metric", &metric)]), count as f64);
        }
    }
    out.extend([dropped, active, refused, left_out]);
}

/// Inputs with sockets of their own.
fn listeners(intake: &Intake, out: &mut Vec<Family>) {
    let mut listening = Family::new(
        "narthex_receive_listening",
        "Whether the input listens on its sockets: 0 while it can't, or after a panic.",
        MetricType::Gauge,
    );
    let mut denied = Family::new(
        "narthex_receive_denied_total",
        "Connections and datagrams from addresses outside of allow_from.",
        MetricType::Counter,
    );
    let mut connections = Family::new(
        "narthex_receive_connections",
        "Open connections of inputs with their own sockets.",
        MetricType::Gauge,
    );
    let mut connections_max = Family::new(
        "narthex_receive_connections_max",
        "Maximum number of open connections of the input; further ones wait.",
        MetricType::Gauge,
    );
    let mut full = Family::new(
        "narthex_receive_connections_full_total",
        "Times that all connections of the input came into use, so that further ones waited.",
        MetricType::Counter,
    );
    let mut drops = Family::new(
        "narthex_receive_kernel_drops_total",
        "Datagrams that the kernel dropped because they were not read in time.",
        MetricType::Counter,
    );
    let mut lost = Family::new(
        "narthex_receive_lost_total",
        "Samples that were lost because the log accepted none until narthex stopped.",
        MetricType::Counter,
    );
    let mut lines = Family::new(
        "narthex_receive_lines_total",
        "Samples in lines by type, of inputs whose lines have types; events and service checks are ignored.",
        MetricType::Counter,
    );
    let mut errors = Family::new(
        "narthex_receive_line_errors_total",
        "Lines, samples and tags that were left out, by reason.",
        MetricType::Counter,
    );
    for input in intake.inputs() {
        if let Some(counters) = input.counters().listener() {
            if let Some(protocol) = counters.protocol.get() {
                for (name, count) in protocol.lines.iter() {
                    lines.push(&of(input.name(), &[("type", name)]), count as f64);
                }
                for (name, count) in protocol.errors.iter() {
                    errors.push(&of(input.name(), &[("reason", name)]), count as f64);
                }
            }
            match counters.state() {
                State::Off => {}
                state => {
                    listening.push(&of(input.name(), &[]), f64::from(u8::from(state == State::Listening)))
                }
            }
            denied.push(&of(input.name(), &[]), counters.denied.get() as f64);
            connections.push(&of(input.name(), &[]), counters.connections.get() as f64);
            connections_max.push(&of(input.name(), &[]), counters.connections_max.get() as f64);
            full.push(&of(input.name(), &[]), counters.connections_full.get() as f64);
            drops.push(&of(input.name(), &[]), counters.kernel_drops.get() as f64);
            lost.push(&of(input.name(), &[]), counters.lost.get() as f64);
        }
    }
    let families = [listening, denied, connections, connections_max, full, drops, lost, lines, errors];
    out.extend(families.into_iter().filter(|family| !family.metrics.is_empty()));
}

/// The cache of known series.
fn known_series(known: &KnownSeries, out: &mut Vec<Family>) {
    out.push(counter(
        "narthex_known_series_hits_total",
        "Series of requests whose labels were known, so that they were not parsed or relabelled again.",
        known.hits.get(),
    ));
    out.push(counter(
        "narthex_known_series_misses_total",
        "Series of requests that were looked up and whose labels were not known.",
        known.misses.get(),
    ));
    out.push(counter(
        "narthex_known_series_evictions_total",
        "Known series that were evicted for others, or removed after a change of settings.",
        known.evicted(),
    ));
    out.push(gauge("narthex_known_series", "Series that inputs recognise.", known.entries() as f64));
    out.push(gauge("narthex_known_series_bytes", "Memory of the known series.", known.bytes() as f64));
}

/// The number of groups.
fn groups(stats: &Stats, out: &mut Vec<Family>) {
    out.push(gauge(
        "narthex_groups",
        "Groups pushed through the Pushgateway's interface.",
        stats.groups.get() as f64,
    ));
    out.push(gauge("narthex_group_series", "Series of all groups.", stats.group_series.get() as f64));
    out.push(gauge(
        "narthex_groups_failing",
        "Groups whose last push was refused.",
        stats.groups_failing.get() as f64,
    ));
    out.push(gauge(
        "narthex_groups_expired",
        "Groups whose time to live is over.",
        stats.groups_expired.get() as f64,
    ));
}

/// Events of the HTTP inputs, mostly about groups.
fn events(denied: &Denied, stats: &Stats, out: &mut Vec<Family>) {
    for (name, help, count) in [
        (
            "narthex_receive_unauthorized_total",
            "Requests refused because of wrong or missing credentials.",
            &denied.requests,
        ),
        ("narthex_group_expirations_total", "Times that a group's time to live ended.", &stats.expirations),
        ("narthex_groups_forgotten_total", "Groups removed some time after they expired.", &stats.removed),
        ("narthex_group_emissions_total", "Groups sent again after their interval.", &stats.emissions),
        (
            "narthex_group_emissions_failed_total",
            "Groups that could not be sent again after their interval.",
            &stats.emissions_failed,
        ),
        (
            "narthex_group_push_failures_total",
            "Pushes that were refused because of their content; they set push_failure_time_seconds.",
            &stats.push_failures,
        ),
        ("narthex_group_markers_total", "Staleness markers sent for groups.", &stats.markers),
        (
            "narthex_group_journal_damaged_total",
            "Entries of the journal of groups that could not be read.",
            &stats.journal_damaged,
        ),
        (
            "narthex_group_journal_rewrites_total",
            "Times that the journal of groups was rewritten.",
            &stats.journal_rewrites,
        ),
    ] {
        out.push(counter(name, help, count.get()));
    }
}
