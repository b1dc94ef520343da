#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helper functions of tests")]

use super::*;
use crate::auth::environment::{Files, Network};
use crate::auth::token::{self, TokenSource};
use base64::Engine as _;
use bytes::Bytes;
use reqsign_core::{HttpSend, StaticEnv};
use std::collections::{BTreeMap, HashMap};
use std::process::Command;
use std::time::Duration;
use support::FakeReceiver;
use support::receiver::Answer;

/// The real network, except that a server on loopback replaces Google's.
#[derive(Debug)]
struct Loopback {
    network: Network,
    url: String,
}

impl HttpSend for Loopback {
    async fn http_send(&self, mut request: http::Request<Bytes>) -> Result<http::Response<Bytes>, Error> {
        let host = request.uri().authority().unwrap().to_string();
        let path = request.uri().path_and_query().unwrap().to_string();
        request.headers_mut().insert("x-host", host.parse().unwrap());
        *request.uri_mut() = format!("{}{path}", self.url).parse().unwrap();
        self.network.http_send(request).await
    }
}

fn source(server: &FakeReceiver, config: &GoogleIam, variables: &[(&str, String)]) -> TokenSource {
    let envs: HashMap<_, _> =
        variables.iter().map(|(name, value)| (name.to_string(), value.clone())).collect();
    let context = Context::new()
        .with_env(StaticEnv { home_dir: None, envs })
        .with_file_read(Files)
        .with_http_send(Loopback { network: Network::new().unwrap(), url: server.url() });
    TokenSource::new(token::Issuer::GoogleIam(Issuer::within(config, context).unwrap()))
}

async fn header(source: &TokenSource) -> Result<String, String> {
    let header = source.header(Duration::from_secs(5)).await?;
    Ok(header.to_str().unwrap().to_string())
}

fn server() -> FakeReceiver {
    let server = FakeReceiver::start();
    let answer = r#"{"access_token": "t0ken", "expires_in": 3599, "token_type": "Bearer"}"#;
    server.answer(move |_| Answer::status(200).body(answer));
    server
}

fn openssl(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("openssl").args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[tokio::test(flavor = "multi_thread")]
async fn service_account_key_signs_the_token_request() {
    let server = server();
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_string();
    let key = openssl(&["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]);
    let account = serde_json::json!({
        "type": "service_account",
        "client_email": "pusher@project.iam.gserviceaccount.com",
        "private_key": String::from_utf8(key.clone()).unwrap(),
    });
    std::fs::write(path("account.json"), account.to_string()).unwrap();
    let config = GoogleIam { credentials_file: Some(path("account.json").into()) };
    let source = source(&server, &config, &[]);
    for _ in 0..3 {
        assert_eq!(header(&source).await.unwrap(), "Bearer t0ken");
    }
    let assertion = {
        let requests = server.requests();
        assert_eq!(requests.len(), 1, "it is kept");
        assert_eq!(requests[0].header("x-host"), Some("oauth2.googleapis.com"));
        let form: BTreeMap<String, String> = form_urlencoded::parse(&requests[0].body).into_owned().collect();
        assert_eq!(form["grant_type"], "urn:ietf:params:oauth:grant-type:jwt-bearer");
        form["assertion"].clone()
    };
    // The signature is made with the account's key, for the scope that Prometheus uses.
    let (signed, signature) = assertion.rsplit_once('.').unwrap();
    let decode = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).unwrap();
    let claims: serde_json::Value =
        serde_json::from_slice(&decode(signed.split_once('.').unwrap().1)).unwrap();
    assert_eq!(claims["scope"], SCOPE);
    assert_eq!(claims["iss"], "pusher@project.iam.gserviceaccount.com");
    std::fs::write(path("key"), key).unwrap();
    std::fs::write(path("signed"), signed).unwrap();
    std::fs::write(path("signature"), decode(signature)).unwrap();
    let (key, signature) = (path("key"), path("signature"));
    openssl(&["dgst", "-sha256", "-prverify", &key, "-signature", &signature, &path("signed")]);
    // A token that the destination refuses is replaced.
    let shown = source.header(Duration::from_secs(5)).await.unwrap();
    source.refused(&shown).await;
    header(&source).await.unwrap();
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn default_credentials_come_from_the_user_or_the_machine() {
    let server = server();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("user.json");
    let user = r#"{"type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "r"}"#;
    std::fs::write(&file, user).unwrap();
    let config = GoogleIam::default();
    let named = [("GOOGLE_APPLICATION_CREDENTIALS", file.display().to_string())];
    assert_eq!(header(&source(&server, &config, &named)).await.unwrap(), "Bearer t0ken");
    assert!(String::from_utf8_lossy(&server.requests()[0].body).contains("refresh_token"));
    assert_eq!(header(&source(&server, &config, &[])).await.unwrap(), "Bearer t0ken");
    let requests = server.requests();
    assert_eq!(requests[1].header("metadata-flavor"), Some("Google"));
    assert!(requests[1].path.ends_with(&format!("/token?scopes={SCOPE}")), "{}", requests[1].path);
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_show_no_secrets() {
    let server = FakeReceiver::start();
    server.answer(|_| Answer::status(404));
    let told = header(&source(&server, &GoogleIam::default(), &[])).await.unwrap_err();
    assert!(told.starts_with("no token from Google: no credentials were found"), "{told}");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("account.json");
    let config = GoogleIam { credentials_file: Some(file.clone()) };
    let error = Issuer::new(&config).unwrap_err().to_string();
    assert!(error.starts_with("google_iam.credentials_file: /") && error.contains("No such file"), "{error}");
    std::fs::write(&file, "hunter2").unwrap();
    let error = Issuer::new(&config).unwrap_err().to_string();
    assert!(error.starts_with("google_iam.credentials_file has to be a file with the JSON"), "{error}");
    let account = r#"{"type": "service_account", "client_email": "me", "private_key": "hunter2"}"#;
    std::fs::write(&file, account).unwrap();
    let error = Issuer::new(&config).unwrap_err().to_string();
    assert!(error.contains("private_key is an RSA key") && !error.contains("hunter2"), "{error}");
    let user =
        r#"{"type": "authorized_user", "client_id": "me", "client_secret": "hunter2", "refresh_token": "x"}"#;
    std::fs::write(&file, user).unwrap();
    let told = header(&source(&server, &config, &[])).await.unwrap_err();
    assert!(told.starts_with("no token from Google: ") && !told.contains("hunter2"), "{told}");
}
