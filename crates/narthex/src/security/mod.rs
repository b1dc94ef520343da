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

mod files;
pub mod hosts;
pub mod tls;

use self::hosts::AllowedHost;
use crate::config::error::ConfigError;
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use files::Files;
use http::{HeaderMap, HeaderName, HeaderValue};
use receive::auth::{Auth, AuthError};
use receive::web_config::{ClientAuth, TlsServerConfig};
use remote::config::Secret;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How often the files are looked at.
pub const CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// The largest file with a certificate, a key, a token or the web configuration.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// The headers that a web configuration may add: those that Prometheus allows.
const HEADERS: [&str; 5] = [
    "content-security-policy",
    "strict-transport-security",
    "x-content-type-options",
    "x-frame-options",
    "x-xss-protection",
];

/// What is asked for, as the user wrote it.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// `receive.tls`, its paths resolved.
    pub tls: Option<TlsServerConfig>,
    /// `receive.basic_auth.users`: names and bcrypt hashes.
    pub users: BTreeMap<String, Secret>,
    /// `receive.bearer.token`.
    pub token: Option<Secret>,
    /// `receive.bearer.token_file`.
    pub token_file: Option<PathBuf>,
    /// `--web.config.file`.
    pub web_config: Option<PathBuf>,
    /// `receive.allowed_hosts` and `--allowed-host`.
    pub allowed_hosts: Vec<AllowedHost>,
}

/// Why it can't be had. Never contains a secret.
#[derive(Debug, thiserror::Error)]
pub enum SecurityError {
    /// The web configuration file.
    #[error("--web.config.file {0}")]
    WebConfig(Box<ConfigError>),
    /// Said in both files.
    #[error("{key} is in the configuration file and in the file of --web.config.file: leave it out of one")]
    Twice {
        /// What.
        key: &'static str,
    },
    /// A file.
    #[error("{what} {}: {source}", path.display())]
    File {
        /// The key.
        what: &'static str,
        /// Its value.
        path: PathBuf,
        /// What the file system says.
        source: std::io::Error,
    },
    /// A file whose content is of no use.
    #[error("{what} {}: {reason}", path.display())]
    Content {
        /// The key.
        what: &'static str,
        /// Its value.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Certificate and key, or the authorities of clients, as rustls sees them.
    #[error("TLS: {0}")]
    Tls(String),
    /// Users or token.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// A header that can't be added.
    #[error("http_server_config.headers: {name:?} can't be added: only {} can", HEADERS.join(", "))]
    Header {
        /// Its name.
        name: String,
    },
    /// Everybody would be let in.
    #[error(
        "{address} can be reached by other machines, and nothing tells who comes: set receive.basic_auth, \
         receive.bearer or client certificates (or --web.config.file), listen on 127.0.0.1, or say that it \
         is meant by --allow-unauthenticated"
    )]
    Exposed {
        /// Where it would listen.
        address: SocketAddr,
    },
    /// The thread that read the files ended.
    #[error("the files could not be read: narthex is ending")]
    Unfinished,
    /// Not while it runs.
    #[error("TLS can't be switched on or off while narthex runs: restart it")]
    Switched,
}

/// Refuses an address that other machines reach, for what has no authentication at all.
pub fn check_exposure(address: SocketAddr, allow_unauthenticated: bool) -> Result<(), SecurityError> {
    if address.ip().to_canonical().is_loopback() || allow_unauthenticated {
        return Ok(());
    }
    Err(SecurityError::Exposed { address })
}

/// What is asked for, and where.
#[derive(Debug, Clone)]
pub struct Policy {
    /// What the user wrote.
    pub settings: Settings,
    /// Where it listens.
    pub address: SocketAddr,
    /// `--allow-unauthenticated`.
    pub allow_unauthenticated: bool,
}

/// What holds now.
#[derive(Debug)]
pub struct Current {
    auth: Auth,
    tls: Option<Arc<rustls::ServerConfig>>,
    headers: HeaderMap,
    files: Files,
    hosts: Vec<AllowedHost>,
}

impl Current {
    /// How connections begin; plain where absent.
    pub fn tls(&self) -> Option<Arc<rustls::ServerConfig>> {
        self.tls.clone()
    }

    /// Names by which narthex may be asked besides its machine's own.
    pub fn hosts(&self) -> &[AllowedHost] {
        &self.hosts
    }
}

impl Policy {
    /// Reads all files, and checks what they say. Waits for the disk.
    pub fn load(&self) -> Result<Current, SecurityError> {
        let mut files = Files::default();
        let settings = &self.settings;
        let web = match &settings.web_config {
            Some(path) => web_config(path, &mut files)?,
            None => Default::default(),
        };
        let config = match (&settings.tls, web.tls_server_config) {
            (Some(_), Some(_)) => return Err(SecurityError::Twice { key: "TLS" }),
            (Some(own), None) => Some(own.clone()),
            (None, web) => web,
        };
        let own = || settings.users.iter().map(|(user, hash)| (user.clone(), hash.reveal().to_string()));
        let users = match (settings.users.is_empty(), web.basic_auth_users.is_empty()) {
            (false, false) => return Err(SecurityError::Twice { key: "basic authentication" }),
            (false, true) => own().collect(),
            (true, _) => web.basic_auth_users,
        };
        let mut tokens: Vec<String> = settings.token.iter().map(|token| token.reveal().to_string()).collect();
        if let Some(path) = &settings.token_file {
            tokens.push(files.text("receive.bearer.token_file", path)?.trim().to_string());
        }
        let auth = Auth::new(users, tokens)?;
        let certified =
            config.as_ref().is_some_and(|tls| tls.client_auth_type == ClientAuth::RequireAndVerifyClientCert);
        if auth.is_open() && !certified {
            check_exposure(self.address, self.allow_unauthenticated)?;
        }
        let tls = config.map(|config| tls::server_config(&config, &mut files)).transpose()?.map(Arc::new);
        let hosts = settings.allowed_hosts.clone();
        Ok(Current { auth, tls, headers: headers(&web.http_server_config.headers)?, files, hosts })
    }
}

fn web_config(path: &Path, files: &mut Files) -> Result<receive::web_config::WebConfig, SecurityError> {
    let text = files.text("--web.config.file", path)?;
    crate::config::web::parse(path, &text).map_err(SecurityError::WebConfig)
}

fn headers(given: &BTreeMap<String, String>) -> Result<HeaderMap, SecurityError> {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let wrong = || SecurityError::Header { name: name.clone() };
        if !HEADERS.contains(&&*name.to_ascii_lowercase()) {
            return Err(wrong());
        }
        let key: HeaderName = name.parse().map_err(|_| wrong())?;
        headers.insert(key, HeaderValue::from_str(value).map_err(|_| wrong())?);
    }
    Ok(headers)
}

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
        let following = Some(tokio::spawn(follow(policies, current.clone())));
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
    receive::auth::require(State(auth), request, next).await
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
        let Ok((files, renewed)) = looked else { return };
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

    fn policy(address: &str, settings: Settings) -> Policy {
        Policy { settings, address: address.parse().unwrap(), allow_unauthenticated: false }
    }

    #[test]
    fn what_other_machines_reach_needs_authentication() {
        for address in ["127.0.0.1:1", "127.8.8.8:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert!(policy(address, Settings::default()).load().is_ok(), "{address}");
        }
        for address in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "192.0.2.1:1"] {
            let mut policy = policy(address, Settings::default());
            let error = policy.load().unwrap_err().to_string();
            assert!(error.contains(address) && error.contains("--allow-unauthenticated"), "{error}");
            policy.settings.token = Some(Secret::new("t"));
            assert!(policy.load().is_ok(), "{address}");
            policy.settings.token = None;
            policy.allow_unauthenticated = true;
            assert!(policy.load().is_ok(), "{address}");
        }
    }

    #[test]
    fn changed_files_are_read_again_and_what_is_wrong_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "one\n").unwrap();
        let settings = Settings { token_file: Some(path.clone()), ..Settings::default() };
        let policy = policy("0.0.0.0:1", settings);
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

    #[test]
    fn only_headers_that_protect_are_added() {
        let given = |name: &str| headers(&[(name.to_string(), "v".to_string())].into());
        assert_eq!(given("X-Frame-Options").unwrap()["x-frame-options"], "v");
        assert!(given("Set-Cookie").unwrap_err().to_string().contains("Set-Cookie"));
    }
}
