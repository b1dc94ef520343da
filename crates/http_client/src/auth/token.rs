//! Tokens of the schemes that get them from a server: `oauth2`, `azuread`, `google_iam`.
//!
//! A token is requested when the first request needs one, and kept until shortly before it expires. If the
//! destination answers 401, a new one is requested.

use super::{azuread, google_iam, oauth2, sensitive};
use crate::fetch::Fetcher;
use crate::words::{status_and_words, words};
use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use serde::Deserialize;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

pub const TOKEN_BYTES: usize = 64 << 10;
/// A token is renewed this long before it expires, or after half its life, if that is later.
pub const RENEW_BEFORE: Duration = Duration::from_secs(60);
/// After a failure, no token is requested for this long, however many requests wait for one.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) enum Issuer {
    OAuth2(Box<oauth2::Issuer>),
    AzureAd(Box<azuread::Issuer>),
    GoogleIam(google_iam::Issuer),
}

impl Issuer {
    async fn ask(&self) -> Result<Token, String> {
        match self {
            Issuer::OAuth2(issuer) => issuer.ask().await,
            Issuer::AzureAd(issuer) => issuer.ask().await,
            Issuer::GoogleIam(issuer) => issuer.ask().await,
        }
    }

    /// Returns the server for people.
    fn shown(&self) -> String {
        match self {
            Issuer::OAuth2(issuer) => issuer.shown(),
            Issuer::AzureAd(issuer) => issuer.shown(),
            Issuer::GoogleIam(_) => "Google".to_string(),
        }
    }
}

#[derive(Debug)]
pub(crate) struct TokenSource {
    issuer: Issuer,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    token: Option<Token>,
    failed: Option<(Instant, String)>,
}

/// A token in the form of its header.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(super) header: HeaderValue,
    pub(super) renew_at: Option<Instant>,
}

#[derive(Deserialize)]
struct Given {
    access_token: String,
    #[serde(default)]
    token_type: Option<String>,
    /// A number. Some servers send it as text.
    #[serde(default)]
    expires_in: Option<serde_json::Value>,
}

impl TokenSource {
    pub(crate) fn new(issuer: Issuer) -> Self {
        TokenSource { issuer, state: Mutex::default() }
    }

    /// Returns what to check if there is no token.
    pub(crate) fn advice(&self) -> &'static str {
        match &self.issuer {
            Issuer::OAuth2(_) => {
                "check token_url, client_id and client_secret of oauth2, its scopes, and that the token server is reachable"
            }
            Issuer::AzureAd(_) => {
                "check the tenant, the client and its secret or token file in azuread, and that Azure's token server is \
                 reachable"
            }
            Issuer::GoogleIam(_) => {
                "check credentials_file of google_iam (without it: this machine's service account), and that Google's \
                 token server is reachable"
            }
        }
    }

    /// Returns a valid `Authorization` header, at the latest after `within`.
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
        let asked = tokio::time::timeout(within, self.issuer.ask()).await;
        let asked = asked.unwrap_or_else(|_| Err(format!("no answer within {within:?}")));
        match asked {
            Ok(token) => {
                state.failed = None;
                state.token = Some(token.clone());
                Ok(token.header)
            }
            Err(reason) => {
                let reason = format!("no token from {}: {reason}", self.issuer.shown());
                state.failed = Some((Instant::now(), reason.clone()));
                Err(reason)
            }
        }
    }

    /// Notes that the destination has refused this token. The next request gets a new one.
    pub(crate) async fn refused(&self, header: &HeaderValue) {
        let mut state = self.state.lock().await;
        if state.token.as_ref().is_some_and(|token| token.header == *header) {
            state.token = None;
        }
    }
}

impl Token {
    /// Reads a token from a server's answer, as RFC 6749 describes it.
    pub(super) fn given((status, body): (StatusCode, Bytes)) -> Result<Token, String> {
        if !status.is_success() {
            return Err(status_and_words(status.as_u16(), &words(&body)));
        }
        // An unreadable answer is not shown, because it may contain a token.
        let given: Given = serde_json::from_slice(&body)
            .map_err(|_| "its answer is not the JSON that RFC 6749 describes".to_string())?;
        token(&given, Instant::now())
    }

    /// Returns a token that is valid for this many seconds.
    #[cfg(feature = "google_iam")]
    pub(super) fn bearer(token: &str, seconds: Option<u64>) -> Result<Token, String> {
        let header = header_value(&format!("Bearer {token}"))?;
        Ok(Token { header, renew_at: renew_at(seconds, Instant::now()) })
    }
}

/// Sends a request for a token, and reads the answer.
pub(super) async fn read_answer(
    fetcher: &Fetcher,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), String> {
    let answer = fetcher.send(request).await.map_err(|failure| failure.to_string())?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), TOKEN_BYTES).collect().await;
    let body = body.map_err(|error| format!("{status}, and then: {error}"))?;
    Ok((status, body.to_bytes()))
}

fn token(given: &Given, now: Instant) -> Result<Token, String> {
    let scheme = match given.token_type.as_deref() {
        // The case has no meaning here, but not every server knows that.
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
    let header = header_value(&format!("{scheme} {}", given.access_token))?;
    Ok(Token { header, renew_at: renew_at(seconds, now) })
}

/// Returns when to renew a token that is valid for this many seconds. `None` if that is unknown.
fn renew_at(seconds: Option<u64>, now: Instant) -> Option<Instant> {
    let life = Duration::from_secs(seconds.filter(|seconds| *seconds > 0)?);
    now.checked_add(life.saturating_sub(RENEW_BEFORE).max(life / 2))
}

pub(super) fn header_value(value: &str) -> Result<HeaderValue, String> {
    sensitive(value).map_err(|_| "secret or token have characters that can't stand in a header".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(json: &str, now: Instant) -> Result<Token, String> {
        token(&serde_json::from_str(json).unwrap(), now)
    }

    #[test]
    fn token_is_renewed_shortly_before_it_expires() {
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
    fn token_type_of_the_server_is_used_and_tokens_are_never_shown() {
        let now = Instant::now();
        let shown = |json: &str| given(json, now).unwrap().header.to_str().unwrap().to_string();
        assert_eq!(shown(r#"{"access_token": "x", "token_type": "bearer"}"#), "Bearer x");
        assert_eq!(shown(r#"{"access_token": "x", "token_type": "MAC"}"#), "MAC x");
        let hidden = given(r#"{"access_token": "hidden"}"#, now).unwrap();
        assert!(!format!("{hidden:?}").contains("hidden"));
        assert!(given(r#"{"access_token": ""}"#, now).is_err());
        assert!(!given(r#"{"access_token": "hid\nden"}"#, now).unwrap_err().contains("hid"));
    }
}
