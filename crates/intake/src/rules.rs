//! What the settings of an input do to the labels of its series. Pure.

use crate::settings::InputSettings;
use formats::Rejected;
use model::{Batch, Kinds, LabelsBuilder, LabelsRef, Limits, Span};
use relabel::{Relabelled, Relabeller};

/// Most bytes of labels that the rules may make for one batch; the series beyond are rejected.
pub const MADE_LABELS_BYTES: usize = 128 << 20;

/// The result for one series.
enum Made {
    Same,
    Dropped,
    Changed(Span),
    Invalid(String),
}

/// Adds `labels` and applies `metric_relabel_configs` to each series. Removes the series that a rule drops, and
/// returns how many points they had. Series whose new labels are invalid are rejected.
pub(crate) fn apply(
    settings: &InputSettings,
    limits: &Limits,
    batch: &mut Batch,
    rejected: &mut Rejected,
) -> Kinds {
    let mut dropped = Kinds::default();
    if settings.labels.is_empty() && settings.metric_relabel_configs.is_empty() {
        return dropped;
    }
    let mut relabeller = Relabeller::new(settings.metric_relabel_configs.clone());
    let mut arena = std::mem::take(&mut batch.bytes);
    let limit = arena.len().saturating_add(MADE_LABELS_BYTES).min(Batch::MAX_BYTES);
    let (mut with_labels, mut relabelled) = (Vec::new(), Vec::new());
    let mut make = |labels: Span, arena: &mut Vec<u8>| {
        with_labels.clear();
        relabelled.clear();
        let own = LabelsRef::trusted(model::batch::slice(arena, labels));
        settings.labels.apply(own, &mut with_labels);
        let made = match relabeller.apply(LabelsRef::trusted(&with_labels), &mut relabelled) {
            Relabelled::Dropped => return Made::Dropped,
            Relabelled::Changed => &relabelled,
            Relabelled::Same if with_labels == own.as_bytes() => return Made::Same,
            Relabelled::Same => &with_labels,
        };
        match check(LabelsRef::trusted(made), limits) {
            Err(reason) => Made::Invalid(format!("after relabelling: {reason}")),
            Ok(()) if arena.len() + made.len() > limit => {
                Made::Invalid(format!("relabelling makes more than {MADE_LABELS_BYTES} bytes of labels"))
            }
            Ok(()) => {
                let start = arena.len();
                arena.extend_from_slice(made);
                Made::Changed(Span { start: start as u32, len: made.len() as u32 })
            }
        }
    };
    let made: Vec<Made> = batch.series.iter().map(|series| make(series.labels, &mut arena)).collect();
    batch.bytes = arena;
    for (series, made) in batch.series.iter_mut().zip(&made) {
        if let Made::Changed(labels) = made {
            series.labels = *labels;
            batch.verbatim = None;
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

/// Whether labels are within the limits, and have a metric name.
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
    use model::{Labels, Series, Verbatim};
    use relabel::AddedLabels;

    fn batch(series: &[&[(&str, &str)]]) -> Batch {
        let mut batch = Batch::new();
        for labels in series {
            let labels = Labels::from_pairs(labels.iter().copied());
            let number = batch.add_series(labels.as_ref(), Series::NO_METADATA);
            batch.push_float(number, 1, 1.0);
        }
        let verbatim = Verbatim { content_type: "x", encoding: "y", body: "z".into(), plain_bytes: 1 };
        batch.verbatim = Some(Box::new(verbatim));
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
        let dropped = apply(&settings, &Limits::default(), &mut batch, &mut rejected);
        assert_eq!((dropped.samples, rejected.is_empty()), (1, true));
        assert_eq!(series(&batch), [r#"a{place="boat",site="boat"}"#, r#"b{place="own",site="own"}"#]);
        assert_eq!(batch.verbatim, None, "the body does not have these labels");
    }

    #[test]
    fn a_batch_that_no_rule_changes_keeps_its_body() {
        let before = batch(&[&[("__name__", "a"), ("site", "own")]]);
        let mut batch = before.clone();
        let rules = r#"[{"action": "drop", "source_labels": ["__name__"], "regex": "noise"}]"#;
        let settings = settings(&[("site", "boat")], rules);
        apply(&settings, &Limits::default(), &mut batch, &mut Rejected::default());
        assert_eq!(batch, before);
    }

    #[test]
    fn a_series_that_relabelling_makes_invalid_costs_itself_only() {
        let mut batch = batch(&[&[("__name__", "a")], &[("__name__", "b"), ("x", "1")]]);
        let rules =
            r#"[{"source_labels": ["x"], "regex": "1", "target_label": "__name__", "replacement": ""}]"#;
        let mut rejected = Rejected::default();
        apply(&settings(&[], rules), &Limits::default(), &mut batch, &mut rejected);
        assert_eq!((rejected.series, rejected.samples, series(&batch)), (1, 1, vec!["a".to_string()]));
        let reason = "after relabelling: a series without a metric name (__name__)";
        assert_eq!(rejected.reasons, [reason]);
    }
}
