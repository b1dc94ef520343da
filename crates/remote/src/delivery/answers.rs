//! What a reply means: for its stream, for the counters, and for the status text.

use super::refused::{About, Refused};
use super::{Delivery, Flight};
use crate::disk::keep::Keep;
use crate::outgoing::Outgoing;
use crate::output::{Judged, Output};
use crate::queue::PROBE_AFTER;
use crate::queue::backoff::RETRY_AFTER_MAX;
use crate::stats::State;
use model::Kinds;
use std::time::Duration;
use write_client::verdict::{Reached, Verdict};

/// A destination that refuses samples, and has written none for this long, is shown as refusing everything.
const REFUSING_AFTER: Duration = Duration::from_secs(10);

impl<O: Output> Delivery<O> {
    pub(crate) fn answered(&mut self, flight: Flight<O::Message>, reply: &O::Reply) {
        let now = self.now();
        self.stats.requests.add(1);
        self.stats.request_duration.observe(now.saturating_sub(flight.sent_at));
        let Flight { stream: number, is_parked, request, encoded, .. } = &flight;
        let (number, is_parked) = (*number, *is_parked);
        let Judged { verdict, words, refusal } = self.output.judge(encoded, request.whole, reply, now);
        self.show(&flight, verdict, &words, now);
        let refused_parts =
            if let Verdict::Partial { refused } = verdict { refused } else { Kinds::default() };
        let about = About {
            time: self.clock.now_ms(),
            words: &words,
            fits_a_repeat: refusal.reason.fits_a_repeat(),
            is_parked,
            sent: encoded.sent(),
            partial: refused_parts,
        };
        let mut refused = Refused::default();
        let Some(stream) = self.streams.iter_mut().find(|stream| stream.number == number) else {
            // The stream of a parked entry may end while requests of it are under way. The entry is retried
            // as a whole.
            model::invariant!(is_parked, "a stream outlives its requests", stream = number);
            self.health.answered(verdict, flight.sent_at, now);
            if verdict.is_success() {
                self.stats.aside_settled.add(encoded.sent().minus(refused_parts));
            }
            return;
        };
        let queue = &mut stream.queue;
        let mut settle = |outgoing: &Outgoing, index, fate| refused.take(&about, outgoing, index, fate);
        if verdict == Verdict::HistogramsRefused {
            queue.refuse_some(request.shard, Outgoing::is_histogram, &mut settle);
        }
        let jitter = self.rng.f64();
        let isolate = queue.answer(request.shard, verdict, now, jitter, &mut self.health, settle);
        self.stats.raise_sent(refused.newest);
        let is_refusal = refused.kinds.total() > 0
            || matches!(
                verdict,
                Verdict::Partial { .. }
                    | Verdict::Refused { .. }
                    | Verdict::RefusedWhole
                    | Verdict::HistogramsRefused
            );
        if is_refusal && !is_parked {
            self.was_refused(refused.is_loss(&about), now, &words);
        }
        refused.end_partial(&about);
        self.stats.refused_by.add(refusal, refused.kinds.total() + refused_parts.total());
        self.count_refused(&refused, refused_parts, &words);
        let mut keep = Keep { lines: refused.lines, ..Keep::default() };
        if let Some(parked) = refused.parked {
            if !is_parked {
                self.stats.set_aside.add(parked.kinds());
            }
            self.park(parked, &words, &mut keep);
        }
        self.keeps.push(keep);
        if let Some(lanes) = isolate {
            self.isolate(number, request.shard, &lanes);
        }
        if is_parked {
            self.parked_answered(number, verdict);
        }
        self.end_streams();
    }

    fn count_refused(&mut self, refused: &Refused, partial: Kinds, words: &str) {
        // In this order, so that a reader between the two does not take a repeat for a loss.
        self.stats.refused_or_already_written.add(refused.maybe);
        self.stats.refused.add(refused.kinds.plus(partial));
        self.stats.refused_presumed.add(refused.presumed);
        self.stats.aside_settled.add(refused.from_parked);
        let Some(example) = &refused.example else { return };
        self.stats.set_error(format!("refused for good: {example}: {words}"));
        let count = refused.kinds.total();
        tracing::warn!(destination = %self.name, count, %example, answer = %words, "refused for good");
    }

    /// Updates the status by a reply.
    fn show(&mut self, flight: &Flight<O::Message>, verdict: Verdict, words: &str, now: Duration) {
        let sent = flight.encoded.sent();
        match verdict {
            Verdict::Delivered => self.written(flight, sent, now),
            Verdict::Partial { refused } => {
                self.written(flight, sent.minus(refused), now);
                let count = refused.total();
                self.stats.set_error(format!("refused for good: {count} of a request: {words}"));
                tracing::warn!(destination = %self.name, count, answer = %words, "refused for good");
            }
            Verdict::Failed { reached, retry_after } => {
                if reached == Reached::Limit {
                    self.pace.limited(sent.total(), flight.sent_at, retry_after, now);
                }
                self.show_failure(flight, reached, retry_after, words, now);
            }
            Verdict::Denied => {
                let reason = format!("{words} ({})", self.output.endpoint());
                self.stats.set_error(reason.clone());
                if self.accepts_others(flight, Reached::Receiver, now) {
                    self.show_stuck(reason, words);
                } else if !flight.is_parked {
                    self.stats.set_state(State::Denied { reason });
                    tracing::error!(
                        destination = %self.name, answer = %words,
                        "the destination refuses; asking it once a minute"
                    );
                }
            }
            Verdict::TooLarge => self.stats.set_error(words.to_string()),
            Verdict::Refused { .. }
            | Verdict::RefusedWhole
            | Verdict::HistogramsRefused
            | Verdict::Resend
            | Verdict::Unsent => {}
        }
    }

    /// Notes the samples of a request that the destination has written.
    fn written(&mut self, flight: &Flight<O::Message>, written: Kinds, now: Duration) {
        let encoded = &flight.encoded;
        self.pace.accepted(written.total(), now);
        self.stats.delivered.add(written);
        self.stats.dropped_unsupported.add(encoded.unsupported);
        self.stats.without_start.add(encoded.without_start);
        if !flight.is_parked {
            self.written_at = Some(now);
        }
        if written.samples + written.histograms == 0 {
            return;
        }
        self.accepted_at = self.accepted_at.max(Some(flight.sent_at));
        let now_ms = self.clock.now_ms();
        if self.stats.first_accepted_ms.get() == 0 {
            self.stats.first_accepted_ms.set(now_ms);
            tracing::debug!(destination = %self.name, "the first samples were accepted");
        }
        self.stats.last_accepted_ms.set(now_ms);
        if self.stats.set_state(State::Delivering) {
            tracing::debug!(destination = %self.name, "delivering");
        }
    }

    /// Notes that the destination refused samples for good. The status becomes "refusing" if these were not
    /// just repeats, and the destination has written nothing for a while.
    fn was_refused(&mut self, is_loss: bool, now: Duration, words: &str) {
        let accepts = self.accepted_at.is_some_and(|at| now < at + REFUSING_AFTER);
        if is_loss && !accepts {
            let reason = format!("{words} ({})", self.output.endpoint());
            self.stats.set_state(State::Refusing { reason });
        } else {
            self.stats.set_reached();
        }
    }

    fn show_failure(
        &mut self,
        flight: &Flight<O::Message>,
        reached: Reached,
        retry_after: Option<Duration>,
        words: &str,
        now: Duration,
    ) {
        self.stats.requests_retried.add(1);
        let accepts_others = self.accepts_others(flight, reached, now);
        // After 429 all requests wait. After other failures only those of the shard wait.
        let is_for_all = reached == Reached::Limit || !accepts_others && !flight.is_parked;
        if let Some(pause) = retry_after.filter(|_| is_for_all) {
            self.pause_until = self.pause_until.max(now + pause.min(RETRY_AFTER_MAX));
        }
        let reason = format!("{words} ({})", self.output.endpoint());
        self.stats.set_error(reason.clone());
        if accepts_others {
            return self.show_stuck(reason, words);
        }
        // A failed retry of parked samples says nothing about the destination.
        if !flight.is_parked && self.stats.set_state(State::Waiting { reason }) {
            tracing::warn!(destination = %self.name, reason = %words, "waiting, and trying again");
        }
    }

    fn show_stuck(&self, reason: String, words: &str) {
        if self.stats.set_stuck(Some(reason)) {
            tracing::warn!(
                destination = %self.name, reason = %words,
                "the destination fails over some series and accepts others; trying again"
            );
        }
    }

    /// Returns true if the destination has written other samples since the data of this request first failed.
    /// Then the destination is not away, as long as it answers. If it does not answer, it may be away unless
    /// it has recently written samples.
    fn accepts_others(&self, flight: &Flight<O::Message>, reached: Reached, now: Duration) -> bool {
        let stream = self.streams.iter().find(|stream| stream.number == flight.stream);
        let since = stream.and_then(|stream| stream.queue.failing_since(flight.request.shard));
        let since = since.unwrap_or(flight.sent_at);
        let answers = matches!(reached, Reached::Receiver | Reached::Limit);
        !flight.is_parked
            && self.accepted_at.is_some_and(|at| at > since && (answers || now < at + PROBE_AFTER))
    }
}
