//! Certificates, and a client that uses them.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Signs certificates.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM.
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Authority {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn sign(&self, names: &[&str]) -> Pair {
        let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &self.0).unwrap();
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

/// A folder with `ca.pem`, and with `server.pem` and `server.key` for this machine's loopback addresses.
pub(crate) fn folder(authority: &Authority) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("ca.pem"), &authority.pem());
    let server = authority.sign(&["127.0.0.1", "localhost"]);
    write(&folder.path().join("server.pem"), &server.certificate);
    write(&folder.path().join("server.key"), &server.key);
    folder
}

pub(crate) fn write(path: &Path, text: &str) -> PathBuf {
    std::fs::write(path, text).unwrap();
    path.to_path_buf()
}

/// A client that trusts `authority` and presents `own`.
pub(crate) struct Client {
    pub(crate) authority: String,
    pub(crate) own: Option<Pair>,
    pub(crate) versions: &'static [&'static SupportedProtocolVersion],
}

impl Client {
    pub(crate) fn trusting(authority: &Authority) -> Client {
        Client { authority: authority.pem(), own: None, versions: rustls::ALL_VERSIONS }
    }

    /// Sends a request. Returns the whole answer, or the error.
    pub(crate) fn request(&self, port: u16, head: &str, body: &str) -> Result<String, String> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(self.versions)
            .unwrap()
            .with_root_certificates(roots);
        let config = match &self.own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let chain = vec![CertificateDer::from_pem_slice(own.certificate.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        let tcp = TcpStream::connect(("127.0.0.1", port)).unwrap();
        tcp.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let session = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut stream = StreamOwned::new(session, tcp);
        let request = format!(
            "{head} HTTP/1.1\r\nhost: localhost:{port}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let failed = |error: std::io::Error| error.to_string();
        stream.write_all(request.as_bytes()).map_err(failed)?;
        let mut answer = String::new();
        match stream.read_to_string(&mut answer) {
            Ok(_) => Ok(answer),
            Err(_) if !answer.is_empty() => Ok(answer),
            Err(error) => Err(error.to_string()),
        }
    }

    /// The status of a `GET`.
    pub(crate) fn get(&self, port: u16, path: &str) -> Result<u16, String> {
        let answer = self.request(port, &format!("GET {path}"), "")?;
        answer.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or(answer)
    }
}
