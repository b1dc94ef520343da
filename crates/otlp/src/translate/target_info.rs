//! `target_info`: the attributes of a resource as a series (`addResourceTargetInfo` in `prometheusremotewrite/helper.go`).

use super::emit::{Refused, Times};
use super::labels::{Attribute, IDENTIFYING, LabelFault};
use super::{Metric, Stop, Translator};
use model::MetricType;
use std::borrow::Cow;
use std::hash::BuildHasher;

/// A query finds a sample for five minutes; there is one for each half of that.
const STEP: u64 = 150 * NANOSECONDS;
const NANOSECONDS: u64 = 1_000_000_000;
/// The most samples of `target_info` for one resource of a request: those of the last 42 hours.
pub const TARGET_INFO_SAMPLES_MAX: usize = 1000;

impl<'a> Translator<'a, '_> {
    /// Adds samples from the earliest to the latest time of the resource's data points, in nanoseconds since 1970.
    pub(super) fn target_info(
        &mut self,
        attributes: &mut Vec<Attribute<'a>>,
        earliest: u64,
        latest: u64,
    ) -> Result<(), Stop> {
        let is_identifying = |attribute: &Attribute<'_>| IDENTIFYING.contains(&attribute.0);
        let identifying = IDENTIFYING.iter().filter(|name| attributes.iter().any(|(key, _)| key == *name));
        if attributes.len() <= identifying.count() {
            return Ok(());
        }
        if !self.options.settings.keep_identifying_resource_attributes {
            attributes.retain(|attribute| !is_identifying(attribute));
        }
        let limit = self.options.limits.labels;
        if attributes.len() > limit {
            let number = attributes.len();
            let why = || format!("target_info of a resource with {number} attributes, the limit is {limit}");
            self.rejections.note(why);
            return Ok(());
        }
        match self.labels.set_target(attributes, self.options.settings) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(LabelFault::Fault(fault)) => return Err(fault.into()),
            Err(LabelFault::Invalid(why)) => {
                self.rejections.note(|| format!("target_info of a resource with {why}"));
                return Ok(());
            }
        }
        let marks = self.emitter.marks();
        match self.add_samples(earliest, latest) {
            Ok(()) => Ok(()),
            Err(Refused::Stop(stop)) => Err(stop),
            Err(Refused::Point(_, why)) => {
                self.emitter.back_to(marks);
                self.rejections.note(|| format!("target_info: {why}"));
                Ok(())
            }
        }
    }

    fn add_samples(&mut self, earliest: u64, latest: u64) -> Result<(), Refused> {
        let metric = Metric {
            name: Cow::Borrowed("target_info"),
            unit: Cow::Borrowed(""),
            description: b"Target metadata",
            family: "target_info".into(),
            kind: MetricType::Gauge,
            is_delta: false,
        };
        let marks = self.emitter.marks();
        self.emitter.begin_metric();
        let series = self.emitter.series(&metric, &self.labels, "", None)?;
        let hash = {
            let labels = self.emitter.batch.labels(series);
            self.target_hasher.hash_one(labels.as_bytes())
        };
        let steps = latest.saturating_sub(earliest).div_ceil(STEP);
        let skipped = steps.saturating_sub(TARGET_INFO_SAMPLES_MAX as u64 - 1);
        let times = (skipped..steps).map(|step| earliest + step * STEP).chain([latest]);
        let before = self.emitter.batch.points.len();
        for time in times {
            let time = time as i64 / 1_000_000;
            if self.seen_targets.insert((hash, time)) {
                self.emitter.float(series, Times { time, start: 0 }, 1.0)?;
            }
        }
        if self.emitter.batch.points.len() == before {
            self.emitter.back_to(marks);
        }
        Ok(())
    }
}
