//! How fast a destination may be sent to, for all its streams together. Pure: time is passed in.
//!
//! Two things limit it: `queue_config.max_bytes_per_second`, and what is learned from a receiver that answers 429
//! ([`learned`]).

mod bucket;
mod learned;
#[cfg(test)]
mod tests;

use bucket::Bucket;
use learned::Learned;
use std::time::Duration;

/// The least that a request may have under a limit, so that there is progress at any rate.
const REQUEST_BYTES_MIN: usize = 1 << 10;

/// See the module.
#[derive(Debug)]
pub(crate) struct Pace {
    bytes: Option<Bucket>,
    samples: Learned,
}

impl Pace {
    /// `bytes_per_second` is what the user has set. What is learned never gets slower than `slowest`, in samples a
    /// second.
    pub(crate) fn new(bytes_per_second: Option<u64>, slowest: f64, now: Duration) -> Self {
        let bytes = bytes_per_second.map(|rate| Bucket::full(rate as f64, now));
        Pace { bytes, samples: Learned::new(slowest) }
    }

    /// The earliest time at which a request may be sent.
    pub(crate) fn opens_at(&self) -> Duration {
        let bytes = self.bytes.as_ref().map(Bucket::opens_at).unwrap_or_default();
        bytes.max(self.samples.opens_at())
    }

    /// Whether the user's limit allows no request now.
    pub(crate) fn is_held_by_limit(&self, now: Duration) -> bool {
        self.bytes.as_ref().is_some_and(|bucket| bucket.opens_at() > now)
    }

    /// The most bytes of a request before compression.
    pub(crate) fn request_bytes(&self) -> usize {
        self.bytes.as_ref().map_or(usize::MAX, |bucket| (bucket.burst() as usize).max(REQUEST_BYTES_MIN))
    }

    /// A request of as many bytes, as sent, and samples is sent.
    pub(crate) fn sent(&mut self, bytes: usize, samples: u64, now: Duration) {
        if let Some(bucket) = &mut self.bytes {
            bucket.take(bytes as f64, now);
        }
        self.samples.sent(samples, now);
    }

    /// As many samples of a request were written.
    pub(crate) fn accepted(&mut self, samples: u64, now: Duration) {
        self.samples.accepted(samples, now);
    }

    /// A request that was sent at `sent_at` with as many samples was answered with 429.
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
