//! Authentication and TLS of the server, as `receive.tls`, `receive.basic_auth`, `receive.bearer` and
//! Prometheus' web configuration file configure them.
//!
//! It promises:
//! - **Nothing is open by accident.** An address that other machines can reach is rejected at the start if no
//!   authentication is configured ([`Policy::load`]), unless the user allows that explicitly.
//! - **A renewal needs no restart.** The files are checked every [`CHECK_INTERVAL`], and with each reload of
//!   the configuration. New contents apply to new connections and to the next request. Invalid contents are
//!   logged, and the old ones stay in use.
//! - **No secret is shown.** Errors name only files, keys and users.
//!
//! Start reading at [`Policy`], then [`Security`].

mod error;
mod files;
pub mod hosts;
mod policy;
pub mod tls;

pub use error::SecurityError;
pub use policy::{Current, Policy, Settings, WebConfigFile, check_exposure};

use crate::auth::Auth;
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use files::Files;
use http::HeaderMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use supervisor::Task;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How often the files are checked for changes.
pub const CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// Most bytes of a file with a certificate, a key, a token or the web configuration.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// The present settings, and the task that updates them when files change.
#[derive(Debug)]
pub struct Security {
    current: Arc<watch::Sender<Arc<Current>>>,
    policy: watch::Sender<Arc<Policy>>,
    /// `None` if there are no settings to follow.
    following: Option<JoinHandle<()>>,
}

/// The loaded settings of another configuration, not in use yet.
#[derive(Debug)]
pub struct Renewal {
    policy: Arc<Policy>,
    current: Arc<Current>,
}

/// Returns what is wrong with the file of `receive.bearer.token_file`. The message begins with `token_file`.
pub fn token_error(path: &Path) -> Option<SecurityError> {
    match Files::default().text("token_file", path) {
        Ok(token) if token.trim().is_empty() => {
            let (what, path) = ("token_file", path.to_path_buf());
            Some(SecurityError::Content { what, path, reason: "it is empty".into() })
        }
        read => read.err(),
    }
}

impl Drop for Security {
    fn drop(&mut self) {
        if let Some(following) = &self.following {
            following.abort();
        }
    }
}

impl Security {
    /// Requires no credentials. Only for addresses on loopback.
    pub fn open() -> Self {
        let nothing = Current {
            auth: Auth::open(),
            tls: None,
            headers: HeaderMap::new(),
            files: Files::default(),
            hosts: Vec::new(),
        };
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let policy = Policy { settings: Settings::default(), address, allow_unauthenticated: true };
        Security {
            current: Arc::new(watch::Sender::new(Arc::new(nothing))),
            policy: watch::Sender::new(Arc::new(policy)),
            following: None,
        }
    }

    /// Loads the settings of `policy`, and follows its files.
    pub fn start(policy: Policy) -> Result<Self, SecurityError> {
        let current = Arc::new(watch::Sender::new(Arc::new(policy.load()?)));
        let (policy, policies) = watch::channel(Arc::new(policy));
        let followed = current.clone();
        let follow = move || follow(policies.clone(), followed.clone());
        let task = Task::only("web_configuration");
        let following = Some(tokio::spawn(supervisor::supervise(task, follow)));
        Ok(Security { current, policy, following })
    }

    /// Loads other settings without using them yet. Reads the files on a thread that may block.
    pub async fn prepare(&self, settings: Settings) -> Result<Renewal, SecurityError> {
        let policy = Arc::new(Policy { settings, ..Policy::clone(&self.policy.borrow()) });
        let speaks_tls = self.current.borrow().tls.is_some();
        let loading = policy.clone();
        let loaded = tokio::task::spawn_blocking(move || loading.load()).await;
        let current = loaded.map_err(|_| SecurityError::Unfinished)??;
        if current.tls.is_some() != speaks_tls {
            return Err(SecurityError::Switched);
        }
        Ok(Renewal { policy, current: Arc::new(current) })
    }

    /// Uses the loaded settings from now on.
    pub fn renew(&self, renewal: Renewal) {
        self.current.send_replace(renewal.current);
        self.policy.send_replace(renewal.policy);
    }

    /// Returns the present settings, for the accept loop.
    pub fn current(&self) -> watch::Receiver<Arc<Current>> {
        self.current.subscribe()
    }

    pub fn scheme(&self) -> &'static str {
        if self.current.borrow().tls.is_some() { "https" } else { "http" }
    }

    /// Requires authentication for the routes of `router`.
    pub fn protect(&self, router: Router) -> Router {
        router.layer(from_fn_with_state(self.current(), require))
    }

    pub fn decorate(&self, router: Router) -> Router {
        router.layer(from_fn_with_state(self.current(), decorate))
    }
}

type Live = watch::Receiver<Arc<Current>>;

async fn require(State(live): State<Live>, request: Request, next: Next) -> Response {
    let auth = live.borrow().auth.clone();
    crate::auth::require(State(auth), request, next).await
}

async fn decorate(State(live): State<Live>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in &live.borrow().headers {
        // The header that the page itself sets is stricter.
        response.headers_mut().entry(name).or_insert_with(|| value.clone());
    }
    response
}

async fn follow(mut policies: watch::Receiver<Arc<Policy>>, sender: Arc<watch::Sender<Arc<Current>>>) {
    let mut seen = sender.borrow().files.clone();
    loop {
        tokio::select! {
            () = tokio::time::sleep(CHECK_INTERVAL), if !seen.is_empty() => {}
            changed = policies.changed() => {
                if changed.is_err() {
                    return;
                }
                seen = sender.borrow().files.clone();
                continue;
            }
        }
        let (policy, old) = (policies.borrow().clone(), sender.borrow().clone());
        let before = seen.clone();
        // A file system that does not answer must not block the server.
        let looked = tokio::task::spawn_blocking(move || renew(&policy, &old, before)).await;
        let (files, renewed) = match looked {
            Ok(looked) => looked,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The runtime ends.
            Err(_) => return,
        };
        if policies.has_changed().unwrap_or(true) {
            // A reload in the meantime has read all files.
            continue;
        }
        seen = files;
        match renewed {
            None => {}
            Some(Ok(new)) => {
                sender.send_replace(Arc::new(new));
                tracing::info!("certificates, users and tokens were read again");
            }
            Some(Err(error)) => {
                tracing::error!(%error, "changed certificates, users or tokens can't be used: the old ones stay");
            }
        }
    }
}

/// If a file has changed, reads all files again. Also returns the files' present stamps.
fn renew(policy: &Policy, old: &Current, seen: Files) -> (Files, Option<Result<Current, SecurityError>>) {
    let now = seen.again();
    if now == seen {
        return (seen, None);
    }
    match policy.load() {
        Ok(new) if new.tls.is_some() != old.tls.is_some() => (now, Some(Err(SecurityError::Switched))),
        Ok(new) => (new.files.clone(), Some(Ok(new))),
        Err(error) => (now, Some(Err(error))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::AuthError;

    #[test]
    fn changed_files_are_reread_and_invalid_ones_change_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "one\n").unwrap();
        let settings = Settings { token_file: Some(path.clone()), ..Settings::default() };
        let address = SocketAddr::from(([0, 0, 0, 0], 1));
        let policy = Policy { settings, address, allow_unauthenticated: false };
        let first = policy.load().unwrap();
        let (seen, renewed) = renew(&policy, &first, first.files.clone());
        assert!(renewed.is_none());
        std::fs::write(&path, "").unwrap();
        let (seen, renewed) = renew(&policy, &first, seen);
        assert!(matches!(renewed, Some(Err(SecurityError::Auth(AuthError::EmptyToken)))));
        let (seen, renewed) = renew(&policy, &first, seen);
        assert!(renewed.is_none(), "said once");
        std::fs::write(&path, "another").unwrap();
        assert!(matches!(renew(&policy, &first, seen).1, Some(Ok(_))));
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(policy.load(), Err(SecurityError::File { .. })));
    }
}
