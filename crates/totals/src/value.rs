//! What a total is: a counter, a gauge or a histogram, and how changes are added to it. Pure.

use crate::native::{BUCKETS_MAX, Buckets};
use crate::sum::Sum;
use model::MetricType;
use std::sync::Arc;

/// What a series counts.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram(Arc<Shape>),
    /// One of the series of a summary.
    Summary(SummaryPart),
}

/// The series of a summary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SummaryPart {
    /// `NAME_count`: only goes up.
    Count,
    /// `NAME_sum`: falls when a negative value is observed.
    Sum,
    /// `NAME{quantile="..."}`: is set.
    Quantile,
}

impl SummaryPart {
    fn suffix(self) -> &'static [u8] {
        match self {
            SummaryPart::Count => b"_count",
            SummaryPart::Sum => b"_sum",
            SummaryPart::Quantile => b"",
        }
    }
}

impl Kind {
    pub fn metric_type(&self) -> MetricType {
        match self {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
            Kind::Histogram(_) => MetricType::Histogram,
            Kind::Summary(_) => MetricType::Summary,
        }
    }

    /// How many series it is at a receiver: a classic histogram has one for each bucket.
    pub fn rows(&self) -> usize {
        match self {
            Kind::Counter | Kind::Gauge | Kind::Summary(_) => 1,
            Kind::Histogram(shape) => shape.rows(),
        }
    }

    /// The name that type and help text are about.
    pub(crate) fn family<'n>(&self, name: &'n [u8]) -> &'n [u8] {
        match self {
            Kind::Summary(part) => name.strip_suffix(part.suffix()).unwrap_or(name),
            Kind::Counter | Kind::Gauge | Kind::Histogram(_) => name,
        }
    }
}

/// The buckets of a histogram.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    /// Upper bounds of classic buckets, without infinity.
    bounds: Option<Box<[f64]>>,
    /// The values of `le`, infinity included.
    le: Box<[Box<str>]>,
    native: bool,
}

/// Why bounds of classic buckets are refused.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum ShapeError {
    #[error("bucket bound {0} is not a finite number: write the finite bounds only, infinity is added")]
    NotFinite(f64),
    #[error("bucket bound {1} follows {0}: the bounds must increase")]
    NotIncreasing(f64, f64),
    #[error("{0} bucket bounds are more than {BOUNDS_MAX}")]
    TooMany(usize),
}

/// Most bounds of classic buckets.
pub const BOUNDS_MAX: usize = 200;

impl Shape {
    /// Classic buckets with these upper bounds.
    pub fn classic(bounds: &[f64]) -> Result<Shape, ShapeError> {
        if bounds.len() > BOUNDS_MAX {
            return Err(ShapeError::TooMany(bounds.len()));
        }
        if let Some(bound) = bounds.iter().find(|bound| !bound.is_finite()) {
            return Err(ShapeError::NotFinite(*bound));
        }
        if let Some((one, next)) = bounds.iter().zip(bounds.iter().skip(1)).find(|(one, next)| one >= next) {
            return Err(ShapeError::NotIncreasing(*one, *next));
        }
        let le = bounds.iter().map(|bound| bound.to_string().into_boxed_str());
        let le = le.chain(["+Inf".into()]).collect();
        Ok(Shape { bounds: Some(bounds.into()), le, native: false })
    }

    /// A native histogram without classic buckets.
    pub fn native() -> Shape {
        Shape { bounds: None, le: Box::default(), native: true }
    }

    /// The same, and a native histogram too.
    pub fn and_native(self) -> Shape {
        Shape { native: true, ..self }
    }

    pub fn bounds(&self) -> Option<&[f64]> {
        self.bounds.as_deref()
    }

    pub fn is_native(&self) -> bool {
        self.native
    }

    pub(crate) fn le(&self) -> &[Box<str>] {
        &self.le
    }

    fn rows(&self) -> usize {
        // The buckets with infinity, `_sum` and `_count`.
        let classic = self.bounds.as_ref().map_or(0, |bounds| bounds.len() + 3);
        classic + usize::from(self.native)
    }
}

/// Why a change is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// A receiver would take a counter that falls for one that began anew.
    #[error("a counter can't be lowered")]
    Negative,
    #[error("the value is not a finite number")]
    NotFinite,
    #[error("the total would be beyond the largest float")]
    TooLarge,
    /// The series has ended, or its kind does not have such a change.
    #[error("the series does not take such a change")]
    Mismatch,
}

/// The state of a total.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Total {
    Counter(Sum),
    Gauge(f64),
    Histogram(Box<HistogramTotal>),
    /// The sum of a quantile is the quantile.
    Summary(SummaryPart, Sum),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct HistogramTotal {
    pub(crate) shape: Arc<Shape>,
    pub(crate) count: u64,
    /// The part of an observation that the weights so far leave over, from 0 up to 1.
    pub(crate) carry: f64,
    pub(crate) sum: Sum,
    /// Observations in each classic bucket, not added up.
    pub(crate) classic: Box<[u64]>,
    pub(crate) native: Buckets,
}

/// What weights may miss of whole observations because of rounding.
const CARRY_ROUNDING: f64 = 1e-9;

impl Total {
    pub(crate) fn new(kind: &Kind) -> Total {
        match kind {
            Kind::Counter => Total::Counter(Sum::default()),
            Kind::Gauge => Total::Gauge(0.0),
            Kind::Summary(part) => Total::Summary(*part, Sum::default()),
            Kind::Histogram(shape) => Total::Histogram(Box::new(HistogramTotal {
                shape: shape.clone(),
                count: 0,
                carry: 0.0,
                sum: Sum::default(),
                classic: vec![0; shape.bounds.as_ref().map_or(0, |bounds| bounds.len() + 1)].into(),
                native: Buckets::default(),
            })),
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        match self {
            Total::Counter(_) => Kind::Counter,
            Total::Gauge(_) => Kind::Gauge,
            Total::Histogram(histogram) => Kind::Histogram(histogram.shape.clone()),
            Total::Summary(part, _) => Kind::Summary(*part),
        }
    }

    /// Memory of a total of this kind, in bytes: the most that it will take.
    pub(crate) fn bytes(kind: &Kind) -> usize {
        match kind {
            Kind::Counter | Kind::Gauge | Kind::Summary(_) => 0,
            Kind::Histogram(shape) => {
                let classic = shape.bounds.as_ref().map_or(0, |bounds| (bounds.len() + 1) * size_of::<u64>());
                let native = if shape.native { BUCKETS_MAX * 2 * size_of::<(i32, u64)>() } else { 0 };
                size_of::<HistogramTotal>() + classic + native
            }
        }
    }

    pub(crate) fn add(&mut self, value: f64) -> Result<(), ChangeError> {
        let (total, may_fall) = match self {
            Total::Counter(total) | Total::Summary(SummaryPart::Count, total) => (total, false),
            Total::Summary(SummaryPart::Sum, total) => (total, true),
            _ => return Err(ChangeError::Mismatch),
        };
        finite(value)?;
        if value < 0.0 && !may_fall {
            return Err(ChangeError::Negative);
        }
        let mut after = *total;
        after.add(value);
        *total = finite_sum(after)?;
        Ok(())
    }

    pub(crate) fn set(&mut self, value: f64) -> Result<(), ChangeError> {
        let value = finite(value)?;
        match self {
            Total::Gauge(gauge) => *gauge = value,
            Total::Summary(SummaryPart::Quantile, quantile) => *quantile = Sum::from(value),
            _ => return Err(ChangeError::Mismatch),
        }
        Ok(())
    }

    pub(crate) fn shift(&mut self, by: f64) -> Result<(), ChangeError> {
        let Total::Gauge(gauge) = self else { return Err(ChangeError::Mismatch) };
        let after = *gauge + finite(by)?;
        *gauge = finite(after).map_err(|_| ChangeError::TooLarge)?;
        Ok(())
    }

    pub(crate) fn observe(&mut self, value: f64, weight: f64) -> Result<(), ChangeError> {
        let Total::Histogram(histogram) = self else { return Err(ChangeError::Mismatch) };
        histogram.observe(value, weight)
    }

    pub(crate) fn add_classic(&mut self, counts: &[u64], sum: f64) -> Result<(), ChangeError> {
        let Total::Histogram(histogram) = self else { return Err(ChangeError::Mismatch) };
        if histogram.shape.native || counts.len() != histogram.classic.len() {
            return Err(ChangeError::Mismatch);
        }
        let count = counts.iter().try_fold(0u64, |all, count| all.checked_add(*count));
        histogram.add_counts(count.ok_or(ChangeError::TooLarge)?, sum)?;
        for (bucket, count) in histogram.classic.iter_mut().zip(counts) {
            *bucket += count;
        }
        Ok(())
    }

    pub(crate) fn add_native(&mut self, buckets: &Buckets, sum: f64) -> Result<(), ChangeError> {
        let Total::Histogram(histogram) = self else { return Err(ChangeError::Mismatch) };
        if !histogram.shape.native || histogram.shape.bounds.is_some() {
            return Err(ChangeError::Mismatch);
        }
        histogram.add_counts(buckets.count(), sum)?;
        histogram.native.merge(buckets);
        Ok(())
    }
}

/// Most observations of a histogram: beyond this a float has no ones any more.
const COUNT_MAX: u64 = 1 << 53;

impl HistogramTotal {
    /// Adds to the count and the sum of the observations.
    fn add_counts(&mut self, count: u64, sum: f64) -> Result<(), ChangeError> {
        let mut after = self.sum;
        after.add(finite(sum)?);
        let count = self.count.checked_add(count).filter(|count| *count <= COUNT_MAX);
        (self.count, self.sum) = (count.ok_or(ChangeError::TooLarge)?, finite_sum(after)?);
        Ok(())
    }

    /// Counts `weight` observations of a value. Buckets have whole observations: what is left over of a weight is
    /// carried to the next observation, so that the count is exact in total.
    fn observe(&mut self, value: f64, weight: f64) -> Result<(), ChangeError> {
        finite(value)?;
        finite(weight)?;
        if weight < 0.0 {
            return Err(ChangeError::Negative);
        }
        let mut sum = self.sum;
        sum.add(value * weight);
        let sum = finite_sum(sum)?;
        let whole = (self.carry + weight + CARRY_ROUNDING).floor();
        if self.count as f64 + whole > COUNT_MAX as f64 {
            return Err(ChangeError::TooLarge);
        }
        self.sum = sum;
        self.carry = (self.carry + weight - whole).max(0.0);
        let count = whole as u64;
        self.count += count;
        if let Some(bounds) = &self.shape.bounds {
            let at = bounds.partition_point(|bound| *bound < value);
            if let Some(bucket) = self.classic.get_mut(at) {
                *bucket += count;
            }
        }
        if self.shape.native && count > 0 {
            self.native.observe(value, count);
        }
        Ok(())
    }
}

fn finite(value: f64) -> Result<f64, ChangeError> {
    if value.is_finite() { Ok(value) } else { Err(ChangeError::NotFinite) }
}

fn finite_sum(sum: Sum) -> Result<Sum, ChangeError> {
    if sum.value().is_finite() { Ok(sum) } else { Err(ChangeError::TooLarge) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(shape: Shape) -> Total {
        Total::new(&Kind::Histogram(Arc::new(shape)))
    }

    #[test]
    fn bounds_must_increase_and_be_finite() {
        assert_eq!(Shape::classic(&[1.0, 1.0]), Err(ShapeError::NotIncreasing(1.0, 1.0)));
        assert_eq!(Shape::classic(&[1.0, f64::INFINITY]), Err(ShapeError::NotFinite(f64::INFINITY)));
        assert_eq!(Shape::classic(&[0.0; BOUNDS_MAX + 1]), Err(ShapeError::TooMany(BOUNDS_MAX + 1)));
        let shape = Shape::classic(&[0.005, 1.0]).unwrap();
        assert_eq!(shape.le().iter().map(|le| &**le).collect::<Vec<_>>(), ["0.005", "1", "+Inf"]);
        assert_eq!(Kind::Histogram(Arc::new(shape.and_native())).rows(), 6);
    }

    /// A sample rate of 0.3 stands for three observations and a third.
    #[test]
    fn weights_are_exact_in_total() {
        for rate in [0.1, 0.3, 0.7, 0.9, 1.0 / 3.0] {
            let mut total = histogram(Shape::classic(&[1.0]).unwrap().and_native());
            for _ in 0..3000 {
                total.observe(0.5, 1.0 / rate).unwrap();
            }
            let Total::Histogram(total) = total else { panic!("a histogram") };
            let exact = 3000.0 / rate;
            assert!((total.count as f64 - exact).abs() < 1.0 + 1e-6, "{} for {exact}", total.count);
            assert_eq!((total.classic[0], total.native.count()), (total.count, total.count));
            assert!((total.sum.value() - exact * 0.5).abs() < 1e-6);
        }
    }

    #[test]
    fn changes_that_make_no_sense_are_refused() {
        let mut counter = Total::new(&Kind::Counter);
        assert_eq!(counter.add(-1.0), Err(ChangeError::Negative));
        assert_eq!(counter.add(f64::NAN), Err(ChangeError::NotFinite));
        assert_eq!(counter.add(f64::MAX), Ok(()));
        assert_eq!(counter.add(f64::MAX), Err(ChangeError::TooLarge));
        assert_eq!(counter.set(1.0), Err(ChangeError::Mismatch));
        let mut gauge = Total::new(&Kind::Gauge);
        assert_eq!((gauge.set(2.0), gauge.shift(-5.0)), (Ok(()), Ok(())));
        assert_eq!(gauge, Total::Gauge(-3.0));
        assert_eq!(histogram(Shape::native()).observe(1.0, -1.0), Err(ChangeError::Negative));
    }

    #[test]
    fn the_sum_of_a_summary_falls_with_negative_observations() {
        let part = |part| Total::new(&Kind::Summary(part));
        let mut sum = part(SummaryPart::Sum);
        assert_eq!((sum.add(2.0), sum.add(-5.0)), (Ok(()), Ok(())));
        assert_eq!(sum, Total::Summary(SummaryPart::Sum, Sum::from(-3.0)));
        assert_eq!(part(SummaryPart::Count).add(-1.0), Err(ChangeError::Negative));
        assert_eq!(part(SummaryPart::Count).set(1.0), Err(ChangeError::Mismatch));
        assert_eq!(part(SummaryPart::Quantile).set(-1.0), Ok(()));
        assert_eq!(part(SummaryPart::Quantile).add(1.0), Err(ChangeError::Mismatch));
        for (part, name) in
            [(SummaryPart::Count, "t_count"), (SummaryPart::Sum, "t_sum"), (SummaryPart::Quantile, "t")]
        {
            assert_eq!(Kind::Summary(part).family(name.as_bytes()), b"t");
        }
    }

    #[test]
    fn whole_histograms_are_added_to_those_of_their_shape() {
        let mut total = histogram(Shape::classic(&[1.0, 2.0]).unwrap());
        assert_eq!(total.add_classic(&[1, 2, 3], -4.5), Ok(()));
        assert_eq!(total.add_classic(&[1, 0, 0], 0.5), Ok(()));
        let wrong = [
            (vec![1, 2], 0.0, ChangeError::Mismatch),
            (vec![0, 0, 0], f64::NAN, ChangeError::NotFinite),
            (vec![0, COUNT_MAX, 0], 0.0, ChangeError::TooLarge),
            (vec![u64::MAX, 1, 0], 0.0, ChangeError::TooLarge),
        ];
        for (counts, sum, error) in wrong {
            assert_eq!(total.add_classic(&counts, sum), Err(error), "{counts:?}");
        }
        assert_eq!(total.add_native(&Buckets::default(), 0.0), Err(ChangeError::Mismatch));
        let Total::Histogram(total) = total else { panic!("a histogram") };
        assert_eq!((&*total.classic, total.count, total.sum), (&[2, 2, 3][..], 7, Sum::from(-4.0)));
        let mut total = histogram(Shape::native());
        let mut buckets = Buckets::default();
        buckets.observe(1.5, 3);
        assert_eq!((total.add_native(&buckets, 4.5), total.add_native(&buckets, 4.5)), (Ok(()), Ok(())));
        assert_eq!(total.add_classic(&[1], 0.0), Err(ChangeError::Mismatch));
        let Total::Histogram(total) = total else { panic!("a histogram") };
        assert_eq!((total.native.count(), total.count, total.sum), (6, 6, Sum::from(9.0)));
    }
}
