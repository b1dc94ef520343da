//! What the answers so far say of the destination as a whole. All queues of a destination share one [`Health`].

use std::time::Duration;
use write_client::verdict::Verdict;

/// A destination that takes longer to answer is not sent anything early.
pub const FAST_ANSWER: Duration = Duration::from_millis(200);
/// The pause after 401, 403, 404, 405, 407 or a redirect that is not followed. While nothing is accepted there is one request in this time, for all queues.
pub const DENIED_INTERVAL: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug)]
pub struct Health {
    /// When the newest request that succeeded had been sent. Not when it was answered: a request that was under way
    /// when another one failed says nothing about the time after that failure.
    last_success: Option<Duration>,
    closed: Option<Closed>,
    under_way: usize,
    /// When the last request was sent.
    sent_at: Option<Duration>,
    /// The last request succeeded within [`FAST_ANSWER`], or there was none.
    is_fast: bool,
}

/// Our credentials are refused: only one request at a time asks whether that has changed.
#[derive(Debug)]
struct Closed {
    /// When the request was sent that was refused last.
    denied: Duration,
    /// When the next one may be sent.
    probe_at: Duration,
}

impl Default for Health {
    fn default() -> Self {
        Health { last_success: None, closed: None, under_way: 0, sent_at: None, is_fast: true }
    }
}

impl Health {
    /// See the field.
    pub fn last_success(&self) -> Option<Duration> {
        self.last_success
    }

    /// Whether no request is under way.
    pub fn is_idle(&self) -> bool {
        self.under_way == 0
    }

    /// Whether our credentials are refused, and nothing was accepted since.
    pub fn is_closed(&self) -> bool {
        self.closed.is_some()
    }

    /// The earliest time of the next request, as far as the destination as a whole is concerned. `None` while the
    /// answer to a probe has to come first.
    pub fn opens_at(&self) -> Option<Duration> {
        match &self.closed {
            None => Some(Duration::ZERO),
            Some(closed) => (self.under_way == 0).then_some(closed.probe_at),
        }
    }

    /// When the next probe is sent, while our credentials are refused.
    pub fn probe_at(&self) -> Option<Duration> {
        self.closed.as_ref().map(|closed| closed.probe_at)
    }

    /// When a request may be sent early that is wanted since `since`: nothing is under way, and the destination
    /// answers fast.
    pub fn early_at(&self, since: Duration, linger: Duration, interval: Duration) -> Option<Duration> {
        let may = self.is_fast && self.under_way == 0;
        may.then(|| (since + linger).max(self.sent_at.map_or(since, |sent| sent + interval)))
    }

    /// A request is sent.
    pub fn sent(&mut self, now: Duration) {
        self.under_way += 1;
        self.sent_at = Some(now);
    }

    /// A request that was sent at `sent_at` is answered.
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

    /// Our credentials were refused in a request that was sent at `sent_at`, of a batch that has failed since `since`.
    /// That closes the destination, unless it has accepted other requests since then, and lately.
    pub fn denied(&mut self, since: Duration, sent_at: Duration, now: Duration) {
        let others_succeed =
            self.last_success.is_some_and(|success| success > since && now < success + DENIED_INTERVAL);
        if self.closed.is_some() || !others_succeed {
            let probe_at = self.probe_at().max(Some(now + DENIED_INTERVAL)).unwrap_or_default();
            self.closed = Some(Closed { denied: sent_at, probe_at });
        }
    }

    /// While our credentials are refused: the next probe waits at least until then.
    pub fn pause_until(&mut self, at: Duration) {
        if let Some(closed) = &mut self.closed {
            closed.probe_at = closed.probe_at.max(at);
        }
    }

    /// Our credentials have changed: ask again now.
    pub fn probe_now(&mut self, now: Duration) {
        if let Some(closed) = &mut self.closed {
            closed.probe_at = now;
        }
    }
}
