//! The counters of the inputs. Reading them does not block.

use crate::listener_counters::{ByName, ListenerCounters};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

/// The longest kept text of an answer, in bytes. One is kept for each input and [`RefusedReason`].
pub const LAST_ANSWER_BYTES: usize = 300;

#[derive(Debug, Default)]
pub struct Number(AtomicU64);

impl Number {
    pub fn add(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }
    pub fn subtract(&self, by: u64) {
        self.0.fetch_sub(by, Ordering::Relaxed);
    }
    pub fn set(&self, to: u64) {
        self.0.store(to, Ordering::Relaxed);
    }
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Why a request, or a part of it, was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RefusedReason {
    /// A body, path or parameter that can't be parsed, or invalid samples.
    Invalid,
    /// An unknown media type, schema or encoding.
    UnsupportedMedia,
    /// Over a limit on the size of one request.
    TooLarge,
    /// The body arrived too slowly or was cut short.
    Incomplete,
    /// There is no such path.
    NotFound,
    /// Missing or wrong credentials.
    Unauthorized,
    /// Over a limit on groups or series.
    TooMany,
    /// Too many requests, or too large ones, at once.
    Busy,
    /// The disk is full.
    DiskFull,
    /// The log is full (`log.max_size`), and `log.when_full` is `refuse`.
    LogFull,
    /// The log could not be written.
    LogFailed,
    /// narthex is stopping.
    Ending,
}

impl RefusedReason {
    pub const ALL: [RefusedReason; 12] = [
        RefusedReason::Invalid,
        RefusedReason::UnsupportedMedia,
        RefusedReason::TooLarge,
        RefusedReason::Incomplete,
        RefusedReason::NotFound,
        RefusedReason::Unauthorized,
        RefusedReason::TooMany,
        RefusedReason::Busy,
        RefusedReason::DiskFull,
        RefusedReason::LogFull,
        RefusedReason::LogFailed,
        RefusedReason::Ending,
    ];

    /// The value of the label `reason`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::UnsupportedMedia => "unsupported_media",
            Self::TooLarge => "too_large",
            Self::Incomplete => "incomplete",
            Self::NotFound => "not_found",
            Self::Unauthorized => "unauthorized",
            Self::TooMany => "too_many",
            Self::Busy => "busy",
            Self::DiskFull => "disk_full",
            Self::LogFull => "log_full",
            Self::LogFailed => "log_failed",
            Self::Ending => "ending",
        }
    }
}

/// The counters of one input.
#[derive(Debug, Default)]
pub struct InputCounters {
    /// Requests that were kept completely.
    pub accepted: Number,
    /// Requests that were refused for good or rejected in part.
    pub refused: Number,
    /// Requests that were refused but may succeed when they are sent again.
    pub deferred: Number,
    /// Received bytes: for HTTP the bodies as sent.
    pub bytes: Number,
    /// Samples, histograms and exemplars that were kept.
    pub points: Number,
    /// Samples, histograms and exemplars that were rejected: invalid, too far ahead of the clock, too old.
    pub rejected: Number,
    /// Samples, histograms and exemplars that the input's relabelling rules dropped.
    pub dropped: Number,
    /// Series that were refused because of a limit on active series.
    pub series_refused: Number,
    /// Parts of requests that are neither samples nor errors, by reason. For inputs that have such parts.
    pub left_out: OnceLock<ByName>,
    /// Rejected data points by reason. For inputs whose requests have data points.
    pub data_points_rejected: OnceLock<ByName>,
    /// Set once the input listens on sockets of its own.
    pub(crate) listener: OnceLock<ListenerCounters>,
    refusals: Mutex<Refusals>,
}

/// The refusals of one input.
#[derive(Debug, Default)]
struct Refusals {
    by_reason: BTreeMap<RefusedReason, OfReason>,
    last: Option<RefusedReason>,
}

/// The refusals for one reason.
#[derive(Debug, Default)]
struct OfReason {
    count: u64,
    last_answer: String,
}

impl InputCounters {
    /// The additional counters of an input with sockets of its own; `None` for other inputs.
    pub fn listener(&self) -> Option<&ListenerCounters> {
        self.listener.get()
    }

    /// The number of requests that were refused for this reason.
    pub fn refused_for(&self, reason: RefusedReason) -> u64 {
        self.refusals().by_reason.get(&reason).map_or(0, |refusals| refusals.count)
    }

    /// The text of the last answer to a refused request. For an input without answers, the text that an answer would
    /// have.
    pub fn last_answer(&self) -> Option<String> {
        let refusals = self.refusals();
        refusals.by_reason.get(&refusals.last?).map(|refusals| refusals.last_answer.clone())
    }

    fn refusals(&self) -> std::sync::MutexGuard<'_, Refusals> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The counters of all inputs, by name.
#[derive(Debug, Default)]
pub struct Counters {
    inputs: RwLock<BTreeMap<&'static str, Arc<InputCounters>>>,
    /// The input that refused a request last.
    last: Mutex<Option<&'static str>>,
}

impl Counters {
    /// The counters of the input with this name, created by the first call.
    pub fn of(&self, input: &'static str) -> Arc<InputCounters> {
        if let Some(counters) = self.inputs.read().unwrap_or_else(PoisonError::into_inner).get(input) {
            return counters.clone();
        }
        self.inputs.write().unwrap_or_else(PoisonError::into_inner).entry(input).or_default().clone()
    }

    pub fn all(&self) -> BTreeMap<&'static str, Arc<InputCounters>> {
        self.inputs.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts a refused request of `input`, and keeps the text of its answer.
    pub fn refused(&self, input: &'static str, reason: RefusedReason, answer: &str) {
        let counters = self.of(input);
        let mut refusals = counters.refusals();
        refusals.last = Some(reason);
        let refusals = refusals.by_reason.entry(reason).or_default();
        refusals.count += 1;
        refusals.last_answer = model::words::cut(answer.to_string(), LAST_ANSWER_BYTES);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(input);
    }

    /// The text of the last answer to a refused request.
    pub fn last_answer(&self) -> Option<String> {
        let input = (*self.last.lock().unwrap_or_else(PoisonError::into_inner))?;
        self.of(input).last_answer()
    }

    /// The text of the last answer for each input and reason.
    pub fn last_answers(&self) -> BTreeMap<(&'static str, RefusedReason), String> {
        let mut answers = BTreeMap::new();
        for (input, counters) in self.all() {
            let refusals = counters.refusals();
            let by_reason = refusals.by_reason.iter();
            answers.extend(by_reason.map(|(reason, of)| ((input, *reason), of.last_answer.clone())));
        }
        answers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_input_and_reason_keeps_its_own_count_and_last_answer() {
        let counters = Counters::default();
        assert_eq!(counters.last_answer(), None);
        counters.refused("import", RefusedReason::Invalid, "first");
        counters.refused("import", RefusedReason::Invalid, "second");
        counters.refused("pushgateway", RefusedReason::Invalid, "third");
        counters.refused("import", RefusedReason::TooMany, &"x".repeat(2 * LAST_ANSWER_BYTES));
        let answers = counters.last_answers();
        let text = |input, reason| answers.get(&(input, reason)).map(String::as_str);
        assert_eq!(text("import", RefusedReason::Invalid), Some("second"));
        assert_eq!(text("pushgateway", RefusedReason::Invalid), Some("third"));
        assert_eq!(text("pushgateway", RefusedReason::TooMany), None);
        assert_eq!(counters.of("pushgateway").last_answer().as_deref(), Some("third"));
        let cut = text("import", RefusedReason::TooMany).unwrap_or_default();
        assert_eq!((cut.len(), counters.last_answer().as_deref()), (LAST_ANSWER_BYTES, Some(cut)));
        assert_eq!(counters.of("import").refused_for(RefusedReason::Invalid), 2);
        assert_eq!(counters.of("import").refused_for(RefusedReason::TooMany), 1);
        assert_eq!(counters.all().len(), 2, "one entry for each input");
    }
}
