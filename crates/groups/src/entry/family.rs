//! A family with its series in an entry.

use super::bytes::{put_f64, put_labels, take_f64, take_labels, take_list, take_u8};
use crate::group::{Family, Member, Reading};
use model::varint::{put_bytes, put_i64, put_u64, take_bytes, take_i64, take_u64};
use model::{BucketSpan, Counts, Histogram, MetricType, ResetHint};

pub(crate) fn put_family(out: &mut Vec<u8>, name: &str, family: &Family) {
    put_bytes(out, name.as_bytes());
    out.push(family.kind as u8);
    put_bytes(out, family.help.as_bytes());
    put_bytes(out, family.unit.as_bytes());
    put_u64(out, family.members.len() as u64);
    for member in &family.members {
        put_labels(out, &member.labels);
        put_i64(out, member.start);
        match &member.reading {
            Reading::Float(value) => {
                out.push(0);
                put_f64(out, *value);
            }
            Reading::Histogram(histogram) => {
                out.push(1);
                put_histogram(out, histogram);
            }
        }
    }
}

pub(crate) fn take_family(input: &mut &[u8]) -> Option<(String, Family)> {
    let Head { name, kind, help, unit } = take_head(input)?;
    let members = take_list(input, |input| {
        let labels = take_labels(input)?;
        let (start, reading) = take_reading(input)?;
        Some(Member { labels, reading, start, time: 0, exemplars: Vec::new() })
    })?;
    Some((name.into(), Family { kind, help: help.into(), unit: unit.into(), members }))
}

/// The fields of a family before its series. The list of series follows: each is its labels, then [`take_reading`].
pub(crate) struct Head<'a> {
    pub(crate) name: &'a str,
    pub(crate) kind: MetricType,
    pub(crate) help: &'a str,
    pub(crate) unit: &'a str,
}

pub(crate) fn take_head<'a>(input: &mut &'a [u8]) -> Option<Head<'a>> {
    let text = |input: &mut &'a [u8]| std::str::from_utf8(take_bytes(input)?).ok();
    Some(Head {
        name: text(input)?,
        kind: MetricType::from_number(u64::from(take_u8(input)?)),
        help: text(input)?,
        unit: text(input)?,
    })
}

/// The start timestamp and the value of a series.
pub(crate) fn take_reading(input: &mut &[u8]) -> Option<(i64, Reading)> {
    let start = take_i64(input)?;
    let reading = match take_u8(input)? {
        0 => Reading::Float(take_f64(input)?),
        1 => Reading::Histogram(Box::new(take_histogram(input)?)),
        _ => return None,
    };
    Some((start, reading))
}

fn put_histogram(out: &mut Vec<u8>, histogram: &Histogram) {
    out.push(histogram.reset_hint as u8);
    put_i64(out, i64::from(histogram.schema));
    put_f64(out, histogram.zero_threshold);
    put_f64(out, histogram.sum);
    for spans in [&histogram.positive_spans, &histogram.negative_spans] {
        put_u64(out, spans.len() as u64);
        for span in spans {
            put_i64(out, i64::from(span.offset));
            put_u64(out, u64::from(span.length));
        }
    }
    match &histogram.counts {
        Counts::Integer { count, zero, positive, negative } => {
            out.push(0);
            put_u64(out, *count);
            put_u64(out, *zero);
            for buckets in [positive, negative] {
                put_u64(out, buckets.len() as u64);
                buckets.iter().for_each(|bucket| put_i64(out, *bucket));
            }
        }
        Counts::Float { count, zero, positive, negative } => {
            out.push(1);
            put_f64(out, *count);
            put_f64(out, *zero);
            for buckets in [positive, negative] {
                put_u64(out, buckets.len() as u64);
                buckets.iter().for_each(|bucket| put_f64(out, *bucket));
            }
        }
    }
    put_u64(out, histogram.custom_values.len() as u64);
    histogram.custom_values.iter().for_each(|bound| put_f64(out, *bound));
}

fn take_histogram(input: &mut &[u8]) -> Option<Histogram> {
    let span = |input: &mut &[u8]| {
        let offset = i32::try_from(take_i64(input)?).ok()?;
        Some(BucketSpan { offset, length: u32::try_from(take_u64(input)?).ok()? })
    };
    Some(Histogram {
        reset_hint: ResetHint::from_number(u64::from(take_u8(input)?)),
        schema: i32::try_from(take_i64(input)?).ok()?,
        zero_threshold: take_f64(input)?,
        sum: take_f64(input)?,
        positive_spans: take_list(input, span)?,
        negative_spans: take_list(input, span)?,
        counts: match take_u8(input)? {
            0 => Counts::Integer {
                count: take_u64(input)?,
                zero: take_u64(input)?,
                positive: take_list(input, take_i64)?,
                negative: take_list(input, take_i64)?,
            },
            1 => Counts::Float {
                count: take_f64(input)?,
                zero: take_f64(input)?,
                positive: take_list(input, take_f64)?,
                negative: take_list(input, take_f64)?,
            },
            _ => return None,
        },
        custom_values: take_list(input, take_f64)?,
    })
}
