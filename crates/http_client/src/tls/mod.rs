//! `tls_config`: which certificates are trusted, and which client certificate is presented.

mod errors;
mod verify;

pub(crate) use errors::trouble;
pub use errors::{KeyNames, TlsTrouble};

use crate::Secret;
use crate::auth::{AuthError, read_file};
use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// `tls_config`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// Certificates to trust, as PEM text, instead of the system's.
    pub ca: Option<String>,
    pub ca_file: Option<PathBuf>,
    /// The client certificate, as PEM text.
    pub cert: Option<String>,
    pub cert_file: Option<PathBuf>,
    /// The certificate's key, as PEM text.
    pub key: Option<Secret>,
    pub key_file: Option<PathBuf>,
    /// The name that the server's certificate has to be for, instead of the URL's host.
    pub server_name: Option<String>,
    /// Accept any certificate.
    pub insecure_skip_verify: bool,
    /// Lowest version. 1.2 and 1.3 are supported.
    pub min_version: Option<TlsVersion>,
    pub max_version: Option<TlsVersion>,
    /// The names of these settings in messages. Not a key of the file.
    #[serde(skip)]
    pub key_names: KeyNames,
}

impl TlsConfig {
    /// Returns the configured files.
    pub(crate) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.ca_file, &self.cert_file, &self.key_file].into_iter().flatten()
    }

    /// Returns the configured files, to be changed.
    pub fn files_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        [&mut self.ca_file, &mut self.cert_file, &mut self.key_file].into_iter().flatten()
    }
}

/// A version of TLS, by Prometheus' names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum TlsVersion {
    /// Not supported. As a lower bound it means 1.2.
    #[serde(rename = "TLS10")]
    Tls10,
    /// Not supported. As a lower bound it means 1.2.
    #[serde(rename = "TLS11")]
    Tls11,
    #[serde(rename = "TLS12")]
    Tls12,
    #[serde(rename = "TLS13")]
    Tls13,
}

/// Why TLS can't be set up. Never contains a key.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read, or two keys exclude each other.
    #[error(transparent)]
    File(#[from] AuthError),
    /// A text or file is not valid PEM.
    #[error("{what}: {reason}")]
    Pem {
        /// The key of the configuration, or the flag.
        what: &'static str,
        reason: String,
    },
    /// An error of rustls.
    #[error("{0}")]
    Rustls(#[from] rustls::Error),
    /// The certificates to trust can't be used.
    #[error("{what}: {reason}")]
    Trust {
        /// The key of the configuration, or the flag.
        what: &'static str,
        reason: String,
    },
    /// The client's certificate and its key do not fit each other, or can't be used.
    #[error("{what}: {source}")]
    Pair {
        /// The keys of the configuration, or the flags.
        what: &'static str,
        source: rustls::Error,
    },
    /// No supported version lies between the bounds.
    #[error("min_version and max_version leave no version that is spoken (1.2 and 1.3 are)")]
    Versions,
    /// The system's certificate store is empty.
    #[error("the system has no root certificates: install ca-certificates, or set {0}")]
    NoRoots(&'static str),
    #[error("server_name {0:?} is no host name")]
    ServerName(String),
}

/// PEM text from the configuration or a file, and the key that it comes from.
struct Pem {
    text: Vec<u8>,
    what: &'static str,
}

fn pem(
    direct: Option<&str>,
    file: Option<&Path>,
    names: (&'static str, &'static str),
) -> Result<Option<Pem>, TlsError> {
    match (direct, file) {
        (Some(_), Some(_)) => Err(AuthError::Both(names.0, names.1).into()),
        (Some(direct), None) => Ok(Some(Pem { text: direct.as_bytes().to_vec(), what: names.0 })),
        (None, Some(file)) => {
            let text = read_file(file).map_err(|error| error.at(names.1))?;
            Ok(Some(Pem { text, what: names.1 }))
        }
        (None, None) => Ok(None),
    }
}

fn certificates(Pem { text, what }: Pem) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.map_err(|error| TlsError::Pem { what, reason: error.to_string() })?;
    if found.is_empty() {
        return Err(TlsError::Pem { what, reason: "there is no certificate in it".into() });
    }
    Ok(found)
}

/// Makes the client configuration of rustls. Without `https` the system's certificates are not read.
pub fn client_config(config: &TlsConfig, https: bool) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let low = config.min_version.unwrap_or(TlsVersion::Tls12);
    let high = config.max_version.unwrap_or(TlsVersion::Tls13);
    let spoken = [(TlsVersion::Tls12, &rustls::version::TLS12), (TlsVersion::Tls13, &rustls::version::TLS13)];
    let versions: Vec<&'static SupportedProtocolVersion> =
        spoken.into_iter().filter(|(version, _)| (low..=high).contains(version)).map(|(_, v)| v).collect();
    if versions.is_empty() {
        return Err(TlsError::Versions);
    }
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_protocol_versions(&versions)?;
    let builder = if config.insecure_skip_verify {
        let verifier = Arc::new(verify::AnyCertificate::new(&provider));
        builder.dangerous().with_custom_certificate_verifier(verifier)
    } else if let Some(trusted) = trusted_certificates(config)? {
        let unusable = |reason| TlsError::Trust { what: ca_key(config), reason };
        let mut roots = RootCertStore::empty();
        for certificate in &trusted {
            roots.add(certificate.clone()).map_err(|error| unusable(error.to_string()))?;
        }
        let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
        let inner = inner.map_err(|error| unusable(error.to_string()))?;
        let verifier = Arc::new(verify::Pinning::new(inner, trusted));
        builder.dangerous().with_custom_certificate_verifier(verifier)
    } else {
        builder.with_root_certificates(system_roots(https, config.key_names)?)
    };
    let file = |key| config.key_names.file(key);
    let names = (("cert", file("cert_file")), ("key", file("key_file")));
    let cert = pem(config.cert.as_deref(), config.cert_file.as_deref(), names.0)?;
    let key = pem(config.key.as_ref().map(Secret::reveal), config.key_file.as_deref(), names.1)?;
    Ok(match (cert, key) {
        (Some(cert), Some(key)) => {
            let key = PrivateKeyDer::from_pem_slice(&key.text)
                .map_err(|error| TlsError::Pem { what: key.what, reason: error.to_string() })?;
            let pair = builder.with_client_auth_cert(certificates(cert)?, key);
            pair.map_err(|source| TlsError::Pair { what: config.key_names.pair(), source })?
        }
        (Some(_), None) => return Err(AuthError::Missing("tls_config.key or key_file").into()),
        (None, Some(_)) => return Err(AuthError::Missing("tls_config.cert or cert_file").into()),
        (None, None) => builder.with_no_client_auth(),
    })
}

/// Returns all errors of `tls_config`. [`client_config`] and [`server_name`] return only the first.
pub(crate) fn errors(config: &TlsConfig, https: bool) -> Vec<TlsError> {
    let mut errors: Vec<TlsError> = trusted_certificates(config).err().into_iter().collect();
    let names = (("cert", "cert_file"), ("key", "key_file"));
    let cert = pem(config.cert.as_deref(), config.cert_file.as_deref(), names.0);
    let cert = cert.and_then(|cert| cert.map(certificates).transpose());
    let key = pem(config.key.as_ref().map(Secret::reveal), config.key_file.as_deref(), names.1);
    errors.extend([cert.err(), key.err()].into_iter().flatten());
    errors.extend(server_name(config).err());
    match client_config(config, https) {
        Err(error) if errors.iter().all(|known| known.to_string() != error.to_string()) => {
            errors.push(error);
        }
        _ => {}
    }
    errors
}

/// Returns the certificates of `ca` or `ca_file`, if one of them is set.
fn trusted_certificates(config: &TlsConfig) -> Result<Option<Vec<CertificateDer<'static>>>, TlsError> {
    let names = ("ca", config.key_names.file("ca_file"));
    let ca = pem(config.ca.as_deref(), config.ca_file.as_deref(), names)?;
    ca.map(certificates).transpose()
}

/// Returns the name of the setting with the trusted certificates.
fn ca_key(config: &TlsConfig) -> &'static str {
    if config.ca.is_some() { "ca" } else { config.key_names.file("ca_file") }
}

/// Returns the system's certificates, or none if TLS is not needed.
fn system_roots(https: bool, names: KeyNames) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    if !https {
        return Ok(roots);
    }
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "a certificate of the system can't be read");
    }
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(TlsError::NoRoots(names.ca()));
    }
    Ok(roots)
}

/// Returns the name that the server's certificate must have, if it differs from the URL's host.
pub fn server_name(config: &TlsConfig) -> Result<Option<ServerName<'static>>, TlsError> {
    let Some(name) = &config.server_name else { return Ok(None) };
    ServerName::try_from(name.clone()).map(Some).map_err(|_| TlsError::ServerName(name.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(config: &TlsConfig) -> String {
        client_config(config, true).unwrap_err().to_string()
    }

    #[test]
    fn invalid_settings_are_rejected() {
        let config = TlsConfig { ca: Some("no pem".into()), ..TlsConfig::default() };
        assert_eq!(refused(&config), "ca: there is no certificate in it");
        let config = TlsConfig { max_version: Some(TlsVersion::Tls11), ..TlsConfig::default() };
        assert!(refused(&config).contains("no version"));
        let config = TlsConfig { ca: Some("x".into()), ca_file: Some("y".into()), ..TlsConfig::default() };
        assert_eq!(refused(&config), "ca and ca_file exclude each other");
        let insecure = TlsConfig { insecure_skip_verify: true, ..TlsConfig::default() };
        let config = TlsConfig { cert: Some("x".into()), ..insecure.clone() };
        assert_eq!(refused(&config), "tls_config.key or key_file is needed");
        assert!(client_config(&insecure, true).is_ok());
        let config = TlsConfig { server_name: Some("a b".into()), ..TlsConfig::default() };
        assert!(server_name(&config).is_err());
    }

    #[test]
    fn unusable_file_is_named_by_its_key_or_flag() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            Some(path)
        };
        let pair = || rcgen::generate_simple_self_signed(["a".to_string()]).unwrap();
        let (first, second) = (pair(), pair());
        let cert_file = write("cert", &first.cert.pem());
        let key_file = write("key", &second.signing_key.serialize_pem());
        let wrong_pair = TlsConfig { cert_file: cert_file.clone(), key_file, ..TlsConfig::default() };
        let no_key = TlsConfig { cert_file, key_file: write("empty", ""), ..TlsConfig::default() };
        let no_ca = TlsConfig { ca_file: Some("/no.pem".into()), ..TlsConfig::default() };
        for (config, key, flag) in [
            (wrong_pair, "cert_file and key_file: ", "--cert-file and --key-file: "),
            (no_key, "key_file: ", "--key-file: "),
            (no_ca, "ca_file: /no.pem: ", "--ca-file: /no.pem: "),
        ] {
            let by_file = refused(&config);
            assert!(by_file.starts_with(key), "{by_file}");
            let by_flag = refused(&TlsConfig { key_names: KeyNames::Flags, ..config });
            assert!(by_flag.starts_with(flag), "{by_flag}");
        }
    }
}
