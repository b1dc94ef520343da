//! `oauth2`: a token server and a receiver that both check the credentials.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use bytes::Bytes;
use common::network::{Pem, TlsServer, Wants};
use common::{World, wait_until_waiting};
use formats::compress::Encoding;
use formats::remote_write::Protocol;
use http_client::Secret;
use http_client::auth::oauth2::OAuth2;
use http_client::auth::token::TOKEN_BYTES;
use http_client::tls::TlsConfig;
use remote::client::{Client, Post};
use remote::{RemoteWrite, Url};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;
use support::FakeReceiver;
use support::receiver::{Answer, Received};

/// `narthex:s€cret`, with each part form-encoded first.
const HEADER: &str = "Basic bmFydGhleDpzJUUyJTgyJUFDY3JldA==";

fn oauth2(tokens: &FakeReceiver) -> OAuth2 {
    let json = format!(
        r#"{{"client_id": "narthex", "client_secret": "s€cret", "token_url": "{}/token",
            "scopes": ["metrics.write", "more"], "endpoint_params": {{"audience": "https://a/?b"}}}}"#,
        tokens.url()
    );
    serde_json::from_str(&json).unwrap()
}

fn config(receiver: &FakeReceiver, oauth2: OAuth2) -> RemoteWrite {
    let mut config = RemoteWrite::to(Url::parse(&receiver.write_url()).unwrap());
    config.oauth2 = Some(oauth2);
    config
}

/// Issues `token-1`, `token-2` and so on to clients with the right secret.
fn gives_out(tokens: &FakeReceiver, lifetime: &'static str) {
    let number = AtomicU64::new(0);
    tokens.answer(move |request| {
        if request.header("authorization") != Some(HEADER) {
            return Answer::status(401).body(r#"{"error": "invalid_client"}"#);
        }
        let number = 1 + number.fetch_add(1, Ordering::Relaxed);
        let token = format!(r#"{{"access_token": "token-{number}", "token_type": "bearer", {lifetime}}}"#);
        Answer::status(200).body(&token)
    });
}

fn lets_in(receiver: &FakeReceiver, token: &Arc<AtomicU64>) {
    let token = token.clone();
    receiver.answer(move |request| {
        let wanted = format!("Bearer token-{}", token.load(Ordering::Relaxed));
        match request.header("authorization") == Some(wanted.as_str()) {
            true => Answer::success(request),
            false => Answer::status(401).body("no such token"),
        }
    });
}

fn form(request: &Received) -> BTreeMap<String, String> {
    form_urlencoded::parse(&request.body).into_owned().collect()
}

async fn post(client: &Client) -> Result<u16, String> {
    let post = Post {
        protocol: Protocol::V2,
        body: Bytes::from_static(b"body"),
        encoding: Encoding::Snappy,
        attempt: 0,
    };
    client
        .post(post, SystemTime::now(), &Default::default())
        .await
        .map(|answer| answer.status)
        .map_err(|failure| failure.words)
}

#[tokio::test(flavor = "multi_thread")]
async fn token_is_requested_once_and_again_after_a_refusal() {
    let (tokens, receiver) = (FakeReceiver::start(), FakeReceiver::start());
    gives_out(&tokens, r#""expires_in": 3600"#);
    let good = Arc::new(AtomicU64::new(1));
    lets_in(&receiver, &good);
    let client = Client::new(&config(&receiver, oauth2(&tokens))).unwrap();
    for _ in 0..5 {
        assert_eq!(post(&client).await, Ok(204));
    }
    assert_eq!(tokens.requests().len(), 1);
    good.store(2, Ordering::Relaxed);
    assert_eq!(post(&client.clone()).await, Ok(204), "one request, though its first token was refused");
    assert_eq!((tokens.requests().len(), receiver.requests().len()), (2, 7));
    good.store(99, Ordering::Relaxed);
    assert_eq!(post(&client).await, Ok(401), "a new one was refused as well: the receiver has its way");
    assert_eq!((tokens.requests().len(), receiver.requests().len()), (3, 9));
    let requests = tokens.requests();
    assert_eq!((requests[0].method.as_str(), requests[0].path.as_str()), ("POST", "/token"));
    assert_eq!(requests[0].header("content-type"), Some("application/x-www-form-urlencoded"));
    let form = form(&requests[0]);
    let expected =
        [("audience", "https://a/?b"), ("grant_type", "client_credentials"), ("scope", "metrics.write more")];
    assert_eq!(form, expected.map(|(key, value)| (key.to_string(), value.to_string())).into());
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_token_is_not_sent() {
    let (tokens, receiver) = (FakeReceiver::start(), FakeReceiver::start());
    // Half of the token's life is over at once.
    gives_out(&tokens, r#""expires_in": 1"#);
    let client = Client::new(&config(&receiver, oauth2(&tokens))).unwrap();
    let begun = std::time::Instant::now();
    let mut shown = Vec::new();
    while shown.last().is_none_or(|token| token == "Bearer token-1") {
        assert!(begun.elapsed() < support::SOON, "{shown:?}");
        assert_eq!(post(&client).await, Ok(204));
        let requests = receiver.requests();
        shown = requests.iter().map(|request| request.header("authorization").unwrap().to_string()).collect();
    }
    assert_eq!(shown.first().map(String::as_str), Some("Bearer token-1"));
    assert_eq!(shown.last().map(String::as_str), Some("Bearer token-2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn server_that_rejects_the_header_gets_the_secret_in_the_body() {
    let (tokens, receiver) = (FakeReceiver::start(), FakeReceiver::start());
    tokens.answer(|request| match form(request).get("client_secret").map(String::as_str) {
        Some("s€cret") if request.header("authorization").is_none() => {
            Answer::status(200).body(r#"{"access_token": "x"}"#)
        }
        _ => Answer::status(400).body(r#"{"error": "invalid_request"}"#),
    });
    receiver.answer(|_| Answer::status(401));
    let client = Client::new(&config(&receiver, oauth2(&tokens))).unwrap();
    assert_eq!(post(&client).await, Ok(401));
    assert_eq!(receiver.requests().len(), 2);
    let statuses: Vec<u16> = tokens.requests().iter().map(|request| request.status).collect();
    assert_eq!(statuses, [400, 200, 200], "the header is tried once only");
}

#[tokio::test(flavor = "multi_thread")]
async fn token_server_errors_are_shown_bounded_and_without_secrets() {
    let (tokens, receiver) = (FakeReceiver::start(), FakeReceiver::start());
    for (answer, words) in [
        (Answer::status(403).body("not you"), "403 Forbidden: not you"),
        (Answer::status(200).body(r#"{"access_token": 5}"#), "is not the JSON"),
        (Answer::status(200).body(&"x".repeat(TOKEN_BYTES + 1)), "length limit exceeded"),
    ] {
        tokens.answer(move |_| answer.clone());
        let client = Client::new(&config(&receiver, oauth2(&tokens))).unwrap();
        let before = tokens.requests().len();
        let said = post(&client).await.unwrap_err();
        assert!(said.starts_with(&format!("no token from {}/token: ", tokens.url())), "{said}");
        assert!(said.contains(words) && !said.contains("s€cret"), "{said}");
        // Other requests that wait for a token get the same error.
        assert_eq!(post(&client).await.unwrap_err(), said);
        assert_eq!(tokens.requests().len(), before + 1);
    }
    assert_eq!(receiver.requests().len(), 0, "without a token nothing is sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn token_server_has_its_own_tls_and_proxy() {
    let receiver = FakeReceiver::start();
    let pem = Pem::new("tokens.example");
    let server = TlsServer::start(Wants::nothing(&pem)).await;
    let mut oauth2 = oauth2(&receiver);
    oauth2.token_url = Url::parse(&server.url()).unwrap();
    let stranger = Client::new(&config(&receiver, oauth2.clone()));
    // Without `ca` the system's certificates are trusted, if it has any.
    if let Ok(stranger) = stranger {
        assert!(post(&stranger).await.unwrap_err().contains("certificate"));
    }
    oauth2.tls_config = TlsConfig {
        ca: Some(pem.cert.clone()),
        server_name: Some("tokens.example".into()),
        ..TlsConfig::default()
    };
    let said = post(&Client::new(&config(&receiver, oauth2.clone())).unwrap()).await.unwrap_err();
    assert!(said.contains("is not the JSON"), "it was let in, and answers nothing: {said}");
    assert_eq!(server.seen.lock().unwrap().len(), 1);
    let (proxy, tokens) = (FakeReceiver::start(), FakeReceiver::start());
    gives_out(&proxy, r#""expires_in": 3600"#);
    oauth2.token_url = Url::parse("http://tokens.example/token").unwrap();
    oauth2.proxy_url = Some(Url::parse(&proxy.url()).unwrap());
    assert_eq!(post(&Client::new(&config(&receiver, oauth2)).unwrap()).await, Ok(204));
    assert_eq!(proxy.requests()[0].path, "http://tokens.example/token");
    assert_eq!((tokens.requests().len(), receiver.requests().len()), (0, 1));
}

#[test]
fn wrong_secret_loses_nothing_and_its_file_is_read_again() {
    let world = World::new();
    let tokens = FakeReceiver::start();
    gives_out(&tokens, r#""expires_in": 3600"#);
    lets_in(&world.receiver, &Arc::new(AtomicU64::new(1)));
    let file = world.dir.path().join("secret");
    std::fs::write(&file, "wrong\n").unwrap();
    let mut config = world.config();
    let oauth2 = OAuth2 { client_secret: None, client_secret_file: Some("secret".into()), ..oauth2(&tokens) };
    config.oauth2 = Some(oauth2);
    config.resolve_paths(world.dir.path());
    let destination = world.start(config);
    world.push(10);
    let stats = destination.stats().clone();
    wait_until_waiting(&stats, "401 Unauthorized: {\"error\"");
    std::fs::write(&file, "s€cret\n").unwrap();
    world.wait_for_all();
    assert!(world.stop(destination).complete);
}

#[test]
fn only_one_authentication_scheme_is_accepted() {
    let receiver = FakeReceiver::start();
    let mut config = config(&receiver, oauth2(&receiver));
    config.basic_auth = Some(http_client::auth::BasicAuth {
        username: Some("me".into()),
        password: Some(Secret::new("secret")),
        ..Default::default()
    });
    let refused = Client::new(&config).unwrap_err().to_string();
    assert_eq!(refused, "basic_auth and oauth2 exclude each other");
}
