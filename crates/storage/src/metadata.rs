//! What is known of each metric: type, help, unit.
//!
//! A real Prometheus agent deletes log segments when it meets metadata records, so these live in a
//! journal of their own (`DATA/meta`), committed together with the samples they came with. They are kept
//! by family, the newest counts: a series finds its family by its name, or by its name without the suffix
//! of a histogram's or summary's parts.

use model::{Metadata, MetricType, varint};
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

/// Most families remembered; of further ones nothing is kept.
pub const MAX_FAMILIES: usize = 100_000;
/// Longest help text and unit kept, in bytes; longer ones are cut.
pub const MAX_TEXT_BYTES: usize = 4096;
/// What the name of a part of a family ends in.
const SUFFIXES: [&[u8]; 6] = [b"_bucket", b"_sum", b"_count", b"_total", b"_created", b"_info"];

/// See the module.
#[derive(Default)]
pub(crate) struct MetadataStore {
    families: RwLock<HashMap<Box<[u8]>, Arc<Metadata>>>,
}

impl MetadataStore {
    /// What is known of the metric that a series with this name belongs to.
    pub(crate) fn get(&self, metric_name: &[u8]) -> Option<Arc<Metadata>> {
        let families = self.families.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = families.get(metric_name) {
            return Some(found.clone());
        }
        SUFFIXES.iter().find_map(|suffix| families.get(metric_name.strip_suffix(*suffix)?).cloned())
    }

    /// Everything that is known, by family, in any order.
    pub(crate) fn all(&self) -> Vec<Arc<Metadata>> {
        self.families.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Number of families.
    pub(crate) fn len(&self) -> usize {
        self.families.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Takes what is new or changed in `metadata` and returns journal entries for it.
    pub(crate) fn learn(&self, metadata: &[Metadata]) -> Vec<Vec<u8>> {
        let news: Vec<&Metadata> = {
            let families = self.families.read().unwrap_or_else(PoisonError::into_inner);
            let known = |new: &&Metadata| {
                let old = families.get(new.family.as_bytes());
                new.family.is_empty() || old.is_some_and(|old| same(old, new))
            };
            metadata.iter().filter(|new| !known(new)).collect()
        };
        news.into_iter().filter_map(|new| self.insert(new.clone())).map(|new| encode(&new)).collect()
    }

    /// Takes a journal entry back.
    pub(crate) fn replay(&self, entry: &[u8]) {
        if let Some(metadata) = decode(entry) {
            self.insert(metadata);
        }
    }

    /// Journal entries for all that is known.
    pub(crate) fn entries(&self) -> Vec<Vec<u8>> {
        let families = self.families.read().unwrap_or_else(PoisonError::into_inner);
        families.values().map(|metadata| encode(metadata)).collect()
    }

    fn insert(&self, mut metadata: Metadata) -> Option<Arc<Metadata>> {
        cut(&mut metadata.help);
        cut(&mut metadata.unit);
        let mut families = self.families.write().unwrap_or_else(PoisonError::into_inner);
        if families.len() >= MAX_FAMILIES && !families.contains_key(metadata.family.as_bytes()) {
            return None;
        }
        let metadata = Arc::new(metadata);
        families.insert(metadata.family.as_bytes().into(), metadata.clone());
        Some(metadata)
    }
}

fn same(old: &Metadata, new: &Metadata) -> bool {
    let text = |old: &str, new: &str| old == new || (new.len() > MAX_TEXT_BYTES && old == cut_to(new));
    old.kind == new.kind && text(&old.help, &new.help) && text(&old.unit, &new.unit)
}

fn cut_to(text: &str) -> &str {
    let mut end = text.len().min(MAX_TEXT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

fn cut(text: &mut String) {
    let end = cut_to(text).len();
    text.truncate(end);
}

/// Journal entry: type, then family, help and unit, each with its length before it.
#[doc(hidden)] // public for fuzzing
pub fn encode(metadata: &Metadata) -> Vec<u8> {
    let mut out = vec![metadata.kind as u8];
    for text in [&metadata.family, &metadata.help, &metadata.unit] {
        varint::put_bytes(&mut out, text.as_bytes());
    }
    out
}

/// Reads an entry.
#[doc(hidden)] // public for fuzzing
pub fn decode(entry: &[u8]) -> Option<Metadata> {
    let (kind, mut rest) = entry.split_first()?;
    let mut text = || Some(String::from_utf8_lossy(varint::take_bytes(&mut rest)?).into_owned());
    let kind = MetricType::from_number(u64::from(*kind));
    Some(Metadata { family: text()?, kind, help: text()?, unit: text()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(family: &str, help: &str) -> Metadata {
        Metadata { family: family.into(), kind: MetricType::Histogram, help: help.into(), unit: "s".into() }
    }

    #[test]
    fn the_newest_counts_and_only_what_changed_is_written() {
        let store = MetadataStore::default();
        assert_eq!(store.learn(&[metadata("a", "1"), metadata("b", "1")]).len(), 2);
        assert_eq!(store.learn(&[metadata("a", "1"), metadata("b", "2")]).len(), 1);
        assert_eq!(store.get(b"b").unwrap().help, "2");
    }

    #[test]
    fn parts_of_a_family_find_it() {
        let store = MetadataStore::default();
        store.learn(&[metadata("rpc", "")]);
        assert_eq!(store.get(b"rpc_bucket").unwrap().family, "rpc");
        assert!(store.get(b"rpc_other").is_none());
    }

    #[test]
    fn it_comes_back_from_its_entries_and_long_texts_are_cut_once() {
        let store = MetadataStore::default();
        let long = metadata("a", &"é".repeat(MAX_TEXT_BYTES));
        assert_eq!(store.learn(std::slice::from_ref(&long)).len(), 1);
        assert_eq!(store.learn(&[long]).len(), 0);
        let again = MetadataStore::default();
        store.entries().iter().for_each(|entry| again.replay(entry));
        assert_eq!(again.get(b"a"), store.get(b"a"));
        assert_eq!(again.get(b"a").unwrap().help.len(), MAX_TEXT_BYTES);
    }

    #[test]
    fn families_are_bounded() {
        let store = MetadataStore::default();
        let many: Vec<_> = (0..MAX_FAMILIES + 5).map(|n| metadata(&n.to_string(), "")).collect();
        assert_eq!(store.learn(&many).len(), MAX_FAMILIES);
    }
}
