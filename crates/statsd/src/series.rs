//! From what names a series in a line to what its total is.

use crate::counts::Error;
use crate::options::Options;
use formats::statsd::{Kind, describe, escape};
use mapping::{Mapping, Observer};
use model::labels::METRIC_NAME;
use model::{LabelsBuilder, LabelsRef, Limits};
use std::sync::Arc;
use std::time::Duration;
use totals::Shape;

/// The label of a bucket's bound.
const LE: &str = "le";
/// The label of a quantile.
const QUANTILE: &str = "quantile";

/// What a series becomes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Form {
    Counter,
    Gauge,
    Histogram(Arc<Shape>),
    Summary { quantiles: Vec<f64>, max_age: Duration },
    Set,
}

/// A series that was described for the first time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Described {
    pub(crate) form: Form,
    pub(crate) name: String,
    labels: Vec<(String, String)>,
    pub(crate) help: String,
    pub(crate) ttl: Option<Duration>,
    pub(crate) scale: f64,
    pub(crate) tag_errors: u32,
}

/// A series of a summary, or the only one of any other form.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Part {
    Whole,
    Count,
    Sum,
    Quantile(f64),
}

/// The mapping file's settings for a series.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    /// A rule drops it.
    Dropped,
    Series(Described),
}

/// What names a series in a line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Named<'l> {
    pub(crate) kind: Kind,
    pub(crate) name: &'l str,
    pub(crate) tags: &'l str,
    pub(crate) container: Option<&'l str>,
}

/// Reads tags and applies the mapping. `shapes` has the shapes that are in use, so that equal ones are shared.
pub(crate) fn resolve(
    named: Named<'_>,
    options: &Options,
    mapping: Option<&Mapping>,
    shapes: &mut Vec<Arc<Shape>>,
) -> Result<Outcome, Error> {
    let described = describe(named.name, named.tags, options.tags)?;
    let kind = match named.kind {
        Kind::Counter => mapping::Kind::Counter,
        Kind::Gauge | Kind::Set => mapping::Kind::Gauge,
        Kind::Timer | Kind::Histogram | Kind::Distribution => mapping::Kind::Observer,
    };
    let found = mapping.and_then(|mapping| mapping.find(&described.name, kind));
    if found.as_ref().is_some_and(|found| found.rule.is_drop) {
        return Ok(Outcome::Dropped);
    }
    let rule = found.as_ref().map(|found| found.rule);
    let observer = || rule.map(|rule| &rule.observer).or(mapping.map(Mapping::default_observer));
    let form = match named.kind {
        Kind::Counter => Form::Counter,
        Kind::Gauge => Form::Gauge,
        Kind::Set => Form::Set,
        Kind::Timer | Kind::Histogram | Kind::Distribution => match observer() {
            None => Form::Histogram(options.shape.clone()),
            Some(Observer::Histogram { buckets, native }) => {
                Form::Histogram(shared(buckets, native.is_some(), shapes)?)
            }
            Some(Observer::Summary { quantiles, max_age }) => {
                Form::Summary { quantiles: quantiles.clone(), max_age: *max_age }
            }
        },
    };
    let mut tag_errors = described.tag_errors;
    let mut labels = described.labels;
    if let Some(container) = named.container.filter(|_| options.container_id) {
        set(&mut labels, "container_id", container, true);
    }
    let tags_win = rule.is_some_and(|rule| rule.honor_labels);
    for (label, value) in found.iter().flat_map(|found| &found.labels) {
        set(&mut labels, label, value, !tags_win);
    }
    let reserved = match form {
        Form::Histogram(_) => LE,
        Form::Summary { .. } => QUANTILE,
        Form::Counter | Form::Gauge | Form::Set => METRIC_NAME,
    };
    let before = labels.len();
    labels.retain(|(label, _)| label != reserved);
    tag_errors += (before - labels.len()) as u32;
    let (help, ttl, scale) = (
        rule.and_then(|rule| rule.help.clone()).unwrap_or_default(),
        rule.map_or_else(|| mapping.and_then(Mapping::default_ttl), |rule| rule.ttl).or(options.ttl),
        rule.and_then(|rule| rule.scale).unwrap_or(1.0),
    );
    let name = match found {
        Some(found) => found.name,
        None => {
            let mut name = String::new();
            escape(&described.name, &mut name);
            name
        }
    };
    if name.is_empty() {
        return Err(Error::EmptyName);
    }
    Ok(Outcome::Series(Described { form, name, labels, help, ttl, scale, tag_errors }))
}

/// Sets a label; one that is there only if `replaces`.
fn set(labels: &mut Vec<(String, String)>, name: &str, value: &str, replaces: bool) {
    match labels.iter_mut().find(|(other, _)| other == name) {
        Some((_, old)) if replaces => value.clone_into(old),
        Some(_) => {}
        None => labels.push((name.to_string(), value.to_string())),
    }
}

fn shared(bounds: &[f64], native: bool, shapes: &mut Vec<Arc<Shape>>) -> Result<Arc<Shape>, Error> {
    let shape = Shape::classic(bounds).map_err(|_| Error::Labels)?;
    let shape = if native { shape.and_native() } else { shape };
    if let Some(known) = shapes.iter().find(|known| ***known == shape) {
        return Ok(known.clone());
    }
    let shape = Arc::new(shape);
    shapes.push(shape.clone());
    Ok(shape)
}

impl Described {
    /// Writes the canonical labels of a part.
    pub(crate) fn labels<'o>(
        &self,
        part: Part,
        limits: &Limits,
        out: &'o mut Vec<u8>,
    ) -> Result<LabelsRef<'o>, Error> {
        let (suffix, quantile) = match part {
            Part::Whole => ("", None),
            Part::Count => ("_count", None),
            Part::Sum => ("_sum", None),
            Part::Quantile(quantile) => ("", Some(quantile.to_string())),
        };
        let name = format!("{}{suffix}", self.name);
        let mut builder = LabelsBuilder::new();
        builder.push(METRIC_NAME.as_bytes(), name.as_bytes());
        for (label, value) in &self.labels {
            builder.push(label.as_bytes(), value.as_bytes());
        }
        if let Some(quantile) = &quantile {
            builder.push(QUANTILE.as_bytes(), quantile.as_bytes());
        }
        out.clear();
        builder.finish(limits, out).map_err(|_| Error::Labels)?;
        Ok(LabelsRef::trusted(out))
    }
}
