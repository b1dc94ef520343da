//! HTTP: one request out, an [`Answer`] or a [`Failure`] back.

use crate::answer::{Answer, Written, parse_retry_after, words};
use crate::auth::{self, AuthError, Authorization, BasicAuth, read_file};
use crate::config::RemoteWrite;
use crate::tls::{self, TlsConfig, TlsError};
use crate::url::Url;
use bytes::Bytes;
use formats::remote_write::Protocol;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http_body_util::{BodyExt, Full};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client as HyperClient, Error as HyperError};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Most bytes of an answer's body that are read.
pub const ANSWER_BYTES: usize = 4096;
/// Most redirects that are followed.
pub const REDIRECTS_MAX: usize = 5;
/// How long an idle connection is kept.
const IDLE: Duration = Duration::from_secs(90);

const WRITTEN_SAMPLES: HeaderName = HeaderName::from_static("x-prometheus-remote-write-samples-written");
const WRITTEN_HISTOGRAMS: HeaderName =
    HeaderName::from_static("x-prometheus-remote-write-histograms-written");
const WRITTEN_EXEMPLARS: HeaderName = HeaderName::from_static("x-prometheus-remote-write-exemplars-written");
const REMOTE_WRITE_VERSION: HeaderName = HeaderName::from_static("x-prometheus-remote-write-version");
const RETRY_ATTEMPT: HeaderName = HeaderName::from_static("retry-attempt");

/// Headers that a user can't set, because the protocol, HTTP or another key does.
const RESERVED: [HeaderName; 10] = [
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::HOST,
    header::USER_AGENT,
    header::AUTHORIZATION,
    REMOTE_WRITE_VERSION,
    RETRY_ATTEMPT,
];

/// Why a client can't be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A header that is not HTTP.
    #[error("headers: {0:?} is not a header name, or its value can't stand in a header")]
    Header(String),
    /// A header that is not the user's to set.
    #[error("headers: {0} can't be set here")]
    Reserved(HeaderName),
    /// Credentials.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// TLS.
    #[error("tls_config: {0}")]
    Tls(#[from] TlsError),
}

/// Why there was no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Failure(pub String);

/// A request to send.
#[derive(Debug, Clone)]
pub struct Post {
    /// The version that the body is of.
    pub protocol: Protocol,
    /// The compressed body.
    pub body: Bytes,
    /// Failed tries before this one.
    pub attempt: u32,
}

/// The connections to one destination. Clones share them.
#[derive(Debug, Clone)]
pub struct Client {
    http: HyperClient<HttpsConnector<HttpConnector>, Full<Bytes>>,
    url: Url,
    headers: HeaderMap,
    timeout: Duration,
    redirects: usize,
    settings: Arc<Settings>,
    /// What the files of `tls_config` held when `http` was made.
    tls_files: Vec<Option<Vec<u8>>>,
}

/// What is read again now and then.
#[derive(Debug)]
struct Settings {
    basic: Option<BasicAuth>,
    authorization: Option<Authorization>,
    tls: TlsConfig,
    idle_max: usize,
}

impl Settings {
    fn tls_files(&self) -> Vec<Option<Vec<u8>>> {
        let files = [&self.tls.ca_file, &self.tls.cert_file, &self.tls.key_file];
        files.into_iter().flatten().map(|path| read_file(path).ok()).collect()
    }

    fn connect(
        &self,
        https: bool,
    ) -> Result<HyperClient<HttpsConnector<HttpConnector>, Full<Bytes>>, TlsError> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(Duration::from_secs(30)));
        let builder = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls::client_config(&self.tls, https)?)
            .https_or_http();
        let builder = match tls::server_name(&self.tls)? {
            Some(name) => builder.with_server_name_resolver(hyper_rustls::FixedServerNameResolver::new(name)),
            None => builder,
        };
        Ok(HyperClient::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(self.idle_max)
            .build(builder.enable_http1().wrap_connector(tcp)))
    }
}

impl Client {
    /// Makes a client. Nothing is connected yet.
    pub fn new(config: &RemoteWrite) -> Result<Self, ClientError> {
        let mut headers = HeaderMap::new();
        for (name, value) in &config.headers {
            let parsed = HeaderName::from_bytes(name.as_bytes());
            let value = HeaderValue::from_str(value.reveal());
            let (Ok(parsed), Ok(mut value)) = (parsed, value) else {
                return Err(ClientError::Header(name.clone()));
            };
            if RESERVED.contains(&parsed) {
                return Err(ClientError::Reserved(parsed));
            }
            value.set_sensitive(true);
            headers.insert(parsed, value);
        }
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("snappy"));
        let agent = concat!("narthex/", env!("CARGO_PKG_VERSION"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
        let settings = Settings {
            basic: config.basic_auth.clone(),
            authorization: config.authorization.clone(),
            tls: config.tls_config.clone(),
            idle_max: config.queue_config.max_shards.max(1),
        };
        let mut client = Client {
            tls_files: settings.tls_files(),
            http: settings.connect(config.url.is_https())?,
            url: config.url.clone(),
            headers,
            timeout: config.remote_timeout,
            redirects: if config.follow_redirects { REDIRECTS_MAX } else { 0 },
            settings: Arc::new(settings),
        };
        client.read_credentials()?;
        Ok(client)
    }

    fn read_credentials(&mut self) -> Result<(), AuthError> {
        let (basic, authorization) = (self.settings.basic.as_ref(), self.settings.authorization.as_ref());
        match auth::header(basic, authorization, self.url.authorization())? {
            Some(value) => self.headers.insert(header::AUTHORIZATION, value),
            None => self.headers.remove(header::AUTHORIZATION),
        };
        Ok(())
    }

    /// Reads files with credentials, certificates and keys again; requests from now on use what they hold.
    /// On an error all stays as it was. Says whether anything is different now.
    pub fn refresh(&mut self) -> Result<bool, ClientError> {
        let before = self.headers.get(header::AUTHORIZATION).cloned();
        self.read_credentials()?;
        let mut changed = self.headers.get(header::AUTHORIZATION) != before.as_ref();
        let files = self.settings.tls_files();
        if files != self.tls_files {
            self.http = self.settings.connect(self.url.is_https())?;
            self.tls_files = files;
            changed = true;
        }
        Ok(changed)
    }

    /// Where requests go.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Sends one request and waits for its answer, at most as long as `remote_timeout`. `now` is for a
    /// `Retry-After` with a date.
    pub async fn post(&self, post: Post, now: SystemTime) -> Result<Answer, Failure> {
        let started = Instant::now();
        let mut uri = self.url.uri().clone();
        let mut redirects = 0;
        loop {
            let request = self.request(&uri, &post)?;
            let left = self.timeout.saturating_sub(started.elapsed());
            let response = match tokio::time::timeout(left, self.http.request(request)).await {
                Ok(Ok(response)) => response,
                Ok(Err(error)) => return Err(Failure(explain(&error))),
                Err(_) => return Err(Failure(format!("no answer within {:?}", self.timeout))),
            };
            let (head, body) = response.into_parts();
            let status = head.status.as_u16();
            let location = head.headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
            if let (307 | 308, Some(location)) = (status, location)
                && redirects < self.redirects
                && let Some(target) = redirected(&uri, location)
            {
                redirects += 1;
                uri = target;
                continue;
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
            let left = self.timeout.saturating_sub(started.elapsed());
            answer.words = read_words(body, left).await;
            if let (300..=399, Some(location)) = (status, location) {
                let target = location.split(['?', '#']).next().unwrap_or_default();
                answer.words = format!("redirected to {target}; put the right URL into the configuration");
            }
            return Ok(answer);
        }
    }

    fn request(&self, uri: &http::Uri, post: &Post) -> Result<http::Request<Full<Bytes>>, Failure> {
        let mut request = http::Request::new(Full::new(post.body.clone()));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = uri.clone();
        let headers = request.headers_mut();
        headers.clone_from(&self.headers);
        if uri.authority() != self.url.uri().authority() {
            headers.remove(header::AUTHORIZATION);
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(post.protocol.content_type()));
        headers.insert(REMOTE_WRITE_VERSION, HeaderValue::from_static(post.protocol.version()));
        if post.attempt > 0 {
            headers.insert(RETRY_ATTEMPT, HeaderValue::from(post.attempt));
        }
        Ok(request)
    }
}

/// Where a redirect leads: another path here, or another `http` or `https` URL, but never from `https`
/// to `http`.
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

fn written(headers: &HeaderMap) -> Option<Written> {
    let number = |name: HeaderName| headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
    let all = [number(WRITTEN_SAMPLES), number(WRITTEN_HISTOGRAMS), number(WRITTEN_EXEMPLARS)];
    if all.iter().all(Option::is_none) {
        return None;
    }
    let [samples, histograms, exemplars] = all.map(Option::unwrap_or_default);
    Some(Written { samples, histograms, exemplars })
}

async fn read_words(mut body: hyper::body::Incoming, within: Duration) -> String {
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

/// The innermost reason, which is what a person needs: `connection refused` rather than `client error`.
fn explain(error: &HyperError) -> String {
    let mut reason: &dyn std::error::Error = error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    let inner = reason.to_string();
    if error.is_connect() { format!("can't connect: {inner}") } else { format!("broken off: {inner}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_stay_as_safe_as_they_were() {
        let from: http::Uri = "https://a/x?t=1".parse().unwrap();
        let to = |location| redirected(&from, location).map(|uri| uri.to_string());
        assert_eq!(to("/y"), Some("https://a/y".into()));
        assert_eq!(to("https://b/y"), Some("https://b/y".into()));
        assert_eq!(to("http://a/x"), None);
        assert_eq!(to("//b/y"), None);
        assert_eq!(to("y"), None);
    }

    #[test]
    fn headers_of_the_protocol_are_not_the_users() {
        let url = Url::parse("http://h/").unwrap();
        let mut config = RemoteWrite::to(url);
        config.headers.insert("X-Scope-OrgID".into(), crate::config::Secret::new("1"));
        assert!(Client::new(&config).is_ok());
        config.headers.insert("Content-Type".into(), crate::config::Secret::new("text/plain"));
        assert!(matches!(Client::new(&config), Err(ClientError::Reserved(_))));
        config.headers = [("a b".to_string(), crate::config::Secret::new("1"))].into();
        assert!(matches!(Client::new(&config), Err(ClientError::Header(_))));
    }
}
