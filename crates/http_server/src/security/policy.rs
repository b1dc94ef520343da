//! The user's settings, and their result when the files have been read.

use super::files::Files;
use super::hosts::AllowedHost;
use super::{SecurityError, tls};
use crate::auth::Auth;
use crate::web_config::{ClientAuth, TlsServerConfig, WebConfig};
use http::{HeaderMap, HeaderName, HeaderValue};
use model::Secret;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The headers that a web configuration may add. They are those that Prometheus allows.
pub(super) const HEADERS: [&str; 5] = [
    "content-security-policy",
    "strict-transport-security",
    "x-content-type-options",
    "x-frame-options",
    "x-xss-protection",
];

#[derive(Debug, Clone)]
pub struct WebConfigFile {
    pub path: PathBuf,
    /// Parses its text. The errors name the place in the file.
    pub parse: fn(&Path, &str) -> Result<WebConfig, String>,
}

impl WebConfigFile {
    fn read(&self, files: &mut Files) -> Result<WebConfig, SecurityError> {
        let text = files.text("--web.config.file", &self.path)?;
        (self.parse)(&self.path, &text).map_err(SecurityError::WebConfig)
    }
}

/// The user's settings, before files are read.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// `receive.tls`, with resolved paths.
    pub tls: Option<TlsServerConfig>,
    /// `receive.basic_auth.users`: names and bcrypt hashes.
    pub users: BTreeMap<String, Secret>,
    pub token: Option<Secret>,
    pub token_file: Option<PathBuf>,
    pub web_config: Option<WebConfigFile>,
    /// `receive.allowed_hosts` and `--allowed-host`.
    pub allowed_hosts: Vec<AllowedHost>,
    /// Addresses beside that of `--listen`, each with the key that has it.
    pub more_addresses: Vec<(&'static str, SocketAddr)>,
}

/// Rejects an address that other machines can reach, for a server without any authentication.
pub fn check_exposure(address: SocketAddr, allow_unauthenticated: bool) -> Result<(), SecurityError> {
    if address.ip().to_canonical().is_loopback() || allow_unauthenticated {
        return Ok(());
    }
    Err(SecurityError::Exposed { address })
}

/// The settings, and the address that they are for.
#[derive(Debug, Clone)]
pub struct Policy {
    pub settings: Settings,
    /// The address on which the server listens.
    pub address: SocketAddr,
    pub allow_unauthenticated: bool,
}

/// The settings in use.
#[derive(Debug)]
pub struct Current {
    pub(super) auth: Auth,
    pub(super) tls: Option<Arc<rustls::ServerConfig>>,
    pub(super) headers: HeaderMap,
    pub(super) files: Files,
    pub(super) hosts: Vec<AllowedHost>,
}

impl Current {
    /// Returns the TLS configuration. `None` means plain HTTP.
    pub fn tls(&self) -> Option<Arc<rustls::ServerConfig>> {
        self.tls.clone()
    }

    /// Returns the host names that are accepted in addition to the machine's own.
    pub fn hosts(&self) -> &[AllowedHost] {
        &self.hosts
    }
}

impl Policy {
    /// Reads all files and checks their contents. Blocks on the disk.
    pub fn load(&self) -> Result<Current, SecurityError> {
        let mut files = Files::default();
        let settings = &self.settings;
        let web = match &settings.web_config {
            Some(file) => file.read(&mut files)?,
            None => Default::default(),
        };
        let config = match (&settings.tls, web.tls_server_config) {
            (Some(_), Some(_)) => return Err(SecurityError::Twice { key: "TLS" }),
            (Some(own), None) => Some(own.clone()),
            (None, web) => web,
        };
        let own = || settings.users.iter().map(|(user, hash)| (user.clone(), hash.reveal().to_string()));
        let users = match (settings.users.is_empty(), web.basic_auth_users.is_empty()) {
            (false, false) => return Err(SecurityError::Twice { key: "basic authentication" }),
            (false, true) => own().collect(),
            (true, _) => web.basic_auth_users,
        };
        let mut tokens: Vec<String> = settings.token.iter().map(|token| token.reveal().to_string()).collect();
        if let Some(path) = &settings.token_file {
            tokens.push(files.text("receive.bearer.token_file", path)?.trim().to_string());
        }
        let auth = Auth::new(users, tokens)?;
        let certified =
            config.as_ref().is_some_and(|tls| tls.client_auth_type == ClientAuth::RequireAndVerifyClientCert);
        if auth.is_open() && !certified {
            let more = settings.more_addresses.iter().map(|(_, address)| *address);
            for address in [self.address].into_iter().chain(more) {
                check_exposure(address, self.allow_unauthenticated)?;
            }
        }
        let tls = config.map(|config| tls::server_config(&config, &mut files)).transpose()?.map(Arc::new);
        let hosts = settings.allowed_hosts.clone();
        Ok(Current { auth, tls, headers: headers(&web.http_server_config.headers)?, files, hosts })
    }
}

fn headers(given: &BTreeMap<String, String>) -> Result<HeaderMap, SecurityError> {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let wrong = || SecurityError::Header { name: name.clone() };
        if !HEADERS.contains(&&*name.to_ascii_lowercase()) {
            return Err(wrong());
        }
        let key: HeaderName = name.parse().map_err(|_| wrong())?;
        headers.insert(key, HeaderValue::from_str(value).map_err(|_| wrong())?);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(address: &str, settings: Settings) -> Policy {
        Policy { settings, address: address.parse().unwrap(), allow_unauthenticated: false }
    }

    #[test]
    fn address_beyond_loopback_needs_authentication() {
        for address in ["127.0.0.1:1", "127.8.8.8:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert!(policy(address, Settings::default()).load().is_ok(), "{address}");
        }
        for address in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "192.0.2.1:1"] {
            let mut policy = policy(address, Settings::default());
            let error = policy.load().unwrap_err().to_string();
            assert!(error.contains(address) && error.contains("--allow-unauthenticated"), "{error}");
            policy.settings.token = Some(Secret::new("t"));
            assert!(policy.load().is_ok(), "{address}");
            policy.settings.token = None;
            policy.allow_unauthenticated = true;
            assert!(policy.load().is_ok(), "{address}");
        }
        let more_addresses = vec![("otlp.http_listen", "0.0.0.0:4318".parse().unwrap())];
        let error =
            policy("127.0.0.1:1", Settings { more_addresses, ..Settings::default() }).load().unwrap_err();
        assert!(error.to_string().contains("0.0.0.0:4318"), "{error}");
    }

    #[test]
    fn only_allowed_headers_are_added() {
        let given = |name: &str| headers(&[(name.to_string(), "v".to_string())].into());
        assert_eq!(given("X-Frame-Options").unwrap()["x-frame-options"], "v");
        assert!(given("Set-Cookie").unwrap_err().to_string().contains("Set-Cookie"));
    }
}
