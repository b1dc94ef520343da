//! Inputs whose protocol is lines of text, over TCP and UDP at one address. Such an input is a value with its settings
//! and a function that reads lines ([`ParseLines`]); `bind` does the rest.
//!
//! Nothing is acknowledged. Over TCP a connection is not read while the log accepts nothing, so that senders with a
//! buffer keep their samples. Over UDP the kernel drops what is not read in time; that is counted.

mod append;
mod buffer;
mod tcp;
mod udp;

pub use append::WAIT;
pub use buffer::LINE_BYTES_MAX;
pub use tcp::{BATCH_BYTES as CONNECTION_BATCH_BYTES, CONNECTIONS_MAX, KEEPALIVE_MAX};
pub use udp::{BATCH_BYTES, BATCHES_MAX, BUFFER_BYTES};

use intake::{BindError, Bound, Endpoint, Exposure, Input, ParseLines, Running, Stop, Transport};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;

/// What an input at `address` listens on.
pub(crate) fn endpoints(address: SocketAddr) -> Vec<Endpoint> {
    [Transport::Tcp, Transport::Udp].map(|transport| Endpoint { transport, address }).into()
}

/// Opens the sockets of an input at `address`, which `key` in the configuration has.
pub(crate) fn bind(
    key: &'static str,
    address: SocketAddr,
    parse: ParseLines,
) -> Result<Box<dyn Bound>, BindError> {
    let failed = |transport, address| {
        move |source| BindError { key, endpoint: Endpoint { transport, address }, source }
    };
    let tcp = tcp::listen(address).map_err(failed(Transport::Tcp, address))?;
    // With port 0 both have the port that the system chose for TCP.
    let address = tcp.local_addr().map_err(failed(Transport::Tcp, address))?;
    let udp = udp::listen(address).map_err(failed(Transport::Udp, address))?;
    Ok(Box::new(Sockets { address, parse, tcp, udp }))
}

struct Sockets {
    address: SocketAddr,
    parse: ParseLines,
    tcp: TcpListener,
    udp: UdpSocket,
}

impl Bound for Sockets {
    fn endpoints(&self) -> Vec<Endpoint> {
        endpoints(self.address)
    }

    fn run(self: Box<Self>, input: Input, exposure: watch::Receiver<Arc<Exposure>>, stop: Stop) -> Running {
        let Sockets { parse, tcp, udp, .. } = *self;
        let shared = Shared { input, parse, exposure, stop };
        Box::pin(async move {
            tokio::join!(tcp::run(tcp, shared.clone()), udp::run(udp, shared));
        })
    }
}

/// What all connections and the reader of datagrams share.
#[derive(Clone)]
struct Shared {
    input: Input,
    parse: ParseLines,
    exposure: watch::Receiver<Arc<Exposure>>,
    stop: Stop,
}
