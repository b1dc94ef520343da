//! The loop that collects metrics of this machine and of narthex itself, at an interval.

use crate::telemetry::Telemetry;
use collect::{Host, HostOptions, Stamp, Stamper, Ticker};
use intake::Input;
use model::{Batch, Clock, Family, MetricType};
use std::sync::Arc;
use std::time::Duration;
use supervisor::Task;

/// What to collect, and the labels of the result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The collectors of this machine's metrics; the set may be empty.
    pub host: HostOptions,
    pub interval: Duration,
    /// Whether narthex' own metrics are pushed.
    pub own: bool,
    /// The label `job` of this machine's metrics.
    pub job: String,
    /// The label `instance` of both.
    pub instance: String,
}

/// The name of this input in labels.
pub const INPUT: &str = "collect";
/// The label `job` of narthex' own metrics.
pub const OWN_JOB: &str = "narthex";

/// Collects until the future is dropped.
pub async fn run(settings: Settings, input: Input, telemetry: Arc<Telemetry>, clock: Arc<dyn Clock>) {
    let mut host = Host::new(settings.host.clone());
    let mut stamper = Stamper::new(settings.interval);
    let mut ticker = Ticker::new(settings.interval, &settings.instance);
    let mut stamped = true;
    loop {
        let started = clock.monotonic();
        // The stamp is taken before the collection, so that the duration of the collection does not delay the
        // stamp.
        let given = stamper.stamp(&*clock);
        let stamp = given.timestamp();
        if stamped != stamp.is_some() {
            stamped = stamp.is_some();
            match given {
                Stamp::Implausible => {
                    tracing::warn!("the clock is not set: nothing is collected until it is")
                }
                Stamp::Wait => {
                    tracing::warn!("the clock was set back: nothing is collected until it has caught up")
                }
                _ => tracing::warn!("the clock can be used again; collecting goes on"),
            }
        }
        telemetry.stamped(stamper.counts(), ticker.missed());
        let (back, families) = measure(host, &settings.host, clock.now_ms()).await;
        host = back;
        telemetry.set_collectors_failing(host.failing());
        let took = clock.monotonic().saturating_sub(started);
        telemetry.collected(took);
        if let Some(timestamp) = stamp {
            let batch = batch(&settings, &families, &telemetry, timestamp, took);
            let samples = batch.points.len() as u64;
            match input.append_own(batch).await {
                Ok(outcome) => {
                    if let Some(reason) = outcome.reason() {
                        let rejected = &outcome.rejected;
                        tracing::warn!(%rejected, "some of the collected samples were rejected");
                        telemetry.collected_samples_lost(rejected.kinds().total(), reason);
                    }
                }
                Err(refusal) => {
                    tracing::warn!(error = %refusal, samples, "the collected samples could not be stored");
                    telemetry.collection_failed(samples, refusal.reason());
                }
            }
        }
        let next = ticker.wait_for(clock.monotonic());
        tokio::time::sleep(next.saturating_sub(clock.monotonic())).await;
    }
}

/// Collects on a blocking thread, because collectors read files.
async fn measure(mut host: Host, options: &HostOptions, now_ms: i64) -> (Host, Vec<Family>) {
    let nothing = options.collectors.is_empty();
    let collected = tokio::task::spawn_blocking(move || {
        let families = if nothing { Vec::new() } else { host.collect(now_ms) };
        (host, families)
    });
    match collected.await {
        Ok(collected) => collected,
        // narthex' own metrics are collected even so.
        Err(error) => {
            tracing::error!(%error, "a collector panicked, by a mistake in narthex; all are started again");
            supervisor::count_restart(&Task::only("collectors"));
            (Host::new(options.clone()), Vec::new())
        }
    }
}

fn batch(
    settings: &Settings,
    families: &[Family],
    telemetry: &Telemetry,
    timestamp: i64,
    took: Duration,
) -> Batch {
    let mut batch = Batch::new();
    let instance = settings.instance.as_str();
    if !settings.host.collectors.is_empty() {
        let labels = [("job", settings.job.as_str()), ("instance", instance)];
        batch.push_families(families, &labels, timestamp);
        batch.push_families(&[up(), scrape_duration(took)], &labels, timestamp);
    }
    if settings.own {
        let labels = [("job", OWN_JOB), ("instance", instance)];
        batch.push_families(&telemetry.families(), &labels, timestamp);
        batch.push_families(&[up()], &labels, timestamp);
    }
    batch
}

/// The series that a scrape would add: dashboards and alerts use them.
fn up() -> Family {
    Family::single("up", "1 while it is there.", MetricType::Gauge, 1.0)
}

fn scrape_duration(took: Duration) -> Family {
    let help = "How long the collection took.";
    Family::single("scrape_duration_seconds", help, MetricType::Gauge, took.as_secs_f64())
}
