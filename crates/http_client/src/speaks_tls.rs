//! Checks whether a port expects TLS after plain HTTP failed. Many servers close such a connection without an
//! answer.

use crate::connect::Connecting;
use crate::tls::{TlsConfig, client_config};
use http::Uri;
use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long the port may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// The first byte of a TLS server's answer: the type of a record with an alert or a handshake.
const ANSWERS: [u8; 2] = [21, 22];

impl Connecting {
    /// Returns true if the server of an `http` URL answers a TLS handshake. Does not ask through a proxy.
    pub(crate) async fn speaks_tls(&self, uri: &Uri) -> bool {
        if uri.scheme_str() != Some("http") || self.proxies.way_to(uri).is_some() {
            return false;
        }
        let asking = tokio::time::timeout(PATIENCE, first_byte_of_answer(uri));
        matches!(asking.await, Ok(Some(first)) if ANSWERS.contains(&first))
    }
}

async fn first_byte_of_answer(uri: &Uri) -> Option<u8> {
    let host = uri.host()?.trim_start_matches('[').trim_end_matches(']');
    let config =
        client_config(&TlsConfig { insecure_skip_verify: true, ..TlsConfig::default() }, false).ok()?;
    let name = ServerName::try_from(host.to_string()).ok()?;
    let mut handshake = ClientConnection::new(config.into(), name).ok()?;
    let mut hello = Vec::new();
    handshake.write_tls(&mut hello).ok()?;
    let mut stream = TcpStream::connect((host, uri.port_u16().unwrap_or(80))).await.ok()?;
    stream.write_all(&hello).await.ok()?;
    stream.read_u8().await.ok()
}
