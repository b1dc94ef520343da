//! Connections: lines until the client closes.

use super::buffer::{Buffer, LINE_BYTES_MAX};
use super::{Shared, WAIT};
use rustix::net::sockopt::{set_socket_keepalive, set_tcp_keepcnt, set_tcp_keepidle, set_tcp_keepintvl};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::io::AsyncReadExt;
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

pub(super) fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
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
        connections.spawn(self.clone().connection(stream, from));
        if connections.len() == CONNECTIONS_MAX {
            tracing::warn!(
                input = self.input.name(),
                connections = CONNECTIONS_MAX,
                "no further connection is accepted until one ends"
            );
        }
    }

    /// Reads lines until the client closes the connection, may not send any more, or the input stops.
    async fn connection(mut self, mut stream: TcpStream, from: IpAddr) {
        let mut buffer = Buffer::default();
        let mut flush_at = None;
        loop {
            let deadline = flush_at.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
            let ending = tokio::select! {
                () = self.stop.requested() => {
                    // What the client has sent already.
                    while stream.try_read_buf(buffer.bytes_mut(READ_BYTES)).is_ok_and(|bytes| bytes > 0) {
                        buffer.note_read();
                        if buffer.len() >= BATCH_BYTES {
                            self.flush(&mut buffer, false).await;
                        }
                    }
                    Some(Ending::Cut)
                }
                Ok(()) = self.exposure.changed() => match self.exposure.borrow().allows(from) {
                    true => None,
                    false => Some(Ending::Denied),
                },
                () = tokio::time::sleep_until(deadline), if flush_at.is_some() => {
                    flush_at = None;
                    self.flush(&mut buffer, false).await;
                    None
                }
                read = stream.read_buf(buffer.bytes_mut(READ_BYTES)) => match read {
                    Ok(0) => Some(Ending::Closed),
                    Err(_) => Some(Ending::Cut),
                    Ok(bytes) => {
                        self.input.counters().bytes.add(bytes as u64);
                        buffer.note_read();
                        flush_at.get_or_insert_with(|| Instant::now() + WAIT);
                        if buffer.len() >= BATCH_BYTES {
                            flush_at = None;
                            self.flush(&mut buffer, false).await;
                        }
                        None
                    }
                },
            };
            let Some(ending) = ending else { continue };
            self.flush(&mut buffer, ending == Ending::Closed).await;
            if buffer.len() > 0 {
                self.reject(1, "a line whose end did not arrive was left out");
            }
            if ending == Ending::Denied {
                self.input.count_denied(from);
            }
            return;
        }
    }

    /// Appends the whole lines, or `all`. Nothing is read meanwhile: the client's own buffer holds what the log can't
    /// accept.
    async fn flush(&self, buffer: &mut Buffer, all: bool) {
        let too_long = buffer.take_too_long();
        if too_long > 0 {
            self.reject(too_long, &format!("lines over the limit of {LINE_BYTES_MAX} bytes were left out"));
        }
        let text = if all { buffer.take_all() } else { buffer.take_lines() };
        if !text.is_empty() {
            self.append(&text).await;
        }
    }

    fn reject(&self, lines: u64, why: &str) {
        self.input.counters().rejected.add(lines);
        tracing::warn!(input = self.input.name(), samples = lines, "{why}");
    }
}

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// The client has closed it, so the last line needs no line end.
    Closed,
    /// It broke off, or the input stops: the last line may be a part of one.
    Cut,
    /// The client may not send any more.
    Denied,
}
