//! Graphite plaintext, over TCP and UDP at one address. Off unless `graphite.listen` is set.
//!
//! Nothing is acknowledged in this protocol. Over TCP a connection is not read while the log accepts nothing, so that
//! senders with a buffer keep their samples. Over UDP the kernel drops what is not read in time; that is counted.

mod lines;
mod tcp;
mod udp;

use intake::{BindError, Bound, Endpoint, Exposure, Input, Listener, Running, Stop, Transport};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;

pub use formats::graphite::LINE_BYTES_MAX;
pub use lines::WAIT;
pub use tcp::{BATCH_BYTES as CONNECTION_BATCH_BYTES, CONNECTIONS_MAX, KEEPALIVE_MAX};
pub use udp::{BATCH_BYTES, BATCHES_MAX, BUFFER_BYTES};

/// The section, and the name of the input.
pub const NAME: &str = "graphite";
/// The key of the address.
const LISTEN: &str = "graphite.listen";

/// The settings of the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graphite {
    pub listen: SocketAddr,
    pub exposure: Exposure,
}

impl Listener for Graphite {
    fn name(&self) -> &'static str {
        NAME
    }

    fn endpoints(&self) -> Vec<Endpoint> {
        [Transport::Tcp, Transport::Udp].map(|transport| Endpoint { transport, address: self.listen }).into()
    }

    fn exposure(&self) -> &Exposure {
        &self.exposure
    }

    fn bind(&self) -> Result<Box<dyn Bound>, BindError> {
        let failed = |transport, address| {
            move |source| BindError { key: LISTEN, endpoint: Endpoint { transport, address }, source }
        };
        let tcp = tcp::listen(self.listen).map_err(failed(Transport::Tcp, self.listen))?;
        // With port 0 both have the port that the system chose for TCP.
        let address = tcp.local_addr().map_err(failed(Transport::Tcp, self.listen))?;
        let udp = udp::listen(address).map_err(failed(Transport::Udp, address))?;
        Ok(Box::new(Sockets { address, tcp, udp }))
    }
}

#[derive(Debug)]
struct Sockets {
    address: SocketAddr,
    tcp: TcpListener,
    udp: UdpSocket,
}

impl Bound for Sockets {
    fn endpoints(&self) -> Vec<Endpoint> {
        let address = self.address;
        [Transport::Tcp, Transport::Udp].map(|transport| Endpoint { transport, address }).into()
    }

    fn run(self: Box<Self>, input: Input, exposure: watch::Receiver<Arc<Exposure>>, stop: Stop) -> Running {
        let Sockets { tcp, udp, .. } = *self;
        Box::pin(async move {
            let by_tcp = tcp::run(tcp, input.clone(), exposure.clone(), stop.clone());
            tokio::join!(by_tcp, udp::run(udp, input, exposure, stop));
        })
    }
}
