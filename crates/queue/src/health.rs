//! What the answers so far say about the destination as a whole. All queues of a destination share one
//! [`Health`].

use std::time::Duration;
use write_client::verdict::Verdict;

/// No request is sent early to a destination that takes longer than this to answer.
pub const FAST_ANSWER: Duration = Duration::from_millis(200);
/// The pause after 401, 403, 404, 405, 407 or a redirect that is not followed. While access is denied, all
/// queues together send one request in this time.
pub const DENIED_INTERVAL: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct Health {
    /// When the newest successful request was sent. The time of its answer does not count: a request that was
    /// under way when another one failed says nothing about the time after that failure.
    last_success: Option<Duration>,
    closed: Option<Closed>,
    under_way: usize,
    sent_at: Option<Duration>,
    /// The last request succeeded within [`FAST_ANSWER`], or there was none.
    is_fast: bool,
}

/// Access is denied: one request at a time probes whether that has changed.
#[derive(Debug)]
struct Closed {
    /// When the request that was denied last was sent.
    denied: Duration,
    /// When the next probe may be sent.
    probe_at: Duration,
}

impl Default for Health {
    fn default() -> Self {
        Health { last_success: None, closed: None, under_way: 0, sent_at: None, is_fast: true }
    }
}

impl Health {
    pub fn last_success(&self) -> Option<Duration> {
        self.last_success
    }

    pub fn is_idle(&self) -> bool {
        self.under_way == 0
    }

    /// Returns true if access is denied, and no request succeeded since.
    pub fn is_closed(&self) -> bool {
        self.closed.is_some()
    }

    /// Returns the earliest time of the next request, as far as the destination as a whole is concerned.
    /// `None` while a probe has no answer yet.
    pub fn opens_at(&self) -> Option<Duration> {
        match &self.closed {
            None => Some(Duration::ZERO),
            Some(closed) => (self.under_way == 0).then_some(closed.probe_at),
        }
    }

    /// Returns when the next probe is sent, while access is denied.
    pub fn probe_at(&self) -> Option<Duration> {
        self.closed.as_ref().map(|closed| closed.probe_at)
    }

    /// Returns when a request may be sent early whose first point arrived at `since`. That requires that no
    /// request is under way, and that the destination answers fast.
    pub fn early_at(&self, since: Duration, linger: Duration, interval: Duration) -> Option<Duration> {
        let may = self.is_fast && self.under_way == 0;
        may.then(|| (since + linger).max(self.sent_at.map_or(since, |sent| sent + interval)))
    }

    /// Notes that a request is sent.
    pub fn sent(&mut self, now: Duration) {
        self.under_way += 1;
        self.sent_at = Some(now);
    }

    /// Notes the verdict on a request that was sent at `sent_at`.
    pub fn answered(&mut self, verdict: Verdict, sent_at: Duration, now: Duration) {
        self.under_way = self.under_way.saturating_sub(1);
        if verdict == Verdict::Unsent {
            return;
        }
        self.is_fast = verdict.is_success() && now.saturating_sub(sent_at) <= FAST_ANSWER;
        if verdict.is_success() {
            self.last_success = self.last_success.max(Some(sent_at));
        }
        if verdict.proves_access() && self.closed.as_ref().is_some_and(|closed| sent_at >= closed.denied) {
            self.closed = None;
        }
    }

    /// Notes that access was denied to a request that was sent at `sent_at`, of a batch that has failed since
    /// `since`. The destination then counts as denied, unless it has accepted other requests since then, and
    /// recently.
    pub fn denied(&mut self, since: Duration, sent_at: Duration, now: Duration) {
        let others_succeed =
            self.last_success.is_some_and(|success| success > since && now < success + DENIED_INTERVAL);
        if self.closed.is_some() || !others_succeed {
            let probe_at = self.probe_at().max(Some(now + DENIED_INTERVAL)).unwrap_or_default();
            self.closed = Some(Closed { denied: sent_at, probe_at });
        }
    }

    /// Delays the next probe until `at`, while access is denied.
    pub fn pause_until(&mut self, at: Duration) {
        if let Some(closed) = &mut self.closed {
            closed.probe_at = closed.probe_at.max(at);
        }
    }

    /// Lets a probe be sent now, because the credentials have changed.
    pub fn probe_now(&mut self, now: Duration) {
        if let Some(closed) = &mut self.closed {
            closed.probe_at = now;
        }
    }
}
