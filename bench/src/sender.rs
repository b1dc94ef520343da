//! The sender at the beginning. It sends requests one after the other on a few connections, at a rate or as
//! fast as they are acknowledged. Each request is retried until it is acknowledged.

use crate::Result;
use crate::dialect::Dialect;
use crate::workload::Plan;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// The default number of connections. A series always uses the same one, so that its samples are sent in
/// order.
pub(crate) const CONNECTIONS: u32 = 4;
/// The pause between two attempts of a request.
const RETRY_AFTER: Duration = Duration::from_millis(50);
/// How long one request is tried before the run fails.
const GIVE_UP_AFTER: Duration = Duration::from_secs(120);
/// The most memory for requests that are made in advance.
const PREPARED_BYTES_MAX: u64 = 4 << 30;
/// An upper limit of a compressed request's bytes per sample.
const BYTES_PER_SAMPLE: u64 = 60;
/// An upper limit of a text's bytes per sample. Text is sent uncompressed.
const TEXT_BYTES_PER_SAMPLE: u64 = 420;

/// The requests of a plan.
#[derive(Debug)]
pub(crate) enum Requests {
    /// Made in advance, so that making them takes no processor time from the system.
    Prepared(Vec<Bytes>),
    /// Made when they are sent.
    OnTheFly,
}

impl Requests {
    /// Makes all requests of a plan, on two threads.
    pub(crate) fn prepare(plan: &Plan, dialect: Dialect) -> Result<Requests> {
        let each = match dialect {
            Dialect::Text => TEXT_BYTES_PER_SAMPLE,
            Dialect::V1 | Dialect::V2 | Dialect::Zstd | Dialect::Influx => BYTES_PER_SAMPLE,
        };
        let estimate = plan.workload.samples() * each;
        if estimate > PREPARED_BYTES_MAX {
            return Err(format!(
                "{} samples would take {} MiB in advance: choose fewer seconds or a lower rate",
                plan.workload.samples(),
                estimate >> 20
            )
            .into());
        }
        let total = plan.workload.requests();
        let middle = total / 2;
        let make = |range: std::ops::Range<u32>| -> Vec<Bytes> {
            range.map(|request| plan.request(dialect, request)).collect()
        };
        let bodies = std::thread::scope(|scope| {
            let second = scope.spawn(|| make(middle..total));
            let mut bodies = make(0..middle);
            bodies.extend(second.join().unwrap_or_default());
            bodies
        });
        Ok(Requests::Prepared(bodies))
    }
}

/// The result of sending.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    pub(crate) acknowledged: u64,
    /// Samples that were refused for good (a 4xx).
    pub(crate) refused: u64,
    /// Requests that had to be sent again.
    pub(crate) retries: u64,
    /// The time from sending to the acknowledgement of each request, in milliseconds.
    pub(crate) latencies_ms: Vec<f64>,
}

/// The address for requests. It can change meanwhile: a system that is started again listens on another port.
#[derive(Debug, Clone)]
pub(crate) struct Target(Arc<Mutex<SocketAddr>>);

impl Target {
    /// The host and port of an `http://` URL.
    pub(crate) fn of(url: &str) -> Result<Target> {
        Ok(Target(Arc::new(Mutex::new(address(url)?))))
    }

    /// Sends requests to this URL from now on. A request in flight ends at the old address.
    pub(crate) fn set(&self, url: &str) -> Result<()> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = address(url)?;
        Ok(())
    }

    fn address(&self) -> SocketAddr {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn address(url: &str) -> Result<SocketAddr> {
    Ok(url.trim_start_matches("http://").split('/').next().unwrap_or_default().parse()?)
}

/// Sends all requests of `plan` to `target` over this many connections, at the plan's rate or as fast as they
/// are acknowledged.
pub(crate) fn send(
    plan: Plan,
    dialect: Dialect,
    requests: Requests,
    target: Target,
    flat_out: bool,
    connections: u32,
) -> Result<Sent> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (requests, start) = (Arc::new(requests), Instant::now());
        let tasks: Vec<_> = (0..connections)
            .map(|number| {
                let requests = Arc::clone(&requests);
                let target = target.clone();
                let lane = Lane { plan, dialect, requests, target, start, flat_out, connections };
                tokio::spawn(lane.run(number))
            })
            .collect();
        let mut sent = Sent::default();
        for task in tasks {
            let part = task.await??;
            sent.acknowledged += part.acknowledged;
            sent.refused += part.refused;
            sent.retries += part.retries;
            sent.latencies_ms.extend(part.latencies_ms);
        }
        Ok(sent)
    })
}

/// The part of the requests that one connection sends.
struct Lane {
    plan: Plan,
    dialect: Dialect,
    requests: Arc<Requests>,
    target: Target,
    start: Instant,
    flat_out: bool,
    connections: u32,
}

type Connection = Option<SendRequest<Full<Bytes>>>;

impl Lane {
    async fn run(self, number: u32) -> Result<Sent> {
        let mut sent = Sent::default();
        let mut connection = None;
        let workload = &self.plan.workload;
        for request in 0..workload.requests() {
            // The connection depends on the place in the sweep, so that a series keeps its connection.
            if request % workload.requests_per_sweep() % self.connections != number {
                continue;
            }
            if !self.flat_out {
                let before = f64::from(request) / f64::from(workload.requests()) * workload.samples() as f64;
                let due = self.start + Duration::from_secs_f64(before / f64::from(workload.rate));
                tokio::time::sleep_until(due.into()).await;
            }
            let body = match &*self.requests {
                Requests::Prepared(bodies) => {
                    bodies.get(request as usize).cloned().ok_or("a missing request")?
                }
                Requests::OnTheFly => self.plan.request(self.dialect, request),
            };
            let samples = u64::from(self.plan.samples_in(request));
            let since = Instant::now();
            loop {
                let attempt = Instant::now();
                match self.attempt(&mut connection, body.clone()).await {
                    Ok(status) if status.is_success() => {
                        sent.acknowledged += samples;
                        sent.latencies_ms.push(attempt.elapsed().as_secs_f64() * 1000.0);
                        break;
                    }
                    Ok(status) if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS => {
                        sent.refused += samples;
                        break;
                    }
                    other => {
                        if since.elapsed() > GIVE_UP_AFTER {
                            return Err(format!("request {request} is not taken: {other:?}").into());
                        }
                        sent.retries += 1;
                        tokio::time::sleep(RETRY_AFTER).await;
                    }
                }
            }
        }
        Ok(sent)
    }

    /// One attempt, on the open connection or a new one.
    async fn attempt(&self, connection: &mut Connection, body: Bytes) -> Result<StatusCode> {
        let mut sender = match connection.take().filter(|sender| !sender.is_closed()) {
            Some(sender) => sender,
            None => {
                let stream = TcpStream::connect(self.target.address()).await?;
                stream.set_nodelay(true)?;
                let (sender, io) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
                tokio::spawn(io);
                sender
            }
        };
        sender.ready().await?;
        let mut request =
            Request::post(self.dialect.path()).header("host", self.target.address().to_string());
        for (name, value) in self.dialect.headers() {
            request = request.header(name, value);
        }
        let response = sender.send_request(request.body(Full::new(body))?).await?;
        let status = response.status();
        response.into_body().collect().await?;
        *connection = Some(sender);
        Ok(status)
    }
}
