//! The rate that a receiver accepts, learned from its answers 429.
//!
//! After a 429 the rate is set a little below the rate at which the receiver has recently written samples.
//! Then it rises again, ever faster, so that a 429 for another reason costs only seconds. If 429s continue
//! although the rate was lowered several times, the rate is not their reason, and it is not limited for a
//! while.

use super::bucket::Bucket;
use crate::queue::backoff::RETRY_AFTER_MAX;
use std::time::Duration;

/// After a 429, this fraction of the recently written rate is sent.
const AFTER_429: f64 = 0.9;
/// Fraction by which the rate rises in the first second after that, and the increase of this fraction in each
/// further second.
const RISE: f64 = 0.05;
const RISE_MORE: f64 = 0.02;
/// The largest fraction by which the rate rises in a second.
const RISE_MAX: f64 = 0.5;
/// The written rate is averaged over this time.
const WINDOW: Duration = Duration::from_secs(5);
/// After a pause of this length, earlier samples do not count.
const IDLE: Duration = Duration::from_secs(1);
/// If the receiver writes less than this fraction of what it wrote at the previous rate, lowering has not
/// helped.
const NO_HELP: f64 = 0.8;
/// After this many times in a row, the rate is not the reason.
const LOWERED_MAX: u32 = 4;
/// Then the rate is not limited for this long.
const UNLIMITED: Duration = Duration::from_secs(5 * 60);
/// Without a 429 for this long, the limit is removed.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Learned {
    /// The rate never gets below this, in samples a second.
    slowest: f64,
    limit: Option<Limit>,
    /// Start of the uninterrupted time in which `written` is counted.
    since: Duration,
    written: f64,
    /// When the last answer came.
    last: Duration,
    /// The receiver has asked for a pause until then.
    pause: Duration,
    /// 429s do not count until then.
    unlimited: Duration,
}

#[derive(Debug)]
struct Limit {
    bucket: Bucket,
    lowered_at: Duration,
    raised_at: Duration,
    lowered_to: f64,
    /// How often in a row the rate was lowered without effect.
    lowered: u32,
}

impl Learned {
    pub(super) fn new(slowest: f64) -> Self {
        let zero = Duration::ZERO;
        Learned { slowest, limit: None, since: zero, written: 0.0, last: zero, pause: zero, unlimited: zero }
    }

    pub(super) fn opens_at(&self) -> Duration {
        let limit = self.limit.as_ref().map(|limit| limit.bucket.opens_at()).unwrap_or_default();
        limit.max(self.pause)
    }

    pub(super) fn sent(&mut self, samples: u64, now: Duration) {
        let Some(limit) = &mut self.limit else { return };
        if now >= limit.lowered_at + FORGOTTEN_AFTER {
            self.limit = None;
            return;
        }
        let seconds = now.saturating_sub(limit.raised_at).as_secs_f64();
        let age = now.saturating_sub(limit.lowered_at).as_secs_f64();
        let rise = (RISE + RISE_MORE * age).min(RISE_MAX);
        limit.bucket.set_rate(limit.bucket.rate() * (1.0 + rise).powf(seconds), now);
        limit.raised_at = now;
        limit.bucket.take(samples as f64, now);
    }

    /// Removes samples from the average that were written too long ago.
    fn slide(&mut self, now: Duration) {
        if now > self.last + IDLE {
            (self.since, self.written) = (now, 0.0);
        }
        self.last = now;
        let elapsed = now.saturating_sub(self.since);
        if elapsed > WINDOW * 2 {
            self.written *= WINDOW.as_secs_f64() / elapsed.as_secs_f64();
            self.since = now - WINDOW;
        }
    }

    pub(super) fn accepted(&mut self, samples: u64, now: Duration) {
        self.slide(now);
        self.written += samples as f64;
    }

    pub(super) fn limited(
        &mut self,
        samples: u64,
        sent_at: Duration,
        retry_after: Option<Duration>,
        now: Duration,
    ) {
        self.slide(now);
        self.pause = self.pause.max(now + retry_after.unwrap_or_default().min(RETRY_AFTER_MAX));
        let before = self.limit.take();
        // Requests that were under way when the rate was lowered say nothing about the new rate.
        if now < self.unlimited || before.as_ref().is_some_and(|limit| sent_at < limit.lowered_at) {
            self.limit = before.filter(|_| now >= self.unlimited);
            return;
        }
        let seconds = now.saturating_sub(self.since).max(IDLE).as_secs_f64();
        let rate = (self.written / seconds * AFTER_429).max(self.slowest);
        let lowered = before.map_or(1, |limit| {
            let no_help = rate < NO_HELP * limit.lowered_to || rate <= self.slowest;
            if no_help { limit.lowered + 1 } else { 1 }
        });
        (self.since, self.written) = (now, 0.0);
        if lowered > LOWERED_MAX {
            self.unlimited = now + UNLIMITED;
            return;
        }
        let bucket = Bucket::in_debt(rate, samples as f64, now);
        self.limit = Some(Limit { bucket, lowered_at: now, raised_at: now, lowered_to: rate, lowered });
    }
}
