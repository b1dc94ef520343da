//! Runs the chosen collectors one after the other, measures how long each takes, and records which failed.

use crate::collector::{Collector, CollectorSet};
use crate::collectors::{self, Context, Memory};
use crate::out::{Out, gauge};
use crate::source::{MAX_DEVICES, Source};
use model::Family;
use std::path::PathBuf;
use std::time::Instant;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostOptions {
    /// The folder with `proc`, `sys`, `etc` and `run`: `/`, or the mount point of the host's root in a
    /// container.
    pub root: PathBuf,
    /// The collectors that run.
    pub collectors: CollectorSet,
}

impl Default for HostOptions {
    fn default() -> Self {
        HostOptions { root: "/".into(), collectors: CollectorSet::default() }
    }
}

/// This machine's metrics.
#[derive(Debug)]
pub struct Host {
    collectors: CollectorSet,
    source: Source,
    memory: Memory,
    /// The failing collectors. A failure is logged when it begins, and not at each interval.
    failing: CollectorSet,
    /// Those of the failing collectors that failed although the machine has what they read.
    broken: CollectorSet,
    /// The collectors whose truncation by a limit was logged.
    cut: CollectorSet,
}

impl Host {
    /// Makes a host without reading anything.
    pub fn new(options: HostOptions) -> Self {
        Host {
            collectors: options.collectors,
            source: Source::new(options.root),
            memory: Memory::default(),
            failing: CollectorSet::EMPTY,
            broken: CollectorSet::EMPTY,
            cut: CollectorSet::EMPTY,
        }
    }

    /// The names of the collectors that failed the last time. A collector did not fail if the machine does
    /// not have what it reads.
    pub fn failing(&self) -> Vec<&'static str> {
        self.broken.iter().map(Collector::name).collect()
    }

    /// Collects once. `now_ms` is the wall clock in milliseconds since 1970, for `node_time_seconds`.
    ///
    /// A collector that fails leaves out what it could not read, and has `node_scrape_collector_success` 0.
    /// The call blocks while it reads files (some milliseconds), and for at most [`crate::STATFS_PATIENCE`]
    /// if file systems do not answer.
    pub fn collect(&mut self, now_ms: i64) -> Vec<Family> {
        let mut out = Out::default();
        let mut took = Vec::with_capacity(Collector::ALL.len());
        for collector in self.collectors.iter() {
            let started = Instant::now();
            let mut context = Context { source: &mut self.source, memory: &mut self.memory, now_ms };
            let result = collectors::run(collector, &mut context, &mut out);
            took.push((collector, started.elapsed().as_secs_f64(), result.is_ok()));
            if self.source.take_cut() && !self.cut.contains(collector) {
                self.cut.insert(collector);
                tracing::warn!(%collector, limit = MAX_DEVICES, "more of a kind than the limit: the rest is left out");
            }
            match &result {
                Err(error) if !error.is_absence() => self.broken.insert(collector),
                _ => self.broken.remove(collector),
            }
            match result {
                Ok(()) if self.failing.contains(collector) => {
                    self.failing.remove(collector);
                    tracing::info!(%collector, "collector works again");
                }
                Ok(()) => {}
                Err(_) if self.failing.contains(collector) => {}
                Err(error) => {
                    self.failing.insert(collector);
                    if error.is_absence() {
                        tracing::debug!(%collector, %error, "collector has nothing");
                    } else {
                        tracing::warn!(%collector, %error, "collector failed; told once until it works again");
                    }
                }
            }
        }
        let duration = out.open(gauge(
            "node_scrape_collector_duration_seconds",
            "node_exporter: Duration of a collector scrape.",
        ));
        let success =
            out.open(gauge("node_scrape_collector_success", "node_exporter: Whether a collector succeeded."));
        for (collector, seconds, succeeded) in took {
            let labels = [("collector", collector.name())];
            out.push(duration, &labels, seconds);
            out.push(success, &labels, f64::from(u8::from(succeeded)));
        }
        out.finish()
    }
}
