//! The series registry: the reference of each label set, and whether the current segment has its series
//! record.
//!
//! It holds no labels. A label set is identified by a keyed 128-bit hash of its canonical bytes. The key is
//! new at each start, so that a client cannot construct a collision. An entry has 24 bytes:
//!
//! ```text
//! ┌────────────────┬───────────┬─────────┐
//! │ hash           │ reference │ segment │
//! │ 128 bits       │ 40        │ 24      │
//! └────────────────┴───────────┴─────────┘
//! ```
//!
//! `segment` is the last segment that has the series' record, modulo 2²⁴ - 1. When a segment begins, series
//! that the previous segment did not have are removed. If such a series comes back it gets a new reference,
//! which the log allows. So series churn cannot grow the table without limit.

use hashbrown::HashTable;
use model::Batch;
use xxhash_rust::xxh3::xxh3_128_with_secret;

/// Bytes of the hash's key. The hash function requires at least 136.
const SECRET_BYTES: usize = 192;
/// Number of sub-tables. When one grows, only its entries are moved, and the memory of the whole never
/// doubles.
const TABLES: usize = 256;
/// References are below this number.
const MAX_REFERENCE: u64 = 1 << 40;
/// Used instead of a segment if the record did not get into the current one, because a commit failed.
const NO_SEGMENT: u64 = (1 << 24) - 1;

/// The keyed hash of canonical label bytes.
#[derive(Clone)]
pub struct Hasher(std::sync::Arc<[u8; SECRET_BYTES]>);

impl Hasher {
    /// Makes a hasher with a new key.
    #[allow(clippy::new_without_default, reason = "each has another key: there is no default one")]
    pub fn new() -> Self {
        use std::hash::{BuildHasher, RandomState};
        let mut secret = [0u8; SECRET_BYTES];
        for (index, chunk) in secret.chunks_mut(8).enumerate() {
            // std's `RandomState` gets its key from the operating system's randomness.
            let word = RandomState::new().hash_one(index).to_le_bytes();
            for (byte, random) in chunk.iter_mut().zip(word) {
                *byte = random;
            }
        }
        Hasher(std::sync::Arc::new(secret))
    }

    /// Returns the hash of a label set's canonical bytes.
    #[inline]
    pub fn hash(&self, canonical: &[u8]) -> u128 {
        xxh3_128_with_secret(canonical, self.0.as_slice())
    }

    /// Sets the hashes of a batch's label sets, unless they are already set.
    pub fn fill(&self, batch: &mut Batch) {
        let hashes = |batch: &Batch| -> Vec<u128> {
            batch.series.iter().map(|series| self.hash(batch.slice(series.labels))).collect()
        };
        if batch.hashes.len() != batch.series.len() {
            batch.hashes = hashes(batch);
        }
        debug_assert_eq!(batch.hashes, hashes(batch), "hashes of other label sets");
    }
}

impl std::fmt::Debug for Hasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The key is a secret.
        f.debug_struct("Hasher").finish_non_exhaustive()
    }
}

#[derive(Clone, Copy)]
struct Entry {
    hash: [u64; 2],
    packed: u64,
}

impl Entry {
    fn reference(self) -> u64 {
        self.packed >> 24
    }
    fn segment(self) -> u64 {
        self.packed & NO_SEGMENT
    }
    fn set_segment(&mut self, segment: u64) {
        self.packed = (self.packed & !NO_SEGMENT) | segment;
    }
}

/// Result of [`Registry::resolve`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resolved {
    pub reference: u64,
    /// The current segment has no record of the series yet, so one has to be written first.
    pub needs_record: bool,
}

/// Maps label sets to references; see the module's documentation.
pub struct Registry {
    tables: Vec<HashTable<Entry>>,
    len: usize,
    next: u64,
    current: u64,
}

impl Registry {
    /// Makes an empty registry for segment `segment`. The first new series gets the reference `next`.
    pub fn new(next: u64, segment: u64) -> Self {
        let tables = (0..TABLES).map(|_| HashTable::new()).collect();
        Registry { tables, len: 0, next, current: segment % NO_SEGMENT }
    }

    /// Number of series.
    #[allow(clippy::len_without_is_empty, reason = "nobody asks whether it is empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The reference of the next new series. All lower ones are or were in use.
    pub fn next_reference(&self) -> u64 {
        self.next
    }

    /// Bytes of memory that the tables use.
    pub fn heap_bytes(&self) -> usize {
        self.tables.iter().map(HashTable::allocation_size).sum()
    }

    /// Looks up a label set and gives it a reference if it has none. It is marked as recorded in the current
    /// segment. If its record does not get there because the commit fails, [`Registry::unmark`] has to be
    /// called. Returns `None` if the table has `max` entries, or if no reference is left.
    #[inline]
    pub fn resolve(&mut self, hash: u128, max: usize) -> Option<Resolved> {
        let current = self.current;
        let (high, key) = split(hash);
        let table = self.tables.get_mut((high >> 56) as usize)?;
        if let Some(entry) = table.find_mut(key, |entry| entry.hash == [high, key]) {
            let needs_record = entry.segment() != current;
            if needs_record {
                entry.set_segment(current);
            }
            return Some(Resolved { reference: entry.reference(), needs_record });
        }
        if self.len >= max || self.next >= MAX_REFERENCE {
            return None;
        }
        let reference = self.next;
        self.next += 1;
        self.len += 1;
        let entry = Entry { hash: [high, key], packed: (reference << 24) | current };
        table.insert_unique(key, entry, |entry| entry.hash[1]);
        Some(Resolved { reference, needs_record: true })
    }

    /// Unmarks a series whose record was not written to the current segment.
    pub fn unmark(&mut self, hash: u128) {
        let (high, key) = split(hash);
        let table = self.tables.get_mut((high >> 56) as usize);
        if let Some(entry) = table.and_then(|table| table.find_mut(key, |entry| entry.hash == [high, key])) {
            entry.set_segment(NO_SEGMENT);
        }
    }

    /// Starts a new segment: no series is recorded in it, and series that the previous segment did not have
    /// are removed.
    pub fn begin_segment(&mut self, segment: u64) {
        let last = self.current;
        self.current = segment % NO_SEGMENT;
        self.len = 0;
        for table in &mut self.tables {
            table.retain(|entry| entry.segment() == last);
            // Release memory that is no longer needed, but keep some for growth.
            if table.capacity() > 4 * table.len() + 64 {
                table.shrink_to(2 * table.len(), |entry| entry.hash[1]);
            }
            self.len += table.len();
        }
    }
}

#[inline]
fn split(hash: u128) -> (u64, u64) {
    ((hash >> 64) as u64, hash as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_needs_one_record_per_segment() {
        let mut registry = Registry::new(7, 0);
        let first = registry.resolve(42, 10).unwrap();
        assert_eq!(first, Resolved { reference: 7, needs_record: true });
        assert_eq!(registry.resolve(42, 10), Some(Resolved { reference: 7, needs_record: false }));
        registry.begin_segment(1);
        assert_eq!(registry.resolve(42, 10), Some(Resolved { reference: 7, needs_record: true }));
        assert_eq!(registry.resolve(42, 10), Some(Resolved { reference: 7, needs_record: false }));
    }

    #[test]
    fn after_a_failed_commit_the_record_is_needed_again() {
        let mut registry = Registry::new(1, 5);
        registry.resolve(42, 10);
        registry.unmark(42);
        assert_eq!(registry.resolve(42, 10), Some(Resolved { reference: 1, needs_record: true }));
    }

    #[test]
    fn series_absent_from_a_segment_are_removed_without_reusing_references() {
        let mut registry = Registry::new(1, 0);
        registry.resolve(1, 10);
        registry.resolve(2, 10);
        registry.begin_segment(1);
        registry.resolve(1, 10);
        registry.begin_segment(2);
        assert_eq!(registry.len(), 1);
        assert_eq!(registry.resolve(2, 10), Some(Resolved { reference: 3, needs_record: true }));
    }

    #[test]
    fn the_registry_is_limited() {
        let mut registry = Registry::new(1, 0);
        assert!(registry.resolve(1, 1).is_some());
        assert_eq!(registry.resolve(2, 1), None);
        assert!(registry.resolve(1, 1).is_some());
        let mut spent = Registry::new(MAX_REFERENCE - 1, 0);
        assert!(spent.resolve(1, 10).is_some());
        assert_eq!(spent.resolve(2, 10), None);
    }

    #[test]
    fn a_million_series_take_less_than_sixty_megabytes() {
        let hasher = Hasher::new();
        let mut registry = Registry::new(1, 0);
        for number in 0..1_000_000u32 {
            registry.resolve(hasher.hash(&number.to_le_bytes()), usize::MAX).unwrap();
        }
        assert_eq!(registry.len(), 1_000_000);
        assert!(registry.heap_bytes() < 60_000_000, "{}", registry.heap_bytes());
    }
}
