//! InfluxDB's line protocol: over HTTP below `/influx`, also at InfluxDB's own paths if `influx.at_root` is set, and over
//! UDP if `influx.listen_udp` is.
//!
//! | path | what |
//! | --- | --- |
//! | `POST /influx/write`, `/influx/api/v2/write`, `/influx/api/v3/write_lp` | points (`write.rs`) |
//! | `GET`, `POST /influx/query` | what clients ask at their start (`query.rs`) |
//! | `GET /influx/ping`, `/influx/health`, `/influx/ready` | whether narthex is there, without credentials (`probes.rs`) |
//! | UDP at `influx.listen_udp` | lines in datagrams (`udp.rs`) |
//!
//! # What it promises
//!
//! - **A 204 means that all points are in the log, and synced.** If only some lines are invalid, the others are kept, and
//!   the answer is InfluxDB's 400 with `partial write`, which clients do not repeat.
//! - **"Later" is 503, never 429 or 408**: Telegraf drops what is answered with any 4xx.
//! - **Answers are JSON**, also those of the layers around the input ([`dialect`]): Telegraf shows no other text.

mod answer;
pub mod dialect;
mod probes;
mod query;
mod udp;
mod write;

pub use influx::{Precision, ValueField};
pub use udp::{InfluxUdp, UDP};
pub use write::PART_BYTES;

use crate::Doors;
use axum::extract::{Request, State};
use http::StatusCode;
use http_server::{Route, Routes};
use influx::LeftOut;
use intake::{ByName, Input};

/// The section, and the name of the HTTP input.
pub const NAME: &str = "influx";
/// Below it are the paths that there are always.
const PREFIX: &str = "/influx";
/// What narthex says of itself where clients ask for a version: the last InfluxDB with all of these interfaces but that
/// of 3.
const VERSION: &str = "1.8.10";
/// `X-Influxdb-Build`.
const BUILD: &str = concat!("narthex-", env!("CARGO_PKG_VERSION"));

/// The settings of the input.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Serve InfluxDB's own paths, too.
    pub at_root: bool,
    /// The unit of timestamps in requests that do not say one, and in datagrams.
    pub precision: Precision,
    /// What a series is called whose field is `value`.
    pub value_field: ValueField,
    /// The label for the database or bucket, if any.
    pub db_label: Option<String>,
}

/// The interfaces of InfluxDB's major versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Api {
    V1,
    V2,
    V3,
}

/// Where points are written: the path below [`PREFIX`], which is InfluxDB's own.
const WRITES: [(Api, Route); 3] = [
    (Api::V1, route("POST", "/influx/write", "InfluxDB's line protocol, as InfluxDB 1 accepts it")),
    (Api::V2, route("POST", "/influx/api/v2/write", "the same, as InfluxDB 2 accepts it")),
    (Api::V3, route("POST", "/influx/api/v3/write_lp", "the same, as InfluxDB 3 accepts it")),
];
const QUERY: Route = route("GET, POST", "/influx/query", "what clients of InfluxDB ask before they write");
/// These tell nothing but whether narthex accepts points, to everybody.
const PING: Route = route("GET, HEAD", "/influx/ping", "whether narthex answers, as InfluxDB 1");
const HEALTH: Route = route("GET", "/influx/health", "whether points are accepted, as InfluxDB 2");
const READY: Route = route("GET", "/influx/ready", "the same in other words");

/// What answers by whatever name narthex is asked: nothing can be learned there.
pub const ANY_HOST_PATHS: [&str; 4] = [QUERY.path, PING.path, HEALTH.path, READY.path];

/// What is left out of points and is no mistake, by the names in the metric.
const LEFT_OUT: [&str; 2] = ["string_field", "repeated_sample"];

pub(crate) fn count_left_out(input: &Input, LeftOut { strings, repeated }: LeftOut) {
    let counter = input.counters().left_out.get_or_init(|| ByName::new(&LEFT_OUT));
    counter.add(0, strings);
    counter.add(1, repeated);
}

const fn route(methods: &'static str, path: &'static str, what: &'static str) -> Route {
    Route { methods, path, what }
}

/// The routes that need credentials where narthex asks for any.
pub(crate) fn routes() -> Routes<Doors> {
    let mut routes = Routes::default();
    for (api, route) in WRITES {
        let write = move |State(doors): State<Doors>, request: Request| async move {
            write::serve(&doors, api, request).await
        };
        routes = routes.add(route, |other| other.post(write).options(|| async { StatusCode::NO_CONTENT }));
    }
    routes.add(QUERY, |other| other.get(query::serve).post(query::serve))
}

/// The routes that need none.
pub(crate) fn open_routes() -> Routes<Doors> {
    Routes::default()
        .add(PING, |other| other.get(probes::ping))
        .add(HEALTH, |other| other.get(probes::health))
        .add(READY, |other| other.get(probes::ready))
}
