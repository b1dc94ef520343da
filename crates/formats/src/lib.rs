//! Decoders and encoders: remote write 1.0 and 2.0, the text format, OpenMetrics, exposition protobuf, Graphite and
//! StatsD.
//!
//! What the crate promises:
//! - No I/O, no clock and no threads: bytes in, values out. A function that needs the time has it as a parameter.
//! - No input makes it panic, loop endlessly, or use more memory than a small multiple of the given limits. Sizes are
//!   checked before memory is allocated.
//! - One bad sample costs one sample. A body that is damaged as a whole is an error. A part that is only invalid is
//!   left out, counted and explained, and the rest is kept.
//!
//! Where to start: [`remote_write::decode`] and [`remote_write::Encoder`] are the hot path. [`text`] is for scripts and
//! client libraries, [`exposition`] for client libraries that push protobuf. [`compress`] has the encodings of a
//! `Content-Encoding` header.

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
