//! The symbol table of 2.0, as it is written.

use hashbrown::{DefaultHashBuilder, HashTable, hash_table::Entry};
use model::varint;
use std::hash::BuildHasher;

/// Gives each string a number, and keeps the table as it stands in the body.
#[derive(Debug)]
pub(super) struct Interner {
    /// `symbols` fields, ready for the wire. The first is the empty string, as the protocol wants it.
    encoded: Vec<u8>,
    /// Where each string is in `encoded`; number 0 is the empty one.
    symbols: Vec<(u32, u32)>,
    numbers: HashTable<u32>,
    /// Seeded at random: the strings come from outside, and could be chosen to collide.
    hasher: DefaultHashBuilder,
}

/// Field 4, with a length.
const SYMBOL: u8 = 4 << 3 | 2;

impl Interner {
    pub(super) fn new() -> Self {
        let mut interner = Interner {
            encoded: Vec::new(),
            symbols: Vec::new(),
            numbers: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
        };
        interner.clear();
        interner
    }

    /// Forgets the strings, keeps the memory.
    pub(super) fn clear(&mut self) {
        self.encoded.clear();
        self.encoded.extend_from_slice(&[SYMBOL, 0]);
        self.symbols.clear();
        self.symbols.push((2, 0));
        self.numbers.clear();
    }

    /// The number of `text`.
    #[inline]
    pub(super) fn intern(&mut self, text: &[u8]) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let Interner { encoded, symbols, numbers, hasher } = self;
        let at = |number: u32| {
            let (start, len) = symbols.get(number as usize).copied().unwrap_or_default();
            encoded.get(start as usize..(start + len) as usize).unwrap_or_default()
        };
        let hash = hasher.hash_one(text);
        let entry = numbers.entry(hash, |number| at(*number) == text, |number| hasher.hash_one(at(*number)));
        match entry {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => {
                let number = symbols.len() as u32;
                entry.insert(number);
                encoded.push(SYMBOL);
                varint::put_u64(encoded, text.len() as u64);
                symbols.push((encoded.len() as u32, text.len() as u32));
                encoded.extend_from_slice(text);
                number
            }
        }
    }

    /// The table as it stands in the body.
    pub(super) fn encoded(&self) -> &[u8] {
        &self.encoded
    }
}
