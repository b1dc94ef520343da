//! From a request to a batch, as Prometheus translates (`prometheusremotewrite/metrics_to_prw.go`).
//!
//! The fields of a message may come in any order. So a message is read once for what holds for all that is in it (the
//! attributes of a resource, the name of a metric), and then again for its parts.

mod deltas;
mod emit;
mod exemplars;
mod histograms;
mod labels;
mod numbers;
mod point;
mod target_info;

use crate::Encoding;
use crate::deltas::Deltas;
use crate::json;
use crate::metric_name::{NameKind, metric_name};
use crate::rejected::{Counts, Reason, Rejections};
use crate::settings::Settings;
use crate::unit;
use crate::value::key_value;
use emit::{Emitter, Refused};
use formats::Parsed;
use formats::wire::{Fault, Reader};
use labels::{Attribute, LabelFault, LabelSet};
use model::{Limits, MetricType};
use point::Head;
use std::borrow::Cow;
use std::collections::HashSet;
use std::hash::RandomState;

pub use target_info::TARGET_INFO_SAMPLES_MAX;

/// The most attributes of a resource, and of a scope.
pub const RESOURCE_ATTRIBUTES_MAX: usize = 256;
/// The most exemplars of a data point. Those beyond are left out.
pub const EXEMPLARS_MAX: usize = 1024;

/// What holds for one request.
pub struct Options<'o> {
    pub settings: &'o Settings,
    /// Limits on label sets and histograms. A data point over one of them is left out.
    pub limits: Limits,
    /// Why a time, in milliseconds since 1970, is not accepted. `None` if it is.
    pub refused_time: &'o dyn Fn(i64) -> Option<String>,
    /// The most data points, and the most samples, histograms and exemplars that become of them.
    pub points_max: usize,
    /// The most bytes of all label sets together. The size of the request does not bound this, because the labels of a
    /// resource are those of each of its series.
    pub label_bytes_max: usize,
}

impl<'o> Options<'o> {
    /// The limits on a request that remote write has, too.
    pub fn new(
        settings: &'o Settings,
        limits: Limits,
        refused_time: &'o dyn Fn(i64) -> Option<String>,
    ) -> Self {
        let default = formats::remote_write::DecodeOptions::default();
        Options {
            settings,
            limits,
            refused_time,
            points_max: default.max_points,
            label_bytes_max: default.max_label_bytes,
        }
    }
}

/// A request that could be read.
#[derive(Debug)]
pub struct Decoded {
    /// The batch, and what was left out. A data point that was left out counts as one sample there.
    pub parsed: Parsed,
    /// How many data points were left out, by reason.
    pub rejected: Counts,
    /// Changes of series, which are not in the batch.
    pub deltas: Deltas,
}

/// Why a request as a whole is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("malformed protobuf at byte {offset}: {what}")]
    Malformed { what: &'static str, offset: usize },
    #[error("malformed JSON: {0}")]
    Json(String),
    #[error("more than {limit} {what} in one request: send fewer data points at once")]
    TooMany { what: &'static str, limit: usize },
}

/// Translates an `ExportMetricsServiceRequest`.
pub fn decode(encoding: Encoding, body: &[u8], options: &Options<'_>) -> Result<Decoded, DecodeError> {
    let body = match encoding {
        Encoding::Protobuf => Cow::Borrowed(body),
        Encoding::Json => {
            Cow::Owned(json::to_protobuf(body).map_err(|error| DecodeError::Json(error.to_string()))?)
        }
    };
    let mut translator = Translator::new(options);
    match translator.request(&body) {
        Ok(()) => Ok(translator.finish()),
        Err(Stop::Fault(fault)) => {
            Err(DecodeError::Malformed { what: fault.what, offset: fault.offset_in(&body) })
        }
        Err(Stop::TooMany { what, limit }) => Err(DecodeError::TooMany { what, limit }),
    }
}

/// Why the request can't be read to its end.
#[derive(Debug)]
enum Stop {
    Fault(Fault),
    TooMany { what: &'static str, limit: usize },
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Stop::Fault(fault)
    }
}

/// A metric, without its data.
#[derive(Debug)]
struct Metric<'a> {
    /// As it is in the request.
    name: Cow<'a, str>,
    unit: Cow<'a, str>,
    description: &'a [u8],
    /// The name of its family in Prometheus.
    family: String,
    kind: MetricType,
    is_delta: bool,
}

/// What the data of a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Gauge,
    Sum { is_monotonic: bool },
    Histogram,
    Exponential,
    Summary,
}

/// The aggregation temporality of cumulative data, and of deltas.
const CUMULATIVE: u64 = 2;
const DELTA: u64 = 1;

struct Translator<'a, 'o> {
    options: &'o Options<'o>,
    labels: LabelSet<'a>,
    emitter: Emitter<'o>,
    rejections: Rejections,
    /// That of the current data point.
    head: Head<'a>,
    /// Why no labels can be made for this resource, or for this scope.
    resource_fault: Option<String>,
    scope_fault: Option<String>,
    /// The earliest and the latest time of the resource's data points, in nanoseconds.
    times: Option<(u64, u64)>,
    /// Samples of `target_info` in this request: the hash of the labels, and the time.
    seen_targets: HashSet<(u64, i64)>,
    target_hasher: RandomState,
    points: usize,
}

impl<'a, 'o> Translator<'a, 'o> {
    fn new(options: &'o Options<'o>) -> Self {
        Translator {
            options,
            labels: LabelSet::default(),
            emitter: Emitter::new(options),
            rejections: Rejections::default(),
            head: Head::default(),
            resource_fault: None,
            scope_fault: None,
            times: None,
            seen_targets: HashSet::new(),
            target_hasher: RandomState::new(),
            points: 0,
        }
    }

    fn finish(self) -> Decoded {
        let (rejected, counts) = self.rejections.finish();
        let Emitter { batch, deltas, .. } = self.emitter;
        Decoded { parsed: Parsed { batch, rejected }, rejected: counts, deltas }
    }

    fn request(&mut self, body: &'a [u8]) -> Result<(), Stop> {
        let mut fields = Reader::new(body);
        while let Some(field) = fields.next()? {
            if field.number == 1 {
                self.resource_metrics(field.bytes()?)?;
            }
        }
        Ok(())
    }

    fn resource_metrics(&mut self, message: &'a [u8]) -> Result<(), Stop> {
        let (mut attributes, mut given) = (Vec::new(), 0);
        let mut fields = Reader::new(message);
        while let Some(field) = fields.next()? {
            if field.number == 1 {
                given += collect_attributes(field.bytes()?, 1, &mut attributes)?;
            }
        }
        self.times = None;
        self.resource_fault = match self.labels.set_resource(&attributes, self.options.settings) {
            Ok(()) => too_many("resource", given),
            Err(LabelFault::Fault(fault)) => return Err(fault.into()),
            Err(LabelFault::Invalid(why)) => Some(format!("the resource has {why}")),
        };
        let mut fields = Reader::new(message);
        while let Some(field) = fields.next()? {
            if field.number == 2 {
                self.scope_metrics(field.bytes()?)?;
            }
        }
        match self.times {
            Some((earliest, latest)) => self.target_info(&mut attributes, earliest, latest),
            None => Ok(()),
        }
    }

    fn scope_metrics(&mut self, message: &'a [u8]) -> Result<(), Stop> {
        let (mut scope, mut schema_url): (&[u8], &[u8]) = (&[], &[]);
        let mut fields = Reader::new(message);
        while let Some(field) = fields.next()? {
            match field.number {
                1 => scope = field.bytes()?,
                3 => schema_url = field.bytes()?,
                _ => {}
            }
        }
        self.scope_fault = self.scope(scope, schema_url)?;
        let mut fields = Reader::new(message);
        while let Some(field) = fields.next()? {
            if field.number == 2 {
                self.metric(field.bytes()?)?;
            }
        }
        Ok(())
    }

    /// Returns what is wrong with the scope's labels.
    fn scope(&mut self, message: &'a [u8], schema_url: &'a [u8]) -> Result<Option<String>, Stop> {
        let (mut name, mut version): (&[u8], &[u8]) = (&[], &[]);
        let mut attributes = Vec::new();
        let mut fields = Reader::new(message);
        while let Some(field) = fields.next()? {
            match field.number {
                1 => name = field.bytes()?,
                2 => version = field.bytes()?,
                _ => {}
            }
        }
        let given = collect_attributes(message, 3, &mut attributes)?;
        let identity = [("name", name), ("version", version), ("schema_url", schema_url)];
        match self.labels.set_scope(identity, &attributes, self.options.settings) {
            Ok(()) => Ok(too_many("scope", given)),
            Err(LabelFault::Fault(fault)) => Err(fault.into()),
            Err(LabelFault::Invalid(why)) => Ok(Some(format!("the scope has {why}"))),
        }
    }

    fn metric(&mut self, message: &'a [u8]) -> Result<(), Stop> {
        let (mut name, mut unit, mut description): (&[u8], &[u8], &[u8]) = (&[], &[], &[]);
        let mut data: Option<(u32, &'a [u8])> = None;
        let mut fields = Reader::new(message);
        while let Some(field) = fields.next()? {
            match field.number {
                1 => name = field.bytes()?,
                2 => description = field.bytes()?,
                3 => unit = field.bytes()?,
                5 | 7 | 9 | 10 | 11 => data = Some((field.number, field.bytes()?)),
                _ => {}
            }
        }
        let name = String::from_utf8_lossy(name);
        let Some((number, data)) = data else {
            self.rejections.note(|| format!("metric {name:?} has no data of a known type"));
            return Ok(());
        };
        let head = DataHead::read(data)?;
        let kind = match number {
            5 => Kind::Gauge,
            7 => Kind::Sum { is_monotonic: head.is_monotonic },
            9 => Kind::Histogram,
            10 => Kind::Exponential,
            _ => Kind::Summary,
        };
        let has_temporality = !matches!(kind, Kind::Gauge | Kind::Summary);
        let is_delta = has_temporality && head.temporality == DELTA;
        if has_temporality && !is_delta && head.temporality != CUMULATIVE {
            let why = "neither delta nor cumulative: its aggregation temporality is missing";
            self.rejections.count(Reason::Temporality, head.points, &name, || why.to_string());
            return Ok(());
        }
        let unit = String::from_utf8_lossy(unit);
        let strategy = self.options.settings.translation_strategy;
        let metric = match metric_name(&name, &unit, kind.of_name(), strategy) {
            Ok(family) => Metric { kind: kind.of_metadata(), family, name, unit, description, is_delta },
            Err(error) => {
                self.rejections.count(Reason::MetricName, head.points, &name, || error.to_string());
                return Ok(());
            }
        };
        if let Some(why) = self.resource_fault.as_ref().or(self.scope_fault.as_ref()) {
            self.rejections.count(Reason::Labels, head.points, &metric.name, || why.clone());
            return Ok(());
        }
        self.emitter.begin_metric();
        let mut fields = Reader::new(data);
        while let Some(field) = fields.next()? {
            if field.number == 1 {
                self.data_point(&metric, kind, field.bytes()?)?;
            }
        }
        Ok(())
    }

    fn data_point(&mut self, metric: &Metric<'a>, kind: Kind, message: &'a [u8]) -> Result<(), Stop> {
        self.points += 1;
        if self.points > self.options.points_max {
            return Err(Stop::TooMany { what: "data points", limit: self.options.points_max });
        }
        let marks = self.emitter.marks();
        let mut head = std::mem::take(&mut self.head);
        head.clear();
        let result = match kind {
            Kind::Gauge | Kind::Sum { .. } => self.number(metric, &mut head, message, kind != Kind::Gauge),
            Kind::Histogram => self.histogram(metric, &mut head, message),
            Kind::Exponential => self.exponential(metric, &mut head, message),
            Kind::Summary => self.summary(metric, &mut head, message),
        };
        let time = head.time;
        self.head = head;
        match result {
            Ok(()) => {
                let (earliest, latest) = self.times.unwrap_or((time, time));
                self.times = Some((earliest.min(time), latest.max(time)));
                Ok(())
            }
            Err(Refused::Stop(stop)) => Err(stop),
            Err(Refused::Point(reason, why)) => {
                self.emitter.back_to(marks);
                self.rejections.count(reason, 1, &metric.name, || why);
                Ok(())
            }
        }
    }
}

/// What holds for all data points of a metric.
#[derive(Debug, Default)]
struct DataHead {
    points: u64,
    temporality: u64,
    is_monotonic: bool,
}

impl DataHead {
    fn read(data: &[u8]) -> Result<Self, Fault> {
        let mut head = DataHead::default();
        let mut fields = Reader::new(data);
        while let Some(field) = fields.next()? {
            match field.number {
                1 => head.points += 1,
                2 => head.temporality = field.varint()?,
                3 => head.is_monotonic = field.varint()? != 0,
                _ => {}
            }
        }
        Ok(head)
    }
}

impl Kind {
    fn of_name(self) -> NameKind {
        match self {
            Kind::Gauge => NameKind::Gauge,
            Kind::Sum { is_monotonic: true } => NameKind::Counter,
            _ => NameKind::Other,
        }
    }

    fn of_metadata(self) -> MetricType {
        match self {
            Kind::Gauge | Kind::Sum { is_monotonic: false } => MetricType::Gauge,
            Kind::Sum { is_monotonic: true } => MetricType::Counter,
            Kind::Histogram | Kind::Exponential => MetricType::Histogram,
            Kind::Summary => MetricType::Summary,
        }
    }
}

impl Metric<'_> {
    fn metadata(&self) -> model::Metadata {
        model::Metadata {
            family: self.family.clone(),
            kind: self.kind,
            help: String::from_utf8_lossy(self.description).into_owned(),
            unit: unit::of_metadata(&self.unit),
        }
    }
}

/// Adds the attributes of `message`, which are in its field `number`, up to the limit. Returns how many there are.
fn collect_attributes<'a>(
    message: &'a [u8],
    number: u32,
    to: &mut Vec<Attribute<'a>>,
) -> Result<usize, Stop> {
    let mut given = 0;
    let mut fields = Reader::new(message);
    while let Some(field) = fields.next()? {
        if field.number == number {
            given += 1;
            if to.len() < RESOURCE_ATTRIBUTES_MAX {
                to.push(key_value(field.bytes()?)?);
            }
        }
    }
    Ok(given)
}

fn too_many(what: &str, attributes: usize) -> Option<String> {
    (attributes > RESOURCE_ATTRIBUTES_MAX).then(|| {
        format!("the {what} has {attributes} attributes, the limit is {RESOURCE_ATTRIBUTES_MAX}: send fewer of them")
    })
}

#[cfg(test)]
mod tests;
