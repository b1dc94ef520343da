//! The intake: every input passes its samples to the log through it.
//!
//! ```text
//!  input ─► admit ─► reserve memory ─► decode (the input) ─► relabel ─► time bounds ─► limits on series
//!                                                                        ─► append and commit ─► count
//! ```
//!
//! # What the crate promises
//!
//! - **Kept means on disk.** [`Admission::append`] returns after the commit. Its [`Outcome`] has the points that were
//!   kept and those that were rejected, with the reason.
//! - **One bad sample costs one sample.** A sample that is out of bounds is left out and counted; the rest is appended.
//! - **One memory budget** limits the bodies, the decoded batches, and the batches that wait for the log, of all inputs
//!   together ([`Settings::memory_bytes`]).
//! - **One snapshot of the settings** is valid for a request from its beginning to its end.
//!
//! # Where to start
//!
//! All inputs share one [`Intake`]. Each input has an [`Input`] with its name and counters. A request begins with
//! [`Input::admit`].

mod budget;
mod counters;
mod exposure;
pub mod inherited;
mod intake;
mod kernel_drops;
pub mod known;
mod labels;
mod listener;
mod listener_counters;
mod refusal;
mod refused_metrics;
mod rules;
pub mod series_limit;
mod settings;
mod time;

pub use budget::{Budget, Share};
pub use counters::{Counters, InputCounters, LAST_ANSWER_BYTES, Number, RefusedReason};
pub use exposure::{Exposed, Exposure};
pub use inherited::InheritedSockets;
pub use intake::{Admission, Input, Intake, Outcome};
pub use kernel_drops::KernelDrops;
pub use known::{KNOWN_SET_BYTES, ParseLines};
pub use listener::{BindError, Bound, Endpoint, Listener, Running, Stop, Stopper};
pub use listener_counters::{ByName, ListenerCounters, OpenConnection, Protocol, State};
pub use refusal::Refusal;
pub use refused_metrics::{REFUSED_METRICS_MAX, RefusedMetrics};
pub use rules::MADE_LABELS_BYTES;
pub use settings::{InputSettings, KNOWN_SERIES_BYTES, Settings, SettingsError};
pub use time::TimeBounds;
