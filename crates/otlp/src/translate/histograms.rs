//! Data points of explicit and of exponential histograms.

use super::emit::{Refused, Times};
use super::point::Head;
use super::{Metric, Translator};
use crate::buckets::{self, Exponential, SCALE_MAX, SCALE_MIN};
use crate::rejected::Reason;
use crate::settings::ExponentialHistograms;
use crate::value::decimal;
use formats::wire::{Field, Reader};
use model::histogram::CUSTOM_BUCKETS_SCHEMA;
use model::{Counts, Histogram, ResetHint, stale_nan};

/// The width of the zero bucket of native histograms, as in Prometheus, which does not look at `zero_threshold`.
const ZERO_THRESHOLD: f64 = 1e-128;

/// A histogram as it is in the request.
#[derive(Debug, Default)]
pub(super) struct Given {
    pub(super) count: u64,
    pub(super) sum: Option<f64>,
    /// Of explicit histograms.
    pub(super) counts: Vec<u64>,
    pub(super) bounds: Vec<f64>,
    /// Of exponential histograms.
    pub(super) scale: i32,
    pub(super) zero: (f64, u64),
    pub(super) positive: Exponential,
    pub(super) negative: Exponential,
}

impl<'a> Translator<'a, '_> {
    /// A `HistogramDataPoint`.
    pub(super) fn histogram(
        &mut self,
        metric: &Metric<'a>,
        head: &mut Head<'a>,
        message: &'a [u8],
    ) -> Result<(), Refused> {
        let limits = self.options.limits;
        let mut given = Given::default();
        let mut fields = Reader::new(message);
        while let Some(field) = fields.next()? {
            match field.number {
                2 => head.start = field.fixed64()?,
                3 => head.time = field.fixed64()?,
                4 => given.count = field.fixed64()?,
                5 => given.sum = Some(field.double()?),
                6 => {
                    let mut list = Bounded::new(&mut given.counts, limits.buckets);
                    field.fixed64s(|count| list.push(count))?;
                    list.check()?;
                }
                7 => {
                    let mut list = Bounded::new(&mut given.bounds, limits.buckets);
                    field.doubles(|bound| list.push(bound))?;
                    list.check()?;
                }
                8 => head.add_exemplar(field.bytes()?),
                9 => head.add_attribute(field.bytes()?, limits.labels)?,
                10 => head.flags = field.varint()?,
                _ => {}
            }
        }
        let times = self.begin_point(head)?;
        if metric.is_delta {
            let bounds = given.bounds.clone();
            self.delta_histogram(metric, head, given)?;
            return self.delta_exemplars(metric, head, times, Some(&bounds));
        }
        if !self.options.settings.convert_histograms_to_nhcb {
            let up_to = cumulative(&given.bounds, &given.counts);
            return self.classic(metric, head, times, &given, &up_to);
        }
        let native = if head.is_stale() { stale(CUSTOM_BUCKETS_SCHEMA) } else { given.custom_buckets() };
        self.native(metric, head, times, native)
    }

    /// An `ExponentialHistogramDataPoint`.
    pub(super) fn exponential(
        &mut self,
        metric: &Metric<'a>,
        head: &mut Head<'a>,
        message: &'a [u8],
    ) -> Result<(), Refused> {
        let limits = self.options.limits;
        let mut given = Given::default();
        let mut fields = Reader::new(message);
        while let Some(field) = fields.next()? {
            match field.number {
                1 => head.add_attribute(field.bytes()?, limits.labels)?,
                2 => head.start = field.fixed64()?,
                3 => head.time = field.fixed64()?,
                4 => given.count = field.fixed64()?,
                5 => given.sum = Some(field.double()?),
                6 => given.scale = field.sint32()?,
                7 => given.zero.1 = field.fixed64()?,
                8 => read_buckets(field, &mut given.positive, limits.buckets)?,
                9 => read_buckets(field, &mut given.negative, limits.buckets)?,
                10 => head.flags = field.varint()?,
                11 => head.add_exemplar(field.bytes()?),
                14 => given.zero.0 = field.double()?,
                _ => {}
            }
        }
        if given.scale < SCALE_MIN {
            let why = format!("an exponential histogram of scale {}, the least is {SCALE_MIN}", given.scale);
            return Err(Refused::Point(Reason::Histogram, why));
        }
        let times = self.begin_point(head)?;
        if metric.is_delta {
            self.delta_exponential(metric, head, given)?;
            return self.delta_exemplars(metric, head, times, None);
        }
        if self.options.settings.exponential_histograms == ExponentialHistograms::Classic {
            let up_to = buckets::classic(given.scale, given.zero, &given.negative, &given.positive);
            return self.classic(metric, head, times, &given, &up_to);
        }
        let [one, other] = [&given.positive, &given.negative].map(|side| side.is_within_32_bits());
        if !one || !other {
            let why = "an exponential histogram with a bucket whose number is beyond 32 bits";
            return Err(Refused::Point(Reason::Histogram, why.into()));
        }
        let schema = given.scale.min(SCALE_MAX);
        let native = if head.is_stale() { stale(schema) } else { given.exponential_buckets(schema) };
        self.native(metric, head, times, native)
    }

    fn native(
        &mut self,
        metric: &Metric<'a>,
        head: &Head<'a>,
        times: Times,
        histogram: Histogram,
    ) -> Result<(), Refused> {
        let series = self.emitter.series(metric, &self.labels, "", None)?;
        self.emitter.histogram(series, times, histogram)?;
        let mut exemplars = self.read_exemplars(metric, head)?;
        self.exemplars(metric, series, times, &mut exemplars)
    }

    /// The series of a classic histogram. `up_to`: upper bounds, and how many observations are not above each of them.
    fn classic(
        &mut self,
        metric: &Metric<'a>,
        head: &Head<'a>,
        times: Times,
        given: &Given,
        up_to: &[(f64, u64)],
    ) -> Result<(), Refused> {
        if let Some(sum) = given.sum {
            let series = self.emitter.series(metric, &self.labels, "_sum", None)?;
            self.emitter.float(series, times, head.value(sum))?;
        }
        let count = head.value(given.count as f64);
        let series = self.emitter.series(metric, &self.labels, "_count", None)?;
        self.emitter.float(series, times, count)?;
        let mut exemplars = self.read_exemplars(metric, head)?;
        let mut rest = exemplars.as_mut_slice();
        for (bound, observations) in up_to {
            let le = decimal(*bound);
            let series = self.emitter.series(metric, &self.labels, "_bucket", Some(("le", &le)))?;
            self.emitter.float(series, times, head.value(*observations as f64))?;
            // Both exemplars and buckets come in increasing order.
            let end = rest.iter().position(|exemplar| exemplar.value > *bound).unwrap_or(rest.len());
            let (within, above) = rest.split_at_mut(end);
            self.exemplars(metric, series, times, within)?;
            rest = above;
        }
        let series = self.emitter.series(metric, &self.labels, "_bucket", Some(("le", "+Inf")))?;
        self.emitter.float(series, times, count)?;
        self.exemplars(metric, series, times, rest)
    }
}

impl Given {
    fn custom_buckets(self) -> Histogram {
        let (spans, deltas) = buckets::custom(&self.counts);
        Histogram {
            reset_hint: ResetHint::Unknown,
            schema: CUSTOM_BUCKETS_SCHEMA,
            zero_threshold: 0.0,
            sum: self.sum.unwrap_or(0.0),
            positive_spans: spans,
            negative_spans: Vec::new(),
            counts: Counts::Integer { count: self.count, zero: 0, positive: deltas, negative: Vec::new() },
            custom_values: self.bounds,
        }
    }

    fn exponential_buckets(&self, schema: i32) -> Histogram {
        // A shift by more would be by all bits.
        let steps = (self.scale - schema).clamp(0, 63) as u32;
        let (positive_spans, positive) = buckets::native(&self.positive, steps);
        let (negative_spans, negative) = buckets::native(&self.negative, steps);
        Histogram {
            reset_hint: ResetHint::Unknown,
            schema,
            zero_threshold: ZERO_THRESHOLD,
            sum: self.sum.unwrap_or(0.0),
            positive_spans,
            negative_spans,
            counts: Counts::Integer { count: self.count, zero: self.zero.1, positive, negative },
            custom_values: Vec::new(),
        }
    }
}

/// The staleness marker of a native histogram.
fn stale(schema: i32) -> Histogram {
    Histogram {
        reset_hint: ResetHint::Unknown,
        schema,
        zero_threshold: if schema == CUSTOM_BUCKETS_SCHEMA { 0.0 } else { ZERO_THRESHOLD },
        sum: stale_nan(),
        positive_spans: Vec::new(),
        negative_spans: Vec::new(),
        counts: Counts::Integer { count: 0, zero: 0, positive: Vec::new(), negative: Vec::new() },
        custom_values: Vec::new(),
    }
}

/// How many observations are not above each bound. The bound +Inf is not among them, because the count is its value.
fn cumulative(bounds: &[f64], counts: &[u64]) -> Vec<(f64, u64)> {
    let mut total = 0u64;
    let pairs = bounds.iter().zip(counts).map(|(bound, count)| {
        total = total.wrapping_add(*count);
        (*bound, total)
    });
    pairs.filter(|(bound, _)| *bound != f64::INFINITY).collect()
}

fn read_buckets(field: Field<'_>, to: &mut Exponential, limit: usize) -> Result<(), Refused> {
    let mut fields = Reader::new(field.bytes()?);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => to.offset = field.sint32()?,
            2 => {
                let mut list = Bounded::new(&mut to.counts, limit);
                field.varints(|count| list.push(count))?;
                list.check()?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// A list that does not grow beyond a limit.
struct Bounded<'l, T> {
    list: &'l mut Vec<T>,
    limit: usize,
    is_over: bool,
}

impl<'l, T> Bounded<'l, T> {
    fn new(list: &'l mut Vec<T>, limit: usize) -> Self {
        Bounded { list, limit, is_over: false }
    }

    fn push(&mut self, item: T) {
        match self.list.len() < self.limit {
            true => self.list.push(item),
            false => self.is_over = true,
        }
    }

    fn check(self) -> Result<(), Refused> {
        match self.is_over {
            true => {
                let why = format!("a histogram with more than {} buckets", self.limit);
                Err(Refused::Point(Reason::Histogram, why))
            }
            false => Ok(()),
        }
    }
}
