//! The authentication of a destination's requests: one scheme, never two.

use super::error::ProofError;
use super::sigv4::Signatures;
use super::token::{Issuer, TokenSource};
use super::{AuthError, Authorization, azuread, google_iam, oauth2};
use crate::client::Request;
use crate::{HttpConfig, Url};
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug, Clone)]
pub(crate) enum Proof {
    /// The same header for each request (`basic_auth`, `authorization`, or the URL's user and password), or
    /// none.
    Header(Option<HeaderValue>),
    /// `oauth2`, `azuread` or `google_iam`.
    Token(Arc<TokenSource>),
    Signature(Arc<Signatures>),
}

impl Proof {
    /// Checks the configuration and reads its files.
    pub(crate) fn new(config: &HttpConfig, url: &Url) -> Result<Proof, ProofError> {
        if let Some(error) = exclusive(config).into_iter().next() {
            return Err(error.into());
        }
        let issuer = match (&config.oauth2, &config.azuread, &config.google_iam) {
            (Some(oauth2), _, _) => Some(Issuer::OAuth2(Box::new(oauth2::Issuer::new(oauth2)?))),
            (_, Some(azuread), _) => Some(Issuer::AzureAd(Box::new(azuread::Issuer::new(azuread)?))),
            (_, _, Some(google)) => Some(Issuer::GoogleIam(google_iam::Issuer::new(google)?)),
            (None, None, None) => None,
        };
        if let Some(issuer) = issuer {
            return Ok(Proof::Token(Arc::new(TokenSource::new(issuer))));
        }
        if let Some(sigv4) = &config.sigv4 {
            return Ok(Proof::Signature(Arc::new(Signatures::new(sigv4)?)));
        }
        let bearer = bearer(config);
        let authorization = config.authorization.as_ref().or(bearer.as_ref());
        let from_url = url.authorization();
        Ok(Proof::Header(super::header(config.basic_auth.as_ref(), authorization, from_url)?))
    }

    /// Returns what to check if there are no credentials to send.
    pub(crate) fn advice(&self) -> Option<&'static str> {
        match self {
            Proof::Header(_) => None,
            Proof::Token(source) => Some(source.advice()),
            Proof::Signature(_) => Some(
                "check where sigv4 finds its keys (access_key and secret_key, profile, the environment, or the role of \
                 this machine), and its role_arn",
            ),
        }
    }

    /// Returns the headers to add to a request.
    pub(crate) async fn headers(&self, request: &Request, within: Duration) -> Result<HeaderMap, String> {
        let mut headers = HeaderMap::new();
        match self {
            Proof::Header(None) => {}
            Proof::Header(Some(value)) => {
                headers.insert(AUTHORIZATION, value.clone());
            }
            Proof::Token(source) => {
                headers.insert(AUTHORIZATION, source.header(within).await?);
            }
            Proof::Signature(signatures) => {
                let signing = signatures.headers(&request.uri, &request.signed_headers, &request.body);
                let signed = tokio::time::timeout(within, signing).await;
                headers = signed.map_err(|_| format!("no keys to sign with within {within:?}"))??;
            }
        }
        Ok(headers)
    }
}

/// Returns `bearer_token` and `bearer_token_file` as the equivalent `authorization`.
pub(super) fn bearer(config: &HttpConfig) -> Option<Authorization> {
    (config.bearer_token.is_some() || config.bearer_token_file.is_some()).then(|| Authorization {
        scheme: None,
        credentials: config.bearer_token.clone(),
        credentials_file: config.bearer_token_file.clone(),
    })
}

/// Returns an error for each scheme beyond the first.
pub(super) fn exclusive(config: &HttpConfig) -> Vec<AuthError> {
    let given = [
        ("basic_auth", config.basic_auth.is_some()),
        ("authorization", config.authorization.is_some()),
        ("bearer_token", config.bearer_token.is_some()),
        ("bearer_token_file", config.bearer_token_file.is_some()),
        ("oauth2", config.oauth2.is_some()),
        ("sigv4", config.sigv4.is_some()),
        ("azuread", config.azuread.is_some()),
        ("google_iam", config.google_iam.is_some()),
    ];
    let mut given = given.iter().filter(|(_, is)| *is).map(|(key, _)| *key);
    let Some(first) = given.next() else { return Vec::new() };
    given.map(|other| AuthError::Both(first, other)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Secret;
    use crate::auth::sigv4::SigV4;

    fn proof(url: &str, config: &HttpConfig) -> Result<String, String> {
        match Proof::new(config, &Url::parse(url).unwrap()).map_err(|error| error.to_string())? {
            Proof::Header(value) => Ok(value.map(|value| value.to_str().unwrap().into()).unwrap_or_default()),
            _ => Err("no header".into()),
        }
    }

    #[test]
    fn bearer_token_means_the_same_as_authorization() {
        let config = HttpConfig { bearer_token: Some(Secret::new("x")), ..HttpConfig::default() };
        assert_eq!(proof("http://h/", &config), Ok("Bearer x".into()));
        assert_eq!(proof("http://me@h/", &HttpConfig::default()), Ok("Basic bWU6".into()));
        assert_eq!(proof("http://h/", &HttpConfig::default()), Ok(String::new()));
    }

    #[test]
    fn two_schemes_are_rejected() {
        let bearer_token = Some(Secret::new("x"));
        let sigv4 = Some(SigV4 { region: Some("r".into()), ..SigV4::default() });
        let config = HttpConfig { bearer_token, sigv4, ..HttpConfig::default() };
        assert_eq!(proof("http://h/", &config), Err("bearer_token and sigv4 exclude each other".into()));
    }
}
