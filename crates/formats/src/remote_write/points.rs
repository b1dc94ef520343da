//! Samples and native histograms. Their messages are the same in both versions except for the start timestamps of 2.0.

use super::Protocol;
use crate::lists::{Bounded, longest, span};
use crate::wire::{Fault, Field, Reader};
use model::{Counts, Histogram, HistogramError, ResetHint, histogram, varint};

/// The value, timestamp and start timestamp of a `Sample`. Clears `exact` if the message has any other field.
#[inline]
pub(super) fn sample(protocol: Protocol, message: &[u8], exact: &mut bool) -> Result<(f64, i64, i64), Fault> {
    // Hot path: a value and a timestamp and nothing else, as nearly every sender writes it.
    if let [0x09, a, b, c, d, e, f, g, h, 0x10, rest @ ..] = message {
        let mut rest = rest;
        if let Some(timestamp) = varint::take_u64(&mut rest)
            && rest.is_empty()
        {
            return Ok((f64::from_le_bytes([*a, *b, *c, *d, *e, *f, *g, *h]), timestamp as i64, 0));
        }
    }
    let (mut value, mut timestamp, mut start) = (0.0, 0, 0);
    let mut fields = Reader::new(message);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => value = field.double()?,
            2 => timestamp = field.varint()? as i64,
            3 if protocol == Protocol::V2 => start = field.varint()? as i64,
            _ => *exact = false,
        }
    }
    Ok((value, timestamp, start))
}

/// A decoded `Histogram`.
#[derive(Debug)]
pub(super) struct TimedHistogram {
    pub(super) timestamp: i64,
    pub(super) start_timestamp: i64,
    /// The histogram, not validated yet, or the error that it has more buckets than the limit.
    pub(super) histogram: Result<Histogram, HistogramError>,
    /// False if the message has any other field, or one that this version of the protocol does not have.
    pub(super) exact: bool,
}

/// A `oneof` of an integer and a float: the last field in the message counts.
#[derive(Debug, Clone, Copy)]
enum Count {
    Integer(u64),
    Float(f64),
}

impl Count {
    fn read(field: &Field<'_>, integer: bool) -> Result<Self, Fault> {
        Ok(if integer { Self::Integer(field.varint()?) } else { Self::Float(field.double()?) })
    }

    fn integer(self) -> u64 {
        match self {
            Self::Integer(count) => count,
            Self::Float(_) => 0,
        }
    }

    fn float(self) -> f64 {
        match self {
            Self::Integer(_) => 0.0,
            Self::Float(count) => count,
        }
    }
}

/// Reads a `Histogram`. Keeps at most `max_buckets` items of each list.
pub(super) fn histogram(
    protocol: Protocol,
    message: &[u8],
    max_buckets: usize,
) -> Result<TimedHistogram, Fault> {
    let (mut count, mut zero) = (Count::Integer(0), Count::Integer(0));
    let (mut sum, mut zero_threshold, mut schema, mut hint) = (0.0, 0.0, 0i32, 0u64);
    let (mut timestamp, mut start_timestamp) = (0, 0);
    let mut exact = true;
    let mut negative_spans = Bounded::new(max_buckets);
    let mut positive_spans = Bounded::new(max_buckets);
    let mut negative_deltas = Bounded::new(max_buckets);
    let mut positive_deltas = Bounded::new(max_buckets);
    let mut negative_counts = Bounded::new(max_buckets);
    let mut positive_counts = Bounded::new(max_buckets);
    let mut custom_values = Bounded::new(max_buckets);
    let mut fields = Reader::new(message);
    while let Some(field) = fields.next()? {
        match field.number {
            1 | 2 => count = Count::read(&field, field.number == 1)?,
            3 => sum = field.double()?,
            4 => schema = field.sint32()?,
            5 => zero_threshold = field.double()?,
            6 | 7 => zero = Count::read(&field, field.number == 6)?,
            8 => negative_spans.push(span(field.bytes()?, &mut exact)?),
            9 => field.varints(|delta| negative_deltas.push(varint::unzigzag(delta)))?,
            10 => field.doubles(|count| negative_counts.push(count))?,
            11 => positive_spans.push(span(field.bytes()?, &mut exact)?),
            12 => field.varints(|delta| positive_deltas.push(varint::unzigzag(delta)))?,
            13 => field.doubles(|count| positive_counts.push(count))?,
            14 => hint = field.varint()?,
            15 => timestamp = field.varint()? as i64,
            16 => field.doubles(|bound| custom_values.push(bound))?,
            17 if protocol == Protocol::V2 => start_timestamp = field.varint()? as i64,
            _ => exact = false,
        }
    }
    let most = longest(&[
        negative_spans.len,
        positive_spans.len,
        negative_deltas.len,
        positive_deltas.len,
        negative_counts.len,
        positive_counts.len,
        custom_values.len,
    ]);
    let reset_hint = ResetHint::from_number(hint);
    let unused = match (count, zero) {
        (Count::Integer(_), Count::Integer(_)) => negative_counts.len + positive_counts.len,
        (Count::Float(_), Count::Float(_)) => negative_deltas.len + positive_deltas.len,
        _ => 1,
    };
    exact &= unused == 0
        && reset_hint as u64 == hint
        && (schema != histogram::CUSTOM_BUCKETS_SCHEMA || protocol == Protocol::V2);
    let histogram = if most > max_buckets {
        Err(HistogramError::TooManyBuckets { buckets: most, limit: max_buckets })
    } else {
        let counts = match count {
            Count::Integer(count) => Counts::Integer {
                count,
                zero: zero.integer(),
                positive: positive_deltas.items,
                negative: negative_deltas.items,
            },
            Count::Float(count) => Counts::Float {
                count,
                zero: zero.float(),
                positive: positive_counts.items,
                negative: negative_counts.items,
            },
        };
        Ok(Histogram {
            reset_hint,
            schema,
            zero_threshold,
            sum,
            positive_spans: positive_spans.items,
            negative_spans: negative_spans.items,
            counts,
            custom_values: custom_values.items,
        })
    };
    Ok(TimedHistogram { timestamp, start_timestamp, histogram, exact })
}
