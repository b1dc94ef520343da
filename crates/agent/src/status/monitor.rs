//! Monitors all parts: reads their counters, keeps the last hour in the data folder, and logs changes of the
//! state. The decisions are in [`super::summary`], [`super::hold`], [`super::window`] and [`super::rate`].

use super::About;
use super::counters::{Counters, last_answers};
use super::facts::{Delivery, DestinationFacts, Facts, ListenerFacts, RemovedFacts};
use super::hold::{Held, Summary};
use super::log_lines::{Line, LogLines};
use super::rate::Rate;
use super::summary::{Level, decide};
use super::window::{CONTENT_BYTES_MAX, Entry, Event, Key, Window};
use super::words::is_about_authorization;
use crate::telemetry::{Outlet, Telemetry, Undelivered};
use collect::stamp::{EARLIEST_PLAUSIBLE_MS, LATEST_PLAUSIBLE_MS};
use model::Clock;
use remote::{State, Stats};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use wal::Filesystem;
use wal::small_file::SlotFile;

/// The name of the file in the data folder.
pub const FILE: &str = "last-hour";
/// How often all counters are read.
const INTERVAL: Duration = Duration::from_secs(1);
/// The longest time until events are saved. The first events after a quiet time are saved immediately.
const SAVE_MS: i64 = 10_000;

/// See the module.
#[derive(Debug)]
pub struct Monitor {
    telemetry: Arc<Telemetry>,
    about: Arc<About>,
    clock: Arc<dyn Clock>,
    inner: Mutex<Inner>,
    /// `None` if the file could not be opened; the last hour is not kept then.
    file: Mutex<Option<SlotFile>>,
}

#[derive(Debug, Default)]
struct Inner {
    window: Window,
    counters: Counters,
    held: Held,
    accepted: Rate,
    delivered: Vec<(Arc<Stats>, Rate)>,
    /// The window as it was last saved.
    saved: Window,
    saved_ms: Option<i64>,
    /// The details that were logged.
    log_lines: LogLines,
}

/// The result of reading all counters.
#[derive(Debug)]
pub struct Observation {
    pub summary: Summary,
    /// Samples per second that the log accepts.
    pub accepted_per_second: Option<f64>,
    /// Samples per second that each destination accepts, in the order of the running destinations.
    pub delivered_per_second: Vec<Option<f64>>,
}

impl Monitor {
    /// Reads the last hour that an earlier run saved in `data`. Errors of the file do not prevent a start.
    pub fn open(
        telemetry: Arc<Telemetry>,
        about: Arc<About>,
        clock: Arc<dyn Clock>,
        fs: &dyn Filesystem,
        data: &Path,
    ) -> Monitor {
        let path = data.join(FILE);
        let (file, content) = match SlotFile::open(fs, &path, CONTENT_BYTES_MAX, &[]) {
            Ok((file, content)) => (Some(file), content.unwrap_or_default()),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "losses of the last hour will not be remembered");
                (None, None)
            }
        };
        let (now_ms, wall_ms) = (running_ms(&*clock), clock.now_ms());
        // A new file is filled with zeros, which is not a known version.
        let read = |content: &Vec<u8>| Window::decode(content, now_ms, wall_ms, is_plausible);
        let is_new = content.as_ref().is_some_and(|content| content.iter().all(|byte| *byte == 0));
        let window = content.as_ref().and_then(read);
        if window.is_none() && !is_new && file.is_some() {
            tracing::warn!(path = %path.display(), "the file with losses of the last hour can't be read; it is replaced");
        }
        let is_lost = window.is_none() && !is_new;
        let mut window = window.unwrap_or_default();
        if is_lost {
            window.add(Key::new(Event::Forgotten, "", ""), 1, now_ms);
        }
        let inner = Inner { saved: window.clone(), window, ..Inner::default() };
        Monitor { telemetry, about, clock, inner: Mutex::new(inner), file: Mutex::new(file) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads all counters, and returns the summary and the rates.
    pub fn observe(&self) -> Observation {
        let mut inner = self.inner();
        let inner = &mut *inner;
        let (now_ms, wall_ms) = (running_ms(&*self.clock), self.clock.now_ms());
        inner.counters.read(&self.telemetry, &mut inner.window, now_ms);
        inner.window.forget(now_ms);
        let outlets = self.telemetry.outlets();
        let log = self.telemetry.storage().stats();
        inner.accepted.read(now_ms, log.samples.get() + log.histograms.get());
        let mut rates = std::mem::take(&mut inner.delivered);
        for outlet in &outlets.running {
            let known = rates.iter().position(|(stats, _)| Arc::ptr_eq(stats, &outlet.stats));
            let mut rate = known.map(|index| rates.swap_remove(index).1).unwrap_or_default();
            let delivered = outlet.stats.delivered.get();
            rate.read(now_ms, delivered.samples + delivered.histograms);
            inner.delivered.push((outlet.stats.clone(), rate));
        }
        let facts = self.facts(inner.window.entries(now_ms), &outlets.running, now_ms, wall_ms);
        Observation {
            summary: inner.held.show(decide(&facts), now_ms, wall_ms),
            accepted_per_second: inner.accepted.per_second(),
            delivered_per_second: inner.delivered.iter().map(|(_, rate)| rate.per_second()).collect(),
        }
    }

    fn facts(&self, window: Vec<Entry>, running: &[Outlet], running_ms: i64, wall_ms: i64) -> Facts {
        let storage = self.telemetry.storage();
        let log = storage.stats();
        let doors = self.telemetry.doors();
        Facts {
            running_ms,
            wall_ms,
            clock_is_plausible: is_plausible(wall_ms),
            data: self.about.data.display().to_string(),
            disk_full: log.disk_full.get() > 0,
            disk_bytes_to_go_on: storage.bytes_to_go_on(),
            log_full: log.budget_full.get() > 0,
            dead_task: self.telemetry.dead_task(),
            dead_destinations: storage.orphans(),
            destinations: running.iter().map(destination).collect(),
            removed: self.telemetry.undelivered().into_iter().map(removed).collect(),
            window,
            reload_error: self.telemetry.reload_error(),
            groups_failing: doors.groups().stats().groups_failing.get(),
            listeners: listeners(doors.intake().counters()),
            collectors_failing: self.telemetry.collectors_failing(),
            dropped_at_inputs: dropped_at_inputs(doors.intake().counters()),
            last_answers: last_answers(doors.intake().counters()),
        }
    }

    /// Monitors until the future is dropped.
    pub async fn run(self: Arc<Self>) {
        loop {
            self.log();
            if self.save_is_due() {
                let monitor = self.clone();
                // This waits for the disk, so it runs on a blocking thread.
                let _ = tokio::task::spawn_blocking(move || monitor.save()).await;
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Reads all counters, and logs what has changed.
    fn log(&self) {
        let summary = self.observe().summary;
        let now_ms = running_ms(&*self.clock);
        let lines = self.inner().log_lines.next(&summary, now_ms);
        lines.iter().for_each(log_line);
    }

    fn save_is_due(&self) -> bool {
        let inner = self.inner();
        let now_ms = running_ms(&*self.clock);
        inner.window != inner.saved && inner.saved_ms.is_none_or(|saved| now_ms - saved >= SAVE_MS)
    }

    /// Saves the last hour. This blocks on the disk.
    pub fn save(&self) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(file) = file.as_mut() else { return };
        let (window, content) = {
            let mut inner = self.inner();
            let now_ms = running_ms(&*self.clock);
            // Also after an error, so that saving is not tried more often.
            inner.saved_ms = Some(now_ms);
            (inner.window.clone(), inner.window.encode(now_ms, self.clock.now_ms()))
        };
        match file.save(&content, true) {
            Ok(()) => self.inner().saved = window,
            Err(error) => tracing::warn!(%error, "losses of the last hour could not be saved"),
        }
    }
}

pub(super) fn delivery(state: State) -> Delivery {
    match state {
        State::Starting => Delivery::Idle,
        State::Delivering => Delivery::Accepting,
        State::Waiting { reason } => Delivery::Failing(reason),
        State::Refusing { reason } => Delivery::Refusing(reason),
        State::Denied { reason } if is_about_authorization(&reason) => Delivery::Unauthorized(reason),
        State::Denied { reason } => Delivery::NotAnEndpoint(reason),
        State::Stopped | State::Left => Delivery::Ended,
    }
}

fn log_line(line: &Line) {
    let Line { kind, text, .. } = line;
    let (state, destination, about) = (kind.as_str(), line.destination.as_deref(), line.about.as_deref());
    let (lasted, failed_requests) = (line.lasted.as_deref(), line.failed_requests);
    match line.level {
        Level::Error => tracing::error!(state, destination, about, lasted, failed_requests, "{text}"),
        Level::Warning => tracing::warn!(state, destination, about, lasted, failed_requests, "{text}"),
        Level::Ok => tracing::info!(state, destination, about, lasted, failed_requests, "{text}"),
    }
}

/// Removes the URL at the end of a reason if the destination has no name: the sentence already begins with
/// the URL.
fn reason_without_url(reason: String, name: &str) -> String {
    let short = reason.strip_suffix(')').and_then(|reason| reason.strip_suffix(name)?.strip_suffix(" ("));
    short.map(str::to_string).unwrap_or(reason)
}

fn without_url(delivery: Delivery, name: &str) -> Delivery {
    let short = |reason: String| reason_without_url(reason, name);
    match delivery {
        Delivery::Failing(reason) => Delivery::Failing(short(reason)),
        Delivery::Refusing(reason) => Delivery::Refusing(short(reason)),
        Delivery::Unauthorized(reason) => Delivery::Unauthorized(short(reason)),
        Delivery::NotAnEndpoint(reason) => Delivery::NotAnEndpoint(short(reason)),
        Delivery::Idle | Delivery::Accepting | Delivery::Ended => delivery,
    }
}

/// The facts about one destination.
pub(super) fn destination(outlet: &Outlet) -> DestinationFacts {
    let stats = &outlet.stats;
    let delivery = without_url(delivery(stats.state()), &outlet.name);
    let positive = |number: i64| u64::try_from(number).unwrap_or(0);
    DestinationFacts {
        name: outlet.name.clone(),
        delivery,
        delivered: stats.last_accepted_ms.get() > 0,
        waiting: positive(stats.waiting.get()),
        waiting_before_start: stats.waiting_before_open.get() > 0,
        waiting_ms: stats.waiting_ms.get(),
        moving_ms: stats.moving_ms.get(),
        deadline_ms: stats.batch_send_deadline_ms.get(),
        held_to_bytes_per_second: Some(positive(stats.held_to_bytes_per_second.get()))
            .filter(|rate| *rate > 0),
        pause_until_ms: Some(stats.pause_until_ms.get()).filter(|until| *until > 0),
        parked: positive(stats.aside_points.get()),
        stuck_lanes: positive(stats.stuck_lanes.get()),
        stuck_reason: stats.stuck().map(|reason| reason_without_url(reason, &outlet.name)),
        dropped_by_rule: stats.dropped_by_rule.get().total(),
        retries: stats.requests_retried.get(),
    }
}

fn removed(undelivered: Undelivered) -> RemovedFacts {
    let Undelivered { removed, bytes } = undelivered;
    RemovedFacts { behind_bytes: bytes, until_ms: removed.until_ms(), name: removed.name }
}

/// The inputs with sockets of their own.
fn listeners(counters: &intake::Counters) -> Vec<ListenerFacts> {
    let facts = |(name, counters): (&'static str, Arc<intake::InputCounters>)| {
        let listener = counters.listener()?;
        Some(ListenerFacts {
            name: name.to_string(),
            down: match listener.state() {
                intake::State::Down(why) => Some(why),
                intake::State::Off | intake::State::Listening => None,
            },
            connections_full: listener.is_full().then(|| listener.connections.get()),
            buffer_granted: listener.buffer_granted.get(),
            buffer_wanted: listener.buffer_wanted.get(),
        })
    };
    counters.all().into_iter().filter_map(facts).collect()
}

/// Inputs whose rules dropped samples.
fn dropped_at_inputs(counters: &intake::Counters) -> Vec<(String, u64)> {
    let inputs =
        counters.all().into_iter().map(|(input, counters)| (input.to_string(), counters.dropped.get()));
    inputs.filter(|(_, dropped)| *dropped > 0).collect()
}

fn running_ms(clock: &dyn Clock) -> i64 {
    i64::try_from(clock.monotonic().as_millis()).unwrap_or(i64::MAX)
}

fn is_plausible(wall_ms: i64) -> bool {
    (EARLIEST_PLAUSIBLE_MS..=LATEST_PLAUSIBLE_MS).contains(&wall_ms)
}
