//! One connection: its TLS handshake if TLS is configured, and its requests, until the client or the server ends it.
//!
//! HTTP/2 is for gRPC. Over TLS the two sides agree on the version in the handshake (ALPN). Without TLS a client of HTTP/2
//! begins with a fixed text, `PRI * HTTP/2.0`, and two bytes tell it from the methods of HTTP/1.

use super::idle::Activity;
use super::{HEAD_BYTES_MAX, Limits, STREAMS_MAX};
use axum::Router;
use axum::body::Body;
use axum::response::IntoResponse;
use futures_util::FutureExt;
use http::header::{HOST, HeaderValue};
use http::{Request, StatusCode, Version};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tower::ServiceExt;

pub(super) async fn connection(
    stream: TcpStream,
    tls: Option<Arc<rustls::ServerConfig>>,
    limits: Limits,
    router: Router,
    mut stop: watch::Receiver<Option<Duration>>,
) {
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else {
        let version = tokio::select! {
            version = tokio::time::timeout(limits.head, version(&stream)) => version,
            _ = stop.wait_for(Option::is_some) => return,
        };
        if let Ok(Ok(version)) = version {
            converse(stream, version, limits, router, stop).await;
        }
        return;
    };
    let stream = tokio::select! {
        stream = tokio::time::timeout(limits.handshake, handshake(stream, tls)) => stream,
        _ = stop.wait_for(Option::is_some) => return,
    };
    match stream {
        Ok(Ok(stream)) => {
            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let version = if is_http2 { Version::HTTP_2 } else { Version::HTTP_11 };
            converse(stream, version, limits, router, stop).await;
        }
        // Debug only, because port scans must not fill the log.
        Ok(Err(error)) => tracing::debug!(%error, "a connection was not begun"),
        Err(_) => tracing::debug!("a client took too long for its handshake"),
    }
}

/// The answer to a request whose handler panicked. Nothing was acknowledged, so the client may send it again.
const PANICKED: &str = "an error in narthex itself; its log says more\n";

/// The first byte of a TLS connection: the type of a handshake record.
const TLS_HANDSHAKE: u8 = 22;
/// The answer to plain HTTP on a TLS port.
const NOT_PLAIN: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\n\
    this port speaks TLS: use https://\n";

/// How long it takes until the second byte is looked for again, if the first one came alone.
const SECOND_BYTE: Duration = Duration::from_millis(10);

/// The version of HTTP that a client speaks, by its first two bytes, which stay in the socket.
async fn version(stream: &TcpStream) -> std::io::Result<Version> {
    let mut first = [0; 2];
    loop {
        return Ok(match (stream.peek(&mut first).await?, &first) {
            (2, b"PR") => Version::HTTP_2,
            // `PUT` and `POST` begin with the same byte.
            (1, [b'P', _]) => {
                tokio::time::sleep(SECOND_BYTE).await;
                continue;
            }
            _ => Version::HTTP_11,
        });
    }
}

async fn handshake(
    mut stream: TcpStream,
    tls: Arc<rustls::ServerConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 1 && first != [TLS_HANDSHAKE] {
        // Received bytes are read, because closing with unread bytes would discard the answer.
        let mut rest = [0; 4096];
        let _ = stream.try_read(&mut rest);
        stream.write_all(NOT_PLAIN).await?;
        stream.shutdown().await?;
        return Err(std::io::Error::other("plain HTTP at a port of TLS"));
    }
    TlsAcceptor::from(tls).accept(stream).await
}

async fn converse<S>(
    stream: S,
    version: Version,
    limits: Limits,
    router: Router,
    mut stop: watch::Receiver<Option<Duration>>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let activity = Activity::default();
    let service = service_fn(|mut request: Request<Incoming>| {
        let (router, running) = (router.clone(), activity.begin());
        async move {
            let uri = request.uri().clone();
            // HTTP/2 has the name that it was asked by in the URI.
            if let Some(host) = uri.authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok())
                && request.version() == Version::HTTP_2
            {
                request.headers_mut().entry(HOST).or_insert(host);
            }
            // A panic ends only its own request. Without this it would close the connection without an answer.
            let answered = AssertUnwindSafe(router.oneshot(request.map(Body::new))).catch_unwind().await;
            drop(running);
            Ok::<_, Infallible>(match answered {
                Ok(Ok(response)) => response,
                Err(_) => {
                    tracing::error!(
                        path = uri.path(),
                        "a request panicked, by a mistake in narthex, and was answered 500"
                    );
                    (StatusCode::INTERNAL_SERVER_ERROR, PANICKED).into_response()
                }
            })
        }
    });
    let stream = TokioIo::new(stream);
    if version == Version::HTTP_2 {
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(HEAD_BYTES_MAX as u32)
            .keep_alive_interval(Some(limits.head))
            .serve_connection(stream, service);
        tokio::pin!(connection);
        tokio::select! {
            _ = connection.as_mut() => return,
            _ = stop.wait_for(Option::is_some) => {}
            () = activity.idle_for(limits.idle) => {}
        }
        connection.as_mut().graceful_shutdown();
        // Without requests in flight it ends at once, unless the client does not read.
        let end = async {
            if stop.borrow().is_none() {
                tokio::time::sleep(limits.handshake).await
            } else {
                std::future::pending().await
            }
        };
        tokio::select! {
            _ = connection => {}
            () = end => {}
        }
        return;
    }
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(stream, service);
    tokio::pin!(connection);
    tokio::select! {
        // The client notices errors of its connection.
        _ = connection.as_mut() => return,
        _ = stop.wait_for(Option::is_some) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "helpers of tests")]
    use super::*;
    use crate::Listening;
    use crate::listen::tests::{ok_router, until_closed};
    use http::HeaderMap;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn http_2_without_tls_is_recognised_and_ends_once_it_is_idle() {
        assert_eq!(Limits::DEFAULT.idle, Duration::from_secs(300));
        let mut listening = Listening::on(([127, 0, 0, 1], 0).into()).unwrap();
        (listening.limits.idle, listening.limits.head) =
            (Duration::from_millis(100), Duration::from_millis(200));
        let host = |headers: HeaderMap| async move { headers[HOST].to_str().unwrap().to_string() };
        let server = listening.serve(Router::new().route("/", axum::routing::post(host)));
        let address = server.address();
        let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
        let (mut client, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
        let ended = tokio::spawn(connection);
        let request = Request::post(format!("http://{address}/")).body(Body::empty()).unwrap();
        let response = client.send_request(request).await.unwrap();
        assert_eq!((response.status().as_u16(), response.version()), (200, Version::HTTP_2));
        let body = axum::body::to_bytes(Body::new(response.into_body()), 1000).await.unwrap();
        assert_eq!(body, address.to_string(), "the name is that of the URI");
        assert!(tokio::time::timeout(Duration::from_secs(20), ended).await.is_ok());
        // A client that sends the beginning and no more, or its first byte alone.
        for beginning in [&b"PRI * HTTP/2.0\r\n"[..], b"P"] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(beginning).await.unwrap();
            stream.shutdown().await.unwrap();
            until_closed(&mut stream).await;
        }
        server.stop().await;
    }

    #[tokio::test]
    async fn unfinished_handshake_is_ended() {
        assert_eq!(Limits::DEFAULT.handshake, Duration::from_secs(10));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let no_certificate = Arc::new(rustls::server::ResolvesServerCertUsingSni::new());
        let tls = Arc::new(builder.unwrap().with_no_client_auth().with_cert_resolver(no_certificate));
        let limits = Limits { handshake: Duration::from_millis(100), ..Limits::DEFAULT };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        // Nothing at all, and the beginning of a record.
        for sent in [&[][..], &[TLS_HANDSHAKE, 3, 1, 2][..]] {
            let mut stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            stream.write_all(sent).await.unwrap();
            let (accepted, _) = listener.accept().await.unwrap();
            let stop = watch::channel(None);
            let served = connection(accepted, Some(tls.clone()), limits, ok_router(), stop.1);
            tokio::time::timeout(Duration::from_secs(20), served).await.unwrap();
            assert_eq!(until_closed(&mut stream).await, "");
        }
    }
}
