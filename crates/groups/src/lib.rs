//! Groups: metrics that are pushed through the Pushgateway's interface. They are kept and sent again until they end.
//!
//! # What the crate promises
//!
//! - A group is sent when it is pushed and then once in each interval, because a query sees a sample for only five
//!   minutes. The groups are spread over the interval.
//! - Each group has its own clock ([`model::emission_time`]), so that no two values of a series share a millisecond.
//! - A series ends with a staleness marker if a PUT or a POST no longer has it, if it is deleted, or if it expires.
//! - An expired group still sends its two push times until it is removed after `removed_after`.
//! - A push may be added to what the group has ([`add`]), and one with a key is applied once ([`keys`]).
//! - All of this is in a journal that is committed together with the samples.
//!
//! # Where to start
//!
//! [`Groups`] is the handle. Everything except [`task`], the groups' task, is pure. Read [`group`] first, and then
//! [`state`]. [`packed`] has the families of a group in compact form. [`path`] reads the labels of a group from a URL,
//! [`exposition`] writes the page to scrape.

pub mod add;
mod add_buckets;
mod add_histogram;
pub mod ask;
pub mod change;
pub mod consistency;
pub mod emit;
pub mod entry;
mod escaped_names;
mod escaping;
pub mod exposition;
pub mod group;
mod handle;
pub mod keys;
pub mod limits;
mod options;
pub mod packed;
pub mod path;
pub mod pushed;
mod refusal;
pub mod schedule;
pub mod state;
mod stats;
mod status;
pub mod task;
#[cfg(test)]
mod tests;
pub mod types;

pub use escaping::Escaping;
pub use handle::Groups;
pub use options::{Options, OptionsError};
pub use refusal::Refusal;
pub use stats::Stats;
pub use status::{GroupStatus, WARNINGS_MAX};
