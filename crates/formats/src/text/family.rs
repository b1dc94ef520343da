//! Finds the family of a sample.

use hashbrown::HashMap;
use model::{Metadata, MetricType, Series};

/// The families that a text has named so far, as indexes into the batch's metadata.
#[derive(Debug, Default)]
pub(super) struct Families {
    by_name: HashMap<String, u32>,
    /// The name of the last sample, and its result: samples of one name follow each other.
    last_name: Vec<u8>,
    last: Member,
}

/// The relation of a sample to its family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Member {
    /// Index of the metadata, or [`Series::NO_METADATA`].
    pub(super) metadata: u32,
    /// The sample is the `_created` of its family: it has no value of its own but is a start timestamp.
    pub(super) created: bool,
}

impl Default for Member {
    fn default() -> Self {
        Member { metadata: Series::NO_METADATA, created: false }
    }
}

impl Families {
    /// The metadata of a family, added if it is new.
    pub(super) fn entry<'m>(&mut self, list: &'m mut Vec<Metadata>, name: &str) -> Option<&'m mut Metadata> {
        self.last_name.clear();
        let number = *self.by_name.entry_ref(name).or_insert_with(|| {
            list.push(Metadata { family: name.to_string(), ..Metadata::default() });
            list.len() as u32 - 1
        });
        list.get_mut(number as usize)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    pub(super) fn find(&mut self, list: &[Metadata], name: &[u8]) -> Member {
        if self.by_name.is_empty() {
            return Member::default();
        }
        if self.last_name != name {
            self.last = self.look_up(list, name).unwrap_or_default();
            self.last_name.clear();
            self.last_name.extend_from_slice(name);
        }
        self.last
    }

    fn look_up(&self, list: &[Metadata], name: &[u8]) -> Option<Member> {
        let name = std::str::from_utf8(name).ok()?;
        if let Some(&metadata) = self.by_name.get(name) {
            return Some(Member { metadata, created: false });
        }
        let (family, suffix) = name.rsplit_once('_')?;
        let &metadata = self.by_name.get(family)?;
        let kind = list.get(metadata as usize)?.kind;
        let belongs = match kind {
            MetricType::Counter => matches!(suffix, "total" | "created"),
            MetricType::Histogram => matches!(suffix, "bucket" | "sum" | "count" | "created"),
            MetricType::GaugeHistogram => matches!(suffix, "bucket" | "gsum" | "gcount"),
            MetricType::Summary => matches!(suffix, "sum" | "count" | "created"),
            MetricType::Info => suffix == "info",
            MetricType::Unknown | MetricType::Gauge | MetricType::StateSet => false,
        };
        belongs.then_some(Member { metadata, created: suffix == "created" })
    }
}
