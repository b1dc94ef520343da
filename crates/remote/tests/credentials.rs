//! Credentials and TLS of a destination.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use common::network::{Pem, TlsServer, Wants};
use common::{World, wait_until_waiting};
use http_client::Secret;
use http_client::auth::{Authorization, BasicAuth};
use http_client::tls::TlsConfig;
use remote::config::Message;
use remote::{RemoteWrite, State, Url};
use std::path::{Path, PathBuf};
use std::time::Duration;
use support::receiver::Answer;
use support::{SOON, wait_until};

#[test]
fn user_and_password_are_sent() {
    let world = World::new();
    let mut config = world.config();
    config.basic_auth = Some(BasicAuth {
        username: Some("me".into()),
        password: Some(Secret::new("secret")),
        ..BasicAuth::default()
    });
    config.headers.insert("X-Scope-OrgID".into(), Secret::new("tenant"));
    let destination = world.start(config);
    world.push(1);
    world.wait_for_all();
    let requests = world.receiver.requests();
    assert_eq!(requests[0].header("authorization"), Some("Basic bWU6c2VjcmV0"));
    assert_eq!(requests[0].header("x-scope-orgid"), Some("tenant"));
    drop(requests);
    world.stop(destination);
}

/// A secret file, which `set` puts into the configuration, first has `old` and then `new`. The receiver then
/// expects the header value `right`.
fn is_read_again(right: &'static str, set: impl Fn(&mut RemoteWrite, PathBuf)) {
    let world = World::new();
    let file = world.dir.path().join("secret");
    std::fs::write(&file, "old\n").unwrap();
    world.receiver.answer(move |request| match request.header("authorization") {
        Some(shown) if shown == right => Answer::success(request),
        _ => Answer::status(401).body("who are you?"),
    });
    let mut config = world.config();
    set(&mut config, file.clone());
    let destination = world.start(config);
    world.push(10);
    let stats = destination.stats().clone();
    wait_until("a refusal", SOON, || matches!(stats.state(), State::Denied { .. }));
    std::fs::write(&file, "new\n").unwrap();
    // The clock does not jump: this takes much less than the minute of a denied destination.
    world.wait_for_all();
    assert!(world.stop(destination).complete);
}

#[test]
fn changed_token_file_is_used_soon_and_ends_the_denial() {
    is_read_again("Bearer new", |config, file| {
        config.authorization =
            Some(Authorization { credentials_file: Some(file), ..Authorization::default() });
    });
}

#[test]
fn changed_password_file_is_used_soon() {
    // `me:new`
    is_read_again("Basic bWU6bmV3", |config, file| {
        config.basic_auth = Some(BasicAuth {
            username: Some("me".into()),
            password_file: Some(file),
            ..BasicAuth::default()
        });
    });
}

/// Starts a receiver with TLS that requires `client`'s certificate.
fn serve(world: &World, server: &Pem, client: &Pem) -> u16 {
    let wants = Wants { client: Some(client), ..Wants::nothing(server) };
    world.runtime.block_on(TlsServer::start(wants)).port
}

#[test]
fn both_sides_authenticate_with_certificates() {
    let world = World::new();
    let (server, client) = (Pem::new("receiver.example"), Pem::new("sender.example"));
    let port = serve(&world, &server, &client);
    let write = |name: &str, text: &str| {
        let path = world.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let mut config = world.config();
    config.url = Url::parse(&format!("https://127.0.0.1:{port}/")).unwrap();
    config.protobuf_message = Some(Message::V1);
    config.tls_config = TlsConfig {
        ca_file: Some("ca.pem".into()),
        cert_file: Some(write("cert.pem", &client.cert)),
        key_file: Some(write("key.pem", &client.key)),
        server_name: Some("receiver.example".into()),
        ..TlsConfig::default()
    };
    // The file first has another authority, and is corrected at run time.
    let ca = write("ca.pem", &Pem::new("other.example").cert);
    config.resolve_paths(Path::new(world.dir.path()));
    let destination = world.start(config);
    world.push(10);
    let stats = destination.stats().clone();
    wait_until_waiting(&stats, "certificate");
    std::fs::write(ca, &server.cert).unwrap();
    wait_until("delivery", SOON, || stats.delivered.get().samples == 10);
    assert!(world.runtime.block_on(destination.shutdown(Duration::from_secs(5))).complete);
}

#[test]
fn insecure_skip_verify_trusts_every_server() {
    let world = World::new();
    let (server, client) = (Pem::new("receiver.example"), Pem::new("sender.example"));
    let port = serve(&world, &server, &client);
    let mut config = world.config();
    config.url = Url::parse(&format!("https://localhost:{port}/")).unwrap();
    config.protobuf_message = Some(Message::V1);
    config.tls_config = TlsConfig {
        cert: Some(client.cert.clone()),
        key: Some(Secret::new(client.key.clone())),
        insecure_skip_verify: true,
        ..TlsConfig::default()
    };
    let destination = world.start(config);
    world.push(10);
    let stats = destination.stats().clone();
    wait_until("delivery", SOON, || stats.delivered.get().samples == 10);
    world.stop(destination);
}
