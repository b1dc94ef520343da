//! Datagrams: one or more lines each.

use super::datagrams::{BUFFER_BYTES, Datagrams};
use super::{Buffer, DATAGRAM_TOO_LONG, Shared, WAIT};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// The longest datagram that is read. Those of UDP are shorter; unix datagrams may be as long as the sender's buffer.
pub const DATAGRAM_BYTES: usize = 64 << 10;
/// Lines are appended once they take this many bytes, or [`WAIT`] after the first of them.
pub const BATCH_BYTES: usize = 256 << 10;
/// Batches of lines that wait to be appended. When there are as many, the kernel's buffer fills up.
pub const BATCHES_MAX: usize = 4;
/// How long datagrams are read that go on arriving when the input stops.
const STOP_DEADLINE: Duration = Duration::from_secs(1);
/// How often the kernel's drops are counted.
const DROPS_INTERVAL: Duration = Duration::from_secs(1);

pub(super) async fn run(socket: Datagrams, shared: Shared) {
    // Reading goes on while the disk is waited for.
    let (sender, mut batches) = mpsc::channel::<Vec<u8>>(BATCHES_MAX);
    let appending = async {
        while let Some(text) = batches.recv().await {
            shared.append(&text).await;
        }
    };
    if let Some(granted) = socket.buffer_granted() {
        let counters = shared.input.listener_counters();
        counters.buffer_granted.set(granted as u64);
        counters.buffer_wanted.set(BUFFER_BYTES as u64);
    }
    let reading = async {
        let mut drops = socket.drops();
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
async fn read(socket: &Datagrams, shared: Shared, batches: mpsc::Sender<Vec<u8>>) {
    let (mut stop, mut stop_at) = (shared.stop.clone(), None);
    let mut datagram = vec![0; DATAGRAM_BYTES];
    let mut buffer = Buffer::default();
    let mut flush_at = Instant::now();
    loop {
        let received = match stop_at {
            Some(at) if Instant::now() >= at => None,
            Some(_) => socket.receive_now(&mut datagram),
            None => tokio::select! {
                biased;
                () = stop.requested() => { stop_at = Some(Instant::now() + STOP_DEADLINE); continue }
                () = tokio::time::sleep_until(flush_at), if buffer.len() > 0 => None,
                received = socket.receive(&mut datagram) => received.ok(),
            },
        };
        match received {
            Some((_, Some(from))) if !shared.exposure.borrow().allows(from) => {
                shared.input.count_denied(from);
                continue;
            }
            Some((bytes, _)) if bytes > datagram.len() => {
                shared.input.counters().bytes.add(datagram.len() as u64);
                let why = format!(
                    "a datagram over the limit of {DATAGRAM_BYTES} bytes was left out: send less at a time"
                );
                shared.input.count_unread(1, DATAGRAM_TOO_LONG, &why);
                continue;
            }
            Some((bytes, _)) => {
                shared.input.counters().bytes.add(bytes as u64);
                if buffer.len() == 0 {
                    flush_at = Instant::now() + WAIT;
                }
                buffer.push(datagram.get(..bytes).unwrap_or_default());
                buffer.end_line();
                shared.reject_too_long(&mut buffer);
                if buffer.len() < BATCH_BYTES {
                    continue;
                }
            }
            None => {}
        }
        if buffer.len() > 0 && batches.send(buffer.take_lines()).await.is_err() {
            return;
        }
        if stop_at.is_some() && received.is_none() {
            return;
        }
    }
}
