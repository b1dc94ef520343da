//! Metadata of metric families: type, help text and unit.
//!
//! A Prometheus agent deletes log segments that contain metadata records, so the metadata is in a separate
//! journal (`DATA/meta`). It is committed together with the samples that it came with. Only the newest
//! metadata of a family is kept. A series finds its family by its name, or by its name without a suffix such
//! as `_bucket` or `_sum`.
//!
//! New metadata counts as known only once the journal has it. Known metadata is not written again, so
//! metadata that counted as known too early would be missing after the next start.

use model::{Metadata, MetricType, varint};
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

/// Largest number of families. The metadata of further families is ignored.
pub const MAX_FAMILIES: usize = 100_000;
/// Longest help text and unit, in bytes. Longer ones are cut.
pub const MAX_TEXT_BYTES: usize = 4096;
/// Suffixes of the series names of a family.
const SUFFIXES: [&[u8]; 6] = [b"_bucket", b"_sum", b"_count", b"_total", b"_created", b"_info"];

type Families = HashMap<Box<[u8]>, Arc<Metadata>>;

/// Metadata by family; see the module's documentation.
#[derive(Default)]
pub(crate) struct MetadataStore {
    families: RwLock<Families>,
}

/// Metadata that was written to the journal, and is not known until the journal is committed.
#[derive(Default)]
pub(crate) struct News(Families);

impl MetadataStore {
    /// Returns the metadata of the metric that a series with this name belongs to.
    pub(crate) fn get(&self, metric_name: &[u8]) -> Option<Arc<Metadata>> {
        let families = self.families.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = families.get(metric_name) {
            return Some(found.clone());
        }
        SUFFIXES.iter().find_map(|suffix| families.get(metric_name.strip_suffix(*suffix)?).cloned())
    }

    /// Returns the metadata of all families, in any order.
    pub(crate) fn all(&self) -> Vec<Arc<Metadata>> {
        self.families.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Number of families.
    pub(crate) fn len(&self) -> usize {
        self.families.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Writes journal entries for new or changed `metadata` with `write`, and adds it to `news`. After an
    /// error, the entry that failed and all later ones are not added.
    pub(crate) fn learn<E>(
        &self,
        news: &mut News,
        metadata: &[Metadata],
        mut write: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let families = self.families.read().unwrap_or_else(PoisonError::into_inner);
        for new in metadata.iter().filter(|new| !new.family.is_empty()) {
            let name = new.family.as_bytes();
            match news.0.get(name).or_else(|| families.get(name)) {
                Some(known) if same(known, new) => continue,
                // Counts changed families twice. That only delays a new family until the next group.
                None if families.len() + news.0.len() >= MAX_FAMILIES => continue,
                _ => {}
            }
            let new = shortened(new.clone());
            write(&encode(&new))?;
            news.0.insert(name.into(), Arc::new(new));
        }
        Ok(())
    }

    /// Makes `news` known, after the journal was committed.
    pub(crate) fn take(&self, news: News) {
        if !news.0.is_empty() {
            self.families.write().unwrap_or_else(PoisonError::into_inner).extend(news.0);
        }
    }

    /// Restores a journal entry. Returns false if the entry is invalid.
    pub(crate) fn replay(&self, entry: &[u8]) -> bool {
        let Some(metadata) = decode(entry).map(shortened) else { return false };
        let mut families = self.families.write().unwrap_or_else(PoisonError::into_inner);
        if families.len() < MAX_FAMILIES || families.contains_key(metadata.family.as_bytes()) {
            families.insert(metadata.family.as_bytes().into(), Arc::new(metadata));
        }
        true
    }

    /// Returns journal entries for all known metadata.
    pub(crate) fn entries(&self) -> Vec<Vec<u8>> {
        let families = self.families.read().unwrap_or_else(PoisonError::into_inner);
        families.values().map(|metadata| encode(metadata)).collect()
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

/// Cuts texts that are too long.
fn shortened(mut metadata: Metadata) -> Metadata {
    for text in [&mut metadata.help, &mut metadata.unit] {
        text.truncate(cut_to(text).len());
    }
    metadata
}

/// Encodes a journal entry: the type, then family, help text and unit, each preceded by its length.
#[doc(hidden)] // public for fuzzing
pub fn encode(metadata: &Metadata) -> Vec<u8> {
    let mut out = vec![metadata.kind as u8];
    for text in [&metadata.family, &metadata.help, &metadata.unit] {
        varint::put_bytes(&mut out, text.as_bytes());
    }
    out
}

/// Decodes a journal entry.
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

    /// Learns `metadata` and returns the number of entries written.
    fn learnt(store: &MetadataStore, metadata: &[Metadata]) -> usize {
        let (mut news, mut written) = (News::default(), 0);
        let count = |_: &[u8]| {
            written += 1;
            Ok::<(), ()>(())
        };
        store.learn(&mut news, metadata, count).unwrap();
        store.take(news);
        written
    }

    #[test]
    fn the_newest_metadata_is_kept_and_only_changes_are_written() {
        let store = MetadataStore::default();
        assert_eq!(learnt(&store, &[metadata("a", "1"), metadata("b", "1"), metadata("a", "1")]), 2);
        assert_eq!(learnt(&store, &[metadata("a", "1"), metadata("b", "2")]), 1);
        assert_eq!(store.get(b"b").unwrap().help, "2");
        assert_eq!(learnt(&store, &[metadata("b", "3"), metadata("b", "2")]), 2);
        assert_eq!(store.get(b"b").unwrap().help, "2");
    }

    #[test]
    fn metadata_is_known_only_after_take() {
        let (store, mut news, mut room) = (MetadataStore::default(), News::default(), 1);
        let write = |_: &[u8]| {
            room -= 1;
            if room < 0 { Err("full") } else { Ok(()) }
        };
        assert_eq!(store.learn(&mut news, &[metadata("a", ""), metadata("b", "")], write), Err("full"));
        assert!(store.get(b"a").is_none());
        store.take(news);
        assert!(store.get(b"a").is_some() && store.get(b"b").is_none());
    }

    #[test]
    fn series_of_a_family_find_its_metadata() {
        let store = MetadataStore::default();
        learnt(&store, &[metadata("rpc", "")]);
        assert_eq!(store.get(b"rpc_bucket").unwrap().family, "rpc");
        assert!(store.get(b"rpc_other").is_none());
    }

    #[test]
    fn metadata_is_restored_from_entries_and_long_texts_are_cut() {
        let store = MetadataStore::default();
        let long = metadata("a", &"é".repeat(MAX_TEXT_BYTES));
        assert_eq!(learnt(&store, std::slice::from_ref(&long)), 1);
        assert_eq!(learnt(&store, &[long]), 0);
        let again = MetadataStore::default();
        assert!(store.entries().iter().all(|entry| again.replay(entry)));
        assert!(!again.replay(b"not an entry"), "an unreadable entry is reported");
        assert_eq!(again.get(b"a"), store.get(b"a"));
        assert_eq!(again.get(b"a").unwrap().help.len(), MAX_TEXT_BYTES);
    }

    #[test]
    fn the_number_of_families_is_limited() {
        let store = MetadataStore::default();
        let many: Vec<_> = (0..MAX_FAMILIES + 5).map(|n| metadata(&n.to_string(), "")).collect();
        assert_eq!(learnt(&store, &many), MAX_FAMILIES);
        assert_eq!(learnt(&store, &many), 0);
        assert_eq!(learnt(&store, &[metadata("0", "changed")]), 1);
    }
}
