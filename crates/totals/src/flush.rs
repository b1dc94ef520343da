//! What totals send, and when: each interval what changed, and once a minute what did not. Pure.
//!
//! A flush is taken in parts of bounded size, all with the same time. Each part is committed with its journal entry:
//! [`Totals::confirm`] says that this succeeded, [`Totals::retract`] that it failed. A change that comes in between
//! belongs to the next flush.

use crate::emit;
use crate::entry;
use crate::table::{Handle, Now, Totals};
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
    at_ms: i64,
    /// The flush before it.
    last_ms: i64,
    begin: Begin,
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
}

#[derive(Debug)]
struct Flushed {
    handle: Handle,
    was_changed: bool,
    ends: bool,
    /// What the series had before.
    before: (Duration, Duration),
}

impl Totals {
    /// Takes the next part of a flush, with at least one series and about `points` samples; a new flush begins once the
    /// one before has no more parts. `None`: there is nothing to send.
    pub fn flush(&mut self, now: Now, begin: Begin, points: usize) -> Option<Flush> {
        let mut round = self.round.take().unwrap_or_else(|| {
            let last_ms = self.last_flush_ms;
            let at_ms = emission_time::next(last_ms, now.wall_ms);
            Round { at_ms, last_ms, begin, next: 0 }
        });
        let mut flush = Flush { batch: Batch::new(), entry: Vec::new(), more: false, flushed: Vec::new() };
        let (mut entry, mut metadata) = (entry::Writer::new(round.at_ms), HashMap::new());
        while let Some((handle, next)) = self.next(round.next) {
            if flush.batch.points.len() >= points {
                flush.more = true;
                break;
            }
            round.next = next;
            let at = now.monotonic;
            let Some(series) = self.get_mut(handle) else { continue };
            let ends = !series.is_changed
                && series.ttl.is_some_and(|ttl| at.saturating_sub(series.changed_at) >= ttl);
            if !series.is_changed && !ends && at.saturating_sub(series.flushed_at) < REPEAT {
                continue;
            }
            let before = (series.changed_at, series.flushed_at);
            flush.flushed.push(Flushed { handle, was_changed: series.is_changed, ends, before });
            if ends {
                emit::markers(&mut flush.batch, series, round.at_ms);
                entry.ended(series.id);
                continue;
            }
            if !series.is_begun {
                let start = series.start_ms.saturating_sub(1).max(round.last_ms.saturating_add(1));
                series.start_ms = start.min(round.at_ms.saturating_sub(1));
                // At most once: what could not be acknowledged may still have been written.
                series.is_begun = true;
                if round.begin == Begin::WithZero && series.start_ms > round.last_ms {
                    emit::zero(&mut flush.batch, series);
                }
            }
            emit::total(&mut flush.batch, series, round.at_ms, &mut metadata);
            if !series.is_journalled {
                entry.opened(series);
            }
            // What did not change is in the journal already.
            if series.is_changed || !series.is_journalled {
                entry.state(series);
            }
            if series.is_changed {
                series.changed_at = at;
            }
            (series.is_changed, series.flushed_at) = (false, at);
        }
        self.last_flush_ms = round.at_ms;
        flush.entry = entry.finish();
        if flush.more {
            self.round = Some(round);
        }
        (!flush.flushed.is_empty()).then_some(flush)
    }

    /// The part is committed. Returns how many totals ended.
    pub fn confirm(&mut self, flush: Flush) -> usize {
        let mut ended = 0;
        for Flushed { handle, ends, .. } in flush.flushed {
            let Some(series) = self.get_mut(handle) else { continue };
            // A total that changed after its end was sent goes on: the journal gets it as a new one.
            series.is_journalled = !ends;
            if ends && !series.is_changed {
                self.remove(handle);
                ended += 1;
            }
        }
        self.ended += ended as u64;
        ended
    }

    /// The part is not committed: the next flush sends it again, with another time.
    pub fn retract(&mut self, flush: Flush) {
        self.round = None;
        for Flushed { handle, was_changed, before, .. } in flush.flushed {
            let Some(series) = self.get_mut(handle) else { continue };
            series.is_changed |= was_changed;
            (series.changed_at, series.flushed_at) = before;
        }
    }
}
