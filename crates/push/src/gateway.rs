//! Pushes to a gateway: POST to `/metrics/job/JOB{/LABEL/VALUE}`. After a POST, families that the push does
//! not name keep their values. Entries with `add` go to `/add/metrics/job/...`, where a Pushgateway answers
//! 404 instead of overwriting a total.

use crate::credentials::{Credentials, with_flag};
use crate::entry::Entry;
use crate::entry::{NotSent, REQUEST_TIMEOUT};
use crate::straight::not_answered;
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::Full;
use http_client::Url;
use http_client::proxy::ProxyConfig;
use http_client::status_and_words;
use http_client::{Failure, FetchError, Fetcher};

#[derive(Debug)]
pub(crate) struct Gateway {
    url: Url,
    credentials: Credentials,
    fetcher: Fetcher,
}

impl Gateway {
    /// Makes a gateway without connecting to it.
    pub(crate) fn new(url: Url, credentials: Credentials) -> Result<Self, FetchError> {
        let proxy = ProxyConfig { url: credentials.proxy.clone(), ..ProxyConfig::default() };
        // Each push opens a new connection: one that is kept from the start of a job to its end may be broken
        // by then.
        let fetcher = Fetcher::new(url.uri(), &credentials.tls, &proxy, 0)?;
        Ok(Gateway { url, credentials, fetcher })
    }

    pub(crate) async fn send(&self, entry: &Entry) -> Result<(), NotSent> {
        let mut request = self.request(entry).ok_or_else(|| {
            NotSent::Never("its labels make a URL that is longer than HTTP allows".to_string())
        })?;
        let authorization = self.credentials.header(self.url.authorization());
        let authorization = authorization.map_err(|error| NotSent::Denied(with_flag(&error.to_string())))?;
        request.headers_mut().extend(authorization.map(|value| (header::AUTHORIZATION, value)));
        let uri = request.uri().clone();
        let exchange = async {
            let response = match self.fetcher.send(request).await {
                Ok(response) => response,
                Err(failure) => return Err(not_answered(self.fetcher.ask_for_tls(&uri, failure).await)),
            };
            let (head, body) = response.into_parts();
            // Only the status matters; it does not matter if the body can't be read completely.
            Ok((head.status, http_client::read_words(body, REQUEST_TIMEOUT).await))
        };
        match tokio::time::timeout(REQUEST_TIMEOUT, exchange).await {
            Ok(Ok((status, words))) if http_client::is_for_tls(&uri, status.as_u16(), &words) => {
                Err(not_answered(Failure::speaks_tls(&words)))
            }
            Ok(Ok((status, words))) => verdict(status, &words),
            Ok(Err(not_sent)) => Err(not_sent),
            Err(_) => Err(NotSent::Later(format!("no answer within {REQUEST_TIMEOUT:?}"))),
        }
    }

    fn request(&self, entry: &Entry) -> Option<Request<Full<Bytes>>> {
        let labels = entry.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let path = groups::path::to_path(model::Labels::from_pairs(labels).as_ref());
        let before = self.url.uri().path().trim_end_matches('/');
        let query = self.url.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
        let mut parts = self.url.uri().clone().into_parts();
        let add = if entry.add.is_some() { groups::add::PATH_PREFIX } else { "" };
        parts.path_and_query = Some(format!("{before}{add}{path}{query}").parse().ok()?);
        let mut body = entry.body.clone();
        // A Pushgateway refuses a text whose last line has no line end.
        if !body.ends_with('\n') {
            body.push('\n');
        }
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::from_parts(parts).ok()?;
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(formats::text::CONTENT_TYPE));
        let agent = concat!("narthex/", env!("CARGO_PKG_VERSION"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
        if let Some(ttl) = entry.ttl.as_deref().and_then(|ttl| HeaderValue::from_str(ttl).ok()) {
            headers.insert(groups::path::TTL_HEADER, ttl);
        }
        if let Some(add) = &entry.add {
            headers.insert(groups::add::ADD_HEADER, HeaderValue::from_str(&add.gauges).ok()?);
            headers.insert(groups::keys::KEY_HEADER, HeaderValue::from_str(&add.key).ok()?);
        }
        Some(request)
    }
}

/// The meaning of a status for an entry. Wrong credentials, a wrong path and a moved gateway can be fixed
/// while the entry waits. A push that the gateway refuses can't.
fn verdict(status: StatusCode, words: &str) -> Result<(), NotSent> {
    let said = status_and_words(status.as_u16(), words);
    match status.as_u16() {
        200..=299 => Ok(()),
        300..=399 | 401 | 403..=405 | 407 => Err(NotSent::Denied(said)),
        408 | 429 | 500..=599 => Err(NotSent::Failed(said)),
        _ => Err(NotSent::Never(said)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(labels: &[(&str, &str)]) -> Entry {
        let labels = labels.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        Entry { at: 0, labels, ttl: Some("7d".into()), add: None, body: "a 1\n".into() }
    }

    #[test]
    fn the_group_path_follows_the_path_of_the_gateway() {
        let gateway =
            Gateway::new(Url::parse("http://me:pw@h:1/p/?x=1").unwrap(), Credentials::default()).unwrap();
        let request = gateway.request(&entry(&[("job", "a/b"), ("instance", "h")])).unwrap();
        assert_eq!(request.uri(), "http://h:1/p/metrics/job@base64/YS9i/instance/h?x=1");
        assert_eq!(request.headers()["narthex-ttl"], "7d");
        let authorization = gateway.credentials.header(gateway.url.authorization());
        assert_eq!(authorization.unwrap().unwrap(), "Basic bWU6cHc=");
        let bare = Gateway::new(Url::parse("http://h:1").unwrap(), Credentials::default()).unwrap();
        assert_eq!(bare.request(&entry(&[("job", "j")])).unwrap().uri(), "http://h:1/metrics/job/j");
        let add = Some(crate::entry::Add { gauges: "max".into(), key: "k".into() });
        let added = gateway.request(&Entry { add, ..entry(&[("job", "j")]) }).unwrap();
        assert_eq!(added.uri(), "http://h:1/p/add/metrics/job/j?x=1");
        assert_eq!(
            (&added.headers()["narthex-add"], &added.headers()["idempotency-key"]),
            (&"max".parse().unwrap(), &"k".parse().unwrap())
        );
        let cut = Entry { body: "a 1".into(), ..entry(&[("job", "j")]) };
        let body = futures_util::FutureExt::now_or_never(http_body_util::BodyExt::collect(
            bare.request(&cut).unwrap().into_body(),
        ));
        assert_eq!(body.unwrap().unwrap().to_bytes(), "a 1\n", "the last line ends");
        let long = "x".repeat(100_000);
        assert!(bare.request(&entry(&[("job", &long)])).is_none());
    }

    #[test]
    fn each_status_says_whether_waiting_helps() {
        for (status, expected) in [
            (400, NotSent::Never("400 Bad Request: why".into())),
            (413, NotSent::Never("413 Payload Too Large: why".into())),
            (401, NotSent::Denied("401 Unauthorized: why".into())),
            (403, NotSent::Denied("403 Forbidden: why".into())),
            (404, NotSent::Denied("404 Not Found: why".into())),
            (429, NotSent::Failed("429 Too Many Requests: why".into())),
            (503, NotSent::Failed("503 Service Unavailable: why".into())),
        ] {
            assert_eq!(verdict(StatusCode::from_u16(status).unwrap(), "why"), Err(expected), "{status}");
        }
        let repeated = verdict(StatusCode::UNAUTHORIZED, "Unauthorized");
        assert_eq!(repeated, Err(NotSent::Denied("401 Unauthorized".into())));
        assert_eq!(verdict(StatusCode::ACCEPTED, ""), Ok(()));
    }
}
