//! narthex' own metrics: what dashboards and alerts of Prometheus' pipeline already know, under the same
//! names where the meaning is the same, and what only narthex has, under `narthex_`.
//!
//! One list of families serves both ways out: the page `/metrics`, and the series that are pushed.

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

/// The longest text of a reload that failed, in bytes.
pub const RELOAD_ERROR_BYTES: usize = 1000;

/// What a destination has to tell.
#[derive(Debug, Clone)]
pub struct Outlet {
    /// Its name in metrics.
    pub name: String,
    /// Its URL without secrets.
    pub url: String,
    /// Its numbers.
    pub stats: Arc<Stats>,
}

/// Where what is taken goes; another one after a reload.
#[derive(Debug, Default)]
pub struct Outlets {
    /// The destinations.
    pub running: Vec<Outlet>,
    /// Those that the configuration has no more, while their positions are kept.
    pub removed: Vec<Removed>,
}

/// What a destination had not got when it was removed from the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undelivered {
    /// The destination.
    pub removed: Removed,
    /// The bytes of the log from its position to the log's end of that time.
    pub bytes: u64,
}

/// Everything that has something to tell.
#[derive(Debug)]
pub struct Telemetry {
    storage: Storage,
    outlets: RwLock<Arc<Outlets>>,
    undelivered: Mutex<Vec<Undelivered>>,
    reload: Reload,
    doors: Doors,
    host: HostCounts,
}

/// How the configuration was read last.
#[derive(Debug)]
struct Reload {
    /// Why the last one failed, if it did.
    error: Mutex<Option<String>>,
    success_ms: AtomicI64,
}

#[derive(Debug, Default)]
struct HostCounts {
    stamps: Mutex<StampCounts>,
    missed: AtomicU64,
    collections: AtomicU64,
    failed: AtomicU64,
    /// Samples of the collections that could not be stored, by why.
    lost: Mutex<BTreeMap<RefusedReason, u64>>,
    last_nanos: AtomicU64,
    failing: Mutex<Vec<&'static str>>,
}

/// Those of `removed` that have not got everything that is in the log now.
fn undelivered(storage: &Storage, removed: Vec<Removed>) -> Vec<Undelivered> {
    let positions: Vec<_> = removed.iter().map(|removed| removed.lowest).collect();
    let bytes = storage.bytes_from(&positions);
    let all = removed.into_iter().zip(bytes).map(|(removed, bytes)| Undelivered { removed, bytes });
    all.filter(|one| one.bytes > 0).collect()
}

impl Telemetry {
    /// Of these parts; `now_ms` is milliseconds since 1970, when the configuration was read.
    pub fn new(storage: Storage, outlets: Outlets, doors: Doors, now_ms: i64) -> Self {
        let reload = Reload { error: Mutex::new(None), success_ms: AtomicI64::new(now_ms) };
        // What was removed in an earlier run is left out: how much of the log was written since is not known.
        let new = outlets.removed.iter().filter(|removed| removed.since_ms >= now_ms).cloned().collect();
        let undelivered = Mutex::new(undelivered(&storage, new));
        let outlets = RwLock::new(Arc::new(outlets));
        Telemetry { storage, outlets, undelivered, reload, doors, host: HostCounts::default() }
    }

    /// The log.
    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    /// Where what is taken goes now.
    pub fn outlets(&self) -> Arc<Outlets> {
        self.outlets.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where it goes from now on.
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

    /// Destinations that were removed from the configuration in this run, or between the last one and this one, before
    /// they had got all samples.
    pub fn undelivered(&self) -> Vec<Undelivered> {
        self.undelivered.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes that the configuration was read again; `now_ms` is milliseconds since 1970.
    pub fn reloaded(&self, result: Result<(), &str>, now_ms: i64) {
        if result.is_ok() {
            self.reload.success_ms.store(now_ms, Ordering::Relaxed);
        }
        let error = result.err().map(|error| model::words::cut(error.to_string(), RELOAD_ERROR_BYTES));
        *self.reload.error.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }

    /// Why the last reload failed; `None` where it did not.
    pub fn reload_error(&self) -> Option<String> {
        self.reload.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The inputs.
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

    /// Notes which collectors fail.
    pub fn set_collectors_failing(&self, names: Vec<&'static str>) {
        *self.host.failing.lock().unwrap_or_else(PoisonError::into_inner) = names;
    }

    /// The collectors that fail.
    pub fn collectors_failing(&self) -> Vec<&'static str> {
        self.host.failing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Samples of the collections that could not be stored, by the reason of the log.
    pub fn collected_lost(&self) -> BTreeMap<RefusedReason, u64> {
        self.host.lost.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes how timestamps were given out, and how many collections were skipped.
    pub fn stamped(&self, counts: StampCounts, missed: u64) {
        *self.host.stamps.lock().unwrap_or_else(PoisonError::into_inner) = counts;
        self.host.missed.store(missed, Ordering::Relaxed);
    }

    /// Notes a collection.
    pub fn collected(&self, took: Duration) {
        self.host.collections.fetch_add(1, Ordering::Relaxed);
        self.host.last_nanos.store(took.as_nanos() as u64, Ordering::Relaxed);
    }

    /// Notes a collection of `samples` that could not be stored.
    pub fn collection_failed(&self, samples: u64, reason: RefusedReason) {
        self.host.failed.fetch_add(1, Ordering::Relaxed);
        self.collected_samples_lost(samples, reason);
    }

    /// Notes that samples of a collection are lost.
    pub fn collected_samples_lost(&self, samples: u64, reason: RefusedReason) {
        let mut lost = self.host.lost.lock().unwrap_or_else(PoisonError::into_inner);
        *lost.entry(reason).or_default() += samples;
    }

    /// All of it, now.
    pub fn families(&self) -> Vec<Family> {
        let mut out = Vec::with_capacity(128);
        let mut build = Family::new("narthex_build_info", "What was built: 1.", MetricType::Gauge);
        build.push(&[("version", env!("CARGO_PKG_VERSION"))], 1.0);
        out.push(build);
        out.push(gauge(
            "narthex_config_last_reload_successful",
            "Whether the last configuration that was read could be used.",
            f64::from(u8::from(self.reload_error().is_none())),
        ));
        out.push(gauge(
            "narthex_config_last_reload_success_timestamp_seconds",
            "When the configuration in use was read.",
            self.reload.success_ms.load(Ordering::Relaxed) as f64 / 1000.0,
        ));
        process::families(&mut out);
        process::mistakes(&mut out);
        log::families(&self.storage, &mut out);
        let outlets = self.outlets();
        out.push(gauge(
            "narthex_removed_destinations",
            "Destinations that the configuration has no more, while their positions are kept.",
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
            "Collections whose timestamp had to be settled because the clock was set back or not set, by what was done.",
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
