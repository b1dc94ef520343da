//! `narthex demo`: an agent and a sink in one process, which speak HTTP over loopback, and a page that shows
//! both and the samples in flight between them.
//!
//! Start at [`run`]. [`charts`] makes the charts of the page from the samples that arrived; [`ledger`] counts
//! lost samples.

mod args;
pub mod charts;
pub mod ledger;

pub use args::DemoArgs;

use agent::routes::Watch;
use agent::status::Status;
use agent::{Agent, Config, Settings, announce, essential};
use axum::Router;
use axum::extract::{Query, State};
use axum::routing::get;
use charts::{Chart, Line, Material, Mount, Pushed};
use command::signals::Signals;
use command::{Failure, hostname, listen_address};
use http_server::guard::{Guard, guard};
use http_server::security::{Security, check_exposure};
use http_server::{Listening, Routes};
use ledger::{Balance, Ledger};
use page::Mode;
use remote::Url;
use remote::config::RemoteWrite;
use serde::{Deserialize, Serialize};
use sink::{Accept, Behaviour, Sink, WindowLimits};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use storage::Storage;

/// The interval of collections.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long a sample may wait for a request to fill up. It is short, so that a push is visible within a
/// second.
const SEND_DEADLINE: Duration = Duration::from_millis(200);
/// The longest pause between tries, so that the agent soon notices that the sink is back.
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// How often pushed groups are sent again.
const GROUP_INTERVAL: Duration = Duration::from_secs(5);
const LOG_BYTES_MAX: u64 = 1 << 30;
/// The most time for sending at the end.
const FLUSH_DEADLINE: Duration = Duration::from_secs(2);
/// The length of the chart of samples in flight, in seconds.
const HISTORY_MAX: usize = 300;
/// The points of a series that the sink keeps: one for each second of the charts, and some more.
const WINDOW_POINTS: usize = 320;

/// The parts that the page's handlers read.
#[derive(Debug, Clone)]
struct Stage {
    watch: Watch,
    sink: Sink,
    ledger: Arc<Ledger>,
    history: Arc<Mutex<VecDeque<charts::Dot>>>,
}

/// Runs until a signal.
pub async fn run(args: DemoArgs) -> Result<(), Failure> {
    if let Some(address) = args.listen {
        check_exposure(address, args.allow_unauthenticated).map_err(Failure::usage)?;
    }
    let mut signals = Signals::listen().map_err(Failure::running)?;
    let listening = listen(args.listen)?;
    let temporary = match &args.data {
        Some(_) => None,
        None => Some(temporary_folder()?),
    };
    let folder = temporary.as_ref().map(|folder| folder.path().to_path_buf());
    let data = args.data.or_else(|| folder.clone()).unwrap_or_default();

    let ledger = Arc::new(Ledger::default());
    let arrivals = ledger.clone();
    let limits = WindowLimits { points_per_series: WINDOW_POINTS, ..WindowLimits::DEFAULT };
    let observer = Box::new(move |batch: &model::Batch| arrivals.arrived(batch));
    let sink = Sink::new(limits, Accept::Both, Behaviour::default(), Some(observer));
    let sink_guard = Guard::new(&hostname(), &Security::open());
    let sink_router = sink.router().layer(axum::middleware::from_fn_with_state(sink_guard, guard));
    let sink_server = sink::Server::start(sink_router)
        .map_err(|error| Failure::running(format!("the sink can't listen on loopback: {error}")))?;

    let config = config(sink_server.address())?;
    let settings = Settings { config, data, job: "node".into(), instance: hostname() };
    let mut agent = Agent::start(settings).await.map_err(Failure::running)?;
    let following = tokio::spawn(follow(agent.storage().clone(), agent.began(), ledger.clone()));
    let stage = Stage { watch: agent.watch(), sink: sink.clone(), ledger, history: Arc::default() };
    let remembering = tokio::spawn(remember(stage.clone()));
    let more = Router::new()
        .route("/api/v1/status/demo", get(status))
        .with_state(stage)
        .merge(sink::control(&sink, Some(sink_server.presence())));
    let more = Routes::default().merge_unlisted(more);
    let mut server = listening.serve(agent.router(Mode::Demo, more, &Security::open()));
    let address = server.address();
    logging::info(format_args!("listening on http://{address} (pushes, own metrics, page)"));
    logging::info(format_args!(
        "sink on http://{}, log in {}",
        sink_server.address(),
        agent.about().data.display()
    ));
    agent.measure();
    let announcing = announce::spawn(agent.telemetry().clone());
    logging::info(format_args!("open http://{address}/"));

    let (storage, doors) = (agent.storage().clone(), agent.doors().clone());
    let signal = tokio::select! {
        signal = signals.next() => signal,
        part = essential::ended(&storage, &doors, &mut server, None) => {
            return Err(Failure::running(format_args!("{part} has ended unexpectedly, by a mistake in narthex")));
        }
    };
    drop((storage, doors));
    signals.end_at_next(folder);
    logging::info(format_args!("{signal}: ending"));
    server.stop().await;
    agent.stop(FLUSH_DEADLINE).await;
    for task in [following, remembering, announcing] {
        task.abort();
    }
    sink_server.stop().await;
    drop(temporary);
    Ok(())
}

/// Listens at the requested address, or else at the default one, or at another port if that one is in use.
fn listen(asked: Option<SocketAddr>) -> Result<Listening, Failure> {
    if let Some(address) = asked {
        return Listening::on(address).map_err(Failure::running);
    }
    let default: SocketAddr = listen_address::DEFAULT.parse().map_err(Failure::running)?;
    match Listening::on(default) {
        Err(error) if error.is_taken() => {
            logging::info(format_args!("{default} is already in use, so this listens on another port"));
            Listening::on(SocketAddr::new(default.ip(), 0)).map_err(Failure::running)
        }
        listening => listening.map_err(Failure::running),
    }
}

fn temporary_folder() -> Result<tempfile::TempDir, Failure> {
    tempfile::Builder::new().prefix("narthex-demo-").tempdir().map_err(|error| {
        let system = std::env::temp_dir();
        Failure::running(format!(
            "no folder can be made in {}: {error}; give one by --data",
            system.display()
        ))
    })
}

fn config(sink: SocketAddr) -> Result<Config, Failure> {
    let url = Url::parse_short(&format!("http://{sink}")).map_err(Failure::running)?;
    let mut destination = RemoteWrite::to(url);
    destination.name = Some("sink".into());
    destination.queue_config.batch_send_deadline = SEND_DEADLINE;
    destination.queue_config.max_backoff = BACKOFF_MAX;
    let mut config = Config { destinations: vec![destination], ..Config::default() };
    config.log.max_size = Some(model::size::Size::Bytes(LOG_BYTES_MAX));
    config.collect.interval = INTERVAL;
    config.receive.pushgateway.groups.interval = GROUP_INTERVAL;
    Ok(config)
}

/// Enters everything that the log acknowledges after it was opened.
async fn follow(storage: Storage, from: wal::Position, ledger: Arc<Ledger>) {
    let mut follower = storage.follow(from);
    loop {
        match follower.next().await {
            Ok(chunk) => ledger.acknowledged(&chunk.batch, chunk.first_point_from(from)),
            Err(storage::ReadError::Closed) => return,
            Err(error) => {
                tracing::error!(%error, "the ledger can't read the log; trying again");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// Records the number of samples in flight once a second.
async fn remember(stage: Stage) {
    let mut second = tokio::time::interval(Duration::from_secs(1));
    loop {
        second.tick().await;
        let point = (stage.watch.now_ms(), stage.ledger.balance().under_way as f64);
        let mut history = stage.history.lock().unwrap_or_else(PoisonError::into_inner);
        if history.len() >= HISTORY_MAX {
            history.pop_front();
        }
        history.push_back(point);
    }
}

#[derive(Debug, Deserialize)]
struct Since {
    /// Only points after this time are returned, in milliseconds since 1970.
    #[serde(default)]
    since: i64,
}

/// The answer of `GET /api/v1/status/demo`.
#[derive(Debug, Serialize)]
struct DemoStatus {
    /// The answer of `GET /api/v1/status/remote_write`.
    way: Status,
    interval_seconds: f64,
    /// The counts of acknowledged and arrived samples.
    ledger: Balance,
    behaviour: Behaviour,
    requests: sink::Requests,
    charts: Vec<Chart>,
    mounts: Vec<Mount>,
    pushed: Vec<Pushed>,
}

async fn status(State(stage): State<Stage>, Query(Since { since }): Query<Since>) -> axum::Json<DemoStatus> {
    let (mut charts, mounts, pushed) = stage.sink.look(|window| {
        let material = Material::find(window);
        (material.charts(since), material.mounts(), charts::pushed(window))
    });
    let points = stage.history.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
    charts.insert(
        0,
        Chart {
            title: "On the way",
            unit: "samples",
            max: None,
            stacked: false,
            lines: vec![Line { name: "acknowledged, not at the sink yet", points }],
        },
    );
    axum::Json(DemoStatus {
        way: stage.watch.status(),
        interval_seconds: INTERVAL.as_secs_f64(),
        ledger: stage.ledger.balance(),
        behaviour: stage.sink.behaviour(),
        requests: stage.sink.requests(),
        charts,
        mounts,
        pushed,
    })
}
