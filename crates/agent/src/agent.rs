//! The agent: log, inputs, destinations and collection put together. `run` and `demo` both start one.

use crate::config::{Collect, Config, Log, default_max_size};
use crate::host;
use crate::listeners::Listeners;
use crate::routes::Watch;
use crate::status::About;
use crate::status::monitor::Monitor;
use crate::telemetry::{Outlet, Outlets, Telemetry};
use axum::Router;
use collect::HostOptions;
use command::data_dir::{DataDir, DataDirError};
use http_server::Routes;
use http_server::security::Security;
use model::size::Human;
use model::{Clock, SystemClock};
use page::Mode;
use receive::Doors;
use remote::disk::claims::Removed;
use remote::{Base, Changes, Destination, Destinations};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use storage::Storage;
use supervisor::Task;
use tokio::task::JoinHandle;

#[derive(Debug)]
pub struct Settings {
    /// The configuration from the file or the command line.
    pub config: Config,
    pub data: PathBuf,
    /// The label `job` of this machine's metrics.
    pub job: String,
    /// The label `instance`.
    pub instance: String,
}

/// Why an agent could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder can't be used.
    #[error(transparent)]
    Data(#[from] DataDirError),
    /// The log can't be opened.
    #[error("the log in {} can't be opened: {source}", dir.display())]
    Log { dir: PathBuf, source: storage::OpenError },
    /// The HTTP inputs can't be opened.
    #[error("the doors can't be opened: {0}")]
    Doors(#[from] receive::OpenError),
    /// A destination can't be started.
    #[error(transparent)]
    Destination(#[from] remote::StartError),
    /// The sockets of an input can't be opened.
    #[error(transparent)]
    Listener(#[from] intake::BindError),
}

/// Why a reload failed. The agent keeps its current configuration.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// A destination can't be started.
    #[error(transparent)]
    Destination(#[from] remote::StartError),
    /// The options of the HTTP inputs are wrong.
    #[error("receive: {0}")]
    Doors(#[from] receive::OptionsError),
    /// The sockets of an input can't be opened.
    #[error(transparent)]
    Listener(#[from] intake::BindError),
}

/// The keys of the log's settings that differ between two configurations and that only a restart can change.
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

#[derive(Debug)]
pub struct Agent {
    storage: Storage,
    destinations: Destinations,
    doors: Doors,
    listeners: Listeners,
    telemetry: Arc<Telemetry>,
    monitor: Arc<Monitor>,
    watching: JoinHandle<()>,
    about: Arc<About>,
    clock: Arc<dyn Clock>,
    /// The settings of the collection; `None` if nothing is collected.
    collecting: Option<host::Settings>,
    measuring: Option<JoinHandle<()>>,
    job: String,
    began: wal::Position,
    /// Held until the end, so that no other process uses the data folder.
    _data: DataDir,
}

impl Agent {
    /// Starts all parts except the collection of metrics: see [`Agent::measure`].
    pub async fn start(settings: Settings) -> Result<Agent, StartError> {
        Self::start_by(settings, Arc::new(SystemClock::new())).await
    }

    /// Like [`Agent::start`], with another clock.
    pub async fn start_by(settings: Settings, clock: Arc<dyn Clock>) -> Result<Agent, StartError> {
        let Settings { config, data, job, instance } = settings;
        let mut listeners = Listeners::default();
        // Opened first, so that a port that is in use is reported before anything is changed.
        let sockets = listeners.prepare(config.listeners)?;
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
        // Each destination has pinned the segments that it still needs; now the others may be deleted.
        storage.begin_truncating();
        let doors = Doors::open(storage.clone(), clock.clone(), config.receive).await?;
        listeners.apply(sockets, doors.intake()).await?;
        let outlets = outlets(&destinations);
        let telemetry = Arc::new(Telemetry::new(storage.clone(), outlets, doors.clone(), about.started_ms));
        let about = Arc::new(about);
        let monitor = Monitor::open(telemetry.clone(), about.clone(), clock.clone(), &*fs, data.path());
        let monitor = Arc::new(monitor);
        let watched = monitor.clone();
        let watch = supervisor::supervise(Task::only("status"), move || watched.clone().run());
        let watching = tokio::spawn(watch);
        let collecting = measurement(config.collect, &job, &instance);
        Ok(Agent {
            storage,
            destinations,
            doors,
            listeners,
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

    /// Starts to collect the metrics that the configuration names.
    pub fn measure(&mut self) {
        if let Some(settings) = self.collecting.clone() {
            let input = self.doors.intake().input(host::INPUT);
            let (telemetry, clock) = (self.telemetry.clone(), self.clock.clone());
            let run = move || host::run(settings.clone(), input.clone(), telemetry.clone(), clock.clone());
            self.measuring = Some(tokio::spawn(supervisor::supervise(Task::only(host::INPUT), run)));
        }
    }

    async fn stop_measuring(&mut self) {
        if let Some(measuring) = self.measuring.take() {
            measuring.abort();
            let _ = measuring.await;
            self.telemetry.set_collectors_failing(Vec::new());
        }
    }

    /// Changes to another configuration: destinations, external labels, inputs and collection. After an error
    /// everything is as it was before. Settings that [`needs_restart`] names are not changed.
    pub async fn reload(&mut self, config: Config) -> Result<Changes, ReloadError> {
        config.receive.check()?;
        let sockets = self.listeners.prepare(config.listeners)?;
        let labels: Vec<(String, String)> = config.external_labels.into_iter().collect();
        let inputs = self.listeners.current();
        // Before the destinations are reloaded, since an address may turn out to be in use.
        self.listeners.apply(sockets, self.doors.intake()).await?;
        let changes = self.destinations.reload(config.destinations, &labels, config.max_in_memory).await;
        // Also after a failed reload: the destinations that were started again have new counters.
        self.show_destinations();
        if changes.is_err() {
            self.listeners.restore(inputs, self.doors.intake()).await;
        }
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

    /// Deletes what was kept of destinations that were removed long ago. To be called from time to time.
    pub fn tidy(&mut self) {
        self.destinations.tidy();
        self.show_destinations();
    }

    fn show_destinations(&self) {
        // Read the last values of the counters of the removed destinations.
        self.monitor.observe();
        self.telemetry.set_outlets(outlets(&self.destinations));
    }

    /// For each removed destination its name and a sentence about its saved position.
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

    /// The agent's own metrics.
    pub fn telemetry(&self) -> &Arc<Telemetry> {
        &self.telemetry
    }

    /// The log's end when it was opened. Everything that this run acknowledges comes after it.
    pub fn began(&self) -> wal::Position {
        self.began
    }

    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    pub fn doors(&self) -> &Doors {
        &self.doors
    }

    /// Facts that do not change while the agent runs.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// The parts that the status is made of.
    pub fn watch(&self) -> Watch {
        Watch {
            about: self.about.clone(),
            telemetry: self.telemetry.clone(),
            monitor: self.monitor.clone(),
            doors: self.doors.clone(),
            clock: self.clock.clone(),
        }
    }

    /// The router for all paths of the agent and for `more`: see `Watch::router`.
    pub fn router(&self, mode: Mode, more: Routes, security: &Security) -> Router {
        self.watch().router(mode, more, security)
    }

    /// Waits until no request is being handled, for at most `at_most`.
    pub async fn end_of_requests(&self, at_most: Duration) {
        let ended = async {
            while self.doors.intake().requests() > 0 {
                tokio::time::sleep(REQUESTS_LOOK).await;
            }
        };
        let _ = tokio::time::timeout(at_most, ended).await;
    }

    /// Stops the inputs and the collection, then the destinations, then the log. The destinations send what
    /// is left until `deadline`, and save their positions. Logs each destination that had more to send.
    pub async fn stop(mut self, deadline: Duration) {
        self.listeners.stop().await;
        self.stop_measuring().await;
        // Samples that are not delivered stay in the log for the next start: stopping releases no pin.
        let ends = self.destinations.into_all().into_iter().map(|destination| end(destination, deadline));
        futures_util::future::join_all(ends).await;
        self.watching.abort();
        // Read the counters of the last second.
        self.monitor.observe();
        let (storage, monitor) = (self.storage.clone(), self.monitor.clone());
        // This waits for the disk, so it runs on a blocking thread.
        let closing = tokio::task::spawn_blocking(move || {
            monitor.save();
            storage.close();
        });
        if closing.await.is_err() {
            tracing::error!("closing the log ended unexpectedly");
        }
    }
}

/// How often [`Agent::end_of_requests`] checks whether requests are being handled.
const REQUESTS_LOOK: Duration = Duration::from_millis(10);
const DAY_MS: i64 = 86_400_000;

async fn end(destination: Destination, deadline: Duration) {
    let url = destination.url_redacted();
    let report = destination.shutdown(deadline).await;
    if !report.complete {
        logging::warn(format_args!(
            "not all samples were sent to {url} in time; the rest is in the log and is sent after the next start"
        ));
    }
    if !report.positions_saved {
        logging::warn(format_args!(
            "the position of {url} could not be saved; some samples are sent again after the next start"
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

fn log_options(log: &Log, data: &DataDir) -> storage::Options {
    let mut options = storage::Options::new(data.path());
    // If the size of the file system can't be read, the budget is the fixed upper limit.
    let total = data.file_system_bytes().unwrap_or(u64::MAX);
    let budget = log.max_size.map_or_else(|| default_max_size(total), |size| size.of(total));
    options.max_size = budget.max(storage::Options::MIN_SIZE);
    options.max_age = log.max_age;
    options.when_full = log.when_full;
    options.durability = log.durability;
    options.compression = log.compression;
    options
}
