//! Prometheus' own web configuration file (`--web.config.file`), as its servers and exporters take it.
//! Shapes only: reading the file, and saying where in it something is wrong, is the program's.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The whole file.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebConfig {
    /// TLS; without it connections are plain.
    pub tls_server_config: Option<TlsServerConfig>,
    /// How HTTP is spoken.
    pub http_server_config: HttpServerConfig,
    /// Users and their bcrypt hashes.
    pub basic_auth_users: BTreeMap<String, String>,
}

/// Names of users only: hashes are not for logs.
impl std::fmt::Debug for WebConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebConfig")
            .field("tls_server_config", &self.tls_server_config)
            .field("http_server_config", &self.http_server_config)
            .field("basic_auth_users", &self.basic_auth_users.keys())
            .finish()
    }
}

/// Certificates, and what is asked of clients.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsServerConfig {
    /// The server's certificate and those above it, PEM.
    pub cert_file: Option<PathBuf>,
    /// Its key, PEM.
    pub key_file: Option<PathBuf>,
    /// Whether clients must have a certificate.
    pub client_auth_type: ClientAuth,
    /// Who must have signed it, PEM.
    pub client_ca_file: Option<PathBuf>,
    /// Names of which a client's certificate must have one.
    pub client_allowed_sans: Vec<String>,
    /// The oldest version spoken.
    pub min_version: Option<TlsVersion>,
    /// The newest version spoken.
    pub max_version: Option<TlsVersion>,
    /// Go's names of cipher suites.
    pub cipher_suites: Vec<String>,
    /// Go's names of curves.
    pub curve_preferences: Vec<String>,
    /// Has no effect in Go either, since 1.17.
    pub prefer_server_cipher_suites: Option<bool>,
}

/// Go's words for what is asked of a client's certificate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum ClientAuth {
    /// Nothing.
    #[default]
    #[serde(alias = "")]
    NoClientCert,
    /// One is asked for, and not looked at.
    RequestClientCert,
    /// There must be one, and it is not looked at.
    RequireAnyClientCert,
    /// If there is one it must be valid.
    VerifyClientCertIfGiven,
    /// There must be a valid one.
    RequireAndVerifyClientCert,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum TlsVersion {
    /// 1.0
    #[serde(rename = "TLS10")]
    V1_0,
    /// 1.1
    #[serde(rename = "TLS11")]
    V1_1,
    /// 1.2
    #[serde(rename = "TLS12")]
    V1_2,
    /// 1.3
    #[serde(rename = "TLS13")]
    V1_3,
}

/// How HTTP is spoken.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpServerConfig {
    /// Whether HTTP/2 is offered. narthex speaks HTTP/1.1 only, which is what a client then takes.
    pub http2: bool,
    /// Headers added to every answer.
    pub headers: BTreeMap<String, String>,
}

impl Default for HttpServerConfig {
    fn default() -> Self {
        HttpServerConfig { http2: true, headers: BTreeMap::new() }
    }
}

/// Why a file that can be read is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WebConfigError {
    /// One without the other.
    #[error("{missing} is missing: cert_file and key_file belong together")]
    Pair {
        /// Which is missing.
        missing: &'static str,
    },
    /// Clients can't be verified.
    #[error("client_ca_file is missing: client_auth_type {auth:?} verifies clients against it")]
    ClientCa {
        /// What is asked of clients.
        auth: ClientAuth,
    },
    /// A file that nothing asks for.
    #[error("{key} is set, but client_auth_type asks for no certificate that is verified")]
    NotVerified {
        /// The key.
        key: &'static str,
    },
    /// A version that is not spoken any more.
    #[error("max_version is TLS 1.0 or 1.1: narthex speaks 1.2 (TLS12) and 1.3 (TLS13)")]
    Old,
    /// Nothing in between.
    #[error("max_version is below min_version")]
    Versions,
    /// What Prometheus has and narthex lacks.
    #[error("{key} is not supported: leave it out")]
    Unsupported {
        /// The key.
        key: &'static str,
    },
}

impl TlsServerConfig {
    /// Makes relative paths relative to `folder`, where the file is in which they stand.
    pub fn resolve_paths(&mut self, folder: &Path) {
        let files = [&mut self.cert_file, &mut self.key_file, &mut self.client_ca_file];
        for path in files.into_iter().flatten() {
            *path = folder.join(&*path);
        }
    }

    /// Checks that it makes sense.
    pub fn check(&self) -> Result<(), WebConfigError> {
        self.errors().into_iter().next().map_or(Ok(()), Err)
    }

    /// All that does not make sense.
    pub fn errors(&self) -> Vec<WebConfigError> {
        let mut errors = Vec::new();
        for (key, file) in [("cert_file", &self.cert_file), ("key_file", &self.key_file)] {
            if file.is_none() {
                errors.push(WebConfigError::Pair { missing: key });
            }
        }
        let verifies = matches!(
            self.client_auth_type,
            ClientAuth::VerifyClientCertIfGiven | ClientAuth::RequireAndVerifyClientCert
        );
        let asks =
            matches!(self.client_auth_type, ClientAuth::RequestClientCert | ClientAuth::RequireAnyClientCert);
        if verifies && self.client_ca_file.is_none() {
            errors.push(WebConfigError::ClientCa { auth: self.client_auth_type });
        }
        if !verifies && !asks && self.client_ca_file.is_some() {
            errors.push(WebConfigError::NotVerified { key: "client_ca_file" });
        }
        // An old minimum asks for nothing: 1.2 is the least that is spoken.
        let is_old = self.max_version.is_some_and(|version| version < TlsVersion::V1_2);
        if is_old {
            errors.push(WebConfigError::Old);
        }
        if let (Some(min), Some(max)) = (self.min_version, self.max_version)
            && max < min
            && !is_old
        {
            errors.push(WebConfigError::Versions);
        }
        for (key, given) in [
            ("cipher_suites", !self.cipher_suites.is_empty()),
            ("curve_preferences", !self.curve_preferences.is_empty()),
            ("client_allowed_sans", !self.client_allowed_sans.is_empty()),
            ("client_auth_type (one that doesn't verify)", asks),
        ] {
            if given {
                errors.push(WebConfigError::Unsupported { key });
            }
        }
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(tls: serde_json::Value) -> TlsServerConfig {
        serde_json::from_value(tls).unwrap()
    }

    #[test]
    fn a_file_of_prometheus_is_read() {
        let file = serde_json::json!({
            "tls_server_config": {
                "cert_file": "server.crt", "key_file": "server.key", "min_version": "TLS12",
                "client_auth_type": "RequireAndVerifyClientCert", "client_ca_file": "ca.crt"
            },
            "http_server_config": { "http2": true, "headers": { "X-Frame-Options": "deny" } },
            "basic_auth_users": { "ann": "$2y$10$hash" }
        });
        let config: WebConfig = serde_json::from_value(file).unwrap();
        assert_eq!(config.tls_server_config.as_ref().unwrap().check(), Ok(()));
        assert!(!format!("{config:?}").contains("$2y$"));
        assert_eq!(serde_json::from_str::<WebConfig>("{}").unwrap(), WebConfig::default());
        assert!(serde_json::from_str::<WebConfig>("{\"rate_limit\": {}}").is_err());
    }

    #[test]
    fn what_would_not_protect_is_an_error_that_names_the_key() {
        let files = serde_json::json!({"cert_file": "c", "key_file": "k"});
        let with = |key: &str, value: &str| {
            let mut files = files.clone();
            files[key] = value.into();
            config(files).check().unwrap_err().to_string()
        };
        assert!(
            config(serde_json::json!({"cert_file": "c"}))
                .check()
                .unwrap_err()
                .to_string()
                .contains("key_file")
        );
        assert!(with("client_auth_type", "RequireAndVerifyClientCert").contains("client_ca_file is missing"));
        assert!(with("client_auth_type", "RequireAnyClientCert").contains("client_auth_type"));
        assert!(with("client_ca_file", "ca").contains("client_ca_file is set"));
        assert!(with("max_version", "TLS11").contains("1.2 (TLS12)"));
    }
}
