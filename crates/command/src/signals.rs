//! Signals. The first SIGTERM or SIGINT asks a command to end, and the second one ends it immediately. SIGHUP
//! makes it reload its configuration.

use std::path::PathBuf;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Exit code after a second signal, as shells have it for SIGINT.
const SECOND_SIGNAL_CODE: i32 = 130;

/// Listens for SIGHUP. The signal does not end the process any more.
#[derive(Debug)]
pub struct Hangups(Signal);

impl Hangups {
    pub fn listen() -> std::io::Result<Self> {
        Ok(Hangups(signal(SignalKind::hangup())?))
    }

    /// Waits for the next signal. Several that arrive together count as one.
    pub async fn next(&mut self) {
        // The stream ends only with the runtime.
        let _ = self.0.recv().await;
    }
}

/// Listens for the signals that end a command.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Starts listening. From here on the signals do not end the process by themselves.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next signal and returns its name.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// From now on the next signal ends the process immediately. Everything that is acknowledged is on disk
    /// already, and requests in flight are sent again after the next start. The folder `remove` is deleted
    /// first.
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
