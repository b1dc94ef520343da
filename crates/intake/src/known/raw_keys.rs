//! Known series of an input that has its own state for each series: a number, by the bytes that name the series.
//!
//! This is the table of [`super::KnownSeries`] with numbers instead of labels. Keys are only a cache: the owner can
//! find the number from the labels, at the cost of making them.

use super::shard::Shard;
use super::{Key, Known, Outcome};
use storage::registry::Hasher;

/// See the module.
#[derive(Debug)]
pub struct RawKeys {
    hasher: Hasher,
    keys: Shard,
    bytes_max: usize,
}

impl RawKeys {
    /// A table with at most `bytes_max` bytes of memory.
    pub fn new(bytes_max: usize) -> Self {
        RawKeys { hasher: Hasher::new(), keys: Shard::default(), bytes_max }
    }

    #[inline]
    pub fn get(&mut self, raw: &[u8]) -> Option<u64> {
        let key = self.key(raw);
        self.keys.find(key).map(|known| known.hash as u64)
    }

    /// Sets the number of a key. A new key is remembered only if there is memory for it.
    pub fn set(&mut self, raw: &[u8], number: u64) {
        let key = self.key(raw);
        if self.keys.replace_hash(key, number.into()) {
            return;
        }
        let known = Known { labels: &[], outcome: Outcome::Same, hash: number.into() };
        self.keys.insert(key, known, self.bytes_max);
    }

    /// Removes all keys, after the meaning of the numbers has changed.
    pub fn clear(&mut self) {
        self.keys.clear();
    }

    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The memory in bytes.
    pub fn bytes(&self) -> usize {
        self.keys.bytes()
    }

    fn key(&self, raw: &[u8]) -> Key {
        Key { raw: self.hasher.hash(raw), variant: 0, context: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_replaced_and_cleared() {
        let mut keys = RawKeys::new(1 << 20);
        assert_eq!(keys.get(b"a:|c"), None);
        keys.set(b"a:|c", 7);
        keys.set(b"b:|c", u64::MAX);
        keys.set(b"a:|c", 8);
        assert_eq!((keys.get(b"a:|c"), keys.get(b"b:|c"), keys.len()), (Some(8), Some(u64::MAX), 2));
        keys.clear();
        assert_eq!((keys.get(b"a:|c"), keys.bytes()), (None, 0));
    }

    #[test]
    fn memory_is_limited() {
        let mut keys = RawKeys::new(100_000);
        for number in 0..50_000u64 {
            keys.set(format!("metric.number.{number}:|c").as_bytes(), number);
        }
        assert!(keys.bytes() <= 100_000 && keys.len() > 100, "{} bytes", keys.bytes());
    }
}
