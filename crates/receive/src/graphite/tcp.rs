//! Connections: lines until the client closes.

use super::lines::{WAIT, append};
use formats::graphite::LINE_BYTES_MAX;
use intake::{Exposure, Input, Stop};
use rustix::net::sockopt::{set_socket_keepalive, set_tcp_keepcnt, set_tcp_keepidle, set_tcp_keepintvl};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
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
pub const KEEPALIVE_MAX: Duration = Duration::from_secs(180);
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

pub(super) async fn run(
    listener: TcpListener,
    input: Input,
    exposure: watch::Receiver<Arc<Exposure>>,
    mut stop: Stop,
) {
    let mut connections = JoinSet::new();
    loop {
        let has_room = connections.len() < CONNECTIONS_MAX;
        tokio::select! {
            () = stop.requested() => break,
            accepted = listener.accept(), if has_room => match accepted {
                Ok((stream, from)) if exposure.borrow().allows(from.ip()) => {
                    keep_alive(&stream);
                    connections.spawn(connection(stream, input.clone(), stop.clone()));
                }
                Ok((_, from)) => input.count_denied(from.ip()),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
    drop(listener);
    let finished = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(STOP_DEADLINE, finished).await;
}

/// Connections of machines that have gone away must end some time. Where the options can't be set, all else works.
fn keep_alive(stream: &TcpStream) {
    let _ = set_socket_keepalive(stream, true)
        .and_then(|()| set_tcp_keepidle(stream, KEEPALIVE))
        .and_then(|()| set_tcp_keepintvl(stream, KEEPALIVE))
        .and_then(|()| set_tcp_keepcnt(stream, KEEPALIVE_PROBES));
}

/// Reads lines until the client closes the connection, or the input stops.
async fn connection(mut stream: TcpStream, input: Input, mut stop: Stop) {
    let mut text = Vec::new();
    let mut flush_at = None;
    loop {
        let deadline = flush_at.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
        text.reserve(READ_BYTES);
        let (flush, end) = tokio::select! {
            () = stop.requested() => (true, true),
            () = tokio::time::sleep_until(deadline), if flush_at.is_some() => (true, false),
            read = stream.read_buf(&mut text) => match read {
                Ok(0) | Err(_) => (true, true),
                Ok(bytes) => {
                    input.counters().bytes.add(bytes as u64);
                    flush_at.get_or_insert_with(|| Instant::now() + WAIT);
                    (text.len() >= BATCH_BYTES, false)
                }
            },
        };
        if !flush {
            continue;
        }
        flush_at = None;
        let rest = take_lines(&mut text, end);
        if !text.is_empty() {
            // Nothing is read meanwhile: the client's own buffer holds what the log can't accept.
            append(&input, &text, stop.clone()).await;
        }
        text = rest;
        if end {
            return;
        }
    }
}

/// Leaves whole lines in `text`, and returns the beginning of the next one. At the end of a connection, and where a
/// line is longer than any may be, all of it counts as whole.
fn take_lines(text: &mut Vec<u8>, end: bool) -> Vec<u8> {
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    if end || text.len() - whole > LINE_BYTES_MAX {
        return Vec::new();
    }
    text.split_off(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_not_whole_waits_for_its_rest() {
        let take = |text: &str, end| {
            let mut text = text.as_bytes().to_vec();
            let rest = take_lines(&mut text, end);
            (String::from_utf8_lossy(&text).into_owned(), String::from_utf8_lossy(&rest).into_owned())
        };
        assert_eq!(take("a 1\nb 2\nc", false), ("a 1\nb 2\n".into(), "c".into()));
        assert_eq!(take("a 1\nb 2\nc 3", true), ("a 1\nb 2\nc 3".into(), String::new()));
        assert_eq!(take("a", false), (String::new(), "a".into()));
        let long = "x".repeat(LINE_BYTES_MAX + 1);
        assert_eq!(take(&long, false), (long.clone(), String::new()));
    }
}
