//! A part of the known series: a table of entries, and an arena with their bytes.
//!
//! ```text
//! arena: │ labels │ labels after the rules │ labels │ ...     labels that equal the ones before are left out
//! ```
//!
//! The arena only grows. When it is full, new series are rejected until their number is [`REJECTED_PER_ENTRY`] times
//! the number of entries. Then a sweep removes the entries that were not found since the last sweep, and compacts the
//! others. So a workload with more active series than fit still finds the series in the table, whereas a
//! least-recently-used list would find none. Series that are no longer pushed are removed after a limited number of new
//! ones.

use super::{Key, Known, Outcome};
use hashbrown::HashTable;

/// The number of series that are rejected for each entry before a sweep.
const REJECTED_PER_ENTRY: usize = 8;
/// The memory of an entry in the table at the table's lowest load, in bytes.
const TABLE_BYTES: usize = 12;

#[derive(Debug, Default)]
pub(super) struct Shard {
    table: HashTable<u32>,
    entries: Vec<Entry>,
    arena: Vec<u8>,
    rejected: usize,
    pub(super) evicted: u64,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    raw: [u64; 2],
    context: [u64; 2],
    labels_hash: [u64; 2],
    /// The position of its bytes in the arena.
    start: u32,
    labels: u16,
    /// 0 if the labels did not change.
    changed: u16,
    variant: u8,
    is_dropped: bool,
    /// The entry was found since the last sweep.
    is_found: bool,
}

/// The memory of an entry besides its bytes in the arena.
pub(super) const ENTRY_BYTES: usize = size_of::<Entry>() + TABLE_BYTES;

fn halves(number: u128) -> [u64; 2] {
    [(number >> 64) as u64, number as u64]
}

/// The hash of an entry in the table: the bits of keyed hashes need no further mixing.
fn place(raw: u64, context: u64, variant: u8) -> u64 {
    raw ^ context ^ u64::from(variant)
}

impl Entry {
    fn bytes(&self) -> usize {
        usize::from(self.labels) + usize::from(self.changed)
    }

    fn slice<'a>(&self, arena: &'a [u8]) -> &'a [u8] {
        let start = self.start as usize;
        arena.get(start..start + self.bytes()).unwrap_or_default()
    }

    /// The hash of this entry in the table.
    fn place(&self) -> u64 {
        let ([_, raw], [_, context]) = (self.raw, self.context);
        place(raw, context, self.variant)
    }

    fn known<'a>(&self, arena: &'a [u8]) -> Known<'a> {
        let (labels, changed) = self.slice(arena).split_at_checked(self.labels.into()).unwrap_or_default();
        let outcome = match (self.is_dropped, changed) {
            (true, _) => Outcome::Dropped,
            (false, []) => Outcome::Same,
            (false, changed) => Outcome::Changed(changed),
        };
        let [high, low] = self.labels_hash.map(u128::from);
        Known { labels, outcome, hash: high << 64 | low }
    }
}

impl Shard {
    pub(super) fn find(&mut self, key: Key) -> Option<Known<'_>> {
        let index = self.position(key)?;
        self.found(index)
    }

    /// Finds a series, which is likely to be the one at `next`, and moves `next` behind it. Most requests have their
    /// series in the order of their first request. Entries that are side by side in memory are then in the cache, while
    /// a look-up by hash waits for the memory three times.
    pub(super) fn find_from(&mut self, key: Key, next: &mut u32) -> Option<Known<'_>> {
        let index = if self.is_at(*next, key) { *next } else { self.position(key)? };
        *next = index + 1;
        self.found(index)
    }

    fn found(&mut self, index: u32) -> Option<Known<'_>> {
        let entry = self.entries.get_mut(index as usize)?;
        entry.is_found = true;
        Some(entry.known(&self.arena))
    }

    fn is_at(&self, index: u32, key: Key) -> bool {
        self.entries.get(index as usize).is_some_and(|entry| {
            entry.raw == halves(key.raw)
                && entry.context == halves(key.context)
                && entry.variant == key.variant
        })
    }

    fn position(&self, key: Key) -> Option<u32> {
        let place = place(key.raw as u64, key.context as u64, key.variant);
        self.table.find(place, |index| self.is_at(*index, key)).copied()
    }

    /// Replaces the hash of a known series. Returns false if the series is not known.
    pub(super) fn replace_hash(&mut self, key: Key, labels_hash: u128) -> bool {
        let Some(index) = self.position(key) else { return false };
        let entry = self.entries.get_mut(index as usize);
        entry.map(|entry| entry.labels_hash = halves(labels_hash)).is_some()
    }

    /// Adds a series if it fits into `bytes_max`.
    pub(super) fn insert(&mut self, key: Key, known: Known<'_>, bytes_max: usize) {
        let changed = if let Outcome::Changed(changed) = known.outcome { changed } else { &[] };
        let parts = [known.labels, changed];
        let [Ok(labels), Ok(changed)] = parts.map(|part| u16::try_from(part.len())) else { return };
        if !self.reserve_or_reject(parts.iter().map(|part| part.len()).sum(), bytes_max)
            // Another request may have added the series meanwhile.
            || self.find(key).is_some()
        {
            return;
        }
        let Ok(start) = u32::try_from(self.arena.len()) else { return };
        parts.into_iter().for_each(|part| self.arena.extend_from_slice(part));
        self.push(Entry {
            raw: halves(key.raw),
            context: halves(key.context),
            labels_hash: halves(known.hash),
            start,
            labels,
            changed,
            variant: key.variant,
            is_dropped: known.outcome == Outcome::Dropped,
            is_found: true,
        });
    }

    fn push(&mut self, entry: Entry) {
        let Shard { table, entries, .. } = self;
        let place_of = |index: &u32| entries.get(*index as usize).map_or(0, Entry::place);
        table.insert_unique(entry.place(), entries.len() as u32, place_of);
        entries.push(entry);
    }

    /// Reserves memory for an entry with this many bytes in the arena. Returns false if the series is rejected.
    fn reserve_or_reject(&mut self, bytes: usize, bytes_max: usize) -> bool {
        if self.reserve(bytes, bytes_max) {
            return true;
        }
        self.rejected += 1;
        if self.rejected < REJECTED_PER_ENTRY * self.entries.len() {
            return false;
        }
        self.sweep();
        self.reserve(bytes, bytes_max)
    }

    /// Reserves memory for an entry with this many bytes in the arena, if that is within `bytes_max`. Buffers grow by a
    /// quarter, and by less near the limit, so that little memory is unused.
    fn reserve(&mut self, bytes: usize, bytes_max: usize) -> bool {
        let left = bytes_max.saturating_sub(self.bytes());
        let grown = |needed: usize, capacity: usize, unit: usize| {
            if needed <= capacity {
                capacity
            } else {
                needed.max(capacity + (capacity / 4).min(left / 2 / unit))
            }
        };
        let arena = grown(self.arena.len() + bytes, self.arena.capacity(), 1);
        let entries = grown(self.entries.len() + 1, self.entries.capacity(), ENTRY_BYTES);
        if arena + entries * ENTRY_BYTES > bytes_max {
            return false;
        }
        self.arena.reserve_exact(arena - self.arena.len());
        self.entries.reserve_exact(entries - self.entries.len());
        true
    }

    fn sweep(&mut self) {
        let Shard { entries, arena, evicted, .. } = std::mem::take(self);
        let found: Vec<Entry> = entries.iter().filter(|entry| entry.is_found).copied().collect();
        self.evicted = evicted + (entries.len() - found.len()) as u64;
        self.arena.reserve_exact(found.iter().map(Entry::bytes).sum());
        self.entries.reserve_exact(found.len());
        for entry in found {
            let start = self.arena.len() as u32;
            self.arena.extend_from_slice(entry.slice(&arena));
            self.push(Entry { start, is_found: false, ..entry });
        }
    }

    /// Removes all entries and frees their memory.
    pub(super) fn clear(&mut self) {
        *self = Shard { evicted: self.evicted + self.entries.len() as u64, ..Shard::default() };
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The memory in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.arena.capacity() + self.entries.capacity() * ENTRY_BYTES
    }
}
