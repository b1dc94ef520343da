//! Converts a decoded body to the families of a group. Pure.

use super::group::{FAILURE_TIME, Family, Member, PUSH_TIME, PushedExemplar, Reading, kept_name};
use formats::text::Format;
use intake::TimeBounds;
use model::labels::METRIC_NAME;
use model::{Batch, LabelsRef, MetricType, Series, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The timestamp for "none" in a batch that is to become families.
pub const NO_TIMESTAMP: i64 = i64::MIN;

/// Why a body is refused although it could be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PushedError {
    /// Names with this prefix are reserved for narthex and Prometheus.
    #[error("series {series}: label name {name:?} begins with __")]
    ReservedLabel { series: String, name: String },
    /// One metric with two types, such as a sample before its TYPE line.
    #[error(
        "metric {name:?} has two types, {} and {}: give its type once, before its samples",
        first.as_str(),
        second.as_str()
    )]
    TwoTypes { name: String, first: MetricType, second: MetricType },
    /// A sample with a timestamp that is not accepted.
    #[error("series {series}: {reason}")]
    Timestamp {
        series: String,
        /// The error of its timestamp.
        reason: String,
    },
}

/// The families in `batch` by name. The labels of the batch must include those of the group. The two push times are
/// left out, because narthex sets them.
pub fn families(
    batch: Batch,
    bounds: TimeBounds,
    format: Format,
) -> Result<Vec<(String, Arc<Family>)>, PushedError> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    // The series and the family of the last sample: its exemplars follow it.
    let mut last: Option<(u32, String)> = None;
    for point in &batch.points {
        let labels = batch.labels(point.series);
        let reading = match point.value {
            Value::Float(value) => Reading::Float(value),
            Value::Histogram(index) => match batch.histograms.get(index as usize) {
                Some(histogram) => Reading::Histogram(Box::new(histogram.clone())),
                None => continue,
            },
            Value::Exemplar(index) => {
                let of = last.as_ref().filter(|(series, _)| *series == point.series);
                let member = of.and_then(|(_, name)| families.get_mut(name)?.members.last_mut());
                if let (Some(member), Some(exemplar)) = (member, batch.exemplars.get(index as usize)) {
                    // A receiver would refuse later exemplars after one with an implausible time.
                    let plausible = point.timestamp != NO_TIMESTAMP
                        && bounds.refusal(point.timestamp, Some(format)).is_none();
                    member.exemplars.push(PushedExemplar {
                        labels: LabelsRef::trusted(batch.slice(exemplar.labels)).to_labels(),
                        value: exemplar.value,
                        time: plausible.then_some(point.timestamp),
                    });
                }
                continue;
            }
        };
        last = None;
        let series = batch.series.get(point.series as usize);
        let metadata = series.filter(|series| series.metadata != Series::NO_METADATA);
        let metadata = metadata.and_then(|series| batch.metadata.get(series.metadata as usize));
        let metric_name = labels.metric_name().unwrap_or_default();
        let series_name = String::from_utf8_lossy(metric_name);
        let name = match metadata {
            Some(metadata) => kept_name(metadata.kind, &metadata.family, &series_name),
            None => &series_name,
        };
        if name == PUSH_TIME || name == FAILURE_TIME {
            continue;
        }
        for (name, _) in labels.pairs() {
            if name.starts_with(b"__") && name != METRIC_NAME.as_bytes() {
                let name = String::from_utf8_lossy(name).into_owned();
                return Err(PushedError::ReservedLabel { series: labels.to_string(), name });
            }
        }
        let mut time = 0;
        if point.timestamp != NO_TIMESTAMP {
            time = point.timestamp;
            if let Some(reason) = bounds.refusal(time, Some(format)) {
                return Err(PushedError::Timestamp { series: labels.to_string(), reason });
            }
        }
        let start = point.start_timestamp;
        let member = Member { labels: labels.to_labels(), reading, start, time, exemplars: Vec::new() };
        last = Some((point.series, name.to_string()));
        let kind = metadata.map(|metadata| metadata.kind).unwrap_or_default();
        match families.get_mut(name) {
            Some(family) if family.kind != kind => {
                let name = name.to_string();
                return Err(PushedError::TwoTypes { name, first: family.kind, second: kind });
            }
            Some(family) => family.members.push(member),
            None => {
                let (help, unit) = metadata
                    .map(|metadata| (metadata.help.clone(), metadata.unit.clone()))
                    .unwrap_or_default();
                let family = Family { kind, help, unit, members: vec![member] };
                families.insert(name.to_string(), family);
            }
        }
    }
    for member in families.values_mut().flat_map(|family| &mut family.members) {
        // Receivers accept the exemplars of a series only in order of time.
        member.exemplars.sort_by_key(|exemplar| exemplar.time.unwrap_or(i64::MAX));
    }
    Ok(families.into_iter().map(|(name, family)| (name, Arc::new(family))).collect())
}
