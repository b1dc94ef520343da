//! Single requests over TLS and proxies, with errors that say what to do. No authentication, no redirects: those
//! are added by [`crate::Client`]. Used directly for token servers, and by `narthex push` for a Pushgateway.

use crate::connect::{Connecting, Http, Lookup};
use crate::explain;
use crate::failure::{Failure, FailureKind};
use crate::proxy::{Proxies, ProxyConfig, ProxyError};
use crate::tls::{TlsConfig, TlsError};
use bytes::Bytes;
use http::header::PROXY_AUTHORIZATION;
use http::{Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use std::sync::Arc;

/// Number of tries of a request whose connection ends before the request is sent. The error of such a try
/// does not say why the connection ended, for example because the server refuses our certificate. Most tries
/// do say it.
const TRIES: u32 = 4;

/// Why a [`Fetcher`] can't be made.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("tls_config: {0}")]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Proxy(#[from] ProxyError),
}

/// Sends single requests. Clones share their connections.
#[derive(Debug, Clone)]
pub struct Fetcher {
    http: Http,
    connecting: Arc<Connecting>,
}

impl Fetcher {
    /// Makes a fetcher for requests to the host of `to`. Keeps `idle_max` idle connections. Reads the files
    /// of `tls`. Connects with the first request.
    pub fn new(to: &Uri, tls: &TlsConfig, proxy: &ProxyConfig, idle_max: usize) -> Result<Self, FetchError> {
        let proxies = Arc::new(Proxies::new(proxy, |name| std::env::var(name).ok())?);
        let connecting =
            Connecting { tls: tls.clone(), proxies, http2: false, idle_max, lookup: Lookup::new(false) };
        Ok(Self::with(connecting.into(), to)?)
    }

    pub(crate) fn with(connecting: Arc<Connecting>, to: &Uri) -> Result<Self, TlsError> {
        Ok(Fetcher { http: connecting.client(to)?, connecting })
    }

    /// Returns the same with new connections. Reads the files of `tls_config` again.
    pub(crate) fn reconnected(&self, to: &Uri) -> Result<Self, TlsError> {
        Self::with(self.connecting.clone(), to)
    }

    /// Sends one request. Adds the proxy's credentials if it goes through a proxy.
    pub async fn send(&self, mut request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Failure> {
        let uri = request.uri().clone();
        if let Some(value) = self.connecting.proxies.authorization_for(&uri) {
            request.headers_mut().insert(PROXY_AUTHORIZATION, value);
        }
        let mut tries = 1;
        loop {
            let error = match self.http.request(request.clone()).await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            if tries == TRIES || !explain::is_unsent(&error) {
                return Err(explain::explain(&error, &uri, &self.connecting.tls));
            }
            tries += 1;
        }
    }

    /// Looks for the cause of a failed request to `uri`: if the URL is `http` and the port speaks TLS, the failure says
    /// so. Opens another connection, so it is for `narthex push`, not for each retry of a destination.
    pub async fn ask_for_tls(&self, uri: &Uri, failure: Failure) -> Failure {
        let may_be_tls = matches!(failure.kind, FailureKind::Unreachable | FailureKind::Protocol);
        if may_be_tls && self.connecting.speaks_tls(uri).await { Failure::speaks_tls("") } else { failure }
    }
}
