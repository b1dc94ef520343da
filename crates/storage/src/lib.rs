//! The storage: what is appended becomes durable here, and is handed on to whoever delivers it.
//!
//! ```text
//!   doors ─ append ─► committer ─► log on disk ─ fsync ─► tail in memory ─► followers that keep up
//!                     (registry)        │                                        ▲
//!                                       └────────────── read back ── followers that are behind
//! ```
//!
//! # What it promises
//!
//! - **[`Storage::append`] answers `Ok` after the samples are on disk**, with one sync for all that waited.
//! - **A follower sees every committed point once, in order**, whether it comes from memory or from disk:
//!   both ways number points the same ([`wal::Position`]).
//! - **Nobody waits for a follower.** The tail is bounded; who falls behind reads the log.
//! - **A segment stays until every pin has passed it**, or the budget is used up; then what is lost is
//!   counted for each pin before the segment goes. A pin whose owner is gone holds on.
//! - **What the disk refuses is asked for again**, for minutes; what is wrong is passed over, counted once and
//!   set aside.
//! - **A start costs the same whatever lies in the log**: nothing of it is read but an unsynced end.
//!
//! # Where to start
//!
//! [`Storage`], then `committer` for how a batch becomes durable, and `follower` for how it is read. The
//! data folder:
//!
//! | path | holds |
//! | --- | --- |
//! | `wal/` | the log, in Prometheus' format |
//! | `meta/` | types, help texts and units of metrics: a journal |
//! | `state` | reserved references, the durable end, segments closed by a failure |
//! | `ages` | how old segments are in running time, where that is limited |
//! | `damaged/` | damaged files, set aside |
//! | `reserve` | nothing; removed when the disk is full, so that delivery can go on |

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
