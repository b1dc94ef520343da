//! Known series: what became of series that came before, by the bytes by which their input names them.
//!
//! An input that names a series by the same bytes again and again (a line of text, a scraped page) finds here what
//! parsing, checking and relabelling them came to, and the hash by which the log's registry knows the series:
//!
//! ```text
//!                                          ┌─ canonical labels
//!   hash(raw), context ─► entry ───────────┼─ after the input's rules: the same, other labels, or dropped
//!                                          └─ hash for the registry
//! ```
//!
//! The raw bytes are not kept: a series is known by their hash, which has 128 bits and a key that is made anew at each
//! start, as the registry knows series. That halves the memory of a series, and what a hit reads.
//!
//! The *context* is everything else that the outcome depends on: settings, limits, labels of the request. It is such a
//! hash, too. Settings are in it by a number that each change of the settings makes new.
//!
//! Nothing depends on an entry being there: an unknown series costs its decoding. Memory is bounded by
//! [`crate::Settings::known_series_bytes`] and is taken as it is used. Where it is full, series that were not seen for a
//! while make room for others (`shard.rs` says when), so that more active series than fit do not displace each other.

mod raw_keys;
mod recogniser;
mod shard;

pub use raw_keys::RawKeys;
pub use recogniser::{ParseLines, Recognised, Recogniser};

use crate::counters::Number;
use shard::Shard;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Longest label set of a series that is remembered.
pub const KNOWN_SET_BYTES: usize = 8 << 10;
/// Parts with a lock of their own.
const SHARDS: usize = 16;

/// The known series of all inputs.
#[derive(Debug)]
pub struct KnownSeries {
    shards: Box<[Mutex<Shard>]>,
    shard_bytes_max: usize,
    /// Series that were recognised, and that were not.
    pub hits: Number,
    pub misses: Number,
}

/// Where in each part the series that a request names next is likely to be.
#[derive(Debug, Default)]
struct Next([u32; SHARDS]);

/// By what a series is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key {
    /// The hash of the raw bytes.
    pub(crate) raw: u128,
    /// See [`formats::Recognise`].
    pub(crate) variant: u8,
    pub(crate) context: u128,
}

/// What became of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known<'k> {
    /// The canonical labels that the input gives it.
    pub(crate) labels: &'k [u8],
    pub(crate) outcome: Outcome<'k>,
    /// The registry's hash of the labels after the rules.
    pub(crate) hash: u128,
}

/// What the input's rules make of a series.
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

    /// Other bits than those by which the shard's table places its entries.
    fn shard_of(&self, key: Key) -> usize {
        (key.raw >> 64) as usize % self.shards.len().max(1)
    }

    fn shard(&self, index: usize) -> Option<MutexGuard<'_, Shard>> {
        Some(self.shards.get(index)?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Passes what is known of a series to `take`. `next` is where the request's next series are likely to be.
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

    /// Series that are known.
    pub fn entries(&self) -> usize {
        self.sum(Shard::len)
    }

    /// Memory that they take, in bytes.
    pub fn bytes(&self) -> usize {
        self.sum(Shard::bytes)
    }

    /// Series that made room for others.
    pub fn evicted(&self) -> u64 {
        self.sum(|shard| shard.evicted as usize) as u64
    }

    /// Forgets all series and frees their memory: after a change of settings their contexts do not come back.
    pub(crate) fn clear(&self) {
        for shard in &self.shards {
            shard.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }
}

#[cfg(test)]
mod tests;
