//! The symbol table of 2.0, as it is read: where each string stands in the body.

use super::DecodeError;

/// One string of the table.
#[derive(Debug, Clone, Copy)]
struct Symbol {
    start: u32,
    len: u32,
    utf8: bool,
}

/// The table. The strings stay where they are.
#[derive(Debug)]
pub(super) struct Symbols<'a> {
    body: &'a [u8],
    symbols: Vec<Symbol>,
    limit: usize,
}

/// A string of the table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text<'a> {
    /// It and what follows in the body, which the short way likes to have.
    pub(super) from: &'a [u8],
    pub(super) len: usize,
    pub(super) utf8: bool,
}

impl<'a> Text<'a> {
    pub(super) fn bytes(self) -> &'a [u8] {
        self.from.get(..self.len).unwrap_or_default()
    }
}

impl<'a> Symbols<'a> {
    pub(super) fn new(body: &'a [u8], limit: usize) -> Self {
        Symbols { body, symbols: Vec::new(), limit }
    }

    /// Adds a string, which is a part of the body.
    pub(super) fn push(&mut self, symbol: &'a [u8]) -> Result<(), DecodeError> {
        if self.symbols.len() >= self.limit {
            return Err(DecodeError::TooMany { what: "symbols", limit: self.limit });
        }
        let start = (symbol.as_ptr().addr() - self.body.as_ptr().addr()) as u32;
        let utf8 = std::str::from_utf8(symbol).is_ok();
        self.symbols.push(Symbol { start, len: symbol.len() as u32, utf8 });
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.symbols.len()
    }

    #[inline(always)]
    pub(super) fn get(&self, reference: u64) -> Option<Text<'a>> {
        let symbol = self.symbols.get(usize::try_from(reference).ok()?)?;
        let from = self.body.get(symbol.start as usize..)?;
        Some(Text { from, len: symbol.len as usize, utf8: symbol.utf8 })
    }
}
