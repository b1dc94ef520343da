//! Buckets of OTLP's histograms as those of native and of classic histograms. Prometheus' rules
//! (`prometheusremotewrite/histograms.go`).

use model::BucketSpan;

/// The finest resolution of native histograms.
pub(crate) const SCALE_MAX: i32 = 8;
/// The coarsest one that Prometheus accepts here.
pub(crate) const SCALE_MIN: i32 = -4;
/// The resolution of classic buckets that are made of exponential ones: two for each power of two.
const CLASSIC_SCALE_MAX: i32 = 1;
/// Up to so many empty buckets between two others are written; more of them are skipped by another span.
const GAP_MAX: i64 = 2;

/// Consecutive buckets of an exponential histogram. Bucket `i` of scale `s` reaches from `2^(i * 2^-s)`, which is not in it,
/// to `2^((i + 1) * 2^-s)`, which is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Exponential {
    pub(crate) offset: i32,
    pub(crate) counts: Vec<u64>,
}

impl Exponential {
    /// Whether a native histogram can number all buckets, by their upper bounds.
    pub(crate) fn is_within_32_bits(&self) -> bool {
        i64::from(self.offset) + self.counts.len() as i64 <= i64::from(i32::MAX)
    }
}

/// The counts as spans and as differences, for a native histogram. `steps` halves the resolution so often.
pub(crate) fn native(buckets: &Exponential, steps: u32) -> (Vec<BucketSpan>, Vec<i64>) {
    // A native histogram numbers a bucket by its upper bound.
    let first = (i64::from(buckets.offset) >> steps) + 1;
    layout(&buckets.counts, i64::from(buckets.offset), steps, first)
}

/// The counts between explicit bounds as spans and as differences, for a native histogram with custom buckets.
pub(crate) fn custom(counts: &[u64]) -> (Vec<BucketSpan>, Vec<i64>) {
    let empty = counts.iter().take_while(|count| **count == 0).count();
    layout(counts.get(empty..).unwrap_or_default(), empty as i64, 0, empty as i64)
}

fn layout(counts: &[u64], offset: i64, steps: u32, first_offset: i64) -> (Vec<BucketSpan>, Vec<i64>) {
    if counts.is_empty() {
        return (Vec::new(), Vec::new());
    }
    let mut out = Layout {
        spans: vec![BucketSpan { offset: first_offset as i32, length: 0 }],
        deltas: Vec::new(),
        last: (offset >> steps) - 1,
        count: 0,
    };
    let (mut bucket, mut count) = (offset >> steps, 0u64);
    for (index, more) in (offset..).zip(counts) {
        let next = index >> steps;
        if next != bucket {
            if count != 0 {
                out.add(bucket, count);
            }
            (bucket, count) = (next, 0);
        }
        count = count.wrapping_add(*more);
    }
    // The last bucket is written also if it is empty.
    out.add(bucket, count);
    (out.spans, out.deltas)
}

struct Layout {
    spans: Vec<BucketSpan>,
    deltas: Vec<i64>,
    /// The bucket that was written last.
    last: i64,
    /// Its count.
    count: u64,
}

impl Layout {
    fn add(&mut self, bucket: i64, count: u64) {
        let gap = bucket - self.last - 1;
        if gap > GAP_MAX {
            self.spans.push(BucketSpan { offset: gap as i32, length: 0 });
        } else {
            (0..gap).for_each(|_| self.push(0));
        }
        self.push(count);
        self.last = bucket;
    }

    fn push(&mut self, count: u64) {
        if let Some(span) = self.spans.last_mut() {
            span.length += 1;
        }
        self.deltas.push(count.wrapping_sub(self.count) as i64);
        self.count = count;
    }
}

/// The upper bounds of classic buckets for an exponential histogram, increasing, each with the number of observations
/// up to it. Observations beyond the last bound are not in it.
pub(crate) fn classic(
    scale: i32,
    zero: (f64, u64),
    negative: &Exponential,
    positive: &Exponential,
) -> Vec<(f64, u64)> {
    let steps = (scale - CLASSIC_SCALE_MAX).max(0) as u32;
    let scale = scale.min(CLASSIC_SCALE_MAX);
    let bound = |bucket: i64| ((bucket as f64) * (-f64::from(scale)).exp2()).exp2();
    let mut out: Vec<(f64, u64)> = Vec::new();
    let mut total = 0u64;
    let mut add = |bound: f64, count: u64| {
        total = total.saturating_add(count);
        match out.last_mut() {
            // A wide zero bucket reaches over the first positive ones.
            Some((last, up_to)) if bound <= *last => *up_to = total,
            _ if bound.is_finite() => out.push((bound, total)),
            _ => {}
        }
    };
    // The lowest values are those of the last negative bucket. A value at the bound of two negative buckets is in the
    // one nearer to zero, so it may be counted one bucket too high.
    let merged = merge(negative, steps);
    for (bucket, count) in merged.iter().rev() {
        add(-bound(*bucket), *count);
    }
    let (threshold, count) = zero;
    if count > 0 || !merged.is_empty() {
        add(threshold, count);
    }
    for (bucket, count) in merge(positive, steps) {
        add(bound(bucket + 1), count);
    }
    out
}

/// The buckets from the first to the last that has observations, with a coarser resolution.
fn merge(buckets: &Exponential, steps: u32) -> Vec<(i64, u64)> {
    let mut merged: Vec<(i64, u64)> = Vec::new();
    // A scale is any number on the wire. With 63 steps all buckets are the first below or above 1 already.
    let steps = steps.min(63);
    for (index, count) in (i64::from(buckets.offset)..).zip(&buckets.counts) {
        let bucket = index >> steps;
        match merged.last_mut() {
            Some((last, sum)) if *last == bucket => *sum = sum.saturating_add(*count),
            _ => merged.push((bucket, *count)),
        }
    }
    let is_empty = |entry: &(i64, u64)| entry.1 == 0;
    let first = merged.iter().take_while(|entry| is_empty(entry)).count();
    merged.drain(..first);
    while merged.last().is_some_and(is_empty) {
        merged.pop();
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(pairs: &[(i32, u32)]) -> Vec<BucketSpan> {
        pairs.iter().map(|&(offset, length)| BucketSpan { offset, length }).collect()
    }

    /// Facts from Prometheus' `TestConvertBucketsLayout` (3.16.0).
    #[test]
    fn exponential_buckets_become_spans_as_in_prometheus() {
        let case =
            |offset, counts: &[u64], steps| native(&Exponential { offset, counts: counts.into() }, steps);
        assert_eq!(case(0, &[4, 3, 2, 1], 0), (spans(&[(1, 4)]), vec![4, -1, -1, -1]));
        assert_eq!(case(0, &[4, 3, 2, 1], 1), (spans(&[(1, 2)]), vec![7, -4]));
        assert_eq!(case(0, &[4, 3, 2, 1], 2), (spans(&[(1, 1)]), vec![10]));
        assert_eq!(case(1, &[4, 3, 2, 1], 1), (spans(&[(1, 3)]), vec![4, 1, -4]));
        assert_eq!(
            case(0, &[4, 3, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], 0),
            (spans(&[(1, 4), (12, 1)]), vec![4, -1, -1, -1, 0])
        );
        assert_eq!(case(0, &[1, 0, 0, 0, 2], 0), (spans(&[(1, 1), (3, 1)]), vec![1, 1]));
        assert_eq!(case(0, &[1, 0, 0, 2], 0), (spans(&[(1, 4)]), vec![1, -1, 0, 2]));
        assert_eq!(case(-3, &[0, 0], 0), (spans(&[(-2, 2)]), vec![0, 0]));
        assert_eq!(case(5, &[], 0), (vec![], vec![]));
    }

    #[test]
    fn explicit_buckets_become_spans_as_in_prometheus() {
        assert_eq!(custom(&[0, 0, 2, 1]), (spans(&[(2, 2)]), vec![2, -1]));
        assert_eq!(custom(&[1, 0, 0, 0, 1]), (spans(&[(0, 1), (3, 1)]), vec![1, 0]));
        assert_eq!(custom(&[0, 0]), (vec![], vec![]));
    }

    #[test]
    fn exponential_buckets_become_classic_ones() {
        let buckets = |offset, counts: &[u64]| Exponential { offset, counts: counts.into() };
        // 1 to 2, 2 to 4, 4 to 8.
        let found = classic(0, (0.0, 3), &buckets(0, &[1]), &buckets(0, &[2, 0, 4]));
        assert_eq!(found, [(-1.0, 1), (0.0, 4), (2.0, 6), (4.0, 6), (8.0, 10)]);
        // Finer ones are merged to two for each power of two.
        let found = classic(3, (0.0, 0), &Exponential::default(), &buckets(0, &[1; 16]));
        let wanted: Vec<(f64, u64)> =
            (1..=4).map(|n| (2f64.powf(f64::from(n) / 2.0), n as u64 * 4)).collect();
        assert_eq!(found, wanted);
        // However fine they are.
        for scale in [64, 65, 1000, i32::MAX] {
            let found = classic(scale, (0.0, 0), &Exponential::default(), &buckets(i32::MAX, &[1, 2]));
            assert_eq!(found, [(2f64.sqrt(), 3)], "{scale}");
        }
        // Beyond the largest float there is only +Inf.
        assert_eq!(classic(-4, (0.0, 0), &Exponential::default(), &buckets(100, &[1])), []);
    }
}
