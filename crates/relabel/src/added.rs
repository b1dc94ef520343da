//! Labels that are added to every series that does not have them.

use model::{LabelsRef, varint};

/// Labels to add, sorted by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddedLabels(Vec<Label>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Label {
    name: Vec<u8>,
    value: Vec<u8>,
    /// Name and value in canonical bytes.
    canonical: Vec<u8>,
}

impl AddedLabels {
    /// Pairs in any order. The last value of a repeated name is used. A pair with an empty value is ignored.
    pub fn new(pairs: &[(String, String)]) -> Self {
        let sorted: std::collections::BTreeMap<&[u8], &[u8]> =
            pairs.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        let pairs = sorted.into_iter().filter(|(name, value)| !name.is_empty() && !value.is_empty());
        let labels = pairs.map(|(name, value)| {
            let mut canonical = Vec::new();
            varint::put_bytes(&mut canonical, name);
            varint::put_bytes(&mut canonical, value);
            Label { name: name.to_vec(), value: value.to_vec(), canonical }
        });
        AddedLabels(labels.collect())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The pairs, sorted by name.
    pub fn pairs(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().map(|label| (label.name.as_slice(), label.value.as_slice()))
    }

    /// The largest number of bytes by which a label set grows.
    pub fn bytes(&self) -> usize {
        // The encoded number of labels may grow by one byte.
        1 + self.0.iter().map(|label| label.canonical.len()).sum::<usize>()
    }

    /// Appends the canonical bytes of `labels` to `out`, with the missing labels added. Hot path: the labels
    /// between two insertions are copied with a single memcpy.
    pub fn apply(&self, labels: LabelsRef<'_>, out: &mut Vec<u8>) {
        let start = out.len();
        let most = labels.len() + self.0.len();
        varint::put_u64(out, most as u64);
        let counted = out.len();
        let pairs = labels.pairs();
        let bytes = pairs.as_bytes();
        let (mut copied, mut at, mut own) = (0, 0, 0);
        for label in &self.0 {
            let found = loop {
                let pair = bytes.get(at..).and_then(first_pair);
                match pair {
                    Some((name, len)) if is_before(name, &label.name) => at += len,
                    pair => break pair,
                }
            };
            if found.is_some_and(|(name, _)| name == label.name) {
                own += 1;
                continue;
            }
            out.extend_from_slice(bytes.get(copied..at).unwrap_or_default());
            out.extend_from_slice(&label.canonical);
            copied = at;
        }
        out.extend_from_slice(bytes.get(copied..).unwrap_or_default());
        if own > 0 {
            let mut count = Vec::new();
            varint::put_u64(&mut count, (most - own) as u64);
            out.splice(start..counted, count);
        }
    }
}

/// The name of the first canonical pair, and the length of the pair.
#[inline]
fn first_pair(pairs: &[u8]) -> Option<(&[u8], usize)> {
    // Lengths below 128 take one byte.
    if let [name_len @ 0..128, rest @ ..] = pairs
        && let Some((name, [value_len @ 0..128, ..])) = rest.split_at_checked(usize::from(*name_len))
    {
        return Some((name, 2 + name.len() + usize::from(*value_len)));
    }
    let mut rest = pairs;
    let name = varint::take_bytes(&mut rest)?;
    varint::take_bytes(&mut rest)?;
    Some((name, pairs.len() - rest.len()))
}

/// Returns true if `a < b`. Hot path: the first bytes usually decide.
fn is_before(a: &[u8], b: &[u8]) -> bool {
    match (a.first(), b.first()) {
        (Some(first), Some(other)) if first != other => first < other,
        _ => a < b,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "helper functions of tests")]
    use super::*;
    use model::Labels;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn added_labels_do_not_replace_own_labels(own in prop::collection::btree_map("[a-f]", "[a-z]{1,3}", 0..5),
            external in prop::collection::btree_map("[a-f]", "[a-z]{0,3}", 0..5)) {
            let pairs: Vec<(String, String)> = external.clone().into_iter().collect();
            let mut right: BTreeMap<_, _> = external;
            right.extend(own.clone());
            let labels = Labels::from_pairs(own.iter().map(|(n, v)| (n.as_str(), v.as_str())));
            let mut out = Vec::new();
            AddedLabels::new(&pairs).apply(labels.as_ref(), &mut out);
            let right = Labels::from_pairs(right.iter().map(|(n, v)| (n.as_str(), v.as_str())));
            prop_assert_eq!(LabelsRef::parse(&out).unwrap(), right.as_ref());
        }
    }

    #[test]
    fn all_label_names_that_prometheus_accepts_can_be_added() {
        let names = ["__replica__", "a-b", "a.b", "\u{fc}", "a b"];
        let pairs: Vec<_> = names.iter().map(|name| (name.to_string(), "x".to_string())).collect();
        let mut out = Vec::new();
        let labels = Labels::from_pairs([("__name__", "up"), ("a.b", "own"), ("z", "1")]);
        AddedLabels::new(&pairs).apply(labels.as_ref(), &mut out);
        let sent = LabelsRef::parse(&out).unwrap();
        let of = |name: &str| sent.get(name).map(|value| String::from_utf8_lossy(value).into_owned());
        assert_eq!(
            names.map(of),
            [Some("x"), Some("x"), Some("own"), Some("x"), Some("x")].map(|v| v.map(String::from))
        );
        let sorted: Vec<_> = sent.pairs().map(|(name, _)| name.to_vec()).collect();
        assert!(sorted.is_sorted());
    }

    /// At 128 labels, their encoded number grows to two bytes.
    #[test]
    fn the_label_count_may_grow_to_two_bytes() {
        let names: Vec<String> = (0..130).map(|number| format!("l{number:03}")).collect();
        for own in 125..=129 {
            let labels = Labels::from_pairs(names[..own].iter().map(|name| (name.as_str(), "own")));
            for (first, added) in [(0, 1), (own - 1, 1), (own - 1, 2), (own, 1)] {
                let external: Vec<_> = names[first..].iter().take(added).collect();
                let pairs: Vec<_> = external.iter().map(|name| (name.to_string(), "x".to_string())).collect();
                let mut out = vec![7];
                AddedLabels::new(&pairs).apply(labels.as_ref(), &mut out);
                let sent = LabelsRef::parse(out.strip_prefix(&[7]).unwrap()).unwrap();
                let right = external.iter().filter(|name| labels.as_ref().get(name).is_none()).count() + own;
                assert_eq!((sent.len(), sent.pairs().count()), (right, right), "{own} {first} {added}");
            }
        }
    }
}
