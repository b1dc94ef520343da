//! What whole-program tests and benchmarks stand on: the real programs that narthex talks to, narthex
//! itself as a process, a browser, and a receiver that fails on command.
//!
//! Where to start: [`fn@peers`] for the real programs, [`Narthex::start`], [`FakeReceiver::start`],
//! [`wait_until`]. A test reads:
//!
//! ```no_run
//! let Some(peers) = support::peers() else { return };
//! let prometheus = support::Prometheus::start(&peers, support::prometheus::Options::receiver());
//! # let _ = prometheus;
//! ```
//!
//! What it promises:
//! - Whatever it starts ends with the value that stands for it, and with the test process, however that
//!   ends ([`process`]).
//! - Ports are the system's choice, on loopback.
//! - Waiting is for conditions, with a deadline and a message that shows what was there instead.
//! - A test that can't run says `SKIPPED` and why; with `NARTHEX_REQUIRE_PEERS`,
//!   `NARTHEX_REQUIRE_CLIENTS`, `NARTHEX_REQUIRE_MOUNT` or `NARTHEX_REQUIRE_BROWSER` set, as in CI, it fails instead.
//!
//! Everything here is blocking and panics where a test has to fail: it is test code that several crates
//! share.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test helper reports; nothing here is part of the program"
)]

pub mod browser;
pub mod clients;
pub mod exporter;
pub mod folder;
pub mod http;
pub mod narthex;
pub mod numbered;
pub mod peers;
pub mod process;
pub mod prometheus;
pub mod pushgateway;
pub mod query;
pub mod receiver;
pub mod target;
pub mod time;
pub mod victoria;
pub mod wait;
pub mod wire;

pub use browser::{Chromium, Page};
pub use clients::Client;
pub use exporter::NodeExporter;
pub use http::Response;
pub use narthex::Narthex;
pub use numbered::{Numbered, Pushed};
pub use peers::{Peers, peers};
pub use process::Process;
pub use prometheus::Prometheus;
pub use pushgateway::Pushgateway;
pub use query::{Labels, Sample};
pub use receiver::{Answer, FakeReceiver};
pub use target::Target;
pub use time::now_ms;
pub use victoria::{VictoriaMetrics, Vmagent};
pub use wait::{SOON, wait_for, wait_until};
