//! The file's sections as they are written, before anything is made of them.

use super::size::Size;
use collect::{CollectorError, CollectorSet};
use http_client::Secret;
use http_server::web_config::TlsServerConfig;
use ipnet::IpNet;
use relabel::Rule;
use remote::RemoteWrite;
use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, SeqAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
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
    /// Each input: its name, its section, and the settings that each input has. Those of the Pushgateway's interface
    /// lack `max_series`, which means something else there.
    pub fn inputs(&self) -> Vec<(&'static str, &'static str, Input)> {
        let receive = self.receive.as_ref();
        let remote_write = receive.and_then(|receive| receive.remote_write.clone());
        let import = receive.and_then(|receive| receive.import.clone());
        let pushgateway = receive.and_then(|receive| receive.pushgateway.as_ref()).map(Pushgateway::input);
        let pushgateway = pushgateway.map(|input| Input { max_series: None, ..input });
        let collect = self.collect.as_ref().map(Collect::input);
        let graphite = self.graphite.as_ref().map(Listener::input);
        [
            (receive::REMOTE_WRITE, "receive.remote_write", remote_write),
            (receive::IMPORT, "receive.import", import),
            (receive::PUSHGATEWAY, "receive.pushgateway", pushgateway),
            (agent::host::INPUT, "collect", collect),
            (receive::graphite::NAME, "graphite", graphite),
        ]
        .map(|(name, section, input)| (name, section, input.unwrap_or_default()))
        .into()
    }

    /// Makes relative paths relative to `folder`, in which the file is.
    pub fn resolve_paths(&mut self, folder: &Path) {
        for destination in self.remote_write.iter_mut().flatten() {
            destination.resolve_paths(folder);
        }
        if let Some(receive) = &mut self.receive {
            receive.resolve_paths(folder);
        }
        let host = self.collect.as_mut().and_then(|collect| collect.host.as_mut());
        if let Some(root) = host.and_then(|host| host.root.as_mut()) {
            *root = folder.join(&*root);
        }
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
    pub max_in_memory: Option<Size>,
}

/// A section with keys of its own and those that each input has.
macro_rules! input_section {
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[$field_meta:meta])* pub $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $type,)*
            /// Labels that each series gets, unless it has them.
            pub labels: Option<BTreeMap<String, String>>,
            /// Rules for each series.
            pub metric_relabel_configs: Option<Vec<Rule>>,
            /// Most series that are active within an hour.
            pub max_series: Option<usize>,
            /// The same for each metric name.
            pub max_series_per_metric: Option<usize>,
        }

        impl $name {
            /// The settings that each input has.
            pub fn input(&self) -> Input {
                Input {
                    labels: self.labels.clone(),
                    metric_relabel_configs: self.metric_relabel_configs.clone(),
                    max_series: self.max_series,
                    max_series_per_metric: self.max_series_per_metric,
                }
            }
        }
    };
}

input_section!(
    /// The keys that each input has, and the section `inputs`.
    #[derive(Default, Clone)]
    pub struct Input {}
);

input_section!(
    /// An input with sockets of its own.
    #[derive(Default)]
    pub struct Listener {
        /// The address.
        pub listen: Option<ListenAddress>,
        /// Networks that may send.
        pub allow_from: Vec<Network>,
        /// Whether anybody may send who reaches the address.
        pub allow_unauthenticated: bool,
    }
);

input_section!(
    /// `collect`.
    pub struct Collect {
        /// This machine.
        pub host: Option<Host>,
        /// narthex itself.
        #[serde(rename = "self")]
        pub own: bool,
    }
);

impl Default for Collect {
    fn default() -> Self {
        Collect {
            host: None,
            own: true,
            labels: None,
            metric_relabel_configs: None,
            max_series: None,
            max_series_per_metric: None,
        }
    }
}

/// An address to listen on, written as for `--listen`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenAddress(pub SocketAddr);

impl<'de> Deserialize<'de> for ListenAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        command::listen_address::parse(&text).map(ListenAddress).map_err(D::Error::custom)
    }
}

/// A network, as an address with the length of its prefix, or a single address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(pub IpNet);

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let network = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
        let wrong = || format!("{text:?} is not a network: write 10.0.0.0/8, 2001:db8::/32, or one address");
        network.map(Network).ok_or_else(|| D::Error::custom(wrong()))
    }
}

/// `collect.host`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Host {
    /// How often.
    #[serde(deserialize_with = "maybe_duration")]
    pub interval: Option<Duration>,
    /// Which.
    pub collectors: Option<Collectors>,
    /// Where the machine's own root is.
    pub root: Option<PathBuf>,
}

/// Names of collectors, as a list or separated by commas; `none` is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Collectors(pub CollectorSet);

impl Collectors {
    /// Reads names separated by commas.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.trim() == "none" {
            return Ok(Collectors(CollectorSet::EMPTY));
        }
        text.parse().map(Collectors).map_err(|error: CollectorError| error.to_string())
    }
}

/// The name of a collector that exists, so that each unknown one of a list is an error of its own.
struct CollectorName(String);

impl<'de> Deserialize<'de> for CollectorName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        match name.parse::<CollectorSet>() {
            Err(error @ CollectorError::Unknown(_)) => Err(D::Error::custom(error)),
            // A name may also take something out of the list, or be the only one, `none`.
            _ => Ok(CollectorName(name)),
        }
    }
}

impl<'de> Deserialize<'de> for Collectors {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = Collectors;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of collectors")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Collectors, E> {
                Collectors::parse(text).map_err(E::custom)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Collectors, A::Error> {
                let mut names: Vec<String> = Vec::new();
                while let Some(CollectorName(name)) = list.next_element()? {
                    names.push(name);
                }
                if names.is_empty() {
                    return Ok(Collectors(CollectorSet::EMPTY));
                }
                Collectors::parse(&names.join(",")).map_err(A::Error::custom)
            }
        }
        deserializer.deserialize_any(Names)
    }
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

input_section!(
    /// `receive.pushgateway`. Its `max_series` counts the series of all groups.
    #[derive(Default)]
    pub struct Pushgateway {
        /// How often each group is sent anew.
        #[serde(deserialize_with = "maybe_duration")]
        pub interval: Option<Duration>,
        /// How long a group lives after its last push.
        #[serde(deserialize_with = "maybe_duration")]
        pub ttl: Option<Duration>,
        /// Whether groups can be scraped, too.
        pub expose: Option<bool>,
        /// Whether bodies may have timestamps.
        pub allow_timestamps: Option<bool>,
        /// Whether all groups can be wiped over HTTP.
        pub enable_admin: Option<bool>,
        /// The most groups.
        pub max_groups: Option<usize>,
        /// The most series of one group.
        pub max_group_series: Option<usize>,
    }
);

/// A section that is there although nothing stands in it (`collect:`).
fn section<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let section: Option<T> = Option::deserialize(deserializer)?;
    Ok(Some(section.unwrap_or_default()))
}

fn maybe_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text: Option<String> = Option::deserialize(deserializer)?;
    text.map(|text| model::duration::parse(&text).map_err(D::Error::custom)).transpose()
}
