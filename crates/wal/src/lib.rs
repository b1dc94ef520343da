//! Prometheus' write-ahead log: writing, reading, checking and repairing it.
//!
//! A log is a folder of *segments*, files named `00000000`, `00000001` and so on. A segment is a sequence of
//! *pages* of 32 KiB ([`page`]). A page is a sequence of *fragments*, each with a checksum. One or more
//! fragments make a *record* ([`record`]), which holds series, samples or histograms, for example. Prometheus
//! and promtool can read the logs of this crate, and this crate can read theirs.
//!
//! This crate handles files only, no network. It is synchronous and has no threads and no timers.
//!
//! # Guarantees
//!
//! - **Records whose [`Writer::commit`] returned `Ok` can be read afterwards**, in order and exactly once,
//!   even after kill -9, a power cut or a full disk (with [`Durability::Fsync`]).
//! - **Records that were never appended are never read.** A record whose commit failed may be read or not.
//! - **Damage is local.** It costs at most the rest of its page and the record that continues across that
//!   page. It is reported with file, offset and length ([`Damage`]). No input makes this crate panic.
//! - **Unreadable data is quarantined** before it is cut, if the caller provides a folder for it ([`aside`]).
//! - **Segment numbers are never reused**: the number of a new segment is above all others in the folder.
//! - **Memory is bounded**: a reader holds one page and one record. A record has at most
//!   [`MAX_RECORD_BYTES`].
//!
//! # Where to start
//!
//! Start with [`Writer`] and [`SegmentReader`], then [`record`] for the contents. All files are accessed
//! through the [`fs`] interface. [`sim`] implements it for tests, with lost, torn and failing writes.
//! [`small_file`] stores the other files that narthex keeps next to the log. [`verify`](verify::verify),
//! [`repair`](repair::repair), [`stat`](stat::stat) and [`dump`](dump::dump) work on whole logs, including
//! those of Prometheus.
//!
//! # Compatibility with Prometheus
//!
//! A Prometheus agent opens such a log and finds every series, with every compression, after truncation and
//! after a torn end (`examples/write_log.rs` writes such logs). A server that replays the log keeps only the
//! samples after the last series record of each series, which is in the last segment. Neither accepts a torn
//! record in a segment that is not the newest, or a gap in the segment numbers. An agent does not accept
//! metadata records. See [`Writer::open`], [`dir`] and [`record`].

pub mod aside;
pub mod compression;
pub mod dir;
pub mod dump;
mod error;
pub mod fs;
mod label_store;
pub mod log;
pub mod opening;
pub mod page;
mod position;
mod reader;
pub mod record;
mod recover;
pub mod repair;
pub mod sim;
pub mod small_file;
pub mod stat;
pub mod verify;
mod writer;

pub use aside::Aside;
pub use compression::Compression;
pub use error::{CommitError, Damage, DamageKind, WalError};
pub use fs::{File, Filesystem, RealFilesystem};
pub use position::{DurableEnd, Position};
pub use reader::{RawRecord, SegmentReader};
pub use recover::OpenReport;
pub use writer::{Durability, Framed, Span, Writer, WriterOptions};

/// Largest record, before and after compression. Prometheus writes at most one request or one scrape as a
/// record, and its remote-write receiver limits requests to 32 MiB.
pub const MAX_RECORD_BYTES: usize = 64 << 20;
