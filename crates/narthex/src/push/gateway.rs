//! A push to a gateway: POST to `/metrics/job/JOB{/LABEL/VALUE}`. By POST, so that families that a push
//! does not name stay as they were.

use super::credentials::Credentials;
use super::entry::Entry;
use super::entry::{NotSent, REQUEST_TIMEOUT};
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use remote::client::tls::{TlsError, client_config};
use remote::config::url::Url;

/// Most bytes of an answer's body that are read.
const ANSWER_BYTES: usize = 4096;

/// A gateway.
#[derive(Debug)]
pub(crate) struct Gateway {
    url: Url,
    credentials: Credentials,
    http: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Gateway {
    /// Nothing is connected yet.
    pub(crate) fn new(url: Url, credentials: Credentials) -> Result<Self, TlsError> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(client_config(&credentials.tls, url.is_https())?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        // A connection that is kept from the start of a job to its end may be dead by then without
        // anybody knowing, so each push has its own.
        let http = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Ok(Gateway { url, credentials, http })
    }

    /// Its URL.
    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    /// Sends an entry.
    pub(crate) async fn send(&self, entry: &Entry) -> Result<(), NotSent> {
        let mut request = self.request(entry).ok_or_else(|| {
            NotSent::Never("its labels make a URL that is longer than HTTP allows".to_string())
        })?;
        let authorization = self.credentials.header(self.url.authorization());
        let authorization = authorization.map_err(|error| NotSent::Later(error.to_string()))?;
        request.headers_mut().extend(authorization.map(|value| (header::AUTHORIZATION, value)));
        let exchange = async {
            let response = self.http.request(request).await.map_err(|error| reason(&error))?;
            let (head, body) = response.into_parts();
            // The status has been said; a body that breaks off changes nothing.
            let words = match Limited::new(body, ANSWER_BYTES).collect().await {
                Ok(body) => remote::client::answer::words(&body.to_bytes()),
                Err(_) => String::new(),
            };
            Ok((head.status, words))
        };
        match tokio::time::timeout(REQUEST_TIMEOUT, exchange).await {
            Ok(Ok((status, words))) => verdict(status, words),
            Ok(Err(reason)) => Err(NotSent::Later(reason)),
            Err(_) => Err(NotSent::Later(format!("no answer within {REQUEST_TIMEOUT:?}"))),
        }
    }

    fn request(&self, entry: &Entry) -> Option<Request<Full<Bytes>>> {
        let labels = entry.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let path = receive::path::to_path(model::Labels::from_pairs(labels).as_ref());
        let before = self.url.uri().path().trim_end_matches('/');
        let query = self.url.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
        let mut parts = self.url.uri().clone().into_parts();
        parts.path_and_query = Some(format!("{before}{path}{query}").parse().ok()?);
        let mut request = Request::new(Full::new(Bytes::from(entry.body.clone())));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::from_parts(parts).ok()?;
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(formats::text::CONTENT_TYPE));
        let agent = concat!("narthex/", env!("CARGO_PKG_VERSION"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
        if let Some(ttl) = entry.ttl.as_deref().and_then(|ttl| HeaderValue::from_str(ttl).ok()) {
            headers.insert(receive::pushgateway::TTL_HEADER, ttl);
        }
        Some(request)
    }
}

/// The innermost reason, which is what a person needs.
fn reason(error: &hyper_util::client::legacy::Error) -> String {
    let mut reason: &dyn std::error::Error = error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    reason.to_string()
}

/// What a status means for an entry. Credentials, a wrong path and a moved gateway can be mended while it
/// waits; what a gateway finds wrong with the push itself can't.
fn verdict(status: StatusCode, words: String) -> Result<(), NotSent> {
    let said = if words.is_empty() { status.to_string() } else { format!("{status}: {words}") };
    match status.as_u16() {
        200..=299 => Ok(()),
        300..=399 | 401 | 403..=405 | 407 | 408 | 429 | 500..=599 => Err(NotSent::Later(said)),
        _ => Err(NotSent::Never(said)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(labels: &[(&str, &str)]) -> Entry {
        let labels = labels.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        Entry { at: 0, labels, ttl: Some("7d".into()), body: "a 1\n".into() }
    }

    #[test]
    fn the_group_is_in_the_path_below_the_gateways_own() {
        let gateway =
            Gateway::new(Url::parse("http://me:pw@h:1/p/?x=1").unwrap(), Credentials::default()).unwrap();
        let request = gateway.request(&entry(&[("job", "a/b"), ("instance", "h")])).unwrap();
        assert_eq!(request.uri(), "http://h:1/p/metrics/job@base64/YS9i/instance/h?x=1");
        assert_eq!(request.headers()["narthex-ttl"], "7d");
        let authorization = gateway.credentials.header(gateway.url.authorization());
        assert_eq!(authorization.unwrap().unwrap(), "Basic bWU6cHc=");
        let bare = Gateway::new(Url::parse("http://h:1").unwrap(), Credentials::default()).unwrap();
        assert_eq!(bare.request(&entry(&[("job", "j")])).unwrap().uri(), "http://h:1/metrics/job/j");
        let long = "x".repeat(100_000);
        assert!(bare.request(&entry(&[("job", &long)])).is_none());
    }

    #[test]
    fn only_what_is_wrong_with_the_push_itself_is_final() {
        for (status, kept) in
            [(400, false), (413, false), (422, false), (401, true), (404, true), (503, true)]
        {
            let status = StatusCode::from_u16(status).unwrap();
            let error = verdict(status, "why".into()).unwrap_err();
            assert_eq!(matches!(error, NotSent::Later(_)), kept, "{status}");
        }
        assert_eq!(verdict(StatusCode::ACCEPTED, String::new()), Ok(()));
    }
}
