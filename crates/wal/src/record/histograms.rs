//! Histogram records: native histograms with integer or float counts, exponential or custom buckets,
//! without and with start timestamps.
//!
//! ```text
//! ┌──────┬───────────┬───────────┬──────────────────────┬──────────────────────┬───────────┐
//! │ 7-10 │ reference │ timestamp │ reference minus the  │ timestamp minus the  │ histogram │ ...
//! │      │ 8 bytes   │ 8 bytes   │ first one, varint    │ first one, varint    │           │
//! └──────┴───────────┴───────────┴──────────────────────┴──────────────────────┴───────────┘
//! 12, 13: each histogram is preceded by the same fields as each value in record type 11
//!
//! histogram     integer counts (7, 9, 12)     float counts (8, 10, 13)
//! reset hint    1 byte
//! schema        varint
//! zero threshold     8 bytes
//! zero count    uvarint                       8 bytes
//! count         uvarint                       8 bytes
//! sum           8 bytes
//! positive, then negative spans: number, uvarint; each offset, varint, and length, uvarint
//! positive, then negative buckets: number, uvarint; each
//!               varint, minus the previous    8 bytes
//! custom bounds, with schema -53 only: number, uvarint; each 8 bytes
//! ```

use super::{Base, Cursor, DecodeError, RecordType, StartBase, take_byte, take_f64};
use model::histogram::CUSTOM_BUCKETS_SCHEMA;
use model::{BucketSpan, Counts, Histogram, ResetHint, varint};

#[derive(Debug, Clone, PartialEq)]
pub struct HistogramEntry {
    /// Reference of the series.
    pub reference: u64,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// Milliseconds since 1970; 0 means unset.
    pub start_timestamp: i64,
    /// The histogram as stored, not validated; see [`Histogram::validate`].
    pub histogram: Histogram,
}

/// Builds a record of native histograms of one type.
#[derive(Debug, Clone)]
pub struct HistogramsBuilder {
    kind: RecordType,
    bytes: Vec<u8>,
    entries: u32,
    base: Base,
    start: StartBase,
}

impl HistogramsBuilder {
    /// Returns the type of record that can hold `histogram`.
    pub fn kind(histogram: &Histogram, start_timestamp: i64) -> RecordType {
        let float = matches!(histogram.counts, Counts::Float { .. });
        let custom = histogram.schema == CUSTOM_BUCKETS_SCHEMA;
        match (float, custom, start_timestamp != 0) {
            (false, _, true) => RecordType::HistogramsWithStart,
            (true, _, true) => RecordType::FloatHistogramsWithStart,
            (false, false, false) => RecordType::Histograms,
            (true, false, false) => RecordType::FloatHistograms,
            (false, true, false) => RecordType::CustomHistograms,
            (true, true, false) => RecordType::CustomFloatHistograms,
        }
    }

    /// Makes an empty record of type `kind`, or returns `None` if that type does not hold histograms.
    pub fn new(kind: RecordType) -> Option<Self> {
        let (base, start) = (Base::default(), StartBase::default());
        kind.is_histograms().then(|| HistogramsBuilder {
            kind,
            bytes: vec![kind as u8],
            entries: 0,
            base,
            start,
        })
    }

    /// Adds a histogram. Returns false, and adds nothing, if the histogram does not belong into this type of
    /// record: it would be decoded wrongly.
    #[must_use]
    pub fn push(
        &mut self,
        reference: u64,
        timestamp: i64,
        start_timestamp: i64,
        histogram: &Histogram,
    ) -> bool {
        let with_start =
            matches!(self.kind, RecordType::HistogramsWithStart | RecordType::FloatHistogramsWithStart);
        // A record with start timestamps may also hold a histogram without one.
        let asked = if with_start { start_timestamp | 1 } else { start_timestamp };
        if Self::kind(histogram, asked) != self.kind {
            return false;
        }
        let (out, first) = (&mut self.bytes, self.entries == 0);
        if with_start {
            self.start.put(out, first, reference, timestamp, start_timestamp);
        } else {
            if first {
                self.base = Base { reference, timestamp };
                self.base.put(out);
            }
            varint::put_i64(out, reference.wrapping_sub(self.base.reference) as i64);
            varint::put_i64(out, timestamp.wrapping_sub(self.base.timestamp));
        }
        put_histogram(out, histogram);
        self.entries += 1;
        true
    }
}

finished_record!(HistogramsBuilder);

fn put_histogram(out: &mut Vec<u8>, histogram: &Histogram) {
    let put_f64 = |out: &mut Vec<u8>, value: f64| out.extend_from_slice(&value.to_bits().to_be_bytes());
    out.push(histogram.reset_hint as u8);
    varint::put_i64(out, i64::from(histogram.schema));
    put_f64(out, histogram.zero_threshold);
    match histogram.counts {
        Counts::Integer { count, zero, .. } => {
            varint::put_u64(out, zero);
            varint::put_u64(out, count);
        }
        Counts::Float { count, zero, .. } => {
            put_f64(out, zero);
            put_f64(out, count);
        }
    }
    put_f64(out, histogram.sum);
    for spans in [&histogram.positive_spans, &histogram.negative_spans] {
        varint::put_u64(out, spans.len() as u64);
        for span in spans {
            varint::put_i64(out, i64::from(span.offset));
            varint::put_u64(out, u64::from(span.length));
        }
    }
    match &histogram.counts {
        Counts::Integer { positive, negative, .. } => {
            for buckets in [positive, negative] {
                varint::put_u64(out, buckets.len() as u64);
                buckets.iter().for_each(|&bucket| varint::put_i64(out, bucket));
            }
        }
        Counts::Float { positive, negative, .. } => {
            for buckets in [positive, negative] {
                varint::put_u64(out, buckets.len() as u64);
                buckets.iter().for_each(|&bucket| put_f64(out, bucket));
            }
        }
    }
    if histogram.schema == CUSTOM_BUCKETS_SCHEMA {
        varint::put_u64(out, histogram.custom_values.len() as u64);
        histogram.custom_values.iter().for_each(|&bound| put_f64(out, bound));
    }
}

/// Reads a count, then that many items of at least `bytes` bytes each. A count that exceeds the remaining
/// input is refused before memory is allocated for it.
fn take_list<T>(
    input: &mut &[u8],
    bytes: usize,
    mut take: impl FnMut(&mut &[u8]) -> Option<T>,
) -> Option<Vec<T>> {
    let count = usize::try_from(varint::take_u64(input)?).ok()?;
    if count > input.len() / bytes {
        return None;
    }
    let mut list = Vec::with_capacity(count);
    for _ in 0..count {
        list.push(take(input)?);
    }
    Some(list)
}

fn take_spans(input: &mut &[u8]) -> Option<Vec<BucketSpan>> {
    take_list(input, 2, |input| {
        let offset = i32::try_from(varint::take_i64(input)?).ok()?;
        Some(BucketSpan { offset, length: u32::try_from(varint::take_u64(input)?).ok()? })
    })
}

fn take_histogram(input: &mut &[u8], float: bool) -> Option<Histogram> {
    let reset_hint = ResetHint::from_number(u64::from(take_byte(input)?));
    let schema = i32::try_from(varint::take_i64(input)?).ok()?;
    let zero_threshold = take_f64(input)?;
    let (mut zero, mut count, mut zero_float, mut count_float) = (0, 0, 0.0, 0.0);
    if float {
        (zero_float, count_float) = (take_f64(input)?, take_f64(input)?);
    } else {
        (zero, count) = (varint::take_u64(input)?, varint::take_u64(input)?);
    }
    let sum = take_f64(input)?;
    let (positive_spans, negative_spans) = (take_spans(input)?, take_spans(input)?);
    let counts = if float {
        let (positive, negative) = (take_list(input, 8, take_f64)?, take_list(input, 8, take_f64)?);
        Counts::Float { count: count_float, zero: zero_float, positive, negative }
    } else {
        let mut take = || take_list(input, 1, varint::take_i64);
        let (positive, negative) = (take()?, take()?);
        Counts::Integer { count, zero, positive, negative }
    };
    let custom_values =
        if schema == CUSTOM_BUCKETS_SCHEMA { take_list(input, 8, take_f64)? } else { Vec::new() };
    Some(Histogram {
        reset_hint,
        schema,
        zero_threshold,
        sum,
        positive_spans,
        negative_spans,
        counts,
        custom_values,
    })
}

/// Decodes a record of native histograms of any type.
pub fn histograms(record: &[u8]) -> Result<Histograms<'_>, DecodeError> {
    let (mut cursor, kind) = Cursor::new(record, RecordType::is_histograms)?;
    let float = matches!(
        kind,
        RecordType::FloatHistograms
            | RecordType::CustomFloatHistograms
            | RecordType::FloatHistogramsWithStart
    );
    let with_start = matches!(kind, RecordType::HistogramsWithStart | RecordType::FloatHistogramsWithStart);
    let start = with_start.then(StartBase::default);
    let base = if with_start { Base::default() } else { cursor.take_base()? };
    Ok(Histograms { cursor, base, start, float })
}

/// The iterator of [`histograms()`].
#[derive(Debug, Clone)]
pub struct Histograms<'a> {
    cursor: Cursor<'a>,
    base: Base,
    start: Option<StartBase>,
    float: bool,
}

impl Iterator for Histograms<'_> {
    type Item = Result<HistogramEntry, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let Histograms { cursor, base, start, float } = self;
        cursor.next(|rest, first| {
            let (reference, timestamp, start_timestamp) = match start {
                Some(start) => start.take(rest, first)?,
                None => {
                    let reference = base.reference.wrapping_add(varint::take_i64(rest)? as u64);
                    (reference, base.timestamp.wrapping_add(varint::take_i64(rest)?), 0)
                }
            };
            let histogram = take_histogram(rest, *float)?;
            Some(HistogramEntry { reference, timestamp, start_timestamp, histogram })
        })
    }
}
