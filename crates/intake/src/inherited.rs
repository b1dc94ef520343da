//! Sockets that the service manager opened and passed (`LISTEN_FDS`). They stay open while narthex restarts, so that no
//! datagram and no connection is lost.
//!
//! A socket is used by the input that listens on its address. Its name has no meaning. The log names sockets whose
//! address no input has: otherwise their datagrams would wait and then be dropped without a message.

use crate::Endpoint;
use rustix::net::sockopt::socket_type;
use rustix::net::{SocketAddrAny, SocketAddrUnix, SocketType, getsockname};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::OnceLock;

static INHERITED: OnceLock<InheritedSockets> = OnceLock::new();

/// The sockets of this process with their addresses.
#[derive(Debug, Default)]
pub struct InheritedSockets(Vec<(Endpoint, OwnedFd)>);

impl InheritedSockets {
    /// Keeps the sockets as long as the process runs. Only the first call has an effect. Returns the number of sockets
    /// that no input can use.
    pub fn keep(sockets: Vec<OwnedFd>) -> usize {
        let all = sockets.len();
        let known: Vec<_> =
            sockets.into_iter().filter_map(|socket| Some((endpoint_of(&socket)?, socket))).collect();
        let unusable = all - known.len();
        let _ = INHERITED.set(InheritedSockets(known));
        unusable
    }

    /// A handle of the socket with this address, if there is one.
    pub fn of(endpoint: &Endpoint) -> Option<OwnedFd> {
        let InheritedSockets(sockets) = INHERITED.get()?;
        let (_, socket) = sockets.iter().find(|(at, _)| at == endpoint)?;
        socket.try_clone().ok()
    }

    /// The addresses of inherited sockets that are not in `used`.
    pub fn unused(used: &[Endpoint]) -> Vec<Endpoint> {
        let all = INHERITED.get().into_iter().flat_map(|InheritedSockets(sockets)| sockets);
        all.map(|(at, _)| at).filter(|at| !used.contains(at)).cloned().collect()
    }

    /// The address of an inherited socket that prevents listening on `endpoint`, which is another address.
    pub fn in_the_way_of(endpoint: &Endpoint) -> Option<&'static Endpoint> {
        let InheritedSockets(sockets) = INHERITED.get()?;
        sockets.iter().map(|(at, _)| at).find(|at| at.conflicts_with(endpoint))
    }
}

/// The address of a socket; `None` for kinds that no input uses.
fn endpoint_of(socket: &OwnedFd) -> Option<Endpoint> {
    let address = getsockname(socket).ok()?;
    let kind = socket_type(socket).ok()?;
    if let Ok(unix) = SocketAddrUnix::try_from(address.clone()) {
        let path = unix.path()?;
        let path = PathBuf::from(std::ffi::OsStr::from_bytes(path.to_bytes()));
        return (kind == SocketType::DGRAM).then_some(Endpoint::Unixgram(path));
    }
    let address = inet(address)?;
    match kind {
        SocketType::STREAM => Some(Endpoint::Tcp(address)),
        SocketType::DGRAM => Some(Endpoint::Udp(address)),
        _ => None,
    }
}

fn inet(address: SocketAddrAny) -> Option<SocketAddr> {
    SocketAddr::try_from(address).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::net::{TcpListener, UdpSocket};
    use std::os::unix::net::{UnixDatagram, UnixListener};

    #[test]
    fn the_endpoint_of_a_socket_is_read_from_it() {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let (udp_at, tcp_at) = (udp.local_addr().unwrap(), tcp.local_addr().unwrap());
        let unix = UnixDatagram::bind(&path).unwrap();
        let stream = UnixListener::bind(folder.path().join("t")).unwrap();
        assert_eq!(endpoint_of(&udp.into()), Some(Endpoint::Udp(udp_at)));
        assert_eq!(endpoint_of(&tcp.into()), Some(Endpoint::Tcp(tcp_at)));
        assert_eq!(endpoint_of(&unix.into()), Some(Endpoint::Unixgram(path)));
        assert_eq!(endpoint_of(&stream.into()), None);
    }
}
