//! What the histograms of both protocol buffer schemas share: lists with a limit, and spans.

use crate::wire::{Fault, Reader};
use model::BucketSpan;

/// A list that stops growing at its limit, but still counts the items after that.
#[derive(Debug)]
pub(crate) struct Bounded<T> {
    /// The first items, up to the limit.
    pub(crate) items: Vec<T>,
    /// The number of all items, the discarded ones included.
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

pub(crate) fn longest(lengths: &[usize]) -> usize {
    lengths.iter().copied().fold(0, usize::max)
}

/// Reads a `BucketSpan`. Clears `exact` if the message has any other field.
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
