//! Summaries: quantiles of the observations of the last minutes, calculated from buckets.

use hashbrown::HashMap;
use std::time::Duration;
use totals::native::Buckets;
use totals::{Handle, Totals};

/// Most series with quantiles.
pub const SUMMARIES_MAX: usize = 10_000;
/// The time that quantiles are about moves in this many steps.
pub const WINDOWS: u32 = 5;

/// One summary. Its key is the total of its count.
#[derive(Debug)]
pub(crate) struct Summary {
    pub(crate) sum: Handle,
    /// The part of the observations, and the gauge that shows it.
    pub(crate) quantiles: Vec<(f64, Handle)>,
    pub(crate) max_age: Duration,
    windows: [Buckets; WINDOWS as usize],
    /// When the newest window began.
    began: Duration,
    is_changed: bool,
}

/// All summaries.
#[derive(Debug, Default)]
pub(crate) struct Summaries(HashMap<u64, Summary>);

impl Summaries {
    pub(crate) fn is_full(&self) -> bool {
        self.0.len() >= SUMMARIES_MAX
    }

    pub(crate) fn has(&self, count: Handle) -> bool {
        self.0.contains_key(&count.to_number())
    }

    pub(crate) fn add(
        &mut self,
        count: Handle,
        sum: Handle,
        quantiles: Vec<(f64, Handle)>,
        max_age: Duration,
        now: Duration,
    ) {
        let windows = std::array::from_fn(|_| Buckets::default());
        let summary = Summary { sum, quantiles, max_age, windows, began: now, is_changed: false };
        self.0.insert(count.to_number(), summary);
    }

    pub(crate) fn get(&mut self, count: Handle) -> Option<&mut Summary> {
        self.0.get_mut(&count.to_number())
    }

    /// Shows the quantiles of the summaries that have changed.
    pub(crate) fn flush(&mut self, totals: &mut Totals, now: Duration) {
        self.0.retain(|count, summary| {
            summary.advance(now);
            if std::mem::take(&mut summary.is_changed) {
                let [first, rest @ ..] = &summary.windows;
                let mut all = first.clone();
                rest.iter().for_each(|window| all.merge(window));
                for (part, gauge) in &summary.quantiles {
                    if let Some(value) = all.quantile(*part) {
                        let _ = totals.set(*gauge, value);
                    }
                }
            }
            totals.is_open(Handle::from_number(*count))
        });
    }
}

impl Summary {
    /// Other quantiles, of another time, as a mapping file that was read again asks for.
    pub(crate) fn set(&mut self, quantiles: Vec<(f64, Handle)>, max_age: Duration) {
        self.is_changed |= self.quantiles != quantiles;
        (self.quantiles, self.max_age) = (quantiles, max_age);
    }

    pub(crate) fn observe(&mut self, value: f64, weight: f64) {
        let [newest, ..] = &mut self.windows;
        newest.observe(value, (weight.round() as u64).max(1));
        self.is_changed = true;
    }

    /// Begins new windows, as many as the time asks for.
    fn advance(&mut self, now: Duration) {
        let step = (self.max_age / WINDOWS).max(Duration::from_millis(1));
        let steps = now.saturating_sub(self.began).as_millis() / step.as_millis().max(1);
        for _ in 0..steps.min(WINDOWS.into()) {
            let has_values = self.windows.iter().any(|window| window.count() > 0);
            self.windows.rotate_right(1);
            let [newest, ..] = &mut self.windows;
            *newest = Buckets::default();
            self.is_changed |= has_values;
        }
        let steps = u32::try_from(steps).unwrap_or(u32::MAX);
        self.began = self.began.saturating_add(step.saturating_mul(steps));
    }
}
