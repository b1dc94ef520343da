//! `oauth2`: a token from a token server, for what the client itself may do (RFC 6749, section 4.4).
//!
//! A token is asked for when the first request needs one, kept until shortly before it expires, and asked
//! for anew where the destination answers 401. Client and secret go in an `Authorization` header, which
//! every server has to take; one that refuses it gets them in the body, and that is remembered.

use super::{AuthError, sensitive, text};
use crate::client::fetch::Fetcher;
use crate::client::proxy::ProxyConfig;
use crate::client::tls::TlsConfig;
use crate::config::secret::Secret;
use crate::config::url::Url;
use base64::Engine as _;
use bytes::Bytes;
use form_urlencoded::{Serializer, byte_serialize};
use http::{HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// Most bytes of a token server's answer.
pub const TOKEN_BYTES: usize = 64 << 10;
/// A token is renewed this long before it expires, or when half its life is over, if that is later.
pub const RENEW_BEFORE: Duration = Duration::from_secs(60);
/// After a failure the token server is left alone this long, however many requests wait for a token.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

/// `oauth2`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OAuth2 {
    /// Who asks.
    pub client_id: String,
    /// The client's secret.
    #[serde(default)]
    pub client_secret: Option<Secret>,
    /// A file with it.
    #[serde(default)]
    pub client_secret_file: Option<PathBuf>,
    /// What the token is to be good for.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Where tokens are given out.
    pub token_url: Url,
    /// Further parameters of the request for a token.
    #[serde(default)]
    pub endpoint_params: BTreeMap<String, String>,
    /// Whom to trust there, and which certificate to show. Not the destination's.
    #[serde(default)]
    pub tls_config: TlsConfig,
    /// A proxy to the token server. Not the destination's.
    #[serde(default, deserialize_with = "crate::config::url::deserialize_proxy")]
    pub proxy_url: Option<Url>,
    /// Hosts to reach without it.
    #[serde(default)]
    pub no_proxy: Option<String>,
    /// Takes both from the environment.
    #[serde(default)]
    pub proxy_from_environment: bool,
    /// Headers for the proxy.
    #[serde(default)]
    pub proxy_connect_header: BTreeMap<String, Vec<Secret>>,
}

impl OAuth2 {
    /// The client's secret as it is now.
    fn secret(&self) -> Result<String, AuthError> {
        let names = ("oauth2.client_secret", "oauth2.client_secret_file");
        let direct = self.client_secret.as_ref().map(Secret::reveal);
        text(direct, self.client_secret_file.as_deref(), names)?.ok_or(AuthError::Missing(names.0))
    }

    fn proxy(&self) -> ProxyConfig {
        ProxyConfig {
            url: self.proxy_url.clone(),
            no_proxy: self.no_proxy.clone(),
            from_environment: self.proxy_from_environment,
            connect_header: self.proxy_connect_header.clone(),
        }
    }
}

/// Gives out tokens.
#[derive(Debug)]
pub(crate) struct TokenSource {
    config: OAuth2,
    fetcher: Fetcher,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    token: Option<Token>,
    /// The server has refused the header, and has taken a body since.
    in_body: bool,
    failed: Option<(Instant, String)>,
}

#[derive(Debug, Clone)]
struct Token {
    header: HeaderValue,
    renew_at: Option<Instant>,
}

#[derive(Deserialize)]
struct Given {
    access_token: String,
    #[serde(default)]
    token_type: Option<String>,
    /// A number, which some servers send as text.
    #[serde(default)]
    expires_in: Option<serde_json::Value>,
}

impl TokenSource {
    /// Checks the configuration and reads its files; nothing is asked for yet.
    pub(crate) fn new(config: &OAuth2) -> Result<Self, super::error::ProofError> {
        config.secret()?;
        let fetcher = Fetcher::new(config.token_url.uri(), &config.tls_config, &config.proxy(), 1)?;
        Ok(TokenSource { config: config.clone(), fetcher, state: Mutex::default() })
    }

    /// An `Authorization` header that is good for now, within this time.
    pub(crate) async fn header(&self, within: Duration) -> Result<HeaderValue, String> {
        let mut state = self.state.lock().await;
        let now = Instant::now();
        if let Some(token) = &state.token
            && token.renew_at.is_none_or(|at| now < at)
        {
            return Ok(token.header.clone());
        }
        if let Some((at, reason)) = &state.failed
            && now.duration_since(*at) < RETRY_AFTER
        {
            return Err(reason.clone());
        }
        let asked = tokio::time::timeout(within, self.ask(&mut state)).await;
        let asked = asked.unwrap_or_else(|_| Err(format!("no answer within {within:?}")));
        match asked {
            Ok(token) => {
                state.failed = None;
                state.token = Some(token.clone());
                Ok(token.header)
            }
            Err(reason) => {
                let reason = format!("no token from {}: {reason}", self.config.token_url);
                state.failed = Some((Instant::now(), reason.clone()));
                Err(reason)
            }
        }
    }

    /// The destination has refused this token: the next request gets a new one.
    pub(crate) async fn refused(&self, header: &HeaderValue) {
        let mut state = self.state.lock().await;
        if state.token.as_ref().is_some_and(|token| token.header == *header) {
            state.token = None;
        }
    }

    async fn ask(&self, state: &mut State) -> Result<Token, String> {
        let secret = self.config.secret().map_err(|error| error.to_string())?;
        let (status, body) = self.post(&secret, state.in_body).await?;
        // Servers that don't know the header say 400 or 401, as they do to a wrong secret.
        let (status, body) = match status {
            StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED if !state.in_body => {
                let again = self.post(&secret, true).await?;
                state.in_body = again.0.is_success();
                if state.in_body { again } else { (status, body) }
            }
            _ => (status, body),
        };
        if !status.is_success() {
            return Err(format!("{status}: {}", crate::client::answer::words(&body)));
        }
        // What can't be read is not shown: a token may be in it.
        let given: Given = serde_json::from_slice(&body)
            .map_err(|_| "its answer is not the JSON that RFC 6749 describes".to_string())?;
        token(&given, Instant::now())
    }

    async fn post(&self, secret: &str, in_body: bool) -> Result<(StatusCode, Bytes), String> {
        let request = self.request(secret, in_body)?;
        let answer = self.fetcher.send(request).await.map_err(|failure| failure.to_string())?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), TOKEN_BYTES).collect().await;
        let body = body.map_err(|error| format!("{status}, and then: {error}"))?;
        Ok((status, body.to_bytes()))
    }

    fn request(&self, secret: &str, in_body: bool) -> Result<http::Request<Full<Bytes>>, String> {
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        if !self.config.scopes.is_empty() {
            form.append_pair("scope", &self.config.scopes.join(" "));
        }
        form.extend_pairs(&self.config.endpoint_params);
        if in_body {
            form.append_pair("client_id", &self.config.client_id).append_pair("client_secret", secret);
        }
        let mut request = http::Request::new(Full::new(Bytes::from(form.finish())));
        *request.method_mut() = Method::POST;
        let url = &self.config.token_url;
        *request.uri_mut() = url.uri().clone();
        let headers = request.headers_mut();
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(header::CONTENT_TYPE, kind);
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(crate::client::USER_AGENT));
        if !in_body {
            let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
            let plain = format!("{}:{}", encoded(&self.config.client_id), encoded(secret));
            let value = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(plain));
            headers.insert(header::AUTHORIZATION, proof(&value)?);
        }
        Ok(request)
    }
}

fn token(given: &Given, now: Instant) -> Result<Token, String> {
    let scheme = match given.token_type.as_deref() {
        // Case doesn't count here, but not everybody knows.
        Some(kind) if !kind.is_empty() && !kind.eq_ignore_ascii_case("bearer") => kind,
        _ => "Bearer",
    };
    if given.access_token.is_empty() {
        return Err("its answer has no access_token".into());
    }
    let seconds = match &given.expires_in {
        Some(serde_json::Value::Number(number)) => number.as_u64(),
        Some(serde_json::Value::String(text)) => text.parse().ok(),
        _ => None,
    };
    let renew_at = seconds.filter(|seconds| *seconds > 0).and_then(|seconds| {
        let life = Duration::from_secs(seconds);
        now.checked_add(life.saturating_sub(RENEW_BEFORE).max(life / 2))
    });
    Ok(Token { header: proof(&format!("{scheme} {}", given.access_token))?, renew_at })
}

fn proof(value: &str) -> Result<HeaderValue, String> {
    sensitive(value).map_err(|_| "secret or token have characters that can't stand in a header".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(json: &str, now: Instant) -> Result<Token, String> {
        token(&serde_json::from_str(json).unwrap(), now)
    }

    #[test]
    fn a_token_is_renewed_shortly_before_it_expires() {
        let now = Instant::now();
        let life = |json: &str| given(json, now).unwrap().renew_at.map(|at| at.duration_since(now).as_secs());
        assert_eq!(life(r#"{"access_token": "x", "expires_in": 3600}"#), Some(3540));
        assert_eq!(life(r#"{"access_token": "x", "expires_in": "3600"}"#), Some(3540));
        assert_eq!(life(r#"{"access_token": "x", "expires_in": 30}"#), Some(15));
        assert_eq!(life(r#"{"access_token": "x"}"#), None);
        assert_eq!(life(r#"{"access_token": "x", "expires_in": 0}"#), None);
        assert_eq!(life(r#"{"access_token": "x", "expires_in": 18446744073709551615}"#), None);
    }

    #[test]
    fn the_servers_type_of_token_is_used_and_never_shown_with_it() {
        let now = Instant::now();
        let shown = |json: &str| given(json, now).unwrap().header.to_str().unwrap().to_string();
        assert_eq!(shown(r#"{"access_token": "x", "token_type": "bearer"}"#), "Bearer x");
        assert_eq!(shown(r#"{"access_token": "x", "token_type": "MAC"}"#), "MAC x");
        let hidden = given(r#"{"access_token": "hidden"}"#, now).unwrap();
        assert!(!format!("{hidden:?}").contains("hidden"));
        assert!(given(r#"{"access_token": ""}"#, now).is_err());
        assert!(!given(r#"{"access_token": "hid\nden"}"#, now).unwrap_err().contains("hid"));
    }

    #[test]
    fn a_secret_is_needed_once() {
        let json = r#"{"client_id": "me", "token_url": "https://h/token", "client_secret": "a",
            "client_secret_file": "b"}"#;
        let config: OAuth2 = serde_json::from_str(json).unwrap();
        assert!(config.secret().unwrap_err().to_string().contains("exclude each other"));
        let none = OAuth2 { client_secret: None, client_secret_file: None, ..config };
        assert_eq!(none.secret().unwrap_err().to_string(), "oauth2.client_secret is needed");
    }
}
