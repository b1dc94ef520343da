//! narthex' own metrics. Metrics with the same meaning as one of Prometheus have the same name, so that
//! dashboards and alerts work. All others begin with `narthex_`.
//!
//! The same list of families is used for the page `/metrics` and for the series that are pushed.

mod deliver;
mod door;
mod log;
mod process;

use collect::stamp::StampCounts;
use intake::RefusedReason;
use model::{Family, MetricType};
use receive::Doors;
use remote::Stats;
use remote::disk::claims::Removed;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use storage::Storage;

pub use deliver::lag_bytes;
pub use process::resident_bytes;

/// The longest text of a failed reload that is kept, in bytes.
pub const RELOAD_ERROR_BYTES: usize = 1000;

/// A destination with its counters.
#[derive(Debug, Clone)]
pub struct Outlet {
    pub name: String,
    /// Its URL without secrets.
    pub url: String,
    pub stats: Arc<Stats>,
}

/// The destinations. A reload replaces this value.
#[derive(Debug, Default)]
pub struct Outlets {
    /// The running destinations.
    pub running: Vec<Outlet>,
    /// Destinations that were removed from the configuration and whose positions are still kept.
    pub removed: Vec<Removed>,
}

/// What was not delivered to a destination when it was removed from the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undelivered {
    pub removed: Removed,
    /// The bytes from its position to the log's end at that time.
    pub bytes: u64,
}

/// Everything that own metrics are read from.
#[derive(Debug)]
pub struct Telemetry {
    storage: Storage,
    outlets: RwLock<Arc<Outlets>>,
    undelivered: Mutex<Vec<Undelivered>>,
    reload: Reload,
    doors: Doors,
    host: HostCounts,
}

/// The result of the last reload.
#[derive(Debug)]
struct Reload {
    /// Why the last reload failed, if it did.
    error: Mutex<Option<String>>,
    success_ms: AtomicI64,
}

#[derive(Debug, Default)]
struct HostCounts {
    stamps: Mutex<StampCounts>,
    missed: AtomicU64,
    collections: AtomicU64,
    failed: AtomicU64,
    /// Collected samples that could not be stored, by reason.
    lost: Mutex<BTreeMap<RefusedReason, u64>>,
    last_nanos: AtomicU64,
    failing: Mutex<Vec<&'static str>>,
}

/// The removed destinations that have not received everything that is in the log now.
fn undelivered(storage: &Storage, removed: Vec<Removed>) -> Vec<Undelivered> {
    let positions: Vec<_> = removed.iter().map(|removed| removed.lowest).collect();
    let bytes = storage.bytes_from(&positions);
    let all = removed.into_iter().zip(bytes).map(|(removed, bytes)| Undelivered { removed, bytes });
    all.filter(|one| one.bytes > 0).collect()
}

impl Telemetry {
    /// `now_ms` is when the configuration was read, in milliseconds since 1970.
    pub fn new(storage: Storage, outlets: Outlets, doors: Doors, now_ms: i64) -> Self {
        let reload = Reload { error: Mutex::new(None), success_ms: AtomicI64::new(now_ms) };
        // Destinations that were removed in an earlier run are left out: how much was written to the log
        // since then is not known.
        let new = outlets.removed.iter().filter(|removed| removed.since_ms >= now_ms).cloned().collect();
        let undelivered = Mutex::new(undelivered(&storage, new));
        let outlets = RwLock::new(Arc::new(outlets));
        Telemetry { storage, outlets, undelivered, reload, doors, host: HostCounts::default() }
    }

    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    /// The current destinations.
    pub fn outlets(&self) -> Arc<Outlets> {
        self.outlets.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the destinations.
    pub fn set_outlets(&self, outlets: Outlets) {
        let before = self.outlets();
        let mut known = self.undelivered.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|one| outlets.removed.contains(&one.removed));
        let new =
            outlets.removed.iter().filter(|removed| !before.removed.contains(removed)).cloned().collect();
        known.extend(undelivered(&self.storage, new));
        drop(known);
        *self.outlets.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(outlets);
    }

    /// Destinations that were removed from the configuration in this run, or between the last run and this
    /// one, before all samples were delivered to them.
    pub fn undelivered(&self) -> Vec<Undelivered> {
        self.undelivered.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes the result of a reload; `now_ms` is milliseconds since 1970.
    pub fn reloaded(&self, result: Result<(), &str>, now_ms: i64) {
        if result.is_ok() {
            self.reload.success_ms.store(now_ms, Ordering::Relaxed);
        }
        let error = result.err().map(|error| model::words::cut(error.to_string(), RELOAD_ERROR_BYTES));
        *self.reload.error.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }

    /// Why the last reload failed; `None` if it succeeded.
    pub fn reload_error(&self) -> Option<String> {
        self.reload.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn doors(&self) -> &Doors {
        &self.doors
    }

    /// A task that inputs need and that has ended.
    pub fn dead_task(&self) -> Option<&'static str> {
        match (self.storage.is_alive(), self.doors.groups().is_alive()) {
            (false, _) => Some("the task that writes the log"),
            (true, false) => Some("the task that keeps groups"),
            (true, true) => None,
        }
    }

    pub fn set_collectors_failing(&self, names: Vec<&'static str>) {
        *self.host.failing.lock().unwrap_or_else(PoisonError::into_inner) = names;
    }

    pub fn collectors_failing(&self) -> Vec<&'static str> {
        self.host.failing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Collected samples that could not be stored, by reason.
    pub fn collected_lost(&self) -> BTreeMap<RefusedReason, u64> {
        self.host.lost.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes how timestamps were given out, and how many collections were skipped.
    pub fn stamped(&self, counts: StampCounts, missed: u64) {
        *self.host.stamps.lock().unwrap_or_else(PoisonError::into_inner) = counts;
        self.host.missed.store(missed, Ordering::Relaxed);
    }

    /// Notes a collection that took this long.
    pub fn collected(&self, took: Duration) {
        self.host.collections.fetch_add(1, Ordering::Relaxed);
        self.host.last_nanos.store(took.as_nanos() as u64, Ordering::Relaxed);
    }

    /// Notes a collection whose `samples` could not be stored.
    pub fn collection_failed(&self, samples: u64, reason: RefusedReason) {
        self.host.failed.fetch_add(1, Ordering::Relaxed);
        self.collected_samples_lost(samples, reason);
    }

    /// Notes that samples of a collection are lost.
    pub fn collected_samples_lost(&self, samples: u64, reason: RefusedReason) {
        let mut lost = self.host.lost.lock().unwrap_or_else(PoisonError::into_inner);
        *lost.entry(reason).or_default() += samples;
    }

    /// All families with their current values.
    pub fn families(&self) -> Vec<Family> {
        let mut out = Vec::with_capacity(128);
        let mut build =
            Family::new("narthex_build_info", "Version and build of narthex: 1.", MetricType::Gauge);
        build.push(&[("version", env!("CARGO_PKG_VERSION"))], 1.0);
        out.push(build);
        out.push(gauge(
            "narthex_config_last_reload_successful",
            "Whether the last reload of the configuration succeeded.",
            f64::from(u8::from(self.reload_error().is_none())),
        ));
        out.push(gauge(
            "narthex_config_last_reload_success_timestamp_seconds",
            "Time at which the configuration in use was read.",
            self.reload.success_ms.load(Ordering::Relaxed) as f64 / 1000.0,
        ));
        process::families(&mut out);
        process::mistakes(&mut out);
        log::families(&self.storage, &mut out);
        let outlets = self.outlets();
        out.push(gauge(
            "narthex_removed_destinations",
            "Destinations that were removed from the configuration and whose positions are kept.",
            outlets.removed.len() as f64,
        ));
        deliver::families(&outlets.running, &self.storage, &mut out);
        let (intake, denied, groups) = (self.doors.intake(), self.doors.denied(), self.doors.groups());
        door::families(intake, denied, groups.stats(), &mut out);
        self.host_families(&mut out);
        out
    }

    fn host_families(&self, out: &mut Vec<Family>) {
        let host = &self.host;
        let load = |number: &AtomicU64| number.load(Ordering::Relaxed);
        out.push(counter(
            "narthex_collections_total",
            "Collections of this machine's metrics.",
            load(&host.collections),
        ));
        out.push(counter(
            "narthex_collections_missed_total",
            "Collections skipped because the one before took too long.",
            load(&host.missed),
        ));
        out.push(counter(
            "narthex_collections_failed_total",
            "Collections that could not be stored.",
            load(&host.failed),
        ));
        out.push(gauge(
            "narthex_collection_duration_seconds",
            "How long the last collection took.",
            load(&host.last_nanos) as f64 / 1e9,
        ));
        let stamps = *host.stamps.lock().unwrap_or_else(PoisonError::into_inner);
        let mut family = Family::new(
            "narthex_clock_steps_total",
            "Collections whose timestamp was changed because the clock was set back or not set, by kind of change.",
            MetricType::Counter,
        );
        for (what, count) in [
            ("restamped", stamps.restamped),
            ("waited", stamps.waited),
            ("implausible", stamps.implausible),
            ("accepted_back", stamps.accepted_back),
        ] {
            family.push(&[("action", what)], count as f64);
        }
        out.push(family);
    }
}

fn counter(name: &'static str, help: &'static str, value: u64) -> Family {
    Family::single(name, help, MetricType::Counter, value as f64)
}

fn gauge(name: &'static str, help: &'static str, value: f64) -> Family {
    Family::single(name, help, MetricType::Gauge, value)
}
