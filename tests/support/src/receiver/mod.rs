//! A remote-write receiver that a test controls: it can refuse, delay, close connections and stop listening.
//! It keeps every request with its answer, and counts losses, repetitions and wrong order separately.

mod http;
mod tally;

pub use http::Received;
pub use tally::{Arrivals, Tally};

use crate::wire::{Version, visit};
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// How an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ending {
    /// The connection stays open for the next request.
    #[default]
    Open,
    /// The connection closes after the answer.
    Close,
    /// The connection closes instead of an answer.
    NoAnswer,
    /// The connection closes in the middle of the answer.
    HalfAnswer,
    /// The answer comes byte by byte with this pause between two; the connection stays open.
    Slow(Duration),
}

/// What the receiver does with a request.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
    /// The delay before the answer.
    pub delay: Duration,
    /// If set, the answer waits until the flag is true.
    pub once: Option<Arc<AtomicBool>>,
    pub ending: Ending,
    /// True if the request's samples count as written.
    pub stored: bool,
}

impl Answer {
    /// The answer of a correct receiver: 204, and for 2.0 the numbers of written samples.
    pub fn success(request: &Received) -> Answer {
        let mut headers = Vec::new();
        if request.version() == Version::V2 {
            let (mut samples, mut histograms, mut exemplars) = (0, 0, 0);
            let _ = visit(Version::V2, &request.content, |view| {
                samples += view.samples.len();
                histograms += view.histograms.len();
                exemplars += view.exemplars.len();
            });
            for (kind, count) in [("Samples", samples), ("Histograms", histograms), ("Exemplars", exemplars)]
            {
                headers.push((format!("X-Prometheus-Remote-Write-{kind}-Written"), count.to_string()));
            }
        }
        Answer { status: 204, headers, stored: true, ..Answer::default() }
    }

    /// A refusal, after which nothing is stored.
    pub fn status(status: u16) -> Answer {
        Answer { status, ..Answer::default() }
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Answer {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub fn body(mut self, body: &str) -> Answer {
        self.body = body.into();
        self
    }

    pub fn delay(mut self, delay: Duration) -> Answer {
        self.delay = delay;
        self
    }

    /// Makes the answer wait until the flag is true.
    pub fn once(mut self, ready: &Arc<AtomicBool>) -> Answer {
        self.once = Some(ready.clone());
        self
    }

    /// Sets how the answer ends. A request that gets no answer may still have been stored: see
    /// [`Answer::stored`].
    pub fn ending(mut self, ending: Ending) -> Answer {
        self.ending = ending;
        self
    }
}

type Script = Box<dyn FnMut(&Received) -> Answer + Send>;

struct Shared {
    script: Mutex<Script>,
    requests: Mutex<Vec<Received>>,
    /// The number of requests so far, including those without an answer yet.
    decided: AtomicUsize,
    /// The open connections by number. Closed ones are removed, so that a test with very many does not run
    /// out of file descriptors.
    connections: Mutex<BTreeMap<u64, TcpStream>>,
    connected: AtomicU64,
    away: AtomicBool,
}

impl Shared {
    /// Asks the script for the answer. The lock is held, so that a script that counts gets its requests one
    /// at a time, each with its own number.
    fn decide(&self, request: &mut Received) -> Answer {
        let mut script = self.script.lock().unwrap();
        request.number = self.decided.fetch_add(1, Ordering::Relaxed);
        script(request)
    }

    fn record(&self, request: Received) {
        self.requests.lock().unwrap().push(request);
    }
}

pub struct FakeReceiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl std::fmt::Debug for FakeReceiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FakeReceiver").field("address", &self.address).finish_non_exhaustive()
    }
}

impl FakeReceiver {
    /// Starts a receiver that accepts everything. No other process gets its port while it does not listen.
    /// Otherwise the sender under test might get the port as its listen address, and send to itself.
    pub fn start() -> FakeReceiver {
        let listener = crate::process::free_listener();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            script: Mutex::new(Box::new(Answer::success)),
            requests: Mutex::default(),
            decided: AtomicUsize::new(0),
            connections: Mutex::default(),
            connected: AtomicU64::new(0),
            away: AtomicBool::new(false),
        });
        let receiver = FakeReceiver { address, shared, acceptor: Mutex::new(None) };
        receiver.accept(listener);
        receiver
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The URL for remote write. Every other path works too.
    pub fn write_url(&self) -> String {
        format!("{}/api/v1/write", self.url())
    }

    /// Sets the script that answers requests from now on. Use [`Answer::success`] to accept one.
    pub fn answer(&self, script: impl FnMut(&Received) -> Answer + Send + 'static) {
        *self.shared.script.lock().unwrap() = Box::new(script);
    }

    /// Closes all connections and refuses new ones, until [`FakeReceiver::come_back`].
    pub fn go_away(&self) {
        self.shared.away.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address); // wakes the acceptor, which then ends
        if let Some(acceptor) = self.acceptor.lock().unwrap().take() {
            acceptor.join().unwrap();
        }
        for connection in std::mem::take(&mut *self.shared.connections.lock().unwrap()).values() {
            let _ = connection.shutdown(std::net::Shutdown::Both);
        }
    }

    /// Listens again, on the same port.
    pub fn come_back(&self) {
        self.shared.away.store(false, Ordering::SeqCst);
        let listener = crate::wait_for("the old port", crate::SOON, || TcpListener::bind(self.address));
        self.accept(listener);
    }

    /// The number of connections so far.
    pub fn connections(&self) -> u64 {
        self.shared.connected.load(Ordering::Relaxed)
    }

    /// All requests so far, in the order in which they were answered.
    pub fn requests(&self) -> MutexGuard<'_, Vec<Received>> {
        self.shared.requests.lock().unwrap()
    }

    /// The stored samples of each series, in order of arrival.
    ///
    /// # Panics
    /// If a stored request can't be decoded.
    pub fn arrivals(&self) -> Arrivals {
        let mut arrivals = Arrivals::new();
        for request in self.requests().iter().filter(|request| request.stored) {
            let arrived = visit(request.version(), &request.content, |view| {
                let list: &mut Vec<(i64, f64)> = arrivals.entry(view.labels_map()).or_default();
                list.extend_from_slice(&view.samples);
                list.extend(view.histograms.iter().map(|&(timestamp, _)| (timestamp, f64::NAN)));
            });
            arrived.unwrap_or_else(|error| panic!("request {}: {error}", request.number));
        }
        arrivals
    }

    /// The number of stored samples and histograms, including repetitions.
    pub fn stored(&self) -> usize {
        self.arrivals().values().map(Vec::len).sum()
    }

    /// Compares the stored samples with the expected timestamps of each series, in order.
    pub fn tally(&self, expected: &BTreeMap<crate::Labels, Vec<i64>>) -> Tally {
        tally::tally(expected, &self.arrivals())
    }

    /// Waits until each of the samples has arrived, and returns the tally of all.
    ///
    /// # Panics
    /// If one of them doesn't arrive in time.
    #[track_caller]
    pub fn wait_for_all(&self, expected: &BTreeMap<crate::Labels, Vec<i64>>) -> Tally {
        crate::wait_for("everything to arrive", crate::SOON, || {
            let tally = self.tally(expected);
            if tally.lost == 0 { Ok(tally) } else { Err(format!("{tally:?}")) }
        })
    }

    fn accept(&self, listener: TcpListener) {
        let shared = Arc::clone(&self.shared);
        let acceptor = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if shared.away.load(Ordering::SeqCst) {
                    return;
                }
                let number = shared.connected.fetch_add(1, Ordering::Relaxed);
                if let Ok(connection) = stream.try_clone() {
                    shared.connections.lock().unwrap().insert(number, connection);
                }
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || {
                    http::serve(stream, &shared);
                    shared.connections.lock().unwrap().remove(&number);
                });
            }
        });
        *self.acceptor.lock().unwrap() = Some(acceptor);
    }
}

impl Drop for FakeReceiver {
    fn drop(&mut self) {
        self.go_away();
    }
}
