//! Accumulators: running totals of series that survive a restart.
//!
//! Programs send changes (a counter went up by 3); receivers want totals. An input keeps them here:
//!
//! ```text
//!  change ─► Totals ─ each interval ─► flush ─┬─ samples of what changed ─► log      one commit:
//!            (in memory)                      └─ the same totals ─► journal          both or neither
//! ```
//!
//! # What it promises
//!
//! - **A total never goes back**, over restarts, kills and failed commits: what a sample in the log shows is in the
//!   journal too, because the log's committer makes them durable together ([`storage::Storage::append_with`]).
//! - **What was not flushed is lost by a kill**, at most one interval. What was flushed is not.
//! - **A request that is answered counts once** ([`Accumulators::commit`]): its changes are durable before the answer, and
//!   undone if their commit fails.
//! - **Start times stay true**: a series that ends and comes back is a new one, with a start of its own.
//! - **It is bounded** ([`Limits`]): over a limit new series are refused and counted by their metric name, known ones
//!   go on. A series without changes for its time to live ends with a staleness marker.
//! - **Changes of known series take no allocation**: the owner keeps a [`Handle`].
//!
//! # Where to start
//!
//! [`Accumulators`] is what an input holds. [`Totals`] has the rules and is pure, as everything but [`Accumulators`] is.

mod accumulators;
mod commit;
mod emit;
mod entry;
mod flush;
#[cfg(test)]
mod history_tests;
mod limits;
mod names;
pub mod native;
mod requests;
mod sum;
mod superseded;
#[cfg(test)]
mod superseded_tests;
mod table;
#[cfg(test)]
mod tests;
mod undo;
mod value;

pub use accumulators::{Accumulators, Settings};
pub use entry::{EntryError, Replay};
pub use flush::{Begin, Flush, REPEAT};
pub use limits::{Limits, Refused, TURNS_MAX};
pub use requests::{REQUEST_AGE_MS, REQUESTS_MAX};
pub use sum::Sum;
pub use table::{Handle, NewSeries, Now, Totals};
pub use value::{BOUNDS_MAX, ChangeError, Kind, Shape, ShapeError, SummaryPart};
