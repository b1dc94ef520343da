#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helper functions of tests")]

use super::*;
use crate::auth::token::{self, TokenSource};
use std::collections::BTreeMap;
use std::time::Duration;
use support::FakeReceiver;
use support::receiver::{Answer, Received};

const CLIENT: &str = "00000000-1111-2222-3333-444444444444";
const TENANT: &str = "55555555-6666-7777-8888-999999999999";

fn config(json: &str) -> AzureAd {
    serde_json::from_str(&json.replace("CLIENT", CLIENT).replace("TENANT", TENANT)).unwrap()
}

/// Returns the header for a token of the server at `url`.
async fn header(url: &str, config: &AzureAd) -> Result<String, String> {
    let identity = identity(config, |_| None).map_err(|error| error.to_string())?;
    let issuer = Issuer::at(url, config, identity).map_err(|error| error.to_string())?;
    let source = TokenSource::new(token::Issuer::AzureAd(Box::new(issuer)));
    let header = source.header(Duration::from_secs(5)).await?;
    // The second call returns the kept token.
    assert_eq!(source.header(Duration::from_secs(5)).await.unwrap(), header);
    Ok(header.to_str().unwrap().to_string())
}

fn fields(text: &str) -> BTreeMap<String, String> {
    form_urlencoded::parse(text.as_bytes()).into_owned().collect()
}

fn form(request: &Received) -> BTreeMap<String, String> {
    fields(std::str::from_utf8(&request.body).unwrap())
}

fn server() -> FakeReceiver {
    let server = FakeReceiver::start();
    server.answer(|_| Answer::status(200).body(r#"{"access_token": "t0ken", "expires_in": "3599"}"#));
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn secret_gets_a_token_for_azure_monitor() {
    let server = server();
    let json = r#"{"cloud": "AzureChina",
        "oauth": {"client_id": "CLIENT", "client_secret": "s3cret&", "tenant_id": "TENANT"}}"#;
    assert_eq!(header(&server.url(), &config(json)).await.unwrap(), "Bearer t0ken");
    let requests = server.requests();
    assert_eq!(requests.len(), 1, "it is kept");
    assert_eq!(requests[0].path, format!("/{TENANT}/oauth2/v2.0/token"));
    let form = form(&requests[0]);
    let expected = [
        ("client_id", CLIENT),
        ("client_secret", "s3cret&"),
        ("grant_type", "client_credentials"),
        ("scope", "https://monitor.azure.cn//.default"),
    ];
    assert_eq!(form, expected.map(|(name, value)| (name.to_string(), value.to_string())).into());
}

#[tokio::test(flavor = "multi_thread")]
async fn workload_sends_its_present_token() {
    let server = server();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    let json = r#"{"scope": "api://own/.default",
        "workload_identity": {"client_id": "CLIENT", "tenant_id": "TENANT"}}"#;
    let mut config = config(json);
    config.workload_identity.as_mut().unwrap().token_file_path = Some(file.clone());
    assert!(header(&server.url(), &config).await.unwrap_err().contains("No such file"));
    let error = Issuer::new(&config).unwrap_err().to_string();
    assert!(error.starts_with("azuread.workload_identity.token_file_path: /"), "{error}");
    std::fs::write(&file, "jwt\n").unwrap();
    assert_eq!(header(&server.url(), &config).await.unwrap(), "Bearer t0ken");
    let form = form(&server.requests()[0]);
    assert_eq!((&*form["client_assertion"], &*form["client_assertion_type"]), ("jwt", ASSERTION_TYPE));
    assert_eq!(form["scope"], "api://own/.default");
}

#[tokio::test(flavor = "multi_thread")]
async fn managed_identity_asks_the_metadata_service() {
    let server = server();
    for (json, id) in [
        (r#"{"managed_identity": {"client_id": "CLIENT"}}"#, Some(CLIENT)),
        (r#"{"managed_identity": {}}"#, None),
    ] {
        assert_eq!(header(&server.url(), &config(json)).await.unwrap(), "Bearer t0ken");
        let requests = server.requests();
        let request = requests.last().unwrap();
        assert_eq!((&*request.method, request.header("metadata")), ("GET", Some("true")));
        let (path, query) = request.path.split_once('?').unwrap();
        assert_eq!(path, "/metadata/identity/oauth2/token");
        let query = fields(query);
        assert_eq!(query["resource"], "https://monitor.azure.com/");
        assert_eq!(query.get("client_id").map(String::as_str), id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn server_errors_are_shown_without_the_secret() {
    let server = FakeReceiver::start();
    server.answer(|_| {
        Answer::status(401).body(r#"{"error": "invalid_client", "error_description": "AADSTS7000215"}"#)
    });
    let json = r#"{"oauth": {"client_id": "CLIENT", "client_secret": "s3cret", "tenant_id": "TENANT"}}"#;
    let told = header(&server.url(), &config(json)).await.unwrap_err();
    assert!(told.contains("401 Unauthorized: ") && told.contains("AADSTS7000215"), "{told}");
    assert!(!told.contains("s3cret") && !format!("{:?}", config(json)).contains("s3cret"));
}

#[test]
fn environment_selects_the_identity() {
    let found = |variables: &[(&str, &str)], json: &str| {
        let lookup = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, v)| v.to_string());
        match identity(&config(json), lookup).unwrap() {
            Identity::Secret(oauth) => format!("secret of {}", oauth.tenant_id),
            Identity::Workload(workload) => {
                format!("workload {}", workload.token_file_path.unwrap().display())
            }
            Identity::Managed(identity) => format!("managed {}", identity.client_id.unwrap_or_default()),
        }
    };
    let (client, tenant) = (("AZURE_CLIENT_ID", CLIENT), ("AZURE_TENANT_ID", TENANT));
    let (secret, file) = (("AZURE_CLIENT_SECRET", "s"), ("AZURE_FEDERATED_TOKEN_FILE", "/f"));
    let sdk = r#"{"sdk": {}}"#;
    assert_eq!(found(&[client, tenant, secret, file], sdk), format!("secret of {TENANT}"));
    assert_eq!(found(&[client, secret], r#"{"sdk": {"tenant_id": "a.example"}}"#), "secret of a.example");
    assert_eq!(found(&[client, tenant, file], sdk), "workload /f");
    assert_eq!(found(&[client], sdk), format!("managed {CLIENT}"));
    assert_eq!(found(&[], sdk), "managed ");
}

#[test]
fn configuration_errors_name_the_key() {
    for (json, words) in [
        ("{}", "azuread.managed_identity, oauth, workload_identity or sdk is needed"),
        (
            r#"{"sdk": {}, "managed_identity": {}}"#,
            "azuread.managed_identity and azuread.sdk exclude each other",
        ),
        (
            r#"{"managed_identity": {"client_id": "me"}}"#,
            "azuread.managed_identity.client_id has to be a UUID",
        ),
        (
            r#"{"oauth": {"client_id": "CLIENT", "client_secret": "s", "tenant_id": "a/b"}}"#,
            "azuread.oauth.tenant_id has to be a UUID or a domain",
        ),
    ] {
        let error = identity(&config(json), |_| None).unwrap_err().to_string();
        assert!(error.contains(words), "{json}: {error}");
    }
}
