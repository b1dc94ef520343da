//! The text format (version 0.0.4) and OpenMetrics: [`encode`] for a page of the program's own metrics,
//! [`parse()`] for what scripts and client libraries push.

mod encode;
mod family;
mod line;
mod parse;

pub use encode::{CONTENT_TYPE, encode};
pub use parse::{Fault, Format, ParseError, ParseOptions, Timestamps, parse};
