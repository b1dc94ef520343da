//! Who may come in, and by which kind of connection: what `receive.tls`, `receive.basic_auth`,
//! `receive.bearer` and Prometheus' own web configuration file ask for.
//!
//! It promises:
//! - **Nothing is open by accident.** An address that other machines reach, without anything that tells
//!   who comes, is refused at the start ([`Policy::load`]), unless the user says that it is meant.
//! - **A renewal needs no restart.** The files are looked at every [`CHECK_INTERVAL`], and with each reload of
//!   the configuration; what is new holds for new connections and for the next request. What can't be used is
//!   logged, and the old stays.
//! - **No secret is shown**: errors name files, keys and users only.
//!
//! Where to start: [`Policy`], then [`Security`].

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

/// How often the files are looked at.
pub const CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// The largest file with a certificate, a key, a token or the web configuration.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// What holds, and what follows it when files change.
#[derive(Debug)]
pub struct Security {
    current: Arc<watch::Sender<Arc<Current>>>,
    policy: watch::Sender<Arc<Policy>>,
    /// Nothing where nothing is asked for.
    following: Option<JoinHandle<()>>,
}

/// What another configuration asks for, loaded but not in use yet.
#[derive(Debug)]
pub struct Renewal {
    policy: Arc<Policy>,
    current: Arc<Current>,
}

/// What is wrong with the file of `receive.bearer.token_file`; the message begins with `token_file`.
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
    /// Asks for nothing: for what listens on loopback only.
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

    /// What `policy` asks for, from now on; its files are followed.
    pub fn start(policy: Policy) -> Result<Self, SecurityError> {
        let current = Arc::new(watch::Sender::new(Arc::new(policy.load()?)));
        let (policy, policies) = watch::channel(Arc::new(policy));
        let followed = current.clone();
        let follow = move || follow(policies.clone(), followed.clone());
        let task = Task::only("web_configuration");
        let following = Some(tokio::spawn(supervisor::supervise(task, follow)));
        Ok(Security { current, policy, following })
    }

    /// Loads what other settings ask for, without using it yet. Waits for the disk, on a thread that may.
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

    /// Uses it from now on.
    pub fn renew(&self, renewal: Renewal) {
        self.current.send_replace(renewal.current);
        self.policy.send_replace(renewal.policy);
    }

    /// For the accept loop.
    pub fn current(&self) -> watch::Receiver<Arc<Current>> {
        self.current.subscribe()
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        if self.current.borrow().tls.is_some() { "https" } else { "http" }
    }

    /// Lets only those to the routes of `router` who may come in.
    pub fn protect(&self, router: Router) -> Router {
        router.layer(from_fn_with_state(self.current(), require))
    }

    /// Adds the headers of the web configuration to each answer.
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
        // What the page says of itself is stricter.
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
        // A file system that doesn't answer must not hold up what is served.
        let looked = tokio::task::spawn_blocking(move || renew(&policy, &old, before)).await;
        let (files, renewed) = match looked {
            Ok(looked) => looked,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The runtime ends.
            Err(_) => return,
        };
        if policies.has_changed().unwrap_or(true) {
            // A reload came in between, and has read all of it.
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

/// Looks at the files, and reads them all again where one has changed. Besides: what they look like now.
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
    fn changed_files_are_read_again_and_what_is_wrong_changes_nothing() {
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
