//! The agent that `narthex run` and `narthex demo` start: the log, the inputs, the destinations and the
//! collection of metrics put together, with the agent's own metrics and status.
//!
//! It promises:
//! - **A start that reports errors before anything is changed**: sockets first, then the data folder, then
//!   the log.
//! - **A reload that is all or nothing**: after an error everything is as it was before.
//! - **A stop that loses nothing**: inputs first, then the destinations, which send what is left, then the
//!   log.
//!
//! Start at [`Agent`]. [`Config`] is its configuration. [`routes`] has the paths that it serves, [`status`]
//! its state in JSON and in sentences, and [`telemetry`] its own metrics.

mod agent;
pub mod announce;
pub mod config;
pub mod essential;
pub mod host;
mod listeners;
mod outage;
pub mod routes;
pub mod status;
pub mod telemetry;

pub use agent::{Agent, ReloadError, Settings, StartError, needs_restart};
pub use config::{Collect, Config, Log};
