//! From lines of StatsD to running totals. No I/O and no clock.
//!
//! ```text
//!  datagram ─► formats::statsd ─► known series? ─ yes ─► change of a total
//!                                     └─ no ─► tags, mapping, labels ─► open a total ─► remember the bytes
//! ```
//!
//! # What it promises
//!
//! - **A line of a known series takes no allocation** except for sets, whose values are remembered for an interval.
//! - **One bad line affects only itself**, and is counted by its reason ([`Counts`]).
//! - **It is bounded**: known series, sets, summaries and samples with a time of their own each have a limit.
//!
//! # Where to start
//!
//! [`Aggregator::apply`] for lines, [`Aggregator::before_flush`] for what is calculated once an interval.

mod aggregator;
mod counts;
mod options;
mod series;
mod sets;
mod summaries;
#[cfg(test)]
mod tests;

pub use aggregator::{Aggregator, DIRECT_MAX, KEYS_BYTES};
pub use counts::{Counters, Counts, ERRORS, Error, LINES};
pub use options::{Options, Timers};
pub use sets::{EXACT_MAX, SETS_MAX};
pub use summaries::{SUMMARIES_MAX, WINDOWS};
