//! The symbol table of 2.0, as it is written.

use hashbrown::{DefaultHashBuilder, HashTable, hash_table::Entry};
use model::{LabelsRef, varint};
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
    last: LastLabels,
}

/// The label set before this one. Series that follow each other have most of their labels in common, at
/// the same places, and comparing is quicker than hashing.
#[derive(Debug, Default)]
struct LastLabels {
    /// In canonical bytes.
    bytes: Vec<u8>,
    /// Where each pair begins, and where its value does.
    pairs: Vec<(u32, u32)>,
    /// The references of each pair.
    references: Vec<u32>,
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
            last: LastLabels::default(),
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
        self.last.bytes.clear();
        self.last.pairs.clear();
        self.last.references.clear();
    }

    /// The number of `text`.
    #[inline]
    pub(super) fn intern(&mut self, text: &[u8]) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let Interner { encoded, symbols, numbers, hasher, last: _ } = self;
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

    /// The numbers of the names and values of a label set, in turn.
    pub(super) fn intern_labels(&mut self, labels: LabelsRef<'_>) -> &[u32] {
        let mut last = std::mem::take(&mut self.last);
        let canonical = labels.as_bytes();
        let mut rest = canonical;
        let count = varint::take_u64(&mut rest).unwrap_or(0);
        let mut index = 0;
        while index < count as usize {
            let start = canonical.len() - rest.len();
            let Some(name) = varint::take_bytes(&mut rest) else { break };
            let value_start = canonical.len() - rest.len();
            let Some(value) = varint::take_bytes(&mut rest) else { break };
            let (name_was, value_was) = last.pair(index);
            let [name_number, value_number] = last.numbers(index);
            // With their lengths in front, so that one is not taken for the beginning of another.
            let name_number = match canonical.get(start..value_start) {
                Some(same) if same == name_was => name_number,
                _ => self.intern(name),
            };
            let value_number = match canonical.get(value_start..canonical.len() - rest.len()) {
                Some(same) if same == value_was => value_number,
                _ => self.intern(value),
            };
            last.set(index, name_number, value_number);
            index += 1;
        }
        last.keep(canonical, index);
        self.last = last;
        &self.last.references
    }

    /// The table as it stands in the body.
    pub(super) fn encoded(&self) -> &[u8] {
        &self.encoded
    }
}

impl LastLabels {
    /// Name and value of a pair, with their lengths in front; nothing where there is no such pair.
    #[inline]
    fn pair(&self, index: usize) -> (&[u8], &[u8]) {
        let Some(&(name, value)) = self.pairs.get(index) else { return (&[], &[]) };
        let end = self.pairs.get(index + 1).map_or(self.bytes.len(), |(next, _)| *next as usize);
        let part = |from: u32, to: usize| self.bytes.get(from as usize..to).unwrap_or_default();
        (part(name, value as usize), part(value, end))
    }

    #[inline]
    fn numbers(&self, index: usize) -> [u32; 2] {
        self.references.as_chunks::<2>().0.get(index).copied().unwrap_or_default()
    }

    #[inline]
    fn set(&mut self, index: usize, name: u32, value: u32) {
        match self.references.as_chunks_mut::<2>().0.get_mut(index) {
            Some(pair) => *pair = [name, value],
            None => self.references.extend([name, value]),
        }
    }

    /// Remembers a label set of so many pairs, whose references are set.
    fn keep(&mut self, canonical: &[u8], count: usize) {
        self.references.truncate(2 * count);
        self.bytes.clear();
        self.bytes.extend_from_slice(canonical);
        self.pairs.clear();
        let mut rest = canonical;
        let _ = varint::take_u64(&mut rest);
        for _ in 0..count {
            let start = canonical.len() - rest.len();
            let _ = varint::take_bytes(&mut rest);
            let value = canonical.len() - rest.len();
            let _ = varint::take_bytes(&mut rest);
            self.pairs.push((start as u32, value as u32));
        }
    }
}
