//! What an answer means for the points of its request.

use super::{NARROWED_AFTER, PARKED_AFTER, Queue, SMALLEST_BATCH, Source};
use crate::attempt::{Attempt, Failing};
use crate::backoff;
use crate::chunks::Ref;
use crate::fate::{Fate, REFUSED};
use crate::health::{DENIED_INTERVAL, Health};
use crate::lanes::{LANES, Mask, lane_of};
use crate::narrow::{Answer, Goal, Known};
use std::collections::HashSet;
use std::time::Duration;
use write_client::verdict::{Reached, Verdict};

impl<C: Source> Queue<C> {
    /// Takes the verdict on the request under way in `shard`. Calls `settle` for each point that the verdict
    /// settles, in the log's order. `jitter` is between 0 and 1, see [`backoff::delay`].
    ///
    /// Returns the lanes of the shard that should be isolated with [`Queue::split`].
    pub fn answer(
        &mut self,
        shard: usize,
        verdict: Verdict,
        now: Duration,
        jitter: f64,
        health: &mut Health,
        mut settle: impl FnMut(&C, u32, Fate),
    ) -> Option<Mask> {
        let index = shard;
        let under_way = self.shards.get_mut(index).and_then(|shard| {
            let attempt = shard.attempt.as_mut().filter(|attempt| attempt.under_way)?;
            attempt.under_way = false;
            Some((shard.sent_at, attempt.batch.len(), attempt.narrow.is_some()))
        });
        let Some((sent_at, points, is_narrowing)) = under_way else {
            model::invariant!(false, "an answer belongs to a request that is under way", shard = index);
            return None;
        };
        health.answered(verdict, sent_at, now);
        let settle = &mut settle;
        let isolate = match verdict {
            Verdict::Delivered => self.request_settled(index, Fate::Delivered, now, settle),
            Verdict::Partial { .. } => {
                self.request_settled(index, Fate::Partial { maybe_written: false }, now, settle)
            }
            Verdict::Unsent => self.request_settled(index, Fate::Unsent, now, settle),
            Verdict::Resend | Verdict::HistogramsRefused => {
                self.pause(index, now);
                None
            }
            Verdict::Failed { reached, retry_after } => {
                let tries = self.note_try(index, reached);
                let until = now + self.backoff(tries, retry_after, jitter);
                self.pause(index, until);
                // While access is denied, the pauses of shards are ignored, so the probe has to keep this
                // pause.
                health.pause_until(until);
                self.failed(index, now, health, settle)
            }
            Verdict::Denied => {
                let tries = self.note_try(index, Reached::Nothing);
                // Parked points have failed before while others succeeded, so a denial of them proves nothing
                // about access.
                if !self.settings.was_parked || health.is_closed() {
                    health.denied(self.failing_since(index).unwrap_or(sent_at), sent_at, now);
                }
                // While other requests are accepted, narrowing continues after short pauses.
                let goes_on = is_narrowing && !health.is_closed();
                let pause = if goes_on { self.backoff(tries, None, jitter) } else { DENIED_INTERVAL };
                self.pause(index, now + pause);
                self.failed(index, now, health, settle)
            }
            Verdict::RefusedWhole if !is_narrowing => self.request_settled(index, REFUSED, now, settle),
            Verdict::TooLarge if points > 1 && !is_narrowing => {
                let half = (points / 2).max(1);
                if let Some(shard) = self.shards.get_mut(index) {
                    shard.limit = half;
                }
                self.pause(index, now);
                self.trim(index, half);
                None
            }
            Verdict::Refused { .. } | Verdict::RefusedWhole | Verdict::TooLarge => {
                // A receiver that refuses a request because of one sample may have written the others.
                if verdict == (Verdict::Refused { fits_a_repeat: false }) {
                    self.note_request_tried(index);
                }
                self.troubled_at = Some(now);
                if is_narrowing {
                    self.narrowed(index, Answer::Refused, REFUSED, now, settle)
                } else if self.begin_narrowing(index, Goal::Refuse) {
                    self.restart_tries(index, now);
                    None
                } else {
                    let settled = self.request_settled(index, REFUSED, now, settle);
                    if verdict == Verdict::TooLarge {
                        self.pause_if_all_is_too_large(index, now, jitter);
                    }
                    settled
                }
            }
        };
        // Lanes that are to be isolated must stay in this shard.
        if isolate.is_none() {
            self.move_lanes(index);
        }
        isolate
    }

    pub(super) fn attempt_mut(&mut self, index: usize) -> Option<&mut Attempt> {
        self.shards.get_mut(index)?.attempt.as_mut()
    }

    fn backoff(&self, tries: u32, retry_after: Option<Duration>, jitter: f64) -> Duration {
        backoff::delay(self.settings.min_backoff, self.settings.max_backoff, tries, retry_after, jitter)
    }

    fn pause(&mut self, index: usize, until: Duration) {
        if let Some(shard) = self.shards.get_mut(index) {
            shard.not_before = until;
        }
    }

    /// A receiver to which every request is too large must not get one request per sample at full speed.
    fn pause_if_all_is_too_large(&mut self, index: usize, now: Duration, jitter: f64) {
        let Some(shard) = self.shards.get_mut(index) else { return };
        shard.too_large = shard.too_large.saturating_add(1);
        let tries = shard.too_large;
        let pause = self.backoff(tries, None, jitter);
        self.pause(index, now + pause);
    }

    fn restart_tries(&mut self, index: usize, now: Duration) {
        if let Some(attempt) = self.attempt_mut(index) {
            attempt.tries = 0;
        }
        self.pause(index, now);
    }

    /// Notes a failed try. Returns the number of failed tries.
    fn note_try(&mut self, index: usize, reached: Reached) -> u32 {
        if reached.may_be_written() {
            self.note_request_tried(index);
        }
        let Some(attempt) = self.attempt_mut(index) else { return 1 };
        attempt.sent_before |= reached != Reached::Nothing;
        attempt.tries = attempt.tries.saturating_add(1);
        attempt.tries
    }

    /// Decides whether a request failed because of the destination or because of its data.
    fn failed(
        &mut self,
        index: usize,
        now: Duration,
        health: &Health,
        settle: &mut impl FnMut(&C, u32, Fate),
    ) -> Option<Mask> {
        self.troubled_at = Some(now);
        let (park, narrow) = (self.settings.park, self.settings.narrow);
        let attempt = self.attempt_mut(index)?;
        let failing = attempt.failing.get_or_insert(Failing::new(now));
        let others_succeeded = failing.again(health, now);
        let Failing { since, beside, .. } = *failing;
        match attempt.narrow.as_ref().map(|narrow| narrow.goal()) {
            Some(Goal::Isolate) => self.narrowed(index, Answer::Failed, Fate::Parked, now, settle),
            // Without a success in between, the destination itself may be failing.
            Some(Goal::Park) if others_succeeded => {
                self.narrowed(index, Answer::Failed, Fate::Parked, now, settle)
            }
            Some(Goal::Refuse) if now >= since + NARROWED_AFTER => {
                // Narrowing can't find the refused points, because other points of the batch fail.
                self.stop_narrowing(index);
                None
            }
            Some(Goal::Park | Goal::Refuse) => None,
            None if park && beside >= PARKED_AFTER => {
                if !self.begin_narrowing(index, Goal::Park) && others_succeeded {
                    return self.request_settled(index, Fate::Parked, now, settle);
                }
                None
            }
            // A batch that must not be narrowed is isolated with all lanes of its shard.
            None if !narrow && now >= since + NARROWED_AFTER && !beside.is_zero() => {
                let mut mask = [false; LANES];
                for (lane, is_own) in self.lanes.iter().zip(&mut mask) {
                    *is_own = lane.is_served && lane.shard == index;
                }
                Some(mask)
            }
            None => None,
        }
    }

    /// Settles all points of the request.
    fn request_settled(
        &mut self,
        index: usize,
        fate: Fate,
        now: Duration,
        settle: &mut impl FnMut(&C, u32, Fate),
    ) -> Option<Mask> {
        if self.attempt_mut(index)?.narrow.is_some() {
            let answer = if fate == Fate::Unsent { Answer::Unsent } else { Answer::Accepted };
            return self.narrowed(index, answer, fate, now, settle);
        }
        let most = self.settings.max_points.max(1);
        let shard = self.shards.get_mut(index)?;
        if fate != REFUSED {
            shard.limit = (shard.limit * 2).min(most);
            shard.too_large = 0;
        }
        shard.not_before = Duration::ZERO;
        shard.drawn_to = None;
        for at in shard.attempt.take()?.batch {
            self.settle(at, fate, settle);
        }
        None
    }

    /// Takes the answer to the request of a batch that is being narrowed. `fate` is that of the points it
    /// settles.
    fn narrowed(
        &mut self,
        index: usize,
        answer: Answer,
        fate: Fate,
        now: Duration,
        settle: &mut impl FnMut(&C, u32, Fate),
    ) -> Option<Mask> {
        let attempt = self.attempt_mut(index)?;
        let narrow = attempt.narrow.as_mut()?;
        let request = narrow.request().to_vec();
        let before = narrow.known().to_vec();
        narrow.answer(answer);
        let (after, has_ended) = (narrow.known().to_vec(), narrow.request().is_empty());
        let presumed =
            if narrow.goal() == Goal::Park { Fate::Parked } else { Fate::Presumed { maybe_written: false } };
        // Only failures make the pauses grow.
        if answer != Answer::Failed {
            attempt.tries = 0;
        }
        if answer != Answer::Failed && narrow.goal() == Goal::Refuse {
            // Only the request that has its answer now had failed, and no other part of the batch.
            attempt.failing = None;
        }
        let batch = attempt.batch.clone();
        for (position, (at, (before, after))) in batch.iter().zip(before.iter().zip(&after)).enumerate() {
            if *before == Known::Open && after.is_settled() {
                let was_sent = request.binary_search(&(position as u32)).is_ok();
                self.settle(*at, if was_sent { fate } else { presumed }, settle);
            }
        }
        if answer != Answer::Failed {
            self.pause(index, now);
        }
        if has_ended { self.narrowing_ended(index, now) } else { None }
    }

    /// Puts the open points back. Returns the lanes that should be isolated, so that they do not delay the
    /// others again.
    fn narrowing_ended(&mut self, index: usize, now: Duration) -> Option<Mask> {
        let mut attempt = self.shards.get_mut(index)?.attempt.take()?;
        let open: Vec<Ref> = attempt.unsettled().collect();
        let held: HashSet<Ref> = attempt.held().collect();
        let narrow = attempt.narrow.take()?;
        let goal = narrow.goal();
        let mut bad = [false; LANES];
        for (point, known) in narrow.points().iter().zip(narrow.known()) {
            let is_bad = matches!(known, Known::Culprit | Known::Presumed | Known::Held);
            if let Some(bad) = bad.get_mut(usize::from(lane_of(point.series))) {
                *bad |= is_bad;
            }
        }
        if goal == Goal::Refuse {
            let smaller = self.settings.max_points.clamp(1, SMALLEST_BATCH);
            let shard = self.shards.get_mut(index)?;
            if !open.is_empty() {
                shard.limit = (shard.limit / 4).max(smaller);
            }
            self.put_back(index, open);
            return Some(bad);
        }
        if open.is_empty() {
            return None;
        }
        // Without an answer the search has found nothing.
        let is_reachable = narrow.has_answer();
        if let Some(failing) = attempt.failing.as_mut().filter(|_| is_reachable) {
            // Narrowing costs requests, so the next one begins after twice the time.
            failing.narrow_at = now + now.saturating_sub(failing.since).max(NARROWED_AFTER);
        }
        if goal == Goal::Park || !is_reachable {
            attempt.batch = open;
            self.shards.get_mut(index)?.attempt = Some(attempt);
            return None;
        }
        let (held, others): (Vec<Ref>, Vec<Ref>) = open.into_iter().partition(|at| held.contains(at));
        if !held.is_empty() {
            attempt.batch = held;
            self.shards.get_mut(index)?.attempt = Some(attempt);
        }
        // These points had no request of their own before the requests were used up, so they do not count as
        // failing.
        self.put_back(index, others);
        Some(bad)
    }

    pub(super) fn settle(&mut self, at: Ref, fate: Fate, settle: &mut impl FnMut(&C, u32, Fate)) {
        // Hot path: to decide whether an earlier try may have written the point, its labels have to be
        // hashed.
        let fate = if fate.is_certain() { fate } else { fate.with(self.may_be_written(at)) };
        if let Some(chunk) = self.chunks.get(at) {
            settle(chunk, at.point, fate);
        }
        self.chunks.release(at);
    }
}
