//! The HTTP server: listens, accepts a bounded number of connections, and stops in order.

mod addresses;
mod connection;
mod idle;
mod switch;

use crate::security::Current;
pub use addresses::{Addresses, Opened};
use axum::Router;
use connection::connection;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
pub use switch::Switch;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Most connections at a time. More wait in the system's queue.
pub const CONNECTIONS_MAX: usize = 1024;
/// Longest time of a request's head, and longest idle time of a connection.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest time of a TLS handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection of HTTP/2 may be without requests, and up to twice as long.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(300);
/// The most requests at a time on a connection of HTTP/2.
pub const STREAMS_MAX: u32 = 100;
/// Most bytes of a request's head, plus or minus one read.
pub const HEAD_BYTES_MAX: usize = 64 << 10;
/// The limits on clients, which tests make smaller.
#[derive(Debug, Clone, Copy)]
struct Limits {
    connections: usize,
    head: Duration,
    handshake: Duration,
    idle: Duration,
}

impl Limits {
    const DEFAULT: Limits = Limits {
        connections: CONNECTIONS_MAX,
        head: HEAD_TIMEOUT,
        handshake: HANDSHAKE_TIMEOUT,
        idle: IDLE_TIMEOUT,
    };
}

/// Longest time of the requests in flight when the server stops.
const STOP_DEADLINE: Duration = Duration::from_secs(5);
/// Connections that the system queues before they are accepted.
const BACKLOG: u32 = 1024;

#[derive(Debug, thiserror::Error)]
#[error("{}", told(*address, source, setting))]
pub struct ListenError {
    address: SocketAddr,
    /// What has the address: a flag, or a key of the configuration.
    setting: &'static str,
    source: std::io::Error,
}

impl ListenError {
    /// Returns true if the port is in use.
    pub fn is_taken(&self) -> bool {
        self.source.kind() == std::io::ErrorKind::AddrInUse
    }
}

/// Returns what happened, and what to do.
fn told(address: SocketAddr, error: &std::io::Error, setting: &str) -> String {
    let port = address.port();
    match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            format!("port {port} is already in use ({address}); choose another with {setting}")
        }
        std::io::ErrorKind::PermissionDenied => {
            format!(
                "can't listen on {address}: ports below 1024 need a privilege; choose a higher one with {setting}"
            )
        }
        std::io::ErrorKind::AddrNotAvailable => {
            format!("can't listen on {address}: this machine does not have that address")
        }
        _ => format!("can't listen on {address}: {error}"),
    }
}

/// A socket that listens but is not served yet. So a taken port is found before anything else is done.
#[derive(Debug)]
pub struct Listening {
    address: SocketAddr,
    listener: TcpListener,
    limits: Limits,
    security: Option<watch::Receiver<Arc<Current>>>,
}

impl Listening {
    /// Listens on `address`, which the flag `--listen` has.
    pub fn on(address: SocketAddr) -> Result<Self, ListenError> {
        Self::on_address_of("--listen", address)
    }

    /// Listens on `address`, which this flag or key has.
    pub fn on_address_of(setting: &'static str, address: SocketAddr) -> Result<Self, ListenError> {
        socket(address)
            .and_then(|socket| socket.listen(BACKLOG))
            .and_then(Self::from_listener)
            .map_err(|source| ListenError { address, setting, source })
    }

    /// Uses a socket that listens already.
    pub fn from_listener(listener: TcpListener) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        Ok(Listening { address, listener, limits: Limits::DEFAULT, security: None })
    }

    /// Returns the address. If the system chose the port, it is that port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections use TLS or plain HTTP, as `security` says.
    pub fn secured(self, security: watch::Receiver<Arc<Current>>) -> Self {
        Listening { security: Some(security), ..self }
    }

    pub fn serve(self, router: Router) -> Server {
        let address = self.address;
        let (stop, stopped) = watch::channel(None);
        let task = tokio::spawn(accept(self, router, stopped));
        Server { address, stop, task }
    }
}

fn socket(address: SocketAddr) -> std::io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    /// Set to the longest time of the requests in flight, when the server has to stop.
    stop: watch::Sender<Option<Duration>>,
    task: JoinHandle<()>,
}

impl Server {
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Resolves when the task that accepts connections has ended by itself, which only a panic can cause.
    pub async fn ended(&mut self) {
        let _ = (&mut self.task).await;
    }

    /// Accepts no more connections, lets requests in flight finish for some seconds, and ends.
    pub async fn stop(self) {
        self.stop_within(STOP_DEADLINE).await;
    }

    /// Accepts no more connections, lets requests in flight finish until `deadline`, closes the other
    /// connections, and ends.
    pub async fn stop_within(self, deadline: Duration) {
        self.stop.send_replace(Some(deadline));
        if !self.task.is_finished() {
            let _ = self.task.await;
        }
    }
}

/// Waits until the server has to stop. Returns the deadline, or `None` if the server was dropped.
async fn asked_to_stop(stop: &mut watch::Receiver<Option<Duration>>) -> Option<Duration> {
    stop.wait_for(Option::is_some).await.ok().and_then(|deadline| *deadline)
}

async fn accept(listening: Listening, router: Router, mut stop: watch::Receiver<Option<Duration>>) {
    let Listening { listener, limits, security, .. } = listening;
    let mut connections = JoinSet::new();
    let stop_connections = stop.clone();
    // If the server is dropped without being stopped, requests have as much time as at a stop.
    let deadline = loop {
        let has_space = connections.len() < limits.connections;
        tokio::select! {
            deadline = asked_to_stop(&mut stop) => break deadline,
            accepted = listener.accept(), if has_space => match accepted {
                Ok((stream, _)) => {
                    let tls = security.as_ref().and_then(|security| security.borrow().tls());
                    connections.spawn(connection(stream, tls, limits, router.clone(), stop_connections.clone()));
                }
                Err(error) => {
                    // There are no file descriptors left, or the client is gone. A retry without a pause
                    // would help in neither case.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    };
    drop(listener);
    let finished = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(deadline.unwrap_or(STOP_DEADLINE), finished).await.is_err() {
        connections.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "helpers of tests")]
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    pub(super) fn ok_router() -> Router {
        Router::new().route("/", axum::routing::get(|| async { "ok" }))
    }

    async fn get(address: SocketAddr) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    /// Sends a request on a connection that stays open, and reads the answer.
    async fn ask_again(stream: &mut TcpStream) {
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\nok") {
            answer.push(stream.read_u8().await.unwrap());
        }
    }

    #[tokio::test]
    async fn connection_beyond_the_limit_waits() {
        let mut listening = Listening::on(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        listening.limits.connections = 1;
        let server = listening.serve(ok_router());
        let mut first = TcpStream::connect(server.address()).await.unwrap();
        ask_again(&mut first).await;
        // A second connection is not served while the first one stays open, however many requests the first
        // one sends.
        let waiting = tokio::spawn(get(server.address()));
        for _ in 0..100 {
            ask_again(&mut first).await;
        }
        assert!(!waiting.is_finished());
        drop(first);
        assert!(waiting.await.unwrap().unwrap().starts_with("HTTP/1.1 200"));
        server.stop().await;
    }

    #[tokio::test]
    async fn panicking_handler_answers_500_and_keeps_the_connection() {
        async fn panic() -> &'static str {
            panic!("a mistake")
        }
        let router = ok_router().route("/panic", axum::routing::post(panic));
        let server = Listening::on(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap().serve(router);
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        ask_again(&mut stream).await;
        stream.write_all(b"POST /panic HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc").await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"its log says more\n") {
            answer.push(stream.read_u8().await.unwrap());
        }
        assert!(answer.starts_with(b"HTTP/1.1 500 "), "{}", String::from_utf8_lossy(&answer));
        // The same connection works, and so does a new one.
        ask_again(&mut stream).await;
        assert!(get(server.address()).await.unwrap().starts_with("HTTP/1.1 200"));
        server.stop().await;
    }

    #[tokio::test]
    async fn head_over_the_limit_is_refused() {
        let server = Listening::on(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap().serve(ok_router());
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        let head = format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(4 * HEAD_BYTES_MAX));
        // The server may close the connection before all of it is written.
        let _ = stream.write_all(head.as_bytes()).await;
        let mut answer = [0; 12];
        let _ = stream.read_exact(&mut answer).await;
        assert_eq!(&answer, b"HTTP/1.1 431");
        server.stop().await;
    }

    /// The status depends on where the head was split into packets.
    #[tokio::test]
    async fn path_over_the_limit_is_refused() {
        let server = Listening::on(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap().serve(ok_router());
        let (within, over) = (HEAD_BYTES_MAX / 2, HEAD_BYTES_MAX + 1);
        for (length, statuses) in [(within, &["404"][..]), (over, &["414", "431"])] {
            let mut stream = TcpStream::connect(server.address()).await.unwrap();
            let head = format!("PUT /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(length - 1));
            // The server may close the connection before all of it is written.
            let _ = stream.write_all(head.as_bytes()).await;
            let mut answer = [0; 12];
            let _ = stream.read_exact(&mut answer).await;
            let answer = String::from_utf8_lossy(&answer).replace("HTTP/1.1 ", "");
            assert!(statuses.contains(&&*answer), "{length}: {answer}");
        }
        server.stop().await;
    }

    /// Returns the bytes that the server sends until it closes the connection.
    pub(super) async fn until_closed(stream: &mut TcpStream) -> String {
        let mut answer = Vec::new();
        // The server may also close it by a reset.
        let _ = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await.unwrap();
        String::from_utf8(answer).unwrap()
    }

    #[tokio::test]
    async fn unfinished_heads_and_idle_connections_are_closed() {
        assert_eq!(Limits::DEFAULT.head, Duration::from_secs(60));
        let mut listening = Listening::on(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        listening.limits.head = Duration::from_millis(100);
        let server = listening.serve(ok_router());
        // The client sends nothing, half of a head, or nothing more after an answer.
        for (sent, answered) in
            [("", false), ("GET / HTTP/1.1\r\nhost:", false), ("GET / HTTP/1.1\r\nhost: x\r\n\r\n", true)]
        {
            let mut stream = TcpStream::connect(server.address()).await.unwrap();
            stream.write_all(sent.as_bytes()).await.unwrap();
            let answer = until_closed(&mut stream).await;
            assert_eq!(answer.starts_with("HTTP/1.1 200"), answered, "{sent:?}: {answer}");
        }
        server.stop().await;
    }

    #[tokio::test]
    async fn taken_port_is_an_error_that_says_so() {
        let first = Listening::on(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let error = Listening::on(first.address()).unwrap_err();
        assert!(error.is_taken());
        assert!(error.to_string().ends_with("; choose another with --listen"), "{error}");
    }
}
