//! The receiver at the end: it accepts one protocol, counts samples, and can stop listening for a while.

use crate::Result;
use crate::count::{Counter, Counts};
use crate::dialect::Dialect;
use crate::workload::{Plan, series_id};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use support::wire::{SeriesView, Version, decompress, visit};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The requests that it accepts. Others are answered with 415.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accepts {
    /// Requests in one format. For zstd it behaves like VictoriaMetrics: its answers have a header that
    /// identifies it, it agrees to zstd if an agent asks, and accepts snappy before that.
    Only(Dialect),
    /// All requests.
    Anything,
}

#[derive(Debug)]
struct Shared {
    accepts: Accepts,
    counter: Mutex<Option<Counter>>,
    refusal: Mutex<Option<Refusal>>,
    /// True once an agent has asked for zstd or used it.
    agreed: AtomicBool,
}

/// The series that the receiver refuses, and what it does with the rest of such a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The last series of each group of this many is refused.
    pub(crate) one_in: u32,
    /// If true, the rest of the request is written before the answer 400. Otherwise nothing of it is written.
    pub(crate) writes_rest: bool,
}

impl Refusal {
    /// Returns true if samples of this series are refused.
    fn refuses(self, series: &SeriesView<'_>) -> bool {
        series_id(&series.labels).is_some_and(|id| id % self.one_in == self.one_in - 1)
    }
}

/// The query by which an agent asks VictoriaMetrics for zstd, and the header that identifies VictoriaMetrics.
const QUESTION: &str = "get_vm_proto_version=1";
const SIGN: &str = "x-server-hostname";

/// The arrivals so far, with times.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrived {
    pub(crate) counts: Counts,
    /// When something last arrived for the first time.
    pub(crate) last_new: Instant,
    /// When most of it had arrived; `None` before.
    pub(crate) most: Option<Instant>,
}

/// The receiver, on a thread of its own.
#[derive(Debug)]
pub(crate) struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    here: watch::Sender<bool>,
}

impl Receiver {
    /// Starts it on a free port of loopback.
    pub(crate) fn start(accepts: Accepts) -> Result<Receiver> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            accepts,
            counter: Mutex::new(None),
            refusal: Mutex::new(None),
            agreed: AtomicBool::new(false),
        });
        let (here, presence) = watch::channel(true);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let state = Arc::clone(&shared);
        std::thread::Builder::new().name("receiver".into()).spawn(move || {
            runtime.block_on(serve(listener, address, presence, state));
        })?;
        Ok(Receiver { address, shared, here })
    }

    /// The URL for remote write.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/api/v1/write", self.address)
    }

    /// Counts the arrivals of `plan` from now on.
    pub(crate) fn expect(&self, plan: Plan) {
        *self.counter() = Some(Counter::new(plan));
    }

    /// Like [`Receiver::expect`], for values that the system sends repeatedly with its own timestamps.
    pub(crate) fn expect_at_any_time(&self, plan: Plan) {
        *self.counter() = Some(Counter::new(plan).at_any_time());
    }

    /// The arrivals since then.
    pub(crate) fn arrived(&self) -> Arrived {
        match &*self.counter() {
            Some(counter) => {
                Arrived { counts: counter.counts, last_new: counter.last_new, most: counter.most }
            }
            None => Arrived { counts: Counts::default(), last_new: Instant::now(), most: None },
        }
    }

    /// From now on requests with a sample of a refused series are answered with 400.
    pub(crate) fn refuse(&self, refusal: Option<Refusal>) {
        *self.shared.refusal.lock().unwrap_or_else(PoisonError::into_inner) = refusal;
    }

    /// Returns true if the system and the receiver have agreed on zstd.
    pub(crate) fn agreed(&self) -> bool {
        self.shared.agreed.load(Ordering::Relaxed)
    }

    /// With `false` the receiver closes all connections and refuses new ones; with `true` it listens again.
    pub(crate) fn set_here(&self, here: bool) {
        // An error means that the receiver's thread has ended. The run notices that by the missing samples.
        let _ = self.here.send(here);
    }

    fn counter(&self) -> MutexGuard<'_, Option<Counter>> {
        self.shared.counter.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves until the [`Receiver`] is dropped.
async fn serve(
    listener: std::net::TcpListener,
    address: SocketAddr,
    mut presence: watch::Receiver<bool>,
    shared: Arc<Shared>,
) {
    let mut listener = TcpListener::from_std(listener).ok();
    loop {
        let mut connections = JoinSet::new();
        let Some(listening) = listener.take() else { return };
        while *presence.borrow_and_update() {
            tokio::select! {
                accepted = listening.accept() => {
                    if let Ok((stream, _)) = accepted {
                        let shared = Arc::clone(&shared);
                        let service = service_fn(move |request| answer(Arc::clone(&shared), request));
                        let http = hyper::server::conn::http1::Builder::new();
                        connections.spawn(async move {
                            let _ = http.serve_connection(TokioIo::new(stream), service).await;
                        });
                    }
                }
                changed = presence.changed() => if changed.is_err() { return },
            }
        }
        drop(listening);
        connections.shutdown().await;
        while !*presence.borrow_and_update() {
            if presence.changed().await.is_err() {
                return;
            }
        }
        while listener.is_none() {
            listener = TcpListener::bind(address).await.ok();
            tokio::task::yield_now().await;
        }
    }
}

async fn answer(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> std::result::Result<Response<Full<Bytes>>, Infallible> {
    let zstd = shared.accepts == Accepts::Only(Dialect::Zstd);
    let mut response = Response::new(Full::default());
    if zstd {
        response.headers_mut().insert(SIGN, HeaderValue::from_static("bench"));
    }
    if zstd && request.method() == Method::GET && request.uri().query() == Some(QUESTION) {
        *response.body_mut() = Full::from("1");
        shared.agreed.store(true, Ordering::Relaxed);
        return Ok(response);
    }
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let version = Version::of_content_type(header(CONTENT_TYPE));
    let encoding = header(CONTENT_ENCODING).to_string();
    let status = if takes(&shared, version, &encoding) {
        match request.into_body().collect().await {
            Ok(body) => count(&shared, version, &encoding, &body.to_bytes()),
            Err(_) => Err(StatusCode::BAD_REQUEST),
        }
    } else {
        Err(StatusCode::UNSUPPORTED_MEDIA_TYPE)
    };
    if status.is_ok() && encoding == "zstd" {
        shared.agreed.store(true, Ordering::Relaxed);
    }
    *response.status_mut() = status.err().unwrap_or(StatusCode::NO_CONTENT);
    if let (Ok((samples, histograms)), Version::V2) = (status, version) {
        let headers = response.headers_mut();
        headers.insert("x-prometheus-remote-write-samples-written", samples.into());
        headers.insert("x-prometheus-remote-write-histograms-written", histograms.into());
        headers.insert("x-prometheus-remote-write-exemplars-written", 0.into());
    }
    Ok(response)
}

/// Returns true if a body of this format is accepted.
fn takes(shared: &Shared, version: Version, encoding: &str) -> bool {
    let Accepts::Only(dialect) = shared.accepts else { return true };
    let agreed = (dialect.version(), dialect.encoding()) == (version, encoding);
    // When the plan is known, zstd must have been agreed on, because only zstd is to be measured.
    let known = || shared.counter.lock().unwrap_or_else(PoisonError::into_inner).is_some();
    agreed || dialect == Dialect::Zstd && (version, encoding) == (Version::V1, "snappy") && !known()
}

fn count(
    shared: &Shared,
    version: Version,
    encoding: &str,
    body: &[u8],
) -> std::result::Result<(u64, u64), StatusCode> {
    let content = decompress(encoding, body).map_err(|_| StatusCode::BAD_REQUEST)?;
    let refusal = *shared.refusal.lock().unwrap_or_else(PoisonError::into_inner);
    let refusal = refusal.filter(|&refusal| has_refused(version, &content, refusal));
    if refusal.is_some_and(|refusal| !refusal.writes_rest) {
        return Err(StatusCode::BAD_REQUEST);
    }
    let is_written = |series: &SeriesView<'_>| !refusal.is_some_and(|refusal| refusal.refuses(series));
    let written = match &mut *shared.counter.lock().unwrap_or_else(PoisonError::into_inner) {
        Some(counter) => {
            counter.request(version, &content, body.len(), is_written).map_err(|_| StatusCode::BAD_REQUEST)?
        }
        // Before the plan is known, only the system's own metrics arrive.
        None => (0, 0),
    };
    if refusal.is_some() { Err(StatusCode::BAD_REQUEST) } else { Ok(written) }
}

/// Returns true if a request has a series that is refused.
fn has_refused(version: Version, content: &[u8], refusal: Refusal) -> bool {
    let mut found = false;
    // A body that can't be decoded is answered when it is counted.
    let _ = visit(version, content, |series| found |= refusal.refuses(series));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Workload;
    use support::http;

    #[test]
    fn snappy_is_accepted_until_the_plan_is_known() {
        let plan = Plan { workload: Workload::plain(100, 1), base: 1000 };
        let receiver = Receiver::start(Accepts::Only(Dialect::Zstd)).unwrap();
        let post = |dialect: Dialect| {
            http::post(&receiver.url(), &dialect.headers(), &plan.request(dialect, 0)).unwrap()
        };
        let taken = post(Dialect::V1);
        assert_eq!((taken.status, receiver.agreed()), (204, false));
        assert!(taken.header(SIGN).is_some());
        assert_eq!(post(Dialect::V2).status, 415);
        let answer = http::get(&format!("{}?{QUESTION}", receiver.url())).unwrap();
        assert_eq!((answer.status, answer.text().as_str(), receiver.agreed()), (200, "1", true));
        receiver.expect(plan);
        assert_eq!(post(Dialect::V1).status, 415);
        assert_eq!(post(Dialect::Zstd).status, 204);
        let counts = receiver.arrived().counts;
        assert_eq!((counts.arrived, counts.wrong), (100, 0));
    }

    #[test]
    fn a_request_with_a_refused_series_is_refused_whole_or_in_part() {
        let plan = Plan { workload: Workload::plain(4000, 1), base: 1000 };
        let receiver = Receiver::start(Accepts::Only(Dialect::V1)).unwrap();
        receiver.expect(plan);
        let post = |request| {
            let body = plan.request(Dialect::V1, request);
            http::post(&receiver.url(), &Dialect::V1.headers(), &body).unwrap().status
        };
        // The 4,000th series is in the second request.
        let refusal = Refusal { one_in: 4000, writes_rest: false };
        receiver.refuse(Some(refusal));
        assert_eq!((post(0), post(1)), (204, 400));
        assert_eq!(receiver.arrived().counts.arrived, 2000);
        receiver.refuse(Some(Refusal { writes_rest: true, ..refusal }));
        assert_eq!((post(0), post(1)), (204, 400));
        let counts = receiver.arrived().counts;
        assert_eq!((counts.arrived, counts.repeated), (3999, 2000));
        receiver.refuse(None);
        assert_eq!(post(1), 204);
        assert_eq!(receiver.arrived().counts.arrived, 4000);
    }
}
