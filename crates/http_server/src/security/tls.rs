//! The server configuration of rustls, made from Prometheus' keys.

use super::SecurityError;
use super::files::Files;
use crate::web_config::{ClientAuth, TlsServerConfig, TlsVersion};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use std::path::Path;
use std::sync::Arc;

/// Reads certificates and key. `config` must have passed [`TlsServerConfig::check`].
pub(super) fn server_config(
    config: &TlsServerConfig,
    files: &mut Files,
) -> Result<ServerConfig, SecurityError> {
    let refused = |error: rustls::Error| SecurityError::Tls(error.to_string());
    config.check()?;
    let (Some(cert), Some(key)) = (&config.cert_file, &config.key_file) else {
        return Err(SecurityError::Tls("cert_file and key_file belong together".into()));
    };
    let chain = certificates("cert_file", cert, files)?;
    let private = private_key(key, files)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions(config))
        .map_err(refused)?;
    let builder = match verifier(config, files)? {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut server = builder.with_single_cert(chain, private).map_err(refused)?;
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(server)
}

fn private_key(path: &Path, files: &mut Files) -> Result<PrivateKeyDer<'static>, SecurityError> {
    let bytes = files.bytes("key_file", path)?;
    // The reason is left out, because it might quote the key.
    PrivateKeyDer::from_pem_slice(&bytes)
        .map_err(|_| content("key_file", path, "there is no private key in PEM in it"))
}

/// Returns all errors of the settings and their files. Each message begins with the key.
pub fn errors(config: &TlsServerConfig) -> Vec<SecurityError> {
    let mut found: Vec<SecurityError> = config.errors().into_iter().map(SecurityError::from).collect();
    let mut files = Files::default();
    for (key, path) in [("cert_file", &config.cert_file), ("client_ca_file", &config.client_ca_file)] {
        found.extend(path.as_ref().and_then(|path| certificates(key, path, &mut files).err()));
    }
    found.extend(config.key_file.as_ref().and_then(|path| private_key(path, &mut files).err()));
    if found.is_empty() {
        found.extend(server_config(config, &mut files).err());
    }
    found
}

/// The supported versions within the bounds. As in Prometheus, the lower bound is 1.2 if it is not set.
fn versions(config: &TlsServerConfig) -> Vec<&'static SupportedProtocolVersion> {
    let low = config.min_version.unwrap_or(TlsVersion::V1_2);
    let high = config.max_version.unwrap_or(TlsVersion::V1_3);
    [(TlsVersion::V1_2, &rustls::version::TLS12), (TlsVersion::V1_3, &rustls::version::TLS13)]
        .into_iter()
        .filter(|(version, _)| (low..=high).contains(version))
        .map(|(_, version)| version)
        .collect()
}

/// Returns the verifier of client certificates, if they are verified.
fn verifier(
    config: &TlsServerConfig,
    files: &mut Files,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, SecurityError> {
    let optional = match config.client_auth_type {
        ClientAuth::VerifyClientCertIfGiven => true,
        ClientAuth::RequireAndVerifyClientCert => false,
        // The other types verify no client. `TlsServerConfig::check` rejects those that request a certificate
        // without verifying it.
        _ => return Ok(None),
    };
    let Some(path) = &config.client_ca_file else { return Ok(None) };
    let mut roots = RootCertStore::empty();
    for certificate in certificates("client_ca_file", path, files)? {
        roots.add(certificate).map_err(|error| content("client_ca_file", path, &error.to_string()))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = if optional { builder.allow_unauthenticated() } else { builder };
    builder.build().map(Some).map_err(|error| content("client_ca_file", path, &error.to_string()))
}

fn certificates(
    what: &'static str,
    path: &Path,
    files: &mut Files,
) -> Result<Vec<CertificateDer<'static>>, SecurityError> {
    let bytes = files.bytes(what, path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(content(what, path, "there is no certificate in PEM in it")),
    }
}

fn content(what: &'static str, path: &Path, reason: &str) -> SecurityError {
    SecurityError::Content { what, path: path.to_path_buf(), reason: reason.to_string() }
}
