//! Why what is asked for can't be had.

use super::policy::HEADERS;
use crate::auth::AuthError;
use crate::web_config::WebConfigError;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why it can't be had. Never contains a secret.
#[derive(Debug, thiserror::Error)]
pub enum SecurityError {
    /// The web configuration file.
    #[error("--web.config.file: {0}")]
    WebConfig(String),
    /// Said in both files.
    #[error("{key} is in the configuration file and in the file of --web.config.file: leave it out of one")]
    Twice {
        /// What.
        key: &'static str,
    },
    /// A file.
    #[error("{what}: {}: {source}", path.display())]
    File {
        /// The key.
        what: &'static str,
        /// Its value.
        path: PathBuf,
        /// What the file system says.
        source: std::io::Error,
    },
    /// A file whose content is of no use.
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
    /// Users or token.
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
