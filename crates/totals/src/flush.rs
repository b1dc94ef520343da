//! What totals send, and when: each interval what changed, and once a minute what did not. Pure.
//!
//! A flush is taken in parts of bounded size, all with the same time. Each part is committed with its journal entry:
//! [`Totals::confirm`] says that this succeeded, [`Totals::retract`] that it failed. A change that comes in between
//! belongs to the next flush.

use crate::emit;
use crate::entry;
use crate::superseded::Superseded;
use crate::table::{Handle, Now, Series, Totals};
use model::{Batch, emission_time};
use std::collections::HashMap;
use std::time::Duration;

/// How often a total that does not change is sent: a query sees a sample for five minutes.
pub const REPEAT: Duration = Duration::from_secs(60);

/// Whether new series begin with a sample of 0, so that the first increase is seen by queries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    WithZero,
    WithFirstValue,
}

/// The flush that is under way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Round {
    pub(crate) at_ms: i64,
    /// The flush before it.
    pub(crate) last_ms: i64,
    pub(crate) begin: Begin,
    /// New series begin after this time.
    after_ms: i64,
    /// The next series to look at.
    next: u32,
}

/// A part of a flush.
#[derive(Debug)]
pub struct Flush {
    /// What goes into the log.
    pub batch: Batch,
    /// What goes into the journal with it.
    pub entry: Vec<u8>,
    /// Further parts follow.
    pub more: bool,
    flushed: Vec<Flushed>,
    superseded: Vec<Superseded>,
}

#[derive(Debug)]
struct Flushed {
    handle: Handle,
    was_changed: bool,
    ends: bool,
    /// What the series had before.
    before: (Duration, Duration),
}

/// A part of a flush that is being put together.
pub(crate) struct Part {
    pub(crate) round: Round,
    pub(crate) batch: Batch,
    pub(crate) entry: entry::Writer,
    pub(crate) metadata: emit::InBatch,
    flushed: Vec<Flushed>,
    pub(crate) superseded: Vec<Superseded>,
}

impl Part {
    pub(crate) fn new(round: Round) -> Part {
        let entry = entry::Writer::new(round.at_ms);
        let (flushed, superseded) = (Vec::new(), Vec::new());
        Part { round, batch: Batch::new(), entry, metadata: HashMap::new(), flushed, superseded }
    }

    /// Appends the samples of a series, and what the journal needs. `at`: now, by the monotonic clock.
    pub(crate) fn add(&mut self, handle: Handle, series: &mut Series, at: Duration) {
        let Round { at_ms, last_ms, begin, after_ms, .. } = self.round;
        let ends = is_over(series, at);
        let before = (series.changed_at, series.flushed_at);
        self.flushed.push(Flushed { handle, was_changed: series.is_changed, ends, before });
        if ends {
            emit::markers(&mut self.batch, series, at_ms);
            self.entry.ended(series.id);
            return;
        }
        if !series.is_begun {
            let start = series.start_ms.saturating_sub(1).max(after_ms.saturating_add(1));
            series.start_ms = start.min(at_ms.saturating_sub(1));
            // At most once: what could not be acknowledged may still have been written.
            series.is_begun = true;
            if begin == Begin::WithZero && series.start_ms > last_ms {
                emit::zero(&mut self.batch, series);
            }
        }
        emit::total(&mut self.batch, series, at_ms, &mut self.metadata);
        if !series.is_journalled {
            self.entry.opened(series);
        }
        // What did not change is in the journal already.
        if series.is_changed || !series.is_journalled {
            self.entry.state(series);
        }
        if series.is_changed {
            series.changed_at = at;
        }
        (series.is_changed, series.flushed_at) = (false, at);
    }

    /// Notes in the journal that a request was applied.
    pub(crate) fn applied(&mut self, request: u128, wall_ms: i64) {
        self.entry.applied(request, wall_ms);
    }
}

/// Whether a series did not change for its time to live.
fn is_over(series: &Series, at: Duration) -> bool {
    !series.is_changed && series.ttl.is_some_and(|ttl| at.saturating_sub(series.changed_at) >= ttl)
}

impl Flush {
    pub(crate) fn is_empty(&self) -> bool {
        self.flushed.is_empty() && self.superseded.is_empty()
    }
}

impl Totals {
    /// Takes the next part of a flush, with at least one series and about `points` samples; a new flush begins once the
    /// one before has no more parts. `None`: there is nothing to send.
    pub fn flush(&mut self, now: Now, begin: Begin, points: usize) -> Option<Flush> {
        let mut round = self.round.take().unwrap_or_else(|| self.next_round(now, begin));
        let mut part = Part::new(round);
        let (at, mut more) = (now.monotonic, false);
        self.take_superseded(&mut part, points);
        while let Some((handle, next)) = self.next(round.next) {
            if part.batch.points.len() >= points {
                more = true;
                break;
            }
            round.next = next;
            let Some(series) = self.get_mut(handle) else { continue };
            if series.is_changed || is_over(series, at) || at.saturating_sub(series.flushed_at) >= REPEAT {
                part.add(handle, series, at);
            }
        }
        let flush = self.finish_part(part);
        if more {
            self.round = Some(round);
        }
        (!flush.is_empty()).then_some(Flush { more, ..flush })
    }

    /// A flush that begins now.
    pub(crate) fn next_round(&mut self, now: Now, begin: Begin) -> Round {
        let earliest_ms = emission_time::next(self.last_flush_ms, now.wall_ms);
        // The last flush is later only if the clock was wrong by more than a day then: times begin again.
        let last_ms = self.last_flush_ms.min(earliest_ms.saturating_sub(1));
        // Superseded totals have their last samples in between, and new ones begin after these.
        let after_ms = self.space_ends(last_ms, now);
        let room = if self.superseded.is_empty() { 0 } else { 2 };
        let at_ms = earliest_ms.max(after_ms.saturating_add(room));
        Round { at_ms, last_ms, begin, after_ms, next: 0 }
    }

    pub(crate) fn finish_part(&mut self, part: Part) -> Flush {
        let Part { round, batch, entry, flushed, superseded, .. } = part;
        self.last_flush_ms = round.at_ms;
        Flush { batch, entry: entry.finish(), more: false, flushed, superseded }
    }

    /// The part is committed. Returns how many totals ended.
    pub fn confirm(&mut self, flush: Flush) -> usize {
        let mut ended = flush.superseded.len();
        // What was superseded while the commit was under way.
        let mut superseded = HashMap::new();
        for Flushed { handle, ends, .. } in flush.flushed {
            let Some(series) = self.get_mut(handle) else {
                superseded.insert(handle, !ends);
                continue;
            };
            // A total that changed after its end was sent goes on: the journal gets it as a new one.
            series.is_journalled = !ends;
            if ends && !series.is_changed {
                self.remove(handle);
                ended += 1;
            }
        }
        if !superseded.is_empty() {
            self.journalled(&superseded);
        }
        self.ended += ended as u64;
        ended
    }

    /// The part is not committed: the next flush sends it again, with another time.
    pub fn retract(&mut self, flush: Flush) {
        self.round = None;
        self.retract_superseded(flush.superseded);
        for Flushed { handle, was_changed, before, .. } in flush.flushed {
            let Some(series) = self.get_mut(handle) else { continue };
            series.is_changed |= was_changed;
            (series.changed_at, series.flushed_at) = before;
        }
    }
}
