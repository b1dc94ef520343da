//! Native histograms, with integer or float counts, exponential buckets or custom bounds.

use crate::words::counted;

/// The schema number of histograms with custom bucket bounds (`custom_values`) instead of exponential ones.
pub const CUSTOM_BUCKETS_SCHEMA: i32 = -53;

/// A sequence of consecutive buckets: skip `offset` buckets after the previous span, then `length` buckets
/// follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BucketSpan {
    /// Gap to the previous span. For the first span it is the index of its first bucket, and may be negative.
    pub offset: i32,
    /// Number of consecutive buckets.
    pub length: u32,
}

/// What a sender knows about a counter reset between this histogram and the previous one of the series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum ResetHint {
    /// The reader has to detect resets.
    #[default]
    Unknown = 0,
    /// There was a reset.
    Yes = 1,
    /// There was no reset.
    No = 2,
    /// A gauge histogram, which has no resets.
    Gauge = 3,
}

impl ResetHint {
    /// Returns the hint with this number in remote write and in the log, or `Unknown` if there is none.
    pub const fn from_number(number: u64) -> Self {
        match number {
            1 => Self::Yes,
            2 => Self::No,
            3 => Self::Gauge,
            _ => Self::Unknown,
        }
    }
}

/// The counts of a histogram: integers, with buckets as differences, or floats, with buckets as absolute
/// values.
#[derive(Debug, Clone, PartialEq)]
pub enum Counts {
    /// Integer counts.
    Integer {
        /// Number of observations.
        count: u64,
        /// Observations in the zero bucket.
        zero: u64,
        /// Each positive bucket's count minus the previous bucket's.
        positive: Vec<i64>,
        /// Each negative bucket's count minus the previous bucket's.
        negative: Vec<i64>,
    },
    /// Float counts.
    Float {
        /// Number of observations.
        count: f64,
        /// Observations in the zero bucket.
        zero: f64,
        /// Each positive bucket's count.
        positive: Vec<f64>,
        /// Each negative bucket's count.
        negative: Vec<f64>,
    },
}

/// A native histogram as in remote write and in the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// What the sender knows about a reset before this histogram.
    pub reset_hint: ResetHint,
    /// Resolution: -4 to 8 for exponential buckets, -53 for custom bounds. [`Histogram::validate`] also
    /// accepts other exponential schemas from -9 to 52.
    pub schema: i32,
    /// Observations with an absolute value up to this are in the zero bucket.
    pub zero_threshold: f64,
    /// Sum of the observations. If it is the staleness marker, the whole histogram is one.
    pub sum: f64,
    /// Spans of the positive buckets.
    pub positive_spans: Vec<BucketSpan>,
    /// Spans of the negative buckets.
    pub negative_spans: Vec<BucketSpan>,
    pub counts: Counts,
    /// Upper bounds of custom buckets, in increasing order and without +Inf. Empty for exponential buckets.
    pub custom_values: Vec<f64>,
}

/// Why a histogram is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum HistogramError {
    /// There is no such schema.
    #[error("histogram schema {0} is none of -53 and -9 to 52")]
    Schema(i32),
    /// The number of buckets differs from the sum of the spans.
    #[error("{side} spans need {}, have {buckets}", counted(*spans, "bucket"))]
    BucketCount {
        /// `positive` or `negative`.
        side: &'static str,
        /// Number of buckets according to the spans.
        spans: u64,
        /// Actual number of buckets.
        buckets: usize,
    },
    /// A span after the first one has a negative offset.
    #[error("{side} span {index} has a negative offset {offset}")]
    SpanOffset {
        /// `positive` or `negative`.
        side: &'static str,
        /// Number of the span, from 0.
        index: usize,
        offset: i32,
    },
    /// The count of a bucket is negative.
    #[error("{side} bucket {index} has a negative count")]
    NegativeBucket {
        /// `positive` or `negative`.
        side: &'static str,
        /// Number of the bucket, from 0.
        index: usize,
    },
    /// A count is negative, or the buckets' sum overflows.
    #[error("histogram has a negative {0}")]
    NegativeCount(&'static str),
    /// The sum of the buckets differs from the count.
    #[error("{buckets} observations in buckets, but a count of {count}")]
    Sum {
        /// Sum of all buckets.
        buckets: u64,
        /// The count field.
        count: u64,
    },
    /// Custom bounds are not increasing, or not finite.
    #[error("custom bound {index} is not above the one before it, or not finite")]
    CustomBounds {
        /// Number of the bound, from 0.
        index: usize,
    },
    /// The histogram has fields or spans that a histogram of its schema must not have.
    #[error("{0}")]
    CustomShape(&'static str),
    /// The histogram has more buckets and custom bounds than the limit.
    #[error("histogram has {buckets} buckets, the limit is {limit}")]
    TooManyBuckets {
        /// Number of buckets and custom bounds.
        buckets: usize,
        limit: usize,
    },
}

impl Histogram {
    /// Returns true if the histogram is a staleness marker.
    pub fn is_stale(&self) -> bool {
        crate::is_stale(self.sum)
    }

    /// Checks what Prometheus checks before it appends a histogram (`histogram.Validate`), and the limit on
    /// buckets. A staleness marker is valid regardless of its other fields.
    pub fn validate(&self, limits: &crate::Limits) -> Result<(), HistogramError> {
        if self.is_stale() {
            return Ok(());
        }
        let (positive, negative) = match &self.counts {
            Counts::Integer { positive, negative, .. } => (positive.len(), negative.len()),
            Counts::Float { positive, negative, .. } => (positive.len(), negative.len()),
        };
        let buckets = positive.saturating_add(negative).saturating_add(self.custom_values.len());
        if buckets > limits.buckets {
            return Err(HistogramError::TooManyBuckets { buckets, limit: limits.buckets });
        }
        if self.schema == CUSTOM_BUCKETS_SCHEMA {
            self.validate_custom()?;
        } else if !(-9..=52).contains(&self.schema) {
            return Err(HistogramError::Schema(self.schema));
        } else if !self.custom_values.is_empty() {
            return Err(HistogramError::CustomShape("custom bounds with a schema of exponential buckets"));
        }
        check_spans("positive", &self.positive_spans, positive)?;
        check_spans("negative", &self.negative_spans, negative)?;
        match &self.counts {
            Counts::Integer { count, zero, positive, negative } => {
                let sum = add_deltas("positive", positive)?
                    .checked_add(add_deltas("negative", negative)?)
                    .and_then(|sum| sum.checked_add(*zero))
                    .ok_or(HistogramError::NegativeCount("count (its buckets overflow)"))?;
                // A NaN observation is counted but is in no bucket. So if there may be one, only `<=` holds.
                let consistent = if self.sum.is_nan() { sum <= *count } else { sum == *count };
                if !consistent {
                    return Err(HistogramError::Sum { buckets: sum, count: *count });
                }
            }
            Counts::Float { count, zero, positive, negative } => {
                if *zero < 0.0 {
                    return Err(HistogramError::NegativeCount("zero count"));
                }
                if *count < 0.0 {
                    return Err(HistogramError::NegativeCount("count"));
                }
                for (side, counts) in [("positive", positive), ("negative", negative)] {
                    if let Some(index) = counts.iter().position(|&count| count < 0.0) {
                        return Err(HistogramError::NegativeBucket { side, index });
                    }
                }
            }
        }
        Ok(())
    }

    fn validate_custom(&self) -> Result<(), HistogramError> {
        if !self.negative_spans.is_empty() {
            return Err(HistogramError::CustomShape("custom buckets cannot be negative"));
        }
        let zero_is_zero = match &self.counts {
            Counts::Integer { zero, negative, .. } => *zero == 0 && negative.is_empty(),
            Counts::Float { zero, negative, .. } => *zero == 0.0 && negative.is_empty(),
        };
        if !zero_is_zero || self.zero_threshold != 0.0 {
            return Err(HistogramError::CustomShape("custom buckets have no zero bucket"));
        }
        let mut last = f64::NEG_INFINITY;
        for (index, &bound) in self.custom_values.iter().enumerate() {
            if !bound.is_finite() || (index > 0 && bound <= last) {
                return Err(HistogramError::CustomBounds { index });
            }
            last = bound;
        }
        let mut reach: i64 = 0;
        for span in &self.positive_spans {
            if span.offset < 0 {
                return Err(HistogramError::CustomShape("custom buckets begin at bucket 0"));
            }
            reach = reach.saturating_add(i64::from(span.offset)).saturating_add(i64::from(span.length));
        }
        if reach > self.custom_values.len() as i64 + 1 {
            return Err(HistogramError::CustomShape("spans reach beyond the custom bounds"));
        }
        Ok(())
    }

    /// Bytes of heap memory, for memory budgets.
    pub fn heap_bytes(&self) -> usize {
        let (positive, negative) = match &self.counts {
            Counts::Integer { positive, negative, .. } => (positive.capacity(), negative.capacity()),
            Counts::Float { positive, negative, .. } => (positive.capacity(), negative.capacity()),
        };
        8 * (positive
            + negative
            + self.custom_values.capacity()
            + self.positive_spans.capacity()
            + self.negative_spans.capacity())
    }
}

fn check_spans(side: &'static str, spans: &[BucketSpan], buckets: usize) -> Result<(), HistogramError> {
    let mut needed = 0u64;
    for (index, span) in spans.iter().enumerate() {
        if index > 0 && span.offset < 0 {
            return Err(HistogramError::SpanOffset { side, index, offset: span.offset });
        }
        needed += u64::from(span.length);
    }
    if needed != buckets as u64 {
        return Err(HistogramError::BucketCount { side, spans: needed, buckets });
    }
    Ok(())
}

fn add_deltas(side: &'static str, deltas: &[i64]) -> Result<u64, HistogramError> {
    let (mut bucket, mut sum) = (0i64, 0u64);
    for (index, delta) in deltas.iter().enumerate() {
        bucket = bucket
            .checked_add(*delta)
            .filter(|&bucket| bucket >= 0)
            .ok_or(HistogramError::NegativeBucket { side, index })?;
        sum = sum.checked_add(bucket as u64).ok_or(HistogramError::NegativeBucket { side, index })?;
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;

    fn integer() -> Histogram {
        Histogram {
            reset_hint: ResetHint::Unknown,
            schema: 0,
            zero_threshold: 0.001,
            sum: 10.0,
            positive_spans: vec![BucketSpan { offset: -1, length: 2 }],
            negative_spans: vec![],
            counts: Counts::Integer { count: 6, zero: 1, positive: vec![2, 1], negative: vec![] },
            custom_values: vec![],
        }
    }

    #[test]
    fn a_consistent_histogram_passes() {
        assert_eq!(integer().validate(&Limits::default()), Ok(()));
    }

    #[test]
    fn each_fault_has_its_own_error() {
        let check = |change: fn(&mut Histogram)| {
            let mut histogram = integer();
            change(&mut histogram);
            histogram.validate(&Limits::default()).expect_err("should be refused")
        };
        assert_eq!(check(|h| h.schema = 60), HistogramError::Schema(60));
        assert_eq!(
            check(|h| h.positive_spans.push(BucketSpan { offset: 0, length: 1 })),
            HistogramError::BucketCount { side: "positive", spans: 3, buckets: 2 }
        );
        assert_eq!(
            check(|h| h.positive_spans =
                vec![BucketSpan { offset: 0, length: 1 }, BucketSpan { offset: -1, length: 1 }]),
            HistogramError::SpanOffset { side: "positive", index: 1, offset: -1 }
        );
        assert_eq!(
            check(
                |h| h.counts = Counts::Integer { count: 5, zero: 0, positive: vec![2, -3], negative: vec![] }
            ),
            HistogramError::NegativeBucket { side: "positive", index: 1 }
        );
        assert_eq!(
            check(
                |h| h.counts = Counts::Integer { count: 9, zero: 1, positive: vec![2, 1], negative: vec![] }
            ),
            HistogramError::Sum { buckets: 6, count: 9 }
        );
        assert!(matches!(check(|h| h.schema = CUSTOM_BUCKETS_SCHEMA), HistogramError::CustomShape(_)));
    }

    #[test]
    fn a_staleness_marker_is_valid_with_any_other_fields() {
        let mut marker = integer();
        marker.sum = crate::stale_nan();
        marker.schema = 99;
        assert_eq!(marker.validate(&Limits::default()), Ok(()));
    }

    #[test]
    fn custom_bounds_must_increase() {
        let mut custom = Histogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            zero_threshold: 0.0,
            positive_spans: vec![BucketSpan { offset: 0, length: 3 }],
            counts: Counts::Float { count: 6.0, zero: 0.0, positive: vec![1.0, 2.0, 3.0], negative: vec![] },
            custom_values: vec![1.0, 2.0],
            ..integer()
        };
        assert_eq!(custom.validate(&Limits::default()), Ok(()));
        custom.custom_values = vec![2.0, 2.0];
        assert_eq!(custom.validate(&Limits::default()), Err(HistogramError::CustomBounds { index: 1 }));
    }
}
