//! What the doors have to tell of themselves, as numbers that are read without waiting.

use crate::answer::{Refusal, cut};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// The longest text of an answer that is kept, in bytes. One is kept for each [`Door`] and [`RefusedReason`].
pub const LAST_REFUSED_BYTES: usize = 300;

/// A number.
#[derive(Debug, Default)]
pub struct Number(AtomicU64);

impl Number {
    /// Adds.
    pub fn add(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }
    /// Sets.
    pub fn set(&self, to: u64) {
        self.0.store(to, Ordering::Relaxed);
    }
    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Which door a request came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Door {
    /// Remote write 1.0.
    RemoteWriteV1,
    /// Remote write 2.0.
    RemoteWriteV2,
    /// The Pushgateway's interface.
    Pushgateway,
    /// The import of text.
    Import,
}

impl Door {
    /// All of them.
    pub const ALL: [Door; 4] = [Door::RemoteWriteV1, Door::RemoteWriteV2, Door::Pushgateway, Door::Import];

    /// Its name in a label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RemoteWriteV1 => "remote_write_v1",
            Self::RemoteWriteV2 => "remote_write_v2",
            Self::Pushgateway => "pushgateway",
            Self::Import => "import",
        }
    }
}

/// Why a request was not, or not wholly, accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RefusedReason {
    /// A body, path or parameter that can't be read, or samples that are invalid.
    Invalid,
    /// A media type, schema or encoding that is not known.
    UnsupportedMedia,
    /// Over a limit on the size of one request.
    TooLarge,
    /// The body came too slowly or broke off.
    Incomplete,
    /// Nothing is at this path.
    NotFound,
    /// Another method than the path has.
    Method,
    /// No login, or a wrong one.
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
    /// narthex is ending.
    Ending,
}

impl RefusedReason {
    /// All of them.
    pub const ALL: [RefusedReason; 13] = [
        RefusedReason::Invalid,
        RefusedReason::UnsupportedMedia,
        RefusedReason::TooLarge,
        RefusedReason::Incomplete,
        RefusedReason::NotFound,
        RefusedReason::Method,
        RefusedReason::Unauthorized,
        RefusedReason::TooMany,
        RefusedReason::Busy,
        RefusedReason::DiskFull,
        RefusedReason::LogFull,
        RefusedReason::LogFailed,
        RefusedReason::Ending,
    ];

    /// Its name in a label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::UnsupportedMedia => "unsupported_media",
            Self::TooLarge => "too_large",
            Self::Incomplete => "incomplete",
            Self::NotFound => "not_found",
            Self::Method => "method",
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

/// The texts of answers to refused requests, each cut to [`LAST_REFUSED_BYTES`].
#[derive(Debug, Default)]
struct Answers {
    last: Option<(Door, RefusedReason)>,
    texts: BTreeMap<(Door, RefusedReason), String>,
}

/// What one door counts.
#[derive(Debug, Default)]
pub struct DoorStats {
    /// Requests answered with 2xx.
    pub accepted: Number,
    /// Requests answered with 4xx, valid parts of which may have been kept.
    pub refused: Number,
    /// Requests answered with 429 or 503: to be tried again.
    pub deferred: Number,
    /// Bytes of bodies, as sent.
    pub bytes: Number,
    /// Samples, histograms and exemplars acknowledged or kept.
    pub points: Number,
    /// Those left out because they are invalid, too far ahead of the clock or too old.
    pub invalid: Number,
    /// Requests that were refused or deferred, by [`RefusedReason`] in its order.
    reasons: [Number; RefusedReason::ALL.len()],
}

impl DoorStats {
    /// Requests that were refused or deferred for this reason.
    pub fn refused_for(&self, reason: RefusedReason) -> u64 {
        self.reasons.get(reason as usize).map_or(0, Number::get)
    }
}

/// The doors' own numbers.
#[derive(Debug, Default)]
pub struct Stats {
    doors: [DoorStats; 4],
    /// Groups there are.
    pub groups: Number,
    /// Series of all groups.
    pub group_series: Number,
    /// Memory of all groups, in bytes.
    pub group_bytes: Number,
    /// Groups whose time to live is over and whose push times are still sent.
    pub groups_expired: Number,
    /// Times that a group's time to live ended.
    pub expirations: Number,
    /// Groups that were forgotten some time after they expired.
    pub forgotten: Number,
    /// Groups whose last push was refused.
    pub groups_failing: Number,
    /// Groups sent anew.
    pub emissions: Number,
    /// Groups that could not be sent anew in their turn.
    pub emissions_failed: Number,
    /// Pushes to groups that were refused and set a failure time.
    pub push_failures: Number,
    /// Staleness markers sent.
    pub markers: Number,
    /// Entries of the journal of groups that could not be read.
    pub journal_damaged: Number,
    /// Times that the journal was rewritten.
    pub journal_rewrites: Number,
    /// Requests, to whatever path, with a wrong login or none where one is asked for. They are not logged:
    /// whoever guesses must not fill a disk.
    pub unauthorized: Number,
    /// Of these: requests that would have pushed or deleted something.
    pub pushes_unauthorized: Number,
    answers: Mutex<Answers>,
}

impl Stats {
    /// The numbers of one door.
    pub fn door(&self, door: Door) -> &DoorStats {
        let [v1, v2, pushgateway, import] = &self.doors;
        match door {
            Door::RemoteWriteV1 => v1,
            Door::RemoteWriteV2 => v2,
            Door::Pushgateway => pushgateway,
            Door::Import => import,
        }
    }

    /// Counts why a request was refused or deferred.
    pub fn refused(&self, door: Door, refusal: &Refusal) {
        let reason = refusal.reason();
        if let Some(number) = self.door(door).reasons.get(reason as usize) {
            number.add(1);
        }
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.last = Some((door, reason));
        answers.texts.insert((door, reason), cut(refusal.to_string(), LAST_REFUSED_BYTES));
    }

    /// The text of the last answer to a request that was refused or deferred.
    pub fn last_refused(&self) -> Option<String> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.last.and_then(|last| answers.texts.get(&last).cloned())
    }

    /// The text of the last answer for each door and reason that had one.
    pub fn last_answers(&self) -> BTreeMap<(Door, RefusedReason), String> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).texts.clone()
    }

    /// Counts an answer.
    pub fn answered(&self, door: Door, status: http::StatusCode) {
        let door = self.door(door);
        match status.as_u16() {
            200..=299 => door.accepted.add(1),
            429 | 500..=599 => door.deferred.add(1),
            _ => door.refused.add(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_door_and_reason_keeps_its_own_last_answer() {
        let stats = Stats::default();
        for (door, text) in [(Door::Import, "first"), (Door::Import, "second"), (Door::Pushgateway, "third")]
        {
            stats.refused(door, &Refusal::Malformed(text.into()));
        }
        stats.refused(Door::Import, &Refusal::TooMany("x".repeat(2 * LAST_REFUSED_BYTES)));
        let answers = stats.last_answers();
        let text = |door, reason| answers.get(&(door, reason)).map(String::as_str);
        assert_eq!(text(Door::Import, RefusedReason::Invalid), Some("second"));
        assert_eq!(text(Door::Pushgateway, RefusedReason::Invalid), Some("third"));
        assert_eq!(text(Door::Pushgateway, RefusedReason::TooMany), None);
        let cut = text(Door::Import, RefusedReason::TooMany).unwrap();
        assert_eq!((cut.len(), stats.last_refused().as_deref()), (LAST_REFUSED_BYTES, Some(cut)));
        for door in Door::ALL {
            for _ in 0..1000 {
                stats.refused(door, &Refusal::Stopping);
            }
        }
        assert_eq!(stats.last_answers().len(), 3 + Door::ALL.len(), "one text for each door and reason");
    }
}
