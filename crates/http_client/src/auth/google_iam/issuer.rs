//! Finds credentials and exchanges them for tokens.

use super::GoogleIam;
use crate::auth::environment::{context, explain};
use crate::auth::error::ProofError;
use crate::auth::token::Token;
use crate::auth::{AuthError, read_file};
use reqsign_core::time::Timestamp;
use reqsign_core::{Context, Error, ProvideCredential};
use reqsign_google::{
    Credential, DefaultCredentialProvider, EnvCredentialProvider, FileCredentialProvider,
    ServiceAccountTokenCredentialProvider, VmMetadataCredentialProvider, WellKnownCredentialProvider,
};
use rustls::SignatureAlgorithm;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;

/// The scope of tokens, as in Prometheus.
const SCOPE: &str = "https://www.googleapis.com/auth/monitoring.write";

const KEY: &str = "google_iam.credentials_file";

/// The checked parts of a credentials file: that it is valid JSON, and the signing key.
#[derive(Deserialize)]
struct Account {
    private_key: Option<String>,
}

/// Checks a credentials file. The error says what the setting has to be.
fn check(content: &[u8]) -> Result<(), &'static str> {
    let account: Account = serde_json::from_slice(content)
        .map_err(|_| "a file with the JSON that Google gives out for a service account")?;
    let Some(pem) = account.private_key else { return Ok(()) };
    let key = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).ok();
    match key.and_then(|key| rustls::crypto::ring::sign::any_supported_type(&key.into()).ok()) {
        Some(key) if key.algorithm() == SignatureAlgorithm::RSA => Ok(()),
        _ => Err("a file whose private_key is an RSA key in PEM (PKCS #8), as Google gives it out"),
    }
}

#[derive(Debug)]
pub(crate) struct Issuer {
    file: Option<String>,
    context: Context,
}

impl Issuer {
    /// Checks the configuration, and that the file can be read. Sends no request.
    pub(crate) fn new(config: &GoogleIam) -> Result<Self, ProofError> {
        Self::within(config, context()?)
    }

    /// The same with this environment, these files and this network.
    fn within(config: &GoogleIam, context: Context) -> Result<Self, ProofError> {
        let file = match &config.credentials_file {
            Some(path) => {
                let content = read_file(path).map_err(|error| error.at(KEY))?;
                check(&content).map_err(|want| AuthError::Value { key: KEY, want })?;
                Some(path.to_string_lossy().into_owned())
            }
            None => None,
        };
        Ok(Issuer { file, context })
    }

    /// Requests a token.
    pub(in crate::auth) async fn ask(&self) -> Result<Token, String> {
        let credential = self.credential().await.map_err(|error| explain(&error))?;
        let token = credential.and_then(|credential| credential.token).ok_or(
            "no credentials were found: not in google_iam.credentials_file, GOOGLE_APPLICATION_CREDENTIALS, \
             gcloud's application default credentials, nor the machine's metadata service",
        )?;
        let seconds = token.expires_at.map(|at| at.as_second().saturating_sub(Timestamp::now().as_second()));
        Token::bearer(&token.access_token, seconds.and_then(|seconds| u64::try_from(seconds).ok()))
    }

    async fn credential(&self) -> Result<Option<Credential>, Error> {
        let found = match &self.file {
            Some(path) => {
                let file = FileCredentialProvider::new(path).with_scope(SCOPE);
                file.provide_credential(&self.context).await?
            }
            None => {
                let default = DefaultCredentialProvider::builder()
                    .env(EnvCredentialProvider::new().with_scope(SCOPE))
                    .well_known(WellKnownCredentialProvider::new().with_scope(SCOPE))
                    .vm_metadata(VmMetadataCredentialProvider::new().with_scope(SCOPE))
                    .build();
                default.provide_credential(&self.context).await?
            }
        };
        match found {
            // A service account's key is exchanged for a token.
            Some(Credential { service_account: Some(account), token: None, .. }) => {
                let exchange = ServiceAccountTokenCredentialProvider::new(account).with_scope(SCOPE);
                exchange.provide_credential(&self.context).await
            }
            found => Ok(found),
        }
    }
}

#[cfg(test)]
mod tests;
