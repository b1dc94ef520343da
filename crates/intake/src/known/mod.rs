//! Known series: the results of decoding and relabelling a series, by the hash of the bytes that name it in the input.
//!
//! Many inputs name a series by the same bytes every time, such as a line of text or a scraped page. They find here the
//! results of parsing, checking and relabelling a known series, and the hash by which the log's registry knows the
//! series:
//!
//! ```text
//!                                          ┌─ canonical labels
//!   hash(raw), context ─► entry ───────────┼─ after the input's rules: the same, other labels, or dropped
//!                                          └─ hash for the registry
//! ```
//!
//! The raw bytes are not kept: a series is known by their keyed hash of 128 bits, as in the registry. The key is new at
//! each start. This halves the memory of a series, and the memory that a hit reads.
//!
//! The *context* is everything else that the result depends on: settings, limits, labels of the request. It is a keyed
//! hash too. It contains a number for the settings that every change of the settings increases.
//!
//! Entries are only a cache: an unknown series costs its decoding. [`crate::Settings::known_series_bytes`] limits the
//! memory, which is reserved as it is needed. When it is full, series that were not found for some time are evicted for
//! new ones (`shard.rs` has the rule), so that active series over the limit do not displace each other.

mod raw_keys;
mod recogniser;
mod shard;

pub use raw_keys::RawKeys;
pub use recogniser::{ParseLines, Recognised, Recogniser};

use crate::counters::Number;
use shard::Shard;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The longest label set of a known series.
pub const KNOWN_SET_BYTES: usize = 8 << 10;
/// The number of parts, each with its own lock.
const SHARDS: usize = 16;

/// The known series of all inputs.
#[derive(Debug)]
pub struct KnownSeries {
    shards: Box<[Mutex<Shard>]>,
    shard_bytes_max: usize,
    /// Look-ups that found a series. The next counter is for those that did not.
    pub hits: Number,
    pub misses: Number,
}

/// For each part, the likely index of the next series of a request.
#[derive(Debug, Default)]
struct Next([u32; SHARDS]);

/// Identifies a known series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key {
    /// The hash of the raw bytes.
    pub(crate) raw: u128,
    /// See [`formats::Recognise`].
    pub(crate) variant: u8,
    pub(crate) context: u128,
}

/// The results for a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known<'k> {
    /// The canonical labels before the rules.
    pub(crate) labels: &'k [u8],
    pub(crate) outcome: Outcome<'k>,
    /// The registry's hash of the labels after the rules.
    pub(crate) hash: u128,
}

/// The result of the input's rules for a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome<'k> {
    Same,
    Changed(&'k [u8]),
    Dropped,
}

impl KnownSeries {
    pub(crate) fn new(bytes_max: usize) -> Self {
        KnownSeries::with_shards(bytes_max, SHARDS)
    }

    fn with_shards(bytes_max: usize, shards: usize) -> Self {
        KnownSeries {
            shards: (0..shards).map(|_| Mutex::default()).collect(),
            shard_bytes_max: bytes_max / shards.max(1),
            hits: Number::default(),
            misses: Number::default(),
        }
    }

    /// These bits differ from those by which the table of a shard places its entries.
    fn shard_of(&self, key: Key) -> usize {
        (key.raw >> 64) as usize % self.shards.len().max(1)
    }

    fn shard(&self, index: usize) -> Option<MutexGuard<'_, Shard>> {
        Some(self.shards.get(index)?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Calls `take` with the results for a series. `next` has the likely index of the request's next series.
    #[inline]
    fn with<T>(&self, key: Key, next: &mut Next, take: impl FnOnce(Known<'_>) -> T) -> Option<T> {
        let index = self.shard_of(key);
        self.shard(index)?.find_from(key, next.0.get_mut(index)?).map(take)
    }

    fn insert(&self, key: Key, known: Known<'_>) {
        if let Some(mut shard) = self.shard(self.shard_of(key)) {
            shard.insert(key, known, self.shard_bytes_max);
        }
    }

    fn sum(&self, of: impl Fn(&Shard) -> usize) -> usize {
        let each = self.shards.iter().map(|shard| of(&shard.lock().unwrap_or_else(PoisonError::into_inner)));
        each.sum()
    }

    /// The number of known series.
    pub fn entries(&self) -> usize {
        self.sum(Shard::len)
    }

    /// The memory of the known series, in bytes.
    pub fn bytes(&self) -> usize {
        self.sum(Shard::bytes)
    }

    /// The number of series that were evicted.
    pub fn evicted(&self) -> u64 {
        self.sum(|shard| shard.evicted as usize) as u64
    }

    /// Removes all series and frees their memory. After a change of settings their contexts are never used again.
    pub(crate) fn clear(&self) {
        for shard in &self.shards {
            shard.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }
}

#[cfg(test)]
mod tests;
