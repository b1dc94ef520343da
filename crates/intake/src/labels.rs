//! Label limits for batches that no decoder has checked. Pure.

use formats::Rejected;
use model::{Batch, LabelsBuilder, Limits, Value};

/// Removes the series whose labels are invalid or over a limit, with their points.
pub(crate) fn limit(batch: &mut Batch, limits: &Limits, rejected: &mut Rejected) {
    let mut invalid = vec![false; batch.series.len()];
    let mut checked = Vec::new();
    for (number, invalid) in invalid.iter_mut().enumerate() {
        let labels = batch.labels(number as u32);
        let mut builder = LabelsBuilder::new();
        labels.pairs().for_each(|(name, value)| builder.push(name, value));
        checked.clear();
        if let Err(error) = builder.finish(limits, &mut checked) {
            *invalid = true;
            rejected.series += 1;
            rejected.explain(|| error.to_string());
        }
    }
    if invalid.contains(&true) {
        batch.retain_points(|_, point| {
            let is_valid = invalid.get(point.series as usize).is_some_and(|invalid| !invalid);
            match point.value {
                _ if is_valid => {}
                Value::Float(_) => rejected.samples += 1,
                Value::Histogram(_) => rejected.histograms += 1,
                Value::Exemplar(_) => rejected.exemplars += 1,
            }
            is_valid
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Labels, Series};

    #[test]
    fn a_series_over_a_limit_costs_itself_only() {
        let limits = Limits::default();
        let mut batch = Batch::new();
        for device in ["sda".to_string(), "x".repeat(limits.value_bytes + 1), "sdb".to_string()] {
            let labels = Labels::from_pairs([("__name__", "a"), ("device", &device)]);
            let series = batch.add_series(labels.as_ref(), Series::NO_METADATA);
            batch.push_float(series, 1, 1.0);
        }
        let mut rejected = Rejected::default();
        limit(&mut batch, &limits, &mut rejected);
        assert_eq!((rejected.series, rejected.samples, batch.points.len()), (1, 1, 2));
        assert!(rejected.to_string().contains("the length of the value of label \"device\""), "{rejected}");
        assert_eq!(batch.labels(1).to_string(), "a{device=\"sdb\"}");
    }
}
