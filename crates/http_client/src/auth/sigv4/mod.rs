//! `sigv4`: requests signed for Amazon's Managed Service for Prometheus (Signature Version 4).
//!
//! Keys come from the configuration, or from the places of Amazon's own tools: the environment, the profiles
//! in `~/.aws`, a web identity, or a container's or an instance's metadata. `role_arn` exchanges them for a
//! role's keys at the security token service. Keys are kept until shortly before they expire.
//!
//! Without the Cargo feature `sigv4` the setting is still parsed, and using it is an error that says so.

#[cfg(not(feature = "sigv4"))]
mod absent;
#[cfg(feature = "sigv4")]
mod sign;

#[cfg(not(feature = "sigv4"))]
pub(crate) use absent::Signatures;
#[cfg(feature = "sigv4")]
pub use sign::SERVICE;
#[cfg(feature = "sigv4")]
pub(crate) use sign::Signatures;

#[cfg(feature = "sigv4")]
use super::{AuthError, text};
use crate::Secret;
use serde::Deserialize;
use std::path::PathBuf;

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SigV4 {
    /// The region. If absent, `AWS_REGION` or `AWS_DEFAULT_REGION`.
    pub region: Option<String>,
    /// The access key's ID.
    pub access_key: Option<String>,
    /// The secret access key.
    pub secret_key: Option<Secret>,
    /// A file with the secret access key. Prometheus has no such setting.
    pub secret_key_file: Option<PathBuf>,
    /// A profile in `~/.aws`.
    pub profile: Option<String>,
    /// A role to assume.
    pub role_arn: Option<String>,
    /// The external ID that the role's owner requires.
    pub external_id: Option<String>,
    /// Another service than `aps`.
    pub service_name: Option<String>,
}

#[cfg(feature = "sigv4")]
impl SigV4 {
    /// Returns the present key, if the configuration has one.
    fn key(&self) -> Result<Option<(String, String)>, AuthError> {
        let names = ("sigv4.secret_key", "sigv4.secret_key_file");
        let direct = self.secret_key.as_ref().map(Secret::reveal);
        match (&self.access_key, text(direct, self.secret_key_file.as_deref(), names)?) {
            (Some(name), Some(key)) => Ok(Some((name.clone(), key))),
            (Some(_), None) => Err(AuthError::Missing(names.0)),
            (None, Some(_)) => Err(AuthError::Missing("sigv4.access_key")),
            (None, None) => Ok(None),
        }
    }
}
