//! Signs requests with Signature Version 4.
//!
//! Only what identifies the request is signed (host, time, body, and the headers of the protocol), so that a
//! proxy may add headers of its own.

use super::SigV4;
use crate::auth::AuthError;
use crate::auth::environment::{context, explain};
use crate::auth::error::ProofError;
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use reqsign_aws_v4::{
    AssumeRoleGrant, AssumeRoleGranter, Credential, DefaultCredentialProvider, RequestSigner,
    StaticCredentialProvider,
};
use reqsign_core::{Context, Error, GrantCredential, ProvideCredential, ProvideCredentialChain, Signer};

/// The service of signatures, unless `service_name` is set.
pub const SERVICE: &str = "aps";
/// The name of an assumed role's session in Amazon's records.
const SESSION: &str = "narthex";

const CONTENT_SHA256: HeaderName = HeaderName::from_static("x-amz-content-sha256");

#[derive(Debug)]
pub(crate) struct Signatures {
    signer: Signer<Credential>,
}

impl Signatures {
    /// Checks the configuration and reads its file. Does not look for keys yet.
    pub(crate) fn new(config: &SigV4) -> Result<Self, ProofError> {
        Self::within(config, context()?)
    }

    /// The same with this environment, these files and this network.
    fn within(config: &SigV4, context: Context) -> Result<Self, ProofError> {
        let region = config.region.clone().filter(|region| !region.is_empty());
        let region = region.or_else(|| context.env_var("AWS_REGION"));
        let region = region.or_else(|| context.env_var("AWS_DEFAULT_REGION"));
        let region = region.ok_or(AuthError::Missing("sigv4.region (or AWS_REGION)"))?;
        let keys = match (config.key()?, &config.profile) {
            (Some((name, key)), _) => {
                ProvideCredentialChain::new().push(StaticCredentialProvider::new(&name, &key))
            }
            (None, None) => ProvideCredentialChain::new().push(DefaultCredentialProvider::new()),
            // If a profile is configured, no other source of keys is tried.
            (None, Some(profile)) => {
                let builder = DefaultCredentialProvider::builder().no_env().with_profile(profile.clone());
                ProvideCredentialChain::new().push(builder.no_web_identity().no_ecs().no_imds().build())
            }
        };
        let service = config.service_name.as_deref().unwrap_or(SERVICE);
        let keys = Found { keys, profile: config.profile.clone() };
        let request = RequestSigner::new(service, &region).with_standard_session_token();
        let signer = match &config.role_arn {
            None => Signer::new(context, keys, request),
            Some(role) => {
                let mut grant = AssumeRoleGrant::new(role, SESSION);
                if let Some(id) = &config.external_id {
                    grant = grant.with_external_id(id);
                }
                let role = Role { keys, granter: AssumeRoleGranter::new(&region, grant) };
                Signer::new(context, role, request)
            }
        };
        Ok(Signatures { signer })
    }

    /// Returns the headers that sign this request. `signed` has the headers that are signed in addition to
    /// Amazon's own.
    pub(crate) async fn headers(
        &self,
        uri: &http::Uri,
        signed: &HeaderMap,
        body: &Bytes,
    ) -> Result<HeaderMap, String> {
        let mut parts = head(uri, signed)?;
        let hash = reqsign_core::hash::hex_sha256(body);
        parts.headers.insert(CONTENT_SHA256, HeaderValue::try_from(hash).map_err(|e| e.to_string())?);
        self.signer
            .sign(&mut parts, None)
            .await
            .map_err(|error| format!("no signature: {}", explain(&error)))?;
        // HTTP sets the host.
        parts.headers.remove(header::HOST);
        Ok(parts.headers)
    }
}

fn head(uri: &http::Uri, signed: &HeaderMap) -> Result<Parts, String> {
    let mut request = http::Request::post(uri).body(()).map_err(|error| error.to_string())?;
    request.headers_mut().clone_from(signed);
    // Like HTTP/1.1, without the scheme's default port.
    let host = uri.host().unwrap_or_default();
    let default = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    let host = match uri.port_u16() {
        Some(port) if port != default => format!("{host}:{port}"),
        _ => host.to_string(),
    };
    let host = HeaderValue::try_from(host).map_err(|error| error.to_string())?;
    request.headers_mut().insert(header::HOST, host);
    Ok(request.into_parts().0)
}

/// Finds keys. If there are none, the error says where they could be.
#[derive(Debug)]
struct Found {
    keys: ProvideCredentialChain<Credential>,
    profile: Option<String>,
}

impl ProvideCredential for Found {
    type Credential = Credential;

    async fn provide_credential(&self, context: &Context) -> Result<Option<Credential>, Error> {
        let why = match (self.keys.provide_credential(context).await?, &self.profile) {
            (Some(keys), _) => return Ok(Some(keys)),
            (None, Some(profile)) => format!(
                "sigv4.profile: no keys were found for the profile {profile:?} in ~/.aws/credentials and ~/.aws/config, \
                 or where AWS_SHARED_CREDENTIALS_FILE and AWS_CONFIG_FILE point"
            ),
            (None, None) => "sigv4: no keys were found: not in the entry (access_key with secret_key or \
                secret_key_file), AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, ~/.aws, a web identity, nor a \
                container's or an instance's metadata"
                .to_string(),
        };
        Err(Error::config_invalid(why))
    }
}

/// The keys of a role, in exchange for other keys.
#[derive(Debug)]
struct Role {
    keys: Found,
    granter: AssumeRoleGranter,
}

impl ProvideCredential for Role {
    type Credential = Credential;

    async fn provide_credential(&self, context: &Context) -> Result<Option<Credential>, Error> {
        match self.keys.provide_credential(context).await? {
            Some(keys) => self.granter.grant_credential(context, &keys, None).await.map(Some),
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests;
