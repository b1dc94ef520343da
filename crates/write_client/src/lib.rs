//! The client of a remote-write endpoint: one request out, an [`Answer`] or a [`Failure`] back.
//!
//! [`answer::verdict`] decides what an answer means, [`refusal`] finds the reason of a refusal, and
//! [`protocol`] decides the version of the next request.

pub mod answer;
pub mod compression;
pub mod protocol;
pub mod refusal;
pub mod verdict;

pub use verdict::Verdict;

use crate::answer::{Answer, parse_retry_after};
use crate::compression::{ASK_TIMEOUT, Compression, QUESTION, SIGN, YES, recode};
use bytes::Bytes;
use formats::compress::Encoding;
use formats::remote_write::Protocol;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, Uri};
use http_body_util::{BodyExt, Limited};
use http_client::{
    ANSWER_BYTES, ClientError, Deadline, Failure, HttpConfig, Request, Url, is_for_tls, read_words,
    status_and_words,
};
use model::{Counter, Kinds};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

const WRITTEN_SAMPLES: HeaderName = HeaderName::from_static("x-prometheus-remote-write-samples-written");
const WRITTEN_HISTOGRAMS: HeaderName =
    HeaderName::from_static("x-prometheus-remote-write-histograms-written");
const WRITTEN_EXEMPLARS: HeaderName = HeaderName::from_static("x-prometheus-remote-write-exemplars-written");
const REMOTE_WRITE_VERSION: HeaderName = HeaderName::from_static("x-prometheus-remote-write-version");
const RETRY_ATTEMPT: HeaderName = HeaderName::from_static("retry-attempt");
const PROCESS: HeaderName = HeaderName::from_static(model::process::HEADER);

/// Sent with zstd. It names the dialect.
const DIALECT: HeaderName = HeaderName::from_static("x-victoriametrics-remote-write-version");

#[derive(Debug, Clone)]
pub struct Post {
    /// The protocol version of the body.
    pub protocol: Protocol,
    /// The body. It is sent in zstd if that was agreed on, otherwise in snappy's block format.
    pub body: Bytes,
    /// The compression of `body`: zstd or snappy.
    pub encoding: Encoding,
    /// Number of failed tries before this one.
    pub attempt: u32,
}

impl Post {
    /// Returns the request with its body in this encoding, or unchanged if that is impossible.
    fn recode(mut self, encoding: Encoding) -> Post {
        if let Some(body) = recode(&self.body, self.encoding, encoding) {
            (self.body, self.encoding) = (body, encoding);
        }
        self
    }
}

/// The endpoint, and how to reach it.
#[derive(Debug, Clone)]
pub struct Settings {
    pub url: Url,
    pub http: HttpConfig,
    /// Most idle connections that are kept.
    pub connections: usize,
    /// The longest time of an answer.
    pub timeout: Duration,
}

/// The client of one endpoint. Clones share their connections.
#[derive(Debug, Clone)]
pub struct Client {
    http: http_client::Client,
    timeout: Duration,
    compression: Arc<Compression>,
}

impl Client {
    /// Checks the settings and reads their files. Connects with the first request.
    pub fn new(settings: impl Into<Settings>) -> Result<Self, ClientError> {
        let Settings { url, http, connections, timeout } = settings.into();
        let http = http_client::Client::new(url, http, connections)?;
        Ok(Client { http, timeout, compression: Arc::default() })
    }

    /// Reads files with credentials, certificates and keys again. On an error nothing changes. Returns true if
    /// the credentials or the client certificate changed.
    pub fn refresh(&mut self) -> Result<bool, ClientError> {
        self.http.refresh()
    }

    pub fn url(&self) -> &Url {
        self.http.url()
    }

    /// Looks for the cause of a failed request: if the URL is `http` and the port speaks TLS, the failure says so.
    /// Opens another connection, so it is for `narthex push`, not for each retry of a destination.
    pub async fn ask_for_tls(&self, failure: Failure) -> Failure {
        self.http.ask_for_tls(failure).await
    }

    /// Sends one request and waits at most `remote_timeout` for its answer. `now` is the time for a
    /// `Retry-After` with a date. Adds the bytes of the body to `sent` each time they are sent, also after a
    /// redirect.
    pub async fn post(&self, post: Post, now: SystemTime, sent: &Counter) -> Result<Answer, Failure> {
        let deadline = Deadline::after(self.timeout);
        let mut outgoing = post.clone().recode(self.compression.encoding(post.protocol));
        let mut zstd_refused = false;
        let reply = loop {
            let bytes = outgoing.body.len() as u64;
            let reply = self.http.send(self.request(&outgoing), deadline, || sent.add(bytes)).await?;
            let status = reply.response.status().as_u16();
            // If the endpoint accepts the same request in snappy, it had refused the zstd.
            if matches!(status, 400 | 415) && outgoing.encoding == Encoding::Zstd && !zstd_refused {
                outgoing = post.clone().recode(Encoding::Snappy);
                zstd_refused = true;
                continue;
            }
            if zstd_refused && matches!(status, 200..=299) {
                self.compression.refused(Instant::now());
            }
            break reply;
        };
        let (head, body) = reply.response.into_parts();
        let status = head.status.as_u16();
        let text = |name| head.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let mut answer = Answer {
            status,
            written: written(&head.headers),
            retry_after: text(header::RETRY_AFTER).and_then(|value| parse_retry_after(value, now)),
            // The status is known. A body that breaks off or takes too long does not change it.
            words: read_words(body, deadline.left()).await,
        };
        if let (300..=399, Some(location)) = (status, text(header::LOCATION)) {
            let target = location.split(['?', '#']).next().unwrap_or_default();
            answer.words = format!("redirected to {target}; put the right URL into the configuration");
        }
        if matches!(status, 404 | 405) && self.url().has_no_path() {
            add_path_hint(status, &mut answer.words);
        }
        if is_for_tls(&reply.uri, status, &answer.words) {
            return Err(Failure::speaks_tls(&answer.words));
        }
        let is_delivered = head.status.is_success() && post.protocol == Protocol::V1;
        if is_delivered && head.headers.contains_key(SIGN) && self.compression.is_to_ask(Instant::now()) {
            self.ask_for_zstd(&reply.uri, deadline.left().min(ASK_TIMEOUT)).await;
        }
        Ok(answer)
    }

    /// Asks VictoriaMetrics whether it accepts zstd. Any error counts as no.
    async fn ask_for_zstd(&self, uri: &Uri, within: Duration) {
        if self.http.signs() {
            return;
        }
        let query = uri.query().map(|query| format!("{query}&")).unwrap_or_default();
        let mut parts = uri.clone().into_parts();
        parts.path_and_query = format!("{}?{query}{QUESTION}", uri.path()).parse().ok();
        let Ok(uri) = Uri::from_parts(parts) else { return };
        let mut signed_headers = HeaderMap::new();
        signed_headers.insert(REMOTE_WRITE_VERSION, HeaderValue::from_static(Protocol::V1.version()));
        let (method, headers, body) = (Method::GET, HeaderMap::new(), Bytes::new());
        let question = Request { method, uri, signed_headers, headers, body };
        let asking = async {
            let reply = self.http.send(question, Deadline::after(within), || {}).await.ok()?;
            if reply.response.status() != StatusCode::OK {
                return None;
            }
            let body = Limited::new(reply.response.into_body(), ANSWER_BYTES).collect().await.ok()?;
            (body.to_bytes().trim_ascii() == YES).then_some(())
        };
        if let Ok(Some(())) = tokio::time::timeout(within, asking).await {
            tracing::info!(url = %self.url(), "the destination accepts zstd");
            self.compression.offered();
        }
    }

    fn request(&self, post: &Post) -> Request {
        let mut signed_headers = HeaderMap::new();
        signed_headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(post.protocol.content_type()));
        signed_headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(post.encoding.as_str()));
        signed_headers.insert(REMOTE_WRITE_VERSION, HeaderValue::from_static(post.protocol.version()));
        let mut headers = HeaderMap::new();
        headers.insert(PROCESS, HeaderValue::from(model::process::id()));
        if post.encoding == Encoding::Zstd {
            headers.insert(DIALECT, HeaderValue::from_static("1"));
        }
        if post.attempt > 0 {
            headers.insert(RETRY_ATTEMPT, HeaderValue::from(post.attempt));
        }
        let (method, uri, body) = (Method::POST, self.url().uri().clone(), post.body.clone());
        Request { method, uri, signed_headers, headers, body }
    }
}

/// Adds a hint that the URL has no path.
fn add_path_hint(status: u16, words: &mut String) {
    // Some servers repeat the status in the body.
    if status_and_words(status, words) == status_and_words(status, "") {
        words.clear();
    }
    if !words.is_empty() {
        words.push_str("; ");
    }
    words.push_str("the URL has no path: receivers of remote write usually listen at ");
    words.push_str(http_client::url::DEFAULT_PATH);
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

#[cfg(test)]
mod tests;
