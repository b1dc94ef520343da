//! The label sets of a log's references, for tools, within a budget.

use model::LabelsRef;
use std::collections::HashMap;

/// Label sets, each kept once, by reference. What no longer fits the budget is left out and counted.
#[derive(Debug)]
pub(crate) struct LabelStore {
    arena: Vec<u8>,
    /// Where each set lies in the arena, by its number.
    sets: Vec<(u64, u32)>,
    /// Numbers of sets by hash; of two sets with the same hash the second is kept twice, no more.
    by_hash: HashMap<u64, u32>,
    by_reference: HashMap<u64, u32>,
    budget_bytes: usize,
    left_out: u64,
}

/// About what a set costs besides its bytes: its place, and its entry in the table.
const SET_BYTES: usize = 16 + 32;
/// About what a reference costs.
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

    /// Notes that `reference` stands for `labels`; says the number of the set, if there is room for it.
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
                // Better nothing than the set that the reference stood for before.
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

    /// The number of the set that `reference` stands for.
    pub(crate) fn find(&self, reference: u64) -> Option<u32> {
        self.by_reference.get(&reference).copied()
    }

    /// Set number `set`.
    pub(crate) fn get(&self, set: u32) -> LabelsRef<'_> {
        let place = self.sets.get(set as usize).copied();
        let bytes =
            place.and_then(|(start, len)| self.arena.get(start as usize..start as usize + len as usize));
        bytes.map_or(LabelsRef::EMPTY, LabelsRef::trusted)
    }

    /// How many series did not fit.
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
