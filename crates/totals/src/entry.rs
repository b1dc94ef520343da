//! The bytes of totals in the journal. Pure.
//!
//! ```text
//! ┌─────────┬──────────────────┬──────────────┬────
//! │ version │ time of the flush│ tag │ fields │ ...      version, tag: 1 byte
//! └─────────┴──────────────────┴──────────────┴────
//! 1  opened:  number, labels, kind, help, time to live in milliseconds or nothing, start
//! 2  state:   number, the whole total: a counter, a gauge, or a histogram
//! 3  ended:   number
//! 4  marked:  number, two numbers of the input's (see `Totals::set_mark`)
//! 6  unit:    number, the unit of the metric; where there is one, after `opened`
//! 5  applied: the hash of a request (16 bytes, little-endian), when
//! ```
//!
//! Numbers are varints, signed ones zigzag-encoded; floats are their 8 bytes, little-endian; texts and labels are
//! preceded by their length. An entry holds whole states, so one that is read twice changes nothing.

use crate::native::{Buckets, SCHEMA_MAX, SCHEMA_MIN};
use crate::sum::Sum;
use crate::table::{Series, Totals};
use crate::value::{HistogramTotal, Kind, Shape, SummaryPart, Total};
use model::varint::{put_bytes, put_i64, put_u64, take_bytes, take_i64, take_u64};
use model::{Labels, LabelsRef};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

const VERSION: u8 = 1;
const OPENED: u8 = 1;
const STATE: u8 = 2;
const ENDED: u8 = 3;
const MARKED: u8 = 4;
const APPLIED: u8 = 5;
const UNIT: u8 = 6;

/// An entry that can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    #[error("an entry of version {0}, this narthex knows {VERSION}")]
    Version(u8),
    #[error("a damaged entry, at byte {at}")]
    Damaged { at: usize },
}

/// Something that an entry says.
#[derive(Debug, Clone, PartialEq)]
enum Change {
    Opened { id: u64, labels: Labels, kind: Kind, help: String, ttl: Option<Duration>, start_ms: i64 },
    State { id: u64, total: State },
    Unit { id: u64, unit: String },
    Ended { id: u64 },
    Marked { id: u64, mark: [u64; 2] },
    Applied { request: u128, wall_ms: i64 },
}

/// A total as an entry has it: without the shape of a histogram, which it has once.
#[derive(Debug, Clone, PartialEq)]
enum State {
    Counter(Sum),
    Gauge(f64),
    Histogram { count: u64, carry: f64, sum: Sum, classic: Vec<u64>, native: Buckets },
}

/// Writes an entry.
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn new(at_ms: i64) -> Writer {
        let mut out = vec![VERSION];
        put_i64(&mut out, at_ms);
        Writer(out)
    }

    pub(crate) fn opened(&mut self, series: &Series) {
        let out = &mut self.0;
        out.push(OPENED);
        put_u64(out, series.id);
        put_bytes(out, series.labels.as_ref().as_bytes());
        put_kind(out, &series.total.kind());
        put_bytes(out, series.metadata.help.as_bytes());
        let ttl = series.ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
        // 0 is none: a time to live of less than a millisecond can't be set.
        put_u64(out, ttl.unwrap_or(0));
        put_i64(out, series.start_ms);
        if !series.metadata.unit.is_empty() {
            out.push(UNIT);
            put_u64(out, series.id);
            put_bytes(out, series.metadata.unit.as_bytes());
        }
    }

    pub(crate) fn state(&mut self, series: &Series) {
        let out = &mut self.0;
        out.push(STATE);
        put_u64(out, series.id);
        match &series.total {
            Total::Counter(sum) | Total::Summary(SummaryPart::Count | SummaryPart::Sum, sum) => {
                out.push(1);
                put_sum(out, sum);
            }
            Total::Gauge(value) | Total::Summary(SummaryPart::Quantile, Sum { sum: value, .. }) => {
                out.push(2);
                put_f64(out, *value);
            }
            Total::Histogram(histogram) => put_histogram(out, histogram),
        }
        if series.mark != [0; 2] {
            out.push(MARKED);
            put_u64(out, series.id);
            series.mark.iter().for_each(|number| put_u64(out, *number));
        }
    }

    pub(crate) fn applied(&mut self, request: u128, wall_ms: i64) {
        self.0.push(APPLIED);
        self.0.extend_from_slice(&request.to_le_bytes());
        put_i64(&mut self.0, wall_ms);
    }

    pub(crate) fn ended(&mut self, id: u64) {
        self.0.push(ENDED);
        put_u64(&mut self.0, id);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }
}

fn put_f64(out: &mut Vec<u8>, value: f64) {
    out.extend_from_slice(&value.to_bits().to_le_bytes());
}

fn put_sum(out: &mut Vec<u8>, sum: &Sum) {
    put_f64(out, sum.sum);
    // Without fractions nothing is lost by rounding, and this is one byte.
    put_u64(out, u64::from(sum.lost != 0.0));
    if sum.lost != 0.0 {
        put_f64(out, sum.lost);
    }
}

fn put_kind(out: &mut Vec<u8>, kind: &Kind) {
    match kind {
        Kind::Counter => out.push(1),
        Kind::Gauge => out.push(2),
        Kind::Summary(SummaryPart::Count) => out.push(5),
        Kind::Summary(SummaryPart::Sum) => out.push(6),
        Kind::Summary(SummaryPart::Quantile) => out.push(7),
        Kind::Histogram(shape) => {
            out.push(3 + u8::from(shape.is_native()));
            let bounds = shape.bounds();
            // One more than the number of bounds; 0 is none at all.
            put_u64(out, bounds.map_or(0, |bounds| bounds.len() as u64 + 1));
            bounds.into_iter().flatten().for_each(|bound| put_f64(out, *bound));
        }
    }
}

fn put_histogram(out: &mut Vec<u8>, histogram: &HistogramTotal) {
    out.push(3);
    put_u64(out, histogram.count);
    put_f64(out, histogram.carry);
    put_sum(out, &histogram.sum);
    put_u64(out, histogram.classic.len() as u64);
    histogram.classic.iter().for_each(|count| put_u64(out, *count));
    put_i64(out, histogram.native.schema.into());
    put_u64(out, histogram.native.zero);
    for side in [&histogram.native.positive, &histogram.native.negative] {
        put_u64(out, side.len() as u64);
        let mut last = 0;
        for (index, count) in side {
            put_i64(out, i64::from(*index) - last);
            put_u64(out, *count);
            last = i64::from(*index);
        }
    }
}

fn take_u8(input: &mut &[u8]) -> Option<u8> {
    let (first, rest) = input.split_first()?;
    *input = rest;
    Some(*first)
}

fn take_f64(input: &mut &[u8]) -> Option<f64> {
    let (bytes, rest) = input.split_first_chunk::<8>()?;
    *input = rest;
    Some(f64::from_bits(u64::from_le_bytes(*bytes)))
}

fn take_sum(input: &mut &[u8]) -> Option<Sum> {
    let sum = take_f64(input)?;
    let lost = match take_u64(input)? {
        0 => 0.0,
        1 => take_f64(input).filter(|lost| *lost != 0.0)?,
        _ => return None,
    };
    (sum.is_finite() && lost.is_finite()).then_some(Sum { sum, lost })
}

fn take_list<T>(input: &mut &[u8], mut take: impl FnMut(&mut &[u8]) -> Option<T>) -> Option<Vec<T>> {
    let length = usize::try_from(take_u64(input)?).ok()?;
    // Each element takes a byte at least, so a length beyond that is damage.
    (length <= input.len()).then_some(())?;
    (0..length).map(|_| take(input)).collect()
}

fn take_kind(input: &mut &[u8]) -> Option<Kind> {
    let tag = take_u8(input)?;
    match tag {
        1 => return Some(Kind::Counter),
        2 => return Some(Kind::Gauge),
        3 | 4 => {}
        5 => return Some(Kind::Summary(SummaryPart::Count)),
        6 => return Some(Kind::Summary(SummaryPart::Sum)),
        7 => return Some(Kind::Summary(SummaryPart::Quantile)),
        _ => return None,
    }
    let bounds = match take_u64(input)?.checked_sub(1) {
        None => None,
        Some(length) => {
            let length = usize::try_from(length).ok().filter(|length| *length <= input.len())?;
            Some((0..length).map(|_| take_f64(input)).collect::<Option<Vec<f64>>>()?)
        }
    };
    let shape = match (bounds, tag == 4) {
        (None, true) => Shape::native(),
        (None, false) => return None,
        (Some(bounds), false) => Shape::classic(&bounds).ok()?,
        (Some(bounds), true) => Shape::classic(&bounds).ok()?.and_native(),
    };
    Some(Kind::Histogram(Arc::new(shape)))
}

fn take_side(input: &mut &[u8]) -> Option<Vec<(i32, u64)>> {
    let mut last: Option<i64> = None;
    take_list(input, |input| {
        let difference = take_i64(input)?;
        let index = difference.checked_add(last.unwrap_or(0))?;
        // In order, so that a search finds them.
        (last.is_none() || difference > 0).then_some(())?;
        last = Some(index);
        Some((i32::try_from(index).ok()?, take_u64(input)?))
    })
}

fn take_state(input: &mut &[u8]) -> Option<State> {
    Some(match take_u8(input)? {
        1 => State::Counter(take_sum(input)?),
        2 => State::Gauge(take_f64(input).filter(|value| value.is_finite())?),
        3 => {
            let count = take_u64(input)?;
            let carry = take_f64(input).filter(|carry| (0.0..1.0).contains(carry))?;
            let sum = take_sum(input)?;
            let classic = take_list(input, take_u64)?;
            let schema = i32::try_from(take_i64(input)?).ok()?;
            (SCHEMA_MIN..=SCHEMA_MAX).contains(&schema).then_some(())?;
            let zero = take_u64(input)?;
            let (positive, negative) = (take_side(input)?, take_side(input)?);
            let all = positive.iter().chain(&negative).map(|(_, count)| count).chain(&classic);
            all.copied().try_fold(zero, u64::checked_add)?;
            State::Histogram {
                count,
                carry,
                sum,
                classic,
                native: Buckets { schema, zero, positive, negative },
            }
        }
        _ => return None,
    })
}

fn take_change(input: &mut &[u8]) -> Option<Change> {
    Some(match take_u8(input)? {
        OPENED => Change::Opened {
            id: take_u64(input)?,
            labels: {
                let labels = LabelsRef::parse(take_bytes(input)?).ok()?;
                labels.metric_name().is_some_and(|name| !name.is_empty()).then(|| labels.to_labels())?
            },
            kind: take_kind(input)?,
            help: String::from_utf8(take_bytes(input)?.to_vec()).ok()?,
            ttl: Some(take_u64(input)?).filter(|ttl| *ttl > 0).map(Duration::from_millis),
            start_ms: take_i64(input)?,
        },
        STATE => Change::State { id: take_u64(input)?, total: take_state(input)? },
        UNIT => {
            Change::Unit { id: take_u64(input)?, unit: String::from_utf8(take_bytes(input)?.to_vec()).ok()? }
        }
        ENDED => Change::Ended { id: take_u64(input)? },
        MARKED => Change::Marked { id: take_u64(input)?, mark: [take_u64(input)?, take_u64(input)?] },
        APPLIED => {
            let (request, rest) = input.split_first_chunk::<16>()?;
            *input = rest;
            Change::Applied { request: u128::from_le_bytes(*request), wall_ms: take_i64(input)? }
        }
        _ => return None,
    })
}

fn decode(entry: &[u8]) -> Result<(i64, Vec<Change>), EntryError> {
    let damaged = |rest: &[u8]| EntryError::Damaged { at: entry.len() - rest.len() };
    let mut rest = match entry {
        [VERSION, rest @ ..] => rest,
        [other, ..] => return Err(EntryError::Version(*other)),
        [] => return Err(damaged(&[])),
    };
    let at_ms = take_i64(&mut rest).ok_or_else(|| damaged(rest))?;
    let mut changes = Vec::new();
    while !rest.is_empty() {
        let start = rest;
        changes.push(take_change(&mut rest).ok_or_else(|| damaged(start))?);
    }
    Ok((at_ms, changes))
}

/// Puts totals together from the entries of a journal.
#[derive(Debug)]
pub struct Replay {
    totals: Totals,
    by_id: HashMap<u64, crate::table::Handle>,
    now: Duration,
}

impl Replay {
    /// `now` is by the monotonic clock: times to live begin anew.
    pub fn new(totals: Totals, now: Duration) -> Replay {
        Replay { totals, by_id: HashMap::new(), now }
    }

    pub fn entry(&mut self, entry: &[u8]) -> Result<(), EntryError> {
        let (at_ms, changes) = decode(entry)?;
        self.totals.last_flush_ms = self.totals.last_flush_ms.max(at_ms);
        changes.into_iter().for_each(|change| self.apply(change));
        Ok(())
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Opened { id, labels, kind, help, ttl, start_ms } => {
                if let Some(handle) = self.by_id.remove(&id) {
                    self.totals.remove(handle);
                }
                let series = Series {
                    id,
                    metadata: self.totals.names.metadata(labels.as_ref(), &kind, &help, ""),
                    total: Total::new(&kind),
                    labels,
                    mark: [0; 2],
                    ttl,
                    start_ms,
                    is_changed: false,
                    changed_at: self.now,
                    flushed_at: self.now,
                    is_journalled: true,
                    is_begun: true,
                    is_remembered: false,
                    epoch: 0,
                };
                if let Some(handle) = self.totals.insert(series) {
                    self.by_id.insert(id, handle);
                }
            }
            Change::State { id, total } => {
                let handle = self.by_id.get(&id).copied();
                let Some(series) = handle.and_then(|handle| self.totals.get_mut(handle)) else { return };
                match (&mut series.total, total) {
                    (
                        Total::Counter(own) | Total::Summary(SummaryPart::Count | SummaryPart::Sum, own),
                        State::Counter(sum),
                    ) => *own = sum,
                    (Total::Gauge(own), State::Gauge(value)) => *own = value,
                    (Total::Summary(SummaryPart::Quantile, own), State::Gauge(value)) => {
                        *own = Sum::from(value)
                    }
                    (Total::Histogram(own), State::Histogram { count, carry, sum, classic, native })
                        if own.classic.len() == classic.len() =>
                    {
                        let shape = own.shape.clone();
                        **own = HistogramTotal { shape, count, carry, sum, classic: classic.into(), native };
                    }
                    // The entry with its labels could not be read, and the number is another's.
                    _ => {}
                }
            }
            Change::Unit { id, unit } => {
                if let Some(handle) = self.by_id.get(&id) {
                    self.totals.set_unit(*handle, unit);
                }
            }
            Change::Ended { id } => {
                if let Some(handle) = self.by_id.remove(&id) {
                    self.totals.remove(handle);
                }
            }
            Change::Marked { id, mark } => {
                let handle = self.by_id.get(&id).copied();
                if let Some(series) = handle.and_then(|handle| self.totals.get_mut(handle)) {
                    series.mark = mark;
                }
            }
            Change::Applied { request, wall_ms } => {
                self.totals.requests.insert(request, wall_ms);
            }
        }
    }

    pub fn finish(self) -> Totals {
        self.totals
    }
}

/// Most bytes of an entry of a snapshot, give or take one series.
const SNAPSHOT_ENTRY_BYTES: usize = 1 << 20;

impl Totals {
    /// What a journal must hold so that replaying it gives these totals.
    pub fn snapshot(&self) -> Vec<Vec<u8>> {
        let (mut entries, mut entry) = (Vec::new(), Writer::new(self.last_flush_ms));
        self.requests.iter().for_each(|(request, wall_ms)| entry.applied(request, wall_ms));
        // Totals whose end is not committed yet: after a restart they are superseded again.
        let superseded = self.superseded.iter().map(|old| &old.series);
        let open = self.all().filter_map(|handle| self.get(handle));
        // One that was never committed has no start that is final, and may be there in the place of one that was.
        for series in superseded.chain(open).filter(|series| series.is_journalled) {
            entry.opened(series);
            entry.state(series);
            if entry.len() > SNAPSHOT_ENTRY_BYTES {
                entries.push(std::mem::replace(&mut entry, Writer::new(self.last_flush_ms)).finish());
            }
        }
        entries.push(entry.finish());
        entries
    }
}
