//! What is wrong where more than secrets is needed: tokens are fetched, over connections of their own.

use super::AuthError;
use crate::fetch::FetchError;
use crate::proxy::ProxyError;
use crate::tls::TlsError;

/// Why a destination can't be shown who we are.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// A secret.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// TLS to where tokens come from.
    #[error("tls_config: {0}")]
    Tls(#[from] TlsError),
    /// A proxy to where tokens come from.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// The connection to where tokens come from.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The connection to the token server of `oauth2`.
    #[error("oauth2.{0}")]
    OAuth2(FetchError),
    /// A setting that this build leaves out.
    #[error("{key}: this narthex was built without the Cargo feature {feature}; use a build that has it")]
    NotBuilt {
        /// The key of the configuration.
        key: &'static str,
        /// The Cargo feature.
        feature: &'static str,
    },
}
