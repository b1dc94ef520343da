//! Histograms of the exposition format, classic and native, which share one message.

use super::{Decoder, Exemplar, ExpositionError, Family, Metric, Stop, bound, short, timestamp};
use crate::lists::{Bounded, longest, span};
use crate::wire::{Fault, Reader};
use model::{BucketSpan, Counts, Histogram, HistogramError, MetricType, Point, ResetHint, Value, varint};

/// The fields of a `Histogram` message.
struct Fields<'a> {
    count: u64,
    count_float: f64,
    sum: f64,
    buckets: Bounded<Bucket<'a>>,
    start: i64,
    schema: i32,
    zero_threshold: f64,
    zero_count: u64,
    zero_count_float: f64,
    negative_spans: Bounded<BucketSpan>,
    negative_deltas: Bounded<i64>,
    negative_counts: Bounded<f64>,
    positive_spans: Bounded<BucketSpan>,
    positive_deltas: Bounded<i64>,
    positive_counts: Bounded<f64>,
    exemplars: Bounded<Exemplar<'a>>,
}

/// A classic bucket.
#[derive(Default)]
struct Bucket<'a> {
    count: u64,
    count_float: f64,
    upper_bound: f64,
    exemplar: Option<Exemplar<'a>>,
}

/// A count can be an integer, or a float. A float above zero overrides the integer.
fn either(integer: u64, float: f64) -> f64 {
    if float > 0.0 { float } else { integer as f64 }
}

impl Fields<'_> {
    fn new(limit: usize) -> Self {
        Fields {
            count: 0,
            count_float: 0.0,
            sum: 0.0,
            buckets: Bounded::new(limit),
            start: 0,
            schema: 0,
            zero_threshold: 0.0,
            zero_count: 0,
            zero_count_float: 0.0,
            negative_spans: Bounded::new(limit),
            negative_deltas: Bounded::new(limit),
            negative_counts: Bounded::new(limit),
            positive_spans: Bounded::new(limit),
            positive_deltas: Bounded::new(limit),
            positive_counts: Bounded::new(limit),
            exemplars: Bounded::new(limit),
        }
    }

    fn longest_list(&self) -> usize {
        longest(&[
            self.buckets.len,
            self.negative_spans.len,
            self.negative_deltas.len,
            self.negative_counts.len,
            self.positive_spans.len,
            self.positive_deltas.len,
            self.positive_counts.len,
            self.exemplars.len,
        ])
    }

    /// Returns true if the message has a native histogram. Client libraries mark an empty one with an empty span.
    fn is_native(&self) -> bool {
        self.positive_spans.len > 0
            || self.negative_spans.len > 0
            || self.zero_threshold > 0.0
            || self.zero_count > 0
            || self.zero_count_float > 0.0
    }
}

impl Decoder<'_> {
    pub(super) fn histogram<'a>(&mut self, family: Family<'a>, metric: &Metric<'a>) -> Result<(), Stop> {
        let fields = self.read_histogram(metric.value)?;
        let (buckets, limit) = (fields.longest_list(), self.options.limits.buckets);
        if buckets > limit {
            let error = HistogramError::TooManyBuckets { buckets, limit };
            self.leave_out(family, fields.exemplars.len, &error);
            return Ok(());
        }
        let native = fields.is_native();
        if !native || fields.buckets.len > 0 {
            self.classic(family, metric, &fields)?;
        }
        if native { self.native(family, metric, fields) } else { Ok(()) }
    }

    /// Counts a native histogram that is left out.
    fn leave_out(&mut self, family: Family<'_>, exemplars: usize, error: &HistogramError) {
        self.rejected.series += 1;
        self.rejected.histograms += 1;
        self.rejected.exemplars += exemplars as u64;
        self.rejected.explain(|| format!("a metric of {:?}: {error}", short(family.name)));
    }

    fn read_histogram<'a>(&self, message: &'a [u8]) -> Result<Fields<'a>, Fault> {
        let mut out = Fields::new(self.options.limits.buckets);
        let mut fields = Reader::new(message);
        while let Some(field) = fields.next()? {
            match field.number {
                1 => out.count = field.varint()?,
                2 => out.sum = field.double()?,
                3 => out.buckets.push(self.read_bucket(field.bytes()?)?),
                4 => out.count_float = field.double()?,
                5 => out.schema = field.sint32()?,
                6 => out.zero_threshold = field.double()?,
                7 => out.zero_count = field.varint()?,
                8 => out.zero_count_float = field.double()?,
                9 => out.negative_spans.push(span(field.bytes()?, &mut true)?),
                10 => {
                    field.varints(|x| out.negative_deltas.push(varint::unzigzag(x)))?;
                }
                11 => field.doubles(|x| out.negative_counts.push(x))?,
                12 => out.positive_spans.push(span(field.bytes()?, &mut true)?),
                13 => {
                    field.varints(|x| out.positive_deltas.push(varint::unzigzag(x)))?;
                }
                14 => field.doubles(|x| out.positive_counts.push(x))?,
                15 => out.start = timestamp(field.bytes()?)?,
                16 => out.exemplars.push(self.read_exemplar(field.bytes()?)?),
                _ => {}
            }
        }
        Ok(out)
    }

    fn read_bucket<'a>(&self, message: &'a [u8]) -> Result<Bucket<'a>, Fault> {
        let mut bucket = Bucket::default();
        let mut fields = Reader::new(message);
        while let Some(field) = fields.next()? {
            match field.number {
                1 => bucket.count = field.varint()?,
                2 => bucket.upper_bound = field.double()?,
                3 => bucket.exemplar = Some(self.read_exemplar(field.bytes()?)?),
                4 => bucket.count_float = field.double()?,
                _ => {}
            }
        }
        Ok(bucket)
    }

    fn classic<'a>(
        &mut self,
        family: Family<'a>,
        metric: &Metric<'a>,
        fields: &Fields<'a>,
    ) -> Result<(), Stop> {
        let count = either(fields.count, fields.count_float);
        for bucket in &fields.buckets.items {
            let le = bound(bucket.upper_bound);
            let series = self.series(family, metric, "_bucket", Some(("le", &le)))?;
            let value = either(bucket.count, bucket.count_float);
            self.float(series, metric.timestamp, fields.start, value)?;
            if let Some(exemplar) = &bucket.exemplar {
                self.exemplar(family, series, metric, exemplar)?;
            }
        }
        if !fields.buckets.items.iter().any(|bucket| bucket.upper_bound == f64::INFINITY) {
            let series = self.series(family, metric, "_bucket", Some(("le", "+Inf")))?;
            self.float(series, metric.timestamp, fields.start, count)?;
        }
        self.value(family, metric, "_sum", fields.start, fields.sum)?;
        self.value(family, metric, "_count", fields.start, count)
    }

    fn native<'a>(
        &mut self,
        family: Family<'a>,
        metric: &Metric<'a>,
        fields: Fields<'a>,
    ) -> Result<(), Stop> {
        let counts = if fields.count_float > 0.0 || fields.zero_count_float > 0.0 {
            Counts::Float {
                count: fields.count_float,
                zero: fields.zero_count_float,
                positive: fields.positive_counts.items,
                negative: fields.negative_counts.items,
            }
        } else {
            Counts::Integer {
                count: fields.count,
                zero: fields.zero_count,
                positive: fields.positive_deltas.items,
                negative: fields.negative_deltas.items,
            }
        };
        let exemplars = fields.exemplars;
        let gauge = family.kind == MetricType::GaugeHistogram;
        let histogram = Histogram {
            reset_hint: if gauge { ResetHint::Gauge } else { ResetHint::Unknown },
            schema: fields.schema,
            zero_threshold: fields.zero_threshold,
            sum: fields.sum,
            positive_spans: fields.positive_spans.items,
            negative_spans: fields.negative_spans.items,
            counts,
            custom_values: Vec::new(),
        };
        match histogram.validate(&self.options.limits) {
            Ok(()) => {}
            Err(error @ HistogramError::TooManyBuckets { .. }) => {
                self.leave_out(family, exemplars.len, &error);
                return Ok(());
            }
            Err(error) => {
                return Err(ExpositionError::Histogram { family: short(family.name), error }.into());
            }
        }
        let Some(series) = self.series(family, metric, "", None)? else {
            self.rejected.histograms += 1;
            self.rejected.exemplars += exemplars.len as u64;
            return Ok(());
        };
        self.admit()?;
        self.batch.histograms.push(histogram);
        self.batch.points.push(Point {
            series,
            timestamp: metric.timestamp,
            start_timestamp: if self.options.created_as_start { fields.start } else { 0 },
            value: Value::Histogram(self.batch.histograms.len() as u32 - 1),
        });
        for exemplar in &exemplars.items {
            self.exemplar(family, Some(series), metric, exemplar)?;
        }
        Ok(())
    }
}
