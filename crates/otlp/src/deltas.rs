//! Data points with delta temporality: changes of series since the sender's last report, which are added up elsewhere.

use model::{LabelsRef, Metadata};
use std::mem::size_of;

/// The changes that a request brings.
#[derive(Debug, Default)]
pub struct Deltas {
    /// The label sets of all of them, canonical with the metric name.
    pub(crate) bytes: Vec<u8>,
    pub(crate) list: Vec<Delta>,
    pub(crate) families: Vec<Metadata>,
    /// How many series they have at a receiver.
    pub(crate) rows: usize,
}

/// One of [`Deltas`].
#[derive(Debug)]
pub(crate) struct Delta {
    pub(crate) labels: (usize, usize),
    pub(crate) family: usize,
    pub(crate) start: u64,
    pub(crate) time: u64,
    pub(crate) change: Change,
}

/// A change of a series.
#[derive(Debug, Clone, Copy)]
pub struct DeltaPoint<'d> {
    pub labels: LabelsRef<'d>,
    pub metadata: &'d Metadata,
    /// From when to when it was counted, in nanoseconds since 1970. A start of 0 is not known.
    pub start: u64,
    pub time: u64,
    pub change: &'d Change,
}

/// By how much a series changes. All numbers are finite.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// A monotonic sum: not negative.
    Counter(f64),
    /// A sum that goes up and down.
    Gauge(f64),
    /// An explicit histogram: a count for each bound and one for infinity.
    Explicit { bounds: Vec<f64>, counts: Vec<u64>, sum: f64 },
    /// An exponential histogram, each side with the index of its first bucket.
    Exponential { scale: i32, zero: u64, positive: (i32, Vec<u64>), negative: (i32, Vec<u64>), sum: f64 },
}

impl Change {
    /// How many series it is about at a receiver.
    pub(crate) fn rows(&self) -> usize {
        match self {
            Change::Explicit { counts, .. } => counts.len() + 2,
            _ => 1,
        }
    }

    fn heap_bytes(&self) -> usize {
        match self {
            Change::Counter(_) | Change::Gauge(_) => 0,
            Change::Explicit { bounds, counts, .. } => (bounds.capacity() + counts.capacity()) * 8,
            Change::Exponential { positive, negative, .. } => {
                (positive.1.capacity() + negative.1.capacity()) * 8
            }
        }
    }
}

impl Deltas {
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = DeltaPoint<'_>> {
        self.list.iter().filter_map(|delta| {
            let (start, end) = delta.labels;
            Some(DeltaPoint {
                labels: LabelsRef::trusted(self.bytes.get(start..end)?),
                metadata: self.families.get(delta.family)?,
                start: delta.start,
                time: delta.time,
                change: &delta.change,
            })
        })
    }

    /// Memory in bytes, give or take.
    pub fn heap_bytes(&self) -> usize {
        let texts = |family: &Metadata| family.family.len() + family.help.len() + family.unit.len();
        self.bytes.capacity()
            + self.list.iter().map(|delta| size_of::<Delta>() + delta.change.heap_bytes()).sum::<usize>()
            + self.families.iter().map(|family| size_of::<Metadata>() + texts(family)).sum::<usize>()
    }
}
