//! Bytes into batches and batches into bytes: remote write 1.0 and 2.0, the text format and OpenMetrics.
//!
//! What it promises:
//! - No I/O, no clock, no thread: bytes in, values out. Where a time is needed it is a parameter.
//! - No input makes it panic, loop, or take more memory than the limits it was given (times a small
//!   constant). Sizes are checked before memory is taken.
//! - One bad sample costs one sample: what is damaged as a whole is an error, what is merely invalid is
//!   left out, counted and explained, and the rest is kept.
//!
//! Where to start: [`remote_write::decode`] and [`remote_write::Encoder`] are the hot path, [`text`] is
//! for people and scripts, [`exposition`] for client libraries that push protobuf, [`compress`] for what a `Content-Encoding` names.

pub mod compress;
pub mod exposition;
pub mod graphite;
pub mod hint;
mod lists;
mod parsed;
mod recognise;
mod rejected;
pub mod remote_write;
pub mod statsd;
pub mod text;
pub mod time_unit;
pub mod wire;

pub use parsed::Parsed;
pub use recognise::{Mapped, Recognise, Unknown};
pub use rejected::Rejected;
