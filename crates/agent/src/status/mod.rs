//! The answers of `GET /api/v1/status/...`: the state of narthex, its destinations and groups in numbers and
//! sentences, for the page and for scripts. `docs/own-metrics.md` describes each key.
//!
//! [`monitor`] reads all counters and [`summary`] decides what they mean. The browser decides nothing.

mod causes;
mod counters;
pub mod facts;
pub mod groups;
pub mod hold;
mod inputs;
mod log_lines;
#[cfg(test)]
mod log_lines_tests;
pub mod monitor;
#[cfg(test)]
mod monitor_tests;
pub mod rate;
pub mod ready;
mod refusals;
mod sentence;
pub mod summary;
#[cfg(test)]
mod summary_tests;
pub mod window;
mod words;

use crate::telemetry::{Outlet, Telemetry, lag_bytes};
use formats::remote_write::Protocol;
use hold::Summary;
use inputs::Inputs;
use model::Clock;
use monitor::{Monitor, Observation};
use remote::State;
use remote::disk::claims::Removed;
use serde::Serialize;
use std::path::{Path, PathBuf};
use summary::Level;

/// A destination that is further behind than this is catching up, in milliseconds.
const CATCHING_UP_MS: i64 = 15_000;

/// Facts that do not change while the program runs.
#[derive(Debug, Clone)]
pub struct About {
    pub instance: String,
    pub data: PathBuf,
    /// The start of the program, in milliseconds since 1970.
    pub started_ms: i64,
    /// The log's budget in bytes.
    pub max_bytes: u64,
    /// The durability of acknowledged samples, as in `log.durability`.
    pub durability: &'static str,
}

#[derive(Debug, Serialize)]
pub struct Status {
    version: &'static str,
    pid: u32,
    instance: String,
    data: String,
    now_ms: i64,
    started_ms: i64,
    resident_bytes: u64,
    /// The period over which rates are measured.
    rate_window_seconds: i64,
    summary: Summary,
    inputs: Inputs,
    log: Log,
    destinations: Vec<Delivery>,
    removed_destinations: Vec<Gone>,
}

#[derive(Debug, Serialize)]
struct Log {
    samples: u64,
    samples_per_second: Option<f64>,
    refused: u64,
    bytes: u64,
    max_bytes: u64,
    segment: u64,
    series: u64,
    waiting_bytes: u64,
    full: bool,
    /// `disk` or `budget` while it is full.
    full_reason: Option<&'static str>,
    durability: &'static str,
    fsync_mean_seconds: Option<f64>,
}

#[derive(Debug, Serialize)]
pub struct Delivery {
    name: String,
    url: String,
    /// `idle`, `delivering`, `catching up`, `retrying`, `refusing`, `denied`, `stopped` or `left`.
    pub state: &'static str,
    /// The worst level of the details about it. Without a detail it is `ok` once a request was accepted, and
    /// `None` before.
    level: Option<Level>,
    /// The state in sentences, with advice.
    words: String,
    protocol: Option<&'static str>,
    shards: i64,
    shards_max: i64,
    shards_desired: f64,
    samples: u64,
    samples_per_second: Option<f64>,
    pending: u64,
    /// Samples in the queue and in the log.
    waiting: u64,
    waiting_before_start: bool,
    waiting_seconds: f64,
    requests: u64,
    requests_retried: u64,
    requests_sent_again: u64,
    retried: u64,
    failed: u64,
    /// Part of the failed samples: those that an earlier request without an answer may have written.
    already_written: u64,
    dropped: u64,
    lost: u64,
    bytes: u64,
    lag_seconds: f64,
    /// The lag without the backlog, while the newest samples are sent before the backlog.
    newest_lag_seconds: f64,
    newest_first: bool,
    /// The bytes from the saved position to the log's end.
    lag_bytes: u64,
    /// The lowest saved position. Everything before it was delivered, refused, dropped or parked.
    position: Place,
    behind: bool,
    /// Lanes that the destination fails on while it accepts others.
    stuck_lanes: i64,
    /// Parked samples.
    aside: i64,
    retry_in_seconds: f64,
    /// Why less is sent to it than could be sent: `max_bytes_per_second`, or `retry_after` if it has asked
    /// for a pause.
    slowed_by: Option<&'static str>,
    /// The end of the pause that it asked for; 0 if it did not ask for one.
    pause_until_ms: i64,
    last_accepted_ms: i64,
    last_error: Option<String>,
    /// The time of the last error; 0 if there was none.
    last_error_ms: i64,
}

/// A destination that was removed from the configuration. Its position is kept, but it pins no segment of the
/// log.
#[derive(Debug, Serialize)]
struct Gone {
    /// Its name, or its URL if it has no name.
    name: String,
    since_ms: i64,
    /// How long its position is kept.
    until_ms: i64,
    /// The bytes of the log after its position.
    behind_bytes: u64,
}

#[derive(Debug, Serialize)]
struct Place {
    segment: i64,
    offset: i64,
}

impl Status {
    pub fn now(about: &About, telemetry: &Telemetry, monitor: &Monitor, clock: &dyn Clock) -> Self {
        let mut destinations = deliveries(telemetry, &about.data);
        let inputs = Inputs::now(telemetry.doors().intake().counters(), telemetry.doors().denied());
        let storage = telemetry.storage();
        let stats = storage.stats();
        let fsyncs: u64 = stats.fsync.buckets.iter().map(storage::stats::Counter::get).sum();
        let samples = stats.samples.get() + stats.histograms.get();
        // Read after the numbers, so that the summary covers everything that they show.
        let Observation { summary, accepted_per_second, delivered_per_second } = monitor.observe();
        for (destination, rate) in destinations.iter_mut().zip(delivered_per_second) {
            destination.samples_per_second = rate;
            destination.level = level_of(&destination.name, &summary).or(destination.level);
        }
        let log = Log {
            samples,
            samples_per_second: accepted_per_second,
            refused: stats.refused.get(),
            bytes: stats.log_bytes.get(),
            max_bytes: about.max_bytes,
            segment: stats.segment.get(),
            series: stats.series.get(),
            waiting_bytes: stats.waiting_bytes.get(),
            full: stats.is_full(),
            full_reason: match (stats.disk_full.get() > 0, stats.budget_full.get() > 0) {
                (true, _) => Some("disk"),
                (false, true) => Some("budget"),
                (false, false) => None,
            },
            durability: about.durability,
            fsync_mean_seconds: (fsyncs > 0).then(|| stats.fsync.sum_ns.get() as f64 / 1e9 / fsyncs as f64),
        };
        Status {
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            instance: about.instance.clone(),
            data: about.data.display().to_string(),
            now_ms: clock.now_ms(),
            started_ms: about.started_ms,
            resident_bytes: crate::telemetry::resident_bytes(),
            rate_window_seconds: rate::RATE_WINDOW_MS / 1000,
            summary,
            inputs,
            log,
            destinations,
            removed_destinations: removed(telemetry),
        }
    }
}

/// The worst level of the summary's details about a destination; `None` if there are none.
fn level_of(name: &str, summary: &Summary) -> Option<Level> {
    let own = summary.details.iter().filter(|detail| detail.destination.as_deref() == Some(name));
    own.map(|detail| detail.level).max().filter(|level| *level > Level::Ok)
}

fn deliveries(telemetry: &Telemetry, data: &Path) -> Vec<Delivery> {
    let outlets = telemetry.outlets();
    let lags = lag_bytes(&outlets.running, telemetry.storage());
    outlets.running.iter().zip(lags).map(|(destination, lag)| delivery(destination, lag, data)).collect()
}

fn removed(telemetry: &Telemetry) -> Vec<Gone> {
    let outlets = telemetry.outlets();
    let positions: Vec<_> = outlets.removed.iter().map(|removed| removed.lowest).collect();
    let behind = telemetry.storage().bytes_from(&positions);
    let gone = |(removed, behind_bytes): (&Removed, u64)| Gone {
        name: removed.name.clone(),
        since_ms: removed.since_ms,
        until_ms: removed.until_ms(),
        behind_bytes,
    };
    outlets.removed.iter().zip(behind).map(gone).collect()
}

fn delivery(destination: &Outlet, lag_bytes: u64, data: &Path) -> Delivery {
    let stats = &destination.stats;
    let lag_ms = stats.lag_ms.get();
    let facts = monitor::destination(destination);
    let (last_error, last_error_ms) = stats.last_error_at().unzip();
    let last_error_ms = last_error_ms.unwrap_or(0);
    let sum = |kinds: model::Kinds| kinds.samples + kinds.histograms;
    let per = |kinds: &remote::stats::PerKind| sum(kinds.get());
    let dropped = per(&stats.dropped_by_rule)
        + per(&stats.dropped_too_old)
        + per(&stats.dropped_unsupported)
        + per(&stats.dropped_no_series);
    let state = stats.state();
    let positive = |number: i64| u64::try_from(number).unwrap_or(0);
    Delivery {
        // `Status::now` sets these two later, because they depend on the other parts.
        level: (stats.last_accepted_ms.get() > 0).then_some(Level::Ok),
        samples_per_second: None,
        waiting: positive(stats.waiting.get()),
        waiting_before_start: stats.waiting_before_open.get() > 0,
        waiting_seconds: stats.waiting_ms.get() as f64 / 1000.0,
        requests: stats.requests.get(),
        requests_retried: stats.requests_retried.get(),
        requests_sent_again: stats.requests_sent_again.get(),
        already_written: stats.refused_or_already_written.get(),
        name: destination.name.clone(),
        url: destination.url.clone(),
        words: sentence::sentence(stats, &facts, data),
        state: in_a_word(&state, facts.lag_ms(lag_ms)),
        protocol: stats.protocol().map(Protocol::name),
        shards: stats.shards.get(),
        shards_max: stats.shards_max.get(),
        shards_desired: stats.shards_desired_milli.get() as f64 / 1000.0,
        samples: per(&stats.delivered),
        pending: sum(stats.pending()),
        retried: per(&stats.retried),
        failed: per(&stats.refused),
        dropped,
        lost: per(&stats.lost),
        bytes: stats.bytes.get(),
        lag_seconds: lag_ms as f64 / 1000.0,
        newest_lag_seconds: stats.newest_lag_ms.get() as f64 / 1000.0,
        newest_first: stats.newest_first.get() > 0,
        lag_bytes,
        position: Place { segment: stats.position_segment.get(), offset: stats.position_offset.get() },
        behind: stats.behind.get() > 0,
        stuck_lanes: stats.stuck_lanes.get(),
        aside: stats.aside_points.get(),
        retry_in_seconds: stats.retry_in_ms.get() as f64 / 1000.0,
        slowed_by: match (facts.pause_until_ms, facts.held_to_bytes_per_second) {
            (Some(_), _) => Some("retry_after"),
            (None, Some(_)) => Some("max_bytes_per_second"),
            (None, None) => None,
        },
        pause_until_ms: facts.pause_until_ms.unwrap_or(0),
        last_accepted_ms: stats.last_accepted_ms.get(),
        last_error,
        last_error_ms,
    }
}

fn in_a_word(state: &State, lag_ms: i64) -> &'static str {
    match state {
        State::Starting => "idle",
        State::Delivering if lag_ms > CATCHING_UP_MS => "catching up",
        State::Delivering => "delivering",
        State::Waiting { .. } => "retrying",
        State::Refusing { .. } => "refusing",
        State::Denied { .. } => "denied",
        State::Stopped => "stopped",
        State::Left => "left",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_has_its_name() {
        let reason = String::new;
        let late = CATCHING_UP_MS + 1;
        for (state, lag_ms, word) in [
            (State::Starting, late, "idle"),
            (State::Delivering, 0, "delivering"),
            (State::Delivering, late, "catching up"),
            (State::Waiting { reason: reason() }, late, "retrying"),
            (State::Refusing { reason: reason() }, late, "refusing"),
            (State::Denied { reason: reason() }, late, "denied"),
            (State::Stopped, late, "stopped"),
            (State::Left, late, "left"),
        ] {
            assert_eq!(in_a_word(&state, lag_ms), word);
        }
    }
}
