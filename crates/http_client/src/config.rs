//! The settings of a connection to a server: the keys that Prometheus calls `http_config`.

use crate::auth::azuread::AzureAd;
use crate::auth::google_iam::GoogleIam;
use crate::auth::headers::HeaderValues;
use crate::auth::oauth2::OAuth2;
use crate::auth::sigv4::SigV4;
use crate::auth::{Authorization, BasicAuth, read_file};
use crate::proxy::ProxyConfig;
use crate::tls::TlsConfig;
use crate::{AuthError, Secret};
use http::HeaderMap;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Settings of a [`crate::Client`]. At most one authentication scheme may be set, which
/// [`crate::Client::new`] checks.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HttpConfig {
    pub basic_auth: Option<BasicAuth>,
    pub authorization: Option<Authorization>,
    /// Another way to write `authorization.credentials`.
    pub bearer_token: Option<Secret>,
    /// Another way to write `authorization.credentials_file`.
    pub bearer_token_file: Option<PathBuf>,
    pub oauth2: Option<OAuth2>,
    pub sigv4: Option<SigV4>,
    pub azuread: Option<AzureAd>,
    pub google_iam: Option<GoogleIam>,
    pub tls: TlsConfig,
    pub proxy: ProxyConfig,
    pub headers: BTreeMap<String, Secret>,
    pub http_headers: BTreeMap<String, HeaderValues>,
    /// Follow redirects that keep the method and the body: 307 and 308, and for GET all others.
    pub follow_redirects: bool,
    /// Offer HTTP/2 over TLS.
    pub http2: bool,
    /// Begin with a random one of the host's addresses for each connection.
    pub round_robin_dns: bool,
}

impl HttpConfig {
    /// Returns the contents of the files that connections, tokens and signatures depend on. `None` for a file
    /// that can't be read.
    pub(crate) fn files(&self) -> Vec<Option<Vec<u8>>> {
        let mut files: Vec<&PathBuf> = self.tls.files().collect();
        if let Some(oauth2) = &self.oauth2 {
            files.extend(&oauth2.client_secret_file);
            files.extend(oauth2.tls_config.files());
        }
        files.extend(self.google_iam.iter().flat_map(|google| &google.credentials_file));
        files.extend(self.sigv4.iter().flat_map(|sigv4| &sigv4.secret_key_file));
        files.into_iter().map(|path| read_file(path).ok()).collect()
    }

    /// Returns the user's headers. Reads their files each time.
    pub(crate) fn read_headers(&self) -> Result<HeaderMap, AuthError> {
        crate::auth::headers::read(&self.headers, &self.http_headers)
    }
}
