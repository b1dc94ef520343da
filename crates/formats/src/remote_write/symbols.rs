//! The symbol table of 2.0 as it is read: the position of each string in the body.

use super::DecodeError;
use super::fast::{self, FastLabels};

#[derive(Debug, Clone, Copy)]
struct Symbol {
    /// Its [`fast::key`], by which label names are sorted.
    key: u64,
    /// Its first byte in the body. Its length is in front of it.
    start: u32,
    len: u32,
}

/// Set in [`Symbol::len`] if the fast path can't use the string: it is empty or not UTF-8, or its length is not in the
/// shortest form.
const UNUSUAL: u32 = 1 << 31;

/// The table. The strings stay in the body.
#[derive(Debug)]
pub(super) struct Symbols<'a> {
    body: &'a [u8],
    symbols: Vec<Symbol>,
    limit: usize,
}

impl<'a> Symbols<'a> {
    pub(super) fn new(body: &'a [u8], limit: usize) -> Self {
        Symbols { body, symbols: Vec::new(), limit }
    }

    /// Adds a string. It must be a part of the body.
    pub(super) fn push(&mut self, symbol: &'a [u8]) -> Result<(), DecodeError> {
        if self.symbols.len() >= self.limit {
            return Err(DecodeError::TooMany { what: "symbols", limit: self.limit });
        }
        let start = symbol.as_ptr().addr() - self.body.as_ptr().addr();
        let len = symbol.len();
        // The body continues after the string, unless this is the very last one.
        let key = self.body.get(start..).and_then(|from| fast::key(from, len));
        let length_byte = start.checked_sub(1).and_then(|at| self.body.get(at)).copied();
        let length_is_usual = len >= 128 || length_byte == Some(len as u8);
        let usual = len > 0 && length_is_usual && key.is_some() && std::str::from_utf8(symbol).is_ok();
        self.symbols.push(Symbol {
            key: key.unwrap_or(0),
            start: start as u32,
            len: len as u32 | if usual { 0 } else { UNUSUAL },
        });
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.symbols.len()
    }

    pub(super) fn get(&self, reference: u64) -> Option<&'a [u8]> {
        let symbol = self.symbols.get(usize::try_from(reference).ok()?)?;
        let start = symbol.start as usize;
        self.body.get(start..start + (symbol.len & !UNUSUAL) as usize)
    }

    /// Adds a pair to a label set on the fast path. Returns the key of the name, and true if that is the metric name.
    /// Returns `None` if the fast path must end.
    #[inline(always)]
    pub(super) fn push_pair(
        &self,
        labels: &mut FastLabels<'_>,
        name: u64,
        value: u64,
    ) -> Option<(u64, bool)> {
        let name = self.symbols.get(name as usize)?;
        let value = self.symbols.get(value as usize)?;
        let (name_len, value_len) = (name.len as usize, value.len as usize);
        // The limit on names is smaller than any length with the flag.
        let from = self.body.get((name.start as usize).checked_sub(1)?..)?;
        let is_metric_name = labels.push_name(name.key, from, name_len)?;
        let done = if value_len < 128 {
            labels.push_value(self.body.get((value.start as usize).checked_sub(1)?..)?, value_len)
        } else {
            let start = value.start as usize;
            value.len & UNUSUAL == 0 && labels.push_long_value(self.body.get(start..start + value_len)?)
        };
        done.then_some((name.key, is_metric_name))
    }
}
