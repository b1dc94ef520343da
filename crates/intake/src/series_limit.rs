//! Limits the active series of an input: in total and for each metric name.
//!
//! A series is identified by a keyed hash of its labels, and is active for an hour after its last sample. Each active
//! series needs an entry of [`ENTRY_BYTES`], so the limit itself also limits the memory. Inputs without a limit keep
//! nothing.

use crate::labels;
use crate::refused_metrics::RefusedMetrics;
use crate::settings::InputSettings;
use formats::Rejected;
use model::Batch;
use model::words::are;
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;
use storage::registry::Hasher;

/// The time for which a series is active after its last sample.
pub const ACTIVE: Duration = Duration::from_secs(3600);
/// The approximate memory of an active series, in bytes.
pub const ENTRY_BYTES: usize = 32;
/// The maximum of active series of an input that has only a limit for each metric name.
pub const SERIES_MAX: usize = 10_000_000;
/// The interval at which inactive series are removed.
const SWEEP: Duration = Duration::from_secs(60);

/// The active series of one input.
#[derive(Debug, Default)]
pub(crate) struct SeriesLimit {
    hasher: RandomState,
    series: HashMap<u64, Active>,
    /// The number of active series by the hash of the metric name.
    by_name: HashMap<u64, usize>,
    swept: Duration,
    refused: RefusedMetrics,
}

#[derive(Debug)]
struct Active {
    name: u64,
    /// In seconds of the monotonic clock.
    seen: u32,
}

impl SeriesLimit {
    /// Removes new series that are over a limit and keeps known ones. `now` is by the monotonic clock. Returns the
    /// metric name with the most removed series, and their number.
    pub(crate) fn apply(
        &mut self,
        settings: &InputSettings,
        now: Duration,
        hasher: &Hasher,
        batch: &mut Batch,
        rejected: &mut Rejected,
    ) -> Option<(String, u64)> {
        if !settings.limits_series() {
            self.series = HashMap::new();
            self.by_name = HashMap::new();
            return None;
        }
        self.sweep(now);
        hasher.fill(batch);
        let mut over = vec![false; batch.series.len()];
        let mut removed = BTreeMap::<&[u8], u64>::new();
        for ((number, hash), over) in batch.hashes.iter().enumerate().zip(&mut over) {
            let name = batch.labels(number as u32).metric_name().unwrap_or_default();
            if let Some(reason) = self.refusal(settings, *hash, name, now) {
                *over = true;
                self.refused.add(name);
                *removed.entry(name).or_default() += 1;
                rejected.series += 1;
                rejected.over_series_limit += 1;
                rejected.explain(|| reason);
            }
        }
        let worst = removed.into_iter().max_by_key(|(_, series)| *series);
        let worst = worst.map(|(name, series)| (String::from_utf8_lossy(name).into_owned(), series));
        labels::reject(batch, &over, rejected);
        worst
    }

    /// Marks the series of a batch as active, including new ones that are over a limit.
    pub(crate) fn touch(
        &mut self,
        settings: &InputSettings,
        now: Duration,
        hasher: &Hasher,
        batch: &mut Batch,
    ) {
        if !settings.limits_series() {
            return;
        }
        self.sweep(now);
        let no_limit = InputSettings::default();
        hasher.fill(batch);
        for (number, hash) in batch.hashes.iter().enumerate() {
            let name = batch.labels(number as u32).metric_name().unwrap_or_default();
            // Only the limit on all series can refuse one here.
            let _ = self.refusal(&no_limit, *hash, name, now);
        }
    }

    /// Counts a series that the input refused because of a limit of its own.
    pub(crate) fn count_refused(&mut self, name: &[u8]) {
        self.refused.add(name);
    }

    pub(crate) fn blamed(&self) -> &BTreeMap<String, u64> {
        self.refused.by_name()
    }

    /// The number of active series.
    pub(crate) fn active(&self) -> usize {
        self.series.len()
    }

    /// Why a series is refused; `None` if it is known, or new and within the limits.
    fn refusal(
        &mut self,
        settings: &InputSettings,
        hash: u128,
        name: &[u8],
        now: Duration,
    ) -> Option<String> {
        let seen = now.as_secs() as u32;
        // Half of a keyed hash of 128 bits.
        let hash = hash as u64;
        if let Some(active) = self.series.get_mut(&hash) {
            active.seen = seen;
            return None;
        }
        let shown = String::from_utf8_lossy(name);
        let max = settings.max_series.unwrap_or(SERIES_MAX);
        if self.series.len() >= max {
            let active = are(self.series.len() as u64, "series");
            return Some(format!(
                "{shown}: a new series over the limit: {active} active, max_series is {max}"
            ));
        }
        let name_hash = self.hasher.hash_one(name);
        let of_name = self.by_name.entry(name_hash).or_default();
        if let Some(max) = settings.max_series_per_metric.filter(|max| *of_name >= *max) {
            let active = are(*of_name as u64, "series");
            return Some(format!(
                "{shown}: a new series over the limit: {active} active, max_series_per_metric is {max}"
            ));
        }
        *of_name += 1;
        self.series.insert(hash, Active { name: name_hash, seen });
        None
    }

    fn sweep(&mut self, now: Duration) {
        if now.saturating_sub(self.swept) < SWEEP {
            return;
        }
        self.swept = now;
        let oldest = now.saturating_sub(ACTIVE).as_secs() as u32;
        let by_name = &mut self.by_name;
        self.series.retain(|_, active| {
            let is_active = active.seen >= oldest;
            if !is_active && let Some(count) = by_name.get_mut(&active.name) {
                *count -= 1;
                if *count == 0 {
                    by_name.remove(&active.name);
                }
            }
            is_active
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Labels, Series};
    use std::sync::LazyLock;

    static HASHER: LazyLock<Hasher> = LazyLock::new(Hasher::new);

    fn batch(name: &str, numbers: std::ops::Range<u32>) -> Batch {
        let mut batch = Batch::new();
        for number in numbers {
            let labels = Labels::from_pairs([("__name__", name), ("n", &number.to_string())]);
            let series = batch.add_series(labels.as_ref(), Series::NO_METADATA);
            batch.push_float(series, 1, 1.0);
        }
        batch
    }

    /// The number of kept and of refused series, and the first reason.
    fn apply(
        limit: &mut SeriesLimit,
        settings: &InputSettings,
        at: u64,
        batch: Batch,
    ) -> (usize, u64, String) {
        let (mut batch, mut rejected) = (batch, Rejected::default());
        limit.apply(settings, Duration::from_secs(at), &HASHER, &mut batch, &mut rejected);
        assert_eq!(rejected.series, rejected.samples);
        (batch.points.len(), rejected.series, rejected.reasons.first().cloned().unwrap_or_default())
    }

    #[test]
    fn over_the_limit_only_new_series_are_refused() {
        let settings = InputSettings { max_series: Some(5), ..InputSettings::default() };
        let mut limit = SeriesLimit::default();
        assert_eq!(apply(&mut limit, &settings, 1, batch("a", 0..4)).0, 4);
        let (kept, refused, reason) = apply(&mut limit, &settings, 2, batch("b", 0..3));
        assert_eq!((kept, refused), (1, 2));
        assert_eq!(reason, "b: a new series over the limit: 5 series are active, max_series is 5");
        assert_eq!(apply(&mut limit, &settings, 3, batch("a", 0..6)).0, 4);
        assert_eq!(
            limit.blamed().clone().into_iter().collect::<Vec<_>>(),
            [("a".into(), 2), ("b".into(), 2)]
        );
    }

    #[test]
    fn each_metric_name_has_a_limit_of_its_own() {
        let settings = InputSettings { max_series_per_metric: Some(2), ..InputSettings::default() };
        let mut limit = SeriesLimit::default();
        let (kept, refused, reason) = apply(&mut limit, &settings, 1, batch("a", 0..3));
        assert_eq!((kept, refused), (2, 1));
        assert!(reason.ends_with("2 series are active, max_series_per_metric is 2"), "{reason}");
        assert_eq!(apply(&mut limit, &settings, 1, batch("b", 0..2)).0, 2);
    }

    #[test]
    fn a_series_counts_for_an_hour_after_its_last_sample() {
        let settings =
            InputSettings { max_series: Some(2), max_series_per_metric: Some(2), ..InputSettings::default() };
        let mut limit = SeriesLimit::default();
        assert_eq!(apply(&mut limit, &settings, 100, batch("a", 0..2)).0, 2);
        assert_eq!(apply(&mut limit, &settings, 3600, batch("a", 0..1)).0, 1);
        assert_eq!(apply(&mut limit, &settings, 3700, batch("a", 2..3)).0, 0, "both are active until now");
        assert_eq!(
            apply(&mut limit, &settings, 3761, batch("a", 2..3)).0,
            1,
            "one of them is no longer active"
        );
        assert_eq!(limit.active(), 2);
        let none = InputSettings::default();
        assert_eq!(apply(&mut limit, &none, 3762, batch("a", 0..9)).0, 9);
        assert_eq!(limit.active(), 0, "without a limit nothing is kept");
    }
}
