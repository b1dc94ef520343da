//! The format of Prometheus' web configuration file (`--web.config.file`), as its servers and exporters
//! accept it. The program reads the file and reports the places of errors.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebConfig {
    /// TLS. If absent, connections are plain.
    pub tls_server_config: Option<TlsServerConfig>,
    pub http_server_config: HttpServerConfig,
    /// Users and their bcrypt hashes.
    pub basic_auth_users: BTreeMap<String, String>,
}

/// Prints only the names of users, because hashes must not get into logs.
impl std::fmt::Debug for WebConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebConfig")
            .field("tls_server_config", &self.tls_server_config)
            .field("http_server_config", &self.http_server_config)
            .field("basic_auth_users", &self.basic_auth_users.keys())
            .finish()
    }
}

/// The server's certificate, and the requirements for clients.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsServerConfig {
    /// The server's certificate and its chain, in PEM.
    pub cert_file: Option<PathBuf>,
    /// The certificate's key, in PEM.
    pub key_file: Option<PathBuf>,
    /// Whether clients must have a certificate.
    pub client_auth_type: ClientAuth,
    /// The authorities of client certificates, in PEM.
    pub client_ca_file: Option<PathBuf>,
    /// A client's certificate must have one of these names.
    pub client_allowed_sans: Vec<String>,
    pub min_version: Option<TlsVersion>,
    pub max_version: Option<TlsVersion>,
    pub cipher_suites: Vec<String>,
    pub curve_preferences: Vec<String>,
    /// Go ignores it, too, since 1.17.
    pub prefer_server_cipher_suites: Option<bool>,
}

/// Go's names for the requirements for a client's certificate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum ClientAuth {
    #[default]
    #[serde(alias = "")]
    NoClientCert,
    /// A certificate is requested, but not verified.
    RequestClientCert,
    /// A certificate is required, but not verified.
    RequireAnyClientCert,
    /// A certificate is verified if the client has one.
    VerifyClientCertIfGiven,
    /// A valid certificate is required.
    RequireAndVerifyClientCert,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum TlsVersion {
    #[serde(rename = "TLS10")]
    V1_0,
    #[serde(rename = "TLS11")]
    V1_1,
    #[serde(rename = "TLS12")]
    V1_2,
    #[serde(rename = "TLS13")]
    V1_3,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpServerConfig {
    /// Whether HTTP/2 is offered. narthex supports only HTTP/1.1, which clients then use.
    pub http2: bool,
    /// Headers that are added to every answer.
    pub headers: BTreeMap<String, String>,
}

impl Default for HttpServerConfig {
    fn default() -> Self {
        HttpServerConfig { http2: true, headers: BTreeMap::new() }
    }
}

/// Why a file that can be read is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WebConfigError {
    #[error("{missing} is missing: cert_file and key_file belong together")]
    Pair {
        /// The key that is missing.
        missing: &'static str,
    },
    /// There are no authorities to verify clients with.
    #[error("client_ca_file is missing: client_auth_type {auth:?} verifies clients against it")]
    ClientCa { auth: ClientAuth },
    /// A file that has no effect.
    #[error("{key} is set, but client_auth_type asks for no certificate that is verified")]
    NotVerified { key: &'static str },
    /// The highest version is not supported any more.
    #[error("max_version is TLS 1.0 or 1.1: narthex speaks 1.2 (TLS12) and 1.3 (TLS13)")]
    Old,
    /// The bounds leave no version.
    #[error("max_version is below min_version")]
    Versions,
    /// A feature of Prometheus that narthex does not have.
    #[error("{key} is not supported: leave it out")]
    Unsupported { key: &'static str },
}

impl TlsServerConfig {
    /// Resolves relative paths against `folder`, the folder of the file that contains them.
    pub fn resolve_paths(&mut self, folder: &Path) {
        let files = [&mut self.cert_file, &mut self.key_file, &mut self.client_ca_file];
        for path in files.into_iter().flatten() {
            *path = folder.join(&*path);
        }
    }

    /// Returns the first error.
    pub fn check(&self) -> Result<(), WebConfigError> {
        self.errors().into_iter().next().map_or(Ok(()), Err)
    }

    /// Returns all errors.
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
        // An old minimum has no effect, because 1.2 is the lowest supported version.
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
    fn prometheus_file_is_parsed() {
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
    fn settings_without_effect_are_errors_that_name_the_key() {
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
