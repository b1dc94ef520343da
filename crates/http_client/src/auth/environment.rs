//! The access of the credential libraries to this machine: its environment, small files, and the network
//! within limits, through the environment's proxies, as Amazon's and Google's own tools do.

use super::error::ProofError;
use super::read_file;
use crate::connect::{Connecting, Http, Lookup};
use crate::proxy::Proxies;
use crate::tls::TlsConfig;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use reqsign_core::{Context, Error, FileRead, HttpSend, OsEnv};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Most bytes of an answer with keys or a token.
pub const KEYS_BYTES: usize = 256 << 10;
/// The longest time of one request for keys or a token. Metadata services are near. Where there is none,
/// nothing answers.
pub const KEYS_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) fn context() -> Result<Context, ProofError> {
    Ok(Context::new().with_env(OsEnv).with_file_read(Files).with_http_send(Network::new()?))
}

/// Returns reqsign's error with its causes in one line.
pub(super) fn explain(error: &Error) -> String {
    let mut words = error.to_string().trim().to_string();
    let mut reason = std::error::Error::source(error);
    while let Some(source) = reason {
        words.push_str(": ");
        words.push_str(&source.to_string());
        reason = source.source();
    }
    crate::words::words(words.as_bytes())
}

#[derive(Debug)]
pub(super) struct Files;

impl FileRead for Files {
    async fn file_read(&self, path: &str) -> Result<Vec<u8>, Error> {
        read_file(Path::new(path)).map_err(|error| Error::config_invalid(error.to_string()))
    }
}

/// Fetches keys within limits, through the environment's proxies, as Amazon's own tools do.
#[derive(Debug)]
pub(super) struct Network {
    https: Result<Http, String>,
    http: Http,
}

impl Network {
    pub(super) fn new() -> Result<Self, ProofError> {
        let environment = ProxyEnvironment::get()?;
        Ok(Network {
            // Configured keys need no network. If the network is needed, the error is returned then.
            https: environment.client(true).map_err(|error| error.to_string()),
            http: environment.client(false)?,
        })
    }
}

impl HttpSend for Network {
    async fn http_send(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>, Error> {
        let uri = request.uri().clone();
        let host = uri.host().unwrap_or_default().to_string();
        let https = uri.scheme_str() == Some("https");
        let fetch = async {
            let client = if https { self.https.as_ref().map_err(Clone::clone)? } else { &self.http };
            let answer = client.request(request.map(Full::new)).await;
            let answer = answer
                .map_err(|error| crate::explain::explain(&error, &uri, &TlsConfig::default()).to_string())?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, KEYS_BYTES).collect().await.map_err(|error| error.to_string())?;
            Ok::<_, String>(http::Response::from_parts(head, body.to_bytes()))
        };
        let fetched = tokio::time::timeout(KEYS_TIMEOUT, fetch).await;
        let fetched = fetched.unwrap_or_else(|_| Err(format!("no answer within {KEYS_TIMEOUT:?}")));
        fetched.map_err(|reason| Error::unexpected(format!("{host}: {reason}")))
    }
}

struct ProxyEnvironment(Arc<Proxies>);

impl ProxyEnvironment {
    fn get() -> Result<Self, ProofError> {
        let config = crate::proxy::ProxyConfig { from_environment: true, ..Default::default() };
        Ok(ProxyEnvironment(Arc::new(Proxies::new(&config, |name| std::env::var(name).ok())?)))
    }

    /// Metadata services are near, so they are reached without TLS and without a proxy.
    fn client(&self, https: bool) -> Result<Http, ProofError> {
        let connecting = Connecting {
            tls: TlsConfig::default(),
            proxies: if https { self.0.clone() } else { Arc::default() },
            http2: false,
            idle_max: 1,
            lookup: Lookup::new(false),
        };
        let to = if https { "https://sts.amazonaws.com/" } else { "http://169.254.169.254/" };
        Ok(connecting.client(&http::Uri::from_static(to))?)
    }
}
