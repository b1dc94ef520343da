//! Applies the settings of an input to the labels of its series. Pure.

use crate::settings::InputSettings;
use formats::Rejected;
use model::{Batch, Kinds, LabelsBuilder, LabelsRef, Limits, Span};
use relabel::{Relabelled, Relabeller};
use std::sync::Arc;

/// The maximum of bytes of labels that the rules may create for one batch; further series are rejected.
pub const MADE_LABELS_BYTES: usize = 128 << 20;

/// The result of the rules for one series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Made {
    Same,
    Dropped,
    /// Other labels, in the caller's buffer.
    Changed(Span),
    Invalid(String),
}

/// The rules of an input: its `labels`, and then its `metric_relabel_configs`.
#[derive(Debug)]
pub(crate) struct Rules {
    settings: Arc<InputSettings>,
    limits: Limits,
    relabeller: Relabeller,
    with_labels: Vec<u8>,
    relabelled: Vec<u8>,
}

impl Rules {
    pub(crate) fn new(settings: Arc<InputSettings>, limits: Limits) -> Self {
        let relabeller = Relabeller::new(settings.metric_relabel_configs.clone());
        Rules { settings, limits, relabeller, with_labels: Vec::new(), relabelled: Vec::new() }
    }

    /// Returns true if there are no rules.
    pub(crate) fn is_empty(&self) -> bool {
        !self.settings.has_rules()
    }

    /// Applies the rules to the labels of a series. If the labels change, appends the new ones to `out`.
    pub(crate) fn make(&mut self, labels: LabelsRef<'_>, out: &mut Vec<u8>) -> Made {
        if self.is_empty() {
            return Made::Same;
        }
        self.with_labels.clear();
        self.relabelled.clear();
        self.settings.labels.apply(labels, &mut self.with_labels);
        let with_labels = LabelsRef::trusted(&self.with_labels);
        let made = match self.relabeller.apply(with_labels, &mut self.relabelled) {
            Relabelled::Dropped => return Made::Dropped,
            Relabelled::Changed => LabelsRef::trusted(&self.relabelled),
            Relabelled::Same if with_labels == labels => return Made::Same,
            Relabelled::Same => with_labels,
        };
        match check(made, &self.limits) {
            Err(reason) => Made::Invalid(format!("after relabelling: {reason}")),
            Ok(()) => changed(made.as_bytes(), out),
        }
    }
}

/// Appends labels that the rules created to `out`, within [`MADE_LABELS_BYTES`].
pub(crate) fn changed(made: &[u8], out: &mut Vec<u8>) -> Made {
    let start = out.len();
    if start + made.len() > MADE_LABELS_BYTES {
        return too_many_labels();
    }
    out.extend_from_slice(made);
    Made::Changed(Span { start: start as u32, len: made.len() as u32 })
}

fn too_many_labels() -> Made {
    Made::Invalid(format!("relabelling makes more than {MADE_LABELS_BYTES} bytes of labels"))
}

/// The results of the rules for each series of a batch.
#[derive(Debug, Default)]
pub(crate) struct AllMade {
    /// Empty if no series changes.
    pub(crate) series: Vec<Made>,
    /// The labels that changed.
    pub(crate) changed: Vec<u8>,
    /// The registry's hashes of the labels after the rules. For series that are left out, any number.
    pub(crate) hashes: Vec<u128>,
}

/// Sets the labels of a batch's series to the results of the rules. Removes the series that a rule drops, and returns
/// the number of their points. Rejects series whose new labels are invalid.
pub(crate) fn apply_results(batch: &mut Batch, made: AllMade, rejected: &mut Rejected) -> Kinds {
    let AllMade { series: mut made, changed, hashes } = made;
    let mut dropped = Kinds::default();
    batch.hashes = hashes;
    for (number, made) in made.iter_mut().enumerate().take(batch.series.len()) {
        if let Made::Changed(labels) = made
            && !batch.set_labels(number as u32, model::batch::slice(&changed, *labels))
        {
            *made = too_many_labels();
        }
    }
    for made in &made {
        if let Made::Invalid(reason) = made {
            rejected.series += 1;
            rejected.explain(|| reason.clone());
        }
    }
    if made.iter().any(|made| matches!(made, Made::Dropped | Made::Invalid(_))) {
        batch.retain_points(|_, point| match made.get(point.series as usize) {
            Some(Made::Same | Made::Changed(_)) => true,
            Some(Made::Invalid(_)) => {
                rejected.count(&point.value);
                false
            }
            Some(Made::Dropped) | None => {
                dropped.count(&point.value);
                false
            }
        });
    }
    dropped
}

/// Checks that labels are within the limits and have a metric name.
pub(crate) fn check(labels: LabelsRef<'_>, limits: &Limits) -> Result<(), String> {
    if labels.metric_name().is_none() {
        return Err(model::LabelError::NoMetricName.to_string());
    }
    let mut builder = LabelsBuilder::new();
    labels.pairs().for_each(|(name, value)| builder.push(name, value));
    builder.finish(limits, &mut Vec::new()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "helper functions of tests")]
    use super::*;
    use model::{Labels, Series};
    use relabel::AddedLabels;

    fn apply(settings: &InputSettings, batch: &mut Batch, rejected: &mut Rejected) -> Kinds {
        let mut rules = Rules::new(Arc::new(settings.clone()), Limits::default());
        let mut made = AllMade::default();
        for number in 0..batch.series.len() as u32 {
            made.series.push(rules.make(batch.labels(number), &mut made.changed));
        }
        apply_results(batch, made, rejected)
    }

    fn batch(series: &[&[(&str, &str)]]) -> Batch {
        let mut batch = Batch::new();
        for labels in series {
            let labels = Labels::from_pairs(labels.iter().copied());
            let number = batch.add_series(labels.as_ref(), Series::NO_METADATA);
            batch.push_float(number, 1, 1.0);
        }
        batch.mark_exact("x");
        batch.keep_original("y", b"z".to_vec(), 1);
        batch
    }

    fn settings(labels: &[(&str, &str)], rules: &str) -> InputSettings {
        let labels: Vec<_> =
            labels.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        InputSettings {
            labels: AddedLabels::new(&labels),
            metric_relabel_configs: serde_json::from_str(rules).unwrap(),
            ..InputSettings::default()
        }
    }

    fn series(batch: &Batch) -> Vec<String> {
        batch.points.iter().map(|point| batch.labels(point.series).to_string()).collect()
    }

    #[test]
    fn labels_are_added_and_rules_applied_to_each_series() {
        let mut batch = batch(&[
            &[("__name__", "a")],
            &[("__name__", "b"), ("site", "own")],
            &[("__name__", "noise"), ("x", "1")],
        ]);
        let settings = settings(
            &[("site", "boat")],
            r#"[{"action": "drop", "source_labels": ["__name__"], "regex": "noise"},
                {"source_labels": ["site"], "target_label": "place"}]"#,
        );
        let mut rejected = Rejected::default();
        let dropped = apply(&settings, &mut batch, &mut rejected);
        assert_eq!((dropped.samples, rejected.is_empty()), (1, true));
        assert_eq!(series(&batch), [r#"a{place="boat",site="boat"}"#, r#"b{place="own",site="own"}"#]);
        assert_eq!(batch.original(), None, "the body has other labels");
    }

    #[test]
    fn a_batch_that_no_rule_changes_keeps_its_body() {
        let before = batch(&[&[("__name__", "a"), ("site", "own")]]);
        let mut batch = before.clone();
        let rules = r#"[{"action": "drop", "source_labels": ["__name__"], "regex": "noise"}]"#;
        let settings = settings(&[("site", "boat")], rules);
        apply(&settings, &mut batch, &mut Rejected::default());
        assert_eq!(batch, before);
        assert!(batch.original().is_some());
    }

    #[test]
    fn a_series_made_invalid_by_relabelling_costs_only_itself() {
        let mut batch = batch(&[&[("__name__", "a")], &[("__name__", "b"), ("x", "1")]]);
        let rules =
            r#"[{"source_labels": ["x"], "regex": "1", "target_label": "__name__", "replacement": ""}]"#;
        let mut rejected = Rejected::default();
        apply(&settings(&[], rules), &mut batch, &mut rejected);
        assert_eq!((rejected.series, rejected.samples, series(&batch)), (1, 1, vec!["a".to_string()]));
        let reason = "after relabelling: a series without a metric name (__name__)";
        assert_eq!(rejected.reasons, [reason]);
    }
}
