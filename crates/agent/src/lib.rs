//! The agent that `narthex run` and `narthex demo` start: the log, the inputs, the destinations and the collection of
//! metrics put together, and what the agent tells of itself.
//!
//! It promises:
//! - **A start that says what is wrong before anything is changed**: sockets first, then the data folder, then the log.
//! - **A reload that is all or nothing**: after an error everything is as it was before.
//! - **An end that loses nothing**: inputs first, then the destinations, which send what is left, then the log.
//!
//! Start at [`Agent`]. [`Config`] says what it is asked for, [`routes`] what it serves, [`status`] its state in JSON
//! and in sentences, and [`telemetry`] its own metrics.

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
