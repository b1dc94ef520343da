//! A small blocking HTTP client for any method, without proxies and redirects. Every status is an answer and
//! not an error.

use std::sync::OnceLock;
use std::time::Duration;

/// Longer than any answer that a test waits for.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The largest answer that is read.
const MAX_ANSWER: u64 = 1 << 30;

#[derive(Debug, Clone)]
pub struct Response {
    pub status: u16,
    /// Header names in lower case, with their values.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// If it is not JSON. The message has the body.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("no JSON ({error}): {}: {}", self.status, self.text()))
    }

    /// The first header with this name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Returns the answer itself.
    ///
    /// # Panics
    /// If the status is not 2xx. The message has the status and the body.
    #[track_caller]
    pub fn expect_success(self) -> Self {
        assert!(self.is_success(), "status {}: {}", self.status, self.text());
        self
    }
}

/// Sends a request. Only a failure of the connection is an error; every status is an answer.
pub fn request(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: Option<&[u8]>,
) -> Result<Response, String> {
    let mut builder = ureq::http::Request::builder().method(method).uri(url);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    let answer = match body {
        Some(body) => agent().run(builder.body(body).map_err(|error| error.to_string())?),
        None => agent().run(builder.body(()).map_err(|error| error.to_string())?),
    };
    let mut answer = answer.map_err(|error| format!("{method} {url}: {error}"))?;
    let headers = answer
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    let status = answer.status().as_u16();
    let body = answer.body_mut().with_config().limit(MAX_ANSWER).read_to_vec();
    Ok(Response { status, headers, body: body.map_err(|error| format!("{method} {url}: {error}"))? })
}

pub fn get(url: &str) -> Result<Response, String> {
    request("GET", url, &[], None)
}

pub fn post(url: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Response, String> {
    request("POST", url, headers, Some(body))
}

/// One agent for all requests, so that connections are reused. It holds no cookies or other state.
fn agent() -> &'static ureq::Agent {
    static AGENT: OnceLock<ureq::Agent> = OnceLock::new();
    AGENT.get_or_init(|| {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(TIMEOUT))
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .allow_non_standard_methods(true)
            .build();
        ureq::Agent::new_with_config(config)
    })
}

/// Percent-encodes all characters of `text` except unreserved ones, for a query string or a path segment.
pub fn encode(text: &str) -> String {
    let mut out = String::new();
    for &byte in text.as_bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte as char);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_special_characters_in_a_query_string() {
        assert_eq!(encode("up{a=\"ü\"}[1h]"), "up%7Ba%3D%22%C3%BC%22%7D%5B1h%5D");
    }

    #[test]
    fn a_closed_port_is_an_error_that_names_the_url() {
        let error = get("http://127.0.0.1:1/x").unwrap_err();
        assert!(error.starts_with("GET http://127.0.0.1:1/x: "), "{error}");
    }
}
