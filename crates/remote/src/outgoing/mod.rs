//! A chunk for one destination: the same points, with the labels with which they are sent.

use crate::members::rings::RINGS_MAX;
use crate::members::share::Share;
use crate::queue::Source;
use crate::queue::lanes::series_hash;
use model::{LabelsRef, Original, Point, Span, Value};
use relabel::{AddedLabels, Relabelled, Relabeller};
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use storage::Chunk;
use wal::Position;

/// Why a point is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// The point's series record in the log could not be read.
    NoSeries,
    /// A relabelling rule drops the series, or points of this kind are not sent.
    Rule,
    /// The point is older than the age limit.
    TooOld,
}

/// Most bytes of the cache of relabelled series.
pub const CACHE_BYTES: usize = 8 << 20;
/// Bytes that an entry of the cache counts in addition to its labels.
const CACHE_ENTRY_BYTES: usize = 64;

/// A destination's settings for series and points.
#[derive(Debug, Default)]
pub struct Rules {
    /// Labels that are added.
    pub external: Arc<AddedLabels>,
    pub relabel: Relabeller,
    pub exemplars: bool,
    pub histograms: bool,
    /// Oldest timestamp that is sent, in milliseconds since 1970. The caller has to update it.
    pub oldest_ms: Option<i64>,
    /// For a member of a sharded entry: the series that it owns.
    pub share: Option<Arc<Share>>,
    cache: Cache,
}

impl Rules {
    pub fn new(external: AddedLabels, relabel: Relabeller, exemplars: bool, histograms: bool) -> Self {
        Rules {
            external: Arc::new(external),
            relabel,
            exemplars,
            histograms,
            oldest_ms: None,
            share: None,
            cache: Cache::default(),
        }
    }
}

/// Relabelled series, by their references in the log.
#[derive(Debug, Default)]
struct Cache {
    made: HashMap<u64, Made>,
    bytes: usize,
}

#[derive(Debug, Clone)]
enum Made {
    Own,
    Dropped,
    Changed(Box<[u8]>),
}

/// The labels with which a series is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Labels {
    Own,
    Dropped,
    Rewritten(Span),
}

#[derive(Debug)]
pub struct Outgoing {
    chunk: Arc<Chunk>,
    /// For each series, the hash of its outgoing labels. It is computed at first use. As long as one shard
    /// has all lanes and requests are sent as they came, it is never used.
    hashes: OnceLock<Vec<u64>>,
    /// For each series, its labels after relabelling. Empty if no series' labels change.
    labels: Vec<Labels>,
    rewritten: Vec<u8>,
    /// Labels that are added to a series when its labels are asked for. A copy of all labels of the chunk
    /// would be read once, when it has already left the processor's cache. With relabelling rules, which see
    /// these labels, they are already in `labels`.
    added: Option<Arc<AddedLabels>>,
    /// For a member of a sharded entry: for each series, a bit for each ring by which the member owns the
    /// series, among the rings of the chunk. This uses the labels in the log. So a change of rules moves no
    /// series, and series of other members are not relabelled.
    owned: Vec<Rings>,
    /// More than one ring is in force within the chunk.
    crosses: bool,
}

/// A bit for each of an entry's rings, and one for the part of the log before the first ring.
type Rings = u32;
const _: () = assert!(RINGS_MAX < Rings::BITS as usize);

impl Outgoing {
    /// Computes the outgoing labels of every series of the chunk.
    pub fn new(chunk: Arc<Chunk>, rules: &mut Rules) -> Self {
        let mut outgoing = Outgoing {
            chunk,
            hashes: OnceLock::new(),
            labels: Vec::new(),
            rewritten: Vec::new(),
            added: None,
            owned: Vec::new(),
            crosses: false,
        };
        if let Some(share) = &rules.share {
            outgoing.divide(share);
        }
        if !rules.relabel.is_empty() {
            outgoing.rewrite(rules);
        } else if !rules.external.is_empty() {
            outgoing.added = Some(rules.external.clone());
        }
        outgoing
    }

    fn hash_all(&self) -> Vec<u64> {
        let mut buffer = Vec::new();
        let hash = |series| match self.owns_some(series) {
            true => series_hash(self.labels(series, &mut buffer).as_bytes()),
            false => 0,
        };
        (0..self.chunk.batch.series.len() as u32).map(hash).collect()
    }

    /// Computes which series this member owns.
    fn divide(&mut self, share: &Share) {
        let rings = share.between(self.chunk.start, self.chunk.end);
        self.crosses = rings.start() != rings.end();
        let batch = &self.chunk.batch;
        self.owned.extend((0..batch.series.len() as u32).map(|series| {
            let hash = series_hash(batch.labels(series).as_bytes());
            let held = rings.clone().filter(|ring| share.holds(*ring, hash));
            held.fold(0, |bits, ring| bits | 1 << ring)
        }));
    }

    fn owns_some(&self, series: u32) -> bool {
        self.owned.get(series as usize).is_none_or(|rings| *rings != 0)
    }

    /// Returns true if the point is for this destination. It may be false only for a member of a sharded
    /// entry.
    pub fn is_own(&self, point: u32, rules: &Rules) -> bool {
        let Some(share) = &rules.share else { return true };
        let series = self.point(point).map_or(0, |point| point.series);
        if !self.crosses {
            return self.owns_some(series);
        }
        let ring = share.at(self.chunk.position(point));
        self.owned.get(series as usize).is_none_or(|rings| rings >> ring & 1 == 1)
    }

    fn rewrite(&mut self, rules: &mut Rules) {
        let batch = &self.chunk.batch;
        self.labels.reserve(batch.series.len());
        let mut with_external = Vec::new();
        for series in 0..batch.series.len() as u32 {
            let own = batch.labels(series);
            if !self.owns_some(series) {
                self.labels.push(Labels::Own);
                continue;
            }
            let start = self.rewritten.len();
            let reference = self.chunk.refs.get(series as usize).copied();
            let known = reference.and_then(|reference| rules.cache.made.get(&reference));
            let made = match known {
                Some(made) => made.clone(),
                None => {
                    with_external.clear();
                    rules.external.apply(own, &mut with_external);
                    let mut out = Vec::new();
                    let made = match rules.relabel.apply(LabelsRef::trusted(&with_external), &mut out) {
                        Relabelled::Dropped => Made::Dropped,
                        Relabelled::Changed => Made::Changed(out.into()),
                        Relabelled::Same if rules.external.is_empty() => Made::Own,
                        Relabelled::Same => Made::Changed(with_external.as_slice().into()),
                    };
                    rules.cache.keep(reference, &made);
                    made
                }
            };
            self.labels.push(match made {
                Made::Own => Labels::Own,
                Made::Dropped => Labels::Dropped,
                Made::Changed(bytes) => {
                    self.rewritten.extend_from_slice(&bytes);
                    let len = (self.rewritten.len() - start) as u32;
                    Labels::Rewritten(Span { start: start as u32, len })
                }
            });
        }
        if self.labels.iter().all(|labels| *labels == Labels::Own) {
            self.labels = Vec::new();
        }
    }

    pub fn chunk(&self) -> &Arc<Chunk> {
        &self.chunk
    }

    /// Returns the outgoing labels of this series. `buffer` is used for labels that have to be written first.
    pub fn labels<'a>(&'a self, series: u32, buffer: &'a mut Vec<u8>) -> LabelsRef<'a> {
        let labels = self.labels_without_added(series);
        let Some(added) = &self.added else { return labels };
        buffer.clear();
        added.apply(labels, buffer);
        LabelsRef::trusted(buffer)
    }

    /// Returns the outgoing labels of this series, without the added ones.
    fn labels_without_added(&self, series: u32) -> LabelsRef<'_> {
        match self.labels.get(series as usize) {
            None | Some(Labels::Own) => self.chunk.batch.labels(series),
            Some(Labels::Rewritten(span)) => LabelsRef::trusted(model::batch::slice(&self.rewritten, *span)),
            Some(Labels::Dropped) => LabelsRef::EMPTY,
        }
    }

    /// Returns the request of a client that made the chunk, if its body equals the outgoing points of the
    /// whole chunk.
    pub fn original(&self) -> Option<&Original> {
        self.chunk.batch.original().filter(|_| self.labels.is_empty() && self.added.is_none())
    }

    /// Returns an upper bound for the bytes of the series' outgoing labels.
    pub fn labels_bytes(&self, series: u32) -> usize {
        let added = self.added.as_ref().map_or(0, |added| added.bytes());
        self.labels_without_added(series).as_bytes().len() + added
    }

    /// Returns the series' reference in the log. Two series with the same reference are the same.
    pub fn reference(&self, series: u32) -> Option<u64> {
        self.chunk.refs.get(series as usize).copied()
    }

    /// Returns the outgoing metric name of this series. Added labels never replace it.
    pub fn metric_name(&self, series: u32) -> &[u8] {
        self.labels_without_added(series).metric_name().unwrap_or_default()
    }

    /// Returns the hash of this series' outgoing labels.
    pub fn hash(&self, series: u32) -> u64 {
        self.hashes.get_or_init(|| self.hash_all()).get(series as usize).copied().unwrap_or_default()
    }

    pub fn point(&self, point: u32) -> Option<&Point> {
        self.chunk.batch.points.get(point as usize)
    }

    pub fn is_histogram(&self, point: u32) -> bool {
        self.point(point).is_some_and(|point| matches!(point.value, model::Value::Histogram(_)))
    }

    /// Returns why this point is not sent, or `None` if it is sent.
    pub fn left_out(&self, point: &Point, rules: &Rules) -> Option<Left> {
        if point.series as usize >= self.chunk.batch.series.len() {
            return Some(Left::NoSeries);
        }
        if self.labels.get(point.series as usize) == Some(&Labels::Dropped) {
            return Some(Left::Rule);
        }
        if rules.oldest_ms.is_some_and(|oldest| point.timestamp < oldest) {
            return Some(Left::TooOld);
        }
        match point.value {
            Value::Exemplar(_) if !rules.exemplars => Some(Left::Rule),
            Value::Histogram(_) if !rules.histograms => Some(Left::Rule),
            _ => None,
        }
    }
}

impl Cache {
    fn keep(&mut self, reference: Option<u64>, made: &Made) {
        let Some(reference) = reference else { return };
        let bytes = CACHE_ENTRY_BYTES + if let Made::Changed(bytes) = made { bytes.len() } else { 0 };
        if self.bytes + bytes > CACHE_BYTES {
            self.made.clear();
            self.bytes = 0;
        }
        self.bytes += bytes;
        self.made.insert(reference, made.clone());
    }
}

impl Source for Outgoing {
    fn position(&self, point: u32) -> Position {
        self.chunk.position(point)
    }

    fn series(&self, point: u32) -> u64 {
        self.point(point).map_or(0, |point| self.hash(point.series))
    }

    fn timestamp(&self, point: u32) -> i64 {
        self.point(point).map_or(0, |point| point.timestamp)
    }

    fn arrived(&self) -> Duration {
        self.chunk.arrived
    }

    fn can_wait(&self) -> bool {
        self.chunk.batch.can_wait
    }

    fn keeps_together(&self) -> bool {
        self.original().is_some()
    }

    fn bytes(&self) -> usize {
        self.chunk.heap_bytes()
            + self.chunk.batch.series.len() * size_of::<u64>()
            + self.labels.capacity() * size_of::<Labels>()
            + self.rewritten.capacity()
            + self.owned.capacity() * size_of::<Rings>()
    }
}

#[cfg(test)]
mod tests;
