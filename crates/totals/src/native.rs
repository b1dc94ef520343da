//! Exponential buckets, as native histograms have them, with a limit on their number.
//!
//! Buckets start at [`SCHEMA`], each 9 % wider than the one before it. When there would be more than
//! [`BUCKETS_MAX`], neighbours are merged, so that each bucket is the square of what it was. The limit bounds the
//! memory of a histogram, and its size in each request.

use model::{BucketSpan, Counts, Histogram, ResetHint};

/// The finest resolution: 8 buckets for each power of two.
pub const SCHEMA: i32 = 3;
/// The finest resolution of buckets that come from elsewhere ([`Buckets::exponential`]), as in Prometheus.
pub const SCHEMA_MAX: i32 = 8;
/// The coarsest resolution. At -4 all floats together have 129 buckets on each side of zero.
pub const SCHEMA_MIN: i32 = -4;
/// Most buckets, on both sides of zero together, as long as there is a coarser resolution.
pub const BUCKETS_MAX: usize = 160;
/// Values up to this distance from zero go into the zero bucket: client libraries' default.
pub const ZERO_THRESHOLD: f64 = 2.938735877055719e-39;

/// Floats have exponents from -1074 to 1024, so no bucket has an index beyond this one at resolution 0.
const INDEX_MAX: i64 = 1100;

/// A gap of up to this many empty buckets is written as empty buckets, since a span costs as much.
const GAP_MAX: i32 = 2;

/// Bucket bounds between 0.5 and 1 at schema 3: powers of two with exponents of eighths.
const BOUNDS: [f64; 8] = [
    0.5,
    0.5452538663326288,
    0.5946035575013605,
    0.6484197773255048,
    0.7071067811865475,
    0.7711054127039704,
    0.8408964152537144,
    0.9170040432046711,
];

/// Counts of observations by exponential buckets.
#[derive(Debug, Clone, PartialEq)]
pub struct Buckets {
    pub(crate) schema: i32,
    pub(crate) zero: u64,
    /// Index and count, by index.
    pub(crate) positive: Vec<(i32, u64)>,
    pub(crate) negative: Vec<(i32, u64)>,
}

impl Default for Buckets {
    fn default() -> Self {
        Buckets { schema: SCHEMA, zero: 0, positive: Vec::new(), negative: Vec::new() }
    }
}

impl Buckets {
    /// Buckets as OpenTelemetry counts them: the first of each side has the index `offset`, and the bucket with index i
    /// begins above `2^(i / 2^scale)`, where ours ends at such a bound. A finer scale than [`SCHEMA_MAX`] is reduced to
    /// it. Buckets beyond the range of floats are counted in the outermost ones. `None`: the scale is coarser than [`SCHEMA_MIN`], or a number is too large.
    pub fn exponential(
        scale: i32,
        zero: u64,
        positive: (i32, &[u64]),
        negative: (i32, &[u64]),
    ) -> Option<Buckets> {
        let schema = scale.min(SCHEMA_MAX);
        let steps = u32::try_from(scale.checked_sub(schema)?).ok().filter(|steps| *steps < 32)?;
        (schema >= SCHEMA_MIN).then_some(())?;
        let round_up = (1i64 << steps) - 1;
        let last = if schema < 0 { INDEX_MAX >> -schema } else { INDEX_MAX << schema };
        let side = |(offset, counts): (i32, &[u64])| -> Option<Vec<(i32, u64)>> {
            let mut side = Vec::new();
            for (index, count) in (i64::from(offset) + 1..).zip(counts).filter(|(_, count)| **count > 0) {
                let index = i32::try_from((index + round_up) >> steps).ok()?;
                side.push((index.clamp(-last as i32, last as i32), *count));
            }
            Some(side)
        };
        let mut buckets = Buckets { schema, zero, positive: side(positive)?, negative: side(negative)? };
        let counts = buckets.positive.iter().chain(&buckets.negative).map(|(_, count)| *count);
        counts.into_iter().try_fold(zero, u64::checked_add)?;
        [&mut buckets.positive, &mut buckets.negative].into_iter().for_each(join);
        buckets.limit();
        Some(buckets)
    }

    /// Counts `count` observations of a finite value.
    pub fn observe(&mut self, value: f64, count: u64) {
        if value.abs() <= ZERO_THRESHOLD {
            self.zero += count;
            return;
        }
        while self.schema > SCHEMA {
            self.reduce();
        }
        let index = index(value.abs(), self.schema);
        let side = if value > 0.0 { &mut self.positive } else { &mut self.negative };
        match side.binary_search_by_key(&index, |(index, _)| *index) {
            Ok(at) => {
                if let Some((_, counted)) = side.get_mut(at) {
                    *counted += count;
                }
            }
            Err(at) => {
                side.insert(at, (index, count));
                self.limit();
            }
        }
    }

    /// Adds the counts of `other`.
    pub fn merge(&mut self, other: &Buckets) {
        let mut other = other.clone();
        if self.count() == 0 {
            self.schema = other.schema;
        }
        // Without buckets there is no resolution to keep to.
        let schema = if other.len() == 0 { self.schema } else { self.schema.min(other.schema) };
        for buckets in [&mut *self, &mut other] {
            while buckets.schema > schema {
                buckets.reduce();
            }
        }
        self.zero += other.zero;
        self.positive.extend(other.positive);
        self.negative.extend(other.negative);
        for side in [&mut self.positive, &mut self.negative] {
            side.sort_by_key(|(index, _)| *index);
            join(side);
        }
        self.limit();
    }

    /// The number of observations.
    pub fn count(&self) -> u64 {
        let sides = self.positive.iter().chain(&self.negative);
        self.zero + sides.map(|(_, count)| count).sum::<u64>()
    }

    /// The value that `part` (0 to 1) of the observations are not above. `None` without observations. The error is
    /// at most half the width of a bucket: 4.5 % at [`SCHEMA`], more after a reduction.
    pub fn quantile(&self, part: f64) -> Option<f64> {
        let count = self.count();
        if count == 0 || part.is_nan() {
            return None;
        }
        let rank = ((part.clamp(0.0, 1.0) * count as f64).ceil() as u64).clamp(1, count);
        let middle = |index: i32| {
            let (low, high) = (bound(index - 1, self.schema), bound(index, self.schema));
            // The geometric mean, by its logarithm so that it cannot overflow.
            2f64.powf((low.log2() + high.log2()) / 2.0)
        };
        let negative = self.negative.iter().rev().map(|(index, count)| (-middle(*index), *count));
        let positive = self.positive.iter().map(|(index, count)| (middle(*index), *count));
        let mut seen = 0;
        negative.chain([(0.0, self.zero)]).chain(positive).find_map(|(value, count)| {
            seen += count;
            (seen >= rank).then_some(value)
        })
    }

    /// As a native histogram with this sum.
    pub fn to_histogram(&self, sum: f64) -> Histogram {
        let (positive_spans, positive) = spans(&self.positive);
        let (negative_spans, negative) = spans(&self.negative);
        Histogram {
            reset_hint: ResetHint::Unknown,
            schema: self.schema,
            zero_threshold: ZERO_THRESHOLD,
            sum,
            positive_spans,
            negative_spans,
            counts: Counts::Integer { count: self.count(), zero: self.zero, positive, negative },
            custom_values: Vec::new(),
        }
    }

    fn len(&self) -> usize {
        self.positive.len() + self.negative.len()
    }

    fn limit(&mut self) {
        while self.len() > BUCKETS_MAX && self.schema > SCHEMA_MIN {
            self.reduce();
        }
    }

    /// Merges each two neighbours.
    fn reduce(&mut self) {
        self.schema -= 1;
        for side in [&mut self.positive, &mut self.negative] {
            side.iter_mut().for_each(|(index, _)| *index = (*index + 1) >> 1);
            join(side);
        }
    }
}

/// Makes one bucket of neighbours with the same index.
fn join(side: &mut Vec<(i32, u64)>) {
    side.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        if same {
            kept.1 += next.1;
        }
        same
    });
}

/// The index of the bucket that a positive value belongs to: its upper bound is the first that is not below.
fn index(value: f64, schema: i32) -> i32 {
    let (fraction, exponent) = fraction_and_exponent(value);
    let fine = BOUNDS.partition_point(|bound| *bound < fraction) as i32 + (exponent - 1) * 8;
    // Rounded up at each step, so all steps together round up.
    let steps = (SCHEMA - schema).clamp(0, 31);
    let fine = i64::from(fine);
    ((fine + (1i64 << steps) - 1) >> steps) as i32
}

/// The upper bound of a bucket.
fn bound(index: i32, schema: i32) -> f64 {
    2f64.powf(f64::from(index) * 2f64.powi(-schema))
}

/// `value = fraction * 2^exponent`, with a fraction from 0.5 up to 1. For positive finite values.
fn fraction_and_exponent(value: f64) -> (f64, i32) {
    const EXPONENT_MASK: u64 = 0x7ff << 52;
    let (value, more) = if value < f64::MIN_POSITIVE { (value * 2f64.powi(54), -54) } else { (value, 0) };
    let bits = value.to_bits();
    let exponent = ((bits & EXPONENT_MASK) >> 52) as i32 - 1022;
    (f64::from_bits((bits & !EXPONENT_MASK) | (1022 << 52)), exponent + more)
}

/// The buckets as spans and differences.
fn spans(side: &[(i32, u64)]) -> (Vec<BucketSpan>, Vec<i64>) {
    let (mut spans, mut deltas): (Vec<BucketSpan>, Vec<i64>) = (Vec::new(), Vec::new());
    let (mut next, mut last) = (0i32, 0i64);
    let mut push = |deltas: &mut Vec<i64>, count: i64| {
        deltas.push(count.wrapping_sub(last));
        last = count;
    };
    for (index, count) in side {
        let gap = index - next;
        match spans.last_mut() {
            Some(span) if gap <= GAP_MAX => {
                (0..gap).for_each(|_| push(&mut deltas, 0));
                span.length += gap as u32 + 1;
            }
            _ => spans.push(BucketSpan { offset: gap, length: 1 }),
        }
        push(&mut deltas, i64::try_from(*count).unwrap_or(i64::MAX));
        next = index + 1;
    }
    (spans, deltas)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Limits;
    use proptest::prelude::*;

    #[test]
    fn values_at_bounds_belong_to_the_bucket_below() {
        for (value, at) in [(1.0, 0), (2.0, 8), (1.0000001, 1), (0.5, -8), (0.51, -7), (3.0, 13)] {
            assert_eq!(index(value, 3), at, "{value}");
        }
        for (value, at) in [(1.0, 0), (2.0, 1), (2.1, 2), (0.5, -1), (0.3, -1), (0.25, -2)] {
            assert_eq!(index(value, 0), at, "{value}");
        }
        assert_eq!((index(1.1, -1), index(4.1, -1), index(0.2, -1)), (1, 2, -1));
        assert_eq!(index(f64::from_bits(1), 3), -1074 * 8);
    }

    #[test]
    fn the_number_of_buckets_is_limited() {
        let mut buckets = Buckets::default();
        for exponent in -1000..1000 {
            buckets.observe(2f64.powi(exponent), 1);
            buckets.observe(-2f64.powi(exponent), 1);
        }
        assert!(buckets.len() <= 258 && buckets.schema == SCHEMA_MIN, "{}", buckets.schema);
        assert_eq!(buckets.count(), 4000);
        let mut buckets = Buckets::default();
        (-50..50).for_each(|exponent| buckets.observe(1.1f64.powi(exponent * 5), 1));
        assert!(buckets.len() <= BUCKETS_MAX && buckets.schema > SCHEMA_MIN, "{}", buckets.schema);
    }

    /// OpenTelemetry's bucket i is above 2^(i / 2^scale), up to the next bound.
    #[test]
    fn buckets_of_opentelemetry_have_their_index_one_lower() {
        // 1.5, 3 and 3.1 at scale 3: indices 4, 12 and 13.
        let mut counted = Buckets::default();
        for value in [1.5, 3.0, 3.1, 3.1] {
            counted.observe(value, 1);
        }
        counted.observe(-1.5, 2);
        let mut counts = [0; 10];
        (counts[0], counts[8], counts[9]) = (1, 1, 2);
        let given = Buckets::exponential(3, 0, (4, &counts), (4, &[2])).unwrap();
        assert_eq!(given, counted);
        // The same values at scale 20.
        let fine = |value: f64| ((value.log2() * 2f64.powi(20)).ceil() as i32 - 1, [1]);
        let mut merged = Buckets::default();
        for value in [1.5, 3.0, 3.1, 3.1] {
            let (offset, counts) = fine(value);
            merged.merge(&Buckets::exponential(20, 0, (offset, &counts), (0, &[])).unwrap());
        }
        merged.merge(&Buckets::exponential(20, 0, (0, &[]), (fine(1.5).0, &[2])).unwrap());
        assert_eq!(merged.schema, SCHEMA_MAX, "as fine as native histograms are");
        (SCHEMA..SCHEMA_MAX).for_each(|_| merged.reduce());
        assert_eq!(merged, counted);
        assert_eq!(Buckets::exponential(-4, 7, (-1, &[3]), (0, &[])).unwrap().count(), 10);
        for wrong in [
            Buckets::exponential(-5, 0, (0, &[]), (0, &[])),
            Buckets::exponential(i32::MIN, 0, (0, &[]), (0, &[])),
            Buckets::exponential(i32::MAX, 0, (0, &[]), (0, &[])),
            Buckets::exponential(0, u64::MAX, (0, &[1]), (0, &[])),
            Buckets::exponential(0, 0, (i32::MAX, &[1]), (0, &[])),
        ] {
            assert_eq!(wrong, None);
        }
        let wide = [1; 100_000];
        assert!(Buckets::exponential(20, 0, (i32::MIN, &wide), (0, &wide)).unwrap().len() <= BUCKETS_MAX);
    }

    fn observations() -> impl Strategy<Value = Vec<(f64, u64)>> {
        let value =
            prop_oneof![-1e3..1e3f64, -1e-3..1e-3f64, any::<f64>().prop_filter("finite", |v| v.is_finite())];
        prop::collection::vec((value, 1u64..1000), 0..300)
    }

    proptest! {
        #[test]
        fn each_value_lies_within_the_bounds_of_its_bucket(value in 1e-300..1e300f64, schema in SCHEMA_MIN..=SCHEMA) {
            let at = index(value, schema);
            let slack = 1e-12;
            prop_assert!(value <= bound(at, schema) * (1.0 + slack));
            prop_assert!(value > bound(at - 1, schema) * (1.0 - slack));
        }

        #[test]
        fn any_observations_make_a_valid_histogram(observations in observations()) {
            let mut buckets = Buckets::default();
            observations.iter().for_each(|(value, count)| buckets.observe(*value, *count));
            let histogram = buckets.to_histogram(1.0);
            prop_assert_eq!(histogram.validate(&Limits::default()), Ok(()));
            prop_assert_eq!(buckets.count(), observations.iter().map(|(_, count)| count).sum::<u64>());
        }

        #[test]
        fn merging_equals_observing_together(one in observations(), other in observations()) {
            let (mut a, mut b, mut both) = (Buckets::default(), Buckets::default(), Buckets::default());
            one.iter().for_each(|(value, count)| a.observe(*value, *count));
            other.iter().for_each(|(value, count)| b.observe(*value, *count));
            one.iter().chain(&other).for_each(|(value, count)| both.observe(*value, *count));
            a.merge(&b);
            prop_assert_eq!(a, both);
        }

        #[test]
        fn a_quantile_is_within_half_a_bucket(mut values in prop::collection::vec(0.1..10f64, 1..100), part in 0.0..1.0f64) {
            let mut buckets = Buckets::default();
            values.iter().for_each(|value| buckets.observe(*value, 1));
            values.sort_by(f64::total_cmp);
            let rank = ((part * values.len() as f64).ceil() as usize).clamp(1, values.len());
            let exact = values[rank - 1];
            let found = buckets.quantile(part).unwrap();
            prop_assert!((found / exact - 1.0).abs() < 0.046, "{} for {}", found, exact);
        }
    }
}
