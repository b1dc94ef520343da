//! Lines into changes of totals.

use crate::counts::{Counts, Error};
use crate::options::Options;
use crate::series::{self, Described, Form, Named, Outcome, Part};
use crate::sets::Sets;
use crate::summaries::Summaries;
use formats::statsd::{Kind, Line, Metric, Number, Reason, Sample, lines, parse};
use intake::known::RawKeys;
use mapping::Mapping;
use model::{Batch, Limits, Series};
use std::sync::Arc;
use totals::{ChangeError, Handle, NewSeries, Now, Shape, SummaryPart, Totals};

/// Most memory of the bytes by which series are recognised. All of them are removed when it is full.
pub const KEYS_BYTES: usize = 32 << 20;
/// Most gauges with a time of their own (`|T`) in an interval.
pub const DIRECT_MAX: usize = 20_000;
/// Separates the parts of a key; it is in no name.
const SEPARATOR: u8 = b'\n';

/// What a known series changes.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Target {
    /// A rule of the mapping file drops it.
    Dropped,
    Counter(Handle),
    Gauge(Handle),
    Histogram(Handle),
    /// The total of its count.
    Summary(Handle),
    /// The gauge that shows it.
    Set(Handle),
}

/// A known series.
#[derive(Debug, Clone, Copy)]
struct Known {
    target: Target,
    /// What values are multiplied by.
    scale: f64,
    /// Tags that are left out of each line.
    tag_errors: u32,
}

/// See the crate.
#[derive(Debug)]
pub struct Aggregator {
    options: Arc<Options>,
    mapping: Option<Arc<Mapping>>,
    limits: Limits,
    /// The totals have not been told yet that the settings differ.
    is_new: bool,
    keys: RawKeys,
    /// By the numbers in `keys`.
    known: Vec<Known>,
    shapes: Vec<Arc<Shape>>,
    sets: Sets,
    summaries: Summaries,
    /// Gauges with a time of their own.
    direct: Batch,
    key: Vec<u8>,
    labels: Vec<u8>,
    /// The first error since it was last asked for, with its line.
    example: Option<String>,
    /// Why a series of this line was refused.
    refused: Option<String>,
}

impl Default for Aggregator {
    fn default() -> Self {
        Aggregator {
            options: Arc::default(),
            mapping: None,
            limits: Limits::default(),
            is_new: false,
            keys: RawKeys::new(KEYS_BYTES),
            known: Vec::new(),
            shapes: Vec::new(),
            sets: Sets::default(),
            summaries: Summaries::default(),
            direct: Batch::new(),
            key: Vec::new(),
            labels: Vec::new(),
            example: None,
            refused: None,
        }
    }
}

impl Aggregator {
    /// Other settings. If they differ, all series are described again.
    pub fn set(&mut self, options: &Arc<Options>, mapping: Option<&Arc<Mapping>>, limits: Limits) {
        if self.options == *options && self.mapping.as_ref() == mapping && self.limits == limits {
            return;
        }
        (self.options, self.mapping, self.limits) = (options.clone(), mapping.cloned(), limits);
        self.shapes.clear();
        self.is_new = true;
        self.clear_keys();
    }

    /// Series that are recognised.
    pub fn known(&self) -> usize {
        self.known.len()
    }

    fn clear_keys(&mut self) {
        self.keys.clear();
        self.known.clear();
    }

    /// Applies lines. The order of the lines matters for gauges only.
    pub fn apply(&mut self, text: &[u8], totals: &mut Totals, now: Now, counts: &Counts<'_>) {
        if std::mem::take(&mut self.is_new) {
            totals.describe_again();
        }
        for line in lines(text) {
            match parse(line) {
                Ok(Line::Metric(metric)) => {
                    let rejected = counts.rejected.get();
                    self.metric(metric, totals, now, counts);
                    let refused = self.refused.take();
                    if counts.rejected.get() > rejected {
                        self.example.get_or_insert_with(|| shown(line, counts.last.get(), refused));
                    }
                }
                Ok(Line::Event) => counts.event(),
                Ok(Line::ServiceCheck) => counts.service_check(),
                Err(reason) => {
                    counts.error(reason);
                    self.example.get_or_insert_with(|| shown(line, counts.last.get(), None));
                }
            }
        }
    }

    /// Takes the first line since the last call that was rejected in whole or part, with the reason.
    pub fn take_example(&mut self) -> Option<String> {
        self.example.take()
    }

    fn metric(&mut self, metric: Metric<'_>, totals: &mut Totals, now: Now, counts: &Counts<'_>) {
        for sample in metric.samples() {
            match sample {
                Ok(sample) => {
                    counts.line(sample.kind);
                    if sample.has_invalid_rate {
                        counts.error(Reason::InvalidSampleFactor);
                    }
                    if let Err(error) = self.sample(metric.name, sample, totals, now, counts) {
                        counts.error(error);
                    }
                }
                Err(reason) => counts.error(reason),
            }
        }
    }

    fn sample(
        &mut self,
        name: &str,
        sample: Sample<'_>,
        totals: &mut Totals,
        now: Now,
        counts: &Counts<'_>,
    ) -> Result<(), Error> {
        let container = sample.container.filter(|_| self.options.container_id);
        let named = Named { kind: sample.kind, name, tags: sample.tags, container };
        if let (Kind::Gauge, Some(seconds)) = (sample.kind, sample.timestamp_s) {
            return self.direct(named, sample, seconds, counts);
        }
        self.key.clear();
        self.key.push(sample.kind as u8);
        for part in [name, sample.tags, container.unwrap_or_default()] {
            self.key.extend_from_slice(part.as_bytes());
            self.key.push(SEPARATOR);
        }
        let number = self.keys.get(&self.key);
        let known = number.and_then(|number| self.known.get(number as usize).copied());
        let known = match known {
            Some(known) => known,
            None => match self.open(named, sample, totals, now, counts)? {
                Some(known) => known,
                None => return Ok(()),
            },
        };
        if known.tag_errors > 0 {
            counts.errors_of(Error::Tag, known.tag_errors.into());
        }
        if self.change(known, sample, totals, counts)? {
            return Ok(());
        }
        // The series has ended, so it is opened again.
        match self.open(named, sample, totals, now, counts)? {
            Some(known) => self.change(known, sample, totals, counts).map(drop),
            None => Ok(()),
        }
    }

    /// Changes the totals of a known series. Returns false if it has ended, so that nothing was changed.
    fn change(
        &mut self,
        known: Known,
        sample: Sample<'_>,
        totals: &mut Totals,
        counts: &Counts<'_>,
    ) -> Result<bool, Error> {
        let (scale, weight) = (known.scale, sample.weight);
        match known.target {
            Target::Dropped => {
                counts.dropped.add(1);
                return Ok(true);
            }
            Target::Set(gauge) => {
                if !totals.is_open(gauge) {
                    return Ok(false);
                }
                return if self.sets.add(gauge, sample.set_value()) {
                    Ok(true)
                } else {
                    Err(Error::SetLimit)
                };
            }
            Target::Counter(handle) | Target::Gauge(handle) | Target::Histogram(handle) => {
                if !totals.is_open(handle) {
                    return Ok(false);
                }
            }
            Target::Summary(count) => {
                let is_open = totals.is_open(count)
                    && self.summaries.get(count).is_some_and(|of| totals.is_open(of.sum));
                if !is_open {
                    return Ok(false);
                }
            }
        }
        for number in sample.numbers() {
            let Number { value, has_sign } = match number {
                Ok(number) => number,
                Err(reason) => {
                    counts.error(reason);
                    continue;
                }
            };
            let value = if sample.kind == Kind::Timer { value / 1000.0 } else { value } * scale;
            let changed = match known.target {
                Target::Counter(handle) => totals.add(handle, value * weight),
                Target::Gauge(handle) if has_sign => totals.shift(handle, value),
                Target::Gauge(handle) => totals.set(handle, value),
                Target::Histogram(handle) => totals.observe(handle, value, weight),
                Target::Summary(count) => self.observe(count, value, weight, totals),
                Target::Dropped | Target::Set(_) => Ok(()),
            };
            if let Err(error) = changed {
                counts.error(error);
            }
        }
        Ok(true)
    }

    fn observe(
        &mut self,
        count: Handle,
        value: f64,
        weight: f64,
        totals: &mut Totals,
    ) -> Result<(), ChangeError> {
        let Some(summary) = self.summaries.get(count) else { return Err(ChangeError::Mismatch) };
        totals.add(summary.sum, value * weight)?;
        totals.add(count, weight)?;
        summary.observe(value, weight);
        Ok(())
    }

    /// Opens the totals of a series and remembers it. `None`: the line has no value that would change it.
    fn open(
        &mut self,
        named: Named<'_>,
        sample: Sample<'_>,
        totals: &mut Totals,
        now: Now,
        counts: &Counts<'_>,
    ) -> Result<Option<Known>, Error> {
        if !is_usable(sample, counts) {
            return Ok(None);
        }
        let outcome = series::resolve(named, &self.options, self.mapping.as_deref(), &mut self.shapes)?;
        let known = match outcome {
            Outcome::Dropped => Known { target: Target::Dropped, scale: 1.0, tag_errors: 0 },
            Outcome::Series(described) => {
                let target = self.open_totals(&described, totals, now, counts)?;
                Known { target, scale: described.scale, tag_errors: described.tag_errors }
            }
        };
        self.remember(known);
        Ok(Some(known))
    }

    fn open_totals(
        &mut self,
        described: &Described,
        totals: &mut Totals,
        now: Now,
        counts: &Counts<'_>,
    ) -> Result<Target, Error> {
        let kind = match &described.form {
            Form::Counter => totals::Kind::Counter,
            Form::Gauge | Form::Set => totals::Kind::Gauge,
            Form::Histogram(shape) => totals::Kind::Histogram(shape.clone()),
            Form::Summary { quantiles, max_age } => {
                return self.open_summary(described, quantiles, *max_age, totals, now, counts);
            }
        };
        let handle = self.open_one(described, Part::Whole, &kind, totals, now, counts)?;
        Ok(match &described.form {
            Form::Counter => Target::Counter(handle),
            Form::Set => Target::Set(handle),
            Form::Histogram(_) => Target::Histogram(handle),
            Form::Gauge | Form::Summary { .. } => Target::Gauge(handle),
        })
    }

    fn open_summary(
        &mut self,
        described: &Described,
        quantiles: &[f64],
        max_age: std::time::Duration,
        totals: &mut Totals,
        now: Now,
        counts: &Counts<'_>,
    ) -> Result<Target, Error> {
        let labels = described.labels(Part::Count, &self.limits, &mut self.labels)?;
        let is_known = totals.find(labels).is_some_and(|count| self.summaries.has(count));
        if !is_known && self.summaries.is_full() {
            return Err(Error::SetLimit);
        }
        totals.keep_quantiles(&described.name, quantiles, now);
        let mut open = |part: Part, kind: SummaryPart| {
            self.open_one(described, part, &totals::Kind::Summary(kind), totals, now, counts)
        };
        // The quantiles have the name that other series may have, so a conflict is found before the count and sum are
        // there.
        let mut gauges = Vec::new();
        for part in quantiles {
            gauges.push((*part, open(Part::Quantile(*part), SummaryPart::Quantile)?));
        }
        let sum = open(Part::Sum, SummaryPart::Sum)?;
        let count = open(Part::Count, SummaryPart::Count)?;
        match self.summaries.get(count).filter(|summary| summary.sum == sum) {
            Some(summary) => summary.set(gauges, max_age),
            None => self.summaries.add(count, sum, gauges, max_age, now.monotonic),
        }
        Ok(Target::Summary(count))
    }

    fn open_one(
        &mut self,
        described: &Described,
        part: Part,
        kind: &totals::Kind,
        totals: &mut Totals,
        now: Now,
        counts: &Counts<'_>,
    ) -> Result<Handle, Error> {
        let labels = described.labels(part, &self.limits, &mut self.labels)?;
        let new = NewSeries { labels, kind, help: &described.help, unit: "", ttl: described.ttl };
        totals.open(new, now).map_err(|refused| {
            if self.example.is_none() {
                self.refused = Some(refused.to_string());
            }
            if refused.is_over_limit() {
                (counts.refused)(labels.metric_name().unwrap_or_default());
            }
            Error::from(&refused)
        })
    }

    /// Remembers a series by the key. When there is no space for another one, all are removed.
    fn remember(&mut self, known: Known) {
        if let Some(number) = self.keys.get(&self.key)
            && let Some(old) = self.known.get_mut(number as usize)
        {
            *old = known;
            return;
        }
        let number = self.known.len() as u64;
        self.keys.set(&self.key, number);
        if self.keys.get(&self.key) == Some(number) {
            self.known.push(known);
        } else {
            self.clear_keys();
        }
    }

    /// A gauge whose time the client has given: it is appended as it is.
    fn direct(
        &mut self,
        named: Named<'_>,
        sample: Sample<'_>,
        seconds: i64,
        counts: &Counts<'_>,
    ) -> Result<(), Error> {
        let outcome = series::resolve(named, &self.options, self.mapping.as_deref(), &mut self.shapes)?;
        let Outcome::Series(described) = outcome else {
            counts.dropped.add(1);
            return Ok(());
        };
        if described.tag_errors > 0 {
            counts.errors_of(Error::Tag, described.tag_errors.into());
        }
        let labels = described.labels(Part::Whole, &self.limits, &mut self.labels)?;
        for number in sample.numbers() {
            match number {
                Err(reason) => counts.error(reason),
                Ok(_) if self.direct.points.len() >= DIRECT_MAX => counts.error(Error::TimestampLimit),
                Ok(number) => {
                    let index = self.direct.add_series(labels, Series::NO_METADATA);
                    let milliseconds = seconds.saturating_mul(1000);
                    self.direct.push_float(index, milliseconds, number.value * described.scale);
                }
            }
        }
        Ok(())
    }

    /// Shows what is calculated once an interval: sizes of sets, quantiles.
    pub fn before_flush(&mut self, totals: &mut Totals, now: Now) {
        self.sets.flush(totals);
        self.summaries.flush(totals, now.monotonic);
    }

    /// Takes the gauges with a time of their own.
    pub fn take_direct(&mut self) -> Option<Batch> {
        (!self.direct.points.is_empty()).then(|| std::mem::replace(&mut self.direct, Batch::new()))
    }
}

/// The beginning of a line, and the last error of it. `refused`: why its series was refused.
fn shown(line: &[u8], error: Option<Error>, refused: Option<String>) -> String {
    let start: String = String::from_utf8_lossy(line).chars().take(80).collect();
    if let Some(refused) = refused {
        return format!("{start:?}: {refused}");
    }
    match error {
        Some(Error::Line(reason)) => format!("{start:?}: {reason}"),
        Some(error) => format!("{start:?}: {}", error.as_str()),
        None => format!("{start:?}"),
    }
}

/// Whether a sample has a value that may change a new series. A total that is opened is sent, even if its first change
/// is refused. Counts the errors if there is none.
fn is_usable(sample: Sample<'_>, counts: &Counts<'_>) -> bool {
    let error = |number: Result<Number, Reason>| match number {
        Err(reason) => Some(Error::Line(reason)),
        Ok(number) if sample.kind == Kind::Counter && number.value < 0.0 => Some(Error::NegativeCounter),
        Ok(_) => None,
    };
    if sample.kind == Kind::Set || sample.numbers().any(|number| error(number).is_none()) {
        return true;
    }
    sample.numbers().filter_map(error).for_each(|error| counts.error(error));
    false
}
