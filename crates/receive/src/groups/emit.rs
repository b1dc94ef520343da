//! What a group sends: its values, its two push times, its staleness markers. Pure.

use super::group::{Family, Group, Member, Reading};
use model::{Batch, Counts, Histogram, Metadata, MetricType, Series, stale_nan};

/// Appends all series of a family. Each goes out at `at`, or with the timestamp it was pushed with where
/// that lies after `last`, what the group sent last, and before `at`.
pub fn family(batch: &mut Batch, name: &str, family: &Family, last: i64, at: i64) {
    let metadata = metadata(batch, name, family);
    for member in &family.members {
        let time = if member.time > last && member.time < at { member.time } else { at };
        let series = batch.add_series(member.labels.as_ref(), metadata);
        let value = match &member.reading {
            Reading::Float(value) => {
                batch.push_float(series, time, *value);
                batch.points.last_mut()
            }
            Reading::Histogram(histogram) => {
                batch.push_histogram(series, time, 0, (**histogram).clone());
                batch.points.last_mut()
            }
        };
        if let Some(point) = value {
            point.start_timestamp = member.start;
        }
    }
}

/// Appends everything that was pushed to a group.
pub fn families(batch: &mut Batch, group: &Group, last: i64, at: i64) {
    for (name, kept) in &group.families {
        family(batch, name, &kept.family, last, at);
    }
}

/// Appends the two push times of a group.
pub fn push_times(batch: &mut Batch, group: &Group, at: i64) {
    for (name, help, value) in group.push_times() {
        batch.metadata.push(Metadata {
            family: name.to_string(),
            kind: MetricType::Gauge,
            help: help.to_string(),
            unit: String::new(),
        });
        let metadata = batch.metadata.len() as u32 - 1;
        let series = batch.add_series(group.time_labels(name).as_ref(), metadata);
        batch.push_float(series, at, value);
    }
}

/// Appends the end of a series.
pub fn marker(batch: &mut Batch, member: &Member, at: i64) {
    let series = batch.add_series(member.labels.as_ref(), Series::NO_METADATA);
    match &member.reading {
        Reading::Float(_) => batch.push_float(series, at, stale_nan()),
        // Only the sum counts in a histogram's marker; the shape stays one that any receiver reads.
        Reading::Histogram(_) => batch.push_histogram(series, at, 0, stale_histogram()),
    }
}

/// Appends the end of a group's push times.
pub fn push_time_markers(batch: &mut Batch, group: &Group, at: i64) {
    for (name, ..) in group.push_times() {
        let series = batch.add_series(group.time_labels(name).as_ref(), Series::NO_METADATA);
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

fn metadata(batch: &mut Batch, name: &str, family: &Family) -> u32 {
    if family.kind == MetricType::Unknown && family.help.is_empty() && family.unit.is_empty() {
        return Series::NO_METADATA;
    }
    batch.metadata.push(Metadata {
        family: name.to_string(),
        kind: family.kind,
        help: family.help.clone(),
        unit: family.unit.clone(),
    });
    batch.metadata.len() as u32 - 1
}
