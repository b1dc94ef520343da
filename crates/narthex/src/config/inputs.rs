//! The sections of the inputs as they are written, and the list of all inputs.

use super::file::File;
use collect::{CollectorError, CollectorSet};
use ipnet::IpNet;
use relabel::Rule;
use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// How an input receives samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// In requests to the HTTP server.
    Http,
    /// Through sockets of its own. They are open if its section is in the file.
    Listener,
    /// narthex collects them itself.
    Collection,
}

/// An input with its section.
#[derive(Debug)]
pub struct InputSection {
    /// Its name in labels and settings.
    pub name: &'static str,
    /// The path of its section in the file.
    pub section: &'static str,
    pub source: Source,
    /// The settings that all inputs have.
    pub settings: Input,
}

impl File {
    /// All inputs, also those that are not in the file. The settings of the Pushgateway's interface do not
    /// include `max_series`, which has another meaning there.
    pub fn inputs(&self) -> Vec<InputSection> {
        let receive = self.receive.as_ref();
        let remote_write = receive.and_then(|receive| receive.remote_write.clone());
        let import = receive.and_then(|receive| receive.import.clone());
        let pushgateway = receive.and_then(|receive| receive.pushgateway.as_ref()).map(Pushgateway::input);
        let pushgateway = pushgateway.map(|input| Input { max_series: None, ..input });
        let collect = self.collect.as_ref().map(Collect::input);
        let graphite = self.graphite.as_ref().map(Listener::input);
        let statsd = self.statsd.as_ref().map(Statsd::input);
        let influx = self.influx.as_ref().map(Influx::input);
        let otlp = self.otlp.as_ref().map(Otlp::input);
        [
            (receive::REMOTE_WRITE, "receive.remote_write", Source::Http, remote_write),
            (receive::IMPORT, "receive.import", Source::Http, import),
            (receive::PUSHGATEWAY, "receive.pushgateway", Source::Http, pushgateway),
            (receive::influx::NAME, "influx", Source::Http, influx),
            (receive::OTLP, "otlp", Source::Http, otlp),
            (agent::host::INPUT, "collect", Source::Collection, collect),
            (receive::graphite::NAME, "graphite", Source::Listener, graphite),
            (receive::statsd::NAME, "statsd", Source::Listener, statsd),
            (scrape::NAME, "scrape_configs", Source::Listener, None),
        ]
        .map(|(name, section, source, settings)| InputSection {
            name,
            section,
            source,
            settings: settings.unwrap_or_default(),
        })
        .into()
    }
}

/// Defines a section with keys of its own and the keys that all inputs have.
macro_rules! input_section {
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[$field_meta:meta])* pub $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $type,)*
            /// Labels that are added to each series, unless the series has them already.
            pub labels: Option<BTreeMap<String, String>>,
            /// Relabelling rules for each series.
            pub metric_relabel_configs: Option<Vec<Rule>>,
            /// The most series that are active within an hour.
            pub max_series: Option<usize>,
            /// The most active series of one metric name.
            pub max_series_per_metric: Option<usize>,
        }

        impl $name {
            /// The settings that all inputs have.
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
    /// The keys that all inputs have, and the section `inputs`.
    #[derive(Default, Clone)]
    pub struct Input {}
);

input_section!(
    /// An input with sockets of its own.
    #[derive(Default)]
    pub struct Listener {
        pub listen: Option<ListenAddress>,
        /// Networks whose machines may send.
        pub allow_from: Vec<Network>,
        /// If true, every machine that reaches the address may send.
        pub allow_unauthenticated: bool,
        /// A mapping file of statsd_exporter.
        pub mapping_config: Option<PathBuf>,
    }
);

input_section!(
    /// `statsd`. Its `max_series` and `max_series_per_metric` are the limits of the totals.
    #[derive(Default)]
    pub struct Statsd {
        pub listen_udp: Option<ListenAddress>,
        pub listen_tcp: Option<ListenAddress>,
        /// The path of the socket for datagrams.
        pub listen_unixgram: Option<PathBuf>,
        /// The mode of that socket, in octal digits.
        pub unix_socket_mode: Option<String>,
        /// Networks whose machines may send.
        pub allow_from: Vec<Network>,
        /// If true, every machine that reaches the address may send.
        pub allow_unauthenticated: bool,
        /// How often totals are appended to the log.
        #[serde(deserialize_with = "model::duration::deserialize_maybe")]
        pub interval: Option<Duration>,
        /// How long a series is kept after its last line.
        #[serde(deserialize_with = "model::duration::deserialize_maybe")]
        pub ttl: Option<Duration>,
        /// The kinds of histogram that are made of timers, histograms and distributions.
        pub timers: Option<Timers>,
        /// The bounds of classic buckets.
        pub buckets: Option<Vec<f64>>,
        /// A mapping file of statsd_exporter.
        pub mapping_config: Option<PathBuf>,
        /// The tag styles that are parsed.
        pub tag_styles: Option<Vec<TagStyle>>,
        /// If true, the container id of a DogStatsD line becomes a label.
        pub container_id: bool,
        /// If true, a new series begins with a sample of 0.
        pub begin_with_zero: Option<bool>,
    }
);

input_section!(
    /// `influx`: InfluxDB's line protocol. It is accepted over HTTP even without this section.
    #[derive(Default)]
    pub struct Influx {
        /// If true, InfluxDB's own paths are also served.
        pub at_root: bool,
        /// The address for UDP.
        pub listen_udp: Option<ListenAddress>,
        /// Networks that may send datagrams.
        pub allow_from: Vec<Network>,
        /// If true, every client that reaches the address may send datagrams.
        pub allow_unauthenticated: bool,
        /// The unit of timestamps in requests that do not set one.
        pub precision: Option<Precision>,
        /// The name of a series whose field is `value`.
        pub value_field: Option<ValueField>,
        /// The label for the database or bucket.
        pub db_label: Option<String>,
    }
);

/// `influx.precision`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    Ns,
    Us,
    Ms,
    S,
    /// Guessed from the size of the number.
    Auto,
}

/// `influx.value_field`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ValueField {
    /// The name of the measurement.
    Measurement,
    /// The name of the measurement with `_value`.
    Suffix,
}

/// `statsd.timers`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Timers {
    Classic,
    Native,
    Both,
}

/// An entry of `statsd.tag_styles`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TagStyle {
    /// Tags after `|#`.
    Dogstatsd,
    /// `name,k=v`
    Influxdb,
    /// `name#k=v`
    Librato,
    /// `name[k=v]`
    Signalfx,
}

input_section!(
    /// `otlp`: Prometheus' keys, and some more.
    #[derive(Default)]
    pub struct Otlp {
        /// An address for HTTP in addition to that of `--listen`.
        pub http_listen: Option<ListenAddress>,
        /// An address for gRPC in addition to that of `--listen`.
        pub grpc_listen: Option<ListenAddress>,
        /// If true, all resource attributes become labels.
        pub promote_all_resource_attributes: bool,
        /// The resource attributes that become labels otherwise.
        pub promote_resource_attributes: Vec<String>,
        /// The exceptions if all of them become labels.
        pub ignore_resource_attributes: Vec<String>,
        /// The translation of names.
        pub translation_strategy: Option<TranslationStrategy>,
        /// If true, `service.*` are also labels of `target_info`.
        pub keep_identifying_resource_attributes: bool,
        /// If true, explicit histograms become native histograms with custom buckets.
        pub convert_histograms_to_nhcb: bool,
        /// If true, the metadata of scopes becomes labels.
        pub promote_scope_metadata: bool,
        /// If true, `_x` becomes `key_x`.
        pub label_name_underscore_sanitization: Option<bool>,
        /// If true, several `_` in sequence are kept.
        pub label_name_preserve_multiple_underscores: Option<bool>,
        /// The form of exponential histograms. Not a key of Prometheus.
        pub exponential_histograms: Option<ExponentialHistograms>,
        /// How many senders a series of deltas has.
        pub accumulate: Option<Accumulate>,
        /// How long a series of deltas is kept after its last data point.
        #[serde(deserialize_with = "model::duration::deserialize_maybe")]
        pub accumulate_ttl: Option<Duration>,
    }
);

/// `otlp.translation_strategy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum TranslationStrategy {
    UnderscoreEscapingWithSuffixes,
    UnderscoreEscapingWithoutSuffixes,
    #[serde(rename = "NoUTF8EscapingWithSuffixes")]
    NoUtf8EscapingWithSuffixes,
    NoTranslation,
}

/// `otlp.accumulate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Accumulate {
    Single,
    Many,
}

/// `otlp.exponential_histograms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExponentialHistograms {
    Native,
    Classic,
}

input_section!(
    /// `collect`.
    pub struct Collect {
        /// The metrics of this machine.
        pub host: Option<Host>,
        /// narthex' own metrics.
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

/// An address to listen on, in the format of `--listen`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenAddress(pub SocketAddr);

impl<'de> Deserialize<'de> for ListenAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        command::listen_address::parse(&text).map(ListenAddress).map_err(D::Error::custom)
    }
}

/// A network (an address with the length of its prefix) or a single address.
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

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Host {
    /// The interval of collections.
    #[serde(deserialize_with = "model::duration::deserialize_maybe")]
    pub interval: Option<Duration>,
    pub collectors: Option<Collectors>,
    /// The folder where the machine's root is mounted.
    pub root: Option<PathBuf>,
}

/// Names of collectors, as a list or separated by commas. `none` stands for the empty set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Collectors(pub CollectorSet);

impl Collectors {
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.trim() == "none" {
            return Ok(Collectors(CollectorSet::EMPTY));
        }
        text.parse().map(Collectors).map_err(|error: CollectorError| error.to_string())
    }
}

/// The name of a collector that exists. It is a type of its own so that each unknown name in a list is a
/// separate error.
struct CollectorName(String);

impl<'de> Deserialize<'de> for CollectorName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        match name.parse::<CollectorSet>() {
            Err(error @ CollectorError::Unknown(_)) => Err(D::Error::custom(error)),
            // A name may also begin with `-`, which removes it from the list, or be `none`, which must be the
            // only one.
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

input_section!(
    /// `receive.pushgateway`. Its `max_series` counts the series of all groups.
    #[derive(Default)]
    pub struct Pushgateway {
        /// How often each group is sent again.
        #[serde(deserialize_with = "model::duration::deserialize_maybe")]
        pub interval: Option<Duration>,
        /// How long a group is kept after its last push.
        #[serde(deserialize_with = "model::duration::deserialize_maybe")]
        pub ttl: Option<Duration>,
        /// If true, groups can be scraped, too.
        pub expose: Option<bool>,
        /// If true, bodies may have timestamps.
        pub allow_timestamps: Option<bool>,
        /// If true, all groups can be wiped over HTTP.
        pub enable_admin: Option<bool>,
        pub max_groups: Option<usize>,
        pub max_group_series: Option<usize>,
    }
);
