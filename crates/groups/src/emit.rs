//! Writes the samples that a group sends: its values, its two push times, its staleness markers. Pure.

use super::group::{Family, Group, Member, PushedExemplar, Reading};
use super::packed::Visitor;
use super::state::Sent;
use crate::entry::family::Head;
use model::{Batch, Counts, Histogram, Labels, LabelsRef, Metadata, MetricType, Series, stale_nan};
use std::collections::HashMap;

/// Appends all series of a family with the timestamp `at`. A series that was pushed with a timestamp keeps that, if it
/// is after `last`, the last time of the group, and before `at`. `mixed`: other groups give this name another type, so
/// it is sent without a type.
pub fn family(batch: &mut Batch, name: &str, family: &Family, mixed: bool, last: i64, at: i64) {
    let metadata = metadata(batch, name, family, mixed);
    for member in &family.members {
        let time = if member.time > last && member.time < at { member.time } else { at };
        let series = batch.add_series(member.labels.as_ref(), metadata);
        match &member.reading {
            Reading::Float(value) => batch.push_float(series, time, *value),
            Reading::Histogram(histogram) => batch.push_histogram(series, time, 0, (**histogram).clone()),
        }
        if let Some(point) = batch.points.last_mut() {
            point.start_timestamp = member.start;
        }
    }
}

/// Appends a pushed family. Exemplars that the replaced family `before` has already are left out.
pub fn pushed_family(
    batch: &mut Batch,
    name: &str,
    pushed: &Family,
    before: Option<&Family>,
    mixed: bool,
    last: i64,
    at: i64,
) {
    let first = batch.series.len();
    family(batch, name, pushed, mixed, last, at);
    let known: HashMap<&Labels, &[PushedExemplar]> = before
        .map(|before| before.members.iter())
        .into_iter()
        .flatten()
        .filter(|member| !member.exemplars.is_empty())
        .map(|member| (&member.labels, member.exemplars.as_slice()))
        .collect();
    for (index, member) in pushed.members.iter().enumerate() {
        let known = known.get(&member.labels).copied().unwrap_or_default();
        for exemplar in member.exemplars.iter().filter(|exemplar| !known.contains(exemplar)) {
            let start = batch.bytes.len();
            batch.bytes.extend_from_slice(exemplar.labels.as_ref().as_bytes());
            let time = exemplar.time.unwrap_or(at);
            batch.push_exemplar((first + index) as u32, time, start, exemplar.value);
        }
    }
}

/// Appends the samples of a group that is sent again. `is_mixed` returns true if other groups give a family another
/// type.
pub fn again(sent: &mut Sent, group: &Group, is_mixed: impl Fn(&str) -> bool, at: i64) {
    group.families.visit(&mut Again { sent, is_mixed, at, metadata: Series::NO_METADATA });
}

struct Again<'s, F> {
    sent: &'s mut Sent,
    is_mixed: F,
    at: i64,
    /// The metadata of the current family.
    metadata: u32,
}

impl<F: Fn(&str) -> bool> Visitor for Again<'_, F> {
    fn family(&mut self, head: &Head<'_>) {
        let is_mixed = (self.is_mixed)(head.name);
        let kind = if is_mixed { MetricType::Unknown } else { head.kind };
        self.metadata = match says_something(kind, head.help, head.unit, is_mixed) {
            true => self.sent.metadata(head.name, kind, head.help, head.unit),
            false => Series::NO_METADATA,
        };
    }

    fn series(&mut self, labels: LabelsRef<'_>, start: i64, reading: Reading) {
        let batch = &mut self.sent.batch;
        let series = batch.add_series(labels, self.metadata);
        match reading {
            Reading::Float(value) => batch.push_float(series, self.at, value),
            Reading::Histogram(histogram) => batch.push_histogram(series, self.at, 0, *histogram),
        }
        if let Some(point) = batch.points.last_mut() {
            point.start_timestamp = start;
        }
    }
}

pub fn push_times(sent: &mut Sent, group: &Group, at: i64) {
    for (name, help, value) in group.push_times() {
        let metadata = sent.metadata(name, MetricType::Gauge, help, "");
        let batch = &mut sent.batch;
        let start = batch.bytes.len();
        group.put_time_labels(name, &mut batch.bytes);
        let series = batch.push_series(start, metadata);
        batch.push_float(series, at, value);
    }
}

/// Appends the staleness marker of a series.
pub fn marker(batch: &mut Batch, member: &Member, at: i64) {
    let series = batch.add_series(member.labels.as_ref(), Series::NO_METADATA);
    match &member.reading {
        Reading::Float(_) => batch.push_float(series, at, stale_nan()),
        // Receivers look only at the sum in a histogram's marker. Its shape is one that any receiver can read.
        Reading::Histogram(_) => batch.push_histogram(series, at, 0, stale_histogram()),
    }
}

/// Appends the staleness markers of a group's push times.
pub fn push_time_markers(batch: &mut Batch, group: &Group, at: i64) {
    for (name, ..) in group.push_times() {
        let start = batch.bytes.len();
        group.put_time_labels(name, &mut batch.bytes);
        let series = batch.push_series(start, Series::NO_METADATA);
        batch.push_float(series, at, stale_nan());
    }
}

fn stale_histogram() -> Histogram {
    Histogram {
        reset_hint: model::ResetHint::Unknown,
        schema: 0,
        zero_threshold: 0.0,
        sum: stale_nan(),
        positive_spans: Vec::new(),
        negative_spans: Vec::new(),
        counts: Counts::Integer { count: 0, zero: 0, positive: Vec::new(), negative: Vec::new() },
        custom_values: Vec::new(),
    }
}

fn metadata(batch: &mut Batch, name: &str, family: &Family, mixed: bool) -> u32 {
    let kind = if mixed { MetricType::Unknown } else { family.kind };
    if !says_something(kind, &family.help, &family.unit, mixed) {
        return Series::NO_METADATA;
    }
    batch.metadata.push(Metadata {
        family: name.to_string(),
        kind,
        help: family.help.clone(),
        unit: family.unit.clone(),
    });
    batch.metadata.len() as u32 - 1
}

/// Returns true if metadata is worth sending. It is even without a type, if another type was sent before.
fn says_something(kind: MetricType, help: &str, unit: &str, is_mixed: bool) -> bool {
    kind != MetricType::Unknown || !help.is_empty() || !unit.is_empty() || is_mixed
}
