//! The parts without which narthex can't keep its promises, and that can't be started again within the process. If
//! one of them ends, the process ends with an error, and its service manager starts it again: that is cheap, and
//! what was acknowledged is on disk.
//!
//! All other long-lived tasks are started again by the `supervisor`.

use http_server::Server;
use receive::Doors;
use storage::Storage;

/// Waits until one of the essential parts has ended, which only a panic can cause while narthex runs. Returns what
/// the part is.
pub async fn ended(storage: &Storage, doors: &Doors, server: &mut Server) -> &'static str {
    tokio::select! {
        () = storage.ended() => "the part that writes and truncates the log",
        () = doors.groups().ended() => "the task that keeps groups",
        () = server.ended() => "the task that accepts connections",
    }
}

/// Why the process ends, for the log.
pub fn sentence(part: &str) -> String {
    format!(
        "{part} has ended unexpectedly, by a mistake in narthex; narthex ends, so that it is started again. What was \
         acknowledged is on disk and is delivered after the next start"
    )
}
