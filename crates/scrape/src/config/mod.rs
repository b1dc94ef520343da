//! `scrape_configs` as it is written: the keys of Prometheus.
//!
//! A key that a job leaves out has the value of [`Global`]; [`crate::Job`] is what results of both.

pub(crate) mod http;

use crate::discovery::{FileSd, HttpSd};
use formats::text::Format;
use http::http_section;
use relabel::Rule;
use serde::Deserialize;
use serde::de::Deserializer;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

http_section!(
    /// An entry of `scrape_configs`.
    pub struct ScrapeConfig {
        pub job_name: String,
        #[serde(default, deserialize_with = "model::duration::deserialize_maybe")]
        pub scrape_interval: Option<Duration>,
        #[serde(default, deserialize_with = "model::duration::deserialize_maybe")]
        pub scrape_timeout: Option<Duration>,
        /// The formats that targets are asked for, the best first.
        #[serde(default)]
        pub scrape_protocols: Option<Vec<Protocol>>,
        /// How a page is read whose `Content-Type` names no format.
        #[serde(default)]
        pub fallback_scrape_protocol: Option<Protocol>,
        #[serde(default = "metrics_path")]
        pub metrics_path: String,
        #[serde(default)]
        pub scheme: Scheme,
        /// Parameters of the URL.
        #[serde(default)]
        pub params: BTreeMap<String, Vec<String>>,
        /// Whether a label of a page wins over the target's label of the same name.
        #[serde(default)]
        pub honor_labels: bool,
        /// Whether timestamps in pages count.
        #[serde(default = "yes")]
        pub honor_timestamps: bool,
        /// Whether series with timestamps of their own get staleness markers.
        #[serde(default)]
        pub track_timestamps_staleness: bool,
        /// Whether targets are asked for compressed pages.
        #[serde(default = "yes")]
        pub enable_compression: bool,
        /// The most bytes of a page, uncompressed. 0: no limit but narthex' own.
        #[serde(default, deserialize_with = "model::size::deserialize_amount")]
        pub body_size_limit: Option<u64>,
        /// The most samples of a page after relabelling. 0: no limit.
        #[serde(default)]
        pub sample_limit: Option<u64>,
        #[serde(default)]
        pub label_limit: Option<u64>,
        #[serde(default)]
        pub label_name_length_limit: Option<u64>,
        #[serde(default)]
        pub label_value_length_limit: Option<u64>,
        /// The most targets of the job after relabelling. 0: no limit.
        #[serde(default)]
        pub target_limit: Option<u64>,
        /// The most dropped targets that are shown. 0: no limit but narthex' own.
        #[serde(default)]
        pub keep_dropped_targets: Option<u64>,
        #[serde(default)]
        pub native_histogram_bucket_limit: u64,
        #[serde(default)]
        pub native_histogram_min_bucket_factor: f64,
        #[serde(default)]
        pub scrape_native_histograms: Option<bool>,
        /// Whether the classic buckets of a native histogram are kept, too.
        #[serde(default)]
        pub always_scrape_classic_histograms: Option<bool>,
        #[serde(default)]
        pub convert_classic_histograms_to_nhcb: Option<bool>,
        #[serde(default)]
        pub metric_name_validation_scheme: Option<Validation>,
        #[serde(default)]
        pub metric_name_escaping_scheme: Option<Escaping>,
        /// Whether each scrape reports its limits and the size of its page.
        #[serde(default)]
        pub extra_scrape_metrics: Option<bool>,
        #[serde(default)]
        pub scrape_failure_log_file: Option<PathBuf>,
        /// Rules for the labels of targets.
        #[serde(default)]
        pub relabel_configs: Vec<Rule>,
        /// Rules for the labels of samples.
        #[serde(default)]
        pub metric_relabel_configs: Vec<Rule>,
        #[serde(default)]
        pub static_configs: Vec<Group>,
        #[serde(default)]
        pub file_sd_configs: Vec<FileSd>,
        #[serde(default)]
        pub http_sd_configs: Vec<HttpSd>,
    }
);

impl ScrapeConfig {
    /// Makes relative paths relative to `folder`, the folder of the configuration file.
    pub fn resolve_paths(&mut self, folder: &Path) {
        self.resolve_http_paths(folder);
        self.file_sd_configs.iter_mut().for_each(|files| files.resolve_paths(folder));
        self.http_sd_configs.iter_mut().for_each(|http| http.resolve_paths(folder));
    }
}

/// What `global` says about scraping.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Global {
    pub scrape_interval: Option<Duration>,
    pub scrape_timeout: Option<Duration>,
    pub scrape_protocols: Option<Vec<Protocol>>,
    pub body_size_limit: Option<u64>,
    pub sample_limit: Option<u64>,
    pub label_limit: Option<u64>,
    pub label_name_length_limit: Option<u64>,
    pub label_value_length_limit: Option<u64>,
    pub target_limit: Option<u64>,
    pub keep_dropped_targets: Option<u64>,
    pub scrape_native_histograms: Option<bool>,
    pub always_scrape_classic_histograms: Option<bool>,
    pub convert_classic_histograms_to_nhcb: Option<bool>,
    pub metric_name_validation_scheme: Option<Validation>,
    pub metric_name_escaping_scheme: Option<Escaping>,
    pub extra_scrape_metrics: Option<bool>,
    pub scrape_failure_log_file: Option<PathBuf>,
}

/// Targets with labels in common: an entry of `static_configs`, and what discovery finds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Group {
    /// Addresses, such as `host:9100`.
    #[serde(deserialize_with = "or_empty")]
    pub targets: Vec<String>,
    #[serde(deserialize_with = "or_empty")]
    pub labels: BTreeMap<String, String>,
}

/// Reads a value, or null as an empty one: that is how Go writes an empty list.
fn or_empty<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    #[default]
    Http,
    Https,
}

impl Scheme {
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }
}

/// A format of pages, by the names that Prometheus gives them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Protocol {
    PrometheusProto,
    #[serde(rename = "OpenMetricsText1.0.0")]
    OpenMetricsText1_0_0,
    #[serde(rename = "OpenMetricsText0.0.1")]
    OpenMetricsText0_0_1,
    #[serde(rename = "PrometheusText1.0.0")]
    PrometheusText1_0_0,
    #[serde(rename = "PrometheusText0.0.4")]
    PrometheusText0_0_4,
}

impl Protocol {
    /// How many there are.
    pub(crate) const COUNT: usize = 5;
    /// What targets are asked for unless the configuration says otherwise.
    pub(crate) const DEFAULT: [Protocol; 4] = [
        Protocol::OpenMetricsText1_0_0,
        Protocol::OpenMetricsText0_0_1,
        Protocol::PrometheusText1_0_0,
        Protocol::PrometheusText0_0_4,
    ];

    /// The format of its pages.
    pub(crate) fn page_format(self) -> PageFormat {
        match self {
            Protocol::PrometheusProto => PageFormat::Protobuf,
            Protocol::OpenMetricsText1_0_0 | Protocol::OpenMetricsText0_0_1 => {
                PageFormat::Text(Format::OpenMetrics)
            }
            Protocol::PrometheusText1_0_0 | Protocol::PrometheusText0_0_4 => PageFormat::Text(Format::Text),
        }
    }
}

/// How a page is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageFormat {
    Protobuf,
    Text(Format),
}

/// Which metric and label names are valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Validation {
    /// All names in UTF-8.
    #[default]
    Utf8,
    /// Names of ASCII letters, digits and underscores.
    Legacy,
}

/// How targets are asked to write names that are not legacy names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Escaping {
    #[serde(rename = "allow-utf-8")]
    AllowUtf8,
    Underscores,
    Dots,
    Values,
}

impl Escaping {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Escaping::AllowUtf8 => "allow-utf-8",
            Escaping::Underscores => "underscores",
            Escaping::Dots => "dots",
            Escaping::Values => "values",
        }
    }
}

fn metrics_path() -> String {
    "/metrics".into()
}

pub(crate) fn yes() -> bool {
    true
}
