//! Samples of one series with increasing timestamps, so that a test can tell which of them arrived and in
//! which order.

use crate::wire::{self, Series, Version};
use crate::{Labels, Narthex, now_ms};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};

/// The timestamps of each series, in order.
pub type Pushed = BTreeMap<Labels, Vec<i64>>;

/// Pushes the samples. Their timestamps begin an hour ago.
#[derive(Debug)]
pub struct Numbered {
    time: AtomicI64,
}

impl Default for Numbered {
    fn default() -> Numbered {
        Numbered { time: AtomicI64::new(now_ms() - 3_600_000) }
    }
}

impl Numbered {
    /// The timestamp of the next sample.
    pub fn next_ms(&self) -> i64 {
        self.time.load(Ordering::Relaxed)
    }

    /// Pushes `count` samples.
    ///
    /// # Panics
    /// If they are not accepted.
    #[track_caller]
    pub fn push(&self, narthex: &Narthex, count: i64) -> Pushed {
        let first = self.time.fetch_add(count, Ordering::Relaxed);
        let times: Vec<i64> = (first..first + count).collect();
        let samples: Vec<(i64, f64)> = times.iter().map(|time| (*time, 1.0)).collect();
        let series = Series::new("pushed", &[("a", "b")], &samples);
        let labels = series.labels.iter().cloned().collect();
        wire::push(&narthex.write_url(), Version::V1, &[series]).unwrap().expect_success();
        Pushed::from([(labels, times)])
    }
}

/// The samples of several pushes, one after the other.
pub fn sum(pushed: &[&Pushed]) -> Pushed {
    let mut sum = Pushed::new();
    for pushed in pushed {
        for (labels, times) in *pushed {
            sum.entry(labels.clone()).or_default().extend(times);
        }
    }
    sum
}
