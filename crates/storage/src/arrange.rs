//! Sorts the points of a batch into the order in which the log stores them.
//!
//! A record of the log holds points of one kind (floats, integer histograms, ...); a batch may mix them.
//! Points are grouped by kind, so that there are few large records. Two points of one series never change
//! their order: if a series has points of two kinds, a new record begins at each change of kind. Exemplars
//! come last, because their order relative to samples does not matter.

use model::{Batch, Point, Value};
use std::collections::HashMap;
use std::ops::Range;
use wal::record::{HistogramsBuilder, RecordType};

/// Largest number of points per record, so that reading a record takes bounded memory.
pub(crate) const MAX_RECORD_POINTS: usize = 16_384;
/// Largest number of native histograms per record. A histogram may have thousands of buckets; with the
/// default limits a record stays below the log's limit.
pub(crate) const MAX_RECORD_HISTOGRAMS: usize = 512;

/// Returns the type of the record that can hold the point.
fn kind_of(point: &Point, batch: &Batch) -> RecordType {
    let start = point.start_timestamp;
    match point.value {
        Value::Float(_) if start != 0 => RecordType::SamplesWithStart,
        Value::Float(_) => RecordType::Samples,
        Value::Exemplar(_) => RecordType::Exemplars,
        Value::Histogram(index) => match batch.histograms.get(index as usize) {
            Some(histogram) => HistogramsBuilder::kind(histogram, start),
            None => RecordType::Histograms,
        },
    }
}

/// Sort key: samples and histograms by type, then exemplars.
fn order(kind: RecordType) -> (bool, RecordType) {
    (kind == RecordType::Exemplars, kind)
}

/// The points of one future record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) kind: RecordType,
    pub(crate) points: Range<usize>,
}

/// Reorders the points of `batch` and returns which of them form a record. `refs` has the reference of each
/// series. It is needed because two series of a batch can have the same labels.
pub(crate) fn arrange(batch: &mut Batch, refs: &[u64]) -> Vec<Run> {
    // Hot path: nearly every batch has only floats without start timestamps and needs no sorting.
    let plain = |point: &Point| matches!(point.value, Value::Float(_)) && point.start_timestamp == 0;
    if batch.points.iter().all(plain) {
        return cut(RecordType::Samples, 0..batch.points.len()).collect();
    }
    let mut points = std::mem::take(&mut batch.points);
    if !a_series_has_two_kinds(&points, batch, refs) {
        points.sort_by_key(|point| order(kind_of(point, batch)));
    } else {
        points.sort_by_key(|point| matches!(point.value, Value::Exemplar(_)));
    }
    let mut runs = Vec::new();
    let mut start = 0;
    for group in points.chunk_by(|a, b| kind_of(a, batch) == kind_of(b, batch)) {
        if let Some(first) = group.first() {
            runs.extend(cut(kind_of(first, batch), start..start + group.len()));
        }
        start += group.len();
    }
    batch.points = points;
    runs
}

fn cut(kind: RecordType, points: Range<usize>) -> impl Iterator<Item = Run> {
    let end = points.end;
    let most = if kind.is_histograms() { MAX_RECORD_HISTOGRAMS } else { MAX_RECORD_POINTS };
    points.step_by(most).map(move |start| {
        let points = start..(start + most).min(end);
        Run { kind, points }
    })
}

fn a_series_has_two_kinds(points: &[Point], batch: &Batch, refs: &[u64]) -> bool {
    let mut kinds: HashMap<u64, RecordType> = HashMap::new();
    points.iter().filter(|point| !matches!(point.value, Value::Exemplar(_))).any(|point| {
        let kind = kind_of(point, batch);
        // A missing reference makes the whole batch fail later, in `records`.
        let reference = refs.get(point.series as usize).copied().unwrap_or_default();
        *kinds.entry(reference).or_insert(kind) != kind
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Counts, Histogram, ResetHint};
    use proptest::prelude::*;

    fn histogram(float: bool) -> Histogram {
        let counts = if float {
            Counts::Float { count: 0.0, zero: 0.0, positive: vec![], negative: vec![] }
        } else {
            Counts::Integer { count: 0, zero: 0, positive: vec![], negative: vec![] }
        };
        Histogram {
            reset_hint: ResetHint::Unknown,
            schema: 0,
            zero_threshold: 0.0,
            sum: 0.0,
            positive_spans: vec![],
            negative_spans: vec![],
            counts,
            custom_values: vec![],
        }
    }

    #[test]
    fn floats_keep_their_order_and_are_split_at_the_limit() {
        let mut batch = Batch::new();
        for timestamp in 0..(MAX_RECORD_POINTS as i64 + 1) {
            batch.push_float(0, timestamp, 1.0);
        }
        let runs = arrange(&mut batch, &[1]);
        let cut = MAX_RECORD_POINTS;
        assert_eq!(runs.iter().map(|run| run.points.clone()).collect::<Vec<_>>(), [0..cut, cut..cut + 1]);
    }

    #[test]
    fn different_series_of_different_kinds_make_one_record_per_kind() {
        let mut batch = Batch::new();
        for series in 0..6 {
            if series % 2 == 0 {
                batch.push_float(series, 1, 1.0);
            } else {
                batch.push_histogram(series, 1, 0, histogram(false));
            }
        }
        assert_eq!(arrange(&mut batch, &[1, 2, 3, 4, 5, 6]).len(), 2);
    }

    proptest! {
        /// For any mix of points, each point appears once, in a run of its kind, and the points of a series
        /// (except for exemplars) keep their order.
        #[test]
        fn no_two_points_of_a_series_swap(input in prop::collection::vec((0u32..4, 0u8..5), 0..60)) {
            let mut batch = Batch::new();
            for (number, (series, kind)) in input.iter().enumerate() {
                let timestamp = number as i64;
                match kind {
                    0 => batch.push_float(*series, timestamp, 1.0),
                    1 => batch.push_histogram(*series, timestamp, 0, histogram(false)),
                    2 => batch.push_histogram(*series, timestamp, 5, histogram(true)),
                    3 => batch.push_exemplar(*series, timestamp, 0, 1.0),
                    _ => batch.push_float(*series, timestamp, 2.0),
                }
            }
            // Series 2 and 3 are the same series.
            let refs = [10, 11, 12, 12];
            let before = batch.points.clone();
            let runs = arrange(&mut batch, &refs);
            let mut covered = 0;
            for run in &runs {
                prop_assert_eq!(run.points.start, covered);
                covered = run.points.end;
                for point in &batch.points[run.points.clone()] {
                    prop_assert_eq!(kind_of(point, &batch), run.kind);
                }
            }
            prop_assert_eq!(covered, before.len());
            for reference in [10, 11, 12] {
                let of = |points: &[Point]| -> Vec<i64> {
                    points.iter()
                        .filter(|p| refs[p.series as usize] == reference && !matches!(p.value, Value::Exemplar(_)))
                        .map(|p| p.timestamp).collect()
                };
                prop_assert_eq!(of(&before), of(&batch.points));
            }
        }
    }
}
