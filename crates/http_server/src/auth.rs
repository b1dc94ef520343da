//! Who may come in: basic authentication with bcrypt hashes, and bearer tokens. Clients of InfluxDB send either as
//! `Token USER:PASSWORD` or `Token TOKEN`.
//!
//! A bcrypt check takes some 50 ms of a processor, by design, so what was verified once is remembered, in a
//! cache of limited size that holds keyed hashes of what was sent, never a password. Checks that are not
//! answered from it run one at a time on a thread of their own, so that guessing can't take all processors.

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

/// How many verified logins are remembered; past it all are forgotten.
pub const REMEMBERED: usize = 1000;
/// How many checks may wait for their turn; past it 503.
pub const WAITING: usize = 64;

/// Why users or tokens are refused. Says nothing of passwords.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// Not a hash.
    #[error(
        "the password of user {user:?} is not a bcrypt hash ($2a$, $2b$ or $2y$): make one with htpasswd -nBC 10"
    )]
    Hash {
        /// The user.
        user: String,
    },
    /// Nobody could use it.
    #[error("a bearer token is empty")]
    EmptyToken,
}

/// Why credentials could not be checked now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unchecked {
    #[error("too many passwords are being checked at once: try again in a second")]
    Busy,
    #[error("narthex is stopping")]
    Stopping,
}

/// What is asked of whoever comes in. Nothing of it is printed.
#[derive(Clone)]
pub struct Auth(Arc<Inner>);

struct Inner {
    users: BTreeMap<String, String>,
    tokens: Vec<String>,
    /// For users that don't exist, so that those that do can't be told by the time it takes.
    nobody: String,
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

/// A hash of nothing anybody knows, of the usual cost.
const NOBODY: &str = "$2b$10$abcdefghijklmnopqrstuuE0fU4HjrJxhCaRLvFSFGWsAyxbNfoF6";

impl Auth {
    /// Asks for one of `users` (names and bcrypt hashes) or of the bearer `tokens`.
    pub fn new(users: BTreeMap<String, String>, tokens: Vec<String>) -> Result<Auth, AuthError> {
        for (user, hash) in &users {
            if hash.parse::<bcrypt::HashParts>().is_err() {
                return Err(AuthError::Hash { user: user.clone() });
            }
        }
        if tokens.iter().any(String::is_empty) {
            return Err(AuthError::EmptyToken);
        }
        // As costly as the others, if they all cost the same.
        let nobody = users.values().next().map_or(NOBODY, String::as_str).to_string();
        Ok(Auth::of(users, tokens, nobody))
    }

    /// Asks for nothing.
    pub fn open() -> Auth {
        Auth::of(BTreeMap::new(), Vec::new(), NOBODY.to_string())
    }

    fn of(users: BTreeMap<String, String>, tokens: Vec<String>, nobody: String) -> Auth {
        Auth(Arc::new(Inner {
            users,
            tokens,
            nobody,
            verified: Mutex::default(),
            hashers: [RandomState::new(), RandomState::new()],
            waiting: Semaphore::new(WAITING),
            turn: Semaphore::new(1),
        }))
    }

    /// Whether nothing is asked for: then everybody may come in.
    pub fn is_open(&self) -> bool {
        self.0.users.is_empty() && self.0.tokens.is_empty()
    }

    /// Whether an `Authorization` header may come in.
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

    /// All are compared, each in a time that tells nothing but lengths.
    fn knows_token(&self, given: &str) -> bool {
        let compare = |token: &String| bool::from(token.as_bytes().ct_eq(given.as_bytes()));
        self.0.tokens.iter().fold(false, |known, token| known | compare(token))
    }

    async fn verify(&self, user: &str, password: &str) -> Result<bool, Unchecked> {
        let inner = &self.0;
        let known = inner.users.get(user);
        let hash = known.unwrap_or(&inner.nobody);
        let key = inner.hashers.each_ref().map(|hasher| hasher.hash_one((user, password, hash)));
        if self.verified().contains(&key) {
            return Ok(true);
        }
        let busy = |_| Unchecked::Busy;
        let _waiting = inner.waiting.try_acquire().map_err(busy)?;
        let _turn = inner.turn.acquire().await.map_err(|_| Unchecked::Stopping)?;
        // Another request with the same login may have been before this one.
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

/// Lets in whoever may: for `axum::middleware::from_fn_with_state`.
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
        // The lowest cost, as it is a test.
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
    async fn users_and_tokens_come_in_and_nobody_else() {
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
    async fn what_was_verified_is_remembered_and_what_is_wrong_is_not() {
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
    async fn the_same_login_many_times_at_once_is_checked_once() {
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
    async fn a_thousand_logins_are_remembered_and_then_begun_anew() {
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
    async fn logins_past_those_that_may_wait_are_told_to_come_again() {
        let auth = auth();
        // Somebody is being checked, and as many wait as may.
        let _waiting = auth.0.waiting.acquire_many(WAITING as u32).await.unwrap();
        let header = HeaderValue::from_str(&basic("ann", "x")).unwrap();
        let refused = auth.admits(Some(&header)).await.unwrap_err();
        assert_eq!(refused, Unchecked::Busy);
    }

    #[test]
    fn what_is_no_hash_is_refused_without_showing_it() {
        let users = [("ann".to_string(), "hunter2".to_string())];
        let error = Auth::new(users.into(), vec![]).unwrap_err();
        assert!(error.to_string().contains("ann") && !error.to_string().contains("hunter2"));
        assert_eq!(Auth::new(BTreeMap::new(), vec![String::new()]).unwrap_err(), AuthError::EmptyToken);
        assert!(!format!("{:?}", auth()).contains("token-1"));
        assert!(NOBODY.parse::<bcrypt::HashParts>().is_ok());
    }
}
