//! `azuread`: tokens of Microsoft Entra ID for Azure Monitor, with Prometheus' keys.
//!
//! There are three kinds of identity: a client's secret (`oauth`), the file that Kubernetes writes for a
//! workload (`workload_identity`), and the machine's metadata service (`managed_identity`). `sdk` chooses one
//! of them by the environment.

use super::AuthError;
use super::token::{Token, read_answer};
use super::{error::ProofError, read_file};
use crate::Secret;
use crate::fetch::Fetcher;
use crate::proxy::ProxyConfig;
use crate::tls::TlsConfig;
use bytes::Bytes;
use form_urlencoded::Serializer;
use http::{HeaderName, HeaderValue, Method, Request, Uri, header};
use http_body_util::Full;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The server of a managed identity's tokens.
const METADATA: &str = "http://169.254.169.254";
/// The file in which Kubernetes writes a workload's token.
const TOKEN_FILE: &str = "/var/run/secrets/azure/tokens/azure-identity-token";
/// The type of a workload's token, by RFC 7523.
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AzureAd {
    pub cloud: Cloud,
    /// An identity of the machine.
    pub managed_identity: Option<ManagedIdentity>,
    /// An application with a secret.
    pub oauth: Option<OAuth>,
    /// An application for a Kubernetes workload.
    pub workload_identity: Option<WorkloadIdentity>,
    /// An identity from the environment.
    pub sdk: Option<Sdk>,
    /// The scope of the token, if it is not Azure Monitor.
    pub scope: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum Cloud {
    #[default]
    AzurePublic,
    AzureChina,
    AzureGovernment,
}

impl Cloud {
    fn authority(self) -> &'static str {
        match self {
            Cloud::AzurePublic => "https://login.microsoftonline.com",
            Cloud::AzureChina => "https://login.chinacloudapi.cn",
            Cloud::AzureGovernment => "https://login.microsoftonline.us",
        }
    }

    fn scope(self) -> &'static str {
        match self {
            Cloud::AzurePublic => "https://monitor.azure.com//.default",
            Cloud::AzureChina => "https://monitor.azure.cn//.default",
            Cloud::AzureGovernment => "https://monitor.azure.us//.default",
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ManagedIdentity {
    /// Selects the identity, if the machine has several.
    pub client_id: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OAuth {
    /// The application's ID.
    pub client_id: String,
    pub client_secret: Secret,
    /// The ID of its directory.
    pub tenant_id: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkloadIdentity {
    /// The application's ID.
    pub client_id: String,
    /// The ID of its directory.
    pub tenant_id: String,
    #[serde(default)]
    pub token_file_path: Option<PathBuf>,
}

impl WorkloadIdentity {
    fn token_file(&self) -> &Path {
        self.token_file_path.as_deref().unwrap_or(Path::new(TOKEN_FILE))
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sdk {
    /// The directory, instead of `AZURE_TENANT_ID`.
    pub tenant_id: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Issuer {
    identity: Identity,
    scope: String,
    server: String,
    fetcher: Fetcher,
}

#[derive(Debug)]
enum Identity {
    Secret(OAuth),
    Workload(WorkloadIdentity),
    Managed(ManagedIdentity),
}

impl Issuer {
    /// Checks the configuration, and that the workload's token can be read. Sends no request.
    pub(crate) fn new(config: &AzureAd) -> Result<Self, ProofError> {
        let identity = identity(config, environment)?;
        if let Some(error) = token_file_error(config, &identity) {
            return Err(error.into());
        }
        let server = match identity {
            Identity::Managed(_) => METADATA,
            _ => config.cloud.authority(),
        };
        Self::at(server, config, identity)
    }

    fn at(server: &str, config: &AzureAd, identity: Identity) -> Result<Self, ProofError> {
        let scope = config.scope.as_deref().filter(|scope| !scope.is_empty());
        // The metadata service is on this machine. Other servers are reached through proxies, as with Azure's
        // own tools.
        let from_environment = !matches!(identity, Identity::Managed(_));
        let proxy = ProxyConfig { from_environment, ..ProxyConfig::default() };
        let to: Uri = server.parse().map_err(|_| AuthError::Value { key: "azuread", want: "a server" })?;
        Ok(Issuer {
            identity,
            scope: scope.unwrap_or(config.cloud.scope()).to_string(),
            server: server.to_string(),
            fetcher: Fetcher::new(&to, &TlsConfig::default(), &proxy, 1)?,
        })
    }

    /// Returns the server for people.
    pub(super) fn shown(&self) -> String {
        self.server.clone()
    }

    /// Requests a token.
    pub(super) async fn ask(&self) -> Result<Token, String> {
        Token::given(read_answer(&self.fetcher, self.request()?).await?)
    }

    fn request(&self) -> Result<Request<Full<Bytes>>, String> {
        let mut form = Serializer::new(String::new());
        let tenant = match &self.identity {
            Identity::Secret(oauth) => {
                form.append_pair("client_id", &oauth.client_id);
                form.append_pair("client_secret", oauth.client_secret.reveal());
                &oauth.tenant_id
            }
            Identity::Workload(workload) => {
                let token = read_file(workload.token_file()).map_err(|error| error.to_string())?;
                form.append_pair("client_id", &workload.client_id);
                form.append_pair("client_assertion_type", ASSERTION_TYPE);
                form.append_pair("client_assertion", String::from_utf8_lossy(&token).trim());
                &workload.tenant_id
            }
            Identity::Managed(identity) => return self.metadata_request(identity),
        };
        form.append_pair("grant_type", "client_credentials").append_pair("scope", &self.scope);
        let kind = (header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        self.build(Method::POST, &format!("/{tenant}/oauth2/v2.0/token"), kind, form.finish())
    }

    fn metadata_request(&self, identity: &ManagedIdentity) -> Result<Request<Full<Bytes>>, String> {
        let mut query = Serializer::new(String::new());
        query.append_pair("api-version", "2018-02-01");
        query.append_pair("resource", self.scope.strip_suffix("/.default").unwrap_or(&self.scope));
        if let Some(id) = &identity.client_id {
            query.append_pair("client_id", id);
        }
        let path = format!("/metadata/identity/oauth2/token?{}", query.finish());
        let metadata = (HeaderName::from_static("metadata"), HeaderValue::from_static("true"));
        self.build(Method::GET, &path, metadata, String::new())
    }

    fn build(
        &self,
        method: Method,
        path: &str,
        (name, value): (HeaderName, HeaderValue),
        body: String,
    ) -> Result<Request<Full<Bytes>>, String> {
        Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.server))
            .header(name, value)
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, crate::USER_AGENT)
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| error.to_string())
    }
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Returns the identity of the configuration, after checks. `variable` looks up the environment.
fn identity(config: &AzureAd, variable: impl Fn(&str) -> Option<String>) -> Result<Identity, AuthError> {
    let identity = chosen(config, variable)?;
    match identity_errors(config, &identity).into_iter().next() {
        Some(error) => Err(error),
        None => Ok(identity),
    }
}

/// Returns all errors of the configuration.
pub(super) fn errors(config: &AzureAd) -> Vec<AuthError> {
    match chosen(config, environment) {
        Err(error) => vec![error],
        Ok(identity) => {
            let mut errors = identity_errors(config, &identity);
            errors.extend(token_file_error(config, &identity));
            errors
        }
    }
}

/// Returns an error if the workload's token can't be read.
fn token_file_error(config: &AzureAd, identity: &Identity) -> Option<AuthError> {
    let Identity::Workload(workload) = identity else { return None };
    let key = match config.sdk {
        Some(_) => "azuread.sdk: AZURE_FEDERATED_TOKEN_FILE",
        None => "azuread.workload_identity.token_file_path",
    };
    read_file(workload.token_file()).err().map(|error| error.at(key))
}

fn chosen(config: &AzureAd, variable: impl Fn(&str) -> Option<String>) -> Result<Identity, AuthError> {
    let given = [
        ("azuread.managed_identity", config.managed_identity.is_some()),
        ("azuread.oauth", config.oauth.is_some()),
        ("azuread.workload_identity", config.workload_identity.is_some()),
        ("azuread.sdk", config.sdk.is_some()),
    ];
    let mut given = given.iter().filter(|(_, is)| *is).map(|(key, _)| *key);
    if let (Some(one), Some(other)) = (given.next(), given.next()) {
        return Err(AuthError::Both(one, other));
    }
    if let Some(identity) = &config.managed_identity {
        Ok(Identity::Managed(identity.clone()))
    } else if let Some(oauth) = &config.oauth {
        Ok(Identity::Secret(oauth.clone()))
    } else if let Some(workload) = &config.workload_identity {
        Ok(Identity::Workload(workload.clone()))
    } else if let Some(sdk) = &config.sdk {
        Ok(of_environment(sdk, variable))
    } else {
        Err(AuthError::Missing("azuread.managed_identity, oauth, workload_identity or sdk"))
    }
}

/// Returns the errors in the client and the directory of an identity.
fn identity_errors(config: &AzureAd, identity: &Identity) -> Vec<AuthError> {
    let (client, tenant) = match identity {
        Identity::Secret(oauth) => (Some(&oauth.client_id), Some(&oauth.tenant_id)),
        Identity::Workload(workload) => (Some(&workload.client_id), Some(&workload.tenant_id)),
        Identity::Managed(identity) => (identity.client_id.as_ref(), None),
    };
    let (client_key, tenant_key) = match identity {
        _ if config.sdk.is_some() => {
            ("azuread.sdk: AZURE_CLIENT_ID", "azuread.sdk: tenant_id or AZURE_TENANT_ID")
        }
        Identity::Secret(_) => ("azuread.oauth.client_id", "azuread.oauth.tenant_id"),
        Identity::Workload(_) => {
            ("azuread.workload_identity.client_id", "azuread.workload_identity.tenant_id")
        }
        Identity::Managed(_) => ("azuread.managed_identity.client_id", "azuread"),
    };
    let mut errors = Vec::new();
    if client.is_some_and(|id| !is_uuid(id)) {
        let want = "a UUID such as 00000000-0000-0000-0000-000000000000";
        errors.push(AuthError::Value { key: client_key, want });
    }
    let is_name = |id: &str| id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
    if tenant.is_some_and(|id| id.is_empty() || !is_name(id)) {
        errors.push(AuthError::Value { key: tenant_key, want: "a UUID or a domain" });
    }
    errors
}

/// Chooses like Azure's libraries: a secret, otherwise a workload's token, otherwise the machine's identity.
fn of_environment(sdk: &Sdk, variable: impl Fn(&str) -> Option<String>) -> Identity {
    let client_id = variable("AZURE_CLIENT_ID");
    let tenant_id = sdk.tenant_id.clone().or_else(|| variable("AZURE_TENANT_ID"));
    match (client_id, tenant_id) {
        (Some(client_id), Some(tenant_id)) => {
            let file = variable("AZURE_FEDERATED_TOKEN_FILE").map(PathBuf::from);
            match (variable("AZURE_CLIENT_SECRET"), file) {
                (Some(secret), _) => {
                    Identity::Secret(OAuth { client_id, client_secret: Secret::new(secret), tenant_id })
                }
                (None, Some(file)) => {
                    Identity::Workload(WorkloadIdentity { client_id, tenant_id, token_file_path: Some(file) })
                }
                (None, None) => Identity::Managed(ManagedIdentity { client_id: Some(client_id) }),
            }
        }
        (client_id, _) => Identity::Managed(ManagedIdentity { client_id }),
    }
}

fn is_uuid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && groups.iter().all(|group| group.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests;
