//! What an answer means: for the queue, for the negotiation, for numbers and words.

use super::refused::{About, Refused};
use super::{Flight, Worker, all_queues_of};
use crate::batch::REQUEST_BYTES_MIN;
use crate::client::answer::{self, Answer, Verdict};
use crate::client::protocol::Next;
use crate::disk::keep::Keep;
use crate::outgoing::Outgoing;
use crate::queue::{Outcome, PROBE_AFTER, Reached};
use crate::refusal::{Refusal, RefusedReason};
use crate::stats::State;
use model::Kinds;
use std::time::Duration;

/// A destination that refuses samples, and has written none for this long, refuses everything.
const REFUSING_AFTER: Duration = Duration::from_secs(10);

impl Worker {
    /// Tells the queue what became of a request.
    pub(super) fn answered(&mut self, flight: Flight) {
        let now = self.clock.monotonic();
        self.stats.requests.add(1);
        self.stats.request_duration.observe(flight.took);
        let words = match &flight.result {
            Ok(answer) => answer.shown(),
            Err(failure) => failure.to_string(),
        };
        let mut refused_settled = Kinds::default();
        let outcome = self.outcome(&flight, now, &words, &mut refused_settled);
        let is_aside = flight.is_aside;
        if matches!(outcome, Outcome::Delivered | Outcome::Settled) {
            self.let_know(&flight, now);
            if !is_aside {
                self.newest_first.taken_at = Some(now);
            }
        }
        let refusal = refusal(&flight);
        let about = About {
            time: self.clock.now_ms(),
            words: &words,
            fits_a_repeat: refusal.reason.fits_a_repeat(),
            is_aside,
            sent: flight.kinds.minus(flight.unsupported),
            settled: refused_settled,
        };
        let mut refused = Refused::default();
        let Some(queue) = self.queue_mut(flight.queue) else {
            // The side queue gives an entry up while requests of it are under way.
            model::invariant!(is_aside, "a queue outlives its requests", queue = flight.queue);
            return;
        };
        let mut settle = |outgoing: &Outgoing, index, fate| refused.take(&about, outgoing, index, fate);
        if outcome == Outcome::Resend && refusal.reason == RefusedReason::NativeHistogramsDisabled {
            queue.refuse_some(flight.request.shard, Outgoing::is_histogram, &mut settle);
        }
        queue.answer(flight.request.shard, outcome, now, settle);
        self.stats.raise_sent(refused.newest);
        if matches!(outcome, Outcome::Settled | Outcome::Refused { .. } | Outcome::RefusedWhole) && !is_aside
        {
            self.was_refused(refused.is_loss(&about), now, &words);
        }
        refused.end_settled(&about);
        let settled = refused_settled.total();
        self.stats.refused_by.add(refusal, refused.kinds.total() + settled);
        self.count_refused(&refused, refused_settled, &words);
        let mut keep = Keep { lines: refused.lines, ..Keep::default() };
        if let Some(poisoned) = refused.poisoned {
            if !is_aside {
                self.stats.set_aside.add(poisoned.kinds());
            }
            self.put_aside(poisoned, &words, &mut keep);
        }
        self.keeper.put(keep);
        if is_aside {
            self.aside_answered(Some(outcome));
        }
        // Before anything else is sent, so that a kill costs no more than what is under way then.
        self.write_positions();
    }

    fn count_refused(&self, refused: &Refused, settled: Kinds, words: &str) {
        // In this order: what is read between the two does not take a repeat for a loss.
        self.stats.refused_or_already_written.add(refused.maybe);
        self.stats.refused.add(refused.kinds.plus(settled));
        self.stats.refused_presumed.add(refused.presumed);
        self.stats.aside_settled.add(refused.from_aside);
        let Some(example) = &refused.example else { return };
        self.stats.set_error(format!("refused for good: {example}: {words}"));
        let count = refused.kinds.total();
        tracing::warn!(destination = %self.name, count, %example, answer = %words, "refused for good");
    }

    /// What passes in one queue says of what fails in another that it is not the destination that is away.
    fn let_know(&mut self, flight: &Flight, now: Duration) {
        let sent_at = now.saturating_sub(flight.took);
        let main = (self.main, &mut self.queue);
        let all = all_queues_of(main, &mut self.backlog, &mut self.stragglers, &mut self.aside);
        all.filter(|(number, _)| *number != flight.queue).for_each(|(_, queue)| queue.others_pass(sent_at));
    }

    /// `refused_settled` becomes how many of the request the receiver says it refused, where it says so. They are
    /// counted by the caller.
    fn outcome(
        &mut self,
        flight: &Flight,
        now: Duration,
        words: &str,
        refused_settled: &mut Kinds,
    ) -> Outcome {
        let sent = flight.kinds.minus(flight.unsupported);
        let answer = match &flight.result {
            Ok(answer) => answer,
            Err(failure) => {
                let reached = if failure.is_sent { Reached::NoAnswer } else { Reached::Nothing };
                return self.retry(flight, None, reached, words);
            }
        };
        let confirmed = self.negotiator.is_confirmed();
        match answer::verdict(answer, flight.protocol, confirmed, self.resend) {
            Verdict::Delivered => {
                self.taken(flight, sent);
                Outcome::Delivered
            }
            Verdict::Settled(written) => {
                let written = written.at_most(sent);
                let refused = sent.minus(written);
                self.taken(flight, written);
                if refused.total() == 0 {
                    return Outcome::Delivered;
                }
                let count = refused.total();
                *refused_settled = refused;
                self.stats.set_error(format!("refused for good: {count} of a request: {words}"));
                tracing::warn!(destination = %self.name, count, answer = %words, "refused for good");
                Outcome::Settled
            }
            Verdict::Retry => self.retry(flight, answer.retry_after, Reached::by(answer.status), words),
            Verdict::Refused => {
                self.negotiator.understood(flight.protocol);
                Outcome::Refused { fits_a_repeat: refusal(flight).reason.fits_a_repeat() }
            }
            Verdict::RefusedWhole => Outcome::RefusedWhole,
            Verdict::NoHistograms => self.without_histograms(flight, answer, words),
            Verdict::TooLarge => {
                let half = (flight.plain_bytes.min(self.request_bytes) / 2).max(REQUEST_BYTES_MIN);
                self.request_bytes = half.min(self.request_bytes);
                self.stats.set_error(words.to_string());
                Outcome::TooLarge
            }
            Verdict::OtherProtocol => match self.negotiator.not_understood(flight.protocol, now) {
                Next::Resend => {
                    let to = self.negotiator.current().name();
                    tracing::info!(destination = %self.name, answer = %words, to, "another version of the protocol");
                    Outcome::Resend
                }
                Next::Hold if self.resend.is_final(answer.status) => Outcome::RefusedWhole,
                Next::Hold => self.denied(
                    flight,
                    format!("{words} (it understands no version of remote write that may be sent)"),
                ),
            },
            Verdict::Denied => self.denied(flight, words.to_string()),
        }
    }

    /// The receiver accepts no native histograms, and has not written the rest of the request either.
    fn without_histograms(&mut self, flight: &Flight, answer: &Answer, words: &str) -> Outcome {
        if flight.kinds.histograms == 0 {
            return self.retry(flight, answer.retry_after, Reached::by(answer.status), words);
        }
        if flight.kinds.histograms == flight.kinds.total() {
            return Outcome::RefusedWhole;
        }
        // A search finds the histograms by itself. Nothing of its request was written.
        if flight.request.whole { Outcome::Resend } else { Outcome::Refused { fits_a_repeat: true } }
    }

    /// The destination refused something for good. It refuses samples where it has refused other ones than repeats of
    /// what it had written, and has written nothing for a while.
    fn was_refused(&mut self, is_loss: bool, now: Duration, words: &str) {
        let accepts = self.accepted_at.is_some_and(|at| now < at + REFUSING_AFTER);
        if is_loss && !accepts {
            let reason = format!("{words} ({})", self.client.url());
            self.stats.set_state(State::Refusing { reason });
        } else {
            self.stats.set_reached();
        }
    }

    /// The destination wrote this much of what was sent.
    fn taken(&mut self, flight: &Flight, taken: Kinds) {
        self.negotiator.understood(flight.protocol);
        self.stats.delivered.add(taken);
        self.stats.dropped_unsupported.add(flight.unsupported);
        self.stats.without_start.add(flight.without_start);
        self.stats.set_protocol(flight.protocol);
        if !has_samples(taken) {
            return;
        }
        let sent_at = self.clock.monotonic().saturating_sub(flight.took);
        self.accepted_at = self.accepted_at.max(Some(sent_at));
        let now = self.clock.now_ms();
        if self.stats.first_accepted_ms.get() == 0 {
            self.stats.first_accepted_ms.set(now);
            tracing::debug!(destination = %self.name, protocol = flight.protocol.name(), "the first samples were accepted");
        }
        self.stats.last_accepted_ms.set(now);
        if self.stats.set_state(State::Delivering) {
            tracing::debug!(destination = %self.name, "delivering");
        }
    }

    fn retry(&mut self, flight: &Flight, after: Option<Duration>, reached: Reached, words: &str) -> Outcome {
        self.stats.requests_retried.add(1);
        let reason = format!("{words} ({})", self.client.url());
        self.stats.set_error(reason.clone());
        if self.passes_beside(flight, reached) {
            if self.stats.set_stuck(Some(reason)) {
                tracing::warn!(
                    destination = %self.name, reason = %words,
                    "the destination fails over some series and accepts others; trying again"
                );
            }
            return Outcome::Retry { reached, after, jitter: fastrand::f64() };
        }
        // What is tried now and then is not what the destination does.
        if !flight.is_aside && self.stats.set_state(State::Waiting { reason }) {
            tracing::warn!(destination = %self.name, reason = %words, "waiting, and trying again");
        }
        Outcome::Retry { reached, after, jitter: fastrand::f64() }
    }

    /// Whether the destination has written other samples since what this request is about first failed: then it is not
    /// away, as long as it answers. One that does not answer may be away unless it has written something lately.
    fn passes_beside(&mut self, flight: &Flight, reached: Reached) -> bool {
        let now = self.clock.monotonic();
        let since = self.queue_mut(flight.queue).and_then(|queue| queue.failing_since(flight.request.shard));
        let since = since.unwrap_or(now.saturating_sub(flight.took));
        let answers = reached == Reached::Receiver;
        !flight.is_aside
            && self.accepted_at.is_some_and(|at| at > since && (answers || now < at + PROBE_AFTER))
    }

    fn denied(&mut self, flight: &Flight, words: String) -> Outcome {
        let reason = format!("{words} ({})", self.client.url());
        self.stats.set_error(reason.clone());
        if !flight.is_aside {
            self.stats.set_state(State::Denied { reason });
            tracing::error!(destination = %self.name, answer = %words, "the destination refuses; asking it once a minute");
        }
        Outcome::Denied
    }
}

/// Whether there is a sample or native histogram among these.
fn has_samples(kinds: Kinds) -> bool {
    kinds.samples + kinds.histograms > 0
}

/// What the answer says of what it refuses.
fn refusal(flight: &Flight) -> Refusal {
    flight.result.as_ref().map_or(Refusal::of(0, ""), |answer| Refusal::of(answer.status, &answer.words))
}
