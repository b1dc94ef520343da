//! Support for whole-program tests and benchmarks: the real programs that narthex talks to, narthex itself as
//! a process, a browser, and a receiver that fails on request.
//!
//! Start at [`fn@peers`] for the real programs, [`Narthex::start`], [`FakeReceiver::start`] and
//! [`wait_until`]. A test begins like this:
//!
//! ```no_run
//! let Some(peers) = support::peers() else { return };
//! let prometheus = support::Prometheus::start(&peers, support::prometheus::Options::receiver());
//! # let _ = prometheus;
//! ```
//!
//! It promises:
//! - Every process that it starts ends when its value is dropped, and when the test process ends or is killed
//!   ([`process`]).
//! - Ports are on loopback, and are chosen so that no two test processes get the same one.
//! - Waiting is for a condition, with a deadline and a message that shows the last state.
//! - A test that can't run reports `SKIPPED` and the reason. With `NARTHEX_REQUIRE_PEERS`,
//!   `NARTHEX_REQUIRE_CLIENTS`, `NARTHEX_REQUIRE_MOUNT` or `NARTHEX_REQUIRE_BROWSER` set, as in CI, it fails
//!   instead.
//!
//! All functions block, and panic if a test has to fail: this is test code that several crates share.
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
