//! `oauth2`: a token from a token server, with the client's own credentials (RFC 6749, section 4.4).
//!
//! Client ID and secret are sent in an `Authorization` header, which every token server must accept. A server
//! that refuses the header gets them in the body from then on.

use super::token::{Token, header_value, read_answer};
use super::{AuthError, text};
use crate::Secret;
use crate::fetch::Fetcher;
use crate::proxy::ProxyConfig;
use crate::tls::TlsConfig;
use crate::url::Url;
use base64::Engine as _;
use bytes::Bytes;
use form_urlencoded::{Serializer, byte_serialize};
use http::{HeaderValue, Method, StatusCode, header};
use http_body_util::Full;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OAuth2 {
    pub client_id: String,
    #[serde(default)]
    pub client_secret: Option<Secret>,
    #[serde(default)]
    pub client_secret_file: Option<PathBuf>,
    /// The scopes of the token.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// The URL of the token server.
    pub token_url: Url,
    /// Additional parameters of the token request.
    #[serde(default)]
    pub endpoint_params: BTreeMap<String, String>,
    /// The trusted certificates and the client certificate for the token server. Not the destination's.
    #[serde(default)]
    pub tls_config: TlsConfig,
    /// A proxy to the token server. Not the destination's.
    #[serde(default, deserialize_with = "crate::url::deserialize_proxy")]
    pub proxy_url: Option<Url>,
    /// Hosts that are reached without the proxy.
    #[serde(default)]
    pub no_proxy: Option<String>,
    /// Takes proxy and exceptions from the environment.
    #[serde(default)]
    pub proxy_from_environment: bool,
    /// Headers for the proxy's CONNECT request.
    #[serde(default)]
    pub proxy_connect_header: BTreeMap<String, Vec<Secret>>,
}

impl OAuth2 {
    /// Returns the present secret.
    pub(super) fn secret(&self) -> Result<String, AuthError> {
        let names = ("oauth2.client_secret", "oauth2.client_secret_file");
        let direct = self.client_secret.as_ref().map(Secret::reveal);
        text(direct, self.client_secret_file.as_deref(), names)?.ok_or(AuthError::Missing(names.0))
    }

    pub(super) fn proxy(&self) -> ProxyConfig {
        ProxyConfig {
            url: self.proxy_url.clone(),
            no_proxy: self.no_proxy.clone(),
            from_environment: self.proxy_from_environment,
            connect_header: self.proxy_connect_header.clone(),
        }
    }
}

/// Gets tokens from the token server.
#[derive(Debug)]
pub(crate) struct Issuer {
    config: OAuth2,
    fetcher: Fetcher,
    /// The server has refused the header, and has accepted the body since.
    in_body: AtomicBool,
}

impl Issuer {
    /// Checks the configuration and reads its files. Sends no request.
    pub(crate) fn new(config: &OAuth2) -> Result<Self, super::error::ProofError> {
        config.secret()?;
        let fetcher = Fetcher::new(config.token_url.uri(), &config.tls_config, &config.proxy(), 1);
        let fetcher = fetcher.map_err(super::error::ProofError::OAuth2)?;
        Ok(Issuer { config: config.clone(), fetcher, in_body: AtomicBool::default() })
    }

    /// Returns the server for people.
    pub(super) fn shown(&self) -> String {
        self.config.token_url.to_string()
    }

    /// Requests a token.
    pub(super) async fn ask(&self) -> Result<Token, String> {
        let secret = self.config.secret().map_err(|error| error.to_string())?;
        let in_body = self.in_body.load(Ordering::Relaxed);
        let answer = self.post(&secret, in_body).await?;
        // Servers that don't support the header answer 400 or 401, as they do to a wrong secret.
        if !in_body && matches!(answer.0, StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED) {
            let again = self.post(&secret, true).await?;
            if again.0.is_success() {
                self.in_body.store(true, Ordering::Relaxed);
                return Token::given(again);
            }
        }
        Token::given(answer)
    }

    async fn post(&self, secret: &str, in_body: bool) -> Result<(StatusCode, Bytes), String> {
        read_answer(&self.fetcher, self.request(secret, in_body)?).await
    }

    fn request(&self, secret: &str, in_body: bool) -> Result<http::Request<Full<Bytes>>, String> {
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        if !self.config.scopes.is_empty() {
            form.append_pair("scope", &self.config.scopes.join(" "));
        }
        form.extend_pairs(&self.config.endpoint_params);
        if in_body {
            form.append_pair("client_id", &self.config.client_id).append_pair("client_secret", secret);
        }
        let mut request = http::Request::new(Full::new(Bytes::from(form.finish())));
        *request.method_mut() = Method::POST;
        let url = &self.config.token_url;
        *request.uri_mut() = url.uri().clone();
        let headers = request.headers_mut();
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(header::CONTENT_TYPE, kind);
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(crate::USER_AGENT));
        if !in_body {
            let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
            let plain = format!("{}:{}", encoded(&self.config.client_id), encoded(secret));
            let value = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(plain));
            headers.insert(header::AUTHORIZATION, header_value(&value)?);
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_needed_once() {
        let json = r#"{"client_id": "me", "token_url": "https://h/token", "client_secret": "a",
            "client_secret_file": "b"}"#;
        let config: OAuth2 = serde_json::from_str(json).unwrap();
        assert!(config.secret().unwrap_err().to_string().contains("exclude each other"));
        let none = OAuth2 { client_secret: None, client_secret_file: None, ..config };
        assert_eq!(none.secret().unwrap_err().to_string(), "oauth2.client_secret is needed");
    }
}
