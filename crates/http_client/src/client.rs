//! A client for one server: authentication, redirects, and files that are read again while narthex runs.

use crate::auth::AuthError;
use crate::auth::error::ProofError;
use crate::auth::proof::Proof;
use crate::connect::{CONNECTIONS_AGE, Connecting, Lookup};
use crate::failure::{Failure, FailureKind};
use crate::fetch::Fetcher;
use crate::proxy::{Proxies, ProxyError};
use crate::tls::TlsError;
use crate::words::{read_words, status_and_words};
use crate::{HttpConfig, USER_AGENT, Url};
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Response, StatusCode, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::capture_connection;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub const REDIRECTS_MAX: usize = 5;

/// Advice for a request without an answer in time.
const NO_ANSWER: &str = "check the host and port in the URL and firewalls on the way, or raise remote_timeout if the receiver is slow";

/// Why a client can't be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error(transparent)]
    Headers(AuthError),
    #[error(transparent)]
    Proof(#[from] ProofError),
    #[error("tls_config: {0}")]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Proxy(#[from] ProxyError),
}

/// A request to the client's server.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: Method,
    pub uri: Uri,
    /// Headers that a signature covers.
    pub signed_headers: HeaderMap,
    /// Headers that a signature does not cover, so that a proxy may change them.
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// The time limit of an exchange.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    started: Instant,
    timeout: Duration,
}

impl Deadline {
    pub fn after(timeout: Duration) -> Self {
        Deadline { started: Instant::now(), timeout }
    }

    pub fn left(&self) -> Duration {
        self.timeout.saturating_sub(self.started.elapsed())
    }
}

/// An answer, and the URL that gave it.
#[derive(Debug)]
pub struct Reply {
    /// Differs from the request's URL after a redirect.
    pub uri: Uri,
    pub response: Response<Incoming>,
}

/// Why [`Client::get`] has no response.
#[derive(Debug, thiserror::Error)]
pub enum GetError {
    #[error(transparent)]
    Failed(#[from] Failure),
    /// The status is not 200: the status and the server's words.
    #[error("{0}")]
    Status(String),
}

/// A client for one server. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Client {
    fetcher: Fetcher,
    connected: Instant,
    headers: HeaderMap,
    proof: Proof,
    settings: Arc<Settings>,
    /// The contents of the files when `fetcher` and `proof` were made.
    files: Vec<Option<Vec<u8>>>,
    /// The server refused a signature, so the keys may have been replaced.
    keys_refused: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Settings {
    url: Url,
    config: Arc<HttpConfig>,
}

impl Client {
    /// Checks the settings and reads their files. Connects with the first request. Keeps at most `idle_max` idle
    /// connections.
    pub fn new(url: Url, config: HttpConfig, idle_max: usize) -> Result<Self, ClientError> {
        let lookup = Lookup::new(config.round_robin_dns);
        Self::with_lookup(url, config, idle_max, lookup)
    }

    pub(crate) fn with_lookup(
        url: Url,
        config: HttpConfig,
        idle_max: usize,
        lookup: Lookup,
    ) -> Result<Self, ClientError> {
        let proxies = Arc::new(Proxies::new(&config.proxy, |name| std::env::var(name).ok())?);
        let (tls, http2) = (config.tls.clone(), config.http2);
        let connecting = Connecting { tls, proxies, http2, idle_max: idle_max.max(1), lookup };
        Ok(Client {
            files: config.files(),
            headers: config.read_headers().map_err(ClientError::Headers)?,
            proof: Proof::new(&config, &url)?,
            fetcher: Fetcher::with(connecting.into(), url.uri())?,
            connected: Instant::now(),
            settings: Arc::new(Settings { url, config: Arc::new(config) }),
            keys_refused: Arc::default(),
        })
    }

    pub fn url(&self) -> &Url {
        &self.settings.url
    }

    /// The same client for another server with the same scheme: it shares settings, credentials and connections. The
    /// URL must not have credentials of its own.
    pub fn at(&self, url: Url) -> Client {
        let settings = Settings { url, config: self.settings.config.clone() };
        Client { settings: Arc::new(settings), ..self.clone() }
    }

    /// Returns true if requests are signed.
    pub fn signs(&self) -> bool {
        matches!(self.proof, Proof::Signature(_))
    }

    /// Reads the files with credentials, certificates and keys again, and from time to time makes new connections,
    /// so that the host's name is looked up again. On an error nothing changes. Returns true if the credentials or
    /// the client certificate changed.
    pub fn refresh(&mut self) -> Result<bool, ClientError> {
        self.refresh_at(Instant::now())
    }

    pub(crate) fn refresh_at(&mut self, now: Instant) -> Result<bool, ClientError> {
        let Settings { url, config } = &*self.settings;
        let files = config.files();
        let headers = config.read_headers().map_err(ClientError::Headers)?;
        let mut changed = files != self.files;
        let old = now.duration_since(self.connected) >= CONNECTIONS_AGE;
        let fetcher = (changed || old).then(|| self.fetcher.reconnected(url.uri())).transpose()?;
        match &self.proof {
            Proof::Header(before) => {
                let proof = Proof::new(config, url)?;
                changed |= !matches!(&proof, Proof::Header(value) if value == before);
                self.proof = proof;
            }
            _ if changed || self.keys_refused.load(Ordering::Relaxed) => {
                self.proof = Proof::new(config, url)?;
            }
            _ => {}
        }
        // Nothing fails from here on.
        changed |= headers != self.headers;
        self.headers = headers;
        self.files = files;
        self.keys_refused.store(false, Ordering::Relaxed);
        if let Some(fetcher) = fetcher {
            self.fetcher = fetcher;
            self.connected = now;
        }
        Ok(changed)
    }

    /// The same as [`Fetcher::ask_for_tls`], for a request to the client's server.
    pub async fn ask_for_tls(&self, failure: Failure) -> Failure {
        self.fetcher.ask_for_tls(self.url().uri(), failure).await
    }

    /// Gets what is at the client's URL. The body may follow until the deadline.
    pub async fn get(&self, headers: HeaderMap, deadline: Deadline) -> Result<Response<Incoming>, GetError> {
        let request = Request {
            method: Method::GET,
            uri: self.url().uri().clone(),
            signed_headers: HeaderMap::new(),
            headers,
            body: Bytes::new(),
        };
        let response = self.send(request, deadline, || {}).await?.response;
        let status = response.status();
        if status != StatusCode::OK {
            let words = read_words(response.into_body(), deadline.left()).await;
            return Err(GetError::Status(status_and_words(status.as_u16(), &words)));
        }
        Ok(response)
    }

    /// Sends a request and waits for the head of the answer. Follows redirects that keep method and body: 307 and 308,
    /// and for GET all others.
    /// Gets a new token once if the server refuses the present one. Calls `sent` each time the request was
    /// sent.
    pub async fn send(
        &self,
        mut request: Request,
        deadline: Deadline,
        mut sent: impl FnMut(),
    ) -> Result<Reply, Failure> {
        let mut redirects = if self.settings.config.follow_redirects { REDIRECTS_MAX } else { 0 };
        let mut token_renewed = false;
        loop {
            let mut outgoing = self.authorized(&request, deadline.left()).await?;
            let connection = capture_connection(&mut outgoing);
            // Only a request that had a connection can have been sent.
            let is_sent = || connection.connection_metadata().is_some();
            let shown = outgoing.headers().get(header::AUTHORIZATION).cloned();
            let response = tokio::time::timeout(deadline.left(), self.fetcher.send(outgoing)).await;
            if is_sent() {
                sent();
            }
            let response = match response {
                Ok(response) => response.map_err(|failure| failure.sent(is_sent()))?,
                Err(_) => {
                    let words = format!("no answer within {:?}", deadline.timeout);
                    return Err(Failure::unreachable(words).advise(Some(NO_ANSWER)).sent(is_sent()));
                }
            };
            let status = response.status().as_u16();
            let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
            match (status, location) {
                (301 | 302 | 303 | 307 | 308, Some(location))
                    if redirects > 0 && (status > 303 || request.method == Method::GET) =>
                {
                    if let Some(target) = redirected(&request.uri, location) {
                        redirects -= 1;
                        request.uri = target;
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
                _ => {}
            }
            return Ok(Reply { uri: request.uri, response });
        }
    }

    /// Returns the request with our credentials and the user's headers. After a redirect to another host it
    /// gets neither, because they are only for the configured server.
    async fn authorized(
        &self,
        request: &Request,
        within: Duration,
    ) -> Result<http::Request<Full<Bytes>>, Failure> {
        let uri = &request.uri;
        let is_configured_server = uri.authority() == self.url().uri().authority();
        let mut headers = request.signed_headers.clone();
        if is_configured_server {
            let proof = self.proof.headers(request, within).await;
            let advice = self.proof.advice();
            let failed = |words| Failure { kind: FailureKind::Credentials, words, advice, is_sent: false };
            headers.extend(proof.map_err(failed)?);
        }
        headers.extend(request.headers.clone());
        if is_configured_server {
            headers.extend(self.headers.clone());
        }
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        let mut outgoing = http::Request::new(Full::new(request.body.clone()));
        *outgoing.method_mut() = request.method.clone();
        *outgoing.uri_mut() = uri.clone();
        *outgoing.headers_mut() = headers;
        Ok(outgoing)
    }
}

/// Returns the target of a redirect: another path on the same server, or a URL with the same scheme. `None`
/// for a change between `https` and `http`.
fn redirected(from: &Uri, location: &str) -> Option<Uri> {
    if location.starts_with('/') && !location.starts_with("//") {
        let mut parts = from.clone().into_parts();
        parts.path_and_query = Some(location.parse().ok()?);
        return Uri::from_parts(parts).ok();
    }
    let uri: Uri = location.parse().ok()?;
    let allowed = match uri.scheme_str() {
        Some("https") => from.scheme_str() == Some("https"),
        Some("http") => from.scheme_str() == Some("http"),
        _ => false,
    };
    (allowed && uri.authority().is_some()).then_some(uri)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helper functions of tests")]
    use super::*;
    use crate::Secret;
    use std::net::SocketAddr;
    use std::sync::Mutex;
    use support::FakeReceiver;
    use support::receiver::{Answer, Received};

    #[test]
    fn redirects_never_change_the_scheme() {
        let from: Uri = "https://a/x?t=1".parse().unwrap();
        let to = |location| redirected(&from, location).map(|uri| uri.to_string());
        assert_eq!(to("/y"), Some("https://a/y".into()));
        assert_eq!(to("https://b/y"), Some("https://b/y".into()));
        assert_eq!(to("http://a/x"), None);
        assert_eq!(to("//b/y"), None);
        assert_eq!(to("y"), None);
    }

    fn config() -> HttpConfig {
        HttpConfig { follow_redirects: true, ..HttpConfig::default() }
    }

    async fn send(client: &Client) -> u16 {
        let request = Request {
            method: Method::POST,
            uri: client.url().uri().clone(),
            signed_headers: HeaderMap::new(),
            headers: HeaderMap::new(),
            body: Bytes::from_static(b"body"),
        };
        let reply = client.send(request, Deadline::after(Duration::from_secs(30)), || {}).await.unwrap();
        reply.response.status().as_u16()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn redirect_to_another_host_carries_no_credentials() {
        let (here, there) = (FakeReceiver::start(), FakeReceiver::start());
        let location = format!("{}/there", there.url());
        here.answer(move |request| match request.path.as_str() {
            "/write" => Answer::status(307).header("Location", "/again"),
            _ => Answer::status(307).header("Location", &location),
        });
        let url = here.url().replace("http://", "http://narthex:s3cret@");
        let mut config = config();
        config.headers.insert("X-Api-Key".into(), Secret::new("s3cret"));
        let client = Client::new(Url::parse(&format!("{url}/write")).unwrap(), config, 1).unwrap();
        assert_eq!(send(&client).await, 204);
        let names = |request: &Received| {
            let mut names: Vec<String> = request.headers.iter().map(|(name, _)| name.clone()).collect();
            names.sort();
            names
        };
        let (first, redirected) = (here.requests(), there.requests());
        for request in first.iter() {
            assert_eq!(request.header("x-api-key"), Some("s3cret"));
            assert!(request.header("authorization").is_some());
        }
        assert_eq!((first.len(), redirected.len()), (2, 1));
        let secrets = ["authorization", "x-api-key"];
        let rest: Vec<String> =
            names(&first[0]).into_iter().filter(|name| !secrets.contains(&name.as_str())).collect();
        assert_eq!(names(&redirected[0]), rest);
        assert_eq!(redirected[0].header("user-agent"), Some(USER_AGENT));
    }

    #[tokio::test]
    async fn moved_host_is_found_although_its_old_connections_are_busy() {
        let address = |receiver: &FakeReceiver| -> SocketAddr { receiver.url()[7..].parse().unwrap() };
        let (old, new) = (FakeReceiver::start(), FakeReceiver::start());
        let table = Arc::new(Mutex::new(vec![address(&old)]));
        let mut lookup = Lookup::new(false);
        lookup.table = Some(table.clone());
        let url = Url::parse("http://receiver.example/").unwrap();
        let mut client = Client::with_lookup(url, config(), 1, lookup).unwrap();
        assert_eq!(send(&client).await, 204);
        // The connection is free again when its own task, on this thread, has seen the end of the answer.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        *table.lock().unwrap() = vec![address(&new)];
        let soon = Instant::now() + CONNECTIONS_AGE / 2;
        assert!(!client.refresh_at(soon).unwrap());
        assert_eq!(send(&client).await, 204);
        assert_eq!((old.requests().len(), new.requests().len()), (2, 0), "the connection is kept");
        assert!(!client.refresh_at(soon + CONNECTIONS_AGE).unwrap(), "the credentials are the same");
        assert_eq!(send(&client).await, 204);
        assert_eq!((old.requests().len(), new.requests().len()), (2, 1));
    }
}
