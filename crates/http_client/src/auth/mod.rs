//! Who we are for a destination. Here: `basic_auth` and `authorization`, with secrets from files that are
//! read again while narthex runs. A file each: [`oauth2`], [`azuread`], [`google_iam`], [`sigv4`],
//! and other [`headers`].

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

/// `basic_auth`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BasicAuth {
    /// The user.
    pub username: Option<String>,
    /// A file with the user's name.
    pub username_file: Option<PathBuf>,
    /// The password.
    pub password: Option<Secret>,
    /// A file with the password.
    pub password_file: Option<PathBuf>,
}

/// `authorization`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Authorization {
    /// The scheme; `Bearer` where absent.
    #[serde(rename = "type")]
    pub scheme: Option<String>,
    /// What follows it.
    pub credentials: Option<Secret>,
    /// A file with what follows it.
    pub credentials_file: Option<PathBuf>,
}

/// Why there is no `Authorization` header. Never contains a secret.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// Both of what excludes each other.
    #[error("{0} and {1} exclude each other")]
    Both(&'static str, &'static str),
    /// A key that is needed.
    #[error("{0} is needed")]
    Missing(&'static str),
    /// A file.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What the file system says.
        source: std::io::Error,
    },
    /// A file that a key of the configuration names.
    #[error("{key}: {source}")]
    Named {
        /// The key.
        key: &'static str,
        /// What is wrong with the file.
        source: Box<AuthError>,
    },
    /// A header that is not HTTP.
    #[error("{key}: {name:?} is not a header name, or its value can't stand in a header")]
    Header {
        /// The key of the configuration.
        key: &'static str,
        /// What was to be a header.
        name: String,
    },
    /// A header that is not the user's to set.
    #[error("{key}: {name} can't be set here")]
    Reserved {
        /// The key of the configuration.
        key: &'static str,
        /// The header.
        name: HeaderName,
    },
    /// A value of another form.
    #[error("{key} has to be {want}")]
    Value {
        /// The key of the configuration.
        key: &'static str,
        /// What would be right.
        want: &'static str,
    },
    /// What can't stand in a header.
    #[error("{0} has characters that can't stand in a header")]
    Characters(&'static str),
}

impl AuthError {
    /// The same with the key that names the file.
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

/// A text given directly or as a file; of a file, white space at both ends doesn't count.
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

/// The `Authorization` header; reads files anew each time. `from_url` is what user and password in the
/// URL make; what is configured wins over it.
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

/// What a header holds that is never shown.
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
    fn what_is_missing_or_wrong_is_named_and_never_shown() {
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
