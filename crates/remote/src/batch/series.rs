//! Writes the time series of a request, and decides which points share one.
//!
//! Samples of one series share one time series of the request, even if they come from several chunks. Two
//! series that relabelling makes equal are one series here, so that their samples stay in order.

use super::Known;
use crate::outgoing::Outgoing;
use formats::remote_write::{Encoder, Protocol};
use hashbrown::HashSet;
use model::{Kinds, Metadata, Point, Value};
use std::sync::Arc;

/// The points that were written.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// Number of points used, counted from the first.
    pub(super) taken: usize,
    pub(super) kinds: Kinds,
    pub(super) unsupported: Kinds,
    pub(super) without_start: u64,
    pub(super) newest: Option<i64>,
}

pub(super) struct SeriesWriter<'e, 'a, F> {
    encoder: &'e mut Encoder,
    protocol: Protocol,
    known: Known<'a, F>,
    buffer: &'e mut Vec<u8>,
    /// Estimate of the bytes so far.
    bytes: usize,
    pub(super) written: Written,
}

impl<'e, 'a, F: Fn(&[u8]) -> Option<Arc<Metadata>>> SeriesWriter<'e, 'a, F> {
    pub(super) fn new(
        encoder: &'e mut Encoder,
        protocol: Protocol,
        known: Known<'a, F>,
        buffer: &'e mut Vec<u8>,
    ) -> Self {
        SeriesWriter { encoder, protocol, known, buffer, bytes: 0, written: Written::default() }
    }

    /// Writes points in the given order: see [`Groups::is_each_series_once`].
    pub(super) fn write_in_order(&mut self, points: impl Iterator<Item = (&'a Outgoing, u32)>, limit: usize) {
        let mut series = None;
        for (source, index) in points {
            let Some(point) = point_of(source, index) else { break };
            let is_new = series.replace(point.series) != Some(point.series);
            if !self.has_room(source, point, is_new, limit) {
                break;
            }
            if is_new {
                self.begin_series(source, point.series);
            }
            self.write_point(source, point);
        }
    }

    /// Writes the points of each series together, at the place of the series' first point.
    pub(super) fn write_by_series(
        &mut self,
        points: impl Iterator<Item = (&'a Outgoing, u32)>,
        limit: usize,
        groups: &mut Groups,
    ) {
        let expected = points.size_hint().0;
        let mut entries: Vec<Entry<'a>> = Vec::with_capacity(expected);
        groups.clear(expected);
        for (source, index) in points {
            let Some(point) = point_of(source, index) else { break };
            let place = groups.find(source, point.series, &entries);
            if !self.has_room(source, point, place.group.is_none(), limit) {
                break;
            }
            groups.add(place, &mut entries);
            entries.push(Entry { source, point, next: NONE });
        }
        for group in &groups.groups {
            let mut next = group.first;
            if let Some(first) = entries.get(next as usize) {
                self.begin_series(first.source, first.point.series);
            }
            while let Some(entry) = entries.get(next as usize) {
                self.write_point(entry.source, entry.point);
                next = entry.next;
            }
        }
    }

    /// Returns true if the point fits. `is_new` says whether its series is new in the request. The first
    /// point always fits.
    fn has_room(&mut self, source: &Outgoing, point: &Point, is_new: bool, limit: usize) -> bool {
        self.bytes += 24 + payload_bytes(source, point);
        if is_new {
            self.bytes += 32 + source.labels_bytes(point.series) * 5 / 4;
        }
        let is_first = self.written.taken == 0;
        if self.bytes > limit && !is_first {
            return false;
        }
        self.written.taken += 1;
        if !matches!(point.value, Value::Exemplar(_)) {
            self.written.newest = self.written.newest.max(Some(point.timestamp));
        }
        true
    }

    fn begin_series(&mut self, source: &'a Outgoing, series: u32) {
        let batch = &source.chunk().batch;
        let own = batch.series.get(series as usize);
        let own = own.and_then(|series| batch.metadata.get(series.metadata as usize));
        let metadata = match own {
            None if self.protocol == Protocol::V2 => self.known.of(source.metric_name(series)),
            own => own,
        };
        self.encoder.push_series(source.labels(series, self.buffer), metadata);
    }

    fn write_point(&mut self, source: &Outgoing, point: &Point) {
        self.written.kinds.count(&point.value);
        if self.encoder.push_point(&source.chunk().batch, point).is_err() {
            self.written.unsupported.count(&point.value);
        } else if self.protocol == Protocol::V1 && point.start_timestamp != 0 {
            self.written.without_start += 1;
        }
    }
}

fn point_of(source: &Outgoing, index: u32) -> Option<&Point> {
    let point = source.point(index);
    // Points after this one are not counted as taken, because the count is from the first point on.
    model::invariant!(point.is_some(), "a point of a request is in its chunk", index = index);
    point
}

/// Estimates the point's bytes beyond its timestamp and value.
fn payload_bytes(source: &Outgoing, point: &Point) -> usize {
    let batch = &source.chunk().batch;
    match point.value {
        Value::Float(_) => 0,
        Value::Histogram(index) => batch.histograms.get(index as usize).map_or(0, |h| 64 + h.heap_bytes()),
        Value::Exemplar(index) => {
            batch.exemplars.get(index as usize).map_or(0, |exemplar| exemplar.labels.len as usize * 5 / 4)
        }
    }
}

struct Entry<'a> {
    source: &'a Outgoing,
    point: &'a Point,
    /// The next point of the same series.
    next: u32,
}

const NONE: u32 = u32::MAX;

/// The series of a request, by the hash of their outgoing labels.
#[derive(Debug, Default)]
pub(super) struct Groups {
    groups: Vec<Group>,
    /// Numbers of groups, by the hash.
    table: Vec<u32>,
    buffers: [Vec<u8>; 2],
    references: HashSet<u64>,
}

#[derive(Debug)]
struct Group {
    hash: u64,
    first: u32,
    last: u32,
}

/// The place of a series: an existing group, or a slot of the table for a new one.
struct Place {
    hash: u64,
    slot: usize,
    group: Option<u32>,
}

impl Groups {
    /// Returns true if these points are of one chunk, the points of each series are contiguous, and no two
    /// series are the same in the log. Then they can be written in the given order. That is the case for most
    /// points that come in one request and are sent in one. The check does not read labels.
    pub(super) fn is_each_series_once<'a>(
        &mut self,
        points: impl Iterator<Item = (&'a Outgoing, u32)>,
    ) -> bool {
        self.references.clear();
        let mut last: Option<(&Outgoing, u32)> = None;
        for (source, index) in points {
            let Some(series) = source.point(index).map(|point| point.series) else { return false };
            if last.is_some_and(|(chunk, _)| !std::ptr::eq(chunk, source)) {
                return false;
            }
            if last.is_none_or(|(_, before)| before != series) {
                let is_new =
                    source.reference(series).is_some_and(|reference| self.references.insert(reference));
                if !is_new {
                    return false;
                }
            }
            last = Some((source, series));
        }
        true
    }

    fn clear(&mut self, expected: usize) {
        self.groups.clear();
        self.table.clear();
        self.table.resize(1024.max((expected * 2).next_power_of_two()), NONE);
    }

    fn find(&mut self, source: &Outgoing, series: u32, entries: &[Entry<'_>]) -> Place {
        if self.groups.len() * 2 > self.table.len() {
            self.grow();
        }
        let hash = source.hash(series);
        let mask = self.table.len() - 1;
        let mut slot = (hash >> 8) as usize & mask;
        let [one, other] = &mut self.buffers;
        loop {
            let number = self.table.get(slot).copied().unwrap_or(NONE);
            let Some(group) = self.groups.get(number as usize) else {
                return Place { hash, slot, group: None };
            };
            if group.hash == hash
                && entries.get(group.first as usize).is_some_and(|first| {
                    let of = first.point.series;
                    let reference = source.reference(series);
                    (reference.is_some() && reference == first.source.reference(of))
                        || source.labels(series, one) == first.source.labels(of, other)
                })
            {
                return Place { hash, slot, group: Some(number) };
            }
            slot = (slot + 1) & mask;
        }
    }

    /// Adds the next point, after `entries`.
    fn add(&mut self, place: Place, entries: &mut [Entry<'_>]) {
        let number = entries.len() as u32;
        match place.group.and_then(|group| self.groups.get_mut(group as usize)) {
            Some(group) => {
                if let Some(last) = entries.get_mut(group.last as usize) {
                    last.next = number;
                }
                group.last = number;
            }
            None => {
                if let Some(slot) = self.table.get_mut(place.slot) {
                    *slot = self.groups.len() as u32;
                }
                self.groups.push(Group { hash: place.hash, first: number, last: number });
            }
        }
    }

    fn grow(&mut self) {
        let size = self.table.len() * 2;
        self.table.clear();
        self.table.resize(size, NONE);
        for (number, group) in (0u32..).zip(&self.groups) {
            let mut at = (group.hash >> 8) as usize & (size - 1);
            while self.table.get(at).is_some_and(|slot| *slot != NONE) {
                at = (at + 1) & (size - 1);
            }
            if let Some(slot) = self.table.get_mut(at) {
                *slot = number;
            }
        }
    }
}
