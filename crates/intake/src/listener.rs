//! Inputs that listen on sockets of their own, in addition to the HTTP server: the interface that each of them
//! implements.
//!
//! A [`Listener`] is a value made from its settings. It has a name and addresses, and does nothing. Opening its sockets
//! gives a [`Bound`], which can run. narthex opens all sockets before it starts or stops any input, so a port in use
//! changes nothing. An address that another input releases is opened only after that input has closed it. If that
//! fails, all inputs listen again on their old addresses. narthex supervises the running inputs: it logs and counts a
//! panic, and opens the sockets again.

use crate::Input;
use crate::exposure::Exposure;
use crate::inherited::InheritedSockets;
use std::fmt;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::watch;

/// An address that an input listens on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    Tcp(SocketAddr),
    Udp(SocketAddr),
    /// Unix datagrams at a path.
    Unixgram(PathBuf),
}

impl Endpoint {
    /// The address; `None` for a path.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Endpoint::Tcp(address) | Endpoint::Udp(address) => Some(*address),
            Endpoint::Unixgram(_) => None,
        }
    }

    /// Returns true if both can't be in use at the same time. Port 0 stands for any free port.
    pub fn conflicts_with(&self, other: &Endpoint) -> bool {
        match (self, other) {
            (Endpoint::Tcp(own), Endpoint::Tcp(other)) | (Endpoint::Udp(own), Endpoint::Udp(other)) => {
                addresses_conflict(*own, *other)
            }
            (Endpoint::Unixgram(own), Endpoint::Unixgram(other)) => own == other,
            _ => false,
        }
    }
}

fn addresses_conflict(own: SocketAddr, other: SocketAddr) -> bool {
    let (ip, others) = (own.ip().to_canonical(), other.ip().to_canonical());
    // `::` includes all addresses of IPv4.
    let includes = |all: IpAddr, one: IpAddr| all.is_unspecified() && (all.is_ipv6() || one.is_ipv4());
    own.port() == other.port()
        && own.port() != 0
        && (ip == others || includes(ip, others) || includes(others, ip))
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Tcp(address) => write!(f, "TCP {address}"),
            Endpoint::Udp(address) => write!(f, "UDP {address}"),
            Endpoint::Unixgram(path) => write!(f, "unix datagrams {}", path.display()),
        }
    }
}

/// An address on which an input can't listen.
#[derive(Debug, thiserror::Error)]
#[error("{key}: can't listen on {endpoint}: {}", hint(endpoint, source))]
pub struct BindError {
    /// The key of the setting, such as `graphite.listen`.
    pub key: &'static str,
    pub endpoint: Endpoint,
    pub source: std::io::Error,
}

fn hint(endpoint: &Endpoint, error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => match InheritedSockets::in_the_way_of(endpoint) {
            Some(held) => format!(
                "the service manager holds a socket on {held}; write the same address here and in the socket unit"
            ),
            None => "the port is already in use; choose another".into(),
        },
        std::io::ErrorKind::PermissionDenied => {
            "ports below 1024 need a privilege; choose a higher one".into()
        }
        std::io::ErrorKind::AddrNotAvailable => "this machine does not have that address".into(),
        _ => error.to_string(),
    }
}

/// Notifies an input that it has to stop.
#[derive(Debug, Clone)]
pub struct Stop(watch::Receiver<bool>);

/// Stops the inputs that have clones of its [`Stop`]. Dropping it stops them too.
#[derive(Debug)]
pub struct Stopper(watch::Sender<bool>);

impl Stopper {
    pub fn new() -> (Stopper, Stop) {
        let (sender, receiver) = watch::channel(false);
        (Stopper(sender), Stop(receiver))
    }

    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

impl Stop {
    /// Waits until the input has to stop.
    pub async fn requested(&mut self) {
        // An error means that the stopper was dropped.
        let _ = self.0.wait_for(|stop| *stop).await;
    }
}

/// A future that can be sent between threads.
pub type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

/// An input with its settings that is not started yet.
pub trait Listener: fmt::Debug + Send + Sync + 'static {
    /// The name in labels.
    fn name(&self) -> &'static str;

    /// The section of its settings: their name in [`crate::Settings::inputs`].
    fn section(&self) -> &'static str {
        self.name()
    }

    /// The addresses that it listens on. Two listeners with equal endpoints can use the same sockets.
    fn endpoints(&self) -> Vec<Endpoint>;

    /// The configuration key of this endpoint.
    fn key(&self, _endpoint: &Endpoint) -> String {
        format!("{}.listen", self.name())
    }

    fn exposure(&self) -> &Exposure;

    /// The first of its endpoints that can't be in use while `other` listens.
    fn conflict(&self, other: &dyn Listener) -> Option<Endpoint> {
        let others = other.endpoints();
        self.endpoints().into_iter().find(|own| others.iter().any(|other| own.conflicts_with(other)))
    }

    /// Applies settings other than its addresses and [`Listener::exposure`] to an input that runs or is about to run.
    fn configure(&self, _input: &Input) {}

    /// Opens the sockets. Does not block.
    fn bind(&self) -> Result<Box<dyn Bound>, BindError>;
}

/// An input with open sockets.
pub trait Bound: Send + 'static {
    /// The addresses that it listens on, with the ports that the system chose.
    fn endpoints(&self) -> Vec<Endpoint>;

    /// Receives and appends samples until `stop`, then appends the rest of the received samples and returns. `exposure`
    /// changes with the configuration.
    fn run(self: Box<Self>, input: Input, exposure: watch::Receiver<Arc<Exposure>>, stop: Stop) -> Running;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "helper functions of tests")]
    use super::*;

    #[test]
    fn endpoints_conflict_as_the_system_says() {
        for (one, other, conflict) in [
            ("127.0.0.1:2003", "127.0.0.1:2003", true),
            ("127.0.0.1:2003", "127.0.0.1:2004", false),
            ("127.0.0.1:2003", "127.0.0.2:2003", false),
            ("0.0.0.0:2003", "127.0.0.1:2003", true),
            ("[::]:2003", "127.0.0.1:2003", true),
            ("[::]:2003", "0.0.0.0:2003", true),
            ("[::]:2003", "[::1]:2003", true),
            ("0.0.0.0:2003", "[::1]:2003", false),
            ("[::ffff:127.0.0.1]:2003", "127.0.0.1:2003", true),
            ("127.0.0.1:0", "127.0.0.1:0", false),
        ] {
            let (one, udp) = (Endpoint::Tcp(one.parse().unwrap()), Endpoint::Udp(one.parse().unwrap()));
            let other = Endpoint::Tcp(other.parse().unwrap());
            assert_eq!(one.conflicts_with(&other), conflict, "{one} {other}");
            assert_eq!(other.conflicts_with(&one), conflict, "{one} {other}");
            assert!(!udp.conflicts_with(&other), "{udp} {other}");
        }
        let path = |path: &str| Endpoint::Unixgram(path.into());
        assert!(
            path("/run/a").conflicts_with(&path("/run/a")) && !path("/run/a").conflicts_with(&path("/run/b"))
        );
    }
}
