//! What must hold for any bytes whatever: that nothing panics, loops or takes memory without bound, that what
//! is accepted is whole, and that it comes back unchanged from being written and read again.
//!
//! One function for everything that reads bytes from outside, from the network or from a disk. The fuzz
//! targets (`fuzz/fuzz_targets`) call these; so does this crate's own test, which needs no fuzzer: on the
//! committed corpus, and on changes to it for as long as it is given.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a panic is how a check reports; nothing here is part of the program"
)]

pub mod disk;
pub mod formats;
pub mod groups;
pub mod influx;
pub mod otlp;
pub mod outgoing;
pub mod totals;

/// A check of some bytes, which panics where something is wrong.
pub type Check = fn(&[u8]);

/// All checks, each by the name of its fuzz target and its folder in `fuzz/corpus`.
pub const TARGETS: &[(&str, Check)] = &[
    ("aside", outgoing::aside),
    ("decompress", formats::decompress),
    ("exposition", formats::exposition),
    ("gateway", groups::gateway),
    ("graphite", formats::graphite),
    ("influx", influx::influx),
    ("journal", groups::journal),
    ("letter", outgoing::letter),
    ("mapping", totals::mapping),
    ("metadata", disk::metadata),
    ("openmetrics", formats::openmetrics),
    ("otlp_json", otlp::json),
    ("otlp_protobuf", otlp::protobuf),
    ("path", groups::path),
    ("positions", disk::positions),
    ("record", disk::record),
    ("remote_write_1", formats::remote_write_1),
    ("remote_write_2", formats::remote_write_2),
    ("rings", outgoing::rings),
    ("segment", disk::segment),
    ("state", disk::state),
    ("statsd", formats::statsd),
    ("text", formats::text),
    ("totals", totals::entry),
];
