//! What is shown of targets.

use crate::targets::{LabelMap, Target};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Health {
    /// It was not scraped yet.
    #[default]
    Unknown,
    Up,
    Down,
}

impl Health {
    pub fn as_str(self) -> &'static str {
        match self {
            Health::Unknown => "unknown",
            Health::Up => "up",
            Health::Down => "down",
        }
    }
}

/// The last scrape of a target.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Status {
    pub health: Health,
    /// Why it failed; empty if it did not.
    pub error: String,
    /// When it began, in milliseconds since 1970.
    pub last_scrape_ms: Option<i64>,
    pub duration: Duration,
}

/// The targets of one job.
#[derive(Debug, Clone, Default)]
pub struct PoolStatus {
    pub active: Vec<(Arc<Target>, Arc<Mutex<Status>>)>,
    /// Targets that can't be scraped, with the reason.
    pub invalid: Vec<(LabelMap, String)>,
    /// The first of the targets that rules drop.
    pub dropped: Vec<LabelMap>,
    pub dropped_count: usize,
}

/// What the scraper counts.
#[derive(Debug, Default)]
pub struct Counters {
    skipped: AtomicU64,
    over_sample_limit: AtomicU64,
    over_body_size: AtomicU64,
    repeated: AtomicU64,
}

impl Counters {
    pub(crate) fn skip(&self) {
        self.skipped.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn over_sample_limit(&self) {
        self.over_sample_limit.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn over_body_size(&self) {
        self.over_body_size.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn repeated(&self, samples: u64) {
        self.repeated.fetch_add(samples, Ordering::Relaxed);
    }

    /// Scrapes that left nothing behind: the log or the memory had no space, or the clock was not set.
    pub fn skipped(&self) -> u64 {
        self.skipped.load(Ordering::Relaxed)
    }

    /// Scrapes with more samples than `sample_limit`.
    pub fn exceeded_sample_limit(&self) -> u64 {
        self.over_sample_limit.load(Ordering::Relaxed)
    }

    /// Scrapes whose page was too large.
    pub fn exceeded_body_size_limit(&self) -> u64 {
        self.over_body_size.load(Ordering::Relaxed)
    }

    /// Samples that were left out because their page has the series twice.
    pub fn repeated_samples(&self) -> u64 {
        self.repeated.load(Ordering::Relaxed)
    }
}

/// What is shown of all jobs. Clones show the same.
#[derive(Debug, Clone, Default)]
pub struct View {
    pools: Arc<Mutex<BTreeMap<String, PoolStatus>>>,
    pub counters: Arc<Counters>,
}

impl View {
    /// The jobs with their targets.
    pub fn pools(&self) -> BTreeMap<String, PoolStatus> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set(&self, job: &str, pool: PoolStatus) {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner).insert(job.to_string(), pool);
    }

    pub(crate) fn remove(&self, job: &str) {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner).remove(job);
    }
}
