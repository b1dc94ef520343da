//! The text format (version 0.0.4) and OpenMetrics: [`encode`] for pages with narthex's own metrics, [`parse()`] for
//! texts that scripts and client libraries push.

mod encode;
mod family;
mod fault;
mod float;
mod line;
mod parse;

pub use encode::{CONTENT_TYPE, encode, type_word};
pub use fault::{Fault, ParseError};
pub use float::{FloatError, float};
pub use parse::{Format, ParseOptions, Timestamps, parse, parse_recognising};

/// At most `most` bytes of a text, with replacement characters where it is not UTF-8.
pub(crate) fn cut(text: &[u8], most: usize) -> String {
    let mut text = String::from_utf8_lossy(text.get(..most).unwrap_or(text)).into_owned();
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}
