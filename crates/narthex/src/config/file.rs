//! The sections of the file as they are written, before they are checked.

use super::inputs::{Collect, Influx, Input, Listener, Otlp, Pushgateway, Statsd};
use super::size::Size;
use http_client::Secret;
use http_server::web_config::TlsServerConfig;
use remote::RemoteWrite;
use scrape::config::{Escaping, Protocol, ScrapeConfig, Validation};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The whole file. Sections of Prometheus' that do not concern an agent are accepted and ignored.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    /// Settings for everything.
    pub global: Option<Global>,
    pub remote_write: Option<Vec<RemoteWrite>>,
    /// What is scraped.
    pub scrape_configs: Option<Vec<ScrapeConfig>>,
    /// Files with further `scrape_configs`. The last part of a path may have a `*`.
    pub scrape_config_files: Option<Vec<PathBuf>>,
    pub log: Option<Log>,
    /// Settings for all destinations.
    pub send: Option<Send>,
    #[serde(deserialize_with = "section")]
    pub collect: Option<Collect>,
    /// Defaults for all inputs.
    pub inputs: Option<Input>,
    pub receive: Option<Receive>,
    /// Graphite plaintext.
    #[serde(deserialize_with = "section")]
    pub graphite: Option<Listener>,
    /// StatsD and DogStatsD.
    #[serde(deserialize_with = "section")]
    pub statsd: Option<Statsd>,
    /// InfluxDB's line protocol.
    #[serde(deserialize_with = "section")]
    pub influx: Option<Influx>,
    /// OTLP.
    #[serde(deserialize_with = "section")]
    pub otlp: Option<Otlp>,
    /// Does not concern an agent.
    pub rule_files: Option<IgnoredAny>,
    /// Does not concern an agent.
    pub alerting: Option<IgnoredAny>,
    /// Does not concern an agent.
    pub storage: Option<IgnoredAny>,
    /// Does not concern an agent.
    pub remote_read: Option<IgnoredAny>,
}

impl File {
    /// Makes relative paths relative to `folder`, the folder of the file.
    pub fn resolve_paths(&mut self, folder: &Path) {
        for destination in self.remote_write.iter_mut().flatten() {
            destination.resolve_paths(folder);
        }
        for job in self.scrape_configs.iter_mut().flatten() {
            job.resolve_paths(folder);
        }
        for files in self.scrape_config_files.iter_mut().flatten() {
            *files = folder.join(&*files);
        }
        if let Some(receive) = &mut self.receive {
            receive.resolve_paths(folder);
        }
        if let Some(path) = self.statsd.as_mut().and_then(|section| section.listen_unixgram.as_mut()) {
            *path = folder.join(&*path);
        }
        for file in self.mapping_files_mut() {
            *file = folder.join(&*file);
        }
        let host = self.collect.as_mut().and_then(|collect| collect.host.as_mut());
        if let Some(root) = host.and_then(|host| host.root.as_mut()) {
            *root = folder.join(&*root);
        }
    }
}

impl File {
    /// The mapping files, each with the section of its input.
    pub fn mapping_files(&self) -> Vec<(&'static str, &Path)> {
        let graphite = self.graphite.as_ref().and_then(|section| section.mapping_config.as_deref());
        let statsd = self.statsd.as_ref().and_then(|section| section.mapping_config.as_deref());
        [("graphite", graphite), ("statsd", statsd)]
            .into_iter()
            .filter_map(|(section, file)| Some((section, file?)))
            .collect()
    }

    fn mapping_files_mut(&mut self) -> Vec<&mut PathBuf> {
        let graphite = self.graphite.as_mut().and_then(|section| section.mapping_config.as_mut());
        let statsd = self.statsd.as_mut().and_then(|section| section.mapping_config.as_mut());
        [graphite, statsd].into_iter().flatten().collect()
    }
}

/// A file of `scrape_config_files`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScrapeFile {
    pub scrape_configs: Vec<ScrapeConfig>,
}

/// Defines `global`. The given keys are about rules; they are accepted and ignored.
macro_rules! global {
    ($($idle:ident)*) => {
        #[derive(Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct Global {
            /// Labels that are added to everything that is sent, unless the series has them already.
            pub external_labels: Option<BTreeMap<String, String>>,
            #[serde(deserialize_with = "model::duration::deserialize_maybe")]
            pub scrape_interval: Option<Duration>,
            #[serde(deserialize_with = "model::duration::deserialize_maybe")]
            pub scrape_timeout: Option<Duration>,
            pub scrape_protocols: Option<Vec<Protocol>>,
            #[serde(deserialize_with = "model::size::deserialize_amount")]
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
            $(
                /// Has no effect in narthex.
                pub $idle: Option<IgnoredAny>,
            )*
        }

        impl Global {
            /// The keys that are in the file and have no effect.
            pub fn idle(&self) -> Vec<&'static str> {
                let mut idle = Vec::new();
                $(if self.$idle.is_some() {
                    idle.push(stringify!($idle));
                })*
                idle
            }
        }
    };
}

global!(evaluation_interval rule_query_offset query_log_file);

impl Global {
    /// The defaults of `scrape_configs`.
    pub fn scrape(&self) -> scrape::config::Global {
        scrape::config::Global {
            scrape_interval: self.scrape_interval,
            scrape_timeout: self.scrape_timeout,
            scrape_protocols: self.scrape_protocols.clone(),
            body_size_limit: self.body_size_limit,
            sample_limit: self.sample_limit,
            label_limit: self.label_limit,
            label_name_length_limit: self.label_name_length_limit,
            label_value_length_limit: self.label_value_length_limit,
            target_limit: self.target_limit,
            keep_dropped_targets: self.keep_dropped_targets,
            scrape_native_histograms: self.scrape_native_histograms,
            always_scrape_classic_histograms: self.always_scrape_classic_histograms,
            convert_classic_histograms_to_nhcb: self.convert_classic_histograms_to_nhcb,
            metric_name_validation_scheme: self.metric_name_validation_scheme,
            metric_name_escaping_scheme: self.metric_name_escaping_scheme,
            extra_scrape_metrics: self.extra_scrape_metrics,
            scrape_failure_log_file: self.scrape_failure_log_file.clone(),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// The budget of the log on disk.
    pub max_size: Option<Size>,
    /// How long the log keeps samples that no destination has read.
    #[serde(deserialize_with = "model::duration::deserialize_maybe")]
    pub max_age: Option<Duration>,
    /// What happens when the budget is used up.
    pub when_full: WhenFull,
    /// When a push is acknowledged.
    pub durability: Durability,
    /// How records are compressed.
    pub compression: Compression,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// The oldest segment is deleted, and its unread samples are counted as lost.
    #[default]
    DropOldest,
    /// The inputs accept nothing; HTTP requests get 503.
    Refuse,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// After the write is synced to disk.
    #[default]
    Fsync,
    /// After the write, without a sync.
    Os,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// No compression.
    None,
    /// Less compression at a lower cost.
    #[default]
    Snappy,
    /// More compression at a higher cost.
    Zstd,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Send {
    /// The most bytes of batches that wait in memory, for all destinations together.
    #[serde(deserialize_with = "model::size::deserialize_amount")]
    pub max_in_memory: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Receive {
    /// Samples older than this are refused.
    #[serde(deserialize_with = "model::duration::deserialize_maybe")]
    pub max_age: Option<Duration>,
    pub remote_write: Option<Input>,
    pub import: Option<Input>,
    /// The Pushgateway's interface.
    pub pushgateway: Option<Pushgateway>,
    /// TLS for connections; the keys are those of Prometheus' `tls_server_config`.
    pub tls: Option<TlsServerConfig>,
    pub basic_auth: Option<BasicAuth>,
    pub bearer: Option<Bearer>,
    /// Additional host names that requests may name.
    pub allowed_hosts: Vec<String>,
}

impl Receive {
    /// Makes relative paths relative to `folder`.
    pub fn resolve_paths(&mut self, folder: &Path) {
        if let Some(tls) = &mut self.tls {
            tls.resolve_paths(folder);
        }
        if let Some(file) = self.bearer.as_mut().and_then(|bearer| bearer.token_file.as_mut()) {
            *file = folder.join(&*file);
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BasicAuth {
    /// User names with their bcrypt hashes.
    pub users: BTreeMap<String, Secret>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bearer {
    pub token: Option<Secret>,
    pub token_file: Option<PathBuf>,
}

/// Reads an empty section (`collect:`) as one that exists.
fn section<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let section: Option<T> = Option::deserialize(deserializer)?;
    Ok(Some(section.unwrap_or_default()))
}
