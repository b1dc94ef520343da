//! Data points of gauges, sums and summaries.

use super::emit::Refused;
use super::point::Head;
use super::{Metric, Translator};
use crate::rejected::Reason;
use crate::value::decimal;
use formats::wire::{Fault, Reader};

impl<'a> Translator<'a, '_> {
    /// A `NumberDataPoint`.
    pub(super) fn number(
        &mut self,
        metric: &Metric<'a>,
        head: &mut Head<'a>,
        message: &'a [u8],
        has_exemplars: bool,
    ) -> Result<(), Refused> {
        let limit = self.options.limits.labels;
        let mut value = 0.0;
        let mut fields = Reader::new(message);
        while let Some(field) = fields.next()? {
            match field.number {
                2 => head.start = field.fixed64()?,
                3 => head.time = field.fixed64()?,
                4 => value = field.double()?,
                5 if has_exemplars => head.add_exemplar(field.bytes()?),
                6 => value = field.fixed64()? as i64 as f64,
                7 => head.add_attribute(field.bytes()?, limit)?,
                8 => head.flags = field.varint()?,
                _ => {}
            }
        }
        let times = self.begin_point(head)?;
        if metric.is_delta {
            self.delta_number(metric, head, value)?;
            return self.delta_exemplars(metric, head, times, None);
        }
        let series = self.emitter.series(metric, &self.labels, "", None)?;
        self.emitter.float(series, times, head.value(value))?;
        let mut exemplars = self.read_exemplars(metric, head)?;
        self.exemplars(metric, series, times, &mut exemplars)
    }

    /// A `SummaryDataPoint`.
    pub(super) fn summary(
        &mut self,
        metric: &Metric<'a>,
        head: &mut Head<'a>,
        message: &'a [u8],
    ) -> Result<(), Refused> {
        let limits = self.options.limits;
        let (mut count, mut sum, mut quantiles) = (0, 0.0, Vec::new());
        let mut fields = Reader::new(message);
        while let Some(field) = fields.next()? {
            match field.number {
                2 => head.start = field.fixed64()?,
                3 => head.time = field.fixed64()?,
                4 => count = field.fixed64()?,
                5 => sum = field.double()?,
                6 if quantiles.len() >= limits.buckets => {
                    let why = format!("a summary with more than {} quantiles", limits.buckets);
                    return Err(Refused::Point(Reason::Histogram, why));
                }
                6 => quantiles.push(quantile(field.bytes()?)?),
                7 => head.add_attribute(field.bytes()?, limits.labels)?,
                8 => head.flags = field.varint()?,
                _ => {}
            }
        }
        let times = self.begin_point(head)?;
        for (suffix, value) in [("_sum", sum), ("_count", count as f64)] {
            let series = self.emitter.series(metric, &self.labels, suffix, None)?;
            self.emitter.float(series, times, head.value(value))?;
        }
        for (quantile, value) in quantiles {
            let label = ("quantile", &*decimal(quantile));
            let series = self.emitter.series(metric, &self.labels, "", Some(label))?;
            self.emitter.float(series, times, head.value(value))?;
        }
        Ok(())
    }
}

/// A `ValueAtQuantile`.
fn quantile(message: &[u8]) -> Result<(f64, f64), Fault> {
    let (mut quantile, mut value) = (0.0, 0.0);
    let mut fields = Reader::new(message);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => quantile = field.double()?,
            2 => value = field.double()?,
            _ => {}
        }
    }
    Ok((quantile, value))
}
