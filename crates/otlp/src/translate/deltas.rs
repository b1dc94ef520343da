//! Data points with delta temporality: what is wrong with them, and their changes.

use super::emit::Refused;
use super::histograms::Given;
use super::point::Head;
use super::{Metric, Translator};
use crate::deltas::Change;
use crate::rejected::Reason;
use crate::settings::ExponentialHistograms;
use model::MetricType;

impl Translator<'_, '_> {
    /// Adds the change of a sum.
    pub(super) fn delta_number(
        &mut self,
        metric: &Metric<'_>,
        head: &Head<'_>,
        value: f64,
    ) -> Result<(), Refused> {
        let value = finite(value)?;
        let change = match metric.kind {
            MetricType::Counter if value < 0.0 => {
                return refuse("a monotonic sum with a negative delta");
            }
            MetricType::Counter => Change::Counter(value),
            _ => Change::Gauge(value),
        };
        self.add_delta(metric, head, change)
    }

    /// Adds the change of an explicit histogram.
    pub(super) fn delta_histogram(
        &mut self,
        metric: &Metric<'_>,
        head: &Head<'_>,
        given: Given,
    ) -> Result<(), Refused> {
        let sum = finite(given.sum.unwrap_or(0.0))?;
        let Given { count, mut counts, bounds, .. } = given;
        if counts.is_empty() && bounds.is_empty() {
            counts.push(count);
        }
        if counts.len() != bounds.len() + 1 {
            let why = format!("a histogram with {} counts for {} bounds", counts.len(), bounds.len());
            return Err(Refused::Point(Reason::Histogram, why));
        }
        check_count(count, &counts)?;
        self.add_delta(metric, head, Change::Explicit { bounds, counts, sum })
    }

    /// Adds the change of an exponential histogram.
    pub(super) fn delta_exponential(
        &mut self,
        metric: &Metric<'_>,
        head: &Head<'_>,
        given: Given,
    ) -> Result<(), Refused> {
        if self.options.settings.exponential_histograms == ExponentialHistograms::Classic {
            return refuse(
                "an exponential histogram with delta temporality, which can only become a native histogram: set \
                 exponential_histograms: native, or let the application send cumulative values",
            );
        }
        let sum = finite(given.sum.unwrap_or(0.0))?;
        let Given { count, scale, zero: (_, zero), positive, negative, .. } = given;
        let all: Vec<u64> = [&[zero][..], &positive.counts, &negative.counts].concat();
        check_count(count, &all)?;
        let [positive, negative] = [positive, negative].map(|side| (side.offset, side.counts));
        self.add_delta(metric, head, Change::Exponential { scale, zero, positive, negative, sum })
    }

    fn add_delta(&mut self, metric: &Metric<'_>, head: &Head<'_>, change: Change) -> Result<(), Refused> {
        if head.is_stale() {
            return refuse("a delta without a recorded value");
        }
        self.emitter.delta(metric, &self.labels, (head.start, head.time), change)
    }
}

fn refuse<T>(why: &str) -> Result<T, Refused> {
    Err(Refused::Point(Reason::Delta, why.to_string()))
}

fn finite(value: f64) -> Result<f64, Refused> {
    match value.is_finite() {
        true => Ok(value),
        false => refuse("a delta that is not a finite number"),
    }
}

fn check_count(count: u64, counts: &[u64]) -> Result<(), Refused> {
    let all = counts.iter().try_fold(0u64, |all, count| all.checked_add(*count));
    match all == Some(count) {
        true => Ok(()),
        false => {
            let why = format!("a histogram whose buckets do not add up to its count of {count}");
            Err(Refused::Point(Reason::Histogram, why))
        }
    }
}
