//! A decoded body into the families of a group. Pure.

use super::group::{FAILURE_TIME, Family, Member, PUSH_TIME, Reading};
use model::labels::METRIC_NAME;
use model::{Batch, Series, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The timestamp that stands for none in a batch that is to become families.
pub const NO_TIMESTAMP: i64 = i64::MIN;

/// Why a body is refused although it could be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PushedError {
    /// Names that begin so are for narthex' and Prometheus' own use.
    #[error("series {series}: label name {name:?} begins with __")]
    ReservedLabel {
        /// The series.
        series: String,
        /// The label's name.
        name: String,
    },
    /// A sample from further ahead than is taken.
    #[error("series {series}: timestamp {timestamp} is later than {newest}")]
    TooFarAhead {
        /// The series.
        series: String,
        /// Its timestamp.
        timestamp: i64,
        /// The latest that would be taken.
        newest: i64,
    },
}

/// The families in `batch`, by name. Labels are those of the batch, into which the group's must have been
/// put already. The two push times are the group's own and left out; so are exemplars, which would be sent
/// again and again.
pub fn families(batch: Batch, newest: i64) -> Result<Vec<(String, Arc<Family>)>, PushedError> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    for point in &batch.points {
        let labels = batch.labels(point.series);
        let series = batch.series.get(point.series as usize);
        let metadata = series.filter(|series| series.metadata != Series::NO_METADATA);
        let metadata = metadata.and_then(|series| batch.metadata.get(series.metadata as usize));
        let metric_name = labels.metric_name().unwrap_or_default();
        let name = match metadata {
            Some(metadata) => metadata.family.as_str().into(),
            None => String::from_utf8_lossy(metric_name),
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
        if point.timestamp > newest {
            let (series, timestamp) = (labels.to_string(), point.timestamp);
            return Err(PushedError::TooFarAhead { series, timestamp, newest });
        }
        let reading = match point.value {
            Value::Float(value) => Reading::Float(value),
            Value::Histogram(index) => match batch.histograms.get(index as usize) {
                Some(histogram) => Reading::Histogram(Box::new(histogram.clone())),
                None => continue,
            },
            Value::Exemplar(_) => continue,
        };
        let time = if point.timestamp == NO_TIMESTAMP { 0 } else { point.timestamp };
        let member = Member { labels: labels.to_labels(), reading, start: point.start_timestamp, time };
        match families.get_mut(name.as_ref()) {
            Some(family) => family.members.push(member),
            None => {
                let (kind, help, unit) = metadata
                    .map(|metadata| (metadata.kind, metadata.help.clone(), metadata.unit.clone()))
                    .unwrap_or_default();
                let family = Family { kind, help, unit, members: vec![member] };
                families.insert(name.into_owned(), family);
            }
        }
    }
    Ok(families.into_iter().map(|(name, family)| (name, Arc::new(family))).collect())
}
