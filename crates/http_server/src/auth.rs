//! Authentication of clients: basic authentication with bcrypt hashes, and bearer tokens. Clients of InfluxDB send either as
//! `Token USER:PASSWORD` or `Token TOKEN`.
//!
//! A bcrypt check takes about 50 ms of a processor, by design, so verified logins are cached. The cache is
//! bounded and holds keyed hashes of the credentials, never a password. Checks outside the cache run one at a
//! time on a thread of their own, so that guessing can't use all processors.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use http::header::{
    AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;

/// Most cached logins. Beyond it the cache is cleared.
pub const REMEMBERED: usize = 1000;
/// Most checks that wait for their turn. Beyond it the answer is 503.
pub const WAITING: usize = 64;

/// Why the configured users or tokens are invalid. Contains no passwords.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    #[error(
        "the password of user {user:?} is not a bcrypt hash ($2a$, $2b$ or $2y$): make one with htpasswd -nBC 10"
    )]
    Hash { user: String },
    /// No client could use such a token.
    #[error("a bearer token is empty")]
    EmptyToken,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unchecked {
    #[error("too many passwords are being checked at once: try again in a second")]
    Busy,
    #[error("narthex is stopping")]
    Stopping,
}

/// The credentials that clients must have. They are never printed.
#[derive(Clone)]
pub struct Auth(Arc<Inner>);

struct Inner {
    users: BTreeMap<String, String>,
    tokens: Vec<String>,
    /// The hash that is checked for unknown users, so that the time of the answer does not show which users
    /// exist.
    unknown: String,
    verified: Mutex<HashSet<[u64; 2]>>,
    hashers: [RandomState; 2],
    waiting: Semaphore,
    turn: Semaphore,
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Auth({} users, {} tokens)", self.0.users.len(), self.0.tokens.len())
    }
}

/// A hash without a known password, of the usual cost.
const UNKNOWN_USER: &str = "$2b$10$abcdefghijklmnopqrstuuE0fU4HjrJxhCaRLvFSFGWsAyxbNfoF6";

impl Auth {
    /// Requires one of `users` (names and bcrypt hashes) or one of the bearer `tokens`.
    pub fn new(users: BTreeMap<String, String>, tokens: Vec<String>) -> Result<Auth, AuthError> {
        for (user, hash) in &users {
            if hash.parse::<bcrypt::HashParts>().is_err() {
                return Err(AuthError::Hash { user: user.clone() });
            }
        }
        if tokens.iter().any(String::is_empty) {
            return Err(AuthError::EmptyToken);
        }
        // As costly as the others, if they all have the same cost.
        let unknown = users.values().next().map_or(UNKNOWN_USER, String::as_str).to_string();
        Ok(Auth::of(users, tokens, unknown))
    }

    /// Requires no credentials.
    pub fn open() -> Auth {
        Auth::of(BTreeMap::new(), Vec::new(), UNKNOWN_USER.to_string())
    }

    fn of(users: BTreeMap<String, String>, tokens: Vec<String>, unknown: String) -> Auth {
        Auth(Arc::new(Inner {
            users,
            tokens,
            unknown,
            verified: Mutex::default(),
            hashers: [RandomState::new(), RandomState::new()],
            waiting: Semaphore::new(WAITING),
            turn: Semaphore::new(1),
        }))
    }

    /// Returns true if no credentials are required.
    pub fn is_open(&self) -> bool {
        self.0.users.is_empty() && self.0.tokens.is_empty()
    }

    /// Returns true if an `Authorization` header has valid credentials.
    pub async fn admits(&self, header: Option<&HeaderValue>) -> Result<bool, Unchecked> {
        if self.is_open() {
            return Ok(true);
        }
        let Some((scheme, given)) = header.and_then(|header| header.to_str().ok()?.split_once(' ')) else {
            return Ok(false);
        };
        let given = given.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            return Ok(self.knows_token(given));
        }
        if scheme.eq_ignore_ascii_case("token") {
            return match given.split_once(':') {
                _ if self.knows_token(given) => Ok(true),
                Some((user, password)) => self.verify(user, password).await,
                None => Ok(false),
            };
        }
        let decoded = STANDARD.decode(given).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        match decoded.as_deref().and_then(|text| text.split_once(':')) {
            Some((user, password)) if scheme.eq_ignore_ascii_case("basic") => {
                self.verify(user, password).await
            }
            _ => Ok(false),
        }
    }

    /// Compares with all tokens, in a time that depends only on lengths.
    fn knows_token(&self, given: &str) -> bool {
        let compare = |token: &String| bool::from(token.as_bytes().ct_eq(given.as_bytes()));
        self.0.tokens.iter().fold(false, |known, token| known | compare(token))
    }

    async fn verify(&self, user: &str, password: &str) -> Result<bool, Unchecked> {
        let inner = &self.0;
        let known = inner.users.get(user);
        let hash = known.unwrap_or(&inner.unknown);
        let key = inner.hashers.each_ref().map(|hasher| hasher.hash_one((user, password, hash)));
        if self.verified().contains(&key) {
            return Ok(true);
        }
        let busy = |_| Unchecked::Busy;
        let _waiting = inner.waiting.try_acquire().map_err(busy)?;
        let _turn = inner.turn.acquire().await.map_err(|_| Unchecked::Stopping)?;
        // Another request with the same login may have been verified in the meantime.
        if self.verified().contains(&key) {
            return Ok(true);
        }
        let (password, hash) = (password.to_string(), hash.clone());
        let check = move || bcrypt::verify(password, &hash).unwrap_or(false);
        let right = tokio::task::spawn_blocking(check).await.map_err(|_| Unchecked::Stopping)?;
        let right = right && known.is_some();
        if right {
            let mut verified = self.verified();
            if verified.len() >= REMEMBERED {
                verified.clear();
            }
            verified.insert(key);
        }
        Ok(right)
    }

    fn verified(&self) -> std::sync::MutexGuard<'_, HashSet<[u64; 2]>> {
        self.0.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn answer(status: StatusCode, text: &str) -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    (status, headers, format!("{text}\n")).into_response()
}

/// Requires valid credentials. For `axum::middleware::from_fn_with_state`.
pub async fn require(State(auth): State<Auth>, request: Request, next: Next) -> Response {
    match auth.admits(request.headers().get(AUTHORIZATION)).await {
        Ok(true) => next.run(request).await,
        Ok(false) => {
            let mut response = answer(StatusCode::UNAUTHORIZED, "authentication required");
            let scheme = if auth.0.users.is_empty() { "Bearer" } else { "Basic realm=\"narthex\"" };
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(scheme));
            response
        }
        Err(unchecked) => {
            let mut response = answer(StatusCode::SERVICE_UNAVAILABLE, &unchecked.to_string());
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
            response
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{Router, body::Body, routing::get};
    use std::time::Instant;
    use tower::ServiceExt;

    fn auth() -> Auth {
        // The lowest cost, because it is a test.
        let hash = |password: &str| bcrypt::hash(password, 4).unwrap();
        let users = [("ann", "secret:with colon"), ("bob", "pässword")];
        let users = users.map(|(user, password)| (user.to_string(), hash(password)));
        Auth::new(users.into(), vec!["token-1".into(), "token-2".into()]).unwrap()
    }

    fn basic(user: &str, password: &str) -> String {
        format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
    }

    async fn status(auth: &Auth, header: Option<&str>) -> u16 {
        let layer = axum::middleware::from_fn_with_state(auth.clone(), require);
        let router = Router::new().route("/", get(|| async {})).layer(layer);
        let mut request = Request::get("/");
        if let Some(header) = header {
            request = request.header("authorization", header);
        }
        router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap().status().as_u16()
    }

    #[tokio::test]
    async fn only_configured_users_and_tokens_are_accepted() {
        let auth = auth();
        for header in [
            &*basic("ann", "secret:with colon"),
            &*basic("bob", "pässword"),
            "Bearer token-1",
            "bearer token-2",
            "Token token-1",
            "token ann:secret:with colon",
            "BASIC YW5uOnNlY3JldDp3aXRoIGNvbG9u",
        ] {
            assert_eq!(status(&auth, Some(header)).await, 200, "{header}");
        }
        for header in [
            &*basic("ann", "pässword"),
            &*basic("eve", "secret:with colon"),
            &*basic("", ""),
            &*basic("ann", ""),
            "Bearer token-3",
            "Bearer token-",
            "Bearer token-11",
            "Bearer",
            "Token token-3",
            "Token ann:wrong",
            "Token ",
            "Basic !!!",
            "Basic YW5u",
            "Digest x",
        ] {
            assert_eq!(status(&auth, Some(header)).await, 401, "{header}");
        }
        assert_eq!(status(&auth, None).await, 401);
        let open = Auth::new(BTreeMap::new(), vec![]).unwrap();
        assert_eq!(status(&open, None).await, 200);
    }

    #[tokio::test]
    async fn only_verified_logins_are_cached() {
        let hash = bcrypt::hash("x", 10).unwrap();
        let auth = Auth::new([("ann".to_string(), hash)].into(), vec![]).unwrap();
        let header = HeaderValue::from_str(&basic("ann", "x")).unwrap();
        let time = async |header: &HeaderValue| {
            let start = Instant::now();
            let admitted = auth.admits(Some(header)).await.unwrap();
            (admitted, start.elapsed())
        };
        let (first, slow) = time(&header).await;
        let (second, fast) = time(&header).await;
        assert!(first && second && fast * 20 < slow, "{slow:?} {fast:?}");
        let wrong = HeaderValue::from_str(&basic("ann", "y")).unwrap();
        assert!(!time(&wrong).await.0 && auth.verified().len() == 1);
    }

    #[tokio::test]
    async fn concurrent_requests_with_one_login_are_checked_once() {
        let hash = bcrypt::hash("x", 10).unwrap();
        let auth = Auth::new([("ann".to_string(), hash)].into(), vec![]).unwrap();
        let wrong = HeaderValue::from_str(&basic("ann", "y")).unwrap();
        let start = Instant::now();
        assert_eq!(auth.admits(Some(&wrong)).await, Ok(false));
        let one = start.elapsed();
        let header = HeaderValue::from_str(&basic("ann", "x")).unwrap();
        let start = Instant::now();
        let all = (0..WAITING).map(|_| auth.admits(Some(&header)));
        let all = futures_util::future::join_all(all).await;
        assert!(all.iter().all(|admitted| *admitted == Ok(true)), "{all:?}");
        let all = start.elapsed();
        assert!(all < one * (WAITING as u32 / 4), "{all:?} for all, {one:?} for one");
    }

    #[tokio::test]
    async fn cache_is_cleared_beyond_a_thousand_logins() {
        let auth = auth();
        auth.verified().extend((0..REMEMBERED as u64 - 1).map(|n| [n, n]));
        let header = |user, password| HeaderValue::from_str(&basic(user, password)).unwrap();
        assert_eq!(auth.admits(Some(&header("ann", "secret:with colon"))).await, Ok(true));
        assert_eq!(auth.verified().len(), 1000);
        assert_eq!(auth.admits(Some(&header("bob", "pässword"))).await, Ok(true));
        assert_eq!(auth.verified().len(), 1);
        assert_eq!(auth.admits(Some(&header("ann", "secret:with colon"))).await, Ok(true));
    }

    #[tokio::test]
    async fn logins_beyond_the_waiting_limit_are_not_checked() {
        let auth = auth();
        // One check is running, and as many wait as allowed.
        let _waiting = auth.0.waiting.acquire_many(WAITING as u32).await.unwrap();
        let header = HeaderValue::from_str(&basic("ann", "x")).unwrap();
        let refused = auth.admits(Some(&header)).await.unwrap_err();
        assert_eq!(refused, Unchecked::Busy);
    }

    #[test]
    fn invalid_hash_is_rejected_without_showing_it() {
        let users = [("ann".to_string(), "hunter2".to_string())];
        let error = Auth::new(users.into(), vec![]).unwrap_err();
        assert!(error.to_string().contains("ann") && !error.to_string().contains("hunter2"));
        assert_eq!(Auth::new(BTreeMap::new(), vec![String::new()]).unwrap_err(), AuthError::EmptyToken);
        assert!(!format!("{:?}", auth()).contains("token-1"));
        assert!(UNKNOWN_USER.parse::<bcrypt::HashParts>().is_ok());
    }
}
