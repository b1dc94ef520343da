//! One connection: its handshake where TLS is asked for, and its requests, until the client or the server ends it.

use super::{HEAD_BYTES_MAX, Limits};
use axum::Router;
use axum::body::Body;
use axum::response::IntoResponse;
use futures_util::FutureExt;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
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

/// Serves one connection until it ends.
pub(super) async fn connection(
    stream: TcpStream,
    tls: Option<Arc<rustls::ServerConfig>>,
    limits: Limits,
    router: Router,
    mut stop: watch::Receiver<Option<Duration>>,
) {
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else { return converse(stream, limits, router, stop).await };
    let stream = tokio::select! {
        stream = tokio::time::timeout(limits.handshake, handshake(stream, tls)) => stream,
        _ = stop.wait_for(Option::is_some) => return,
    };
    match stream {
        Ok(Ok(stream)) => converse(stream, limits, router, stop).await,
        // Whoever scans the port must not fill the log.
        Ok(Err(error)) => tracing::debug!(%error, "a connection was not begun"),
        Err(_) => tracing::debug!("a client took too long for its handshake"),
    }
}

/// The answer to a request whose handler panicked. Nothing of it was acknowledged, so it may be sent again.
const PANICKED: &str = "an error in narthex itself; its log says more\n";

/// The first byte of what begins TLS: a record of a handshake.
const TLS_HANDSHAKE: u8 = 22;
/// What is said to whoever speaks plainly where TLS is spoken.
const NOT_PLAIN: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\n\
    this port speaks TLS: use https://\n";

async fn handshake(
    mut stream: TcpStream,
    tls: Arc<rustls::ServerConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 1 && first != [TLS_HANDSHAKE] {
        // What has come is read, since closing with some of it unread would tear the answer away.
        let mut rest = [0; 4096];
        let _ = stream.try_read(&mut rest);
        stream.write_all(NOT_PLAIN).await?;
        stream.shutdown().await?;
        return Err(std::io::Error::other("plain HTTP where TLS is spoken"));
    }
    TlsAcceptor::from(tls).accept(stream).await
}

async fn converse<S>(stream: S, limits: Limits, router: Router, mut stop: watch::Receiver<Option<Duration>>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let router = router.clone();
        async move {
            let uri = request.uri().clone();
            // A panic costs its own request. Without this it would end the connection without an answer.
            let answered = AssertUnwindSafe(router.oneshot(request.map(Body::new))).catch_unwind().await;
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
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        // Whatever went wrong with one connection is the client's to notice.
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
    use crate::listen::tests::{ok_router, until_closed};
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn a_handshake_that_does_not_end_is_cut() {
        assert_eq!(Limits::DEFAULT.handshake, Duration::from_secs(10));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let nobody = Arc::new(rustls::server::ResolvesServerCertUsingSni::new());
        let tls = Arc::new(builder.unwrap().with_no_client_auth().with_cert_resolver(nobody));
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
