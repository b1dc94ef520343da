//! Connections: lines until the client closes.

use super::{Buffer, LINE_INCOMPLETE, Shared, WAIT};
use intake::{Endpoint, InheritedSockets};
use rustix::net::sockopt::{set_socket_keepalive, set_tcp_keepcnt, set_tcp_keepidle, set_tcp_keepintvl};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

/// Most connections; more wait in the system's queue.
pub const CONNECTIONS_MAX: usize = 512;
/// Lines of one connection are appended once they take this many bytes, or [`WAIT`] after the first of them.
pub const BATCH_BYTES: usize = 64 << 10;
/// How much is read at once.
const READ_BYTES: usize = 4 << 10;
/// The pause before, and between, the system's questions whether a silent client is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// How many questions without an answer end a connection.
const KEEPALIVE_PROBES: u32 = 2;
/// How long a connection lasts whose client does not answer any more.
pub const KEEPALIVE_MAX: Duration = KEEPALIVE.saturating_mul(1 + KEEPALIVE_PROBES);
/// Connections that the system queues.
const BACKLOG: u32 = 1024;
/// How long connections may take to append what they have read when the input stops.
const STOP_DEADLINE: Duration = Duration::from_secs(5);

pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    if let Some(inherited) = InheritedSockets::of(&Endpoint::Tcp(address)) {
        let listener = std::net::TcpListener::from(inherited);
        listener.set_nonblocking(true)?;
        return TcpListener::from_std(listener);
    }
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Connections of machines that have gone away must end some time. Where the options can't be set, all else works.
fn keep_alive(stream: &TcpStream) {
    let _ = set_socket_keepalive(stream, true)
        .and_then(|()| set_tcp_keepidle(stream, KEEPALIVE))
        .and_then(|()| set_tcp_keepintvl(stream, KEEPALIVE))
        .and_then(|()| set_tcp_keepcnt(stream, KEEPALIVE_PROBES));
}

pub(super) async fn run(listener: TcpListener, mut shared: Shared) {
    let mut connections = JoinSet::new();
    shared.input.listener_counters().connections_max.set(CONNECTIONS_MAX as u64);
    loop {
        let has_room = connections.len() < CONNECTIONS_MAX;
        tokio::select! {
            () = shared.stop.requested() => break,
            accepted = listener.accept(), if has_room => match accepted {
                Ok((stream, from)) => shared.begin(stream, from.ip(), &mut connections),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            Some(ended) = connections.join_next(), if !connections.is_empty() => log_panic(ended),
        }
    }
    // What clients have sent already is read, also on connections that are not accepted yet.
    let finished = async {
        while let Ok(Ok((stream, from))) = tokio::time::timeout(Duration::ZERO, listener.accept()).await {
            shared.begin(stream, from.ip(), &mut connections);
        }
        drop(listener);
        while let Some(ended) = connections.join_next().await {
            log_panic(ended);
        }
    };
    let _ = tokio::time::timeout(STOP_DEADLINE, finished).await;
}

/// A panic costs its connection and the lines that this has not appended, nothing else.
fn log_panic(ended: Result<(), JoinError>) {
    if ended.is_err_and(|error| error.is_panic()) {
        tracing::error!(
            "a connection ended because of a mistake in narthex; lines that it had not appended are lost"
        );
    }
}

impl Shared {
    fn begin(&self, stream: TcpStream, from: IpAddr, connections: &mut JoinSet<()>) {
        if !self.exposure.borrow().allows(from) {
            return self.input.count_denied(from);
        }
        keep_alive(&stream);
        let open = self.input.connection_opened();
        let connection =
            Connection { shared: self.clone(), stream: Some(stream), from, buffer: Buffer::default() };
        connections.spawn(async move {
            connection.run().await;
            drop(open);
        });
        if connections.len() == CONNECTIONS_MAX {
            self.input.count_connections_full();
        }
    }
}

/// One client.
struct Connection {
    shared: Shared,
    /// `None` once it was closed because the client may not send any more.
    stream: Option<TcpStream>,
    from: IpAddr,
    buffer: Buffer,
}

impl Connection {
    /// Reads lines until the client closes the connection, may not send any more, or the input stops.
    async fn run(mut self) {
        let mut flush_at = None;
        let ending = loop {
            let Some(stream) = &self.stream else { break Ending::Cut };
            let deadline = flush_at.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
            tokio::select! {
                () = self.shared.stop.requested() => {
                    self.read_rest().await;
                    break Ending::Cut;
                }
                Ok(()) = self.shared.exposure.changed() => close_if_denied(&self.shared, &mut self.stream, self.from),
                () = tokio::time::sleep_until(deadline), if flush_at.is_some() => {
                    flush_at = None;
                    self.flush(false).await;
                }
                readable = stream.readable() => match readable.and_then(|()| self.read()) {
                    Ok(0) => break Ending::Closed,
                    Ok(_) => {
                        flush_at.get_or_insert_with(|| Instant::now() + WAIT);
                        if self.buffer.len() >= BATCH_BYTES {
                            flush_at = None;
                            self.flush(false).await;
                        }
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(_) => break Ending::Cut,
                },
            }
        };
        self.flush(ending == Ending::Closed).await;
        if self.buffer.len() > 0 {
            let why = "a line whose end did not arrive was left out";
            self.shared.input.count_unread(1, LINE_INCOMPLETE, why);
        }
    }

    /// Reads some of what has arrived.
    fn read(&mut self) -> io::Result<usize> {
        let mut bytes = [0; READ_BYTES];
        let stream = self.stream.as_ref().ok_or(ErrorKind::NotConnected)?;
        let read = stream.try_read(&mut bytes)?;
        self.keep(bytes.get(..read).unwrap_or_default());
        Ok(read)
    }

    /// Reads all that has arrived when the input stops. The kernel is asked itself, because the runtime may not know
    /// yet of the last bytes.
    async fn read_rest(&mut self) {
        while let Some(stream) = &self.stream {
            let mut bytes = [0; READ_BYTES];
            let Ok(read @ 1..) = rustix::io::read(stream, &mut bytes) else { return };
            self.keep(bytes.get(..read).unwrap_or_default());
            if self.buffer.len() >= BATCH_BYTES {
                self.flush(false).await;
            }
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.shared.input.counters().bytes.add(bytes.len() as u64);
        self.buffer.push(bytes);
    }

    /// Appends the whole lines, or `all`. Nothing is read meanwhile: the client's own buffer holds what the log can't
    /// accept. A client that may not send any more is cut off at once; what was read of it before is still appended.
    async fn flush(&mut self, all: bool) {
        let Connection { shared, stream, from, buffer } = self;
        shared.reject_too_long(buffer);
        let text = if all { buffer.take_all() } else { buffer.take_lines() };
        if text.is_empty() {
            return;
        }
        let mut exposure = shared.exposure.clone();
        let mut appending = std::pin::pin!(shared.append(&text));
        loop {
            tokio::select! {
                () = &mut appending => return,
                Ok(()) = exposure.changed(), if stream.is_some() => close_if_denied(shared, stream, *from),
            }
        }
    }
}

/// Closes the connection of a client that may not send any more.
fn close_if_denied(shared: &Shared, stream: &mut Option<TcpStream>, from: IpAddr) {
    if !shared.exposure.borrow().allows(from) {
        *stream = None;
        shared.input.count_denied(from);
    }
}

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// The client has closed it, so the last line needs no line end.
    Closed,
    /// It broke off, the client may not send any more, or the input stops: the last line may be a part of one.
    Cut,
}
