//! The rate at which all streams of a destination together may send. Pure: callers pass the time in.
//!
//! Two limits apply: `queue_config.max_bytes_per_second`, and the rate that is learned from a receiver's 429s
//! ([`learned`]).

mod bucket;
mod learned;
#[cfg(test)]
mod tests;

use bucket::Bucket;
use learned::Learned;
use std::time::Duration;

/// A request may have at least this many bytes, so that delivery progresses at any rate.
const REQUEST_BYTES_MIN: usize = 1 << 10;

#[derive(Debug)]
pub(crate) struct Pace {
    bytes: Option<Bucket>,
    samples: Learned,
}

impl Pace {
    /// `bytes_per_second` is the user's limit. The learned rate never gets below `slowest`, in samples a
    /// second.
    pub(crate) fn new(bytes_per_second: Option<u64>, slowest: f64, now: Duration) -> Self {
        let bytes = bytes_per_second.map(|rate| Bucket::full(rate as f64, now));
        Pace { bytes, samples: Learned::new(slowest) }
    }

    /// Returns the earliest time at which a request may be sent.
    pub(crate) fn opens_at(&self) -> Duration {
        let bytes = self.bytes.as_ref().map(Bucket::opens_at).unwrap_or_default();
        bytes.max(self.samples.opens_at())
    }

    /// Returns true if the user's limit allows no request now.
    pub(crate) fn is_held_by_limit(&self, now: Duration) -> bool {
        self.bytes.as_ref().is_some_and(|bucket| bucket.opens_at() > now)
    }

    /// Returns the most bytes of a request before compression.
    pub(crate) fn request_bytes(&self) -> usize {
        self.bytes.as_ref().map_or(usize::MAX, |bucket| (bucket.burst() as usize).max(REQUEST_BYTES_MIN))
    }

    /// Notes a request that is sent, with its compressed bytes and its samples.
    pub(crate) fn sent(&mut self, bytes: usize, samples: u64, now: Duration) {
        if let Some(bucket) = &mut self.bytes {
            bucket.take(bytes as f64, now);
        }
        self.samples.sent(samples, now);
    }

    /// Notes samples that the receiver has written.
    pub(crate) fn accepted(&mut self, samples: u64, now: Duration) {
        self.samples.accepted(samples, now);
    }

    /// Notes that a request with so many samples, sent at `sent_at`, was answered with 429.
    pub(crate) fn limited(
        &mut self,
        samples: u64,
        sent_at: Duration,
        retry_after: Option<Duration>,
        now: Duration,
    ) {
        self.samples.limited(samples, sent_at, retry_after, now);
    }
}
