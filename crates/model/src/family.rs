//! Metrics that the program itself measures, before they become a batch or a page of text: this
//! machine's, and narthex's own.

use crate::metadata::MetricType;
use std::borrow::Cow;

/// Metrics of one name, with what the name means.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    /// The family's name.
    pub name: Cow<'static, str>,
    /// What it means, for a person.
    pub help: Cow<'static, str>,
    /// Its type.
    pub kind: MetricType,
    /// Its metrics.
    pub metrics: Vec<Metric>,
}

/// One series of a family and its value now.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// What follows the family's name: nothing, or `_bucket`, `_sum`, `_count`.
    pub suffix: &'static str,
    /// Labels, without the metric name, in any order.
    pub labels: Vec<(Cow<'static, str>, String)>,
    /// The value.
    pub value: f64,
}

impl Family {
    /// A family without metrics yet.
    pub fn new(
        name: impl Into<Cow<'static, str>>,
        help: impl Into<Cow<'static, str>>,
        kind: MetricType,
    ) -> Self {
        Family { name: name.into(), help: help.into(), kind, metrics: Vec::new() }
    }

    /// A family of one metric without labels.
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

    /// Adds a metric whose name is the family's with `suffix`.
    pub fn push_suffixed(&mut self, suffix: &'static str, labels: &[(&'static str, &str)], value: f64) {
        let labels =
            labels.iter().map(|(name, value)| (Cow::Borrowed(*name), (*value).to_string())).collect();
        self.metrics.push(Metric { suffix, labels, value });
    }
}
