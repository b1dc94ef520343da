//! This machine's own metrics, under node_exporter's names, so that its dashboards and alerts work with an
//! agent.
//!
//! It promises:
//! - **Compatibility**: names, labels, units, types, help texts and default filters are those of
//!   node_exporter. The test `against_node_exporter` compares the two on one machine, and
//!   `docs/host-metrics.md` lists what is missing.
//! - **Isolated failures**: a file that is missing, unreadable or malformed costs its own metrics only, and
//!   shows in `node_scrape_collector_success`. A file system that never answers costs its own sizes only.
//! - **Limits**: there are limits on the bytes of a file, the devices of a kind, the time that is waited for
//!   file systems, and the threads that wait for them.
//! - **Low cost**: one buffer, no child processes, no regular expressions.
//!
//! Start at [`Host`], which runs the collectors, then read one of `collectors/`, such as `loadavg.rs`.
//! [`stamp`] decides which timestamp a collection may have when the clock is set, and [`ticker`] when the
//! next one is due. Both do no I/O.

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
