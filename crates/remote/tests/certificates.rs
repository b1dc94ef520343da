//! Certificates as people make them, and the errors for wrong ones.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use common::network::{Pem, TlsServer, Wants};
use formats::compress::Encoding;
use formats::remote_write::Protocol;
use http_client::Secret;
use http_client::{Failure, FailureKind};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use remote::client::{Client, Post};
use remote::{RemoteWrite, Url};
use std::process::Command;
use std::time::SystemTime;
use tokio_rustls::rustls::version::{TLS12, TLS13};

/// Returns a self-signed certificate that is also an authority (`CA:TRUE`), changed by `change`.
fn authority(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Pem {
    let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    Pem { cert: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
}

/// Returns the certificate that `openssl req -x509` makes with these additional arguments.
fn by_openssl(arguments: &[&str]) -> Pem {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let output = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30"])
        .args(arguments)
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Pem { cert: std::fs::read_to_string(cert).unwrap(), key: std::fs::read_to_string(key).unwrap() }
}

/// Sends one request to a server with this certificate. The client trusts the certificates in `ca`.
async fn send(wants: Wants<'_>, ca: &str, change: impl FnOnce(&mut RemoteWrite)) -> Result<u16, Failure> {
    let server = TlsServer::start(wants).await;
    let mut config = RemoteWrite::to(Url::parse(&server.url()).unwrap());
    config.tls_config.ca = Some(ca.to_string());
    change(&mut config);
    let client = Client::new(&config).unwrap();
    let body = bytes::Bytes::from_static(b"body");
    let post = Post { protocol: Protocol::V2, body, encoding: Encoding::Snappy, attempt: 0 };
    client.post(post, SystemTime::now(), &Default::default()).await.map(|answer| answer.status)
}

/// Returns the failure of a request to a server with this certificate.
async fn failure(server: &Pem, ca: &str, name: &str) -> Failure {
    let name = name.to_string();
    let named = |config: &mut RemoteWrite| config.tls_config.server_name = Some(name);
    send(Wants::nothing(server), ca, named).await.unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn self_signed_openssl_certificate_in_ca_is_trusted() {
    let pem = by_openssl(&["-subj", "/CN=metrics", "-addext", "subjectAltName=IP:127.0.0.1,DNS:metrics"]);
    for version in [&TLS12, &TLS13] {
        let wants = Wants { versions: vec![version], ..Wants::nothing(&pem) };
        assert_eq!(send(wants, &pem.cert, |_| ()).await, Ok(204), "{version:?}");
    }
    // Also together with other certificates in the same file.
    let both = format!("{}{}", Pem::new("other").cert, pem.cert);
    assert_eq!(send(Wants::nothing(&pem), &both, |_| ()).await, Ok(204));
    // The host name is checked.
    let failed = failure(&pem, &pem.cert, "elsewhere").await;
    assert_eq!(failed.kind, FailureKind::Certificate);
    assert!(failed.words.contains("not for elsewhere but for "), "{failed}");
    assert!(failed.words.contains("127.0.0.1") && failed.words.contains("metrics"), "{failed}");
    // A certificate without a subjectAltName has no host name.
    let nameless = by_openssl(&["-subj", "/CN=metrics"]);
    let failed = failure(&nameless, &nameless.cert, "metrics").await;
    assert!(failed.words.contains("names no host: make one with metrics in its subjectAltName"), "{failed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn authority_outside_ca_is_refused_as_a_server() {
    let (own, other) = (authority(&["metrics"], |_| ()), authority(&["metrics"], |_| ()));
    assert_eq!(send(Wants::nothing(&own), &own.cert, named("metrics")).await, Ok(204));
    let failed = failure(&own, &other.cert, "metrics").await;
    assert_eq!(failed.kind, FailureKind::Certificate);
    assert!(failed.words.contains("(CA:TRUE)") && failed.words.contains("tls_config.ca_file"), "{failed}");
}

fn named(name: &'static str) -> impl FnOnce(&mut RemoteWrite) {
    move |config| config.tls_config.server_name = Some(name.into())
}

#[tokio::test(flavor = "multi_thread")]
async fn server_certificate_in_ca_is_trusted_without_its_authority() {
    let mut params = CertificateParams::new(vec!["authority".to_string()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, "authority");
    let (authority_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let issuer = Issuer::new(params, authority_key);
    let leaf = CertificateParams::new(vec!["metrics".to_string()]).unwrap();
    let leaf = Pem { cert: leaf.signed_by(&key, &issuer).unwrap().pem(), key: key.serialize_pem() };
    assert_eq!(send(Wants::nothing(&leaf), &leaf.cert, named("metrics")).await, Ok(204));
    let failed = failure(&leaf, &leaf.cert, "elsewhere").await;
    assert!(failed.words.contains("not for elsewhere but for metrics"), "{failed}");
    let failed = failure(&leaf, &Pem::new("other").cert, "metrics").await;
    assert!(failed.words.contains("not signed by an authority that is trusted here"), "{failed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn dates_of_certificates_in_ca_are_checked() {
    let expired = authority(&["metrics"], |params| params.not_after = rcgen::date_time_ymd(2020, 1, 2));
    let early = authority(&["metrics"], |params| params.not_before = rcgen::date_time_ymd(2090, 1, 2));
    for (pem, part) in [
        (expired, "expired on Thu, 02 Jan 2020 00:00:00 GMT: renew it there"),
        (early, "not valid before Mon, 02 Jan 2090 00:00:00 GMT: is the clock here right?"),
    ] {
        let failed = failure(&pem, &pem.cert, "metrics").await;
        assert_eq!(failed.kind, FailureKind::Certificate);
        assert!(failed.words.contains(part), "{failed}");
    }
}

/// Number of repetitions, because the server's alert and the end of its connection race.
const TRIES: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn failure_names_a_missing_or_unknown_client_certificate() {
    let (server, client, other) = (Pem::new("metrics"), Pem::new("client"), Pem::new("client"));
    for version in [&TLS12, &TLS13] {
        let wants = || Wants { client: Some(&client), versions: vec![version], ..Wants::nothing(&server) };
        let show = |pem: &Pem| {
            let (cert, key) = (pem.cert.clone(), pem.key.clone());
            move |config: &mut RemoteWrite| {
                named("metrics")(config);
                config.tls_config.cert = Some(cert);
                config.tls_config.key = Some(Secret::new(key));
            }
        };
        for _ in 0..TRIES {
            let missing = send(wants(), &server.cert, named("metrics")).await.unwrap_err();
            let words = "wants a client certificate: set tls_config.cert_file and key_file";
            assert!(missing.words.contains(words), "{version:?}: {missing:?}");
            assert_eq!(missing.kind, FailureKind::Certificate);
            let unknown = send(wants(), &server.cert, show(&other)).await.unwrap_err();
            assert!(unknown.words.contains("refuses our client certificate ("), "{version:?}: {unknown:?}");
            assert_eq!(unknown.kind, FailureKind::Certificate);
        }
        assert_eq!(send(wants(), &server.cert, show(&client)).await, Ok(204));
    }
}
