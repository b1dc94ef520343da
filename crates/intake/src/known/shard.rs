//! A part of the known series: a table of entries, and an arena with their bytes.
//!
//! ```text
//! arena: │ raw │ labels │ labels after the rules │ raw │ labels │ ...     labels that equal the ones before are left out
//! ```
//!
//! The arena only grows. When it is full, new series are turned away until [`TURNED_AWAY`] times as many were turned away
//! as there are entries. Then a sweep removes the entries that were not found since the last sweep, and moves the others
//! together. So a workload with more active series than fit keeps finding those that are there, where a list by the last
//! use would find none, and series that are no longer pushed leave after a bounded number of new ones.

use super::{Key, Known, Outcome};
use hashbrown::HashTable;

/// Series that are turned away, for each entry, before a sweep.
const TURNED_AWAY: usize = 8;
/// Memory of an entry in the table, in bytes, at the table's lowest load.
const TABLE_BYTES: usize = 12;

#[derive(Debug, Default)]
pub(super) struct Shard {
    table: HashTable<u32>,
    entries: Vec<Entry>,
    arena: Vec<u8>,
    turned_away: usize,
    pub(super) evicted: u64,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    hash: u64,
    context: [u64; 2],
    labels_hash: [u64; 2],
    /// Where it begins in the arena.
    start: u32,
    raw: u16,
    /// 0: as `raw`.
    labels: u16,
    /// 0: as the labels.
    changed: u16,
    variant: u8,
    is_dropped: bool,
    /// Found since the last sweep.
    is_found: bool,
}

/// Memory of an entry besides its bytes in the arena.
pub(super) const ENTRY_BYTES: usize = size_of::<Entry>() + TABLE_BYTES;

fn halves(number: u128) -> [u64; 2] {
    [(number >> 64) as u64, number as u64]
}

impl Entry {
    fn bytes(&self) -> usize {
        usize::from(self.raw) + usize::from(self.labels) + usize::from(self.changed)
    }

    fn slice<'a>(&self, arena: &'a [u8]) -> &'a [u8] {
        let start = self.start as usize;
        arena.get(start..start + self.bytes()).unwrap_or_default()
    }

    fn raw<'a>(&self, arena: &'a [u8]) -> &'a [u8] {
        let start = self.start as usize;
        arena.get(start..start + usize::from(self.raw)).unwrap_or_default()
    }

    fn known<'a>(&self, arena: &'a [u8]) -> Known<'a> {
        let (raw, rest) = self.slice(arena).split_at_checked(self.raw.into()).unwrap_or_default();
        let (labels, changed) = rest.split_at_checked(self.labels.into()).unwrap_or_default();
        let outcome = match (self.is_dropped, changed) {
            (true, _) => Outcome::Dropped,
            (false, []) => Outcome::Same,
            (false, changed) => Outcome::Changed(changed),
        };
        let [high, low] = self.labels_hash.map(u128::from);
        Known { labels: if labels.is_empty() { raw } else { labels }, outcome, hash: high << 64 | low }
    }
}

impl Shard {
    pub(super) fn find(&mut self, hash: u64, key: Key<'_>) -> Option<Known<'_>> {
        let index = self.position(hash, key)?;
        let entry = self.entries.get_mut(index as usize)?;
        entry.is_found = true;
        Some(entry.known(&self.arena))
    }

    fn position(&self, hash: u64, key: Key<'_>) -> Option<u32> {
        let Shard { table, entries, arena, .. } = self;
        let context = halves(key.context);
        let is_it = |index: &u32| {
            entries.get(*index as usize).is_some_and(|entry| {
                entry.hash == hash
                    && entry.variant == key.variant
                    && entry.context == context
                    && entry.raw(arena) == key.raw
            })
        };
        table.find(hash, is_it).copied()
    }

    /// Replaces the hash of a series that is there. Returns false for one that is not.
    pub(super) fn replace_hash(&mut self, hash: u64, key: Key<'_>, labels_hash: u128) -> bool {
        let Some(index) = self.position(hash, key) else { return false };
        let entry = self.entries.get_mut(index as usize);
        entry.map(|entry| entry.labels_hash = halves(labels_hash)).is_some()
    }

    /// Remembers a series, if there is room for it within `bytes_max`.
    pub(super) fn insert(&mut self, hash: u64, key: Key<'_>, known: Known<'_>, bytes_max: usize) {
        let labels = if known.labels == key.raw { &[] } else { known.labels };
        let changed = if let Outcome::Changed(changed) = known.outcome { changed } else { &[] };
        let parts = [key.raw, labels, changed];
        let [Ok(raw), Ok(labels), Ok(changed)] = parts.map(|part| u16::try_from(part.len())) else { return };
        // Another request may have learned the series meanwhile.
        if self.find(hash, key).is_some()
            || !self.make_room(parts.iter().map(|part| part.len()).sum(), bytes_max)
        {
            return;
        }
        let Ok(start) = u32::try_from(self.arena.len()) else { return };
        parts.into_iter().for_each(|part| self.arena.extend_from_slice(part));
        self.push(Entry {
            hash,
            context: halves(key.context),
            labels_hash: halves(known.hash),
            start,
            raw,
            labels,
            changed,
            variant: key.variant,
            is_dropped: known.outcome == Outcome::Dropped,
            is_found: true,
        });
    }

    fn push(&mut self, entry: Entry) {
        let Shard { table, entries, .. } = self;
        let hash_of = |index: &u32| entries.get(*index as usize).map_or(0, |entry| entry.hash);
        table.insert_unique(entry.hash, entries.len() as u32, hash_of);
        entries.push(entry);
    }

    /// Makes room for an entry with so many bytes in the arena. Returns false if the series is turned away.
    fn make_room(&mut self, bytes: usize, bytes_max: usize) -> bool {
        if self.reserve(bytes, bytes_max) {
            return true;
        }
        self.turned_away += 1;
        if self.turned_away < TURNED_AWAY * self.entries.len() {
            return false;
        }
        self.sweep();
        self.reserve(bytes, bytes_max)
    }

    /// Reserves memory for an entry with so many bytes in the arena, if that is within `bytes_max`. Buffers grow by a
    /// quarter, so that little is reserved and not used, and by less near the limit.
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

    /// Removes the entries that were not found since the last sweep.
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

    /// Forgets all entries and frees their memory.
    pub(super) fn clear(&mut self) {
        *self = Shard { evicted: self.evicted + self.entries.len() as u64, ..Shard::default() };
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Memory in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.arena.capacity() + self.entries.capacity() * ENTRY_BYTES
    }
}
