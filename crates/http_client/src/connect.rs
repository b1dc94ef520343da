//! Makes connections: name lookup, directly or through a proxy, with or without TLS, HTTP/1.1 or 2.

use crate::proxy::Proxies;
use crate::tls::{self, TlsConfig, TlsError};
use crate::url::Url;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::Uri;
use http_body_util::Full;
use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tower_service::Service;

const IDLE: Duration = Duration::from_secs(90);
/// How long connections are used before new ones are made. So a host whose name has a new address is found
/// there, even if the connections to the old address are busy.
pub const CONNECTIONS_AGE: Duration = Duration::from_secs(5 * 60);

pub(crate) type Http = HyperClient<HttpsConnector<Route>, Full<Bytes>>;

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Tcp = HttpConnector<Lookup>;

/// The settings of connections.
#[derive(Debug, Clone)]
pub(crate) struct Connecting {
    pub(crate) tls: TlsConfig,
    pub(crate) proxies: Arc<Proxies>,
    pub(crate) http2: bool,
    /// Most idle connections that are kept per host.
    pub(crate) idle_max: usize,
    pub(crate) lookup: Lookup,
}

impl Connecting {
    /// Returns all errors that [`Connecting::client`] could return.
    pub(crate) fn errors(&self, to: &Uri) -> Vec<TlsError> {
        tls::errors(&self.tls, self.is_secure(to))
    }

    fn is_secure(&self, to: &Uri) -> bool {
        let secure = to.scheme_str() == Some("https");
        secure || self.proxies.way_to(to).is_some_and(|proxy| proxy.is_https())
    }

    /// Returns a client without connections for requests to `to`. Reads the files of `tls_config`.
    pub(crate) fn client(&self, to: &Uri) -> Result<Http, TlsError> {
        let mut tcp = HttpConnector::new_with_resolver(self.lookup.clone());
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(Duration::from_secs(30)));
        let tls = tls::client_config(&self.tls, self.is_secure(to))?;
        let to_proxy = HttpsConnectorBuilder::new()
            .with_tls_config(tls.clone())
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp.clone());
        let route = Route { tcp, to_proxy, proxies: self.proxies.clone() };
        let builder = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
        let builder = match tls::server_name(&self.tls)? {
            Some(name) => builder.with_server_name_resolver(FixedServerNameResolver::new(name)),
            None => builder,
        };
        let connector = match self.http2 {
            true => builder.enable_http1().enable_http2().wrap_connector(route),
            false => builder.enable_http1().wrap_connector(route),
        };
        Ok(HyperClient::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(self.idle_max)
            .timer(TokioTimer::new())
            .http2_keep_alive_interval(Duration::from_secs(30))
            .build(connector))
    }
}

/// Makes the connection for TLS or plain HTTP: to the host itself, to its proxy, or a tunnel through the
/// proxy.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    tcp: Tcp,
    to_proxy: HttpsConnector<Tcp>,
    proxies: Arc<Proxies>,
}

impl Service<Uri> for Route {
    type Response = Hop;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Hop, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // Neither a TCP connector nor its wrapper is ever busy.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let Some(proxy) = self.proxies.way_to(&to) else {
            let connecting = self.tcp.call(to);
            return Box::pin(async move { Ok(Hop::new(MaybeHttpsStream::Http(connecting.await?), false)) });
        };
        let shown = proxy.redacted();
        let failed = move |reason: BoxError| -> BoxError { Box::new(ProxyFailed { proxy: shown, reason }) };
        if proxy.is_socks() {
            let (proxy, connecting) = (proxy.clone(), self.tcp.call(proxy.uri().clone()));
            Box::pin(async move {
                let stream = match connecting.await {
                    Ok(stream) => through_socks(&proxy, stream, to).await,
                    Err(error) => Err(error.into()),
                };
                let stream = stream.map_err(failed)?;
                Ok(Hop::new(MaybeHttpsStream::Http(stream), false))
            })
        } else if to.scheme_str() == Some("https") {
            let mut tunnel = Tunnel::new(proxy.uri().clone(), self.to_proxy.clone())
                .with_headers(self.proxies.tunnel_headers(proxy));
            let connecting = tunnel.call(to);
            Box::pin(async move {
                let stream = connecting.await.map_err(|error| failed(error.into()))?;
                Ok(Hop::new(stream, false))
            })
        } else {
            let connecting = self.to_proxy.call(proxy.uri().clone());
            Box::pin(async move { Ok(Hop::new(connecting.await.map_err(failed)?, true)) })
        }
    }
}

/// Asks a SOCKS proxy, over an existing connection to it, to connect to `to`.
async fn through_socks(
    proxy: &Url,
    stream: TokioIo<TcpStream>,
    to: Uri,
) -> Result<TokioIo<TcpStream>, BoxError> {
    let mut socks = SocksV5::new(proxy.uri().clone(), Connect(Some(stream)));
    if let Some((user, password)) = proxy.user_and_password() {
        socks = socks.with_auth(user, password);
    }
    Ok(socks.call(with_port(to)?).await?)
}

/// Passes an existing connection to the library. If the library made it, it would hide why it failed.
struct Connect(Option<TokioIo<TcpStream>>);

impl Service<Uri> for Connect {
    type Response = TokioIo<TcpStream>;
    type Error = std::io::Error;
    type Future = std::future::Ready<std::io::Result<TokioIo<TcpStream>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        std::future::ready(self.0.take().ok_or_else(|| std::io::ErrorKind::NotConnected.into()))
    }
}

/// Adds the port of the scheme if the URL has none.
fn with_port(to: Uri) -> Result<Uri, http::Error> {
    if to.port().is_some() {
        return Ok(to);
    }
    let port = if to.scheme_str() == Some("https") { 443 } else { 80 };
    let authority = format!("{}:{port}", to.host().unwrap_or_default());
    Uri::builder().scheme("http").authority(authority).path_and_query("/").build()
}

/// A proxy did not make the connection.
#[derive(Debug, thiserror::Error)]
#[error("the proxy {proxy} makes no connection")]
pub(super) struct ProxyFailed {
    pub(super) proxy: String,
    #[source]
    reason: BoxError,
}

/// A connection that is ready for TLS or HTTP.
///
/// A server that refuses something (a client certificate, a request) sends its reason and closes the
/// connection. A write then fails while the reason waits to be read. So a write that fails because the server
/// has closed the connection counts as done, and the server's data is read first. If that ends without an
/// answer, the read returns the write's error.
pub(crate) struct Hop {
    stream: MaybeHttpsStream<TokioIo<TcpStream>>,
    /// The server is a proxy that expects whole URLs.
    is_proxy: bool,
    /// The error of the first write after the server closed the connection.
    write_failed: Option<std::io::Error>,
}

impl Hop {
    fn new(stream: MaybeHttpsStream<TokioIo<TcpStream>>, is_proxy: bool) -> Self {
        Hop { stream, is_proxy, write_failed: None }
    }
}

impl Connection for Hop {
    fn connected(&self) -> Connected {
        self.stream.connected().proxy(self.is_proxy)
    }
}

impl Read for Hop {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        let hop = self.get_mut();
        let Some(write_failed) = hop.write_failed.as_ref() else {
            return Pin::new(&mut hop.stream).poll_read(cx, buf);
        };
        let failed = std::io::Error::new(write_failed.kind(), write_failed.to_string());
        let mut rest = vec![0; buf.remaining()];
        let mut rest = ReadBuf::new(&mut rest);
        let read = std::task::ready!(Pin::new(&mut hop.stream).poll_read(cx, rest.unfilled()));
        if read.is_err() || rest.filled().is_empty() {
            return Poll::Ready(Err(failed));
        }
        buf.put_slice(rest.filled());
        Poll::Ready(Ok(()))
    }
}

impl Write for Hop {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        let hop = self.get_mut();
        if hop.write_failed.is_some() {
            return Poll::Ready(Ok(buf.len()));
        }
        match Pin::new(&mut hop.stream).poll_write(cx, buf) {
            Poll::Ready(Err(error)) if is_closed_by_server(&error) => {
                hop.write_failed = Some(error);
                Poll::Ready(Ok(buf.len()))
            }
            written => written,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

fn is_closed_by_server(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::BrokenPipe | std::io::ErrorKind::ConnectionReset)
}

/// Looks up names for each new connection. Addresses are tried one after another. `round_robin_dns` begins
/// with a random one each time.
#[derive(Debug, Clone)]
pub(crate) struct Lookup {
    system: GaiResolver,
    shuffle: bool,
    /// Replaces the system's resolver in tests.
    #[cfg(test)]
    pub(crate) table: Option<Arc<std::sync::Mutex<Vec<SocketAddr>>>>,
}

impl Lookup {
    pub(crate) fn new(shuffle: bool) -> Self {
        Lookup {
            system: GaiResolver::new(),
            shuffle,
            #[cfg(test)]
            table: None,
        }
    }

    #[cfg(test)]
    fn instead(&self) -> Option<Vec<SocketAddr>> {
        self.table.as_ref().and_then(|table| Some(table.lock().ok()?.clone()))
    }

    #[cfg(not(test))]
    fn instead(&self) -> Option<Vec<SocketAddr>> {
        None
    }
}

impl Service<Name> for Lookup {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = std::io::Error;
    type Future = BoxFuture<'static, std::io::Result<Self::Response>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.system.poll_ready(cx)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (instead, mut system, shuffle) = (self.instead(), self.system.clone(), self.shuffle);
        Box::pin(async move {
            let mut found = match instead {
                Some(found) => found,
                None => system.call(name).await?.collect(),
            };
            if shuffle {
                fastrand::shuffle(&mut found);
            }
            Ok(found.into_iter())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn round_robin_shuffles_all_addresses() {
        let mut lookup = Lookup::new(true);
        let mut all: Vec<SocketAddr> = (1..=3).map(|last| ([127, 0, 0, last], 0).into()).collect();
        lookup.table = Some(Arc::new(std::sync::Mutex::new(all.clone())));
        let mut firsts = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let mut found: Vec<_> = lookup.call("host".parse().unwrap()).await.unwrap().collect();
            firsts.extend(found.first().copied());
            found.sort();
            all.sort();
            assert_eq!(found, all);
        }
        assert_eq!(firsts.len(), 3, "200 times without one of three is not chance");
    }
}
