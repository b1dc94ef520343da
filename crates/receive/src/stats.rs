//! What the doors have to tell of themselves, as numbers that are read without waiting.

use std::sync::atomic::{AtomicU64, Ordering};

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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
