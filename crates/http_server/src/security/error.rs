//! Why the settings of authentication and TLS are refused.

use super::policy::HEADERS;
use crate::auth::AuthError;
use crate::web_config::WebConfigError;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why they are refused. Never contains a secret.
#[derive(Debug, thiserror::Error)]
pub enum SecurityError {
    /// The web configuration file.
    #[error("--web.config.file: {0}")]
    WebConfig(String),
    /// A key is in both files.
    #[error("{key} is in the configuration file and in the file of --web.config.file: leave it out of one")]
    Twice {
        /// The key.
        key: &'static str,
    },
    /// A file can't be read.
    #[error("{what}: {}: {source}", path.display())]
    File {
        /// The key.
        what: &'static str,
        /// Its value.
        path: PathBuf,
        /// What the file system says.
        source: std::io::Error,
    },
    /// A file with wrong content.
    #[error("{what}: {}: {reason}", path.display())]
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
    /// A password or a token.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// Settings of TLS that do not make sense together.
    #[error(transparent)]
    TlsSettings(#[from] WebConfigError),
    /// A header that can't be added.
    #[error("http_server_config.headers: {name:?} can't be added: only {} can", HEADERS.join(", "))]
    Header {
        /// Its name.
        name: String,
    },
    /// Other machines could connect without authentication.
    #[error(
        "other machines can reach {address}, and no authentication is configured: set receive.basic_auth, \
         receive.bearer or client certificates (or --web.config.file), listen on 127.0.0.1, or allow access without \
         authentication with --allow-unauthenticated"
    )]
    Exposed {
        /// Where it would listen.
        address: SocketAddr,
    },
    /// The thread that read the files ended.
    #[error("the files could not be read: narthex is ending")]
    Unfinished,
    /// A reload can't change this.
    #[error("TLS can't be switched on or off while narthex runs: restart narthex")]
    Switched,
}
