//! Sockets that the service manager opened (socket activation, sd_listen_fds(3)). They stay open during a restart.

use intake::{Endpoint, InheritedSockets};
use std::net::SocketAddr;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// Stores the sockets for the inputs that listen on their addresses. Call it once, before any file is opened.
pub(crate) fn keep() {
    let sockets: Vec<OwnedFd> = match sd_notify::listen_fds() {
        Ok(sockets) => sockets.map(own).collect(),
        Err(error) => {
            return tracing::warn!(%error, "the sockets of the service manager (LISTEN_FDS) can't be used");
        }
    };
    let count = sockets.len();
    if count == 0 {
        return;
    }
    let unusable = InheritedSockets::keep(sockets);
    logging::info(format_args!("the service manager handed over {count} sockets"));
    if unusable > 0 {
        logging::warn(format_args!(
            "{unusable} of the service manager's sockets are neither TCP, UDP nor unix datagrams, and stay unused"
        ));
    }
}

/// The HTTP server opens its own socket: says so if one of the service manager's is the reason that it can't.
pub(crate) fn warn_if_in_the_way(listen: SocketAddr) {
    if let Some(held) = InheritedSockets::in_the_way_of(&Endpoint::Tcp(listen)) {
        logging::warn(format_args!(
            "the service manager holds a socket on {held}, which is for no input: remove it from the socket unit, \
             since narthex opens the address of --listen itself"
        ));
    }
}

#[allow(unsafe_code, reason = "the protocol hands sockets over as numbers")]
fn own(number: RawFd) -> OwnedFd {
    // SAFETY: LISTEN_PID says that the descriptors from 3 on are for this process. `keep` runs once, before
    // other code could have taken ownership of them.
    unsafe { OwnedFd::from_raw_fd(number) }
}
