//! Applies label limits to batches that no decoder has checked. Pure.

use crate::rules::check;
use formats::Rejected;
use model::{Batch, Limits};

/// Removes the series whose labels are invalid or over a limit, with their points.
pub(crate) fn limit(batch: &mut Batch, limits: &Limits, rejected: &mut Rejected) {
    let mut invalid = vec![false; batch.series.len()];
    for (number, invalid) in invalid.iter_mut().enumerate() {
        if let Err(reason) = check(batch.labels(number as u32), limits) {
            *invalid = true;
            rejected.series += 1;
            rejected.explain(|| reason);
        }
    }
    reject(batch, &invalid, rejected);
}

/// Removes the marked series with their points, and counts the points.
pub(crate) fn reject(batch: &mut Batch, marked: &[bool], rejected: &mut Rejected) {
    if !marked.contains(&true) {
        return;
    }
    batch.retain_points(|_, point| {
        let is_marked = marked.get(point.series as usize).copied().unwrap_or(true);
        if is_marked {
            rejected.count(&point.value);
        }
        !is_marked
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Labels, Series};

    #[test]
    fn a_series_over_a_limit_costs_only_itself() {
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
