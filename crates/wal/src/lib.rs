//! Prometheus' write-ahead log: pages, records, segments; written, read, checked, mended.
//!
//! A log is a folder of *segments*, files named `00000000`, `00000001` and so on. A segment is a row of
//! *pages* of 32 KiB ([`page`]), a page a row of *fragments* with a checksum each, and one to many
//! fragments make a *record* ([`record`]): some series, or some samples, or some histograms. Prometheus
//! and promtool read what this crate writes, and it reads what they write.
//!
//! This crate knows files, not networks; it is synchronous, has no threads and no timers.
//!
//! # What it promises
//!
//! - **What [`Writer::commit`] answered with `Ok` is readable afterwards**, in order, exactly once, across
//!   kill -9, power cuts and full disks (with [`Durability::Fsync`]).
//! - **What was never appended is never read.** A record appended by a commit that failed may be read, or
//!   not.
//! - **Damage is local.** It costs at most the rest of its page and the record that runs across it, and is
//!   reported with file, offset and length ([`Damage`]). Nothing panics, whatever the bytes are.
//! - **What can't be read is set aside**, if a folder is given for it ([`aside`]), before it is cut.
//! - **Numbers are never used twice**: a new segment is above every other in the folder.
//! - **Memory is bounded**: a reader holds a page and a record, a record is at most [`MAX_RECORD_BYTES`].
//!
//! # Where to start
//!
//! [`Writer`] and [`SegmentReader`], then [`record`] for what is inside. All files are reached through the
//! [`fs`] seam; [`sim`] is a file system that loses, tears and refuses, for tests. [`small_file`] is for what
//! narthex keeps beside the log. Whole logs, of Prometheus too, are for [`verify`](verify::verify),
//! [`repair`](repair::repair), [`stat`](stat::stat) and [`dump`](dump::dump).
//!
//! # Prometheus reading such a log
//!
//! An agent opens it and finds every series, in all compressions, after truncation and after a torn end
//! (`examples/write_log.rs` writes such logs). A server that replays it keeps only the samples behind the last
//! series record of each series, which stands in the last segment. Neither may meet a torn record in a
//! segment that isn't the newest, a gap in the numbers, or, for an agent, metadata: see [`Writer::open`],
//! [`dir`] and [`record`].

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

/// The most bytes a record may have, before and after compression. Prometheus itself writes at most one
/// request or one scrape as a record, which its receiver limits to 32 MiB.
pub const MAX_RECORD_BYTES: usize = 64 << 20;
