//! One request to a target: what it is asked for, and its page.

use crate::config::{PageFormat, Protocol};
use crate::job::{Job, PAGE_BYTES_MAX};
use crate::targets::Target;
use formats::compress::{Decompressor, Encoding};
use formats::text::Format;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::BodyExt;
use http_client::{Client, Deadline, Failure, GetError};
use intake::{Refusal, Share};

const TIMEOUT_HEADER: HeaderName = HeaderName::from_static("x-prometheus-scrape-timeout-seconds");

/// A page as it arrived.
#[derive(Debug)]
pub struct Body {
    pub bytes: Vec<u8>,
    pub is_gzip: bool,
    pub format: PageFormat,
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error(transparent)]
    Failed(Failure),
    #[error("the target answered {0}")]
    Status(String),
    #[error("the page is not complete after {0:?}, the scrape_timeout")]
    Timeout(std::time::Duration),
    #[error("the page broke off: {0}")]
    Broken(String),
    #[error("the page is {limit} bytes or larger, which is the limit ({key})")]
    TooLarge { limit: u64, key: &'static str },
    #[error("the page can't be decompressed: {0}")]
    Compression(String),
    /// There is no memory for it now, which is no fault of the target's.
    #[error("{0}")]
    NoMemory(Refusal),
}

impl From<GetError> for FetchError {
    fn from(error: GetError) -> Self {
        match error {
            GetError::Failed(failure) => FetchError::Failed(failure),
            GetError::Status(status) => FetchError::Status(status),
        }
    }
}

/// The most bytes of a page: from this many on it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyLimit {
    bytes: u64,
    key: &'static str,
}

impl BodyLimit {
    pub fn of(job: &Job) -> Self {
        match job.body_size_limit {
            Some(bytes) if bytes <= PAGE_BYTES_MAX => BodyLimit { bytes, key: "body_size_limit" },
            _ => BodyLimit { bytes: PAGE_BYTES_MAX, key: "the largest page that narthex reads" },
        }
    }

    fn check(self, bytes: usize) -> Result<(), FetchError> {
        match bytes as u64 >= self.bytes {
            true => Err(FetchError::TooLarge { limit: self.bytes, key: self.key }),
            false => Ok(()),
        }
    }
}

/// The `Accept` header of a job.
pub fn accept(job: &Job) -> String {
    let mut weight = Protocol::COUNT + 1;
    let mut accept = String::new();
    for protocol in &job.protocols {
        let escaping = job.escaping.as_str();
        let media = match protocol {
            Protocol::PrometheusProto => {
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
                    .into()
            }
            Protocol::OpenMetricsText1_0_0 => {
                format!("application/openmetrics-text;version=1.0.0;escaping={escaping}")
            }
            Protocol::OpenMetricsText0_0_1 => "application/openmetrics-text;version=0.0.1".into(),
            Protocol::PrometheusText1_0_0 => format!("text/plain;version=1.0.0;escaping={escaping}"),
            Protocol::PrometheusText0_0_4 => "text/plain;version=0.0.4".into(),
        };
        accept.push_str(&format!("{media};q=0.{weight},"));
        weight -= 1;
    }
    accept + &format!("*/*;q=0.{weight}")
}

/// The format that a `Content-Type` names. What names none is read as `fallback` says, or else as text 0.0.4, since
/// most of what has another type is that.
pub fn format_of(content_type: Option<&str>, fallback: Option<PageFormat>) -> PageFormat {
    let media = content_type.and_then(|header| header.split(';').next()).unwrap_or_default().trim();
    match media.to_ascii_lowercase().as_str() {
        "application/openmetrics-text" => PageFormat::Text(Format::OpenMetrics),
        "application/vnd.google.protobuf" => PageFormat::Protobuf,
        "text/plain" => PageFormat::Text(Format::Text),
        _ => fallback.unwrap_or(PageFormat::Text(Format::Text)),
    }
}

/// Asks a target for its page. `memory` accounts for the bytes of the page.
pub async fn fetch(
    client: &Client,
    target: &Target,
    job: &Job,
    accept: &HeaderValue,
    memory: &mut Share,
) -> Result<Body, FetchError> {
    let deadline = Deadline::after(target.timeout);
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, accept.clone());
    let encoding = if job.compression { "gzip" } else { "identity" };
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(encoding));
    if let Ok(seconds) = HeaderValue::try_from(target.timeout.as_secs_f64().to_string()) {
        headers.insert(TIMEOUT_HEADER, seconds);
    }
    let (head, mut incoming) = client.get(headers, deadline).await?.into_parts();
    let header = |name| head.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let format = format_of(header(CONTENT_TYPE), job.fallback);
    let is_gzip = header(CONTENT_ENCODING).is_some_and(|encoding| encoding.eq_ignore_ascii_case("gzip"));
    let limit = BodyLimit::of(job);
    let mut bytes = Vec::new();
    loop {
        let frame = tokio::time::timeout(deadline.left(), incoming.frame()).await;
        match frame.map_err(|_| FetchError::Timeout(target.timeout))? {
            None => return Ok(Body { bytes, is_gzip, format }),
            Some(Ok(frame)) => {
                let data = frame.into_data().unwrap_or_default();
                limit.check(bytes.len() + data.len())?;
                bytes.extend_from_slice(&data);
                memory.grow(bytes.capacity()).await.map_err(FetchError::NoMemory)?;
            }
            Some(Err(error)) => return Err(FetchError::Broken(error.to_string())),
        }
    }
}

/// The page without compression.
pub fn decompress(body: Body, limit: BodyLimit) -> Result<Vec<u8>, FetchError> {
    if !body.is_gzip {
        return Ok(body.bytes);
    }
    let mut page = Vec::new();
    let most = usize::try_from(limit.bytes).unwrap_or(usize::MAX);
    match Decompressor::new().decode(Encoding::Gzip, &body.bytes, most, &mut page) {
        Ok(()) => limit.check(page.len()).map(|()| page),
        Err(error) if error.is_too_large() => {
            Err(FetchError::TooLarge { limit: limit.bytes, key: limit.key })
        }
        Err(error) => Err(FetchError::Compression(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "helper functions of tests")]
    use super::*;
    use crate::job::tests::job;

    #[test]
    fn targets_are_asked_for_formats_as_by_prometheus() {
        assert_eq!(
            accept(&job(serde_json::json!({}))),
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             application/openmetrics-text;version=0.0.1;q=0.5,\
             text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
        );
        let native = job(serde_json::json!({"scrape_native_histograms": true}));
        let first = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,";
        assert!(accept(&native).starts_with(first));
        let legacy = job(serde_json::json!({
            "metric_name_validation_scheme": "legacy", "scrape_protocols": ["PrometheusText1.0.0"],
        }));
        assert_eq!(accept(&legacy), "text/plain;version=1.0.0;escaping=underscores;q=0.6,*/*;q=0.5");
    }

    #[test]
    fn the_media_type_alone_decides_the_format() {
        let text = PageFormat::Text(Format::Text);
        for (header, format) in [
            (Some("text/plain; version=0.0.4; charset=utf-8"), text),
            (Some("TEXT/PLAIN"), text),
            (Some("application/openmetrics-text; version=1.0.0"), PageFormat::Text(Format::OpenMetrics)),
            (Some("application/vnd.google.protobuf; encoding=delimited"), PageFormat::Protobuf),
            (Some("text/html"), text),
            (None, text),
        ] {
            assert_eq!(format_of(header, None), format, "{header:?}");
        }
        assert_eq!(format_of(Some("text/html"), Some(PageFormat::Protobuf)), PageFormat::Protobuf);
        assert_eq!(format_of(Some("text/plain"), Some(PageFormat::Protobuf)), text);
    }
}
