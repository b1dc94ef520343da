//! HTTP: one request out, an [`Answer`] or a [`Failure`] back.

pub mod answer;
pub mod auth;
pub mod compression;
pub mod connect;
pub mod fetch;
pub mod protocol;
pub mod proxy;
pub mod tls;

use crate::client::answer::{Answer, parse_retry_after, words};
use crate::client::auth::error::ProofError;
use crate::client::auth::proof::Proof;
use crate::client::auth::{AuthError, read_file};
use crate::client::compression::{ASK_TIMEOUT, Compression, QUESTION, SIGN, YES, recode};
use crate::client::connect::{CONNECTIONS_AGE, Connecting, Http, Lookup};
use crate::client::proxy::{Proxies, ProxyError};
use crate::client::tls::TlsError;
use crate::config::RemoteWrite;
use crate::config::url::Url;
use crate::stats::Counter;
use bytes::Bytes;
use formats::compress::Encoding;
use formats::remote_write::Protocol;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::connect::capture_connection;
use model::Kinds;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

mod explain;
mod failure;

pub use explain::explain;
pub use failure::{Failure, FailureKind};

/// How narthex calls itself.
pub const USER_AGENT: &str = concat!("narthex/", env!("CARGO_PKG_VERSION"));
/// Most bytes of an answer's body that are read.
pub const ANSWER_BYTES: usize = 4096;
/// Most redirects that are followed.
pub const REDIRECTS_MAX: usize = 5;
const WRITTEN_SAMPLES: HeaderName = HeaderName::from_static("x-prometheus-remote-write-samples-written");
const WRITTEN_HISTOGRAMS: HeaderName =
    HeaderName::from_static("x-prometheus-remote-write-histograms-written");
const WRITTEN_EXEMPLARS: HeaderName = HeaderName::from_static("x-prometheus-remote-write-exemplars-written");
const REMOTE_WRITE_VERSION: HeaderName = HeaderName::from_static("x-prometheus-remote-write-version");
const RETRY_ATTEMPT: HeaderName = HeaderName::from_static("retry-attempt");

/// With zstd, which says which dialect this is.
const DIALECT: HeaderName = HeaderName::from_static("x-victoriametrics-remote-write-version");

/// Why a client can't be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Headers.
    #[error(transparent)]
    Headers(AuthError),
    /// Credentials.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// TLS.
    #[error("tls_config: {0}")]
    Tls(#[from] TlsError),
    /// A proxy.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
}

/// A request to send.
#[derive(Debug, Clone)]
pub struct Post {
    /// The version that the body is of.
    pub protocol: Protocol,
    /// The body. It goes out in zstd where that has been agreed on, otherwise in snappy's block format.
    pub body: Bytes,
    /// How it is compressed, one of the two.
    pub encoding: Encoding,
    /// Failed tries before this one.
    pub attempt: u32,
}

impl Post {
    /// The same in this encoding. Where that can't be done, as it is.
    fn recode(mut self, encoding: Encoding) -> Post {
        if let Some(body) = recode(&self.body, self.encoding, encoding) {
            (self.body, self.encoding) = (body, encoding);
        }
        self
    }
}

/// The connections to one destination. Clones share them.
#[derive(Debug, Clone)]
pub struct Client {
    http: Http,
    made: Instant,
    headers: HeaderMap,
    proof: Proof,
    settings: Arc<Settings>,
    compression: Arc<Compression>,
    /// What the files held when `http` and `proof` were made.
    files: Vec<Option<Vec<u8>>>,
    /// A signature was refused: the keys may have been replaced.
    keys_refused: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Settings {
    config: RemoteWrite,
    connecting: Connecting,
}

impl Settings {
    /// What the files hold that connections, tokens and signatures are made of.
    fn files(&self) -> Vec<Option<Vec<u8>>> {
        let mut files: Vec<&PathBuf> = self.config.tls_config.files().collect();
        if let Some(oauth2) = &self.config.oauth2 {
            files.extend(&oauth2.client_secret_file);
            files.extend(oauth2.tls_config.files());
        }
        files.extend(self.config.google_iam.iter().flat_map(|google| &google.credentials_file));
        files.extend(self.config.sigv4.iter().flat_map(|sigv4| &sigv4.secret_key_file));
        files.into_iter().map(|path| read_file(path).ok()).collect()
    }

    fn headers(&self) -> Result<HeaderMap, ClientError> {
        let read = auth::headers::read(&self.config.headers, &self.config.http_headers);
        read.map_err(ClientError::Headers)
    }
}

impl Client {
    /// Makes a client. Nothing is connected yet.
    pub fn new(config: &RemoteWrite) -> Result<Self, ClientError> {
        Self::with_lookup(config, Lookup::new(config.round_robin_dns))
    }

    fn with_lookup(config: &RemoteWrite, lookup: Lookup) -> Result<Self, ClientError> {
        let proxies = Proxies::new(&config.proxy(), |name| std::env::var(name).ok())?;
        let connecting = Connecting {
            tls: config.tls_config.clone(),
            proxies: Arc::new(proxies),
            http2: config.enable_http2,
            idle_max: config.queue_config.max_shards.max(1),
            lookup,
        };
        let settings = Settings { config: config.clone(), connecting };
        Ok(Client {
            files: settings.files(),
            headers: settings.headers()?,
            proof: Proof::new(config)?,
            http: settings.connecting.client(config.url.uri())?,
            made: Instant::now(),
            settings: Arc::new(settings),
            compression: Arc::default(),
            keys_refused: Arc::default(),
        })
    }

    /// Reads files with credentials, certificates and keys again; requests from now on use what they hold,
    /// and now and then new connections, for which names are looked up again. On an error all stays as it
    /// was. Says whether we are somebody else now.
    pub fn refresh(&mut self) -> Result<bool, ClientError> {
        self.refresh_at(Instant::now())
    }

    fn refresh_at(&mut self, now: Instant) -> Result<bool, ClientError> {
        let config = &self.settings.config;
        let files = self.settings.files();
        let headers = self.settings.headers()?;
        let mut changed = files != self.files;
        let old = now.duration_since(self.made) >= CONNECTIONS_AGE;
        let http =
            if changed || old { Some(self.settings.connecting.client(config.url.uri())?) } else { None };
        let anew = changed || self.keys_refused.load(Ordering::Relaxed);
        match &self.proof {
            Proof::Header(before) => {
                let proof = Proof::new(config)?;
                changed |= !matches!(&proof, Proof::Header(value) if value == before);
                self.proof = proof;
            }
            _ if anew => self.proof = Proof::new(config)?,
            _ => {}
        }
        // Nothing fails from here on.
        changed |= headers != self.headers;
        self.headers = headers;
        self.files = files;
        self.keys_refused.store(false, Ordering::Relaxed);
        if let Some(http) = http {
            self.http = http;
            self.made = now;
        }
        Ok(changed)
    }

    /// Where requests go.
    pub fn url(&self) -> &Url {
        &self.settings.config.url
    }

    /// Sends one request and waits for its answer, at most as long as `remote_timeout`. `now` is for a
    /// `Retry-After` with a date. `sent` counts the bytes of the body as they go out, each time that they do
    /// (after a redirect, say).
    pub async fn post(&self, post: Post, now: SystemTime, sent: &Counter) -> Result<Answer, Failure> {
        let config = &self.settings.config;
        let started = Instant::now();
        let left = || config.remote_timeout.saturating_sub(started.elapsed());
        let mut uri = config.url.uri().clone();
        let mut redirects = if config.follow_redirects { REDIRECTS_MAX } else { 0 };
        let mut token_renewed = false;
        let mut going = post.clone().recode(self.compression.encoding(post.protocol));
        let mut zstd_refused = false;
        loop {
            let mut request = self.request(&uri, &going, left()).await?;
            let connection = capture_connection(&mut request);
            // Only what had a connection can have been sent.
            let is_sent = || connection.connection_metadata().is_some();
            let shown = request.headers().get(header::AUTHORIZATION).cloned();
            let response = tokio::time::timeout(left(), self.http.request(request)).await;
            if is_sent() {
                sent.add(going.body.len() as u64);
            }
            let response = match response {
                Ok(Ok(response)) => response,
                Ok(Err(error)) => {
                    return Err(explain(&error, &uri, &config.tls_config).sent(is_sent()));
                }
                Err(_) => {
                    let words = format!("no answer within {:?}", config.remote_timeout);
                    return Err(Failure::unreachable(words).sent(is_sent()));
                }
            };
            let (head, body) = response.into_parts();
            let status = head.status.as_u16();
            let location = head.headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
            match (status, location) {
                (307 | 308, Some(location)) if redirects > 0 => {
                    if let Some(target) = redirected(&uri, location) {
                        redirects -= 1;
                        uri = target;
                        continue;
                    }
                }
                (401 | 403, _) => match (&self.proof, shown) {
                    (Proof::Token(source), Some(shown)) if status == 401 && !token_renewed => {
                        source.refused(&shown).await;
                        token_renewed = true;
                        continue;
                    }
                    (Proof::Signature(_), _) => self.keys_refused.store(true, Ordering::Relaxed),
                    _ => {}
                },
                // It may be the compression that it minds; if it takes the same in snappy, it is.
                (400 | 415, _) if going.encoding == Encoding::Zstd && !zstd_refused => {
                    going = post.clone().recode(Encoding::Snappy);
                    zstd_refused = true;
                    continue;
                }
                (200..=299, _) if zstd_refused => self.compression.refused(Instant::now()),
                _ => {}
            }
            let mut answer = Answer {
                status,
                written: written(&head.headers),
                retry_after: head
                    .headers
                    .get(header::RETRY_AFTER)
                    .and_then(|value| value.to_str().ok())
                    .and_then(|value| parse_retry_after(value, now)),
                words: String::new(),
            };
            // The status has been said; a body that breaks off or dawdles changes nothing.
            answer.words = read_words(body, left()).await;
            if let (300..=399, Some(location)) = (status, location) {
                let target = location.split(['?', '#']).next().unwrap_or_default();
                answer.words = format!("redirected to {target}; put the right URL into the configuration");
            }
            if matches!(status, 404 | 405) && self.url().has_no_path() {
                explain::add_path_hint(&mut answer.words);
            }
            if explain::is_for_tls(&uri, &answer) {
                let words = &answer.words;
                return Err(Failure::unreachable(format!(
                    "the server wants TLS: the URL has to be https ({words})"
                )));
            }
            let taken = head.status.is_success() && post.protocol == Protocol::V1;
            if taken && head.headers.contains_key(SIGN) && self.compression.is_to_ask(Instant::now()) {
                self.ask(&uri, left().min(ASK_TIMEOUT)).await;
            }
            return Ok(answer);
        }
    }

    /// Asks VictoriaMetrics whether it takes zstd. Whatever goes wrong means no.
    async fn ask(&self, uri: &Uri, within: Duration) {
        if matches!(self.proof, Proof::Signature(_)) {
            return;
        }
        let query = uri.query().map(|query| format!("{query}&")).unwrap_or_default();
        let mut parts = uri.clone().into_parts();
        parts.path_and_query = format!("{}?{query}{QUESTION}", uri.path()).parse().ok();
        let Ok(question) = Uri::from_parts(parts) else { return };
        let asking = async {
            let (body, encoding) = (Bytes::new(), Encoding::Snappy);
            let post = Post { protocol: Protocol::V1, body, encoding, attempt: 0 };
            let mut request = self.request(&question, &post, within).await.ok()?;
            *request.method_mut() = Method::GET;
            request.headers_mut().remove(header::CONTENT_TYPE);
            request.headers_mut().remove(header::CONTENT_ENCODING);
            let answer = self.http.request(request).await.ok()?;
            if answer.status() != StatusCode::OK {
                return None;
            }
            let body = Limited::new(answer.into_body(), ANSWER_BYTES).collect().await.ok()?;
            (body.to_bytes().trim_ascii() == YES).then_some(())
        };
        if let Ok(Some(())) = tokio::time::timeout(within, asking).await {
            tracing::info!(url = %self.url(), "it takes zstd");
            self.compression.offered();
        }
    }

    async fn request(
        &self,
        uri: &Uri,
        post: &Post,
        within: Duration,
    ) -> Result<http::Request<Full<Bytes>>, Failure> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(post.protocol.content_type()));
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(post.encoding.as_str()));
        headers.insert(REMOTE_WRITE_VERSION, HeaderValue::from_static(post.protocol.version()));
        // Who we are is nobody's business but the destination's: headers of the user's may say it, too.
        let is_there = uri.authority() == self.url().uri().authority();
        if is_there {
            let proof = self.proof.headers(uri, &headers, &post.body, within).await;
            let credentials = |words| Failure { kind: FailureKind::Credentials, words, is_sent: false };
            headers.extend(proof.map_err(credentials)?);
        }
        if post.encoding == Encoding::Zstd {
            headers.insert(DIALECT, HeaderValue::from_static("1"));
        }
        if post.attempt > 0 {
            headers.insert(RETRY_ATTEMPT, HeaderValue::from(post.attempt));
        }
        if let Some(value) = self.settings.connecting.proxies.authorization_for(uri) {
            headers.insert(header::PROXY_AUTHORIZATION, value);
        }
        if is_there {
            headers.extend(self.headers.clone());
        }
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        let mut request = http::Request::new(Full::new(post.body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = headers;
        Ok(request)
    }
}

/// Where a redirect leads: another path here, or another URL of the same scheme: never from `https` to `http`,
/// nor back.
fn redirected(from: &http::Uri, location: &str) -> Option<http::Uri> {
    if location.starts_with('/') && !location.starts_with("//") {
        let mut parts = from.clone().into_parts();
        parts.path_and_query = Some(location.parse().ok()?);
        return http::Uri::from_parts(parts).ok();
    }
    let uri: http::Uri = location.parse().ok()?;
    let allowed = match uri.scheme_str() {
        Some("https") => from.scheme_str() == Some("https"),
        Some("http") => from.scheme_str() == Some("http"),
        _ => false,
    };
    (allowed && uri.authority().is_some()).then_some(uri)
}

fn written(headers: &HeaderMap) -> Option<Kinds> {
    let number = |name: HeaderName| headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
    let all = [number(WRITTEN_SAMPLES), number(WRITTEN_HISTOGRAMS), number(WRITTEN_EXEMPLARS)];
    if all.iter().all(Option::is_none) {
        return None;
    }
    let [samples, histograms, exemplars] = all.map(Option::unwrap_or_default);
    Some(Kinds { samples, histograms, exemplars })
}

/// The beginning of a body, for people. Reading ends where the body breaks off, and after `within`.
pub async fn read_words(mut body: hyper::body::Incoming, within: Duration) -> String {
    let mut start = Vec::new();
    let read = async {
        while start.len() < ANSWER_BYTES {
            match body.frame().await {
                Some(Ok(frame)) => {
                    let data = frame.into_data().unwrap_or_default();
                    let room = ANSWER_BYTES - start.len();
                    start.extend_from_slice(data.get(..room).unwrap_or(&data));
                }
                Some(Err(_)) | None => break,
            }
        }
    };
    // A body that takes too long is cut where it is.
    let _ = tokio::time::timeout(within, read).await;
    words(&start)
}

#[cfg(test)]
mod tests;
