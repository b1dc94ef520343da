//! The label sets of a log's references, for tools, with a memory limit.

use model::LabelsRef;
use std::collections::HashMap;

/// Label sets by reference. Each set is stored once. Sets that exceed the memory limit are left out and
/// counted.
#[derive(Debug)]
pub(crate) struct LabelStore {
    arena: Vec<u8>,
    /// Offset and length of each set in the arena, by the set's number.
    sets: Vec<(u64, u32)>,
    /// Numbers of sets by hash. If two sets have the same hash, the older one may be stored again; nothing
    /// else depends on it.
    by_hash: HashMap<u64, u32>,
    by_reference: HashMap<u64, u32>,
    budget_bytes: usize,
    left_out: u64,
}

/// Approximate memory per set besides its bytes: its offset and length, and its entry in `by_hash`.
const SET_BYTES: usize = 16 + 32;
/// Approximate memory per reference.
const REFERENCE_BYTES: usize = 32;

impl LabelStore {
    pub(crate) fn new(budget_bytes: usize) -> Self {
        LabelStore {
            arena: Vec::new(),
            sets: Vec::new(),
            by_hash: HashMap::new(),
            by_reference: HashMap::new(),
            budget_bytes,
            left_out: 0,
        }
    }

    /// Stores `labels` for `reference`. Returns the number of the set, or `None` if the memory limit is
    /// reached.
    pub(crate) fn insert(&mut self, reference: u64, labels: LabelsRef<'_>) -> Option<u32> {
        let bytes = labels.as_bytes();
        let hash = xxhash_rust::xxh3::xxh3_64(bytes);
        let known = self.by_hash.get(&hash).copied().filter(|&set| self.get(set).as_bytes() == bytes);
        let used = self.arena.len() + self.sets.len() * SET_BYTES + self.by_reference.len() * REFERENCE_BYTES;
        let more = REFERENCE_BYTES + if known.is_some() { 0 } else { bytes.len() + SET_BYTES };
        let room = used + more <= self.budget_bytes;
        match known {
            Some(set) if self.by_reference.get(&reference) == Some(&set) => Some(set),
            _ if !room => {
                // The old set of a reference that was used again would be wrong, so the reference has no set.
                self.by_reference.remove(&reference);
                self.left_out += 1;
                None
            }
            Some(set) => {
                self.by_reference.insert(reference, set);
                Some(set)
            }
            None => {
                let set = self.sets.len() as u32;
                self.sets.push((self.arena.len() as u64, bytes.len() as u32));
                self.arena.extend_from_slice(bytes);
                self.by_hash.insert(hash, set);
                self.by_reference.insert(reference, set);
                Some(set)
            }
        }
    }

    /// Returns the number of the set of `reference`.
    pub(crate) fn find(&self, reference: u64) -> Option<u32> {
        self.by_reference.get(&reference).copied()
    }

    /// Returns the set with this number.
    pub(crate) fn get(&self, set: u32) -> LabelsRef<'_> {
        let place = self.sets.get(set as usize).copied();
        let bytes =
            place.and_then(|(start, len)| self.arena.get(start as usize..start as usize + len as usize));
        bytes.map_or(LabelsRef::EMPTY, LabelsRef::trusted)
    }

    /// Number of insertions that exceeded the memory limit.
    pub(crate) fn left_out(&self) -> u64 {
        self.left_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Labels;

    #[test]
    fn sets_are_kept_once_and_within_the_budget() {
        let mut store = LabelStore::new(10 * (SET_BYTES + REFERENCE_BYTES + 5));
        for reference in 0..20u64 {
            let text = format!("{}", reference % 10);
            let labels = Labels::from_pairs([("a", text.as_str())]);
            let found = store.insert(reference, labels.as_ref());
            if reference < 10 {
                assert_eq!(found, Some(reference as u32));
            } else {
                assert_eq!(found, None, "further references no longer fit");
            }
            assert_eq!(store.find(reference).is_some(), reference < 10);
        }
        assert_eq!((store.sets.len(), store.left_out()), (10, 10));
        assert_eq!(store.get(store.find(7).unwrap()).to_string(), r#"{a="7"}"#);
        assert_eq!(store.insert(3, Labels::from_pairs([("a", "3")]).as_ref()), Some(3));
        assert_eq!(store.insert(3, Labels::from_pairs([("b", "long".repeat(9).as_str())]).as_ref()), None);
        assert_eq!(store.find(3), None, "it no longer stands for what it stood for");
    }
}
