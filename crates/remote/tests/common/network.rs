//! TLS servers and proxies on loopback.

use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};

/// A certificate with its key, from its own authority.
pub struct Pem {
    pub cert: String,
    pub key: String,
}

impl Pem {
    pub fn new(name: &str) -> Pem {
        let made = rcgen::generate_simple_self_signed(vec![name.to_string()]).unwrap();
        Pem { cert: made.cert.pem(), key: made.signing_key.serialize_pem() }
    }
}

/// The requests that a server got.
pub type Seen = Arc<Mutex<Vec<http::Request<()>>>>;

/// An HTTP server with TLS that accepts every request.
pub struct TlsServer {
    pub port: u16,
    pub seen: Seen,
}

/// The settings of a server.
pub struct Wants<'a> {
    pub server: &'a Pem,
    /// The certificate that clients have to present.
    pub client: Option<&'a Pem>,
    pub versions: Vec<&'static SupportedProtocolVersion>,
    /// Whether ALPN offers HTTP/2.
    pub http2: bool,
}

impl<'a> Wants<'a> {
    pub fn nothing(server: &'a Pem) -> Self {
        Wants { server, client: None, versions: vec![&TLS12, &TLS13], http2: false }
    }
}

impl TlsServer {
    pub async fn start(wants: Wants<'_>) -> TlsServer {
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let certificate = |pem: &Pem| CertificateDer::from_pem_slice(pem.cert.as_bytes()).unwrap();
        let builder = ServerConfig::builder_with_provider(provider.clone());
        let builder = builder.with_protocol_versions(&wants.versions).unwrap();
        let builder = match wants.client {
            Some(client) => {
                let mut roots = RootCertStore::empty();
                roots.add(certificate(client)).unwrap();
                let roots = Arc::new(roots);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build().unwrap();
                builder.with_client_cert_verifier(verifier)
            }
            None => builder.with_no_client_auth(),
        };
        let key = PrivateKeyDer::from_pem_slice(wants.server.key.as_bytes()).unwrap();
        let mut config = builder.with_single_cert(vec![certificate(wants.server)], key).unwrap();
        config.alpn_protocols = if wants.http2 { vec![b"h2".to_vec(), b"http/1.1".to_vec()] } else { vec![] };
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Seen::default();
        let own = seen.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, seen) = (acceptor.clone(), own.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let answer =
                        hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
                            let seen = seen.clone();
                            async move {
                                let (head, body) = request.into_parts();
                                let _ = body.collect().await;
                                seen.lock().unwrap().push(http::Request::from_parts(head, ()));
                                let mut answer = http::Response::new(Full::<bytes::Bytes>::default());
                                *answer.status_mut() = http::StatusCode::NO_CONTENT;
                                Ok::<_, std::convert::Infallible>(answer)
                            }
                        });
                    let builder = auto::Builder::new(TokioExecutor::new());
                    let _ = builder.serve_connection(TokioIo::new(stream), answer).await;
                });
            }
        });
        TlsServer { port, seen }
    }

    /// The URL has the address, so that a certificate for another name is not accepted by chance.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}/api/v1/write", self.port)
    }
}

/// A proxy that opens tunnels to any port of this machine, whatever host is requested.
pub struct TunnelProxy {
    pub port: u16,
    /// Request lines and headers, as received.
    pub asked: Arc<Mutex<Vec<String>>>,
}

impl TunnelProxy {
    /// Starts a proxy that requires this header line.
    pub async fn start(wanted: &'static str) -> TunnelProxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let own = asked.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(tunnel(stream, wanted, own.clone()));
            }
        });
        TunnelProxy { port, asked }
    }
}

async fn tunnel(stream: TcpStream, wanted: &str, asked: Arc<Mutex<Vec<String>>>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    asked.lock().unwrap().push(head.clone());
    let port: u16 = head.strip_prefix("CONNECT ")?.split_once(' ')?.0.rsplit_once(':')?.1.parse().ok()?;
    if !head.contains(wanted) {
        stream.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await.ok()?;
        return None;
    }
    let mut to = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.ok()?;
    tokio::io::copy_bidirectional(&mut stream, &mut to).await.ok()?;
    Some(())
}

/// A SOCKS 5 proxy that connects to any port of this machine, whatever host is requested.
pub struct SocksProxy {
    pub port: u16,
    /// The requested hosts and ports.
    pub asked: Arc<Mutex<Vec<String>>>,
}

impl SocksProxy {
    /// Starts a proxy that requires this user and password, if any.
    pub async fn start(wanted: Option<(&'static str, &'static str)>) -> SocksProxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let own = asked.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(socks(stream, wanted, own.clone()));
            }
        });
        SocksProxy { port, asked }
    }
}

/// RFC 1928, and RFC 1929 for user and password.
async fn socks(
    mut stream: TcpStream,
    wanted: Option<(&str, &str)>,
    asked: Arc<Mutex<Vec<String>>>,
) -> std::io::Result<()> {
    async fn short(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
        let length = stream.read_u8().await?;
        let mut bytes = vec![0; length.into()];
        stream.read_exact(&mut bytes).await?;
        Ok(bytes)
    }
    assert_eq!(stream.read_u8().await?, 5, "the version");
    let methods = short(&mut stream).await?;
    let method = if wanted.is_some() { 2 } else { 0 };
    if !methods.contains(&method) {
        return stream.write_all(&[5, 0xff]).await;
    }
    stream.write_all(&[5, method]).await?;
    if let Some((user, password)) = wanted {
        assert_eq!(stream.read_u8().await?, 1, "the version of the login");
        let given = (short(&mut stream).await?, short(&mut stream).await?);
        let right = given.0 == user.as_bytes() && given.1 == password.as_bytes();
        stream.write_all(&[1, u8::from(!right)]).await?;
        if !right {
            return Ok(());
        }
    }
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    assert_eq!(head[..3], [5, 1, 0], "CONNECT");
    let host = match head[3] {
        1 => std::net::Ipv4Addr::from(stream.read_u32().await?).to_string(),
        3 => String::from_utf8(short(&mut stream).await?).unwrap(),
        4 => std::net::Ipv6Addr::from(stream.read_u128().await?).to_string(),
        other => panic!("a kind of address that there is not: {other}"),
    };
    let port = stream.read_u16().await?;
    asked.lock().unwrap().push(format!("{host}:{port}"));
    match TcpStream::connect(("127.0.0.1", port)).await {
        Ok(mut to) => {
            stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
            tokio::io::copy_bidirectional(&mut stream, &mut to).await.map(|_| ())
        }
        Err(_) => stream.write_all(&[5, 5, 0, 1, 0, 0, 0, 0, 0, 0]).await,
    }
}
