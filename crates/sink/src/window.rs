//! The recent points of each series, in memory, with three limits.
//!
//! When a limit is reached, the series that have had no samples for the longest time are evicted, a sixteenth
//! of all series at a time. So a flood of new series costs little for each of them. Evicted series are
//! counted.

use model::{Batch, LabelsRef, Value};
use std::collections::{HashMap, VecDeque};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowLimits {
    pub series: usize,
    /// The most points of a series. The oldest are removed first.
    pub points_per_series: usize,
    /// The most bytes of memory, as counted by [`Window::bytes`].
    pub bytes: usize,
}

impl WindowLimits {
    pub const DEFAULT: WindowLimits =
        WindowLimits { series: 20_000, points_per_series: 300, bytes: 64 << 20 };
}

/// The bytes that are counted for a series in addition to its labels and points: the slot of the table and
/// the structure.
const SERIES_OVERHEAD: usize = 160;

/// A point as it arrived.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// The value. For a native histogram it is the number of observations.
    pub value: f64,
}

/// The recent points of a series.
#[derive(Debug, Default)]
pub struct Series {
    /// Oldest first.
    pub points: VecDeque<Point>,
    /// The number of all points that arrived, including removed ones.
    pub arrived: u64,
    /// The number of the batch in which it last arrived, counted from 1.
    last_batch: u64,
}

/// Counters of everything that arrived.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub samples: u64,
    pub histograms: u64,
    pub exemplars: u64,
    /// Points with the timestamp of their series' newest one.
    pub repeated: u64,
    /// Points older than their series' newest one.
    pub out_of_order: u64,
    /// Series evicted because a limit was reached.
    pub series_evicted: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Window {
    limits: WindowLimits,
    series: HashMap<Box<[u8]>, Series>,
    bytes: usize,
    batches: u64,
    counts: Counts,
}

impl Window {
    pub fn new(limits: WindowLimits) -> Self {
        Window { limits, series: HashMap::new(), bytes: 0, batches: 0, counts: Counts::default() }
    }

    pub fn add(&mut self, batch: &Batch) {
        self.batches += 1;
        for point in &batch.points {
            let value = match point.value {
                Value::Float(value) => {
                    self.counts.samples += 1;
                    value
                }
                Value::Histogram(index) => {
                    self.counts.histograms += 1;
                    batch.histograms.get(index as usize).map_or(f64::NAN, observations)
                }
                Value::Exemplar(_) => {
                    self.counts.exemplars += 1;
                    continue;
                }
            };
            let labels = batch.labels(point.series).as_bytes();
            self.add_point(labels, Point { timestamp: point.timestamp, value });
        }
        if self.is_over() {
            self.evict();
        }
    }

    fn add_point(&mut self, labels: &[u8], point: Point) {
        if !self.series.contains_key(labels) {
            if self.is_over() {
                self.evict();
            }
            self.series.insert(labels.into(), Series::default());
            self.bytes += labels.len() + SERIES_OVERHEAD;
        }
        let Some(series) = self.series.get_mut(labels) else { return };
        series.last_batch = self.batches;
        series.arrived += 1;
        if let Some(newest) = series.points.back() {
            if point.timestamp < newest.timestamp {
                self.counts.out_of_order += 1;
                return;
            }
            if point.timestamp == newest.timestamp {
                self.counts.repeated += 1;
                return;
            }
        }
        if series.points.len() >= self.limits.points_per_series.max(1) {
            series.points.pop_front();
        }
        let before = series.points.capacity();
        series.points.push_back(point);
        self.bytes += (series.points.capacity() - before) * size_of::<Point>();
    }

    fn is_over(&self) -> bool {
        self.series.len() >= self.limits.series || self.bytes >= self.limits.bytes
    }

    /// Evicts the sixteenth of all series that have had no samples for the longest time, and more if the
    /// limit of bytes requires it.
    fn evict(&mut self) {
        let mut by_age: Vec<(u64, Box<[u8]>)> =
            self.series.iter().map(|(labels, series)| (series.last_batch, labels.clone())).collect();
        by_age.sort_unstable();
        let at_least = by_age.len().div_ceil(16);
        for (index, (_, labels)) in by_age.into_iter().enumerate() {
            if index >= at_least && self.bytes < self.limits.bytes {
                break;
            }
            if let Some(series) = self.series.remove(&labels) {
                self.bytes -= labels.len() + SERIES_OVERHEAD + series.points.capacity() * size_of::<Point>();
                self.counts.series_evicted += 1;
            }
        }
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The bytes of memory that count towards the limit.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The number of series.
    pub fn len(&self) -> usize {
        self.series.len()
    }

    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// All series, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (LabelsRef<'_>, &Series)> {
        self.series.iter().map(|(labels, series)| (LabelsRef::trusted(labels), series))
    }

    /// The series whose text contains `search`, the one that arrived last first.
    pub fn recent(&self, search: &str, most: usize) -> Vec<(String, &Series)> {
        let mut found: Vec<(u64, String, &Series)> = self
            .iter()
            .filter_map(|(labels, series)| {
                let text = labels.to_string();
                text.contains(search).then_some((series.last_batch, text, series))
            })
            .collect();
        found.sort_unstable_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        found.truncate(most);
        found.into_iter().map(|(_, text, series)| (text, series)).collect()
    }
}

fn observations(histogram: &model::Histogram) -> f64 {
    match &histogram.counts {
        model::Counts::Integer { count, .. } => *count as f64,
        model::Counts::Float { count, .. } => *count,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "helpers of tests")]
    use super::*;
    use model::{Labels, Series as BatchSeries};

    fn batch(points: &[(&str, i64, f64)]) -> Batch {
        let mut batch = Batch::new();
        for (name, timestamp, value) in points {
            let labels = Labels::from_pairs([("__name__", *name)]);
            let series = batch.add_series(labels.as_ref(), BatchSeries::NO_METADATA);
            batch.push_float(series, *timestamp, *value);
        }
        batch
    }

    fn limits() -> WindowLimits {
        WindowLimits { series: 16, points_per_series: 3, bytes: 1 << 20 }
    }

    #[test]
    fn the_newest_points_of_a_series_are_kept() {
        let mut window = Window::new(limits());
        for timestamp in 1..=5 {
            window.add(&batch(&[("a", timestamp, timestamp as f64)]));
        }
        let (_, series) = window.iter().next().unwrap();
        assert_eq!(series.points.iter().map(|p| p.timestamp).collect::<Vec<_>>(), [3, 4, 5]);
        assert_eq!(series.arrived, 5);
    }

    #[test]
    fn repetition_and_disorder_are_counted_and_not_shown() {
        let mut window = Window::new(limits());
        window.add(&batch(&[("a", 2, 1.0), ("a", 2, 1.0), ("a", 1, 1.0), ("b", 1, 1.0)]));
        let counts = window.counts();
        assert_eq!((counts.samples, counts.repeated, counts.out_of_order), (4, 1, 1));
        assert_eq!(window.len(), 2);
    }

    #[test]
    fn at_the_limit_of_series_the_least_recent_are_evicted() {
        let mut window = Window::new(limits());
        window.add(&batch(&[("old", 1, 1.0)]));
        for index in 0..40 {
            window.add(&batch(&[(&format!("s{index}"), 1, 1.0)]));
            assert!(window.len() <= 16);
        }
        assert!(window.recent("old", 10).is_empty());
        assert_eq!(window.recent("s", 1).first().unwrap().0, "s39");
        assert_eq!(window.counts().series_evicted, 41 - window.len() as u64);
    }

    #[test]
    fn the_limit_of_bytes_holds_and_the_count_is_exact() {
        let limits = WindowLimits { series: 1000, points_per_series: 100, bytes: 20_000 };
        let mut window = Window::new(limits);
        for timestamp in 0..50 {
            for index in 0..40 {
                window.add(&batch(&[(&format!("s{index}"), timestamp, 1.0)]));
                assert!(window.bytes() <= 20_000 + 4096, "{}", window.bytes());
            }
        }
        let real: usize = window
            .iter()
            .map(|(labels, series)| {
                labels.as_bytes().len() + SERIES_OVERHEAD + series.points.capacity() * size_of::<Point>()
            })
            .sum();
        assert_eq!(window.bytes(), real);
    }
}
