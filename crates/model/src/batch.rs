//! A batch: the series and samples of one request or one collection, from decoding to acknowledgement.
//!
//! One arena holds the canonical bytes of all label sets, and series and points refer to it by number. So a
//! batch of 2000 series needs only a few allocations, and passing it on needs none.

use crate::labels::LabelsRef;
use crate::metadata::Metadata;
use crate::original::Origin;
use crate::{Family, Histogram, Kinds};

/// A range of bytes in [`Batch::bytes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    pub start: u32,
    /// Number of bytes.
    pub len: u32,
}

/// A series of a batch. A batch may contain the same label set more than once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Series {
    /// The canonical label set, in [`Batch::bytes`].
    pub labels: Span,
    /// Index into [`Batch::metadata`], or [`Series::NO_METADATA`].
    pub metadata: u32,
}

impl Series {
    /// Value of [`Series::metadata`] for a series without metadata.
    pub const NO_METADATA: u32 = u32::MAX;
}

/// The value of a point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    Float(f64),
    /// A native histogram: index into [`Batch::histograms`].
    Histogram(u32),
    /// An exemplar: index into [`Batch::exemplars`].
    Exemplar(u32),
}

/// One value of one series at one time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Index into [`Batch::series`].
    pub series: u32,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// When the counter or histogram started to count, in milliseconds since 1970; 0 means unset.
    pub start_timestamp: i64,
    pub value: Value,
}

/// An example of an observation, with labels of its own (often `trace_id`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exemplar {
    /// The exemplar's own labels, canonical, in [`Batch::bytes`].
    pub labels: Span,
    /// The observed value.
    pub value: f64,
}

/// A batch of series and points, as an input decoded them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    /// The arena of label sets.
    pub bytes: Vec<u8>,
    pub series: Vec<Series>,
    /// The points. Those of the same series are in delivery order.
    pub points: Vec<Point>,
    /// Native histograms, for [`Value::Histogram`].
    pub histograms: Vec<Histogram>,
    /// Exemplars, for [`Value::Exemplar`].
    pub exemplars: Vec<Exemplar>,
    /// Metadata of series (by [`Series::metadata`]), or of whole families (remote write 1.0).
    pub metadata: Vec<Metadata>,
    /// The registry's hashes of the label sets: one per series, or none at all. Code that adds series or
    /// changes their labels after the hashes were set must clear them. The log removes them.
    pub hashes: Vec<u128>,
    /// No client waits for this batch, so no request is sent early because of it. Not stored in the log.
    pub can_wait: bool,
    /// The original request; see [`crate::original`]. Not stored in the log.
    pub(crate) origin: Origin,
}

impl Batch {
    /// Largest size of the arena, so that every offset fits into a span.
    pub const MAX_BYTES: usize = u32::MAX as usize;

    pub fn new() -> Self {
        Self::default()
    }

    /// Counts the points of each kind.
    pub fn kinds(&self) -> Kinds {
        let mut kinds = Kinds::default();
        self.points.iter().for_each(|point| kinds.count(&point.value));
        kinds
    }

    /// Returns true if there is nothing to store.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty() && self.metadata.is_empty()
    }

    /// Returns the bytes of a span, or none if the span is not inside the arena.
    #[inline]
    pub fn slice(&self, span: Span) -> &[u8] {
        slice(&self.bytes, span)
    }

    /// Returns the label set of series number `series`, or the empty set if there is no such series.
    #[inline]
    pub fn labels(&self, series: u32) -> LabelsRef<'_> {
        match self.series.get(series as usize) {
            Some(series) => LabelsRef::trusted(self.slice(series.labels)),
            None => LabelsRef::EMPTY,
        }
    }

    /// Returns the span of the arena from `start` to its end.
    #[inline]
    pub fn span_since(&self, start: usize) -> Span {
        Span { start: start as u32, len: (self.bytes.len() - start) as u32 }
    }

    /// Adds a series whose canonical label bytes are the arena's bytes from `start` on. Returns its number.
    #[inline]
    pub fn push_series(&mut self, start: usize, metadata: u32) -> u32 {
        let labels = self.span_since(start);
        self.series.push(Series { labels, metadata });
        self.series.len() as u32 - 1
    }

    /// Adds a series with a copy of `labels`. Returns its number.
    pub fn add_series(&mut self, labels: LabelsRef<'_>, metadata: u32) -> u32 {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(labels.as_bytes());
        self.push_series(start, metadata)
    }

    #[inline]
    pub fn push_float(&mut self, series: u32, timestamp: i64, value: f64) {
        self.points.push(Point { series, timestamp, start_timestamp: 0, value: Value::Float(value) });
    }

    pub fn push_histogram(
        &mut self,
        series: u32,
        timestamp: i64,
        start_timestamp: i64,
        histogram: Histogram,
    ) {
        self.histograms.push(histogram);
        let value = Value::Histogram(self.histograms.len() as u32 - 1);
        self.points.push(Point { series, timestamp, start_timestamp, value });
    }

    /// Adds an exemplar whose canonical label bytes are the arena's bytes from `start` on.
    pub fn push_exemplar(&mut self, series: u32, timestamp: i64, start: usize, value: f64) {
        let labels = self.span_since(start);
        self.exemplars.push(Exemplar { labels, value });
        let value = Value::Exemplar(self.exemplars.len() as u32 - 1);
        self.points.push(Point { series, timestamp, start_timestamp: 0, value });
    }

    /// Replaces the canonical labels of a series. Returns false if the arena has no space for them, or if
    /// there is no such series.
    pub fn set_labels(&mut self, series: u32, labels: &[u8]) -> bool {
        if self.bytes.len() + labels.len() > Self::MAX_BYTES {
            return false;
        }
        let Some(series) = self.series.get_mut(series as usize) else { return false };
        series.labels = Span { start: self.bytes.len() as u32, len: labels.len() as u32 };
        self.bytes.extend_from_slice(labels);
        self.origin = Origin::None;
        true
    }

    /// Removes the points for which `keep` returns false, and the series that then have no points.
    pub fn retain_points(&mut self, mut keep: impl FnMut(&Batch, &Point) -> bool) {
        let mut points = std::mem::take(&mut self.points);
        let before = points.len();
        points.retain(|point| keep(self, point));
        if points.len() < before {
            self.origin = Origin::None;
            self.drop_series_without(&mut points);
        }
        self.points = points;
    }

    /// Removes the series that have none of `points`, and renumbers the others.
    fn drop_series_without(&mut self, points: &mut [Point]) {
        const GONE: u32 = u32::MAX;
        let mut numbers = vec![GONE; self.series.len()];
        for point in points.iter() {
            if let Some(number) = numbers.get_mut(point.series as usize) {
                *number = 0;
            }
        }
        let mut next = 0;
        let mut stays = numbers.iter().map(|number| *number != GONE);
        self.hashes.retain(|_| stays.next().unwrap_or(false));
        let mut old = numbers.iter_mut();
        self.series.retain(|_| match old.next() {
            Some(number) if *number != GONE => {
                *number = next;
                next += 1;
                true
            }
            _ => false,
        });
        for point in points {
            point.series = numbers.get(point.series as usize).copied().unwrap_or(GONE);
        }
    }

    /// Adds all metrics of `families` with one timestamp, each with the labels `extra`. If a metric has a
    /// label of the same name, the metric's own label is used.
    pub fn push_families(&mut self, families: &[Family], extra: &[(&str, &str)], timestamp: i64) {
        for family in families {
            self.metadata.push(Metadata {
                family: family.name.to_string(),
                kind: family.kind,
                help: family.help.to_string(),
                unit: String::new(),
            });
            let metadata = self.metadata.len() as u32 - 1;
            for metric in &family.metrics {
                let name = format!("{}{}", family.name, metric.suffix);
                let own = metric.labels.iter().map(|(name, value)| (name.as_ref(), value.as_str()));
                let pairs =
                    extra.iter().copied().chain(own).chain([(crate::labels::METRIC_NAME, name.as_str())]);
                let labels = crate::Labels::from_pairs(pairs);
                let series = self.add_series(labels.as_ref(), metadata);
                self.push_float(series, timestamp, metric.value);
            }
        }
    }

    /// Bytes of heap memory, for memory budgets.
    pub fn heap_bytes(&self) -> usize {
        self.bytes.capacity()
            + self.series.capacity() * size_of::<Series>()
            + self.points.capacity() * size_of::<Point>()
            + self.histograms.iter().map(|h| size_of::<Histogram>() + h.heap_bytes()).sum::<usize>()
            + self.exemplars.capacity() * size_of::<Exemplar>()
            + self
                .metadata
                .iter()
                .map(|m| size_of::<Metadata>() + m.family.len() + m.help.len() + m.unit.len())
                .sum::<usize>()
            + self.hashes.capacity() * size_of::<u128>()
            + self.origin.heap_bytes()
    }
}

/// Returns the bytes of `span` in `arena`, or none if the span is not inside it.
#[inline]
pub fn slice(arena: &[u8], span: Span) -> &[u8] {
    let start = span.start as usize;
    arena.get(start..start + span.len as usize).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removing_a_series_removes_its_hash() {
        let mut batch = Batch::new();
        for (number, name) in ["a", "b", "c"].into_iter().enumerate() {
            let labels = crate::Labels::from_pairs([(crate::labels::METRIC_NAME, name)]);
            let series = batch.add_series(labels.as_ref(), Series::NO_METADATA);
            batch.push_float(series, 1, number as f64);
            batch.hashes.push(number as u128);
        }
        batch.retain_points(|_, point| point.value != Value::Float(1.0));
        let names: Vec<String> =
            batch.points.iter().map(|point| batch.labels(point.series).to_string()).collect();
        assert_eq!((names, batch.hashes), (vec!["a".into(), "c".into()], vec![0, 2]));
    }
}
