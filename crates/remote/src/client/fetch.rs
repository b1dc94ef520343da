//! Single requests over the same kind of connection as a destination's: TLS, proxies and errors in words are
//! the same. For token servers and for pushes to a gateway.

use super::connect::{Connecting, Http, Lookup};
use super::proxy::{Proxies, ProxyConfig, ProxyError};
use super::tls::{TlsConfig, TlsError};
use super::{Failure, explain};
use bytes::Bytes;
use http::header::PROXY_AUTHORIZATION;
use http::{Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use std::sync::Arc;

/// Why a [`Fetcher`] can't be made.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// TLS.
    #[error("tls_config: {0}")]
    Tls(#[from] TlsError),
    /// A proxy.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
}

/// Sends single requests.
#[derive(Debug)]
pub struct Fetcher {
    http: Http,
    proxies: Arc<Proxies>,
    tls: TlsConfig,
}

impl Fetcher {
    /// For requests to `to`. `idle_max` is the number of idle connections that are kept. Nothing is connected
    /// yet; the files of `tls` are read.
    pub fn new(to: &Uri, tls: &TlsConfig, proxy: &ProxyConfig, idle_max: usize) -> Result<Self, FetchError> {
        let proxies = Arc::new(Proxies::new(proxy, |name| std::env::var(name).ok())?);
        let connecting = Connecting {
            tls: tls.clone(),
            proxies: proxies.clone(),
            http2: false,
            idle_max,
            lookup: Lookup::new(false),
        };
        Ok(Fetcher { http: connecting.client(to)?, proxies, tls: tls.clone() })
    }

    /// Sends one request; adds what the proxy wants to see.
    pub async fn send(&self, mut request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Failure> {
        let uri = request.uri().clone();
        if let Some(value) = self.proxies.authorization_for(&uri) {
            request.headers_mut().insert(PROXY_AUTHORIZATION, value);
        }
        self.http.request(request).await.map_err(|error| explain(&error, &uri, &self.tls))
    }
}
