//! Signals: the first SIGTERM or SIGINT asks a command to end, and the second one ends it at once. SIGHUP asks it to
//! read its configuration again.

use std::path::PathBuf;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Exit code of a process ended by a second signal, as shells have it for SIGINT.
const SECOND_SIGNAL_CODE: i32 = 130;

/// Listens for SIGHUP, which from then on does not end the process.
#[derive(Debug)]
pub struct Hangups(Signal);

impl Hangups {
    /// Starts listening.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Hangups(signal(SignalKind::hangup())?))
    }

    /// Waits for the next one; several that come together are one.
    pub async fn next(&mut self) {
        // It ends only with the runtime.
        let _ = self.0.recv().await;
    }
}

/// Listens for the signals that ask for an end.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Starts listening; from here on the signals do not end the process by themselves.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next signal; its name.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// From now on the next signal ends the process at once. What is acknowledged is on disk already, and
    /// what was under way is sent again at the next start. `remove` is a folder that goes with it.
    pub fn end_at_next(mut self, remove: Option<PathBuf>) {
        tokio::spawn(async move {
            let name = self.next().await;
            if let Some(folder) = remove {
                let _ = std::fs::remove_dir_all(folder);
                logging::info(format_args!("{name} again: ending at once"));
            } else {
                logging::info(format_args!(
                    "{name} again: ending at once; the acknowledged samples are on disk and are sent at the next start"
                ));
            }
            logging::finish();
            std::process::exit(SECOND_SIGNAL_CODE);
        });
    }
}
