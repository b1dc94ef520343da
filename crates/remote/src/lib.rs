//! Delivery: everything between the log and a destination's answer.
//!
//! ```text
//!            ┌─ positions on disk ◄───────────────────────────────────────┐
//!            ▼                                                            │
//!  log ─► reader ─► outgoing labels ─► stream: queue ─► output ─► answer ─► verdict ─► queue
//!                                      (lanes, shards)
//! ```
//!
//! # What it promises
//!
//! - **What is in the log arrives**, at least once, each series in its order, across restarts and kills.
//!   Samples that were not delivered when narthex ended are sent again from the saved positions.
//! - **One bad sample costs one sample.** A refused request is settled by the receiver's counts, or narrowed
//!   to the samples that are refused ([`queue::narrow`]). If the first single samples are all refused, the
//!   rest of the batch is presumed to be refused, too.
//! - **Nothing is dropped silently.** Samples that are not delivered are counted by reason ([`stats`]).
//! - **Memory is bounded.** Queues hold references into chunks that all destinations share, and stop reading
//!   at their limits on references and bytes.
//!
//! # Where to start
//!
//! [`Destination`] is the handle, and [`Destinations`] are all destinations of a configuration. `delivery`
//! has all decisions of one destination, without I/O: its streams, each with a [`queue`], which is a crate of
//! its own. `worker` is the task around it. [`Verdict`] is what an answer means. ARCHITECTURE.md has the ten
//! rules for a batch that does not get through. [`queue::lanes`] explains the basis of order and positions.
//! In the order in which a sample passes them:
//!
//! - [`members`]: which of an entry's members owns a series;
//! - [`outgoing`]: the labels with which a series is sent;
//! - [`queue`]: what is sent next, and what a verdict means for it;
//! - `output`: the protocol, with [`mod@batch`] for the request and [`client`] for its answer;
//! - [`disk`]: positions, dead letters and parked samples.

mod base;
pub mod batch;
pub mod config;
mod delivery;
mod destination;
mod destinations;
pub mod disk;
pub mod members;
pub mod outgoing;
mod output;
mod pace;
mod plan;
#[cfg(test)]
mod simulation;
pub mod stats;
mod supervise;
mod worker;

pub use base::Base;
pub use config::RemoteWrite;
pub use config::identity::Identity;
pub use delivery::ISOLATED_MAX;
pub use destination::{Destination, Prepared, StartError};
pub use destinations::Destinations;
pub use http_client::{Secret, Url};
pub use plan::Changes;
pub use queue;
pub use refusal::{Refusal, RefusedReason};
pub use stats::{State, Stats};
pub use worker::ShutdownReport;
pub use write_client::Verdict;
pub use write_client::{self as client, refusal};
