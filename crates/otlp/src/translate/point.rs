//! What data points of all kinds have in common.

use super::EXEMPLARS_MAX;
use super::Translator;
use super::emit::{Refused, Times};
use super::labels::{Attribute, LabelFault};
use crate::rejected::Reason;
use crate::value::key_value;
use formats::wire::Fault;

/// The bit of `flags` that says that there is no value.
const NO_RECORDED_VALUE: u64 = 1;

/// The parts that data points of all kinds have.
#[derive(Debug, Default)]
pub(super) struct Head<'a> {
    pub(super) attributes: Vec<Attribute<'a>>,
    /// How many there are; more than the limit are not kept.
    attributes_total: usize,
    /// In nanoseconds since 1970.
    pub(super) time: u64,
    pub(super) start: u64,
    pub(super) flags: u64,
    pub(super) exemplars: Vec<&'a [u8]>,
    pub(super) exemplars_total: usize,
}

impl<'a> Head<'a> {
    pub(super) fn clear(&mut self) {
        self.attributes.clear();
        self.exemplars.clear();
        (self.attributes_total, self.exemplars_total) = (0, 0);
        (self.time, self.start, self.flags) = (0, 0, 0);
    }

    pub(super) fn add_attribute(&mut self, message: &'a [u8], limit: usize) -> Result<(), Fault> {
        self.attributes_total += 1;
        if self.attributes_total <= limit {
            self.attributes.push(key_value(message)?);
        }
        Ok(())
    }

    pub(super) fn add_exemplar(&mut self, message: &'a [u8]) {
        self.exemplars_total += 1;
        if self.exemplars_total <= EXEMPLARS_MAX {
            self.exemplars.push(message);
        }
    }

    /// Whether the data point says that its series have ended.
    pub(super) fn is_stale(&self) -> bool {
        self.flags & NO_RECORDED_VALUE != 0
    }

    /// A value, or the staleness marker.
    pub(super) fn value(&self, value: f64) -> f64 {
        if self.is_stale() { model::stale_nan() } else { value }
    }
}

impl<'a> Translator<'a, '_> {
    /// Checks what data points of all kinds have, and makes the labels.
    pub(super) fn begin_point(&mut self, head: &mut Head<'a>) -> Result<Times, Refused> {
        let refuse = |reason, why: String| Err(Refused::Point(reason, why));
        if head.time == 0 {
            return refuse(Reason::Time, "a data point without a time (timeUnixNano)".into());
        }
        let limit = self.options.limits.labels;
        if head.attributes_total > limit {
            let why = format!("a data point with {} attributes, the limit is {limit}", head.attributes_total);
            return refuse(Reason::Labels, why);
        }
        let [time, start] = [head.time, head.start].map(|nanoseconds| nanoseconds as i64 / 1_000_000);
        if let Some(why) = (self.options.refused_time)(time) {
            return refuse(Reason::Time, why);
        }
        match self.labels.set_point(&mut head.attributes, self.options.settings) {
            // A start that is not before the sample's own time says nothing.
            Ok(()) => Ok(Times { time, start: if start < time { start } else { 0 } }),
            Err(LabelFault::Fault(fault)) => Err(fault.into()),
            Err(LabelFault::Invalid(why)) => refuse(Reason::Labels, why),
        }
    }
}
