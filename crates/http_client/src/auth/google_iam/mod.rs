//! `google_iam`: tokens for Google Cloud Monitoring, with Prometheus' key.
//!
//! Credentials come from `credentials_file`. Otherwise they are the application's default credentials: the
//! file that `GOOGLE_APPLICATION_CREDENTIALS` names, the file that `gcloud auth application-default login`
//! writes, or the machine's metadata service.
//!
//! Without the Cargo feature `google_iam` the setting is still parsed, and using it is an error that says so.

#[cfg(not(feature = "google_iam"))]
mod absent;
#[cfg(feature = "google_iam")]
mod issuer;

#[cfg(not(feature = "google_iam"))]
pub(crate) use absent::Issuer;
#[cfg(feature = "google_iam")]
pub(crate) use issuer::Issuer;

use serde::Deserialize;
use std::path::PathBuf;

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GoogleIam {
    /// A file with credentials, as Google issues it.
    pub credentials_file: Option<PathBuf>,
}
