//! Writes series and points into the batch.

use super::labels::LabelSet;
use super::{Metric, Options, Stop};
use crate::deltas::{Change, Delta, Deltas};
use crate::rejected::Reason;
use formats::wire::Fault;
use model::{Batch, Histogram, LabelsBuilder, Point, Series, Value};

/// Why a data point is not in the batch.
#[derive(Debug)]
pub(super) enum Refused {
    /// The request can't be read to its end.
    Stop(Stop),
    /// Only this data point is left out.
    Point(Reason, String),
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        Refused::Stop(fault.into())
    }
}

/// When a data point was measured, and since when it counts, in milliseconds since 1970. A start of 0 is not known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) time: i64,
    pub(super) start: i64,
}

/// Lengths to go back to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Marks {
    bytes: usize,
    series: usize,
    points: usize,
    histograms: usize,
    exemplars: usize,
    metadata: usize,
    family: u32,
    deltas: usize,
    delta_bytes: usize,
    delta_rows: usize,
    delta_families: usize,
    has_delta_family: bool,
}

pub(super) struct Emitter<'o> {
    options: &'o Options<'o>,
    pub(super) batch: Batch,
    pub(super) deltas: Deltas,
    /// The metadata of the current metric is in `deltas`.
    has_delta_family: bool,
    builder: LabelsBuilder<'static>,
    /// The metadata of the current metric, once one of its series has been written.
    family: u32,
    pub(super) name: String,
}

impl<'o> Emitter<'o> {
    pub(super) fn new(options: &'o Options<'o>) -> Self {
        Emitter {
            options,
            batch: Batch::new(),
            deltas: Deltas::default(),
            has_delta_family: false,
            builder: LabelsBuilder::new(),
            family: Series::NO_METADATA,
            name: String::new(),
        }
    }

    pub(super) fn begin_metric(&mut self) {
        self.family = Series::NO_METADATA;
        self.has_delta_family = false;
    }

    pub(super) fn marks(&self) -> Marks {
        let Batch { bytes, series, points, histograms, exemplars, metadata, .. } = &self.batch;
        Marks {
            bytes: bytes.len(),
            series: series.len(),
            points: points.len(),
            histograms: histograms.len(),
            exemplars: exemplars.len(),
            metadata: metadata.len(),
            family: self.family,
            deltas: self.deltas.list.len(),
            delta_bytes: self.deltas.bytes.len(),
            delta_rows: self.deltas.rows,
            delta_families: self.deltas.families.len(),
            has_delta_family: self.has_delta_family,
        }
    }

    pub(super) fn back_to(&mut self, marks: Marks) {
        let batch = &mut self.batch;
        batch.bytes.truncate(marks.bytes);
        batch.series.truncate(marks.series);
        batch.points.truncate(marks.points);
        batch.histograms.truncate(marks.histograms);
        batch.exemplars.truncate(marks.exemplars);
        batch.metadata.truncate(marks.metadata);
        self.family = marks.family;
        self.deltas.list.truncate(marks.deltas);
        self.deltas.bytes.truncate(marks.delta_bytes);
        self.deltas.rows = marks.delta_rows;
        self.deltas.families.truncate(marks.delta_families);
        self.has_delta_family = marks.has_delta_family;
    }

    /// Adds a series of `metric` with the labels of the data point, a suffix to the metric's name and one more label.
    pub(super) fn series(
        &mut self,
        metric: &Metric<'_>,
        labels: &LabelSet<'_>,
        suffix: &str,
        extra: Option<(&str, &str)>,
    ) -> Result<u32, Refused> {
        self.name.clear();
        self.name.push_str(&metric.family);
        self.name.push_str(suffix);
        if self.family == Series::NO_METADATA {
            self.batch.metadata.push(metric.metadata());
            self.family = self.batch.metadata.len() as u32 - 1;
        }
        let start = self.batch.bytes.len();
        let builder = std::mem::take(&mut self.builder);
        let limits = &self.options.limits;
        let (builder, result) = labels.write(&self.name, extra, limits, builder, &mut self.batch.bytes);
        self.builder = builder;
        result.map_err(|error| Refused::Point(Reason::Labels, error.to_string()))?;
        self.check_bytes()?;
        Ok(self.batch.push_series(start, self.family))
    }

    fn check_bytes(&self) -> Result<(), Refused> {
        let limit = self.options.label_bytes_max;
        match self.batch.bytes.len() + self.deltas.bytes.len() > limit {
            true => Err(Refused::Stop(Stop::TooMany { what: "bytes of labels", limit })),
            false => Ok(()),
        }
    }

    /// Adds a change of a series of `metric` with the labels of the data point. Times are in nanoseconds.
    pub(super) fn delta(
        &mut self,
        metric: &Metric<'_>,
        labels: &LabelSet<'_>,
        (start, time): (u64, u64),
        change: Change,
    ) -> Result<(), Refused> {
        let from = self.deltas.bytes.len();
        let builder = std::mem::take(&mut self.builder);
        let limits = &self.options.limits;
        // The buckets of a histogram get a label `le` each, and limits hold for those.
        let is_classic = matches!(change, Change::Explicit { .. });
        let mut bytes = std::mem::take(&mut self.deltas.bytes);
        let (builder, bucket) = match is_classic {
            true => {
                let name = format!("{}_bucket", metric.family);
                labels.write(&name, Some(("le", "+Inf")), limits, builder, &mut bytes)
            }
            false => (builder, Ok(())),
        };
        bytes.truncate(from);
        let le = is_classic.then_some(("le", ""));
        let (builder, result) = labels.write(&metric.family, le, limits, builder, &mut bytes);
        (self.builder, self.deltas.bytes) = (builder, bytes);
        bucket.and(result).map_err(|error| Refused::Point(Reason::Labels, error.to_string()))?;
        self.check_bytes()?;
        if !self.has_delta_family {
            self.deltas.families.push(metric.metadata());
            self.has_delta_family = true;
        }
        self.deltas.rows += change.rows();
        self.deltas.list.push(Delta {
            labels: (from, self.deltas.bytes.len()),
            family: self.deltas.families.len().saturating_sub(1),
            start,
            time,
            change,
        });
        self.check_points()
    }

    pub(super) fn float(&mut self, series: u32, times: Times, value: f64) -> Result<(), Refused> {
        let Times { time, start } = times;
        let value = Value::Float(value);
        self.batch.points.push(Point { series, timestamp: time, start_timestamp: start, value });
        self.check_points()
    }

    pub(super) fn histogram(
        &mut self,
        series: u32,
        times: Times,
        histogram: Histogram,
    ) -> Result<(), Refused> {
        histogram
            .validate(&self.options.limits)
            .map_err(|error| Refused::Point(Reason::Histogram, error.to_string()))?;
        self.batch.push_histogram(series, times.time, times.start, histogram);
        self.check_points()
    }

    /// Adds an exemplar with these labels.
    pub(super) fn exemplar(
        &mut self,
        series: u32,
        time: i64,
        value: f64,
        labels: &[(&[u8], &[u8])],
    ) -> Result<Result<(), String>, Refused> {
        let start = self.batch.bytes.len();
        let mut builder = std::mem::take(&mut self.builder).recycle();
        labels.iter().for_each(|(name, value)| builder.push(name, value));
        let result = builder.finish(&self.options.limits, &mut self.batch.bytes);
        self.builder = builder.recycle();
        if let Err(error) = result {
            return Ok(Err(error.to_string()));
        }
        self.check_bytes()?;
        self.batch.push_exemplar(series, time, start, value);
        self.check_points()?;
        Ok(Ok(()))
    }

    fn check_points(&self) -> Result<(), Refused> {
        let limit = self.options.points_max;
        match self.batch.points.len() + self.deltas.rows > limit {
            true => Err(Refused::Stop(Stop::TooMany { what: "samples, histograms and exemplars", limit })),
            false => Ok(()),
        }
    }
}
