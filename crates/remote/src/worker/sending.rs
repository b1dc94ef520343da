//! Requests on their way out: what the queues name is encoded and sent, and kept until its answer.

use super::{Worker, queue_of};
use crate::batch::Encoded;
use crate::client::Post;
use crate::client::answer::Answer;
use crate::queue::{Outcome, Request};
use formats::remote_write::Protocol;
use futures_util::future::BoxFuture;
use http_client::Failure;
use model::Kinds;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What was sent, kept until its answer.
pub(super) struct Flight {
    /// The number of the queue.
    pub(super) queue: u64,
    /// Whether that is, or was, the side queue's.
    pub(super) is_aside: bool,
    pub(super) request: Request,
    pub(super) protocol: Protocol,
    pub(super) kinds: Kinds,
    pub(super) unsupported: Kinds,
    pub(super) without_start: u64,
    pub(super) plain_bytes: usize,
    pub(super) took: Duration,
    pub(super) result: Result<Answer, Failure>,
}

impl Worker {
    /// Sends what the queues name.
    pub(super) fn send_ready(&mut self) {
        let held = self.newest_first.held.then_some(self.main);
        if held.is_none() {
            self.send_ready_of(self.main);
        }
        if let Some(number) = self.aside.number() {
            self.send_ready_of(number);
        }
        if let Some(number) = self.backlog.as_ref().map(|backlog| backlog.number) {
            self.send_ready_of(number);
        }
        for index in 0..self.stragglers.len() {
            let straggler = self.stragglers.get(index).filter(|straggler| Some(straggler.parent) != held);
            if let Some(number) = straggler.map(|straggler| straggler.number) {
                self.send_ready_of(number);
            }
        }
    }

    fn send_ready_of(&mut self, number: u64) {
        loop {
            let now = self.clock.monotonic();
            if self.pace.opens_at() > now {
                return;
            }
            let is_aside = self.aside.number() == Some(number);
            let main = (self.main, &mut self.queue);
            let queue = queue_of(number, main, &mut self.backlog, &mut self.stragglers, &mut self.aside);
            let Some(queue) = queue else { return };
            let Some(request) = queue.poll(now) else { return };
            if let Some(limit) = self.age_limit {
                // At each try: after an outage what is too old by then is not sent, as in Prometheus.
                let oldest = self.clock.now_ms().saturating_sub(limit.as_millis() as i64);
                let mut expired = Kinds::default();
                let mut newest = None;
                queue.drop_unwanted(request.shard, |outgoing, index| {
                    let old = outgoing.point(index).filter(|point| point.timestamp < oldest);
                    newest = newest.max(old.map(|point| point.timestamp));
                    old.inspect(|point| expired.count(&point.value)).is_some()
                });
                self.stats.raise_sent(newest);
                self.stats.dropped_too_old.add(expired);
                if is_aside {
                    self.stats.aside_settled.add(expired);
                }
                self.stats.expired.add(expired);
            }
            let protocol = self.negotiator.choose(now);
            let most = self.request_bytes.min(self.pace.request_bytes());
            let limit = if request.whole { most } else { usize::MAX };
            let storage = &self.storage;
            let points = queue.points(request.shard);
            let encoded = self.batcher.encode(protocol, points, limit, |name| storage.metadata(name));
            if request.whole {
                queue.trim(request.shard, encoded.taken);
            }
            if encoded.body.is_empty() {
                // Nothing in it that this version can carry, or nothing left that may be sent.
                self.stats.dropped_unsupported.add(encoded.unsupported);
                self.stats.raise_sent(encoded.newest);
                queue.answer(request.shard, Outcome::Unsent, now, |_, _, _| {});
                if is_aside {
                    self.stats.aside_settled.add(encoded.unsupported);
                    self.aside_answered(None);
                }
                continue;
            }
            self.stats.requests_sent_again.add(u64::from(request.sent_before));
            if request.attempt > 0 {
                self.stats.retried.add(encoded.kinds);
            }
            self.stats.plain_bytes.add(encoded.plain_bytes as u64);
            self.pace.sent(encoded.body.len(), now);
            self.stats.verbatim.add(u64::from(encoded.verbatim));
            self.flights.push(self.fly((number, is_aside), request, protocol, encoded));
        }
    }

    fn fly(
        &self,
        (queue, is_aside): (u64, bool),
        request: Request,
        protocol: Protocol,
        encoded: Encoded,
    ) -> BoxFuture<'static, Flight> {
        let (client, clock, stats) = (self.client.clone(), self.clock.clone(), self.stats.clone());
        let wall = u64::try_from(clock.now_ms()).unwrap_or_default();
        let wall: SystemTime = UNIX_EPOCH + Duration::from_millis(wall);
        let Encoded { body, encoding, kinds, unsupported, without_start, plain_bytes, .. } = encoded;
        let post = Post { protocol, body, encoding, attempt: request.attempt };
        Box::pin(async move {
            let started = clock.monotonic();
            let result = client.post(post, wall, &stats.bytes).await;
            let took = clock.monotonic().saturating_sub(started);
            Flight {
                queue,
                is_aside,
                request,
                protocol,
                kinds,
                unsupported,
                without_start,
                plain_bytes,
                took,
                result,
            }
        })
    }
}
