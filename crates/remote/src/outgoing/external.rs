//! External labels: added to every series that does not have them already.

use model::{LabelsRef, varint};

/// Labels to add, sorted by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExternalLabels(Vec<(Vec<u8>, Vec<u8>)>);

impl ExternalLabels {
    /// Takes pairs in any order. Of a repeated name the last counts; empty values mean no label.
    pub fn new(pairs: &[(String, String)]) -> Self {
        let sorted: std::collections::BTreeMap<&[u8], &[u8]> =
            pairs.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        let pairs = sorted.into_iter().filter(|(name, value)| !name.is_empty() && !value.is_empty());
        ExternalLabels(pairs.map(|(name, value)| (name.to_vec(), value.to_vec())).collect())
    }

    /// Whether there is nothing to add.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The pairs, sorted by name.
    pub fn pairs(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().map(|(name, value)| (name.as_slice(), value.as_slice()))
    }

    /// Appends the canonical bytes of `labels` with these added to `out`.
    pub fn apply(&self, labels: LabelsRef<'_>, out: &mut Vec<u8>) {
        let mut added = 0;
        let mut own = labels.pairs().peekable();
        for (name, _) in self.pairs() {
            while own.next_if(|(other, _)| *other < name).is_some() {}
            added += u64::from(own.peek().is_none_or(|(other, _)| *other != name));
        }
        varint::put_u64(out, labels.len() as u64 + added);
        let mut external = self.pairs().peekable();
        for (name, value) in labels.pairs() {
            while let Some((name, value)) = external.next_if(|(other, _)| *other < name) {
                put(out, name, value);
            }
            external.next_if(|(other, _)| *other == name);
            put(out, name, value);
        }
        for (name, value) in external {
            put(out, name, value);
        }
    }
}

fn put(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    varint::put_bytes(out, name);
    varint::put_bytes(out, value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Labels;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn what_a_series_has_wins(own in prop::collection::btree_map("[a-f]", "[a-z]{1,3}", 0..5),
            external in prop::collection::btree_map("[a-f]", "[a-z]{0,3}", 0..5)) {
            let pairs: Vec<(String, String)> = external.clone().into_iter().collect();
            let mut right: BTreeMap<_, _> = external;
            right.extend(own.clone());
            let labels = Labels::from_pairs(own.iter().map(|(n, v)| (n.as_str(), v.as_str())));
            let mut out = Vec::new();
            ExternalLabels::new(&pairs).apply(labels.as_ref(), &mut out);
            let right = Labels::from_pairs(right.iter().map(|(n, v)| (n.as_str(), v.as_str())));
            prop_assert_eq!(LabelsRef::parse(&out).unwrap(), right.as_ref());
        }
    }
}
