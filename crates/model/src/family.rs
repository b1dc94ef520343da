//! Metrics that narthex measures itself, before they become a batch or a page of text: those of the machine,
//! and its own.

use crate::metadata::MetricType;
use std::borrow::Cow;

/// A metric family: metrics with the same name.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    pub name: Cow<'static, str>,
    /// Help text for people.
    pub help: Cow<'static, str>,
    pub kind: MetricType,
    pub metrics: Vec<Metric>,
}

/// A series of a family, and its current value.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// Suffix of the family's name: empty, `_bucket`, `_sum` or `_count`.
    pub suffix: &'static str,
    /// Labels without the metric name, in any order.
    pub labels: Vec<(Cow<'static, str>, String)>,
    pub value: f64,
}

impl Family {
    /// Makes a family without metrics.
    pub fn new(
        name: impl Into<Cow<'static, str>>,
        help: impl Into<Cow<'static, str>>,
        kind: MetricType,
    ) -> Self {
        Family { name: name.into(), help: help.into(), kind, metrics: Vec::new() }
    }

    /// Makes a family with one metric that has no labels.
    pub fn single(
        name: impl Into<Cow<'static, str>>,
        help: impl Into<Cow<'static, str>>,
        kind: MetricType,
        value: f64,
    ) -> Self {
        let mut family = Family::new(name, help, kind);
        family.push(&[], value);
        family
    }

    /// Adds a metric with these labels.
    pub fn push(&mut self, labels: &[(&'static str, &str)], value: f64) {
        self.push_suffixed("", labels, value);
    }

    /// Adds a metric whose name is the family's name with `suffix`.
    pub fn push_suffixed(&mut self, suffix: &'static str, labels: &[(&'static str, &str)], value: f64) {
        let labels =
            labels.iter().map(|(name, value)| (Cow::Borrowed(*name), (*value).to_string())).collect();
        self.metrics.push(Metric { suffix, labels, value });
    }
}
