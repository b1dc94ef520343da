//! A job: an entry of `scrape_configs` with the defaults of `global`, checked.

use crate::config::{Escaping, Global, Group, PageFormat, Protocol, Scheme, ScrapeConfig, Validation};
use crate::discovery::{FileSd, HttpSd};
use http_client::{Client, HttpConfig, Url};
use relabel::Rule;
use std::collections::BTreeMap;
use std::time::Duration;

/// The default interval of scrapes.
pub const INTERVAL: Duration = Duration::from_secs(60);
/// The default time limit of a scrape.
pub const TIMEOUT: Duration = Duration::from_secs(10);
/// The largest page that is read, uncompressed, in bytes.
pub const PAGE_BYTES_MAX: u64 = 128 << 20;

/// The settings of a job.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    pub name: String,
    pub interval: Duration,
    pub timeout: Duration,
    pub protocols: Vec<Protocol>,
    pub fallback: Option<PageFormat>,
    pub metrics_path: String,
    pub scheme: Scheme,
    pub params: BTreeMap<String, Vec<String>>,
    pub compression: bool,
    pub http: HttpConfig,
    pub relabel_configs: Vec<Rule>,
    pub static_configs: Vec<Group>,
    pub file_sd_configs: Vec<FileSd>,
    pub http_sd_configs: Vec<HttpSd>,
    /// The most targets. `None`: no limit.
    pub target_limit: Option<u64>,
    pub keep_dropped_targets: Option<u64>,
    pub escaping: Escaping,
    pub extra_metrics: bool,
    /// The most bytes of a page that the configuration allows. `None`: [`PAGE_BYTES_MAX`].
    pub body_size_limit: Option<u64>,
    pub sampling: Sampling,
}

/// How the samples of a page are treated.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    pub honor_labels: bool,
    pub honor_timestamps: bool,
    pub track_timestamps_staleness: bool,
    pub native_histograms: bool,
    /// Whether the classic buckets of a native histogram are kept, too.
    pub classic_histograms: bool,
    pub validation: Validation,
    pub sample_limit: Option<u64>,
    pub label_limit: Option<u64>,
    pub label_name_length_limit: Option<u64>,
    pub label_value_length_limit: Option<u64>,
    pub metric_relabel_configs: Vec<Rule>,
}

/// What is wrong with a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The key within the entry, such as `scrape_timeout`.
    pub key: String,
    pub why: String,
    /// Whether `why` begins with a key below `key`.
    pub names_key: bool,
}

impl Fault {
    fn new(key: impl Into<String>, why: impl Into<String>) -> Fault {
        Fault { key: key.into(), why: why.into(), names_key: false }
    }

    /// The faults of an HTTP client's settings in the section `key`.
    fn of_client(key: &str, url: &Url, http: &HttpConfig) -> Vec<Fault> {
        let fault = |why: String| Fault { names_key: true, ..Fault::new(key, why) };
        Client::errors(url, http).iter().map(|error| fault(error.to_string())).collect()
    }
}

impl Job {
    /// The job that an entry describes, with all that is wrong with it. A job with faults must not be used.
    pub fn new(entry: &ScrapeConfig, global: &Global) -> (Job, Vec<Fault>) {
        let mut faults = Vec::new();
        let mut fault = |key: &str, why: String| faults.push(Fault::new(key, why));
        let not_zero = |duration: Option<Duration>| duration.filter(|duration| !duration.is_zero());
        let interval =
            not_zero(entry.scrape_interval).or(not_zero(global.scrape_interval)).unwrap_or(INTERVAL);
        let own_timeout = not_zero(entry.scrape_timeout);
        let of_global = not_zero(global.scrape_timeout).unwrap_or(TIMEOUT);
        let timeout = own_timeout.unwrap_or(of_global.min(interval));
        if timeout > interval {
            fault("scrape_timeout", format!("{timeout:?} is more than scrape_interval, {interval:?}"));
        }
        let limit = |own: Option<u64>, global: Option<u64>| {
            own.filter(|limit| *limit > 0).or(global.filter(|limit| *limit > 0))
        };
        let native = entry.scrape_native_histograms.or(global.scrape_native_histograms).unwrap_or(false);
        let given = entry.scrape_protocols.clone().or(global.scrape_protocols.clone());
        let protocols = given.unwrap_or_else(|| {
            let first = native.then_some(Protocol::PrometheusProto);
            first.into_iter().chain(Protocol::DEFAULT).collect()
        });
        if protocols.is_empty() {
            fault("scrape_protocols", "the list is empty: leave it out, or name at least one format".into());
        }
        for (number, protocol) in protocols.iter().enumerate() {
            if protocols.iter().take(number).any(|other| other == protocol) {
                fault("scrape_protocols", format!("{protocol:?} is there twice"));
            }
        }
        let validation =
            entry.metric_name_validation_scheme.or(global.metric_name_validation_scheme).unwrap_or_default();
        let default_escaping = match validation {
            Validation::Utf8 => Escaping::AllowUtf8,
            Validation::Legacy => Escaping::Underscores,
        };
        let escaping = entry
            .metric_name_escaping_scheme
            .or(global.metric_name_escaping_scheme)
            .unwrap_or(default_escaping);
        if validation == Validation::Legacy && escaping == Escaping::AllowUtf8 {
            let why = "allow-utf-8 needs metric_name_validation_scheme: utf8";
            fault("metric_name_escaping_scheme", why.into());
        }
        let job = Job {
            name: entry.job_name.clone(),
            interval,
            timeout,
            protocols,
            fallback: entry.fallback_scrape_protocol.map(Protocol::page_format),
            metrics_path: entry.metrics_path.clone(),
            scheme: entry.scheme,
            params: entry.params.clone(),
            compression: entry.enable_compression,
            http: entry.http(),
            relabel_configs: entry.relabel_configs.clone(),
            static_configs: entry.static_configs.clone(),
            file_sd_configs: entry.file_sd_configs.clone(),
            http_sd_configs: entry.http_sd_configs.clone(),
            target_limit: limit(entry.target_limit, global.target_limit),
            keep_dropped_targets: limit(entry.keep_dropped_targets, global.keep_dropped_targets),
            escaping,
            extra_metrics: entry.extra_scrape_metrics.or(global.extra_scrape_metrics).unwrap_or(false),
            body_size_limit: limit(entry.body_size_limit, global.body_size_limit),
            sampling: Sampling {
                honor_labels: entry.honor_labels,
                honor_timestamps: entry.honor_timestamps,
                track_timestamps_staleness: entry.track_timestamps_staleness,
                native_histograms: native,
                classic_histograms: entry
                    .always_scrape_classic_histograms
                    .or(global.always_scrape_classic_histograms)
                    .unwrap_or(false),
                validation,
                sample_limit: limit(entry.sample_limit, global.sample_limit),
                label_limit: limit(entry.label_limit, global.label_limit),
                label_name_length_limit: limit(entry.label_name_length_limit, global.label_name_length_limit),
                label_value_length_limit: limit(
                    entry.label_value_length_limit,
                    global.label_value_length_limit,
                ),
                metric_relabel_configs: entry.metric_relabel_configs.clone(),
            },
        };
        faults.extend(job.faults(entry, global));
        (job, faults)
    }

    /// What is wrong with single keys.
    fn faults(&self, entry: &ScrapeConfig, global: &Global) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut fault = |key: &str, why: &str| faults.push(Fault::new(key, why));
        if self.name.is_empty() {
            fault("job_name", "is empty: each job needs a name");
        }
        if entry.convert_classic_histograms_to_nhcb.or(global.convert_classic_histograms_to_nhcb)
            == Some(true)
        {
            let why = "narthex does not convert scraped histograms: leave it out to keep classic buckets";
            fault("convert_classic_histograms_to_nhcb", why);
        }
        if entry.native_histogram_bucket_limit > 0 {
            let why = "narthex does not reduce the resolution of histograms: leave it out";
            fault("native_histogram_bucket_limit", why);
        }
        if entry.native_histogram_min_bucket_factor > 0.0 {
            let why = "narthex does not reduce the resolution of histograms: leave it out";
            fault("native_histogram_min_bucket_factor", why);
        }
        if entry.scrape_failure_log_file.is_some() || global.scrape_failure_log_file.is_some() {
            let why = "narthex writes no such file: leave it out; failed scrapes are in /api/v1/targets";
            fault("scrape_failure_log_file", why);
        }
        let checks_addresses = self.relabel_configs.is_empty();
        for (number, group) in self.static_configs.iter().enumerate() {
            for (index, target) in group.targets.iter().enumerate().filter(|_| checks_addresses) {
                if target.contains('/') {
                    let why =
                        "an address is HOST:PORT: scheme and path are set in `scheme` and `metrics_path`";
                    fault(&format!("static_configs[{number}].targets[{index}]"), why);
                }
            }
        }
        let url = format!("{}://target.invalid/", self.scheme.as_str());
        if let Ok(url) = Url::parse(&url) {
            faults.extend(Fault::of_client("", &url, &self.http));
        }
        for (number, files) in self.file_sd_configs.iter().enumerate() {
            let of_key = |(key, why)| Fault::new(format!("file_sd_configs[{number}].{key}"), why);
            faults.extend(files.faults().into_iter().map(of_key));
        }
        for (number, http) in self.http_sd_configs.iter().enumerate() {
            let key = format!("http_sd_configs[{number}]");
            if http.refresh_interval.is_zero() {
                faults.push(Fault::new(format!("{key}.refresh_interval"), "is 0: it must be longer"));
            }
            faults.extend(Fault::of_client(&key, &http.url, &http.http()));
        }
        faults
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, reason = "helper functions of tests")]
    use super::*;

    /// An entry called `j`, with more keys.
    pub(crate) fn entry(more: serde_json::Value) -> ScrapeConfig {
        let mut all = serde_json::json!({"job_name": "j"});
        let more = more.as_object().cloned().unwrap_or_default();
        all.as_object_mut().unwrap().extend(more);
        serde_json::from_value(all).unwrap()
    }

    /// The job of [`entry`].
    pub(crate) fn job(more: serde_json::Value) -> Job {
        let (job, faults) = Job::new(&entry(more), &Global::default());
        assert_eq!(faults, []);
        job
    }

    #[test]
    fn a_job_has_the_defaults_of_prometheus() {
        let (job, faults) = Job::new(&entry(serde_json::json!({})), &Global::default());
        assert_eq!(faults, []);
        assert_eq!((job.interval, job.timeout), (INTERVAL, TIMEOUT));
        assert_eq!((job.metrics_path.as_str(), job.scheme), ("/metrics", Scheme::Http));
        assert_eq!(job.protocols, Protocol::DEFAULT);
        assert!(job.http.follow_redirects && job.http.http2 && job.compression);
        assert!(job.sampling.honor_timestamps && !job.sampling.honor_labels);
    }

    #[test]
    fn a_job_takes_from_global_what_it_leaves_out() {
        let global = Global {
            scrape_interval: Some(Duration::from_secs(5)),
            sample_limit: Some(7),
            label_limit: Some(3),
            scrape_native_histograms: Some(true),
            ..Global::default()
        };
        let (job, faults) =
            Job::new(&entry(serde_json::json!({"label_limit": 4, "sample_limit": 0})), &global);
        assert_eq!(faults, []);
        // The default timeout is shortened to the interval.
        assert_eq!((job.interval, job.timeout), (Duration::from_secs(5), Duration::from_secs(5)));
        assert_eq!((job.sampling.sample_limit, job.sampling.label_limit), (Some(7), Some(4)));
        assert_eq!(job.protocols.first(), Some(&Protocol::PrometheusProto));
    }

    #[test]
    fn mistakes_name_their_key() {
        for (more, key) in [
            (serde_json::json!({"scrape_timeout": "2m"}), "scrape_timeout"),
            (serde_json::json!({"scrape_protocols": []}), "scrape_protocols"),
            (
                serde_json::json!({"scrape_protocols": ["PrometheusText0.0.4", "PrometheusText0.0.4"]}),
                "scrape_protocols",
            ),
            (serde_json::json!({"native_histogram_bucket_limit": 9}), "native_histogram_bucket_limit"),
            (serde_json::json!({"scrape_failure_log_file": "x"}), "scrape_failure_log_file"),
            (
                serde_json::json!({"static_configs": [{"targets": ["a:1", "http://b/"]}]}),
                "static_configs[0].targets[1]",
            ),
            (serde_json::json!({"job_name": ""}), "job_name"),
            (serde_json::json!({"file_sd_configs": [{"files": []}]}), "file_sd_configs[0].files"),
            (
                serde_json::json!({"file_sd_configs": [{"files": ["a.json", "a.txt"]}]}),
                "file_sd_configs[0].files[1]",
            ),
            (
                serde_json::json!({"file_sd_configs": [{"files": ["/a/*/b.yml"]}]}),
                "file_sd_configs[0].files[0]",
            ),
            (
                serde_json::json!({"file_sd_configs": [{"files": ["a.yml"], "refresh_interval": "0s"}]}),
                "file_sd_configs[0].refresh_interval",
            ),
            (
                serde_json::json!({"http_sd_configs": [{"url": "http://a/", "refresh_interval": "0s"}]}),
                "http_sd_configs[0].refresh_interval",
            ),
            (
                serde_json::json!({"http_sd_configs": [{"url": "http://a/", "no_proxy": "b"}]}),
                "http_sd_configs[0]",
            ),
        ] {
            let (_, faults) = Job::new(&entry(more.clone()), &Global::default());
            let keys: Vec<&str> = faults.iter().map(|fault| fault.key.as_str()).collect();
            assert_eq!(keys, [key], "{more}");
        }
    }
}
