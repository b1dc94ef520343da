//! Positions of the label sets of a segment, by reference. It needs few bytes per series, and its memory
//! never doubles while it grows.
//!
//! Nearly all references of a segment are added in ascending order, so they are in a sorted vector. Others go
//! into a hash table, which is merged into the vector when it has an eighth of the vector's size. A lookup
//! first tries the entry after the last one found, because samples come in the order in which their series
//! were first seen.

use hashbrown::HashMap;
use std::cell::Cell;

/// Position of a label set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Number of the series record.
    pub(crate) record: u32,
    /// Offset of the label set in the record.
    pub(crate) start: u32,
    /// Length of the label set in bytes.
    pub(crate) len: u32,
}

/// An entry of 20 bytes. The reference is stored in two halves, to avoid padding.
#[derive(Debug, Clone, Copy)]
struct Entry {
    reference: [u32; 2],
    place: Place,
}

impl Entry {
    fn reference(&self) -> u64 {
        u64::from(self.reference[0]) << 32 | u64::from(self.reference[1])
    }
}

/// Positions by reference; see the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// Sorted by reference, without duplicates.
    row: Vec<Entry>,
    /// Entries that are not in `row`, or replace an entry there.
    others: HashMap<u64, Place>,
    /// The index after the one that was found last.
    next: Cell<usize>,
}

/// Minimum size of the table before it is merged.
const OTHERS_MIN: usize = 4096;

impl Places {
    /// Adds a position. It replaces an earlier one of the same reference.
    pub(crate) fn insert(&mut self, reference: u64, place: Place) {
        if self.row.last().is_none_or(|last| last.reference() < reference) {
            if self.row.len() == self.row.capacity() {
                self.row.reserve_exact(self.row.len() / 8 + 64);
            }
            self.row.push(entry(reference, place));
            return;
        }
        self.others.insert(reference, place);
        if self.others.len() >= OTHERS_MIN.max(self.row.len() / 8) {
            self.merge();
        }
    }

    fn merge(&mut self) {
        self.row.reserve_exact(self.others.len());
        self.row.extend(self.others.drain().map(|(reference, place)| entry(reference, place)));
        // The sort is stable, so of two entries with the same reference, the newer one from the table comes
        // second.
        self.row.sort_by_key(Entry::reference);
        self.row.dedup_by(|later, kept| {
            let same = later.reference() == kept.reference();
            if same {
                *kept = *later;
            }
            same
        });
    }

    /// Returns the position of a reference.
    pub(crate) fn get(&self, reference: u64) -> Option<Place> {
        if let Some(place) = self.others.get(&reference) {
            return Some(*place);
        }
        let guess = self.next.get();
        let index = match self.row.get(guess) {
            Some(entry) if entry.reference() == reference => guess,
            _ => self.row.binary_search_by_key(&reference, Entry::reference).ok()?,
        };
        self.next.set(index + 1);
        self.row.get(index).map(|entry| entry.place)
    }

    /// Number of references.
    pub(crate) fn len(&self) -> usize {
        let both = self
            .others
            .keys()
            .filter(|reference| self.row.binary_search_by_key(*reference, Entry::reference).is_ok());
        self.row.len() + self.others.len() - both.count()
    }

    #[cfg(test)]
    fn heap_bytes(&self) -> usize {
        self.row.capacity() * size_of::<Entry>() + self.others.allocation_size()
    }
}

fn entry(reference: u64, place: Place) -> Entry {
    Entry { reference: [(reference >> 32) as u32, reference as u32], place }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(number: u64) -> Place {
        Place { record: number as u32, start: 7, len: 9 }
    }

    #[test]
    fn places_match_a_hash_map_in_any_order() {
        for seed in 0..20 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let (mut places, mut table) = (Places::default(), HashMap::new());
            let mut rising = 1 << 32;
            for number in 0..20_000 {
                let reference = match rng.u64(..4) {
                    0 if seed % 2 == 0 => rng.u64(..rising + 1),
                    _ => {
                        rising += rng.u64(1..3);
                        rising
                    }
                };
                places.insert(reference, place(number));
                table.insert(reference, place(number));
                let asked = rng.u64(..rising + 5);
                assert_eq!(places.get(asked), table.get(&asked).copied());
            }
            assert_eq!(places.len(), table.len());
            for (reference, place) in &table {
                assert_eq!(places.get(*reference), Some(*place));
            }
        }
    }

    #[test]
    fn a_million_series_cost_about_twenty_bytes_each() {
        let (mut rising, mut shuffled) = (Places::default(), Places::default());
        let mut all: Vec<u64> = (0..1_000_000).collect();
        fastrand::Rng::with_seed(1).shuffle(&mut all);
        let mut most = 0;
        for (number, reference) in all.into_iter().enumerate() {
            rising.insert(number as u64, place(0));
            shuffled.insert(reference, place(0));
            most = most.max(rising.heap_bytes());
        }
        assert!(most < 23_000_000, "{most}");
        assert!(shuffled.heap_bytes() < 32_000_000, "{}", shuffled.heap_bytes());
    }
}
