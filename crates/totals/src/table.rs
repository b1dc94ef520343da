//! All totals of an input. Pure: no clock, no disk, no network.

use crate::limits::{Limits, Refused};
use crate::names::Names;
use crate::native::Buckets;
use crate::requests::Requests;
use crate::superseded::Superseded;
use crate::undo::Undo;
use crate::value::{ChangeError, Kind, Total};
use hashbrown::HashTable;
use intake::RefusedMetrics;
use model::{Labels, LabelsRef, Metadata};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

/// A series of [`Totals`]. It stays valid until the series ends, and is never given to another series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Handle {
    index: u32,
    generation: u32,
}

impl Handle {
    /// As a number, for tables such as [`intake::known::RawKeys`].
    pub fn to_number(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    pub fn from_number(number: u64) -> Handle {
        Handle { index: number as u32, generation: (number >> 32) as u32 }
    }
}

/// A moment, by both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since 1970.
    pub wall_ms: i64,
    pub monotonic: Duration,
}

/// What a series is, when it is opened.
#[derive(Debug, Clone, Copy)]
pub struct NewSeries<'n> {
    /// Canonical, with the metric name.
    pub labels: LabelsRef<'n>,
    pub kind: &'n Kind,
    pub help: &'n str,
    pub unit: &'n str,
    /// How long the series lives without a change. `None`: for ever.
    pub ttl: Option<Duration>,
}

/// A total with its series.
#[derive(Debug)]
pub(crate) struct Series {
    /// Its number in the journal, never used twice.
    pub(crate) id: u64,
    pub(crate) labels: Labels,
    pub(crate) metadata: Arc<Metadata>,
    pub(crate) total: Total,
    /// See [`Totals::set_mark`]; zeros for none.
    pub(crate) mark: [u64; 2],
    pub(crate) ttl: Option<Duration>,
    /// When it began, in milliseconds since 1970.
    pub(crate) start_ms: i64,
    /// Changed since it was last flushed.
    pub(crate) is_changed: bool,
    /// By the monotonic clock: the flush that showed a change last, and the last flush of all.
    pub(crate) changed_at: Duration,
    pub(crate) flushed_at: Duration,
    /// The journal has its labels.
    pub(crate) is_journalled: bool,
    /// A flush tried to show where it begins.
    pub(crate) is_begun: bool,
    /// What it was before the changes that wait for their commit is in [`Totals::undo`].
    pub(crate) is_remembered: bool,
    /// What [`Totals::epoch`] was when it was opened last.
    pub(crate) epoch: u32,
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    series: Option<Series>,
}

/// See the module.
#[derive(Debug)]
pub struct Totals {
    pub(crate) limits: Limits,
    slots: Vec<Slot>,
    free: Vec<u32>,
    by_labels: HashTable<u32>,
    hasher: RandomState,
    pub(crate) names: Names,
    bytes: usize,
    pub(crate) next_id: u64,
    refused: RefusedMetrics,
    /// Counts [`Totals::describe_again`]; 0 is what was read back from the journal.
    pub(crate) epoch: u32,
    /// Totals that end with the next flush.
    pub(crate) superseded: Vec<Superseded>,
    /// Their memory. Over the limit no total is superseded.
    pub(crate) superseded_bytes: usize,
    pub(crate) ended: u64,
    /// The time of the last flush, by the wall clock, also if its commit failed.
    pub(crate) last_flush_ms: i64,
    /// The flush that is under way.
    pub(crate) round: Option<crate::flush::Round>,
    /// How to undo the changes that wait for their commit.
    pub(crate) undo: Option<Undo>,
    pub(crate) requests: Requests,
}

impl Totals {
    pub fn new(limits: Limits) -> Totals {
        Totals {
            limits,
            slots: Vec::new(),
            free: Vec::new(),
            by_labels: HashTable::new(),
            hasher: RandomState::new(),
            names: Names::default(),
            bytes: 0,
            next_id: 1,
            refused: RefusedMetrics::default(),
            epoch: 1,
            superseded: Vec::new(),
            superseded_bytes: 0,
            ended: 0,
            last_flush_ms: i64::MIN,
            round: None,
            undo: None,
            requests: Requests::default(),
        }
    }

    /// Other limits, for series that are opened from now on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// The series with these labels, canonical with the metric name.
    pub fn find(&self, labels: LabelsRef<'_>) -> Option<Handle> {
        let is_it = |index: &u32| self.labels_at(*index) == Some(labels);
        let index = *self.by_labels.find(self.hash(labels), is_it)?;
        Some(Handle { index, generation: self.slots.get(index as usize)?.generation })
    }

    /// The series with these labels, or a new one that begins now. A series that was there keeps its help text, and
    /// gets this time to live. A new series over a limit is refused and counted. What earlier settings made of the
    /// series ends if it differs: see [`Totals::describe_again`].
    pub fn open(&mut self, new: NewSeries<'_>, now: Now) -> Result<Handle, Refused> {
        let epoch = self.epoch;
        let found = self.find(new.labels);
        if let Some(handle) = found
            && let Some(series) = self.get_mut(handle).filter(|series| series.total.kind() == *new.kind)
        {
            (series.ttl, series.epoch) = (new.ttl, epoch);
            self.names.confirm(new.labels, epoch);
            return Ok(handle);
        }
        let result = self.supersede(new, found, now).and_then(|()| self.admit(new, None)).and_then(|()| {
            let id = self.next_id;
            self.insert(Series {
                id,
                labels: new.labels.to_labels(),
                metadata: self.names.metadata(new.labels, new.kind, new.help, new.unit),
                total: Total::new(new.kind),
                mark: [0; 2],
                ttl: new.ttl,
                start_ms: now.wall_ms,
                // A gauge that is set to its first value, or a counter to which 0 is added, is shown too.
                is_changed: true,
                changed_at: now.monotonic,
                flushed_at: now.monotonic,
                is_journalled: false,
                is_begun: false,
                is_remembered: false,
                epoch,
            })
            .ok_or(Refused::Series { name: String::new(), limit: u32::MAX as usize })
        });
        match &result {
            Ok(handle) => self.remember_new(*handle),
            Err(_) => self.refused.add(new.labels.metric_name().unwrap_or_default()),
        }
        result
    }

    /// As [`Totals::open`], but a histogram that has other buckets so far ends, and a new one begins: for owners whose
    /// series say themselves what their buckets are.
    pub fn open_or_restart(&mut self, new: NewSeries<'_>, now: Now) -> Result<Handle, Refused> {
        if let Some(series) = self.find(new.labels).and_then(|handle| self.get_mut(handle))
            && series.total.kind() != *new.kind
        {
            series.epoch = 0;
        }
        self.open(new, now)
    }

    /// Says the unit of a series that was read back.
    pub(crate) fn set_unit(&mut self, handle: Handle, unit: String) {
        let name =
            self.get(handle).and_then(|series| series.labels.as_ref().metric_name().map(<[u8]>::to_vec));
        let metadata = name.and_then(|name| self.names.set_unit(&name, unit));
        if let (Some(metadata), Some(series)) = (metadata, self.get_mut(handle)) {
            series.metadata = metadata;
        }
    }

    /// Adds to a counter.
    #[inline]
    pub fn add(&mut self, handle: Handle, value: f64) -> Result<(), ChangeError> {
        self.change(handle, |total| total.add(value))
    }

    /// Sets a gauge.
    #[inline]
    pub fn set(&mut self, handle: Handle, value: f64) -> Result<(), ChangeError> {
        self.change(handle, |total| total.set(value))
    }

    /// Changes a gauge by so much.
    #[inline]
    pub fn shift(&mut self, handle: Handle, by: f64) -> Result<(), ChangeError> {
        self.change(handle, |total| total.shift(by))
    }

    /// Counts `weight` observations of a value, which need not be a whole number: 1 / sample rate. The counts of a
    /// histogram are whole numbers that are exact in total.
    #[inline]
    pub fn observe(&mut self, handle: Handle, value: f64, weight: f64) -> Result<(), ChangeError> {
        self.change(handle, |total| total.observe(value, weight))
    }

    /// Adds to a histogram with classic buckets only: the observations in each bucket, not added up, with one number for
    /// each bound and one for infinity, and the sum of the observations.
    pub fn add_classic(&mut self, handle: Handle, counts: &[u64], sum: f64) -> Result<(), ChangeError> {
        self.change(handle, |total| total.add_classic(counts, sum))
    }

    /// Adds to a histogram with native buckets only.
    pub fn add_native(&mut self, handle: Handle, buckets: &Buckets, sum: f64) -> Result<(), ChangeError> {
        self.change(handle, |total| total.add_native(buckets, sum))
    }

    /// What [`Totals::set_mark`] noted last.
    pub fn mark(&self, handle: Handle) -> Option<[u64; 2]> {
        self.get(handle).map(|series| series.mark).filter(|mark| *mark != [0; 2])
    }

    /// Notes two numbers of the owner's about a series, such as the start and time of the newest change, by which a
    /// repeated change is recognised. They are in the journal, like the total. Zeros are none.
    pub fn set_mark(&mut self, handle: Handle, mark: [u64; 2]) -> Result<(), ChangeError> {
        self.remember(handle);
        let series = self.get_mut(handle).ok_or(ChangeError::Mismatch)?;
        (series.mark, series.is_changed) = (mark, true);
        Ok(())
    }

    #[inline]
    fn change(
        &mut self,
        handle: Handle,
        change: impl FnOnce(&mut Total) -> Result<(), ChangeError>,
    ) -> Result<(), ChangeError> {
        if self.undo.is_some() {
            self.remember(handle);
        }
        let series = self.get_mut(handle).ok_or(ChangeError::Mismatch)?;
        change(&mut series.total)?;
        series.is_changed = true;
        Ok(())
    }

    /// Whether the series has not ended.
    pub fn is_open(&self, handle: Handle) -> bool {
        self.get(handle).is_some()
    }

    /// Totals, whatever their kind.
    pub fn len(&self) -> usize {
        self.by_labels.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Series at a receiver: a classic histogram has one for each bucket.
    pub fn series(&self) -> usize {
        self.names.rows()
    }

    /// Memory in bytes, give or take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Totals that ended: they did not change for their time to live, or other settings took their place.
    pub fn ended(&self) -> u64 {
        self.ended
    }

    /// New series that were refused, by metric name.
    pub fn refused(&self) -> &RefusedMetrics {
        &self.refused
    }

    /// Whether the limits allow a new series, in place of `old`.
    pub(crate) fn admit(&self, new: NewSeries<'_>, old: Option<&Series>) -> Result<(), Refused> {
        let name = new.labels.metric_name().unwrap_or_default();
        let shown = || String::from_utf8_lossy(name).into_owned();
        let (rows, limits) = (new.kind.rows(), &self.limits);
        let old = old.map(|old| (old.total.kind(), old.labels.as_ref()));
        let (old_rows, old_bytes) = old.map_or((0, 0), |(kind, labels)| (kind.rows(), memory(labels, &kind)));
        if self.series() + rows - old_rows > limits.series {
            return Err(Refused::Series { name: shown(), limit: limits.series });
        }
        if self.names.rows_of(name) + rows - old_rows > limits.series_per_name {
            return Err(Refused::SeriesOfName { name: shown(), limit: limits.series_per_name });
        }
        if self.bytes + memory(new.labels, new.kind) - old_bytes > limits.bytes {
            return Err(Refused::Memory { name: shown(), limit: limits.bytes });
        }
        Ok(())
    }

    /// Adds a series, whatever the limits are, in place of one with the same labels.
    pub(crate) fn insert(&mut self, series: Series) -> Option<Handle> {
        if let Some(handle) = self.find(series.labels.as_ref()) {
            let _ = self.remove(handle);
        }
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                let index = u32::try_from(self.slots.len()).ok()?;
                self.slots.push(Slot::default());
                index
            }
        };
        let kind = series.total.kind();
        self.next_id = self.next_id.max(series.id.saturating_add(1));
        self.names.add(series.labels.as_ref(), &kind, &series.metadata, series.epoch);
        self.bytes += memory(series.labels.as_ref(), &kind);
        let hash = self.hash(series.labels.as_ref());
        let slot = self.slots.get_mut(index as usize)?;
        let handle = Handle { index, generation: slot.generation };
        slot.series = Some(series);
        let Totals { by_labels, slots, hasher, .. } = self;
        by_labels.insert_unique(hash, index, |index| {
            let series = slots.get(*index as usize).and_then(|slot| slot.series.as_ref());
            series.map_or(0, |series| hasher.hash_one(series.labels.as_ref().as_bytes()))
        });
        Some(handle)
    }

    pub(crate) fn remove(&mut self, handle: Handle) -> Option<Series> {
        self.get(handle)?;
        let slot = self.slots.get_mut(handle.index as usize)?;
        let series = slot.series.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(handle.index);
        let (labels, kind) = (series.labels.as_ref(), series.total.kind());
        self.names.remove(labels, &kind);
        self.bytes -= memory(labels, &kind);
        let hash = self.hash(labels);
        if let Ok(entry) = self.by_labels.find_entry(hash, |index| *index == handle.index) {
            entry.remove();
        }
        Some(series)
    }

    pub(crate) fn get(&self, handle: Handle) -> Option<&Series> {
        let slot = self.slots.get(handle.index as usize)?;
        slot.series.as_ref().filter(|_| slot.generation == handle.generation)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, handle: Handle) -> Option<&mut Series> {
        let slot = self.slots.get_mut(handle.index as usize)?;
        slot.series.as_mut().filter(|_| slot.generation == handle.generation)
    }

    /// The series at or after a place, and the place after it.
    pub(crate) fn next(&self, from: u32) -> Option<(Handle, u32)> {
        let slots = self.slots.iter().enumerate().skip(from as usize);
        let (index, slot) = slots.into_iter().find(|(_, slot)| slot.series.is_some())?;
        let index = index as u32;
        Some((Handle { index, generation: slot.generation }, index + 1))
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = Handle> {
        let mut from = 0;
        std::iter::from_fn(move || {
            let (handle, next) = self.next(from)?;
            from = next;
            Some(handle)
        })
    }

    fn labels_at(&self, index: u32) -> Option<LabelsRef<'_>> {
        Some(self.slots.get(index as usize)?.series.as_ref()?.labels.as_ref())
    }

    fn hash(&self, labels: LabelsRef<'_>) -> u64 {
        self.hasher.hash_one(labels.as_bytes())
    }
}

/// Memory of a total, in bytes, give or take.
pub(crate) fn memory(labels: LabelsRef<'_>, kind: &Kind) -> usize {
    // The entry in the table of labels, at the table's lowest load, and the allocator's share of the labels.
    const OVERHEAD: usize = 12 + 16;
    size_of::<Slot>() + OVERHEAD + labels.as_bytes().len() + Total::bytes(kind)
}
