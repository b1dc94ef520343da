//! The parts without which narthex can't keep its promises, and which can't be started again within the
//! process. If one of them ends, the process ends with an error, so that its service manager starts it again.
//! A restart is cheap, and acknowledged samples are on disk.
//!
//! All other long-lived tasks are started again by the `supervisor`.

use http_server::{Addresses, Server};
use receive::Doors;
use storage::Storage;

/// Waits until one of the essential parts has ended. While narthex runs, only a panic causes that. Returns
/// the name of the part.
pub async fn ended(
    storage: &Storage,
    doors: &Doors,
    server: &mut Server,
    addresses: Option<&mut Addresses>,
) -> &'static str {
    let more = async {
        match addresses {
            Some(addresses) => addresses.ended().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = storage.ended() => "the part that writes and truncates the log",
        () = doors.groups().ended() => "the task that keeps groups",
        () = server.ended() => "the task that accepts connections",
        () = more => "the task that accepts connections",
    }
}

/// The message that is logged when the process ends because a part has ended.
pub fn sentence(part: &str) -> String {
    format!(
        "{part} has ended unexpectedly, by a mistake in narthex; narthex ends, so that it is started again. What was \
         acknowledged is on disk and is delivered after the next start"
    )
}
