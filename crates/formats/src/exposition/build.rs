//! Adds decoded values to the batch.

use super::{Decoder, Exemplar, ExpositionError, Family, Metric, Stop, short};
use crate::text::ParseOptions;
use model::{Batch, LabelError, LabelsBuilder, Point, Value, labels};

impl Decoder<'_> {
    /// Adds a series with one value.
    pub(super) fn value<'a>(
        &mut self,
        family: Family<'a>,
        metric: &Metric<'a>,
        suffix: &str,
        start: i64,
        value: f64,
    ) -> Result<(), Stop> {
        let series = self.series(family, metric, suffix, None)?;
        self.float(series, metric.timestamp, start, value)
    }

    /// Adds a float to its series. If the series was left out (`None`), counts the float as rejected.
    pub(super) fn float(
        &mut self,
        series: Option<u32>,
        timestamp: i64,
        start: i64,
        value: f64,
    ) -> Result<(), Stop> {
        let Some(series) = series else {
            self.rejected.samples += 1;
            return Ok(());
        };
        self.admit()?;
        let start_timestamp = if self.options.created_as_start { start } else { 0 };
        self.batch.points.push(Point { series, timestamp, start_timestamp, value: Value::Float(value) });
        Ok(())
    }

    /// Fails if the batch is at one of its limits.
    pub(super) fn admit(&self) -> Result<(), Stop> {
        let ParseOptions { max_points, max_label_bytes, .. } = *self.options;
        let limit = max_label_bytes.min(Batch::MAX_BYTES);
        if self.batch.points.len() >= max_points {
            return Err(ExpositionError::TooMany { what: "samples", limit: max_points }.into());
        }
        if self.batch.bytes.len() > limit {
            return Err(ExpositionError::TooMany { what: "bytes of labels", limit }.into());
        }
        Ok(())
    }

    /// Adds a series with the metric's labels, its family's name with `suffix`, and one more label. A series over a
    /// limit is left out.
    pub(super) fn series(
        &mut self,
        family: Family<'_>,
        metric: &Metric<'_>,
        suffix: &str,
        more: Option<(&str, &str)>,
    ) -> Result<Option<u32>, Stop> {
        let name = format!("{}{suffix}", family.name);
        let extra = self.options.extra_labels;
        let mut builder = LabelsBuilder::new();
        builder.push(labels::METRIC_NAME.as_bytes(), name.as_bytes());
        for (label, value) in &metric.labels.list {
            if !extra.iter().any(|(name, _)| name.as_bytes() == *label) {
                builder.push(label, value);
            }
        }
        for (label, value) in extra.iter().copied().chain(more) {
            builder.push(label.as_bytes(), value.as_bytes());
        }
        let start = self.batch.bytes.len();
        let limits = &self.options.limits;
        let number = metric.labels.check_number(limits);
        match number.and_then(|()| builder.finish(limits, &mut self.batch.bytes)) {
            Ok(()) => Ok(Some(self.batch.push_series(start, family.metadata))),
            Err(error @ LabelError::Limit { .. }) => {
                self.rejected.series += 1;
                self.rejected.explain(|| format!("a metric of {:?}: {error}", short(family.name)));
                Ok(None)
            }
            Err(error) => Err(ExpositionError::Labels { family: short(family.name), error }.into()),
        }
    }

    /// Adds an exemplar if its series was kept. Without a timestamp of its own it has that of its metric.
    pub(super) fn exemplar(
        &mut self,
        family: Family<'_>,
        series: Option<u32>,
        metric: &Metric<'_>,
        exemplar: &Exemplar<'_>,
    ) -> Result<(), Stop> {
        let Some(series) = series else {
            self.rejected.exemplars += 1;
            return Ok(());
        };
        self.admit()?;
        let mut builder = LabelsBuilder::new();
        for (label, value) in &exemplar.labels.list {
            builder.push(label, value);
        }
        let start = self.batch.bytes.len();
        let limits = &self.options.limits;
        let number = exemplar.labels.check_number(limits);
        match number.and_then(|()| builder.finish(limits, &mut self.batch.bytes)) {
            Ok(()) => {}
            Err(error @ LabelError::Limit { .. }) => {
                self.rejected.exemplars += 1;
                self.rejected.explain(|| format!("an exemplar of {:?}: {error}", short(family.name)));
                return Ok(());
            }
            Err(error) => return Err(ExpositionError::Labels { family: short(family.name), error }.into()),
        }
        let timestamp = exemplar.timestamp.unwrap_or(metric.timestamp);
        self.batch.push_exemplar(series, timestamp, start, exemplar.value);
        Ok(())
    }
}
