//! Errors of the schemes that fetch tokens over connections of their own.

use super::AuthError;
use crate::fetch::FetchError;
use crate::proxy::ProxyError;
use crate::tls::TlsError;

/// Why there are no credentials for a destination.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// TLS to the token server.
    #[error("tls_config: {0}")]
    Tls(#[from] TlsError),
    /// A proxy to the token server.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// The connection to the token server.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The connection to the token server of `oauth2`.
    #[error("oauth2.{0}")]
    OAuth2(FetchError),
    /// A setting that this build does not support.
    #[error("{key}: this narthex was built without the Cargo feature {feature}; use a build that has it")]
    NotBuilt { key: &'static str, feature: &'static str },
}
