//! Totals that end because other settings make something else of their series. Pure.
//!
//! A histogram that gets other buckets, or that becomes a summary, can't go on: its counts do not say what those of the
//! new buckets would be. So the old total ends and a new one begins. The next flush shows both, in this order:
//!
//! ```text
//!  the flush before ─► value, staleness marker of the old total ─► zero, value of the new one
//! ```
//!
//! The times differ by a millisecond at least, since the two may have series in common, such as `_count`. A total may
//! end before it was flushed at all, because settings change again. So the ends take turns: a total that was opened
//! after another one ended has a later turn, and its samples are later than the markers of all turns before. New totals
//! begin after the last turn.
//!
//! A kill before that flush is committed leaves the old total in the journal: it is superseded again by the next line
//! of its series. Totals that were never committed are lost, like everything that was not flushed.

use crate::emit;
use crate::flush::{Begin, Part};
use crate::limits::{Refused, TURNS_MAX};
use crate::table::{Handle, NewSeries, Now, Series, Totals, memory};
use crate::value::{Kind, SummaryPart};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// How many milliseconds the last samples of superseded totals of a turn may take: a zero, a value, a marker.
const ROOM_MS: i64 = 3;

/// A total that ends with the next flush.
#[derive(Debug)]
pub(crate) struct Superseded {
    /// What it was found by.
    pub(crate) handle: Handle,
    pub(crate) series: Series,
    /// When another total took its place, by the wall clock.
    at_ms: i64,
    /// Series that were opened after it ended have at least this number.
    next_id: u64,
    turn: Turn,
    /// Its samples are later than this, and its markers have that time, in the flush that is under way.
    after_ms: i64,
    end_ms: i64,
}

/// Superseded totals of the same turn were all open at one time, so they have no series in common.
#[derive(Debug, Clone, Copy)]
struct Turn {
    /// From 1.
    number: usize,
    /// A series with this number or a greater one was opened after a total of this turn ended.
    next_id: u64,
}

impl Turn {
    /// The turn of a series with the number `id`, that ended when the next series would have had the number `next_id`.
    /// `last`: the turn of the total that ended before it.
    fn new(last: Option<Turn>, id: u64, next_id: u64) -> Turn {
        match last {
            Some(last) if id < last.next_id => last,
            _ => Turn { number: last.map_or(0, |last| last.number) + 1, next_id },
        }
    }
}

impl Superseded {
    fn bytes(&self) -> usize {
        memory(self.series.labels.as_ref(), &self.series.total.kind())
    }
}

impl Totals {
    /// The settings changed that say what a series is. From now on, a series that is opened as a histogram of another
    /// shape, or as a summary instead of a histogram, takes the place of the total that was opened before this call or
    /// read back from the journal. Without such a call two descriptions of one series contradict each other, so the
    /// second one is refused.
    pub fn describe_again(&mut self) {
        self.epoch = self.epoch.saturating_add(1);
    }

    /// Ends the quantiles that earlier settings asked for in the summaries of this name, and that are not among these.
    pub fn keep_quantiles(&mut self, name: &str, quantiles: &[f64], now: Now) {
        let Some(of) = self.names.before(name.as_bytes(), self.epoch) else { return };
        let kept: Vec<String> = quantiles.iter().map(f64::to_string).collect();
        let is_kept = |series: &Series| {
            let quantile = series.labels.as_ref().get("quantile").unwrap_or_default();
            kept.iter().any(|kept| kept.as_bytes() == quantile)
        };
        self.end_all(now, |series| {
            let is_quantile = series.total.kind() == Kind::Summary(SummaryPart::Quantile);
            is_quantile && Arc::ptr_eq(&of, &series.metadata) && !is_kept(series)
        });
    }

    fn end_all(&mut self, now: Now, is_one: impl Fn(&Series) -> bool) {
        let ends: Vec<Handle> = self.all().filter(|one| self.get(*one).is_some_and(&is_one)).collect();
        ends.into_iter().for_each(|handle| self.end(handle, now));
    }

    /// The turn of a series with the number `id`, if it ends now.
    fn next_turn(&self, id: u64) -> Turn {
        Turn::new(self.superseded.last().map(|last| last.turn), id, self.next_id)
    }

    fn end(&mut self, handle: Handle, now: Now) {
        if let Some(series) = self.remove(handle) {
            // A flush that is under way may have sent its parts with later times.
            self.round = None;
            let (at_ms, next_id, turn) = (now.wall_ms, self.next_id, self.next_turn(series.id));
            let after_ms = self.last_flush_ms;
            let old = Superseded { handle, series, at_ms, next_id, turn, after_ms, end_ms: at_ms };
            self.superseded_bytes += old.bytes();
            self.superseded.push(old);
        }
    }

    /// Ends the totals that earlier settings made of a series that is now opened as something else, unless the name has
    /// another type. `found`: the series with the same labels.
    pub(crate) fn supersede(
        &mut self,
        new: NewSeries<'_>,
        found: Option<Handle>,
        now: Now,
    ) -> Result<(), Refused> {
        let name = new.labels.metric_name().unwrap_or_default();
        let leaving = self.names.leaving(name, new.kind, self.epoch);
        let kind = |series: &Series| series.total.kind();
        if let Some(old) = found.and_then(|handle| self.get(handle)) {
            let is_shape = matches!((kind(old), new.kind), (Kind::Histogram(_), Kind::Histogram(_)));
            if leaving.is_none() && !(is_shape && old.epoch < self.epoch) {
                let (labels, has) = (new.labels.to_string(), kind(old).metric_type());
                return Err(match is_shape {
                    true => Refused::Shape { labels },
                    false => Refused::Kind { labels, has, wants: new.kind.metric_type() },
                });
            }
        }
        self.names.check(name, new.kind, leaving)?;
        if leaving.is_none() && found.is_none() {
            return Ok(());
        }
        if let Some(old) = found.and_then(|handle| self.get(handle)) {
            // One that has no room for its new buckets goes on to be repeated as it is.
            self.admit(new, Some(old))?;
        }
        if self.superseded_bytes > self.limits.bytes {
            let name = String::from_utf8_lossy(name).into_owned();
            return Err(Refused::Memory { name, limit: self.limits.bytes });
        }
        let id = found.and_then(|handle| self.get(handle)).filter(|_| leaving.is_none()).map(|old| old.id);
        if self.next_turn(id.unwrap_or(u64::MAX)).number > TURNS_MAX {
            return Err(Refused::Turns { labels: new.labels.to_string() });
        }
        found.into_iter().for_each(|handle| self.end(handle, now));
        if let Some(leaving) = leaving {
            let of = self.names.metadata_of(leaving);
            self.end_all(now, |series| of.iter().any(|one| Arc::ptr_eq(one, &series.metadata)));
        }
        Ok(())
    }

    /// Says when superseded totals end in a flush that comes after `last_ms`. Returns the time of the last marker.
    pub(crate) fn space_ends(&mut self, last_ms: i64, now: Now) -> i64 {
        let (mut turn, mut after_ms, mut latest_ms) = (0, last_ms, last_ms);
        for old in &mut self.superseded {
            if old.turn.number != turn {
                (turn, after_ms) = (old.turn.number, latest_ms);
            }
            old.after_ms = after_ms;
            let at_ms = old.at_ms.min(now.wall_ms).saturating_sub(2);
            old.end_ms = at_ms.max(after_ms.saturating_add(ROOM_MS));
            latest_ms = latest_ms.max(old.end_ms);
        }
        latest_ms
    }

    /// Appends the last samples of superseded totals to a part, up to about `points` of them.
    pub(crate) fn take_superseded(&mut self, part: &mut Part, points: usize) {
        let mut count = 0;
        for old in &mut self.superseded {
            if count > 0 && part.batch.points.len() >= points {
                break;
            }
            part.end(old);
            count += 1;
        }
        part.superseded.extend(self.superseded.drain(..count));
        self.count_superseded();
    }

    /// The journal has these now, or has their end, as is said for each.
    pub(crate) fn journalled(&mut self, are_journalled: &HashMap<Handle, bool>) {
        for old in &mut self.superseded {
            if let Some(is_journalled) = are_journalled.get(&old.handle) {
                old.series.is_journalled = *is_journalled;
            }
        }
    }

    /// The commit of these failed.
    pub(crate) fn retract_superseded(&mut self, superseded: Vec<Superseded>) {
        self.superseded.splice(0..0, superseded);
        self.count_superseded();
    }

    fn count_superseded(&mut self) {
        self.superseded_bytes = self.superseded.iter().map(Superseded::bytes).sum();
        let mut last = None;
        for old in &mut self.superseded {
            old.turn = *last.insert(Turn::new(last, old.series.id, old.next_id));
        }
    }

    /// Puts totals back that were superseded since there were `count` of them, apart from new ones. Returns what they
    /// are found by now.
    pub(crate) fn restore_superseded(
        &mut self,
        count: usize,
        new: &HashSet<Handle>,
    ) -> HashMap<Handle, Handle> {
        let restored = self.superseded.split_off(count.min(self.superseded.len()));
        self.count_superseded();
        let old = restored.into_iter().filter(|old| !new.contains(&old.handle));
        old.filter_map(|Superseded { handle, series, .. }| Some((handle, self.insert(series)?))).collect()
    }
}

impl Part {
    /// Appends the last value of a total and its staleness markers.
    fn end(&mut self, old: &mut Superseded) {
        let Superseded { series, after_ms, end_ms, .. } = old;
        if !series.is_begun {
            let start = series.start_ms.saturating_sub(1).max(after_ms.saturating_add(1));
            series.start_ms = start.min(end_ms.saturating_sub(2));
            series.is_begun = true;
            if self.round.begin == Begin::WithZero {
                emit::zero(&mut self.batch, series);
            }
        }
        emit::total(&mut self.batch, series, end_ms.saturating_sub(1), &mut self.metadata);
        emit::markers(&mut self.batch, series, *end_ms);
        self.entry.ended(series.id);
    }
}
