//! Counts what has arrived: each sample once, in order and with its value, or not.

use crate::workload::{Plan, SeriesId, series_id};
use std::time::Instant;
use support::wire::{SeriesView, Version, visit};

/// Counters of what has arrived, in samples (histograms count as samples).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Samples that arrived for the first time.
    pub(crate) arrived: u64,
    /// Samples that arrived again.
    pub(crate) repeated: u64,
    /// Samples that arrived for the first time after a later one of the same series.
    pub(crate) out_of_order: u64,
    /// Samples with another value than was sent, whether they arrived for the first time or again.
    pub(crate) wrong: u64,
    /// Samples that are not part of the plan: the system's own metrics.
    pub(crate) foreign: u64,
    /// The bytes of all bodies as they were received.
    pub(crate) bytes: u64,
}

/// Counts the arrivals of a plan. It has one bit for each sample that arrived and one number for the latest
/// sweep of each series: 12 MB for a million series and sixty sweeps.
#[derive(Debug)]
pub(crate) struct Counter {
    plan: Plan,
    /// If true, samples belong to the first sweep, regardless of their timestamp.
    any_time: bool,
    seen: Vec<u64>,
    /// The latest sweep plus one; 0 if there is none.
    latest: Vec<u32>,
    pub(crate) counts: Counts,
    /// When something last arrived for the first time.
    pub(crate) last_new: Instant,
    /// When [`MOST`] of the plan had arrived.
    pub(crate) most: Option<Instant>,
}

/// The part of a plan that counts as most, for the rate from end to end. The last batches wait for their
/// deadline (five seconds by default), which would distort the rate.
pub(crate) const MOST: f64 = 0.98;

impl Counter {
    /// A counter without arrivals.
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

    /// Treats all samples as part of the first sweep, regardless of their timestamp.
    pub(crate) fn at_any_time(self) -> Counter {
        Counter { any_time: true, ..self }
    }

    /// Counts the series of a request that are written. `bytes` is the length of the body as it was received.
    /// Returns the numbers of samples and histograms for the answer in 2.0.
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

    /// The place of a sample in the plan. A sample of another series or time is counted as foreign.
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
    fn samples_in_order_count_as_arrived() {
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
    fn repetition_and_wrong_order_are_counted_separately() {
        let mut counter = counter();
        // 3 before 1 and 2 is wrong order of 1 and 2. Sending all again, as after a restart, is repetition.
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
    fn a_value_other_than_the_one_sent_is_wrong() {
        let mut counter = counter();
        let plan = counter.plan;
        // A series whose value changes. The last series of a pod has histograms.
        let id = (0..10).find(|&id| plan.value(id, 1) != plan.value(id, 2)).unwrap();
        let right = (plan.timestamp(1), plan.value(id, 1));
        count(&mut counter, id, &[right], &[]);
        assert_eq!(counter.counts, Counts { arrived: 1, ..Counts::default() });
        for value in [right.1 + 1e-9, -right.1, f64::NAN, plan.value(id, 2)] {
            assert_ne!(value.to_bits(), right.1.to_bits());
            count(&mut counter, id, &[(plan.timestamp(1), value)], &[]);
        }
        assert_eq!((counter.counts.wrong, counter.counts.repeated), (4, 4));
        // A histogram of another sweep, a histogram in place of a float, and a float in place of a histogram.
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
    fn samples_outside_the_plan_are_foreign() {
        let mut counter = counter();
        let plan = counter.plan;
        count(&mut counter, 2000, &[(plan.timestamp(0), 1.0)], &[]);
        count(&mut counter, 1, &[(plan.timestamp(4), 1.0), (plan.timestamp(0) + 1, 1.0)], &[]);
        assert_eq!(counter.counts, Counts { foreign: 3, ..Counts::default() });
    }
}
