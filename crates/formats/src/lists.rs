//! What the histograms of both protocol buffer schemas have in common: lists that must not grow without
//! bound, and spans.

use crate::wire::{Fault, Reader};
use model::BucketSpan;

/// A list that stops growing at a limit, and counts on.
#[derive(Debug)]
pub(crate) struct Bounded<T> {
    /// What there was room for.
    pub(crate) items: Vec<T>,
    /// How many there were.
    pub(crate) len: usize,
    limit: usize,
}

impl<T> Bounded<T> {
    pub(crate) fn new(limit: usize) -> Self {
        Bounded { items: Vec::new(), len: 0, limit }
    }

    #[inline]
    pub(crate) fn push(&mut self, item: T) {
        self.len += 1;
        if self.len <= self.limit {
            self.items.push(item);
        }
    }
}

/// The largest of some lengths.
pub(crate) fn longest(lengths: &[usize]) -> usize {
    lengths.iter().copied().fold(0, usize::max)
}

/// Reads a `BucketSpan`.
/// `exact` is cleared where there is anything else in the message.
pub(crate) fn span(message: &[u8], exact: &mut bool) -> Result<BucketSpan, Fault> {
    let mut span = BucketSpan { offset: 0, length: 0 };
    let mut fields = Reader::new(message);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => span.offset = field.sint32()?,
            2 => span.length = field.varint()? as u32,
            _ => *exact = false,
        }
    }
    Ok(span)
}
