//! Adds two native histograms. Pure.

use model::histogram::CUSTOM_BUCKETS_SCHEMA;
use model::{BucketSpan, Counts, Histogram, ResetHint};
use std::collections::BTreeMap;

/// The maximum of buckets in a sum. The resolution is reduced until they fit, as client libraries do.
const BUCKETS_MAX: usize = 160;
/// The coarsest resolution that receivers support.
const SCHEMA_MIN: i32 = -4;

/// Buckets by their index.
type Side = BTreeMap<i32, f64>;

/// The sum of both at the coarser resolution of the two. Its counts are integers if those of both are.
pub(crate) fn add(one: &Histogram, other: &Histogram) -> Result<Histogram, &'static str> {
    if one.is_stale() || other.is_stale() {
        return Err("a staleness marker can't be added");
    }
    if one.zero_threshold != other.zero_threshold {
        return Err("the zero buckets of the native histograms have different widths");
    }
    let is_custom = |histogram: &Histogram| histogram.schema == CUSTOM_BUCKETS_SCHEMA;
    if is_custom(one) != is_custom(other) || one.custom_values != other.custom_values {
        return Err("the custom buckets of the native histograms differ");
    }
    let mut schema = one.schema.min(other.schema);
    let (one_parts, other_parts) = (Parts::of(one), Parts::of(other));
    let mut positive = reduced(one_parts.positive, one.schema - schema);
    let mut negative = reduced(one_parts.negative, one.schema - schema);
    for (side, more) in [(&mut positive, other_parts.positive), (&mut negative, other_parts.negative)] {
        for (index, count) in reduced(more, other.schema - schema) {
            *side.entry(index).or_default() += count;
        }
    }
    while !is_custom(one) && positive.len() + negative.len() > BUCKETS_MAX && schema > SCHEMA_MIN {
        (positive, negative, schema) = (reduced(positive, 1), reduced(negative, 1), schema - 1);
    }
    let count = one_parts.count + other_parts.count;
    // Above this limit a float can't represent every integer, and the counts would not add up.
    if !count.is_finite() || (!one_parts.is_float && count > 2f64.powi(53)) {
        return Err("the native histogram would have too many observations");
    }
    let is_float = one_parts.is_float || other_parts.is_float;
    let zero = one_parts.zero + other_parts.zero;
    let (positive_spans, positive) = spans(&positive);
    let (negative_spans, negative) = spans(&negative);
    let counts = if is_float {
        Counts::Float { count, zero, positive, negative }
    } else {
        let deltas = |counts: Vec<f64>| {
            let mut last = 0;
            let delta = |count: f64| count as i64 - std::mem::replace(&mut last, count as i64);
            counts.into_iter().map(delta).collect()
        };
        let (positive, negative) = (deltas(positive), deltas(negative));
        Counts::Integer { count: count as u64, zero: zero as u64, positive, negative }
    };
    Ok(Histogram {
        reset_hint: ResetHint::Unknown,
        schema,
        zero_threshold: one.zero_threshold,
        sum: one.sum + other.sum,
        positive_spans,
        negative_spans,
        counts,
        custom_values: one.custom_values.clone(),
    })
}

struct Parts {
    count: f64,
    zero: f64,
    positive: Side,
    negative: Side,
    is_float: bool,
}

impl Parts {
    fn of(histogram: &Histogram) -> Parts {
        let summed = |deltas: &[i64]| -> Vec<f64> {
            let sum = |sum: &mut i64, delta: &i64| {
                *sum += delta;
                Some(*sum as f64)
            };
            deltas.iter().scan(0, sum).collect()
        };
        let (count, zero, positive, negative, is_float) = match &histogram.counts {
            Counts::Integer { count, zero, positive, negative } => {
                (*count as f64, *zero as f64, summed(positive), summed(negative), false)
            }
            Counts::Float { count, zero, positive, negative } => {
                (*count, *zero, positive.clone(), negative.clone(), true)
            }
        };
        let side = |spans: &[BucketSpan], counts: Vec<f64>| -> Side {
            let mut next = 0i32;
            let mut indexes = Vec::with_capacity(counts.len());
            for span in spans {
                next = next.saturating_add(span.offset);
                for _ in 0..span.length {
                    indexes.push(next);
                    next = next.saturating_add(1);
                }
            }
            indexes.into_iter().zip(counts).filter(|(_, count)| *count != 0.0).collect()
        };
        Parts {
            count,
            zero,
            positive: side(&histogram.positive_spans, positive),
            negative: side(&histogram.negative_spans, negative),
            is_float,
        }
    }
}

/// Reduces the resolution of buckets by this many steps.
fn reduced(side: Side, steps: i32) -> Side {
    if steps <= 0 {
        return side;
    }
    let steps = steps.min(31);
    let mut reduced = Side::new();
    for (index, count) in side {
        // Rounded up, because the index of a bucket is that of its upper bound.
        let index = (i64::from(index) + (1i64 << steps) - 1) >> steps;
        *reduced.entry(index as i32).or_default() += count;
    }
    reduced
}

fn spans(side: &Side) -> (Vec<BucketSpan>, Vec<f64>) {
    let (mut spans, mut counts): (Vec<BucketSpan>, Vec<f64>) = (Vec::new(), Vec::new());
    let mut next = 0;
    for (index, count) in side {
        match spans.last_mut() {
            Some(span) if *index == next => span.length += 1,
            _ => spans.push(BucketSpan { offset: index.saturating_sub(next), length: 1 }),
        }
        counts.push(*count);
        next = index.saturating_add(1);
    }
    (spans, counts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Limits;

    fn integer(schema: i32, first: i32, counts: &[i64]) -> Histogram {
        let mut last = 0;
        let deltas = counts.iter().map(|count| count - std::mem::replace(&mut last, *count)).collect();
        Histogram {
            reset_hint: ResetHint::Unknown,
            schema,
            zero_threshold: 0.001,
            sum: 1.5,
            positive_spans: vec![BucketSpan { offset: first, length: counts.len() as u32 }],
            negative_spans: vec![],
            counts: Counts::Integer {
                count: 1 + counts.iter().sum::<i64>() as u64,
                zero: 1,
                positive: deltas,
                negative: vec![],
            },
            custom_values: vec![],
        }
    }

    #[test]
    fn buckets_are_added_at_the_coarser_resolution() {
        let sum = add(&integer(1, 1, &[1, 2, 3]), &integer(0, 2, &[5, 0, 7])).unwrap();
        assert_eq!(sum.validate(&Limits::default()), Ok(()));
        // At schema 0 the buckets 1 and 2 of the first become bucket 1, and bucket 3 becomes bucket 2.
        let spans = vec![BucketSpan { offset: 1, length: 2 }, BucketSpan { offset: 1, length: 1 }];
        assert_eq!((sum.schema, sum.sum, &sum.positive_spans), (0, 3.0, &spans));
        let positive = vec![3, 5, -1];
        assert_eq!(sum.counts, Counts::Integer { count: 20, zero: 2, positive, negative: vec![] });
    }

    #[test]
    fn the_number_of_buckets_is_limited() {
        let sum = add(&integer(3, -200, &[1; 300]), &integer(3, 100, &[1; 300])).unwrap();
        assert_eq!(sum.validate(&Limits::default()), Ok(()));
        let buckets: u32 = sum.positive_spans.iter().map(|span| span.length).sum();
        assert!(buckets <= BUCKETS_MAX as u32 && sum.schema == 1, "{buckets} at {}", sum.schema);
    }

    #[test]
    fn incompatible_histograms_are_refused() {
        let mut other = integer(1, 1, &[1]);
        other.zero_threshold = 0.1;
        assert!(add(&integer(1, 1, &[1]), &other).is_err());
        other.schema = CUSTOM_BUCKETS_SCHEMA;
        other.zero_threshold = 0.001;
        assert!(add(&integer(1, 1, &[1]), &other).is_err());
    }
}
