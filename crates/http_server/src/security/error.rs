//! Errors in the settings of authentication and TLS.

use super::policy::HEADERS;
use crate::auth::AuthError;
use crate::web_config::WebConfigError;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why the settings are invalid. Never contains a secret.
#[derive(Debug, thiserror::Error)]
pub enum SecurityError {
    /// The web configuration file is invalid.
    #[error("--web.config.file: {0}")]
    WebConfig(String),
    #[error("{key} is in the configuration file and in the file of --web.config.file: leave it out of one")]
    Twice { key: &'static str },
    #[error("{what}: {}: {source}", path.display())]
    File { what: &'static str, path: PathBuf, source: std::io::Error },
    /// The content of a file is invalid.
    #[error("{what}: {}: {reason}", path.display())]
    Content { what: &'static str, path: PathBuf, reason: String },
    /// An error of rustls in the certificate, the key or the authorities of clients.
    #[error("TLS: {0}")]
    Tls(String),
    /// A password or a token is invalid.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The settings of TLS contradict each other.
    #[error(transparent)]
    TlsSettings(#[from] WebConfigError),
    #[error("http_server_config.headers: {name:?} can't be added: only {} can", HEADERS.join(", "))]
    Header { name: String },
    /// Other machines could connect without authentication.
    #[error(
        "other machines can reach {address}, and no authentication is configured: set receive.basic_auth, \
         receive.bearer or client certificates (or --web.config.file), listen on 127.0.0.1, or allow access without \
         authentication with --allow-unauthenticated"
    )]
    Exposed { address: SocketAddr },
    /// The thread that read the files has ended.
    #[error("the files could not be read: narthex is ending")]
    Unfinished,
    /// A reload can't change this.
    #[error("TLS can't be switched on or off while narthex runs: restart narthex")]
    Switched,
}
