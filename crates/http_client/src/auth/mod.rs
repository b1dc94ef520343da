//! Authentication at a server. This file has `basic_auth` and `authorization`, with secrets from files that
//! are read again while narthex runs. Each of these has its own file: [`oauth2`], [`azuread`],
//! [`google_iam`], [`sigv4`], and the user's [`headers`].

pub mod azuread;
#[cfg(any(feature = "sigv4", feature = "google_iam"))]
pub mod environment;
pub mod error;
pub(crate) mod errors;
pub mod google_iam;
pub mod headers;
pub mod oauth2;
pub(crate) mod proof;
pub mod sigv4;
pub mod token;

use crate::Secret;
use base64::Engine as _;
use http::header::InvalidHeaderValue;
use http::{HeaderName, HeaderValue};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Most bytes of a file with a secret, a certificate or a key.
pub const FILE_BYTES: u64 = 1 << 20;

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BasicAuth {
    pub username: Option<String>,
    pub username_file: Option<PathBuf>,
    pub password: Option<Secret>,
    pub password_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Authorization {
    /// The scheme. `Bearer` if absent.
    #[serde(rename = "type")]
    pub scheme: Option<String>,
    /// The text after the scheme.
    pub credentials: Option<Secret>,
    /// A file with the text after the scheme.
    pub credentials_file: Option<PathBuf>,
}

/// Why there is no `Authorization` header. Never contains a secret.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    #[error("{0} and {1} exclude each other")]
    Both(&'static str, &'static str),
    #[error("{0} is needed")]
    Missing(&'static str),
    #[error("{path}: {source}", path = path.display())]
    File { path: PathBuf, source: std::io::Error },
    /// A configured file can't be used.
    #[error("{key}: {source}")]
    Named { key: &'static str, source: Box<AuthError> },
    /// A name or value that is not allowed in HTTP headers.
    #[error("{key}: {name:?} is not a header name, or its value can't stand in a header")]
    Header {
        /// The key of the configuration.
        key: &'static str,
        /// The header's name.
        name: String,
    },
    /// A header that the user can't set.
    #[error("{key}: {name} can't be set here")]
    Reserved { key: &'static str, name: HeaderName },
    /// A value of the wrong form.
    #[error("{key} has to be {want}")]
    Value {
        key: &'static str,
        /// The expected form.
        want: &'static str,
    },
    /// A text with characters that are not allowed in a header.
    #[error("{0} has characters that can't stand in a header")]
    Characters(&'static str),
}

impl AuthError {
    /// Adds the key that names the file.
    pub(crate) fn at(self, key: &'static str) -> AuthError {
        AuthError::Named { key, source: Box::new(self) }
    }
}

/// Reads a small file of the configuration.
pub fn read_file(path: &Path) -> Result<Vec<u8>, AuthError> {
    let failed = |source| AuthError::File { path: path.to_path_buf(), source };
    let length = std::fs::metadata(path).map_err(failed)?.len();
    if length > FILE_BYTES {
        let message = format!("has {length} bytes, more than {FILE_BYTES}");
        return Err(failed(std::io::Error::other(message)));
    }
    std::fs::read(path).map_err(failed)
}

/// Returns a text given directly or as a file. White space at both ends of a file is removed.
fn text(
    direct: Option<&str>,
    file: Option<&Path>,
    names: (&'static str, &'static str),
) -> Result<Option<String>, AuthError> {
    match (direct, file) {
        (Some(_), Some(_)) => Err(AuthError::Both(names.0, names.1)),
        (Some(direct), None) => Ok(Some(direct.to_string())),
        (None, Some(file)) => {
            let content = read_file(file).map_err(|error| error.at(names.1))?;
            Ok(Some(String::from_utf8_lossy(&content).trim().to_string()))
        }
        (None, None) => Ok(None),
    }
}

impl BasicAuth {
    fn user(&self) -> Result<String, AuthError> {
        let names = ("basic_auth.username", "basic_auth.username_file");
        text(self.username.as_deref(), self.username_file.as_deref(), names)?
            .ok_or(AuthError::Missing(names.0))
    }

    fn password(&self) -> Result<String, AuthError> {
        let names = ("basic_auth.password", "basic_auth.password_file");
        let direct = self.password.as_ref().map(Secret::reveal);
        Ok(text(direct, self.password_file.as_deref(), names)?.unwrap_or_default())
    }
}

impl Authorization {
    fn secret(&self) -> Result<String, AuthError> {
        let names = ("authorization.credentials", "authorization.credentials_file");
        let direct = self.credentials.as_ref().map(Secret::reveal);
        text(direct, self.credentials_file.as_deref(), names)?.ok_or(AuthError::Missing(names.0))
    }

    fn scheme(&self) -> Result<&str, AuthError> {
        let scheme = self.scheme.as_deref().unwrap_or("Bearer").trim();
        if scheme.eq_ignore_ascii_case("basic") {
            return Err(AuthError::Both("authorization.type basic", "basic_auth, which is for that"));
        }
        Ok(scheme)
    }
}

/// Returns the `Authorization` header. Reads files each time. `from_url` is the header for user and password
/// in the URL. The configured credentials take precedence over it.
pub fn header(
    basic: Option<&BasicAuth>,
    authorization: Option<&Authorization>,
    from_url: Option<&str>,
) -> Result<Option<HeaderValue>, AuthError> {
    let value = match (basic, authorization) {
        (Some(_), Some(_)) => return Err(AuthError::Both("basic_auth", "authorization")),
        (Some(basic), None) => {
            let plain = format!("{}:{}", basic.user()?, basic.password()?);
            Some(format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(plain)))
        }
        (None, Some(authorization)) => {
            let credentials = authorization.secret()?;
            Some(format!("{} {credentials}", authorization.scheme()?))
        }
        (None, None) => from_url.map(str::to_string),
    };
    value.map(|value| sensitive(&value).map_err(|_| AuthError::Characters("the secret"))).transpose()
}

/// Returns a header value that is never shown.
pub(crate) fn sensitive(value: &str) -> Result<HeaderValue, InvalidHeaderValue> {
    let mut value = HeaderValue::from_str(value)?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "helper functions of tests")]
    use super::*;

    fn shown(basic: Option<BasicAuth>, authorization: Option<Authorization>) -> Result<String, String> {
        match header(basic.as_ref(), authorization.as_ref(), Some("Basic dXJs")) {
            Ok(value) => Ok(value.unwrap().to_str().unwrap().to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn secrets_come_from_the_configuration_or_from_files() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        std::fs::write(&file, "p@ss\n").unwrap();
        let basic = BasicAuth {
            username: Some("me".into()),
            password_file: Some(file.clone()),
            ..BasicAuth::default()
        };
        assert_eq!(shown(Some(basic.clone()), None).unwrap(), "Basic bWU6cEBzcw==");
        let bearer = Authorization { credentials_file: Some(file), ..Authorization::default() };
        assert_eq!(shown(None, Some(bearer.clone())).unwrap(), "Bearer p@ss");
        let token = Authorization {
            scheme: Some("Token".into()),
            credentials: Some(Secret::new("x")),
            ..Authorization::default()
        };
        assert_eq!(shown(None, Some(token)).unwrap(), "Token x");
        assert_eq!(shown(None, None).unwrap(), "Basic dXJs");
        let both = shown(Some(basic), Some(bearer)).unwrap_err();
        assert_eq!(both, "basic_auth and authorization exclude each other");
    }

    #[test]
    fn errors_name_keys_and_never_show_secrets() {
        let nobody = shown(Some(BasicAuth::default()), None).unwrap_err();
        assert_eq!(nobody, "basic_auth.username is needed");
        let gone = Authorization { credentials_file: Some("/nowhere/x".into()), ..Authorization::default() };
        assert!(
            shown(None, Some(gone)).unwrap_err().starts_with("authorization.credentials_file: /nowhere/x: ")
        );
        let odd = Authorization { credentials: Some(Secret::new("hidden\n")), ..Authorization::default() };
        let error = shown(None, Some(odd)).unwrap_err();
        assert!(error.contains("can't stand in a header") && !error.contains("hidden"));
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("huge");
        std::fs::File::create(&file).unwrap().set_len(FILE_BYTES + 1).unwrap();
        assert!(read_file(&file).unwrap_err().to_string().contains("more than"));
    }
}
