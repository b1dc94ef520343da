//! The agent: log, destinations, doors and measuring, put together. `run` and `demo` both are one.

use crate::config::size::Human;
use crate::config::{Collect, Config, Log, default_max_size};
use crate::data_dir::{DataDir, DataDirError};
use crate::guard::{Guard, guard};
use crate::host;
use crate::page::{Mode, page};
use crate::say::say;
use crate::security::Security;
use crate::status::groups::{Ask, Groups};
use crate::status::hold::Summary;
use crate::status::monitor::Monitor;
use crate::status::ready::{InputFacts, why_not_ready};
use crate::status::{About, Status};
use crate::telemetry::{Outlet, Outlets, Telemetry};
use axum::Router;
use axum::extract::{Query, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use collect::HostOptions;
use http::{StatusCode, header};
use model::{Clock, SystemClock};
use receive::Doors;
use remote::disk::claims::Removed;
use remote::{Base, Changes, Destination, Destinations, State as Delivery};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use storage::Storage;
use tokio::task::JoinHandle;

/// What an agent is made of.
#[derive(Debug)]
pub struct Settings {
    /// From the file or the command line.
    pub config: Config,
    /// The data folder.
    pub data: PathBuf,
    /// The label `job` of this machine's metrics.
    pub job: String,
    /// The label `instance`.
    pub instance: String,
}

/// Why an agent could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder.
    #[error(transparent)]
    Data(#[from] DataDirError),
    /// The log.
    #[error("the log in {} can't be opened: {source}", dir.display())]
    Log {
        /// The data folder.
        dir: PathBuf,
        /// Why.
        source: storage::OpenError,
    },
    /// The doors.
    #[error("the doors can't be opened: {0}")]
    Doors(#[from] receive::OpenError),
    /// A destination.
    #[error(transparent)]
    Destination(#[from] remote::StartError),
}

/// Why an agent goes on with the configuration that it has.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// A destination.
    #[error(transparent)]
    Destination(#[from] remote::StartError),
    /// The doors.
    #[error("receive: {0}")]
    Doors(#[from] receive::OptionsError),
}

/// What differs between two configurations of the log and can't be changed while it runs, as keys.
pub fn needs_restart(old: &Log, new: &Log) -> Vec<&'static str> {
    let differs = [
        ("log.max_size", old.max_size != new.max_size),
        ("log.max_age", old.max_age != new.max_age),
        ("log.when_full", old.when_full != new.when_full),
        ("log.durability", old.durability != new.durability),
        ("log.compression", old.compression != new.compression),
    ];
    differs.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
}

/// A running agent.
#[derive(Debug)]
pub struct Agent {
    storage: Storage,
    destinations: Destinations,
    doors: Doors,
    telemetry: Arc<Telemetry>,
    monitor: Arc<Monitor>,
    watching: JoinHandle<()>,
    about: Arc<About>,
    clock: Arc<dyn Clock>,
    /// What to measure; nothing where absent.
    collecting: Option<host::Settings>,
    measuring: Option<JoinHandle<()>>,
    job: String,
    began: wal::Position,
    /// Held until the end: the folder is ours.
    _data: DataDir,
}

impl Agent {
    /// Starts all parts, but does not measure yet: see [`Agent::measure`].
    pub async fn start(settings: Settings) -> Result<Agent, StartError> {
        Self::start_by(settings, Arc::new(SystemClock::new())).await
    }

    /// The same with another clock.
    pub async fn start_by(settings: Settings, clock: Arc<dyn Clock>) -> Result<Agent, StartError> {
        let Settings { config, data, job, instance } = settings;
        let data = DataDir::open(&data)?;
        let options = log_options(&config.log, &data);
        let about = About {
            instance: instance.clone(),
            data: data.path().to_path_buf(),
            started_ms: clock.now_ms(),
            max_bytes: options.max_size,
            durability: match config.log.durability {
                wal::Durability::Fsync => "fsync",
                wal::Durability::Os => "os",
            },
        };
        let fs: Arc<dyn wal::Filesystem> = Arc::new(wal::RealFilesystem);
        let (storage, opened) = Storage::open(fs.clone(), clock.clone(), options)
            .map_err(|source| StartError::Log { dir: data.path().to_path_buf(), source })?;
        let labels: Vec<(String, String)> = config.external_labels.into_iter().collect();
        let base = Base {
            storage: storage.clone(),
            fs: fs.clone(),
            clock: clock.clone(),
            data_dir: data.path().to_path_buf(),
        };
        let destinations = Destinations::start(config.destinations, &labels, config.max_in_memory, base)?;
        // Each destination has pinned what it still wants; only now may the rest go.
        storage.begin_truncating();
        let doors = Doors::open(storage.clone(), clock.clone(), config.receive).await?;
        let outlets = outlets(&destinations);
        let telemetry = Arc::new(Telemetry::new(storage.clone(), outlets, doors.clone(), about.started_ms));
        let about = Arc::new(about);
        let monitor = Monitor::open(telemetry.clone(), about.clone(), clock.clone(), &*fs, data.path());
        let monitor = Arc::new(monitor);
        let watching = tokio::spawn(monitor.clone().run());
        let collecting = measurement(config.collect, &job, &instance);
        Ok(Agent {
            storage,
            destinations,
            doors,
            telemetry,
            monitor,
            watching,
            about,
            clock,
            collecting,
            measuring: None,
            job,
            began: opened.end,
            _data: data,
        })
    }

    /// Starts to measure what the configuration says.
    pub fn measure(&mut self) {
        if let Some(settings) = self.collecting.clone() {
            let run = host::run(settings, self.storage.clone(), self.telemetry.clone(), self.clock.clone());
            self.measuring = Some(tokio::spawn(run));
        }
    }

    async fn stop_measuring(&mut self) {
        if let Some(measuring) = self.measuring.take() {
            measuring.abort();
            let _ = measuring.await;
            self.telemetry.set_collectors_failing(Vec::new());
        }
    }

    /// Goes over to another configuration: destinations, external labels, doors, and what is measured. On an
    /// error all is as it was before. What [`needs_restart`] names is left alone.
    pub async fn reload(&mut self, config: Config) -> Result<Changes, ReloadError> {
        config.receive.check()?;
        let labels: Vec<(String, String)> = config.external_labels.into_iter().collect();
        let changes = self.destinations.reload(config.destinations, &labels, config.max_in_memory).await;
        // Also where that failed: those that are there again may be others.
        self.show_destinations();
        let changes = changes?;
        if *self.doors.options() != config.receive {
            self.doors.set_options(config.receive).await?;
        }
        let collecting = measurement(config.collect, &self.job, &self.about.instance);
        if collecting != self.collecting {
            self.collecting = collecting;
            self.stop_measuring().await;
            self.measure();
        }
        Ok(changes)
    }

    /// Deletes what was kept of destinations that were removed long ago; to be called now and then.
    pub fn tidy(&mut self) {
        self.destinations.tidy();
        self.show_destinations();
    }

    fn show_destinations(&self) {
        // What the ones that are gone have counted last.
        self.monitor.observe();
        self.telemetry.set_outlets(outlets(&self.destinations));
    }

    /// For each destination that the configuration has no more: its name, and what becomes of its position.
    pub fn removed(&self) -> Vec<(String, String)> {
        let removed = self.destinations.removed();
        let positions: Vec<_> = removed.iter().map(|removed| removed.lowest).collect();
        let sentence = |(removed, behind): (&Removed, u64)| {
            let days = (removed.until_ms() - self.now_ms() + DAY_MS - 1) / DAY_MS;
            let (name, behind) = (&removed.name, Human(behind));
            let sentence = format!(
                "{name} was removed, {behind} of the log behind; its position is kept for {days} days, the log is not"
            );
            (removed.name.clone(), sentence)
        };
        removed.iter().zip(self.storage.bytes_from(&positions)).map(sentence).collect()
    }

    /// Milliseconds since 1970.
    pub fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// What it tells of itself.
    pub fn telemetry(&self) -> &Arc<Telemetry> {
        &self.telemetry
    }

    /// The log's end when it was opened: all that this run acknowledges comes after it.
    pub fn began(&self) -> wal::Position {
        self.began
    }

    /// The log.
    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    /// Where things are.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// What its status is made of.
    pub fn watch(&self) -> Watch {
        Watch {
            about: self.about.clone(),
            telemetry: self.telemetry.clone(),
            monitor: self.monitor.clone(),
            doors: self.doors.clone(),
            clock: self.clock.clone(),
        }
    }

    /// All that it serves; `more` is added. Everything is behind the guard, and all but what tells that
    /// it lives is for those only whom `security` lets in.
    pub fn router(&self, mode: Mode, more: Router, security: &Security) -> Router {
        let watch = self.watch();
        let inside = Router::new()
            .route("/", get(move || async move { page(mode) }))
            .route("/metrics", get(metrics))
            .route("/api/v1/status/summary", get(summary))
            .route("/api/v1/status/remote_write", get(status))
            .route("/api/v1/status/groups", get(groups))
            .with_state(watch.clone())
            .merge(self.doors.router())
            .merge(more)
            .fallback(|| async { (StatusCode::NOT_FOUND, NOT_FOUND) });
        let router = security
            .protect(inside)
            .layer(axum::middleware::from_fn_with_state(self.doors.clone(), count_unauthorized))
            .route("/-/healthy", get(|| async { "healthy\n" }))
            .route("/-/ready", get(ready).with_state(watch))
            .layer(axum::middleware::from_fn_with_state(Guard::new(&hostname(), security), guard));
        security.decorate(router)
    }

    /// Waits until no push is under way, at most this long.
    pub async fn end_of_requests(&self, at_most: Duration) {
        let ended = async {
            while self.doors.requests() > 0 {
                tokio::time::sleep(REQUESTS_LOOK).await;
            }
        };
        let _ = tokio::time::timeout(at_most, ended).await;
    }

    /// Ends: measuring first, then the destinations, which send what is left until `deadline` and save
    /// their positions, then the log. Says for each destination that had more to send.
    pub async fn stop(mut self, deadline: Duration) {
        self.stop_measuring().await;
        // What they have not delivered stays in the log for the next start: ending releases no pin.
        let ends = self.destinations.into_all().into_iter().map(|destination| end(destination, deadline));
        futures_util::future::join_all(ends).await;
        self.watching.abort();
        // Counts of the last second, too.
        self.monitor.observe();
        let (storage, monitor) = (self.storage.clone(), self.monitor.clone());
        // Waits for the disk, so not on a thread that serves.
        let closing = tokio::task::spawn_blocking(move || {
            monitor.save();
            storage.close();
        });
        if closing.await.is_err() {
            tracing::error!("closing the log ended unexpectedly");
        }
    }
}

/// How often it is looked whether requests are under way.
const REQUESTS_LOOK: Duration = Duration::from_millis(10);
const DAY_MS: i64 = 86_400_000;
/// How long a destination that takes nothing is given at the end: enough for one more try.
const LAST_TRY: Duration = Duration::from_secs(5);

async fn end(destination: Destination, deadline: Duration) {
    let stuck = matches!(destination.stats().state(), Delivery::Waiting { .. } | Delivery::Denied { .. });
    let deadline = if stuck { deadline.min(LAST_TRY) } else { deadline };
    let url = destination.url_redacted();
    let report = destination.shutdown(deadline).await;
    if !report.complete {
        say(format_args!(
            "{url}: not everything was taken in time; the rest is in the log and is sent at the next start"
        ));
    }
    if !report.positions_saved {
        say(format_args!(
            "{url}: its position could not be saved; some samples are sent again at the next start"
        ));
    }
}

fn outlets(destinations: &Destinations) -> Outlets {
    let outlet = |destination: &Destination| Outlet {
        name: destination.name().to_string(),
        url: destination.url_redacted(),
        stats: destination.stats().clone(),
    };
    Outlets { running: destinations.iter().map(outlet).collect(), removed: destinations.removed().to_vec() }
}

fn measurement(collect: Collect, job: &str, instance: &str) -> Option<host::Settings> {
    (collect.own || !collect.host.is_empty()).then(|| host::Settings {
        host: HostOptions { root: collect.root, collectors: collect.host },
        interval: collect.interval,
        own: collect.own,
        job: job.to_string(),
        instance: instance.to_string(),
    })
}

const NOT_FOUND: &str = "not found. There are: / (the page), /metrics, /-/ready, /-/healthy, \
    /api/v1/status/summary, /api/v1/status/remote_write, /api/v1/status/groups, and for pushes: /metrics/job/JOB, /api/v1/write, /api/v1/import/prometheus\n";

fn log_options(log: &Log, data: &DataDir) -> storage::Options {
    let mut options = storage::Options::new(data.path());
    // Where the size of the file system can't be asked for, the fixed bound is the budget.
    let total = data.file_system_bytes().unwrap_or(u64::MAX);
    let budget = log.max_size.map_or_else(|| default_max_size(total), |size| size.of(total));
    options.max_size = budget.max(storage::Options::MIN_SIZE);
    options.max_age = log.max_age;
    options.when_full = log.when_full;
    options.durability = log.durability;
    options.compression = log.compression;
    options
}

/// What handlers look at.
#[derive(Debug, Clone)]
pub struct Watch {
    about: Arc<About>,
    telemetry: Arc<Telemetry>,
    monitor: Arc<Monitor>,
    doors: Doors,
    clock: Arc<dyn Clock>,
}

impl Watch {
    /// Milliseconds since 1970.
    pub fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// The status now.
    pub fn status(&self) -> Status {
        Status::now(&self.about, &self.telemetry, &self.monitor, &*self.clock)
    }

    /// The state in one sentence.
    pub fn summary(&self) -> Summary {
        self.monitor.observe().summary
    }

    /// Why the inputs can't accept; `None` where they can.
    pub fn why_not_ready(&self) -> Option<String> {
        let log = self.telemetry.storage().stats();
        why_not_ready(&InputFacts {
            disk_full: log.disk_full.get() > 0,
            log_full: log.budget_full.get() > 0,
            dead_task: self.telemetry.dead_task(),
        })
    }
}

/// Counts requests without a login, or with a wrong one.
async fn count_unauthorized(State(doors): State<Doors>, request: Request, next: Next) -> Response {
    let only_reads = request.method().is_safe();
    let response = next.run(request).await;
    if response.status() == StatusCode::UNAUTHORIZED {
        doors.stats().unauthorized.add(1);
        doors.stats().pushes_unauthorized.add(u64::from(!only_reads));
    }
    response
}

async fn ready(State(watch): State<Watch>) -> Response {
    match watch.why_not_ready() {
        None => "ready\n".into_response(),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

async fn summary(State(watch): State<Watch>) -> axum::Json<Summary> {
    axum::Json(watch.summary())
}

async fn status(State(watch): State<Watch>) -> axum::Json<Status> {
    axum::Json(watch.status())
}

async fn groups(State(watch): State<Watch>, Query(ask): Query<Ask>) -> Response {
    match watch.doors.groups_status().await {
        Ok(all) => axum::Json(Groups::of(all, &ask, watch.clock.now_ms())).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

async fn metrics(State(watch): State<Watch>) -> Response {
    let mut text = formats::text::encode(&watch.telemetry.families());
    match watch.doors.exposition().await {
        Ok(groups) => text.push_str(&groups),
        Err(refusal) => return refusal.into_response(),
    }
    ([(header::CONTENT_TYPE, formats::text::CONTENT_TYPE)], text).into_response()
}

/// This machine's name.
pub fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
