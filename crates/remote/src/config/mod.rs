//! A destination's configuration: Prometheus' `remote_write` entry, key by key, and narthex' own keys
//! (`start_at`, `narrow`, `retry_on_http_4xx`, `put_aside`, `catch_up`, `out_of_order_window` and those of
//! members). `protobuf_message` may be absent, which means negotiation.
//!
//! Differences from Prometheus: exemplars and native histograms are sent, and 429 is retried, unless that is
//! switched off. A key that Prometheus has and narthex has not is an error.

pub mod identity;
mod queue;

pub use queue::{BATCH_SEND_DEADLINE, BYTES_PER_SECOND_MIN, MetadataConfig, QueueConfig};

use crate::members::share::Part;
use formats::remote_write::Protocol;
use http_client::auth::azuread::AzureAd;
use http_client::auth::google_iam::GoogleIam;
use http_client::auth::headers::HeaderValues;
use http_client::auth::oauth2::OAuth2;
use http_client::auth::sigv4::SigV4;
use http_client::auth::{Authorization, BasicAuth};
use http_client::proxy::ProxyConfig;
use http_client::tls::TlsConfig;
use http_client::{HttpConfig, Secret, Url};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoteWrite {
    /// The receiver's URL. [`Url::is_nowhere`] if the entry has members.
    #[serde(default = "Url::nowhere")]
    pub url: Url,
    /// Instead of `url`: several receivers that share the series, see [`crate::members`].
    #[serde(default)]
    pub members: Vec<Url>,
    /// How the members share the series.
    #[serde(default)]
    pub shard_by: Option<ShardBy>,
    /// How many members each series goes to. 1 if absent.
    #[serde(default)]
    pub replicas: Option<usize>,
    /// The destination's name in metrics and files. By default it is made from the URL.
    #[serde(default)]
    pub name: Option<String>,
    /// The longest time that a request may take.
    #[serde(default = "default_remote_timeout", deserialize_with = "model::duration::deserialize")]
    pub remote_timeout: Duration,
    /// Pins the protocol's version. If absent: 2.0, and 1.0 if the receiver does not support it.
    #[serde(default)]
    pub protobuf_message: Option<Message>,
    /// Additional headers. They can't replace those of the protocol.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    #[serde(default)]
    pub queue_config: QueueConfig,
    #[serde(default)]
    pub start_at: StartAt,
    /// Rules that drop series or change their labels.
    #[serde(default)]
    pub write_relabel_configs: Vec<relabel::Rule>,
    /// What to do with a batch that is refused for an unknown reason.
    #[serde(default)]
    pub narrow: Narrowing,
    /// Whether data that is answered with 4xx may be sent again (429 has its own key): after 408; in parts
    /// after 400, 409, 413 and 422; and after 401, 403, 404, 405 and 407 once the cause is fixed. Otherwise
    /// it is refused for good, as the specification says.
    #[serde(default = "yes")]
    pub retry_on_http_4xx: bool,
    /// Whether data that keeps meeting 408, 429 or 5xx while other data is delivered is parked, to be retried
    /// later.
    #[serde(default = "yes")]
    pub put_aside: bool,
    #[serde(default)]
    pub catch_up: CatchUp,
    /// How far back the receiver accepts samples out of order. 0 if it accepts none.
    #[serde(default, deserialize_with = "model::duration::deserialize")]
    pub out_of_order_window: Duration,
    /// How types and help texts are sent in 1.0. In 2.0 they are sent with each series.
    #[serde(default)]
    pub metadata_config: MetadataConfig,
    #[serde(default)]
    pub basic_auth: Option<BasicAuth>,
    #[serde(default)]
    pub authorization: Option<Authorization>,
    /// Which certificate authorities to trust, and which client certificate to use.
    #[serde(default)]
    pub tls_config: TlsConfig,
    /// Whether redirects that keep method and body (307, 308) are followed.
    #[serde(default = "yes")]
    pub follow_redirects: bool,
    #[serde(default = "yes")]
    pub send_exemplars: bool,
    #[serde(default = "yes")]
    pub send_native_histograms: bool,
    /// This destination's share of the bytes of batches that wait in memory. Not a key of the file.
    #[serde(skip, default = "default_memory")]
    pub max_in_memory: usize,
    /// For a member of a sharded entry: the series that it owns. Not a key of the file.
    #[serde(skip)]
    pub part: Option<Part>,
    /// Another way to write `authorization.credentials`.
    #[serde(default)]
    pub bearer_token: Option<Secret>,
    /// Another way to write `authorization.credentials_file`.
    #[serde(default)]
    pub bearer_token_file: Option<PathBuf>,
    /// Gets access tokens from a token server.
    #[serde(default)]
    pub oauth2: Option<OAuth2>,
    /// Signs requests for Amazon's service.
    #[serde(default)]
    pub sigv4: Option<SigV4>,
    /// Additional headers, with several values each, also from files.
    #[serde(default)]
    pub http_headers: BTreeMap<String, HeaderValues>,
    #[serde(default, deserialize_with = "http_client::url::deserialize_proxy")]
    pub proxy_url: Option<Url>,
    /// Hosts that are reached without the proxy, separated by commas.
    #[serde(default)]
    pub no_proxy: Option<String>,
    /// Takes proxy and exceptions from `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`.
    #[serde(default)]
    pub proxy_from_environment: bool,
    /// Headers for the proxy's CONNECT request.
    #[serde(default)]
    pub proxy_connect_header: BTreeMap<String, Vec<Secret>>,
    /// Whether HTTP/2 is used if the server offers it, over TLS.
    #[serde(default)]
    pub enable_http2: bool,
    /// Whether each connection uses another one of the host name's addresses.
    #[serde(default)]
    pub round_robin_dns: bool,
    /// Gets tokens of Microsoft Entra ID, for Azure Monitor.
    #[serde(default)]
    pub azuread: Option<AzureAd>,
    /// Gets tokens for Google Cloud Monitoring.
    #[serde(default)]
    pub google_iam: Option<GoogleIam>,
}

impl From<&RemoteWrite> for write_client::Settings {
    fn from(config: &RemoteWrite) -> Self {
        write_client::Settings {
            url: config.url.clone(),
            http: config.http(),
            connections: config.queue_config.max_shards,
            timeout: config.remote_timeout,
        }
    }
}

impl RemoteWrite {
    /// Returns true if newest first is configured without the window that it needs.
    pub fn lacks_window(&self) -> bool {
        self.catch_up == CatchUp::NewestFirst && self.out_of_order_window < WINDOW_MIN
    }

    /// Resolves relative paths against the folder of the configuration file.
    pub fn resolve_paths(&mut self, folder: &Path) {
        let mut paths: Vec<&mut PathBuf> = Vec::new();
        if let Some(basic) = &mut self.basic_auth {
            paths.extend([&mut basic.username_file, &mut basic.password_file].into_iter().flatten());
        }
        if let Some(authorization) = &mut self.authorization {
            paths.extend(&mut authorization.credentials_file);
        }
        paths.extend(&mut self.bearer_token_file);
        if let Some(oauth2) = &mut self.oauth2 {
            paths.extend(&mut oauth2.client_secret_file);
            paths.extend(oauth2.tls_config.files_mut());
        }
        if let Some(sigv4) = &mut self.sigv4 {
            paths.extend(&mut sigv4.secret_key_file);
        }
        if let Some(workload) = self.azuread.as_mut().and_then(|azuread| azuread.workload_identity.as_mut()) {
            paths.extend(&mut workload.token_file_path);
        }
        if let Some(google) = &mut self.google_iam {
            paths.extend(&mut google.credentials_file);
        }
        paths.extend(self.http_headers.values_mut().flat_map(|header| &mut header.files));
        paths.extend(self.tls_config.files_mut());
        for path in paths {
            *path = folder.join(&*path);
        }
    }

    /// Returns the settings of the HTTP client.
    pub fn http(&self) -> HttpConfig {
        HttpConfig {
            basic_auth: self.basic_auth.clone(),
            authorization: self.authorization.clone(),
            bearer_token: self.bearer_token.clone(),
            bearer_token_file: self.bearer_token_file.clone(),
            oauth2: self.oauth2.clone(),
            sigv4: self.sigv4.clone(),
            azuread: self.azuread.clone(),
            google_iam: self.google_iam.clone(),
            tls: self.tls_config.clone(),
            proxy: ProxyConfig {
                url: self.proxy_url.clone(),
                no_proxy: self.no_proxy.clone(),
                from_environment: self.proxy_from_environment,
                connect_header: self.proxy_connect_header.clone(),
            },
            headers: self.headers.clone(),
            http_headers: self.http_headers.clone(),
            follow_redirects: self.follow_redirects,
            http2: self.enable_http2,
            round_robin_dns: self.round_robin_dns,
        }
    }

    pub fn to(url: Url) -> Self {
        RemoteWrite {
            url,
            members: Vec::new(),
            shard_by: None,
            replicas: None,
            name: None,
            remote_timeout: default_remote_timeout(),
            protobuf_message: None,
            headers: BTreeMap::new(),
            queue_config: QueueConfig::default(),
            start_at: StartAt::default(),
            write_relabel_configs: Vec::new(),
            narrow: Narrowing::default(),
            retry_on_http_4xx: true,
            put_aside: true,
            catch_up: CatchUp::default(),
            out_of_order_window: Duration::ZERO,
            metadata_config: MetadataConfig::default(),
            basic_auth: None,
            authorization: None,
            tls_config: TlsConfig::default(),
            follow_redirects: true,
            send_exemplars: true,
            send_native_histograms: true,
            max_in_memory: default_memory(),
            part: None,
            bearer_token: None,
            bearer_token_file: None,
            oauth2: None,
            sigv4: None,
            http_headers: BTreeMap::new(),
            proxy_url: None,
            no_proxy: None,
            proxy_from_environment: false,
            proxy_connect_header: BTreeMap::new(),
            enable_http2: false,
            round_robin_dns: false,
            azuread: None,
            google_iam: None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShardBy {
    /// Each series goes to `replicas` members, by consistent hashing.
    Series,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartAt {
    /// With the samples that are accepted from now on.
    #[default]
    Now,
    /// With the oldest sample in the log.
    Oldest,
}

/// The smallest [`RemoteWrite::out_of_order_window`] with which the newest samples can be sent first.
pub const WINDOW_MIN: Duration = Duration::from_secs(60);

/// The error if the window is missing.
pub const NEEDS_WINDOW: &str = "catch_up: newest_first sends samples out of order after an outage, and needs \
    out_of_order_window, 1m at least: how far back the receiver takes samples out of order (Prometheus' \
    storage.tsdb.out_of_order_time_window)";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CatchUp {
    /// The oldest samples, so that each series arrives in its order.
    #[default]
    OldestFirst,
    /// The newest samples, and the backlog after them: out of order, as far as the receiver accepts that.
    NewestFirst,
}

/// What to do with a batch that is refused for an unknown reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Narrowing {
    /// Find the refused samples and deliver the rest.
    #[default]
    Auto,
    /// Count the whole batch as refused, as Prometheus does.
    Never,
}

/// Prometheus' names for the protocol's versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Message {
    #[serde(rename = "prometheus.WriteRequest")]
    V1,
    #[serde(rename = "io.prometheus.write.v2.Request")]
    V2,
}

impl From<Message> for Protocol {
    fn from(message: Message) -> Self {
        match message {
            Message::V1 => Protocol::V1,
            Message::V2 => Protocol::V2,
        }
    }
}

fn default_remote_timeout() -> Duration {
    Duration::from_secs(30)
}

/// Default for the bytes of batches that wait in memory, for all destinations together.
pub const MAX_IN_MEMORY: usize = 32 << 20;

fn default_memory() -> usize {
    MAX_IN_MEMORY
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests;
