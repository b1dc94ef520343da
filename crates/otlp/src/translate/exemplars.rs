//! Exemplars (`getPromExemplars` in `prometheusremotewrite/helper.go`).

use super::emit::{Refused, Times};
use super::labels::{LabelFault, Piece};
use super::point::Head;
use super::{EXEMPLARS_MAX, Metric, Translator};
use crate::value::{decimal, key_value};
use formats::wire::Reader;

/// The most characters of all labels of an exemplar. With more than that only trace and span id stay.
const LABEL_CHARACTERS_MAX: usize = 128;
/// The most filtered attributes that are looked at; more of them never fit.
const ATTRIBUTES_MAX: usize = LABEL_CHARACTERS_MAX;

const TRACE_ID: &[u8] = b"trace_id";
const SPAN_ID: &[u8] = b"span_id";

/// An exemplar that was read.
#[derive(Debug)]
pub(super) struct Exemplar<'a> {
    /// In milliseconds since 1970; 0 where it is missing.
    time: i64,
    pub(super) value: f64,
    labels: Vec<(Piece<'a>, Piece<'a>)>,
}

impl<'a> Translator<'a, '_> {
    /// Reads the exemplars of a data point. Those that have no value are counted.
    pub(super) fn read_exemplars(
        &mut self,
        metric: &Metric<'a>,
        head: &Head<'a>,
    ) -> Result<Vec<Exemplar<'a>>, Refused> {
        let mut found = Vec::with_capacity(head.exemplars.len());
        for message in &head.exemplars {
            match self.read_exemplar(message)? {
                Ok(exemplar) => found.push(exemplar),
                Err(why) => self.rejections.count_exemplar(&metric.name, || why),
            }
        }
        for _ in head.exemplars.len()..head.exemplars_total {
            let why = || format!("a data point with more than {EXEMPLARS_MAX} exemplars");
            self.rejections.count_exemplar(&metric.name, why);
        }
        Ok(found)
    }

    fn read_exemplar(&mut self, message: &'a [u8]) -> Result<Result<Exemplar<'a>, String>, Refused> {
        let (mut time, mut value) = (0, None);
        let (mut trace, mut span): (&[u8], &[u8]) = (&[], &[]);
        let mut attributes = Vec::new();
        let mut is_too_long = false;
        let mut fields = Reader::new(message);
        while let Some(field) = fields.next()? {
            match field.number {
                2 => time = field.fixed64()? as i64 / 1_000_000,
                3 => value = Some(field.double()?),
                4 => span = field.bytes()?,
                5 => trace = field.bytes()?,
                6 => value = Some(field.fixed64()? as i64 as f64),
                7 if attributes.len() >= ATTRIBUTES_MAX => is_too_long = true,
                7 => attributes.push(key_value(field.bytes()?)?),
                _ => {}
            }
        }
        let Some(value) = value else { return Ok(Err("an exemplar without a value".into())) };
        if trace.len() > 16 || span.len() > 8 {
            return Ok(Err(
                "an exemplar with a trace id of more than 16 bytes or a span id of more than 8".into()
            ));
        }
        let mut labels = Vec::new();
        let mut characters = 0;
        for (name, id) in [(TRACE_ID, trace), (SPAN_ID, span)] {
            if id.iter().any(|byte| *byte != 0) {
                let text: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
                characters += name.len() + text.len();
                labels.push((Piece::Body(name), self.labels.keep(text.as_bytes())));
            }
        }
        let ids = labels.len();
        for (key, value) in attributes {
            if labels.iter().take(ids).any(|(name, _)| name.read(self.labels.arena()) == key) {
                continue;
            }
            let value = match self.labels.text(value) {
                Ok(value) => value,
                Err(LabelFault::Fault(fault)) => return Err(fault.into()),
                Err(LabelFault::Invalid(why)) => return Ok(Err(format!("an exemplar with {why}"))),
            };
            let read = value.read(self.labels.arena());
            characters += String::from_utf8_lossy(key).chars().count();
            characters += String::from_utf8_lossy(read).chars().count();
            labels.push((Piece::Body(key), value));
        }
        if is_too_long || characters > LABEL_CHARACTERS_MAX {
            labels.truncate(ids);
        }
        Ok(Ok(Exemplar { time, value, labels }))
    }

    /// Adds the exemplars of a delta to its series, of whose samples the batch has none. `bounds`: of the buckets of an
    /// explicit histogram.
    pub(super) fn delta_exemplars(
        &mut self,
        metric: &Metric<'a>,
        head: &Head<'a>,
        times: Times,
        bounds: Option<&[f64]>,
    ) -> Result<(), Refused> {
        let mut exemplars = self.read_exemplars(metric, head)?;
        let mut rest = exemplars.as_mut_slice();
        for bound in bounds.into_iter().flatten().copied().chain([f64::INFINITY]) {
            let end = rest.iter().position(|exemplar| exemplar.value > bound).unwrap_or(rest.len());
            let (within, above) = rest.split_at_mut(end);
            if !within.is_empty() {
                let le = if bound == f64::INFINITY { "+Inf".into() } else { decimal(bound) };
                let (suffix, le) = match bounds {
                    Some(_) => ("_bucket", Some(("le", &*le))),
                    None => ("", None),
                };
                let series = self.emitter.series(metric, &self.labels, suffix, le)?;
                self.exemplars(metric, series, times, within)?;
            }
            rest = above;
        }
        Ok(())
    }

    /// Adds exemplars to a series, in order of time.
    pub(super) fn exemplars(
        &mut self,
        metric: &Metric<'a>,
        series: u32,
        times: Times,
        exemplars: &mut [Exemplar<'a>],
    ) -> Result<(), Refused> {
        exemplars.sort_by(|one, other| one.time.cmp(&other.time).then(one.value.total_cmp(&other.value)));
        let mut pairs = Vec::new();
        for exemplar in exemplars {
            let arena = self.labels.arena();
            pairs.clear();
            pairs.extend(exemplar.labels.iter().map(|(name, value)| (name.read(arena), value.read(arena))));
            let time = if exemplar.time == 0 { times.time } else { exemplar.time };
            if let Err(why) = self.emitter.exemplar(series, time, exemplar.value, &pairs)? {
                self.rejections.count_exemplar(&metric.name, || format!("exemplar: {why}"));
            }
        }
        Ok(())
    }
}
