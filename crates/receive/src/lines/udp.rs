//! Datagrams: one or more lines each.

use super::{Shared, WAIT};
use intake::KernelDrops;
use rustix::net::sockopt::set_socket_recv_buffer_size;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// The longest datagram.
const DATAGRAM_BYTES: usize = 64 << 10;
/// What is asked of the kernel for datagrams that wait to be read. It gives at most `net.core.rmem_max`.
pub const BUFFER_BYTES: usize = 4 << 20;
/// Lines are appended once they take this many bytes, or [`WAIT`] after the first of them.
pub const BATCH_BYTES: usize = 256 << 10;
/// Batches of lines that wait to be appended. When there are as many, the kernel's buffer fills up.
pub const BATCHES_MAX: usize = 4;
/// How long datagrams are read that go on arriving when the input stops.
const STOP_DEADLINE: Duration = Duration::from_secs(1);
/// How often the kernel's drops are counted.
const DROPS_INTERVAL: Duration = Duration::from_secs(1);

pub(super) fn listen(address: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = std::net::UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    // A smaller buffer than asked for is no error: drops are counted.
    let _ = set_socket_recv_buffer_size(&socket, BUFFER_BYTES);
    UdpSocket::from_std(socket)
}

pub(super) async fn run(socket: UdpSocket, shared: Shared) {
    // Reading goes on while the disk is waited for.
    let (sender, mut batches) = mpsc::channel::<Vec<u8>>(BATCHES_MAX);
    let appending = async {
        while let Some(text) = batches.recv().await {
            shared.append(&text).await;
        }
    };
    let reading = async {
        let mut drops = socket.local_addr().ok().map(KernelDrops::new);
        let mut count_drops = || drops.iter_mut().for_each(|drops| drops.count(&shared.input));
        let mut reading = std::pin::pin!(read(&socket, shared.clone(), sender));
        loop {
            tokio::select! {
                () = &mut reading => break,
                () = tokio::time::sleep(DROPS_INTERVAL) => count_drops(),
            }
        }
        count_drops();
    };
    tokio::join!(reading, appending);
}

/// Gathers the lines of datagrams to batches. At the end it still reads what has arrived.
async fn read(socket: &UdpSocket, shared: Shared, batches: mpsc::Sender<Vec<u8>>) {
    let Shared { input, exposure, mut stop, .. } = shared;
    let mut datagram = vec![0; DATAGRAM_BYTES];
    let mut text = Vec::new();
    let mut flush_at = Instant::now();
    let mut stop_at = None;
    loop {
        let received = match stop_at {
            Some(at) if Instant::now() >= at => None,
            Some(_) => socket.try_recv_from(&mut datagram).ok(),
            None => tokio::select! {
                biased;
                () = stop.requested() => { stop_at = Some(Instant::now() + STOP_DEADLINE); continue }
                () = tokio::time::sleep_until(flush_at), if !text.is_empty() => None,
                received = socket.recv_from(&mut datagram) => received.ok(),
            },
        };
        match received {
            Some((_, from)) if !exposure.borrow().allows(from.ip()) => input.count_denied(from.ip()),
            Some((bytes, _)) => {
                input.counters().bytes.add(bytes as u64);
                if text.is_empty() {
                    flush_at = Instant::now() + WAIT;
                }
                text.extend_from_slice(datagram.get(..bytes).unwrap_or_default());
                text.push(b'\n');
                if text.len() < BATCH_BYTES {
                    continue;
                }
            }
            None => {}
        }
        if !text.is_empty() && batches.send(std::mem::take(&mut text)).await.is_err() {
            return;
        }
        if stop_at.is_some() && received.is_none() {
            return;
        }
    }
}
