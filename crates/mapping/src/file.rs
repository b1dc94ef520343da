//! The file format. Unknown keys are errors, as in statsd_exporter.

use super::Kind;
use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    pub defaults: Defaults,
    pub mappings: Option<Vec<Rule>>,
}

/// The section `defaults`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Defaults {
    pub observer_type: Option<ObserverType>,
    /// The older name of `observer_type`.
    pub timer_type: Option<ObserverType>,
    pub match_type: Option<MatchType>,
    pub glob_disable_ordering: Option<bool>,
    pub ttl: Option<GoDuration>,
    pub summary_options: Option<SummaryOptions>,
    pub histogram_options: Option<HistogramOptions>,
    /// The older key for `summary_options.quantiles`.
    pub quantiles: Option<Vec<Quantile>>,
    /// The older key for `histogram_options.buckets`.
    pub buckets: Option<Vec<f64>>,
}

impl Defaults {
    pub(crate) fn ttl(&self) -> Option<Duration> {
        self.ttl.map(|ttl| ttl.0).filter(|ttl| !ttl.is_zero())
    }
}

/// An entry of `mappings`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rule {
    #[serde(rename = "match")]
    pub pattern: Option<String>,
    pub name: Option<String>,
    pub labels: Option<BTreeMap<String, String>>,
    pub match_type: Option<MatchType>,
    pub match_metric_type: Option<MetricType>,
    pub action: Option<Action>,
    pub observer_type: Option<ObserverType>,
    /// The older name of `observer_type`.
    pub timer_type: Option<ObserverType>,
    pub ttl: Option<GoDuration>,
    pub help: Option<String>,
    pub scale: Option<f64>,
    pub honor_labels: Option<bool>,
    pub summary_options: Option<SummaryOptions>,
    pub histogram_options: Option<HistogramOptions>,
    /// The older key for `summary_options.quantiles`.
    pub quantiles: Option<Vec<Quantile>>,
    /// The older key for `histogram_options.buckets`.
    pub buckets: Option<Vec<f64>>,
}

/// Values of `match_type`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MatchType {
    #[default]
    Glob,
    Regex,
}

/// Values of `match_metric_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricType {
    Counter,
    Gauge,
    /// The older name is `timer`.
    #[serde(alias = "timer")]
    Observer,
}

impl MetricType {
    pub(crate) fn kind(self) -> Kind {
        match self {
            MetricType::Counter => Kind::Counter,
            MetricType::Gauge => Kind::Gauge,
            MetricType::Observer => Kind::Observer,
        }
    }
}

/// Values of `action`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    #[default]
    Map,
    Drop,
}

/// Values of `observer_type`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObserverType {
    #[default]
    Summary,
    Histogram,
}

/// The section `summary_options`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SummaryOptions {
    pub quantiles: Option<Vec<Quantile>>,
    pub max_age: Option<GoDuration>,
    /// Accepted without effect: it tunes the quantile calculation of statsd_exporter.
    pub age_buckets: Option<u32>,
    /// Accepted without effect: it tunes the quantile calculation of statsd_exporter.
    pub buf_cap: Option<u32>,
}

/// The section `histogram_options`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HistogramOptions {
    pub buckets: Option<Vec<f64>>,
    pub native_histogram_bucket_factor: Option<f64>,
    pub native_histogram_max_buckets: Option<u32>,
}

/// An entry of `quantiles`.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quantile {
    pub quantile: f64,
    /// Accepted without effect: it tunes the quantile calculation of statsd_exporter.
    #[serde(default)]
    pub error: f64,
}

/// A duration in Go's format: `1m30s`, `1.5h`, `250ms`, `0`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GoDuration(pub Duration);

impl GoDuration {
    fn parse(text: &str) -> Option<Duration> {
        const UNITS: [(&str, f64); 7] =
            [("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
        if text == "0" {
            return Some(Duration::ZERO);
        }
        let mut rest = text;
        let mut seconds = 0.0;
        while !rest.is_empty() {
            let (number, tail) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit() && c != '.')?);
            let (unit, tail) = tail.split_at(tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len()));
            let number: f64 = number.parse().ok()?;
            seconds += number * UNITS.iter().find(|(name, _)| *name == unit)?.1;
            rest = tail;
        }
        (!text.is_empty()).then(|| Duration::try_from_secs_f64(seconds).ok()).flatten()
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = GoDuration;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as 30s, 1m30s or 12h")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<GoDuration, E> {
                let wrong = || {
                    let shown: String = text.chars().take(64).collect();
                    E::custom(format!(
                        "{shown:?} is not a duration; expected something like 30s, 1m30s or 12h"
                    ))
                };
                GoDuration::parse(text).map(GoDuration).ok_or_else(wrong)
            }
            fn visit_u64<E: Error>(self, number: u64) -> Result<GoDuration, E> {
                self.visit_str(&number.to_string())
            }
            fn visit_i64<E: Error>(self, number: i64) -> Result<GoDuration, E> {
                self.visit_str(&number.to_string())
            }
        }
        deserializer.deserialize_any(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_parsed_as_in_go() {
        for (text, seconds) in [
            ("0", 0.0),
            ("10s", 10.0),
            ("1m2s", 62.0),
            ("1.5h", 5400.0),
            ("250ms", 0.25),
            ("1h1ms", 3600.001),
        ] {
            assert_eq!(GoDuration::parse(text), Some(Duration::from_secs_f64(seconds)), "{text}");
        }
        for text in ["", "10", "s", "1d", "-1s", "1s1", "1.s.", "1e9999h"] {
            assert_eq!(GoDuration::parse(text), None, "{text}");
        }
    }
}
