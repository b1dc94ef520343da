//! The service manager (systemd): narthex tells it when it is ready, reloads and stops, and sends watchdog
//! messages as long as it works.
//!
//! The protocol is sd_notify(3): datagrams to the socket in `NOTIFY_SOCKET`. Without that variable nothing is
//! sent. The watchdog is enabled if the service manager sets `WATCHDOG_USEC` (`WatchdogSec=` in the unit).
//!
//! `watchdog` decides when a watchdog message is sent. `parts` has the parts of narthex that must work for
//! that.

pub(crate) mod parts;
pub(crate) mod sockets;
pub(crate) mod watchdog;

use sd_notify::NotifyState;
use std::time::Duration;

/// The time for a stop in addition to the time for sending: closing the log and saving positions.
const CLOSING_TIME: Duration = Duration::from_secs(30);

/// The most characters of a reason in the status for systemd.
pub const STATUS_CHARS_MAX: usize = 300;

/// Reports that the start has finished.
pub(crate) fn ready() {
    send(&[NotifyState::Ready]);
}

/// Reports that a reload has begun; [`reloaded`] reports its end.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => send(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "the service manager could not be notified of the reload"),
    }
}

/// Reports the end of a reload. `systemctl status` shows the result: systemd has no other way to report a
/// reload that failed.
pub(crate) fn reloaded(result: Result<(), &str>) {
    let status = match result {
        Ok(()) => "The configuration was reloaded".to_string(),
        Err(why) => {
            let first: String =
                why.lines().next().unwrap_or_default().chars().take(STATUS_CHARS_MAX).collect();
            format!("The configuration was not reloaded; the old one is in use: {first}")
        }
    };
    send(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

/// Reports that the stop has begun. It may take `sending` and some time to close the log.
pub(crate) fn stopping(sending: Duration) {
    let limit = sending.saturating_add(CLOSING_TIME).as_micros();
    let limit = u32::try_from(limit).unwrap_or(u32::MAX);
    send(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(limit)]);
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager could not be notified (NOTIFY_SOCKET)");
    }
}
