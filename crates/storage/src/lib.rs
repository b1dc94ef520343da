//! The storage makes batches durable and passes them on to the queues that deliver them.
//!
//! ```text
//!   inputs ─ append ─► committer ─► log on disk ─ fsync ─► tail in memory ─► followers that keep up
//!                      (registry)        │                                        ▲
//!                                        └────────────── read back ── followers that are behind
//! ```
//!
//! # Guarantees
//!
//! - **[`Storage::append`] returns `Ok` after the samples are on disk.** All waiting batches share one sync.
//! - **A follower gets every committed point once, in order**, from memory or from disk. Positions of points
//!   are the same in both cases ([`wal::Position`]).
//! - **The committer never waits for a follower.** The tail is bounded, and a follower that is behind reads
//!   from disk.
//! - **A segment stays until every pin has passed it**, or until the log's budget is used up. In the latter
//!   case the lost samples are counted for each pin before the segment is deleted. A pin whose owner is gone
//!   still counts.
//! - **I/O errors are retried** for minutes. Corrupt bytes are skipped, counted once, and quarantined.
//! - **The time of a start does not depend on the size of the log**: a start reads only the end that may not
//!   be synced.
//!
//! # Where to start
//!
//! Start with [`Storage`], then read `committer` for how a batch becomes durable, and `follower` for how it
//! is read. The data folder:
//!
//! | path | holds |
//! | --- | --- |
//! | `wal/` | the log, in Prometheus' format |
//! | `meta/` | types, help texts and units of metrics: a journal |
//! | `state` | reserved references, the durable end, segments closed by a failure |
//! | `ages` | how old segments are in running time, where that is limited |
//! | `damaged/` | quarantined files |
//! | `reserve` | zeros; deleted when the disk is full, so that delivery can continue |

mod ages;
mod arrange;
mod arrivals;
mod chunk;
mod committer;
mod damage;
mod error;
mod follower;
mod journal;
mod journals;
mod labels_index;
mod little_endian;
mod log_reader;
pub mod metadata;
mod options;
mod pins;
mod places;
mod recorder;
mod records;
pub mod registry;
mod reserve;
mod retention;
mod shared;
mod state;
pub mod stats;
mod storage;
mod tail;

pub use arrivals::Waiting;
pub use chunk::{Chunk, RecordSpan};
pub use damage::{GIVE_UP_TRIES, READ_PATIENCE, is_elsewhere};
pub use error::{AppendError, OpenError, ReadError};
pub use follower::Follower;
pub use options::{Options, WhenFull};
pub use pins::Pin;
pub use records::NO_SERIES;
pub use state::{State, read_state};
pub use stats::Stats;
pub use storage::{Journal, OpenReport, Storage};
