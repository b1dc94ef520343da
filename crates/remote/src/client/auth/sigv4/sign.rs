//! Signs requests with Signature Version 4.
//!
//! Only what identifies the request is signed (host, time, body, and the headers of the protocol), so that a
//! proxy may add headers of its own.

use super::SigV4;
use crate::client::auth::error::ProofError;
use crate::client::auth::{AuthError, read_file};
use crate::client::connect::{Connecting, Http, Lookup};
use crate::client::proxy::Proxies;
use crate::client::tls::TlsConfig;
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http_body_util::{BodyExt, Full, Limited};
use reqsign_aws_v4::{
    AssumeRoleGrant, AssumeRoleGranter, Credential, DefaultCredentialProvider, RequestSigner,
    StaticCredentialProvider,
};
use reqsign_core::{
    Context, Error, FileRead, GrantCredential, HttpSend, OsEnv, ProvideCredential, ProvideCredentialChain,
    Signer,
};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Most bytes of an answer that has keys in it.
pub const KEYS_BYTES: usize = 256 << 10;
/// How long one request for keys may take. Metadata is near; where there is none, nobody answers.
pub const KEYS_TIMEOUT: Duration = Duration::from_secs(5);
/// The service that signatures are for, unless `service_name` says otherwise.
pub const SERVICE: &str = "aps";
/// What an assumed role's session is called in Amazon's records.
const SESSION: &str = "narthex";

const CONTENT_SHA256: HeaderName = HeaderName::from_static("x-amz-content-sha256");

/// Signs requests.
#[derive(Debug)]
pub(crate) struct Signatures {
    signer: Signer<Credential>,
}

impl Signatures {
    /// Checks the configuration and reads its file; no keys are looked for yet.
    pub(crate) fn new(config: &SigV4) -> Result<Self, ProofError> {
        let environment = ProxyEnvironment::get()?;
        let context = Context::new().with_env(OsEnv).with_file_read(Files).with_http_send(Network {
            // Keys that are given need nobody's; whoever needs it is told what is wrong.
            https: environment.client(true).map_err(|error| error.to_string()),
            http: environment.client(false)?,
        });
        Self::within(config, context)
    }

    /// With this environment, these files and this network.
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
            // A profile that is named is meant: nothing else is tried first.
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

    /// The headers that sign this request. `signed` are those that are signed beside Amazon's own.
    pub(crate) async fn headers(
        &self,
        uri: &http::Uri,
        signed: &HeaderMap,
        body: &Bytes,
    ) -> Result<HeaderMap, String> {
        let mut parts = head(uri, signed)?;
        let hash = reqsign_core::hash::hex_sha256(body);
        parts.headers.insert(CONTENT_SHA256, HeaderValue::try_from(hash).map_err(|e| e.to_string())?);
        self.signer.sign(&mut parts, None).await.map_err(|error| explain(&error))?;
        // The host goes where HTTP puts it.
        parts.headers.remove(header::HOST);
        Ok(parts.headers)
    }
}

fn head(uri: &http::Uri, signed: &HeaderMap) -> Result<Parts, String> {
    let mut request = http::Request::post(uri).body(()).map_err(|error| error.to_string())?;
    request.headers_mut().clone_from(signed);
    // As HTTP/1.1 sends it: a scheme's own port is left out.
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

/// What the library says, with its reasons, in one line.
fn explain(error: &Error) -> String {
    let mut words = format!("no signature: {}", error.to_string().trim());
    let mut reason = std::error::Error::source(error);
    while let Some(source) = reason {
        words.push_str(": ");
        words.push_str(&source.to_string());
        reason = source.source();
    }
    crate::client::answer::words(words.as_bytes())
}

/// Keys from wherever they are; where there are none, words that say where they could be.
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

/// Keys of a role, in exchange for other keys.
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

/// Reads small files only.
#[derive(Debug)]
struct Files;

impl FileRead for Files {
    async fn file_read(&self, path: &str) -> Result<Vec<u8>, Error> {
        read_file(Path::new(path)).map_err(|error| Error::config_invalid(error.to_string()))
    }
}

/// How keys are fetched: within limits; by the environment's proxies, as Amazon's own tools do.
#[derive(Debug)]
struct Network {
    https: Result<Http, String>,
    http: Http,
}

impl HttpSend for Network {
    async fn http_send(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>, Error> {
        let uri = request.uri().clone();
        let host = uri.host().unwrap_or_default().to_string();
        let https = uri.scheme_str() == Some("https");
        let fetch = async {
            let client = if https { self.https.as_ref().map_err(Clone::clone)? } else { &self.http };
            let answer = client.request(request.map(Full::new)).await;
            let answer = answer.map_err(|error| crate::client::explain(&error, &uri))?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, KEYS_BYTES).collect().await.map_err(|error| error.to_string())?;
            Ok::<_, String>(http::Response::from_parts(head, body.to_bytes()))
        };
        let fetched = tokio::time::timeout(KEYS_TIMEOUT, fetch).await;
        let fetched = fetched.unwrap_or_else(|_| Err(format!("no answer within {KEYS_TIMEOUT:?}")));
        fetched.map_err(|reason| Error::unexpected(format!("{host}: {reason}")))
    }
}

struct ProxyEnvironment(Arc<Proxies>);

impl ProxyEnvironment {
    fn get() -> Result<Self, ProofError> {
        let config = crate::client::proxy::ProxyConfig { from_environment: true, ..Default::default() };
        Ok(ProxyEnvironment(Arc::new(Proxies::new(&config, |name| std::env::var(name).ok())?)))
    }

    /// Metadata is asked for without TLS and without a proxy: what is at such an address is near.
    fn client(&self, https: bool) -> Result<Http, ProofError> {
        let connecting = Connecting {
            tls: TlsConfig::default(),
            proxies: if https { self.0.clone() } else { Arc::default() },
            http2: false,
            idle_max: 1,
            lookup: Lookup::new(false),
        };
        let to = if https { "https://sts.amazonaws.com/" } else { "http://169.254.169.254/" };
        Ok(connecting.client(&http::Uri::from_static(to))?)
    }
}

#[cfg(test)]
mod tests;
