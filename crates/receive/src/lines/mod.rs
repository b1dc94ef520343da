//! Inputs whose protocol is lines of text, over TCP, UDP and unix datagrams. An input whose lines are samples is a value
//! with its settings and a function that reads lines ([`ParseLines`]); `bind` does the rest. An input whose lines change
//! something in memory has a `Sink::Apply`.
//!
//! Nothing is acknowledged. Over TCP a connection is not read while the log accepts nothing, so that senders with a
//! buffer keep their samples. Over UDP the kernel drops what is not read in time; that is counted.

mod append;
mod buffer;
mod datagrams;
mod reader;
mod tcp;

pub use append::{DATAGRAM_TOO_LONG, LINE_INCOMPLETE, LINE_TOO_LONG, WAIT};
pub use buffer::LINE_BYTES_MAX;
pub use datagrams::BUFFER_BYTES;
pub use reader::{BATCH_BYTES, BATCHES_MAX, DATAGRAM_BYTES};
pub use tcp::{BATCH_BYTES as CONNECTION_BATCH_BYTES, CONNECTIONS_MAX, KEEPALIVE_MAX};

use buffer::Buffer;
use datagrams::Datagrams;
use intake::known::{Recognised, Recogniser};
use intake::{BindError, Bound, Endpoint, Exposure, Input, ParseLines, Running, Stop};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// What is reserved for lines, as a multiple of their bytes: themselves, and what they are parsed into.
const WORK: usize = 3;

/// What such an input listens on, with the keys of its configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Places {
    pub(crate) tcp: Option<(&'static str, SocketAddr)>,
    pub(crate) udp: Option<(&'static str, SocketAddr)>,
    pub(crate) unixgram: Option<(&'static str, PathBuf)>,
    /// Who may write to the unix socket.
    pub(crate) unix_mode: u32,
}

impl Places {
    /// TCP and UDP at one address.
    pub(crate) fn both(key: &'static str, address: SocketAddr) -> Self {
        Places { tcp: Some((key, address)), udp: Some((key, address)), ..Places::default() }
    }

    pub(crate) fn endpoints(&self) -> Vec<Endpoint> {
        let tcp = self.tcp.map(|(_, address)| Endpoint::Tcp(address));
        let udp = self.udp.map(|(_, address)| Endpoint::Udp(address));
        let unixgram = self.unixgram.clone().map(|(_, path)| Endpoint::Unixgram(path));
        [tcp, udp, unixgram].into_iter().flatten().collect()
    }

    /// Opens the sockets.
    pub(crate) fn bind(&self) -> Result<Sockets, BindError> {
        let failed = |key, endpoint: &Endpoint| {
            let endpoint = endpoint.clone();
            move |source| BindError { key, endpoint, source }
        };
        let mut sockets = Sockets::default();
        if let Some((key, address)) = self.tcp {
            let endpoint = Endpoint::Tcp(address);
            let tcp = tcp::listen(address).map_err(failed(key, &endpoint))?;
            let address = tcp.local_addr().map_err(failed(key, &endpoint))?;
            sockets.tcp = Some((address, tcp));
        }
        if let Some((key, mut address)) = self.udp {
            // With port 0 at one address both have the port that the system chose for TCP.
            if let (Some((_, asked)), Some((chosen, _))) = (self.tcp, &sockets.tcp)
                && asked == address
            {
                address = *chosen;
            }
            let endpoint = Endpoint::Udp(address);
            sockets.udp = Some(Datagrams::udp(address).map_err(failed(key, &endpoint))?);
        }
        if let Some((key, path)) = &self.unixgram {
            let endpoint = Endpoint::Unixgram(path.clone());
            sockets.unixgram = Some(Datagrams::unix(path, self.unix_mode).map_err(failed(key, &endpoint))?);
        }
        Ok(sockets)
    }
}

/// The open sockets of an input.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    tcp: Option<(SocketAddr, TcpListener)>,
    udp: Option<Datagrams>,
    unixgram: Option<Datagrams>,
}

impl Sockets {
    pub(crate) fn endpoints(&self) -> Vec<Endpoint> {
        let tcp = self.tcp.iter().map(|(address, _)| Endpoint::Tcp(*address));
        let datagrams = [&self.udp, &self.unixgram].into_iter().flatten();
        tcp.chain(datagrams.map(|socket| socket.endpoint().clone())).collect()
    }

    /// Reads lines until the input has to stop, and what has arrived then.
    pub(crate) async fn run(self, shared: Shared) {
        let tcp = async {
            if let Some((_, listener)) = self.tcp {
                tcp::run(listener, shared.clone()).await;
            }
        };
        let read = async |socket: Option<Datagrams>| {
            if let Some(socket) = socket {
                reader::run(socket, shared.clone()).await;
            }
        };
        tokio::join!(tcp, read(self.udp), read(self.unixgram));
    }
}

/// Opens the sockets of an input at `address`, which `key` in the configuration has.
pub(crate) fn bind(
    key: &'static str,
    address: SocketAddr,
    parse: ParseLines,
) -> Result<Box<dyn Bound>, BindError> {
    let sockets = Places::both(key, address).bind()?;
    Ok(Box::new(ParsedLines { sockets, parse }))
}

/// An input whose lines are samples.
struct ParsedLines {
    sockets: Sockets,
    parse: ParseLines,
}

impl Bound for ParsedLines {
    fn endpoints(&self) -> Vec<Endpoint> {
        self.sockets.endpoints()
    }

    fn run(self: Box<Self>, input: Input, exposure: watch::Receiver<Arc<Exposure>>, stop: Stop) -> Running {
        let ParsedLines { sockets, parse } = *self;
        let read: Arc<ReadLines> =
            Arc::new(move |recogniser, text, now_ms| recogniser.parse_lines(text, now_ms, parse));
        let shared = Shared { input, sink: Sink::Append { read, work: WORK }, exposure, stop };
        Box::pin(sockets.run(shared))
    }
}

/// Reads lines into a batch, by the time of arrival in milliseconds since 1970.
pub(crate) type ReadLines = dyn Fn(&Recogniser, &[u8], i64) -> Recognised + Send + Sync;

/// Takes lines.
pub(crate) type Apply = dyn Fn(&[u8]) + Send + Sync;

/// What becomes of lines.
#[derive(Clone)]
pub(crate) enum Sink {
    /// They are samples, and are appended to the log. `work` is the memory that is reserved for them, as a multiple of
    /// their bytes.
    Append { read: Arc<ReadLines>, work: usize },
    /// They are changes of something in memory.
    Apply(Arc<Apply>),
}

/// What all connections and the readers of datagrams share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) input: Input,
    pub(crate) sink: Sink,
    pub(crate) exposure: watch::Receiver<Arc<Exposure>>,
    pub(crate) stop: Stop,
}
