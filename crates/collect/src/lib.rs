//! This machine's own metrics, under node_exporter's names, so that its dashboards and alerts work on
//! what an agent pushes.
//!
//! It promises:
//! - **the same**: names, labels, units, types, help texts and default filters are node_exporter's; the
//!   test `against_node_exporter` compares the two on one machine, and `docs/host-metrics.md` lists what
//!   is missing.
//! - **nothing stops it**: a file that is missing, unreadable or odd costs its own metrics and is told by
//!   `node_scrape_collector_success`; a file system that never answers costs its own sizes.
//! - **bounded**: bytes of a file, devices of a kind, time waited for file systems and threads left
//!   waiting all have limits.
//! - **cheap**: one buffer, no child processes, no regular expressions.
//!
//! Where to start: [`Host`], which runs the collectors; then one of `collectors/`, say `loadavg.rs`.
//! [`stamp`] decides which timestamp a collection may carry when the clock is set, and [`ticker`] when
//! the next one is due; both are pure.

mod collector;
mod collectors;
mod error;
mod host;
mod out;
mod source;
pub mod stamp;
pub mod ticker;

pub use collector::{Collector, CollectorError, CollectorSet};
pub use collectors::STATFS_PATIENCE;
pub use error::CollectError;
pub use host::{Host, HostOptions};
pub use source::{MAX_CPUS, MAX_DEVICES, MAX_FILE_BYTES};
pub use stamp::{Stamp, Stamper};
pub use ticker::Ticker;
