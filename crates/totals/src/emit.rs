//! The samples of a total. Pure.

use crate::names::PARTS;
use crate::table::Series;
use crate::value::{HistogramTotal, SummaryPart, Total};
use model::labels::METRIC_NAME;
use model::{Batch, Counts, Histogram, LabelsBuilder, LabelsRef, Limits, Metadata, ResetHint, stale_nan};
use std::collections::HashMap;
use std::sync::Arc;

/// The metadata that is in a batch already, by its place in memory.
pub(crate) type InBatch = HashMap<*const Metadata, u32>;

/// What a sample says.
#[derive(Clone, Copy, PartialEq)]
enum Say {
    Value,
    Zero,
    Marker,
}

/// Appends the value of a total.
pub(crate) fn total(batch: &mut Batch, series: &Series, at_ms: i64, in_batch: &mut InBatch) {
    let metadata = *in_batch.entry(Arc::as_ptr(&series.metadata)).or_insert_with(|| {
        batch.metadata.push((*series.metadata).clone());
        batch.metadata.len() as u32 - 1
    });
    say(batch, series, at_ms, metadata, Say::Value);
}

/// Appends the sample of 0 with which a counter or histogram begins.
pub(crate) fn zero(batch: &mut Batch, series: &Series) {
    if !matches!(series.total, Total::Gauge(_) | Total::Summary(SummaryPart::Quantile, _)) {
        say(batch, series, series.start_ms, model::Series::NO_METADATA, Say::Zero);
    }
}

/// Appends the staleness markers of a total.
pub(crate) fn markers(batch: &mut Batch, series: &Series, at_ms: i64) {
    say(batch, series, at_ms, model::Series::NO_METADATA, Say::Marker);
}

fn say(batch: &mut Batch, series: &Series, at_ms: i64, metadata: u32, say: Say) {
    let mut rows = Rows { batch, at_ms, start_ms: series.start_ms, metadata, say };
    match &series.total {
        Total::Counter(sum) | Total::Summary(SummaryPart::Count | SummaryPart::Sum, sum) => {
            rows.float(series.labels.as_ref(), sum.value());
        }
        Total::Summary(SummaryPart::Quantile, value) => {
            rows.start_ms = 0;
            rows.float(series.labels.as_ref(), value.value());
        }
        Total::Gauge(value) => {
            rows.start_ms = 0;
            rows.float(series.labels.as_ref(), *value);
        }
        Total::Histogram(histogram) => rows.histogram(series.labels.as_ref(), histogram),
    }
}

struct Rows<'b> {
    batch: &'b mut Batch,
    at_ms: i64,
    start_ms: i64,
    metadata: u32,
    say: Say,
}

impl Rows<'_> {
    fn float(&mut self, labels: LabelsRef<'_>, value: f64) {
        let number = self.batch.add_series(labels, self.metadata);
        self.push_float(number, value);
    }

    fn push_float(&mut self, number: u32, value: f64) {
        let value = match self.say {
            Say::Value => value,
            Say::Zero => 0.0,
            Say::Marker => stale_nan(),
        };
        self.batch.push_float(number, self.at_ms, value);
        self.started();
    }

    fn started(&mut self) {
        if let Some(point) = self.batch.points.last_mut().filter(|_| self.say == Say::Value) {
            point.start_timestamp = self.start_ms;
        }
    }

    fn histogram(&mut self, labels: LabelsRef<'_>, histogram: &HistogramTotal) {
        if histogram.shape.is_native() {
            let number = self.batch.add_series(labels, self.metadata);
            let value = match self.say {
                Say::Value => histogram.native.to_histogram(histogram.sum.value()),
                Say::Zero => empty(histogram.native.schema, 0.0),
                Say::Marker => empty(histogram.native.schema, stale_nan()),
            };
            self.batch.push_histogram(number, self.at_ms, 0, value);
            self.started();
        }
        if histogram.shape.bounds().is_none() {
            return;
        }
        let [bucket, sum, count] = PARTS;
        let mut below = 0;
        for (le, in_bucket) in histogram.shape.le().iter().zip(&histogram.classic) {
            below += in_bucket;
            self.part(labels, bucket, Some(le.as_bytes()), below as f64);
        }
        self.part(labels, sum, None, histogram.sum.value());
        self.part(labels, count, None, histogram.count as f64);
    }

    fn part(&mut self, labels: LabelsRef<'_>, suffix: &[u8], le: Option<&[u8]>, value: f64) {
        let name = [labels.metric_name().unwrap_or_default(), suffix].concat();
        let mut builder = LabelsBuilder::new();
        for (label, value) in labels.pairs() {
            let value = if label == METRIC_NAME.as_bytes() { &*name } else { value };
            builder.push(label, value);
        }
        if let Some(le) = le {
            builder.push(b"le", le);
        }
        let start = self.batch.bytes.len();
        // A label `le` of the series itself, or limits that only this part is over: the rest is sent.
        if builder.finish(&Limits::default(), &mut self.batch.bytes).is_ok() {
            let number = self.batch.push_series(start, self.metadata);
            self.push_float(number, value);
        }
    }
}

fn empty(schema: i32, sum: f64) -> Histogram {
    Histogram {
        reset_hint: ResetHint::Unknown,
        schema,
        zero_threshold: crate::native::ZERO_THRESHOLD,
        sum,
        positive_spans: Vec::new(),
        negative_spans: Vec::new(),
        counts: Counts::Integer { count: 0, zero: 0, positive: Vec::new(), negative: Vec::new() },
        custom_values: Vec::new(),
    }
}
