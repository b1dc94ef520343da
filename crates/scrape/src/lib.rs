//! Scraping: narthex asks targets for their pages, as Prometheus does, and appends what they say.
//!
//! ```text
//!  groups of targets ─► targets (relabel_configs) ─► a task each: tick ─► fetch ─► page ─► one batch
//!                                                                          (labels, rules, limits, markers, report)
//! ```
//!
//! # What it promises
//!
//! - **All or nothing.** A scrape is one batch. Nothing of a page that is broken or over a limit is kept: its series
//!   get staleness markers, and `up` is 0.
//! - **Series end.** A series that is not in the next page gets a staleness marker, and so do all series of a target
//!   that is gone. A reload or a restart alone ends nothing.
//! - **A slow target delays itself only.** Ticks that it misses are skipped.
//! - **Never queued.** A scrape that log or memory have no space for is skipped and counted.
//!
//! # Where to start
//!
//! [`Job`] has the settings. [`targets`] makes targets, [`page`] makes batches, [`table`] knows the series of a target,
//! [`schedule`] knows the time; these are pure. [`Scraper`] is the input, which runs the tasks. [`discovery`] finds
//! groups of targets.

pub mod config;
pub mod discovery;
pub mod fetch;
pub mod files;
mod job;
pub mod labels;
pub mod page;
mod pool;
pub mod report;
pub mod schedule;
mod scraper;
pub mod status;
pub mod table;
mod target_loop;
pub mod targets;

pub use job::{Fault, INTERVAL, Job, PAGE_BYTES_MAX, Sampling, TIMEOUT};
pub use pool::DROPPED_MAX;
pub use scraper::{NAME, PARSES_MAX, Scraper, State, view};
