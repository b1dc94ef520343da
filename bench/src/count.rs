//! What has arrived, and how: each sample once, in order, with its value, or not.

use crate::workload::{Plan, SeriesId, series_id};
use std::time::Instant;
use support::wire::{SeriesView, Version, visit};

/// What has arrived, in samples (histograms count as samples).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// For the first time.
    pub(crate) arrived: u64,
    /// Once more.
    pub(crate) repeated: u64,
    /// For the first time, but after a later one of the same series.
    pub(crate) out_of_order: u64,
    /// With another value than was sent, the first time or again.
    pub(crate) wrong: u64,
    /// Not of the plan: metrics of the system's own.
    pub(crate) foreign: u64,
    /// Bytes of all bodies, as they came.
    pub(crate) bytes: u64,
}

/// Counts what arrives of a plan. One bit a sample tells what was there already, and one number a series
/// what its latest was: 12 MB for a million series and sixty sweeps.
#[derive(Debug)]
pub(crate) struct Counter {
    plan: Plan,
    /// Samples belong to the first sweep, whatever their timestamp is.
    any_time: bool,
    seen: Vec<u64>,
    /// One more than the latest sweep, 0 for none.
    latest: Vec<u32>,
    /// What it has come to.
    pub(crate) counts: Counts,
    /// When something arrived for the first time, last.
    pub(crate) last_new: Instant,
    /// When [`MOST`] of the plan had arrived.
    pub(crate) most: Option<Instant>,
}

/// What counts as most, for a rate from end to end: the rest of the last batches waits for its deadline
/// (five seconds by default), which says nothing of how much can go through.
pub(crate) const MOST: f64 = 0.98;

impl Counter {
    /// Nothing has arrived yet.
    pub(crate) fn new(plan: Plan) -> Counter {
        let series = plan.workload.all_series() as usize;
        let bits = series * plan.workload.sweeps as usize;
        Counter {
            plan,
            any_time: false,
            seen: vec![0; bits.div_ceil(64)],
            latest: vec![0; series],
            counts: Counts::default(),
            last_new: Instant::now(),
            most: None,
        }
    }

    /// Samples belong to the first sweep, whatever their timestamp is.
    pub(crate) fn at_any_time(self) -> Counter {
        Counter { any_time: true, ..self }
    }

    /// Counts the series of a request that are written; its body as it came was `bytes` long. Gives the numbers of
    /// samples and histograms, which an answer in 2.0 says.
    pub(crate) fn request(
        &mut self,
        version: Version,
        body: &[u8],
        bytes: usize,
        is_written: impl Fn(&SeriesView<'_>) -> bool,
    ) -> Result<(u64, u64), String> {
        let (mut samples, mut histograms) = (0, 0);
        let before = self.counts.arrived;
        visit(version, body, |series| {
            if !is_written(series) {
                return;
            }
            samples += series.samples.len() as u64;
            histograms += series.histograms.len() as u64;
            self.series(series);
        })?;
        self.counts.bytes += bytes as u64;
        if self.counts.arrived > before {
            self.last_new = Instant::now();
            let most = self.plan.workload.samples() as f64 * MOST;
            if self.most.is_none() && self.counts.arrived as f64 >= most {
                self.most = Some(self.last_new);
            }
        }
        Ok((samples, histograms))
    }

    fn series(&mut self, series: &SeriesView<'_>) {
        let id = series_id(&series.labels);
        for &(timestamp, value) in &series.samples {
            if let Some((id, sweep)) = self.place(id, timestamp) {
                self.counts.wrong += u64::from(!self.plan.has_value(id, sweep, value));
                self.arrival(id, sweep);
            }
        }
        for &(timestamp, message) in &series.histograms {
            if let Some((id, sweep)) = self.place(id, timestamp) {
                self.counts.wrong += u64::from(!self.plan.has_histogram(id, sweep, message));
                self.arrival(id, sweep);
            }
        }
    }

    /// Which sample of the plan that is, if it is one; else it is counted as foreign.
    fn place(&mut self, id: Option<SeriesId>, timestamp: i64) -> Option<(SeriesId, u32)> {
        let known = id.filter(|&id| (id as usize) < self.latest.len());
        let place = known.zip(if self.any_time { Some(0) } else { self.plan.sweep(timestamp) });
        self.counts.foreign += u64::from(place.is_none());
        place
    }

    fn arrival(&mut self, id: SeriesId, sweep: u32) {
        let bit = id as usize * self.plan.workload.sweeps as usize + sweep as usize;
        let (Some(word), Some(latest)) = (self.seen.get_mut(bit / 64), self.latest.get_mut(id as usize))
        else {
            return;
        };
        let mask = 1 << (bit % 64);
        if *word & mask != 0 {
            self.counts.repeated += 1;
            return;
        }
        *word |= mask;
        self.counts.arrived += 1;
        if sweep + 1 < *latest {
            self.counts.out_of_order += 1;
        } else {
            *latest = sweep + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::Dialect;
    use crate::workload::Workload;

    fn counter() -> Counter {
        let workload = Workload { histograms: true, ..Workload::plain(2000, 4) };
        Counter::new(Plan { workload, base: 1000 })
    }

    #[test]
    fn all_in_order_is_nothing_but_arrivals() {
        let mut counter = counter();
        for request in 0..4 {
            let body = counter.plan.request(Dialect::V2, request);
            let content = support::wire::decompress("snappy", &body).unwrap();
            let written = counter.request(Version::V2, &content, body.len(), |_| true).unwrap();
            assert_eq!(written, (1800, 200));
        }
        let expected = Counts { arrived: 8000, bytes: counter.counts.bytes, ..Counts::default() };
        assert_eq!(counter.counts, expected);
    }

    #[test]
    fn repetition_and_disorder_are_told_apart() {
        let mut counter = counter();
        // 3 before 1 and 2 is disorder of 1 and 2; sending all again, as after a restart, is repetition.
        for sweep in [0, 3, 1, 2, 0, 1, 2, 3] {
            counter.arrival(7, sweep);
        }
        counter.arrival(8, 1);
        let expected = Counts { arrived: 5, repeated: 4, out_of_order: 2, ..Counts::default() };
        assert_eq!(counter.counts, expected);
    }

    /// Counts one series of the plan with these samples and histograms.
    fn count(counter: &mut Counter, id: SeriesId, samples: &[(i64, f64)], histograms: &[(i64, &[u8])]) {
        let labels = counter.plan.labels(id);
        counter.series(&SeriesView {
            labels: labels.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect(),
            samples: samples.to_vec(),
            histograms: histograms.to_vec(),
            ..SeriesView::default()
        });
    }

    #[test]
    fn a_value_that_is_not_the_one_sent_is_wrong() {
        let mut counter = counter();
        let plan = counter.plan;
        // A series whose value moves; the last one of a pod has histograms.
        let id = (0..10).find(|&id| plan.value(id, 1) != plan.value(id, 2)).unwrap();
        let right = (plan.timestamp(1), plan.value(id, 1));
        count(&mut counter, id, &[right], &[]);
        assert_eq!(counter.counts, Counts { arrived: 1, ..Counts::default() });
        for value in [right.1 + 1e-9, -right.1, f64::NAN, plan.value(id, 2)] {
            assert_ne!(value.to_bits(), right.1.to_bits());
            count(&mut counter, id, &[(plan.timestamp(1), value)], &[]);
        }
        assert_eq!((counter.counts.wrong, counter.counts.repeated), (4, 4));
        // A histogram of another moment, one for a float, a float for one.
        let message = |sweep| {
            let mut found = None;
            let body = plan.request(Dialect::V2, sweep);
            let content = support::wire::decompress("snappy", &body).unwrap();
            visit(Version::V2, &content, |series| {
                if series_id(&series.labels) == Some(19) {
                    found = series.histograms.first().map(|(_, message)| message.to_vec());
                }
            })
            .unwrap();
            found.unwrap()
        };
        let (first, second) = (message(0), message(1));
        count(&mut counter, 19, &[], &[(plan.timestamp(0), &first)]);
        assert_eq!(counter.counts.wrong, 4);
        count(&mut counter, 19, &[], &[(plan.timestamp(1), &first)]);
        count(&mut counter, id, &[], &[(plan.timestamp(2), &second)]);
        count(&mut counter, 19, &[right], &[]);
        assert_eq!(counter.counts.wrong, 7);
    }

    #[test]
    fn values_that_are_sent_again_at_other_times_are_repetitions() {
        let mut counter = Counter { any_time: true, ..counter() };
        let value = counter.plan.value(3, 0);
        count(&mut counter, 3, &[(5, value)], &[]);
        count(&mut counter, 3, &[(9, value), (12, value + 1.0)], &[]);
        assert_eq!(counter.counts, Counts { arrived: 1, repeated: 2, wrong: 1, ..Counts::default() });
    }

    #[test]
    fn what_is_not_of_the_plan_is_foreign() {
        let mut counter = counter();
        let plan = counter.plan;
        count(&mut counter, 2000, &[(plan.timestamp(0), 1.0)], &[]);
        count(&mut counter, 1, &[(plan.timestamp(4), 1.0), (plan.timestamp(0) + 1, 1.0)], &[]);
        assert_eq!(counter.counts, Counts { foreign: 3, ..Counts::default() });
    }
}
