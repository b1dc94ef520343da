//! The file's sections as they are written, before anything is made of them.

use super::inputs::{Collect, Influx, Input, Listener, Otlp, Pushgateway, Statsd};
use super::size::Size;
use http_client::Secret;
use http_server::web_config::TlsServerConfig;
use remote::RemoteWrite;
use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The whole file. Sections of Prometheus' that do not concern an agent are read and left alone.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    /// What holds for all of it.
    pub global: Option<Global>,
    /// Where to push.
    pub remote_write: Option<Vec<RemoteWrite>>,
    /// The log.
    pub log: Option<Log>,
    /// What holds for all destinations.
    pub send: Option<Send>,
    /// What to measure.
    #[serde(deserialize_with = "section")]
    pub collect: Option<Collect>,
    /// What holds for each input that does not say otherwise.
    pub inputs: Option<Input>,
    /// The HTTP inputs.
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
    /// Not for an agent.
    pub rule_files: Option<IgnoredAny>,
    /// Not for an agent.
    pub alerting: Option<IgnoredAny>,
    /// Not for an agent.
    pub storage: Option<IgnoredAny>,
    /// Not for an agent.
    pub remote_read: Option<IgnoredAny>,
}

impl File {
    /// Makes relative paths relative to `folder`, in which the file is.
    pub fn resolve_paths(&mut self, folder: &Path) {
        for destination in self.remote_write.iter_mut().flatten() {
            destination.resolve_paths(folder);
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
    /// The mapping files of the inputs, by the inputs' sections.
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

/// `global`, with those of its keys that are about scraping and rules: read, and left alone.
macro_rules! global {
    ($($idle:ident)*) => {
        /// `global`.
        #[derive(Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct Global {
            /// Labels that everything that is sent gets, unless it has them.
            pub external_labels: Option<BTreeMap<String, String>>,
            $(
                /// Has no effect here.
                pub $idle: Option<IgnoredAny>,
            )*
        }

        impl Global {
            /// The keys that are there and have no effect.
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

global!(
    scrape_interval scrape_timeout scrape_protocols scrape_failure_log_file scrape_native_histograms
    evaluation_interval rule_query_offset query_log_file
    body_size_limit sample_limit label_limit label_name_length_limit label_value_length_limit target_limit
    keep_dropped_targets metric_name_validation_scheme metric_name_escaping_scheme
    convert_classic_histograms_to_nhcb always_scrape_classic_histograms extra_scrape_metrics
);

/// `log`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// Its budget on disk.
    pub max_size: Option<Size>,
    /// How long it keeps what no destination has taken.
    #[serde(deserialize_with = "maybe_duration")]
    pub max_age: Option<Duration>,
    /// What gives way at the budget.
    pub when_full: WhenFull,
    /// What an acknowledgement promises.
    pub durability: Durability,
    /// How its records are compressed.
    pub compression: Compression,
}

/// `log.when_full`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// The oldest goes, and is counted.
    #[default]
    DropOldest,
    /// The inputs accept nothing; HTTP requests get 503.
    Refuse,
}

/// `log.durability`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// On disk.
    #[default]
    Fsync,
    /// In the operating system's hands.
    Os,
}

/// `log.compression`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// Not at all.
    None,
    /// Little, at little cost.
    #[default]
    Snappy,
    /// More, at more cost.
    Zstd,
}

/// `send`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Send {
    /// Bytes of batches that wait in memory, for all destinations together.
    #[serde(deserialize_with = "model::size::deserialize_amount")]
    pub max_in_memory: Option<u64>,
}

/// `receive`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Receive {
    /// Samples older than this are refused.
    #[serde(deserialize_with = "maybe_duration")]
    pub max_age: Option<Duration>,
    /// Remote write.
    pub remote_write: Option<Input>,
    /// The import of text.
    pub import: Option<Input>,
    /// Groups, as the Pushgateway has them.
    pub pushgateway: Option<Pushgateway>,
    /// How connections begin; the keys are those of Prometheus' `tls_server_config`.
    pub tls: Option<TlsServerConfig>,
    /// Users.
    pub basic_auth: Option<BasicAuth>,
    /// A token.
    pub bearer: Option<Bearer>,
    /// Names by which narthex may be asked besides its machine's own.
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

/// `receive.basic_auth`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BasicAuth {
    /// Names and bcrypt hashes.
    pub users: BTreeMap<String, Secret>,
}

/// `receive.bearer`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bearer {
    /// The token.
    pub token: Option<Secret>,
    /// A file with the token.
    pub token_file: Option<PathBuf>,
}

/// A section that is there although nothing stands in it (`collect:`).
fn section<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let section: Option<T> = Option::deserialize(deserializer)?;
    Ok(Some(section.unwrap_or_default()))
}

pub(super) fn maybe_duration<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    let text: Option<String> = Option::deserialize(deserializer)?;
    text.map(|text| model::duration::parse(&text).map_err(D::Error::custom)).transpose()
}
