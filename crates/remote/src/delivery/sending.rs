//! Requests: encodes the requests of the streams, and keeps them until their answers.

use super::{Delivery, Kind, Stream};
use crate::outgoing::Outgoing;
use crate::output::{Encoded, Output};
use crate::queue::{Request, Source};
use model::Kinds;
use std::time::Duration;
use write_client::verdict::Verdict;

/// One of this many requests is of isolated lanes, if they have anything to send.
const ISOLATED_TURN: u32 = 8;

/// A request that is under way.
#[derive(Debug)]
pub(crate) struct Flight<M> {
    pub(crate) stream: u64,
    /// Whether the stream retries a parked entry.
    pub(crate) is_parked: bool,
    pub(crate) request: Request,
    pub(crate) encoded: Encoded<M>,
    pub(crate) sent_at: Duration,
}

impl<O: Output> Delivery<O> {
    /// Returns the next request, if one is to be sent now.
    ///
    /// The streams send in their order. If the pace allows only one request at a time, isolated lanes would
    /// never send anything, so each [`ISOLATED_TURN`]th request is one of theirs.
    pub(crate) fn begin_request(&mut self) -> Option<Flight<O::Message>> {
        if self.since_isolated >= ISOLATED_TURN - 1
            && let Some(flight) = self.begin_request_from(Stream::is_isolated_live)
        {
            return Some(flight);
        }
        self.begin_request_from(|_| true)
    }

    /// Returns the next request of the matching streams.
    fn begin_request_from(&mut self, is_wanted: impl Fn(&Stream) -> bool) -> Option<Flight<O::Message>> {
        let mut at = 0;
        while let Some(stream) = self.streams.get(at) {
            let number = stream.number;
            if is_wanted(stream)
                && let Some(flight) = self.begin_request_of(number)
            {
                self.had_turn(number);
                return Some(flight);
            }
            // If it had nothing to send, the stream of a parked entry has ended and was removed.
            at += usize::from(self.streams.get(at).is_some_and(|stream| stream.number == number));
        }
        None
    }

    /// Notes that the stream begins a request. The other isolated streams have their turns before it has
    /// another one.
    fn had_turn(&mut self, number: u64) {
        let Some(at) = self.streams.iter().position(|stream| stream.number == number) else { return };
        if !self.streams.get(at).is_some_and(Stream::is_isolated_live) {
            self.since_isolated = self.since_isolated.saturating_add(1);
            return;
        }
        self.since_isolated = 0;
        let stream = self.streams.remove(at);
        self.insert(stream);
    }

    fn begin_request_of(&mut self, number: u64) -> Option<Flight<O::Message>> {
        loop {
            let now = self.now();
            if self.pace.opens_at() > now {
                return None;
            }
            let stream = self.streams.iter_mut().find(|stream| stream.number == number)?;
            if self.is_live_held && stream.is_live() {
                return None;
            }
            let is_parked = matches!(stream.kind, Kind::Parked(_));
            let queue = &mut stream.queue;
            let mut request = queue.begin_request(now, &mut self.health)?;
            if let Some(limit) = self.settings.age_limit {
                // At each try, as in Prometheus: samples that became too old during an outage are not sent.
                let oldest = self.clock.now_ms().saturating_sub(limit.as_millis() as i64);
                let (mut expired, mut newest) = (Kinds::default(), None);
                let is_old = |outgoing: &Outgoing, index| outgoing.timestamp(index) < oldest;
                queue.expire(&mut request, is_old, |outgoing, index| {
                    newest = newest.max(Some(outgoing.timestamp(index)));
                    outgoing.point(index).inspect(|point| expired.count(&point.value));
                });
                self.stats.raise_sent(newest);
                self.stats.dropped_too_old.add(expired);
                if is_parked {
                    self.stats.aside_settled.add(expired);
                }
                self.stats.expired.add(expired);
            }
            let limit = request.whole.then(|| self.pace.request_bytes());
            let encoded = self.output.encode(queue.points(request.shard), limit, now);
            if request.whole {
                queue.trim(request.shard, encoded.taken);
            }
            if encoded.message.is_none() {
                self.not_sent(number, is_parked, request, &encoded, now);
                continue;
            }
            self.stats.requests_sent_again.add(u64::from(request.sent_before));
            if request.tries > 0 {
                self.stats.retried.add(encoded.kinds);
            }
            self.stats.plain_bytes.add(encoded.plain_bytes as u64);
            self.stats.verbatim.add(u64::from(encoded.is_original));
            self.pace.sent(encoded.bytes, encoded.sent().total(), now);
            return Some(Flight { stream: number, is_parked, request, encoded, sent_at: now });
        }
    }

    /// Settles a request that is not sent, because this version of the protocol can't carry its points, or
    /// because none of them is wanted any more.
    fn not_sent(
        &mut self,
        number: u64,
        is_parked: bool,
        request: Request,
        encoded: &Encoded<O::Message>,
        now: Duration,
    ) {
        self.stats.dropped_unsupported.add(encoded.unsupported);
        self.stats.raise_sent(encoded.newest);
        if let Some(stream) = self.streams.iter_mut().find(|stream| stream.number == number) {
            stream.queue.answer(request.shard, Verdict::Unsent, now, 0.0, &mut self.health, |_, _, _| {});
        }
        if is_parked {
            self.stats.aside_settled.add(encoded.unsupported);
            self.parked_answered(number, Verdict::Unsent);
        }
    }

    /// Returns the streams that need not wait for another one.
    pub(super) fn sending_streams(&self) -> impl Iterator<Item = &Stream> {
        self.streams.iter().filter(|stream| !(self.is_live_held && stream.is_live()))
    }

    /// Returns when a request may next be sent, if nothing else happens.
    pub(crate) fn next_wakeup(&self) -> Option<Duration> {
        let next = self.sending_streams().filter_map(|stream| stream.queue.next_wakeup(&self.health)).min();
        next.map(|at| at.max(self.pace.opens_at()))
    }

    /// Returns when the destination is tried next, while delivery waits for it.
    pub(crate) fn waits_until(&self) -> Option<Duration> {
        let sending = self.sending_streams().filter(|stream| stream.is_main());
        sending.filter_map(|stream| stream.queue.waits_until(&self.health)).min()
    }
}
