//! Sockets for datagrams: UDP, and unix datagrams at a path.

use intake::{Endpoint, InheritedSockets, KernelDrops};
use rustix::net::sockopt::{set_socket_recv_buffer_size, socket_recv_buffer_size};
use rustix::net::{RecvFlags, recvfrom};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use tokio::io::Interest;
use tokio::net::{UdpSocket, UnixDatagram};

/// What is asked of the kernel for datagrams that wait to be read. It gives at most `net.core.rmem_max`.
pub const BUFFER_BYTES: usize = 4 << 20;

/// A socket for datagrams.
#[derive(Debug)]
pub(super) struct Datagrams {
    endpoint: Endpoint,
    socket: Socket,
}

#[derive(Debug)]
enum Socket {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

impl Datagrams {
    pub(super) fn udp(address: SocketAddr) -> io::Result<Self> {
        let socket = match InheritedSockets::of(&Endpoint::Udp(address)) {
            Some(inherited) => std::net::UdpSocket::from(inherited),
            None => std::net::UdpSocket::bind(address)?,
        };
        socket.set_nonblocking(true)?;
        // A smaller buffer than asked for is no error: drops are counted.
        let _ = set_socket_recv_buffer_size(&socket, BUFFER_BYTES);
        let socket = UdpSocket::from_std(socket)?;
        Ok(Datagrams { endpoint: Endpoint::Udp(socket.local_addr()?), socket: Socket::Udp(socket) })
    }

    /// `mode`: who may write. A socket that an earlier process left at the path is replaced; any other file is not.
    pub(super) fn unix(path: &Path, mode: u32) -> io::Result<Self> {
        let endpoint = Endpoint::Unixgram(path.to_path_buf());
        let socket = match InheritedSockets::of(&endpoint) {
            Some(inherited) => std::os::unix::net::UnixDatagram::from(inherited),
            None => {
                if std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket()) {
                    std::fs::remove_file(path)?;
                }
                let socket = std::os::unix::net::UnixDatagram::bind(path)?;
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
                socket
            }
        };
        socket.set_nonblocking(true)?;
        let _ = set_socket_recv_buffer_size(&socket, BUFFER_BYTES);
        Ok(Datagrams { endpoint, socket: Socket::Unix(UnixDatagram::from_std(socket)?) })
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Waits for a datagram. Returns its length, and who sent it, for UDP. A longer one than `datagram` is cut off, and
    /// its length is the one that it had.
    pub(super) async fn receive(&self, datagram: &mut [u8]) -> io::Result<(usize, Option<IpAddr>)> {
        match &self.socket {
            Socket::Udp(socket) => socket.async_io(Interest::READABLE, || self.try_receive(datagram)).await,
            Socket::Unix(socket) => socket.async_io(Interest::READABLE, || self.try_receive(datagram)).await,
        }
    }

    /// A datagram that has arrived. The kernel is asked itself, because the runtime may not know yet of the last ones.
    pub(super) fn receive_now(&self, datagram: &mut [u8]) -> Option<(usize, Option<IpAddr>)> {
        self.try_receive(datagram).ok()
    }

    fn try_receive(&self, datagram: &mut [u8]) -> io::Result<(usize, Option<IpAddr>)> {
        let socket = match &self.socket {
            Socket::Udp(socket) => socket.as_fd(),
            Socket::Unix(socket) => socket.as_fd(),
        };
        let (_, bytes, from) = recvfrom(socket, datagram, RecvFlags::DONTWAIT | RecvFlags::TRUNC)?;
        let from = match self.socket {
            Socket::Udp(_) => {
                Some(from.and_then(|from| SocketAddr::try_from(from).ok()).ok_or(ErrorKind::Other)?.ip())
            }
            Socket::Unix(_) => None,
        };
        Ok((bytes, from))
    }

    /// The size of the kernel's buffer; for unix datagrams senders wait, so that none is dropped.
    pub(super) fn buffer_granted(&self) -> Option<usize> {
        match &self.socket {
            // The kernel reports twice of what it grants.
            Socket::Udp(socket) => Some(socket_recv_buffer_size(socket).unwrap_or_default() / 2),
            Socket::Unix(_) => None,
        }
    }

    pub(super) fn drops(&self) -> Option<KernelDrops> {
        match &self.endpoint {
            Endpoint::Udp(address) => Some(KernelDrops::new(*address)),
            Endpoint::Tcp(_) | Endpoint::Unixgram(_) => None,
        }
    }
}
