//! A remote-write receiver for tests of senders. It accepts 1.0 and 2.0 according to the specifications and
//! keeps the recent points in a [`window`] with limits. On request it fails, delays and refuses ([`faults`]).
//!
//! `narthex sink` serves it alone: start at [`run`]. In `narthex demo` a [`Server`] serves a [`Sink`] and can
//! stop listening for a while.

mod args;
pub mod faults;
mod requests;
mod serve;
mod server;
pub mod window;

pub use args::SinkArgs;
pub use faults::{Behaviour, Faults};
pub use serve::{control, run};
pub use server::{Presence, Server};
pub use window::{Window, WindowLimits};

use axum::Router;
use axum::extract::{Query, State};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Which versions of remote write the sink takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Accept {
    /// 1.0 and 2.0.
    Both,
    /// 1.0 only.
    #[value(name = "1.0")]
    V1,
    /// 2.0 only.
    #[value(name = "2.0")]
    V2,
}

/// The most bytes of a request's body, before and after decompression, as in Prometheus.
pub const BODY_BYTES_MAX: usize = 32 << 20;
/// The timeout of reading a request's body.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// The most requests that are handled at the same time. Others get 503.
pub const REQUESTS_AT_A_TIME_MAX: usize = 16;
/// The number of requests that are kept for the page.
pub const REQUESTS_REMEMBERED: usize = 50;
/// The most series that one answer of `/api/v1/status/sink` lists.
pub const SERIES_LISTED_MAX: usize = 100;

/// A request and its answer.
#[derive(Debug, Clone, Serialize)]
pub struct Seen {
    /// The time of the answer, in milliseconds since 1970.
    pub at_ms: i64,
    /// `1.0`, `2.0`, or empty if the content type is of neither version.
    pub protocol: &'static str,
    pub status: u16,
    /// The number of accepted samples and histograms.
    pub samples: u64,
    /// The size of the body as it was received.
    pub bytes: usize,
    /// How long it took, including the configured delay.
    pub took_ms: u64,
    /// The `User-Agent` of the sender, cut to a printable length.
    pub user_agent: String,
    /// The text of the answer if it was an error.
    pub answer: String,
}

/// Counters of requests.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub struct Requests {
    /// All requests.
    pub all: u64,
    /// Requests answered with 2xx.
    pub taken: u64,
    /// Requests that failed because the sink was configured to fail.
    pub failed_on_purpose: u64,
    /// Bytes of the bodies as they were received.
    pub bytes: u64,
}

#[derive(Debug)]
struct Book {
    window: Window,
    requests: Requests,
    recent: VecDeque<Seen>,
}

/// A function that is called with each accepted batch.
pub type Observer = Box<dyn Fn(&model::Batch) + Send + Sync>;

/// The sink. Cheap to clone.
#[derive(Clone)]
pub struct Sink(Arc<Inner>);

impl std::fmt::Debug for Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sink").field("behaviour", &self.behaviour()).finish_non_exhaustive()
    }
}

struct Inner {
    accept: Accept,
    faults: Faults,
    book: Mutex<Book>,
    working: tokio::sync::Semaphore,
    observer: Option<Observer>,
}

impl Sink {
    /// An empty sink.
    pub fn new(
        limits: WindowLimits,
        accept: Accept,
        behaviour: Behaviour,
        observer: Option<Observer>,
    ) -> Self {
        let book =
            Book { window: Window::new(limits), requests: Requests::default(), recent: VecDeque::new() };
        Sink(Arc::new(Inner {
            accept,
            faults: Faults::new(behaviour),
            book: Mutex::new(book),
            working: tokio::sync::Semaphore::new(REQUESTS_AT_A_TIME_MAX),
            observer,
        }))
    }

    /// The routes for remote write, at the usual paths of receivers.
    pub fn router(&self) -> Router {
        let take = post(requests::take).with_state(self.clone());
        Router::new()
            .route("/api/v1/write", take.clone())
            .route("/api/v1/push", take.clone())
            .route("/api/v1/receive", take)
            .route("/api/v1/status/sink", get(status).with_state(self.clone()))
            .route("/-/healthy", get(|| async { "healthy\n" }))
            .route("/-/ready", get(|| async { "ready\n" }))
    }

    pub fn behaviour(&self) -> Behaviour {
        self.0.faults.get()
    }

    pub fn behave(&self, behaviour: Behaviour) {
        self.0.faults.set(behaviour);
    }

    /// Calls `look` with the window.
    pub fn look<T>(&self, look: impl FnOnce(&Window) -> T) -> T {
        look(&self.book().window)
    }

    pub fn requests(&self) -> Requests {
        self.book().requests
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // A panic elsewhere must not break the page. A counter may be off by one then.
        self.0.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Deserialize)]
struct Search {
    /// Only series whose text contains this are returned.
    #[serde(default)]
    search: String,
}

/// A series in the status.
#[derive(Debug, Serialize)]
struct Listed {
    series: String,
    /// Milliseconds since 1970.
    timestamp: i64,
    /// Text, because JSON has no infinities.
    value: String,
    arrived: u64,
}

async fn status(State(sink): State<Sink>, Query(search): Query<Search>) -> axum::Json<serde_json::Value> {
    let behaviour = sink.behaviour();
    let book = sink.book();
    let listed: Vec<Listed> = book
        .window
        .recent(&search.search, SERIES_LISTED_MAX)
        .into_iter()
        .filter_map(|(series, kept)| {
            let newest = kept.points.back()?;
            let value = if model::is_stale(newest.value) { "stale".into() } else { newest.value.to_string() };
            Some(Listed { series, timestamp: newest.timestamp, value, arrived: kept.arrived })
        })
        .collect();
    let counts = book.window.counts();
    axum::Json(serde_json::json!({
        "requests": book.requests,
        "recent": book.recent,
        "behaviour": behaviour,
        "samples": counts.samples,
        "histograms": counts.histograms,
        "exemplars": counts.exemplars,
        "repeated": counts.repeated,
        "out_of_order": counts.out_of_order,
        "series": book.window.len(),
        "series_let_go": counts.series_evicted,
        "window_bytes": book.window.bytes(),
        "listed": listed,
    }))
}
