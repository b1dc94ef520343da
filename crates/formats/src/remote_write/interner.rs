//! Writes the symbol table of 2.0.

use hashbrown::{DefaultHashBuilder, HashTable, hash_table::Entry};
use model::{LabelsRef, varint};
use std::hash::BuildHasher;

/// Gives each string a number and builds the table in the form of the body.
#[derive(Debug)]
pub(super) struct Interner {
    /// `symbols` fields, ready for the wire. The first one is the empty string, as the protocol requires.
    encoded: Vec<u8>,
    /// The position of each string in `encoded`; number 0 is the empty string.
    symbols: Vec<(u32, u32)>,
    numbers: HashTable<u32>,
    /// Seeded at random: the strings come from outside and could be chosen to collide.
    hasher: DefaultHashBuilder,
    last: LastNumbers,
    /// The result of [`Interner::intern_labels`].
    references: Vec<u32>,
}

/// The label set before this one. Consecutive series have most of their labels in common, at the same positions, and a
/// comparison is faster than a hash.
#[derive(Debug, Default)]
struct LastNumbers {
    /// In canonical bytes.
    bytes: Vec<u8>,
    pairs: Vec<LastPair>,
}

/// The positions in the canonical bytes of a pair: of its name, of its value, each with its length in front, and of its
/// end. And the numbers of both.
#[derive(Debug, Clone, Copy, Default)]
struct LastPair {
    name: u32,
    value: u32,
    end: u32,
    numbers: [u32; 2],
}

/// Field 4 with a length.
const SYMBOL: u8 = 4 << 3 | 2;

impl Interner {
    pub(super) fn new() -> Self {
        let mut interner = Interner {
            encoded: Vec::new(),
            symbols: Vec::new(),
            numbers: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            last: LastNumbers::default(),
            references: Vec::new(),
        };
        interner.clear();
        interner
    }

    /// Removes the strings but keeps the memory.
    pub(super) fn clear(&mut self) {
        self.encoded.clear();
        self.encoded.extend_from_slice(&[SYMBOL, 0]);
        self.symbols.clear();
        self.symbols.push((2, 0));
        self.numbers.clear();
        self.last.bytes.clear();
        self.last.pairs.clear();
    }

    /// The number of `text`.
    #[inline]
    pub(super) fn intern(&mut self, text: &[u8]) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let Interner { encoded, symbols, numbers, hasher, .. } = self;
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

    /// The numbers of the names and values of a label set, alternately.
    #[inline(never)] // by itself its variables fit the registers
    pub(super) fn intern_labels(&mut self, labels: LabelsRef<'_>) -> &[u32] {
        let canonical = labels.as_bytes();
        let mut rest = canonical;
        let count = varint::take_u64(&mut rest).unwrap_or(0) as usize;
        let mut last = std::mem::take(&mut self.last);
        last.pairs.resize(count, LastPair::default());
        self.references.clear();
        for old in &mut last.pairs {
            let (name_from, name_at) = (rest, canonical.len() - rest.len());
            let pair_len = (old.end - old.name) as usize;
            // Compares the whole pair first: it is nearly always equal, and then its parts need not be found.
            if pair_len > 0
                && same(rest, last.bytes.get(old.name as usize..).unwrap_or_default(), pair_len)
                && let Some(behind) = rest.get(pair_len..)
            {
                rest = behind;
                let (name, value_at) = (name_at as u32, old.value - old.name);
                *old = LastPair {
                    name,
                    value: name + value_at,
                    end: name + pair_len as u32,
                    numbers: old.numbers,
                };
                self.references.extend(old.numbers);
                continue;
            }
            let Some(name) = varint::take_bytes(&mut rest) else { break };
            let (value_from, value_at) = (rest, canonical.len() - rest.len());
            let Some(value) = varint::take_bytes(&mut rest) else { break };
            let end = canonical.len() - rest.len();
            let was = |from: u32| last.bytes.get(from as usize..).unwrap_or_default();
            let [mut name_number, mut value_number] = old.numbers;
            // Compared together with their lengths, so that no string matches the beginning of another one.
            if old.value - old.name != (value_at - name_at) as u32
                || !same(name_from, was(old.name), value_at - name_at)
            {
                name_number = self.intern(name);
            }
            if old.end - old.value != (end - value_at) as u32
                || !same(value_from, was(old.value), end - value_at)
            {
                value_number = self.intern(value);
            }
            let numbers = [name_number, value_number];
            *old = LastPair { name: name_at as u32, value: value_at as u32, end: end as u32, numbers };
            self.references.extend(numbers);
        }
        last.bytes.clear();
        last.bytes.extend_from_slice(canonical);
        self.last = last;
        &self.references
    }

    /// The table in the form of the body.
    pub(super) fn encoded(&self) -> &[u8] {
        &self.encoded
    }
}

/// Returns true if the first `len` bytes are equal. Up to 64 bytes are compared in a few moves if both slices are that
/// long.
#[inline(always)]
fn same(one: &[u8], other: &[u8], len: usize) -> bool {
    if len <= 16 {
        if let (Some(one), Some(other)) = (one.first_chunk::<16>(), other.first_chunk::<16>()) {
            return difference(one, other) << (128 - 8 * len as u32) == 0;
        }
    } else if len <= 32
        && let (Some([one, one_more]), Some([other, other_more])) =
            (one.as_chunks::<16>().0.first_chunk::<2>(), other.as_chunks::<16>().0.first_chunk::<2>())
    {
        let more = difference(one_more, other_more) << (256 - 8 * len as u32);
        return difference(one, other) | more == 0;
    } else if len <= 64
        && let (Some(one_start), Some(other_start)) = (one.first_chunk::<32>(), other.first_chunk::<32>())
        && let (Some(one), Some(other)) = (one.get(..len), other.get(..len))
        && let (Some(one_end), Some(other_end)) = (one.last_chunk::<32>(), other.last_chunk::<32>())
    {
        return one_start == other_start && one_end == other_end;
    }
    one.get(..len).is_some_and(|one| other.get(..len) == Some(one))
}

/// The bits in which two groups differ. The first byte is the lowest.
#[inline(always)]
fn difference(one: &[u8; 16], other: &[u8; 16]) -> u128 {
    u128::from_le_bytes(*one) ^ u128::from_le_bytes(*other)
}
