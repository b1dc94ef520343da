//! Signatures are verified as Amazon does it. The verification itself is tested with Amazon's published
//! examples.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helper functions of tests")]

use super::*;
use crate::auth::environment::{Files, Network};
use crate::{Client, Deadline, HttpConfig, Request, Secret, Url, read_words};
use reqsign_core::hash::{hex_hmac_sha256, hex_sha256, hmac_sha256};
use reqsign_core::{HttpSend, StaticEnv};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::FakeReceiver;
use support::receiver::{Answer, Received};

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const URL: &str = "https://aps-workspaces.eu-central-1.amazonaws.com/workspaces/ws-1/api/v1/remote_write";

/// A request as the server got it.
struct Arrived<'a> {
    method: &'a str,
    path: &'a str,
    headers: BTreeMap<String, String>,
    body: &'a [u8],
}

impl<'a> Arrived<'a> {
    fn new(method: &'a str, path: &'a str, headers: &[(&str, &str)], body: &'a [u8]) -> Self {
        let headers = headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        Arrived { method, path, headers, body }
    }

    fn of(request: &'a Received) -> Self {
        let headers = request.headers.iter().cloned().collect();
        Arrived { method: &request.method, path: &request.path, headers, body: &request.body }
    }

    fn header(&self, name: &str) -> Result<&str, String> {
        self.headers.get(name).map(String::as_str).ok_or(format!("{name} is missing"))
    }

    /// Returns the signature's key ID, region and service, or why it is invalid.
    fn verify(&self, secret: &str) -> Result<String, String> {
        let authorization = self.header("authorization")?;
        let parts = authorization.strip_prefix("AWS4-HMAC-SHA256 ").ok_or("another algorithm")?;
        let parts: BTreeMap<&str, &str> =
            parts.split(',').filter_map(|part| part.trim().split_once('=')).collect();
        let (who, scope) = parts["Credential"].split_once('/').ok_or("no scope")?;
        let signed = parts["SignedHeaders"];
        if !signed.split(';').any(|name| name == "host") {
            return Err("the host is not signed".into());
        }
        if self.headers.contains_key("x-amz-security-token") && !signed.contains("x-amz-security-token") {
            return Err("the token is not signed".into());
        }
        let mut lines = String::new();
        for name in signed.split(';') {
            lines.push_str(&format!("{name}:{}\n", self.header(name)?.trim()));
        }
        let hash = hex_sha256(self.body);
        if self.headers.get("x-amz-content-sha256").is_some_and(|shown| *shown != hash) {
            return Err("another body".into());
        }
        let (path, query) = self.path.split_once('?').unwrap_or((self.path, ""));
        let mut query: Vec<&str> = query.split('&').collect();
        query.sort_unstable();
        let request = format!("{}\n{path}\n{}\n{lines}\n{signed}\n{hash}", self.method, query.join("&"));
        let date = self.header("x-amz-date")?;
        let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex_sha256(request.as_bytes()));
        let mut key = format!("AWS4{secret}").into_bytes();
        for part in scope.split('/') {
            key = hmac_sha256(&key, part.as_bytes());
        }
        if !date.starts_with(scope.split('/').next().unwrap_or_default()) {
            return Err("another day".into());
        }
        match hex_hmac_sha256(&key, text.as_bytes()) == parts["Signature"] {
            true => Ok(format!("{who} {}", scope.split_once('/').unwrap_or_default().1)),
            false => Err("the signature does not match".into()),
        }
    }
}

#[test]
fn verification_accepts_amazons_published_examples() {
    let example = |method, path, headers: &[(&str, &str)], secret, credential: &str, signed, signature| {
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={credential}/aws4_request, SignedHeaders={signed}, Signature={signature}"
        );
        let mut headers = headers.to_vec();
        headers.push(("authorization", &authorization));
        Arrived::new(method, path, &headers, b"").verify(secret)
    };
    // `get-vanilla` and `post-vanilla` of the test suite.
    let plain = [("host", "example.amazonaws.com"), ("x-amz-date", "20150830T123600Z")];
    let scope = "AKIDEXAMPLE/20150830/us-east-1/service";
    for (method, signature) in [
        ("GET", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("POST", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
    ] {
        let verified = example(method, "/", &plain, SECRET, scope, "host;x-amz-date", signature);
        assert_eq!(verified.unwrap(), "AKIDEXAMPLE us-east-1/service/aws4_request");
    }
    // IAM's ListUsers, from the documentation of the signing process.
    let list = [
        ("content-type", "application/x-www-form-urlencoded; charset=utf-8"),
        ("host", "iam.amazonaws.com"),
        ("x-amz-date", "20150830T123600Z"),
    ];
    let (path, scope) = ("/?Action=ListUsers&Version=2010-05-08", "AKIDEXAMPLE/20150830/us-east-1/iam");
    let signed = "content-type;host;x-amz-date";
    let signature = "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7";
    example("GET", path, &list, SECRET, scope, signed, signature).unwrap();
    // S3's GET of a part of an object.
    let empty = hex_sha256(b"");
    let range = [
        ("host", "examplebucket.s3.amazonaws.com"),
        ("range", "bytes=0-9"),
        ("x-amz-content-sha256", empty.as_str()),
        ("x-amz-date", "20130524T000000Z"),
    ];
    let (secret, scope) = (SECRET.replace('+', "/"), "AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3");
    let signed = "host;range;x-amz-content-sha256;x-amz-date";
    let signature = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";
    example("GET", "/test.txt", &range, &secret, scope, signed, signature).unwrap();
    let refused = example("PUT", "/test.txt", &range, &secret, scope, signed, signature);
    assert_eq!(refused.unwrap_err(), "the signature does not match");
}

/// Returns status and body of the answer to a signed request.
async fn post(client: &Client) -> (u16, String) {
    let mut signed_headers = HeaderMap::new();
    signed_headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("snappy"));
    let mut headers = HeaderMap::new();
    headers.insert("retry-attempt", HeaderValue::from_static("2"));
    let (method, uri, body) = (http::Method::POST, client.url().uri().clone(), Bytes::from_static(b"body"));
    let request = Request { method, uri, signed_headers, headers, body };
    let deadline = Deadline::after(Duration::from_secs(30));
    let response = client.send(request, deadline, || {}).await.unwrap().response;
    (response.status().as_u16(), read_words(response.into_body(), deadline.left()).await)
}

/// A receiver that accepts requests signed with this secret.
fn receiver(secret: &'static str) -> FakeReceiver {
    let receiver = FakeReceiver::start();
    receiver.answer(move |request| match Arrived::of(request).verify(secret) {
        Ok(who) => Answer { body: who, ..Answer::status(200) },
        Err(reason) => Answer::status(403).body(&reason),
    });
    receiver
}

#[tokio::test]
async fn bodies_are_signed_and_a_changed_key_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("key");
    std::fs::write(&file, "wrong\n").unwrap();
    let receiver = receiver(SECRET);
    let url = format!("{}/workspaces/ws-1/api/v1/remote_write?b=2&a=1", receiver.url());
    let sigv4 = Some(SigV4 {
        region: Some("eu-central-1".into()),
        access_key: Some("AKIDEXAMPLE".into()),
        secret_key_file: Some(file.clone()),
        ..SigV4::default()
    });
    let config = HttpConfig { sigv4, ..HttpConfig::default() };
    let mut client = Client::new(Url::parse(&url).unwrap(), config, 1).unwrap();
    assert_eq!(post(&client).await, (403, "the signature does not match".into()));
    std::fs::write(&file, format!("{SECRET}\n")).unwrap();
    assert!(client.refresh().unwrap());
    assert_eq!(post(&client).await, (200, "AKIDEXAMPLE eu-central-1/aps/aws4_request".into()));
    let requests = receiver.requests();
    let signed = requests[1].header("authorization").unwrap();
    assert!(!signed.contains("user-agent") && !signed.contains("retry-attempt"), "a proxy may change those");
    assert_eq!(requests[1].header("retry-attempt"), Some("2"));
}

fn context(variables: &[(&str, &str)], network: impl HttpSend) -> Context {
    let envs: HashMap<String, String> =
        variables.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    Context::new().with_env(StaticEnv { home_dir: None, envs }).with_file_read(Files).with_http_send(network)
}

fn real_network() -> Network {
    Network::new().unwrap()
}

/// A network that always fails.
#[derive(Debug)]
struct Alone;

impl HttpSend for Alone {
    async fn http_send(&self, _: http::Request<Bytes>) -> Result<http::Response<Bytes>, Error> {
        Err(Error::unexpected("nobody is there"))
    }
}

/// Signs a request and verifies it. Returns the result and the headers.
async fn signed(signatures: &Signatures, secret: &str) -> (String, HeaderMap) {
    let uri = http::Uri::from_static(URL);
    let body = Bytes::from_static(b"body");
    let headers = signatures.headers(&uri, &HeaderMap::new(), &body).await.unwrap();
    let mut shown: Vec<(&str, &str)> =
        headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    shown.push(("host", uri.host().unwrap()));
    (Arrived::new("POST", uri.path(), &shown, &body).verify(secret).unwrap(), headers)
}

#[tokio::test]
async fn environment_gives_keys_region_and_session_token() {
    let variables = [
        ("AWS_ACCESS_KEY_ID", "FROMENVIRONMENT"),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
        ("AWS_SESSION_TOKEN", "session"),
        ("AWS_REGION", "us-west-2"),
    ];
    let signatures = Signatures::within(&SigV4::default(), context(&variables, Alone)).unwrap();
    let (who, headers) = signed(&signatures, SECRET).await;
    assert_eq!(who, "FROMENVIRONMENT us-west-2/aps/aws4_request");
    assert_eq!(headers["x-amz-security-token"], "session");
}

#[tokio::test]
async fn keys_come_from_the_configured_profile() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("credentials");
    let text = format!(
        "[default]\naws_access_key_id = DEFAULT\naws_secret_access_key = x\n\n[metrics]\n\
         aws_access_key_id = METRICS\naws_secret_access_key = {SECRET}\naws_session_token = session\n"
    );
    std::fs::write(&file, text).unwrap();
    let variables = [
        ("AWS_SHARED_CREDENTIALS_FILE", file.to_str().unwrap()),
        ("AWS_ACCESS_KEY_ID", "NOTTHESE"),
        ("AWS_SECRET_ACCESS_KEY", "y"),
    ];
    let config = SigV4 {
        region: Some("eu-north-1".into()),
        profile: Some("metrics".into()),
        service_name: Some("other".into()),
        ..SigV4::default()
    };
    let signatures = Signatures::within(&config, context(&variables, Alone)).unwrap();
    let (who, headers) = signed(&signatures, SECRET).await;
    assert_eq!(who, "METRICS eu-north-1/other/aws4_request");
    assert_eq!(headers["x-amz-security-token"], "session");
    // A missing profile is not replaced by other keys.
    let config = SigV4 { profile: Some("absent".into()), ..config };
    let signatures = Signatures::within(&config, context(&variables, Alone)).unwrap();
    let uri = http::Uri::from_static(URL);
    let error = signatures.headers(&uri, &HeaderMap::new(), &Bytes::new()).await.unwrap_err();
    assert!(error.starts_with("no signature: "), "{error}");
    assert!(error.contains("no keys were found for the profile \"absent\" in ~/.aws/credentials"), "{error}");
    // The same if there are no keys at all.
    let nowhere = "/nowhere/at/all";
    let variables = [("AWS_SHARED_CREDENTIALS_FILE", nowhere), ("AWS_CONFIG_FILE", nowhere)];
    for role_arn in [None, Some("arn:aws:iam::1:role/r".to_string())] {
        let config = SigV4 { region: Some("eu-north-1".into()), role_arn, ..SigV4::default() };
        let signatures = Signatures::within(&config, context(&variables, Alone)).unwrap();
        let error = signatures.headers(&uri, &HeaderMap::new(), &Bytes::new()).await.unwrap_err();
        assert!(error.contains("sigv4: no keys were found: not in the entry (access_key"), "{error}");
    }
}

#[tokio::test]
async fn instance_metadata_gives_keys_that_are_kept() {
    let metadata = FakeReceiver::start();
    metadata.answer(|request| match (request.method.as_str(), request.path.as_str()) {
        ("PUT", "/latest/api/token") => Answer::status(200).body("metadata-token"),
        _ if request.header("x-aws-ec2-metadata-token") != Some("metadata-token") => Answer::status(401),
        ("GET", "/latest/meta-data/iam/security-credentials/") => Answer::status(200).body("the-role"),
        ("GET", "/latest/meta-data/iam/security-credentials/the-role") => Answer::status(200).body(&format!(
            r#"{{"Code": "Success", "AccessKeyId": "INSTANCE", "SecretAccessKey": "{SECRET}",
                     "Token": "instance-session", "Expiration": "2999-01-01T00:00:00Z"}}"#
        )),
        _ => Answer::status(404),
    });
    let url = metadata.url();
    let variables = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", url.as_str())];
    let config = SigV4 { region: Some("eu-west-1".into()), ..SigV4::default() };
    let signatures = Signatures::within(&config, context(&variables, real_network())).unwrap();
    for _ in 0..3 {
        let (who, headers) = signed(&signatures, SECRET).await;
        assert_eq!(who, "INSTANCE eu-west-1/aps/aws4_request");
        assert_eq!(headers["x-amz-security-token"], "instance-session");
    }
    assert_eq!(metadata.requests().len(), 3, "a token, a role, its keys: once");
}

/// A fake security token service.
#[derive(Debug, Default, Clone)]
struct TokenService(Arc<Mutex<Vec<String>>>);

impl HttpSend for TokenService {
    async fn http_send(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>, Error> {
        let uri = request.uri().clone();
        let headers = request.headers().iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap()));
        let mut headers: Vec<(&str, &str)> = headers.filter(|(name, _)| *name != "host").collect();
        headers.push(("host", uri.host().unwrap()));
        let path = uri.path_and_query().unwrap().as_str();
        // The canonical form has the parameters in order.
        let who = Arrived::new(request.method().as_str(), path, &headers, request.body()).verify(SECRET);
        self.0.lock().unwrap().push(format!("{} {who:?} {}", uri.host().unwrap(), uri.query().unwrap()));
        let keys = "<AssumeRoleResponse><AssumeRoleResult><Credentials>\
            <AccessKeyId>ASIAROLEROLEROLEROLE</AccessKeyId><SecretAccessKey>role-secret</SecretAccessKey>\
            <SessionToken>role-session</SessionToken><Expiration>2999-01-01T00:00:00Z</Expiration>\
            </Credentials></AssumeRoleResult></AssumeRoleResponse>";
        Ok(http::Response::new(Bytes::from_static(keys.as_bytes())))
    }
}

#[tokio::test]
async fn role_is_assumed_once_with_the_found_keys() {
    let service = TokenService::default();
    let config = SigV4 {
        region: Some("eu-west-1".into()),
        access_key: Some("AKIAIOSFODNN7EXAMPLE".into()),
        secret_key: Some(Secret::new(SECRET)),
        role_arn: Some("arn:aws:iam::123456789012:role/metrics-writer".into()),
        external_id: Some("external".into()),
        ..SigV4::default()
    };
    let signatures = Signatures::within(&config, context(&[], service.clone())).unwrap();
    for _ in 0..2 {
        let (who, headers) = signed(&signatures, "role-secret").await;
        assert_eq!(who, "ASIAROLEROLEROLEROLE eu-west-1/aps/aws4_request");
        assert_eq!(headers["x-amz-security-token"], "role-session");
    }
    let asked = service.0.lock().unwrap();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(
        asked[0].starts_with(
            r#"sts.eu-west-1.amazonaws.com Ok("AKIAIOSFODNN7EXAMPLE eu-west-1/sts/aws4_request")"#
        ),
        "{asked:?}"
    );
    assert!(asked[0].contains("metrics-writer") && asked[0].contains("ExternalId=external"), "{asked:?}");
}

#[test]
fn errors_name_missing_keys_and_show_no_secret() {
    let refused = |config: &SigV4| Signatures::within(config, context(&[], Alone)).unwrap_err().to_string();
    let keys = SigV4 {
        region: Some("r".into()),
        access_key: Some("a".into()),
        secret_key: Some(Secret::new("hidden")),
        ..SigV4::default()
    };
    assert_eq!(refused(&SigV4 { region: None, ..keys.clone() }), "sigv4.region (or AWS_REGION) is needed");
    assert_eq!(refused(&SigV4 { secret_key: None, ..keys.clone() }), "sigv4.secret_key is needed");
    assert_eq!(refused(&SigV4 { access_key: None, ..keys.clone() }), "sigv4.access_key is needed");
    let signatures = Signatures::within(&keys, context(&[], Alone)).unwrap();
    assert!(!format!("{keys:?} {signatures:?}").contains("hidden"));
}
