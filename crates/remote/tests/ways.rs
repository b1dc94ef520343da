//! Connections to a destination: proxies, TLS, HTTP/2, and the errors for a wrong server.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use bytes::Bytes;
use common::network::{Pem, SocksProxy, TlsServer, TunnelProxy, Wants};
use formats::compress::Encoding;
use formats::remote_write::Protocol;
use http_client::Failure;
use http_client::Secret;
use http_client::auth::headers::HeaderValues;
use http_client::tls::{TlsConfig, TlsVersion};
use remote::client::answer::Answer;
use remote::client::{Client, Post};
use remote::{RemoteWrite, Url};
use std::time::SystemTime;
use support::FakeReceiver;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::rustls::version::{TLS12, TLS13};

fn config(url: &str) -> RemoteWrite {
    RemoteWrite::to(Url::parse(url).unwrap())
}

async fn post(client: &Client) -> Result<Answer, Failure> {
    let post = Post {
        protocol: Protocol::V2,
        body: Bytes::from_static(b"body"),
        encoding: Encoding::Snappy,
        attempt: 0,
    };
    client.post(post, SystemTime::now(), &Default::default()).await
}

async fn words(config: &RemoteWrite) -> String {
    post(&Client::new(config).unwrap()).await.unwrap_err().to_string()
}

/// Returns a configuration that trusts only this server's certificate.
fn trusting(server: &TlsServer, pem: &Pem, name: &str) -> RemoteWrite {
    let mut config = config(&server.url());
    config.tls_config.ca = Some(pem.cert.clone());
    config.tls_config.server_name = Some(name.into());
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_requests_go_to_the_proxy_with_their_whole_url() {
    let proxy = FakeReceiver::start();
    let mut config = config("http://receiver.example:9090/api/v1/write");
    config.proxy_url = Some(Url::parse(&proxy.url().replace("://", "://me:secret@")).unwrap());
    let client = Client::new(&config).unwrap();
    assert_eq!(post(&client).await.unwrap().status, 204);
    let requests = proxy.requests();
    assert_eq!(requests[0].path, "http://receiver.example:9090/api/v1/write");
    assert_eq!(requests[0].header("host"), Some("receiver.example:9090"));
    assert_eq!(requests[0].header("proxy-authorization"), Some("Basic bWU6c2VjcmV0"));
    assert_eq!(requests[0].header("authorization"), None, "the proxy's password is not the receiver's");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_proxy_hosts_bypass_the_proxy() {
    let (proxy, receiver) = (FakeReceiver::start(), FakeReceiver::start());
    let mut config = config(&receiver.write_url());
    config.proxy_url = Some(Url::parse(&proxy.url()).unwrap());
    config.no_proxy = Some("127.0.0.0/8".into());
    assert_eq!(post(&Client::new(&config).unwrap()).await.unwrap().status, 204);
    assert_eq!((proxy.requests().len(), receiver.requests().len()), (0, 1));
    assert_eq!(receiver.requests()[0].path, "/api/v1/write");
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_goes_through_a_tunnel_of_the_proxy() {
    let pem = Pem::new("receiver.example");
    let server = TlsServer::start(Wants::nothing(&pem)).await;
    let proxy = TunnelProxy::start("x-token: secret\r\n").await;
    let mut config = trusting(&server, &pem, "receiver.example");
    config.url = Url::parse(&format!("https://receiver.example:{}/api/v1/write", server.port)).unwrap();
    config.tls_config.server_name = None;
    config.proxy_url = Some(Url::parse(&format!("http://me:secret@127.0.0.1:{}", proxy.port)).unwrap());
    let refused = words(&config).await;
    assert!(refused.contains(&format!("the proxy http://127.0.0.1:{}/", proxy.port)), "{refused}");
    assert!(refused.contains("proxy authorization required") && !refused.contains("secret"), "{refused}");
    config.proxy_connect_header.insert("X-Token".into(), vec![Secret::new("secret")]);
    assert_eq!(post(&Client::new(&config).unwrap()).await.unwrap().status, 204);
    let asked = proxy.asked.lock().unwrap();
    let asked = asked.last().unwrap().to_ascii_lowercase();
    assert!(asked.starts_with(&format!("connect receiver.example:{} http/1.1\r\n", server.port)), "{asked}");
    assert!(asked.contains("proxy-authorization: basic bwu6c2vjcmv0\r\n"), "{asked}");
    let seen = server.seen.lock().unwrap();
    assert_eq!(seen[0].uri(), "/api/v1/write", "the server is spoken to as without a proxy");
    assert!(
        !seen[0].headers().contains_key("x-token") && !seen[0].headers().contains_key("proxy-authorization")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn socks_proxy_resolves_host_names() {
    let pem = Pem::new("receiver.example");
    let server = TlsServer::start(Wants::nothing(&pem)).await;
    let receiver = FakeReceiver::start();
    let receiver_port = receiver.url().rsplit_once(':').unwrap().1.to_string();
    let proxy = SocksProxy::start(Some(("me", "s3cret"))).await;
    let open = SocksProxy::start(None).await;
    for (scheme, login, proxy) in
        [("socks5", "me:s3cret@", &proxy), ("socks5h", "me:s3cret@", &proxy), ("socks5", "", &open)]
    {
        let proxy_url = Url::parse_proxy(&format!("{scheme}://{login}127.0.0.1:{}", proxy.port)).unwrap();
        let mut plain = config(&format!("http://receiver.example:{receiver_port}/api/v1/write"));
        plain.proxy_url = Some(proxy_url.clone());
        assert_eq!(post(&Client::new(&plain).unwrap()).await.unwrap().status, 204, "{scheme}");
        let mut secure = trusting(&server, &pem, "receiver.example");
        secure.url = Url::parse(&format!("https://receiver.example:{}/api/v1/write", server.port)).unwrap();
        secure.tls_config.server_name = None;
        secure.proxy_url = Some(proxy_url);
        assert_eq!(post(&Client::new(&secure).unwrap()).await.unwrap().status, 204, "{scheme}");
        let expected = [receiver_port.clone(), server.port.to_string()];
        let asked = proxy.asked.lock().unwrap();
        let last: Vec<&String> = asked.iter().rev().take(2).rev().collect();
        assert_eq!(last, expected.map(|port| format!("receiver.example:{port}")).iter().collect::<Vec<_>>());
    }
    {
        let requests = receiver.requests();
        assert_eq!(requests[0].path, "/api/v1/write", "as without a proxy");
        assert_eq!(requests[0].header("proxy-authorization"), None);
    }

    let failing = async |proxy_url: &str, to: &str| {
        let mut config = config(to);
        config.proxy_url = Some(Url::parse_proxy(proxy_url).unwrap());
        words(&config).await
    };
    let to = format!("http://receiver.example:{receiver_port}/");
    let address = format!("socks5://127.0.0.1:{}/", proxy.port);
    let wrong = failing(&format!("socks5://me:wrong@127.0.0.1:{}", proxy.port), &to).await;
    assert!(wrong.contains(&format!("the proxy {address}: ")), "{wrong}");
    assert!(wrong.contains("credentials not accepted") && !wrong.contains("wrong"), "{wrong}");
    let nobody = support::process::free_port();
    let away = failing(&format!("socks5://127.0.0.1:{nobody}"), &to).await;
    assert!(away.contains("the proxy ") && away.contains("refused"), "{away}");
    let beyond = failing(&format!("socks5://127.0.0.1:{}", open.port), &format!("http://h:{nobody}/")).await;
    assert!(beyond.contains("the proxy ") && beyond.contains("refused"), "{beyond}");
}

#[tokio::test(flavor = "multi_thread")]
async fn http_2_is_used_if_enabled_and_offered() {
    let pem = Pem::new("receiver.example");
    for (offered, wanted, spoken) in [
        (true, true, http::Version::HTTP_2),
        (true, false, http::Version::HTTP_11),
        (false, true, http::Version::HTTP_11),
    ] {
        let server = TlsServer::start(Wants { http2: offered, ..Wants::nothing(&pem) }).await;
        let mut config = trusting(&server, &pem, "receiver.example");
        config.enable_http2 = wanted;
        let client = Client::new(&config).unwrap();
        for _ in 0..2 {
            assert_eq!(post(&client).await.unwrap().status, 204);
        }
        assert_eq!(server.seen.lock().unwrap()[1].version(), spoken, "{offered} {wanted}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_versions_are_bounded_by_the_settings() {
    let pem = Pem::new("receiver.example");
    let only = |low, high| TlsConfig { min_version: low, max_version: high, ..TlsConfig::default() };
    for (version, bounds, works) in [
        (&TLS12, only(None, None), true),
        (&TLS12, only(Some(TlsVersion::Tls13), None), false),
        (&TLS13, only(Some(TlsVersion::Tls13), None), true),
        (&TLS13, only(None, Some(TlsVersion::Tls12)), false),
        (&TLS12, only(Some(TlsVersion::Tls10), Some(TlsVersion::Tls12)), true),
    ] {
        let server = TlsServer::start(Wants { versions: vec![version], ..Wants::nothing(&pem) }).await;
        let mut config = trusting(&server, &pem, "receiver.example");
        config.tls_config.min_version = bounds.min_version;
        config.tls_config.max_version = bounds.max_version;
        assert_eq!(post(&Client::new(&config).unwrap()).await.is_ok(), works, "{bounds:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn server_name_of_the_certificate_is_checked() {
    let pem = Pem::new("receiver.example");
    let server = TlsServer::start(Wants::nothing(&pem)).await;
    let other = words(&trusting(&server, &pem, "other.example")).await;
    assert!(other.contains("not for other.example but for receiver.example: "), "{other}");
    let mut stranger = trusting(&server, &Pem::new("receiver.example"), "receiver.example");
    let words = words(&stranger).await;
    assert!(words.contains("was not signed by the authority that it names"), "{words}");
    stranger.tls_config.insecure_skip_verify = true;
    assert_eq!(post(&Client::new(&stranger).unwrap()).await.unwrap().status, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn renewed_client_certificate_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let (pem, old, new) = (Pem::new("receiver.example"), Pem::new("sender"), Pem::new("sender"));
    let server = TlsServer::start(Wants { client: Some(&new), ..Wants::nothing(&pem) }).await;
    let write = |pem: &Pem| {
        std::fs::write(dir.path().join("cert"), &pem.cert).unwrap();
        std::fs::write(dir.path().join("key"), &pem.key).unwrap();
    };
    let mut config = trusting(&server, &pem, "receiver.example");
    config.tls_config.cert_file = Some("cert".into());
    config.tls_config.key_file = Some("key".into());
    config.resolve_paths(dir.path());
    write(&old);
    let mut client = Client::new(&config).unwrap();
    assert!(post(&client).await.is_err());
    assert!(!client.refresh().unwrap());
    write(&new);
    assert!(client.refresh().unwrap());
    assert_eq!(post(&client).await.unwrap().status, 204);
    // The file is only half written, so the previous certificate stays in use.
    std::fs::write(dir.path().join("cert"), "").unwrap();
    assert!(client.refresh().is_err());
    assert_eq!(post(&client).await.unwrap().status, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn http_headers_are_sent_and_their_files_reread() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = FakeReceiver::start();
    let mut config = config(&receiver.write_url());
    let many = HeaderValues {
        values: vec!["one".into()],
        secrets: vec![Secret::new("two")],
        files: vec!["three".into()],
    };
    config.http_headers.insert("X-Many".into(), many);
    config.resolve_paths(dir.path());
    assert!(Client::new(&config).unwrap_err().to_string().contains("three"));
    for value in ["first", "second"] {
        std::fs::write(dir.path().join("three"), value).unwrap();
        let mut client = Client::new(&config).unwrap();
        client.refresh().unwrap();
        post(&client).await.unwrap();
        let requests = receiver.requests();
        let headers = requests.last().unwrap().headers.iter().filter(|(name, _)| name == "x-many");
        let headers: Vec<&str> = headers.map(|(_, value)| value.as_str()).collect();
        assert_eq!(headers, ["one", "two", value]);
    }
}

/// Starts a server that sends these bytes to each client, once it has received something.
async fn saying(words: &'static [u8]) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 1 << 16];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(words).await;
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn failure_explains_a_wrong_port() {
    let ssh = saying(b"SSH-2.0-OpenSSH_9.6\r\n").await;
    let said = words(&config(&format!("http://127.0.0.1:{ssh}/"))).await;
    assert!(
        said.starts_with("the server does not speak HTTP: is it the right port, or has the URL to be https?"),
        "{said}"
    );
    let said = words(&config(&format!("https://127.0.0.1:{ssh}/"))).await;
    assert_eq!(said, "the server does not speak TLS: is it the right port, or has the URL to be http?");
    let silent = saying(b"").await;
    let said = words(&config(&format!("http://127.0.0.1:{silent}/"))).await;
    assert_eq!(said, "the connection was closed before there was an answer");
    let nobody = support::process::free_port();
    let said = words(&config(&format!("http://127.0.0.1:{nobody}/"))).await;
    assert!(said.starts_with("can't connect: ") && said.contains("refused"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn failure_explains_http_on_a_tls_port_and_the_reverse() {
    // A server with rustls answers with an alert of TLS.
    let pem = Pem::new("receiver.example");
    let server = TlsServer::start(Wants::nothing(&pem)).await;
    let said = words(&config(&server.url().replace("https:", "http:"))).await;
    assert!(said.contains("has the URL to be https?"), "{said}");
    // Servers in Go and nginx answer in plain HTTP.
    for answer in [
        &b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"[..],
        b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n<html><body>The plain HTTP request was sent to HTTPS port",
        b"HTTP/1.1 400 Bad Request\r\n\r\nYou're speaking plain HTTP to an SSL-enabled server port.<br />",
        b"HTTP/1.1 400 Bad Request\r\n\r\nthis port speaks TLS: use https://\n",
    ] {
        let port = saying(answer).await;
        let said = words(&config(&format!("http://127.0.0.1:{port}/"))).await;
        assert!(said.starts_with("this port speaks TLS: use https in the URL"), "{said}");
    }
    let plain = saying(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n").await;
    let said = words(&config(&format!("https://127.0.0.1:{plain}/"))).await;
    assert_eq!(said, "the server does not speak TLS: is it the right port, or has the URL to be http?");
}
