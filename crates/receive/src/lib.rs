//! The inputs for what others push: over HTTP (the doors), and Graphite plaintext on a socket of its own.
//!
//! | path | what |
//! | --- | --- |
//! | `POST /api/v1/write` | remote write 1.0 and 2.0 ([`mod@write`]) |
//! | `PUT`, `POST`, `DELETE /metrics/job/...` | the Pushgateway's interface ([`pushgateway`], [`groups`]) |
//! | `POST /api/v1/import/prometheus` | text and OpenMetrics with timestamps ([`import`]) |
//! | `POST /v1/metrics`, `POST /api/v1/otlp/v1/metrics`, gRPC | OTLP ([`otlp_input`]) |
//! | `GET /api/v1/status`, `GET /api/v1/metrics`, `PUT /api/v1/admin/wipe` | the rest of the Pushgateway ([`status`]) |
//! | `POST /influx/write` and others | InfluxDB's line protocol ([`mod@influx`]) |
//! | TCP and UDP at `graphite.listen` | Graphite plaintext ([`graphite`]) |
//! | the sockets of `statsd` | StatsD and DogStatsD ([`mod@statsd`]) |
//!
//! # What they promise
//!
//! - **A 2xx means in the log, and synced.** What was refused in part says so, and the valid rest is kept.
//! - **Everything has a limit** ([`Options`]): bodies as sent and decompressed, the time they may take, the
//!   memory of all of them together, requests at once, groups and their series. Over one of them a sender
//!   gets 4xx, 429 or 503, never silence.
//! - **One place maps faults to answers**: [`answer`].
//!
//! An input knows nothing of destinations: it appends through the [`intake`].
//!
//! # Where to start
//!
//! [`Doors::open`] and [`Doors::router`]; then [`mod@write`] for the shortest way of a request; [`graphite`] for an
//! input with sockets of its own.

pub mod answer;
pub mod body;
mod decode;
mod doors;
mod duration;
pub mod graphite;
mod http_input;
pub mod import;
pub mod influx;
pub mod lines;
pub mod options;
pub mod otlp_input;
pub mod pushgateway;
pub mod statsd;
pub mod status;
pub mod write;

pub use doors::{Denied, Doors, IMPORT, OTLP, OpenError, PUSHGATEWAY, REMOTE_WRITE};
pub use options::{Options, OptionsError, Pushgateway};
