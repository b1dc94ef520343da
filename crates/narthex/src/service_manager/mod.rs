//! The service manager (systemd): it is told when narthex is ready, reloads and stops, and its watchdog is
//! fed as long as narthex works.
//!
//! The protocol is sd_notify(3): datagrams to the socket in `NOTIFY_SOCKET`. Without that variable nothing is
//! sent. The watchdog is on where the service manager sets `WATCHDOG_USEC` (`WatchdogSec=` in the unit).
//!
//! `watchdog` decides when the watchdog is fed, and `parts` says which parts of narthex have to work for that.

pub(crate) mod parts;
pub(crate) mod sockets;
pub(crate) mod watchdog;

use sd_notify::NotifyState;
use std::time::Duration;

/// What the stop may take beyond the time for sending: closing the log, saving positions.
const CLOSING_TIME: Duration = Duration::from_secs(30);

/// Most characters of the reason that systemd is told.
pub const STATUS_CHARS_MAX: usize = 300;

/// Start-up has finished.
pub(crate) fn ready() {
    send(&[NotifyState::Ready]);
}

/// A reload has begun; [`reloaded`] ends it.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => send(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "the service manager could not be told of the reload"),
    }
}

/// A reload has ended. `systemctl status` shows how: systemd has no other way to report a reload that was refused.
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

/// The stop has begun, and may take `sending` plus some time to close the log.
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
