//! The families of a group in compact form. Pure.
//!
//! There may be many groups. Each is read once in an interval and rarely changes. So each is kept as one compressed
//! buffer instead of structures with a dozen allocations for each series. Most labels of a series are equal to those of
//! the series before it, so they compress well.
//!
//! ```text
//!  ┌──────────────────────────────────────────────────────────────────────────┐
//!  │ families │ name, family (as in the journal) │ pushed │ exemplars │ ...   │  compressed with snappy
//!  │ uvarint  │                                  │ varint │           │       │
//!  └──────────────────────────────────────────────────────────────────────────┘
//!  exemplars: a list for each series of the family
//! ```

use crate::entry::bytes::{put_f64, put_labels, put_option, take_f64, take_labels, take_list, take_option};
use crate::entry::family::{Head, put_family, take_family, take_head, take_reading};
use crate::group::{Family, Kept, PushedExemplar, Reading};
use model::LabelsRef;
use model::varint::{put_i64, put_u64, take_bytes, take_i64, take_u64};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

pub type Families = BTreeMap<String, Kept>;

/// The families of a group, compressed.
#[derive(Debug, Clone, PartialEq)]
pub struct Packed {
    bytes: Arc<[u8]>,
    /// The size before compression.
    plain: usize,
    series: usize,
}

impl Default for Packed {
    fn default() -> Self {
        Packed { bytes: Arc::new([]), plain: 0, series: 0 }
    }
}

impl Packed {
    /// Packs families. The timestamps of pushed series are left out: only the first emission needs them.
    pub fn new(families: &Families) -> Self {
        let plain = Packed::uncompressed(families);
        let compressed = snap::raw::Encoder::new().compress_vec(&plain.bytes).ok();
        // If compression does not help, the bytes are kept uncompressed.
        match compressed.filter(|compressed| compressed.len() < plain.plain) {
            Some(compressed) => Packed { bytes: compressed.into(), ..plain },
            None => plain,
        }
    }

    /// The same without compression, for the size that families would have.
    pub fn uncompressed(families: &Families) -> Self {
        if families.is_empty() {
            return Packed::default();
        }
        let mut plain = Vec::new();
        put_u64(&mut plain, families.len() as u64);
        for (name, kept) in families {
            put_family(&mut plain, name, &kept.family);
            put_i64(&mut plain, kept.pushed);
            put_exemplars(&mut plain, &kept.family);
        }
        let series = families.values().map(|kept| kept.family.members.len()).sum();
        Packed { plain: plain.len(), bytes: plain.into(), series }
    }

    fn plain(&self) -> Cow<'_, [u8]> {
        match self.bytes.len() == self.plain {
            true => Cow::Borrowed(&*self.bytes),
            false => snap::raw::Decoder::new().decompress_vec(&self.bytes).unwrap_or_default().into(),
        }
    }

    /// Hot path, for groups that are sent again: passes each family and each of its series to `visitor`, without
    /// creating structures for them.
    pub(crate) fn visit(&self, visitor: &mut impl Visitor) {
        if self.bytes.is_empty() {
            return;
        }
        let visited = visit_families(&mut &*self.plain(), visitor);
        model::invariant!(visited.is_some(), "what was packed can be read");
    }

    pub fn unpack(&self) -> Families {
        if self.bytes.is_empty() {
            return Families::new();
        }
        let plain = self.plain();
        let families = take_families(&mut &*plain);
        model::invariant!(families.is_some(), "what was packed can be unpacked");
        families.unwrap_or_default()
    }

    /// Returns true if both share the same buffer. This does not compare bytes.
    pub fn is_same(&self, other: &Packed) -> bool {
        Arc::ptr_eq(&self.bytes, &other.bytes)
    }

    pub fn series(&self) -> usize {
        self.series
    }

    /// The memory of the compressed bytes.
    pub fn heap_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The size of the families without compression, about the same as in the journal.
    pub fn plain_bytes(&self) -> usize {
        self.plain
    }
}

/// The families of a group after a push at `wall`. With `replace` the group has only the pushed families, otherwise
/// also its families with other names.
pub fn after_push(had: &Families, replace: bool, pushed: &[(String, Arc<Family>)], wall: i64) -> Families {
    let mut has = if replace { Families::new() } else { had.clone() };
    let pushed = pushed.iter().map(|(name, family)| (name.clone(), family.clone()));
    has.extend(pushed.map(|(name, family)| (name, Kept { family, pushed: wall })));
    has
}

fn put_exemplars(out: &mut Vec<u8>, family: &Family) {
    for member in &family.members {
        put_u64(out, member.exemplars.len() as u64);
        for exemplar in &member.exemplars {
            put_labels(out, &exemplar.labels);
            put_f64(out, exemplar.value);
            put_option(out, exemplar.time);
        }
    }
}

/// Receives the content of packed families.
pub(crate) trait Visitor {
    fn family(&mut self, head: &Head<'_>);
    fn series(&mut self, labels: LabelsRef<'_>, start: i64, reading: Reading);
}

fn visit_families(input: &mut &[u8], visitor: &mut impl Visitor) -> Option<()> {
    for _ in 0..take_u64(input)? {
        visitor.family(&take_head(input)?);
        let series = take_u64(input)?;
        for _ in 0..series {
            let labels = LabelsRef::trusted(take_bytes(input)?);
            let (start, reading) = take_reading(input)?;
            visitor.series(labels, start, reading);
        }
        take_i64(input)?;
        for _ in 0..series {
            for _ in 0..take_u64(input)? {
                take_bytes(input)?;
                take_f64(input)?;
                take_option(input)?;
            }
        }
    }
    Some(())
}

fn take_families(input: &mut &[u8]) -> Option<Families> {
    let families = take_list(input, |input| {
        let (name, mut family) = take_family(input)?;
        let pushed = take_i64(input)?;
        for member in &mut family.members {
            member.exemplars = take_list(input, |input| {
                Some(PushedExemplar {
                    labels: take_labels(input)?,
                    value: take_f64(input)?,
                    time: take_option(input)?,
                })
            })?;
        }
        Some((name, Kept { family: Arc::new(family), pushed }))
    })?;
    Some(families.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::Member;
    use model::{Labels, MetricType};
    use proptest::prelude::*;

    fn member(labels: &[(String, String)], value: f64, exemplars: usize) -> Member {
        let pairs = labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let exemplar = |number: usize| PushedExemplar {
            labels: Labels::from_pairs([("trace_id", number.to_string().as_str())]),
            value: number as f64,
            time: number.is_multiple_of(2).then_some(number as i64),
        };
        Member {
            labels: Labels::from_pairs(pairs),
            reading: Reading::Float(value),
            start: value as i64,
            time: 0,
            exemplars: (0..exemplars).map(exemplar).collect(),
        }
    }

    fn families() -> impl Strategy<Value = Families> {
        let labels = prop::collection::vec(("[a-z]{1,6}", "[a-z0-9]{0,9}"), 0..5);
        let members = prop::collection::vec((labels, -1e9..1e9f64, 0usize..3), 0..6);
        let kind = prop::sample::select(vec![MetricType::Gauge, MetricType::Counter, MetricType::Unknown]);
        let kept = (members, kind, ".{0,20}", any::<i64>()).prop_map(|(members, kind, help, pushed)| {
            let members = members.iter().map(|(labels, value, exemplars)| member(labels, *value, *exemplars));
            let family = Family { kind, help, unit: String::new(), members: members.collect() };
            Kept { family: Arc::new(family), pushed }
        });
        prop::collection::btree_map("[a-z_]{1,20}", kept, 0..8)
    }

    #[derive(Default)]
    struct Visited {
        head: String,
        series: Vec<(String, Labels, i64, Reading)>,
    }

    impl Visitor for Visited {
        fn family(&mut self, Head { name, kind, help, .. }: &Head<'_>) {
            self.head = format!("{name} {kind:?} {help}");
        }

        fn series(&mut self, labels: LabelsRef<'_>, start: i64, reading: Reading) {
            self.series.push((self.head.clone(), labels.to_labels(), start, reading));
        }
    }

    proptest! {
        #[test]
        fn unpacked_families_equal_the_packed_ones(families in families()) {
            let packed = Packed::new(&families);
            let series: usize = families.values().map(|kept| kept.family.members.len()).sum();
            prop_assert_eq!(packed.series(), series);
            let mut visited = Visited::default();
            packed.visit(&mut visited);
            let expected = families.iter().flat_map(|(name, kept)| {
                kept.family.members.iter().map(move |member| {
                    let Family { kind, help, .. } = &*kept.family;
                    let head = format!("{name} {kind:?} {help}");
                    (head, member.labels.clone(), member.start, member.reading.clone())
                })
            });
            prop_assert_eq!(visited.series, expected.collect::<Vec<_>>());
            prop_assert_eq!(packed.unpack(), families);
        }
    }

    #[test]
    fn a_series_of_a_typical_group_needs_less_than_sixty_bytes() {
        let families: Families = (0..20)
            .map(|number| {
                let name = format!("backup_metric_{number:02}");
                let labels = [
                    ("__name__", name.as_str()),
                    ("disk", "sda"),
                    ("instance", "host-00017"),
                    ("job", "backup"),
                    ("kind", "some"),
                    ("zone", "eu-west-1"),
                ];
                let labels: Vec<_> = labels.map(|(name, value)| (name.to_string(), value.to_string())).into();
                let members = vec![member(&labels, f64::from(number) + 0.25, 0)];
                let family = Family { kind: MetricType::Gauge, members, ..Family::default() };
                (name, Kept { family: Arc::new(family), pushed: 1_700_000_000_000 })
            })
            .collect();
        let bytes = Packed::new(&families).heap_bytes();
        assert!(bytes < 20 * 60, "{bytes} bytes for 20 series");
    }
}
