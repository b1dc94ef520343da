//! The log on standard error. Every line has a time, a level, a message and `key=value` pairs, as logfmt or
//! as JSON.
//!
//! It promises:
//! - **Few lines**: an event that repeats is written once a minute for each destination ([`throttle`]).
//! - **One line for each event**: line breaks and control characters are escaped ([`mod@format`]).
//! - **No panic** if the reader of standard error has closed it.
//!
//! Commands that a user or a script waits for (`check`, `push`, `exec`, `wal`) write plain sentences instead:
//! see `command::say`.
//!
//! Start at [`start`].

pub mod filter;
pub mod format;
pub mod record;
pub mod throttle;

use filter::FilterError;
use format::Format;
use record::{Record, Value};
use std::fmt;
use std::io::{IsTerminal, Write};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use throttle::Throttle;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// The target of events that answer a user's action, such as a start or a reload. They are never throttled.
const ANSWER: &str = "narthex::answer";

/// How often held lines are checked.
const TICK: Duration = Duration::from_secs(1);

/// The log, after [`start`] was called.
static LOG: OnceLock<Log> = OnceLock::new();

struct Log {
    format: Format,
    color: bool,
    began: Instant,
    throttle: Mutex<Throttle>,
}

impl Log {
    fn write(&self, records: &[Record]) {
        for record in records {
            let line = format::line(record, self.format, self.color);
            // An error here can't be reported anywhere.
            let _ = std::io::stderr().lock().write_all(line.as_bytes());
        }
    }

    fn take(&self, record: Record) {
        let now = self.began.elapsed();
        let mut throttle = self.throttle.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ready = throttle.due(now, record.time_ms);
        ready.extend(throttle.admit(now, record));
        // This is still under the lock, so that lines are written in the order of their events.
        self.write(&ready);
    }

    fn flush(&self, all: bool) {
        let mut throttle = self.throttle.lock().unwrap_or_else(PoisonError::into_inner);
        let ready = if all { throttle.drain(now_ms()) } else { throttle.due(self.began.elapsed(), now_ms()) };
        self.write(&ready);
    }
}

/// Passes events to the log.
struct Events;

impl<S: Subscriber> Layer<S> for Events {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if let Some(log) = LOG.get() {
            log.take(Record::of(event, now_ms()));
        }
    }
}

/// Starts the log. After an error, `fatal` still writes lines in this format.
pub fn start(level: &str, format: Format) -> Result<(), FilterError> {
    let filter = filter::parse(level);
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let color = format == Format::Logfmt && !no_color && std::io::stderr().is_terminal();
    let log = Log { format, color, began: Instant::now(), throttle: Mutex::new(Throttle::default()) };
    if LOG.set(log).is_ok() {
        let filter = filter?;
        let subscriber = tracing_subscriber::registry().with(Events.with_filter(filter));
        // An error means that a subscriber is set already, which this function did itself.
        let _ = tracing::subscriber::set_global_default(subscriber);
    }
    Ok(())
}

/// Writes held lines when their minute is over. Runs until the future is dropped.
pub async fn tick() {
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        if let Some(log) = LOG.get() {
            log.flush(false);
        }
    }
}

/// Writes all held lines. To be called before the process ends.
pub fn finish() {
    if let Some(log) = LOG.get() {
        log.flush(true);
    }
}

/// Logs the answer to a user's action. It is never throttled.
pub fn info(message: fmt::Arguments<'_>) {
    tracing::info!(target: ANSWER, "{message}");
}

/// Like [`info`], for a warning.
pub fn warn(message: fmt::Arguments<'_>) {
    tracing::warn!(target: ANSWER, "{message}");
}

/// Like [`info`], for an error.
pub fn error(message: fmt::Arguments<'_>) {
    tracing::error!(target: ANSWER, "{message}");
}

/// Writes an error immediately, without filter and throttle. It is for the reason why the process ends, and
/// for a panic, which may hold the locks of both.
pub fn fatal(message: fmt::Arguments<'_>) {
    write_now(Level::ERROR, message.to_string(), Vec::new());
}

/// Writes a line immediately, without filter and throttle.
pub fn write_now(level: Level, message: String, fields: Vec<(&'static str, Value)>) {
    let (format, color) = LOG.get().map_or((Format::Logfmt, false), |log| (log.format, log.color));
    let record = Record { fields, ..Record::new(level, message, now_ms()) };
    let _ = std::io::stderr().lock().write_all(format::line(&record, format, color).as_bytes());
}

/// Milliseconds since 1970.
fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
