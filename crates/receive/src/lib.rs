//! The doors: what is pushed over HTTP comes in here.
//!
//! | path | what |
//! | --- | --- |
//! | `POST /api/v1/write` | remote write 1.0 and 2.0 ([`mod@write`]) |
//! | `PUT`, `POST`, `DELETE /metrics/job/...` | the Pushgateway's interface ([`pushgateway`], [`groups`]) |
//! | `POST /api/v1/import/prometheus` | text and OpenMetrics with timestamps ([`import`]) |
//! | `GET /api/v1/status`, `GET /api/v1/metrics`, `PUT /api/v1/admin/wipe` | the rest of the Pushgateway ([`status`]) |
//!
//! # What they promise
//!
//! - **A 2xx means in the log, and synced.** What was refused in part says so, and the valid rest is kept.
//! - **Everything has a limit** ([`Options`]): bodies as sent and decompressed, the time they may take, the
//!   memory of all of them together, requests at once, groups and their series. Over one of them a sender
//!   gets 4xx, 429 or 503, never silence.
//! - **One place maps faults to answers**: [`answer`].
//!
//! A door knows nothing of destinations: it appends to the [`storage`].
//!
//! # Where to start
//!
//! [`Doors::open`] and [`Doors::router`]; then [`mod@write`] for the shortest way of a request. Pure parts:
//! [`path`] and everything in [`groups`] but its keeper.

pub mod answer;
pub mod auth;
pub mod body;
mod decode;
mod doors;
mod duration;
mod escaped_names;
mod escaping;
mod exposition;
pub mod groups;
pub mod import;
pub mod options;
pub mod path;
pub mod pushgateway;
pub mod stats;
pub mod status;
pub mod web_config;
pub mod write;

pub use doors::{Doors, GroupStatus, IMPORT, OpenError, PUSHGATEWAY, REMOTE_WRITE, WARNINGS_MAX};
pub use escaping::Escaping;
pub use options::{Options, OptionsError, Pushgateway};
pub use stats::Stats;
