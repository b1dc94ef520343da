//! Which lines of the summary are logged: each detail of level `warning` or `error` when it begins, again as
//! long as it lasts, and when it ends. No I/O.
//!
//! One line for all of narthex would hide a failing destination behind a worse state of another one, so each
//! detail has lines of its own. The throttle of the log allows each of them once a minute.

use super::hold::Summary;
use super::summary::{Detail, HOLD_MS, Kind, Level};
use super::words::span;
use std::collections::BTreeMap;

/// How often a detail is logged again as long as it lasts, with its current numbers.
pub(super) const REPEAT_MS: i64 = 5 * 60_000;
/// A detail has ended when it was not seen for this long. A detail that is seen again sooner has not ended.
pub(super) const OVER_MS: i64 = HOLD_MS;
/// The most details that are tracked. There are at most as many as destinations, inputs and rows of the last
/// hour.
pub(super) const DETAILS_MAX: usize = 1000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) level: Level,
    pub(super) kind: Kind,
    pub(super) destination: Option<String>,
    pub(super) about: Option<String>,
    pub(super) text: String,
    /// How long the state has lasted; `None` in its first line.
    pub(super) lasted: Option<String>,
    /// Requests that have failed since the state began; `None` in its first line.
    pub(super) failed_requests: Option<u64>,
}

/// Identifies a detail in the log as long as it lasts, even if its text changes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    kind: Kind,
    destination: Option<String>,
    about: String,
}

impl Key {
    fn of(detail: &Detail) -> Key {
        let kind = match detail.kind {
            Kind::Lost => Kind::Losing,
            Kind::Refused => Kind::Refusing,
            Kind::DestinationRetrying | Kind::CatchingUp => Kind::DestinationFailing,
            other => other,
        };
        Key { kind, destination: detail.destination.clone(), about: detail.about.clone() }
    }
}

#[derive(Debug)]
struct Open {
    /// The detail as it was last seen.
    detail: Detail,
    /// The worst level that was logged.
    level: Level,
    began_ms: i64,
    seen_ms: i64,
    logged_ms: i64,
    /// The number of failed requests when the state began.
    retries: u64,
}

impl Open {
    fn line(&self, level: Level, text: String, until_ms: i64) -> Line {
        let is_first = until_ms == self.began_ms;
        let failed = self.detail.retries.map(|retries| retries.saturating_sub(self.retries));
        Line {
            level,
            kind: self.detail.kind,
            destination: self.detail.destination.clone(),
            about: Some(self.detail.about.clone()).filter(|about| !about.is_empty()),
            text,
            lasted: (!is_first).then(|| span(until_ms - self.began_ms)),
            failed_requests: failed.filter(|_| !is_first),
        }
    }

    /// The first line of the sentence. The rest, such as a part of a file, is in the details of the status.
    fn text(&self) -> String {
        self.detail.sentence.lines().next().unwrap_or_default().to_string()
    }

    /// Returns true if there is something new to repeat. A state lasts as long as it is seen; an event lasts
    /// only if it has happened again.
    fn goes_on(&self) -> bool {
        self.detail.last_ms.is_none_or(|last_ms| last_ms > self.logged_ms)
    }

    fn over(&self) -> Line {
        let name = self.detail.kind.as_str().replace('_', " ");
        let (text, until_ms) = match self.detail.last_ms {
            Some(last_ms) => {
                let within = match self.detail.kind {
                    Kind::PushesRefused | Kind::SamplesRejected => "10 minutes",
                    _ => "hour",
                };
                (format!("{name}: none in the last {within}"), last_ms.max(self.began_ms))
            }
            None => (format!("{name}: over"), self.seen_ms),
        };
        let line = self.line(Level::Ok, text, until_ms);
        Line { lasted: Some(span(until_ms - self.began_ms)), ..line }
    }
}

/// The details that were logged; see the module.
#[derive(Debug, Default)]
pub(super) struct LogLines {
    open: BTreeMap<Key, Open>,
    /// The logged level of narthex as a whole.
    level: Option<Level>,
}

impl LogLines {
    /// The lines to log at `now_ms` of the monotonic clock.
    pub(super) fn next(&mut self, summary: &Summary, now_ms: i64) -> Vec<Line> {
        let mut lines = Vec::new();
        for detail in summary.details.iter().filter(|detail| detail.level > Level::Ok) {
            let key = Key::of(detail);
            if let Some(open) = self.open.get_mut(&key) {
                let retries = detail.retries.or(open.detail.retries);
                open.detail = Detail { retries, ..detail.clone() };
                open.seen_ms = now_ms;
                let is_worse = detail.level > open.level;
                if is_worse || (now_ms - open.logged_ms >= REPEAT_MS && open.goes_on()) {
                    (open.logged_ms, open.level) = (now_ms, open.level.max(detail.level));
                    lines.push(open.line(detail.level, open.text(), now_ms));
                }
            } else if self.open.len() < DETAILS_MAX {
                let open = Open {
                    detail: detail.clone(),
                    level: detail.level,
                    began_ms: now_ms,
                    seen_ms: now_ms,
                    logged_ms: now_ms,
                    retries: detail.retries.unwrap_or(0),
                };
                lines.push(open.line(detail.level, open.text(), now_ms));
                self.open.insert(key, open);
            }
        }
        self.open.retain(|_, open| {
            let is_over = now_ms - open.seen_ms >= OVER_MS;
            if is_over {
                lines.push(open.over());
            }
            !is_over
        });
        let was = self.level.replace(summary.level);
        if summary.level == Level::Ok && was.is_some_and(|level| level > Level::Ok) {
            lines.push(Line {
                level: Level::Ok,
                kind: summary.kind,
                destination: None,
                about: None,
                text: summary.sentence.clone(),
                lasted: None,
                failed_requests: None,
            });
        }
        lines
    }
}
