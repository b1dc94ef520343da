//! The protobuf exposition format: `io.prometheus.client.MetricFamily` messages, each after its length. Go's client
//! library pushes it to the Pushgateway.
//!
//! A message becomes the same series as after a scrape by Prometheus. Classic histograms become `_bucket`, `_sum` and
//! `_count`, and a missing `+Inf` bucket is added. Bounds and quantiles are written as in OpenMetrics (`1.0`). A native
//! histogram becomes one series with the family's name. If a histogram has both forms, both are kept.

pub(crate) mod bound;
mod build;
mod error;
mod histogram;

pub use error::ExpositionError;

use crate::hint;
use crate::text::{ParseOptions, Timestamps};
use crate::wire::{Fault, Field, Reader};
use crate::{Parsed, Rejected};
use bound::bound;
use error::Stop;
use model::{Batch, LabelError, Limits, Metadata, MetricType, Series};

/// Returns true if a `Content-Type` header names this format in its delimited form.
pub fn is_content_type(header: Option<&str>) -> bool {
    let Some(header) = header else { return false };
    let mut parts = header.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default();
    let parameters: Vec<(String, &str)> = parts
        .filter_map(|part| part.split_once('='))
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().trim_matches('"')))
        .collect();
    let is = |name: &str, expected: &str| {
        parameters.iter().any(|(parameter, value)| parameter == name && *value == expected)
    };
    media.eq_ignore_ascii_case("application/vnd.google.protobuf")
        && is("proto", "io.prometheus.client.MetricFamily")
        && is("encoding", "delimited")
}

/// Decodes a body into a batch. All options except the format apply. Series over a limit on label sets or buckets are
/// left out and the rest is kept. Any other error refuses the whole body.
pub fn decode(body: &[u8], options: &ParseOptions<'_>) -> Result<Parsed, ExpositionError> {
    let mut decoder = Decoder { options, batch: Batch::new(), rejected: Rejected::default() };
    let (mut rest, mut index) = (body, 0);
    while !rest.is_empty() {
        let start = rest;
        let result = match model::varint::take_bytes(&mut rest) {
            Some(message) => decoder.family(message, index),
            None => Err(Fault::new("a message is longer than the rest of the body", start).into()),
        };
        index += 1;
        match result {
            Ok(()) => {}
            Err(Stop::Error(error)) => return Err(error),
            Err(Stop::Fault(fault)) => {
                if let Some(hint) = hint::compressed(body) {
                    return Err(ExpositionError::Encoding(hint));
                }
                let offset = fault.offset_in(body);
                return Err(ExpositionError::Malformed { what: fault.what, offset });
            }
        }
    }
    Ok(Parsed { batch: decoder.batch, rejected: decoder.rejected })
}

struct Decoder<'o> {
    options: &'o ParseOptions<'o>,
    batch: Batch,
    rejected: Rejected,
}

#[derive(Clone, Copy)]
struct Family<'a> {
    name: &'a str,
    kind: MetricType,
    metadata: u32,
}

/// One metric, before its value.
struct Metric<'a> {
    labels: LabelPairs<'a>,
    timestamp: i64,
    /// The message with its value: gauge, counter, summary, untyped or histogram.
    value: &'a [u8],
}

/// Labels in the order of the message.
#[derive(Default)]
struct LabelPairs<'a> {
    list: Vec<(&'a [u8], &'a [u8])>,
    /// The number of labels over the limit.
    excess: usize,
}

impl LabelPairs<'_> {
    /// Fails if the number of labels is over the limit.
    fn check_number(&self, limits: &Limits) -> Result<(), LabelError> {
        if self.excess == 0 {
            return Ok(());
        }
        let is = self.list.len() + self.excess;
        Err(LabelError::Limit { what: "the number of labels".into(), is, limit: limits.labels })
    }
}

/// An exemplar without its series.
#[derive(Default)]
struct Exemplar<'a> {
    labels: LabelPairs<'a>,
    value: f64,
    timestamp: Option<i64>,
}

impl Decoder<'_> {
    fn family(&mut self, message: &[u8], index: usize) -> Result<(), Stop> {
        let (mut name, mut help, mut unit): (&[u8], &[u8], &[u8]) = (&[], &[], &[]);
        let mut number = 0;
        let mut fields = Reader::new(message);
        while let Some(field) = fields.next()? {
            match field.number {
                1 => name = field.bytes()?,
                2 => help = field.bytes()?,
                3 => number = field.varint()?,
                5 => unit = field.bytes()?,
                _ => {}
            }
        }
        let limits = &self.options.limits;
        let name = match std::str::from_utf8(name) {
            Ok(name) if !name.is_empty() => name,
            _ => return Err(ExpositionError::FamilyName { index }.into()),
        };
        let (kind, value_field) = match number {
            0 => (MetricType::Counter, 3),
            1 => (MetricType::Gauge, 2),
            2 => (MetricType::Summary, 4),
            3 => (MetricType::Unknown, 5),
            4 => (MetricType::Histogram, 7),
            5 => (MetricType::GaugeHistogram, 7),
            _ => return Err(ExpositionError::Type { family: short(name), number }.into()),
        };
        if self.batch.metadata.len() >= self.options.max_points {
            return Err(ExpositionError::TooMany { what: "families", limit: self.options.max_points }.into());
        }
        let mut metadata = Series::NO_METADATA;
        if name.len() <= limits.name_bytes {
            metadata = self.batch.metadata.len() as u32;
            self.batch.metadata.push(Metadata {
                family: name.to_string(),
                kind,
                help: crate::text::cut(help, limits.value_bytes),
                unit: crate::text::cut(unit, limits.name_bytes),
            });
        }
        let family = Family { name, kind, metadata };
        let mut fields = Reader::new(message);
        while let Some(field) = fields.next()? {
            if field.number == 4 {
                self.metric(family, field.bytes()?, value_field)?;
            }
        }
        Ok(())
    }

    fn metric<'a>(&mut self, family: Family<'a>, message: &'a [u8], value_field: u32) -> Result<(), Stop> {
        let mut metric =
            Metric { labels: LabelPairs::default(), timestamp: self.options.default_timestamp, value: &[] };
        let mut has_value = false;
        let mut fields = Reader::new(message);
        while let Some(field) = fields.next()? {
            match field.number {
                1 => self.label(&field, &mut metric.labels)?,
                6 => {
                    let timestamp = field.varint()? as i64;
                    match self.options.timestamps {
                        Timestamps::Allow => metric.timestamp = timestamp,
                        Timestamps::Ignore => {}
                        Timestamps::Refuse => {
                            let family = short(family.name);
                            return Err(ExpositionError::TimestampRefused { family }.into());
                        }
                    }
                }
                number if number == value_field => {
                    metric.value = field.bytes()?;
                    has_value = true;
                }
                _ => {}
            }
        }
        if !has_value {
            let (family, kind) = (short(family.name), family.kind.as_str());
            return Err(ExpositionError::NoValue { family, kind }.into());
        }
        match family.kind {
            MetricType::Summary => self.summary(family, &metric),
            MetricType::Histogram | MetricType::GaugeHistogram => self.histogram(family, &metric),
            _ => self.single(family, &metric),
        }
    }

    /// Collects a `LabelPair`.
    fn label<'a>(&self, field: &Field<'a>, pairs: &mut LabelPairs<'a>) -> Result<(), Fault> {
        let (mut name, mut value): (&[u8], &[u8]) = (&[], &[]);
        let mut fields = Reader::new(field.bytes()?);
        while let Some(field) = fields.next()? {
            match field.number {
                1 => name = field.bytes()?,
                2 => value = field.bytes()?,
                _ => {}
            }
        }
        if pairs.list.len() < self.options.limits.labels {
            pairs.list.push((name, value));
        } else {
            pairs.excess += 1;
        }
        Ok(())
    }

    /// Decodes `Counter`, `Gauge` and `Untyped`: the value is field 1 in all of them. Only `Counter` has more fields.
    fn single<'a>(&mut self, family: Family<'a>, metric: &Metric<'a>) -> Result<(), Stop> {
        let (mut value, mut start, mut exemplar) = (0.0, 0, None);
        let mut fields = Reader::new(metric.value);
        while let Some(field) = fields.next()? {
            match (field.number, family.kind) {
                (1, _) => value = field.double()?,
                (2, MetricType::Counter) => exemplar = Some(self.read_exemplar(field.bytes()?)?),
                (3, MetricType::Counter) => start = timestamp(field.bytes()?)?,
                _ => {}
            }
        }
        let series = self.series(family, metric, "", None)?;
        self.float(series, metric.timestamp, start, value)?;
        exemplar.map_or(Ok(()), |exemplar| self.exemplar(family, series, metric, &exemplar))
    }

    fn summary<'a>(&mut self, family: Family<'a>, metric: &Metric<'a>) -> Result<(), Stop> {
        let (mut count, mut sum, mut start) = (0, 0.0, 0);
        let mut fields = Reader::new(metric.value);
        while let Some(field) = fields.next()? {
            match field.number {
                1 => count = field.varint()?,
                2 => sum = field.double()?,
                4 => start = timestamp(field.bytes()?)?,
                _ => {}
            }
        }
        let mut fields = Reader::new(metric.value);
        while let Some(field) = fields.next()? {
            if field.number == 3 {
                let (mut quantile, mut value) = (0.0, 0.0);
                let mut fields = Reader::new(field.bytes()?);
                while let Some(field) = fields.next()? {
                    match field.number {
                        1 => quantile = field.double()?,
                        2 => value = field.double()?,
                        _ => {}
                    }
                }
                let series = self.series(family, metric, "", Some(("quantile", &bound(quantile))))?;
                self.float(series, metric.timestamp, start, value)?;
            }
        }
        self.value(family, metric, "_sum", start, sum)?;
        self.value(family, metric, "_count", start, count as f64)
    }

    fn read_exemplar<'a>(&self, message: &'a [u8]) -> Result<Exemplar<'a>, Fault> {
        let mut exemplar = Exemplar::default();
        let mut fields = Reader::new(message);
        while let Some(field) = fields.next()? {
            match field.number {
                1 => self.label(&field, &mut exemplar.labels)?,
                2 => exemplar.value = field.double()?,
                3 => exemplar.timestamp = Some(timestamp(field.bytes()?)?),
                _ => {}
            }
        }
        Ok(exemplar)
    }
}

/// At most 64 characters of a name, for an error.
fn short(name: &str) -> String {
    name.chars().take(64).collect()
}

/// A `google.protobuf.Timestamp` in milliseconds since 1970.
fn timestamp(message: &[u8]) -> Result<i64, Fault> {
    let (mut seconds, mut nanos) = (0i64, 0i64);
    let mut fields = Reader::new(message);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => seconds = field.varint()? as i64,
            2 => nanos = field.varint()? as i64,
            _ => {}
        }
    }
    Ok(seconds.saturating_mul(1000).saturating_add(nanos.div_euclid(1_000_000)))
}
