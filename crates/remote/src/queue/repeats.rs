//! Points that an earlier try may have written.
//!
//! A receiver that has written a request whose answer was lost may refuse the same samples when they come again: as
//! out of order, say. That is no loss, and it is counted apart. Three things make a point one of these:
//!
//! - a request with it was sent and got no answer of the receiver's;
//! - a request with it was refused for a reason that is about another point: many receivers write the rest;
//! - it was among the first that were read after a restart: requests may have been under way when narthex ended.
//!
//! This is kept as a position for each lane, so that it holds wherever the points wait.

use super::{Queue, Source};
use crate::queue::lanes::lane_of;
use crate::queue::shard::Ref;
use wal::Position;

/// Points that may have been under way when narthex ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Restart {
    /// They are before this.
    until: Position,
    /// There are at most so many more.
    left: usize,
}

impl<C: Source> Queue<C> {
    /// Requests may have been under way when an earlier run ended, with points that are before `until`. Not more
    /// than all shards can have under way at once.
    pub fn expect_repeats(&mut self, until: Position) {
        let left = self.settings.max_shards.saturating_mul(self.settings.max_points);
        self.restart = Some(Restart { until, left });
    }

    /// A point was fed.
    pub(super) fn note_fed(&mut self, chunk: &C, point: u32) {
        let Some(restart) = &mut self.restart else { return };
        let at = chunk.position(point);
        if restart.left == 0 || at >= restart.until {
            self.restart = None;
            return;
        }
        restart.left -= 1;
        self.note_tried(at, chunk.series(point));
    }

    /// The request of this shard may have been written, or a part of it.
    pub(super) fn note_request_tried(&mut self, shard: usize) {
        let points = self.points(shard).map(|(chunk, point)| (chunk.position(point), chunk.series(point)));
        for (at, series) in points.collect::<Vec<_>>() {
            self.note_tried(at, series);
        }
    }

    fn note_tried(&mut self, at: Position, series: u64) {
        if let Some(lane) = self.lanes.get_mut(usize::from(lane_of(series))) {
            lane.tried = lane.tried.max(Position { index: at.index + 1, ..at });
        }
    }

    /// Whether an earlier try may have written the point.
    pub(super) fn may_be_written(&self, point: Ref) -> bool {
        self.chunk(point).is_some_and(|chunk| {
            let lane = self.lanes.get(usize::from(lane_of(chunk.series(point.point))));
            lane.is_some_and(|lane| chunk.position(point.point) < lane.tried)
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helper functions of tests")]
    use super::super::tests::{Points, answer, chunk, push, settings, started};
    use super::super::{Fate, Outcome, Reached, Settings};
    use super::*;
    use std::time::Duration;

    const REPEAT: Outcome = Outcome::Refused { fits_a_repeat: true };
    const NOW: Duration = Duration::from_secs(1);

    /// Sends until all is settled; the first requests have these outcomes and all others the last one. Gives how many
    /// points were refused or presumed to be, and of how many of these an earlier try may have written them.
    fn refused(queue: &mut Queue<Points>, outcomes: &[Outcome]) -> (usize, usize) {
        let mut now = NOW;
        let mut outcomes = outcomes.iter().copied().peekable();
        let (mut all, mut maybe) = (0, 0);
        while queue.pending() > 0 {
            now = now.max(queue.next_wakeup().unwrap());
            let request = queue.poll(now).unwrap();
            let outcome = *outcomes.peek().unwrap();
            if outcomes.len() > 1 {
                outcomes.next();
            }
            for fate in answer(queue, request, outcome, now) {
                if let Fate::Refused { maybe_written }
                | Fate::Presumed { maybe_written }
                | Fate::Settled { maybe_written } = fate
                {
                    all += 1;
                    maybe += usize::from(maybe_written);
                }
            }
        }
        (all, maybe)
    }

    #[test]
    fn only_a_try_whose_answer_was_lost_makes_a_repeat() {
        let retry = |reached| Outcome::Retry { reached, after: None, jitter: 0.0 };
        for (reached, maybe) in
            [(Reached::Nothing, 0), (Reached::Receiver, 0), (Reached::NoAnswer, 40), (Reached::Gateway, 40)]
        {
            for last in [REPEAT, Outcome::RefusedWhole, Outcome::Settled] {
                let mut queue = started(1);
                push(&mut queue, chunk(0, 0..40));
                assert_eq!(refused(&mut queue, &[retry(reached), last]), (40, maybe), "{reached:?} {last:?}");
            }
        }
    }

    #[test]
    fn what_is_refused_at_once_is_no_repeat() {
        let mut queue = started(1);
        push(&mut queue, chunk(0, 0..40));
        assert_eq!(refused(&mut queue, &[REPEAT]), (40, 0));
    }

    #[test]
    fn a_request_refused_for_another_point_may_have_been_written() {
        let mut queue = started(1);
        push(&mut queue, chunk(0, 0..40));
        let other = Outcome::Refused { fits_a_repeat: false };
        assert_eq!(refused(&mut queue, &[other, REPEAT]), (40, 40));
    }

    #[test]
    fn repeats_after_a_restart_are_those_that_were_in_the_log_before() {
        let mut queue = started(1);
        queue.expect_repeats(Position { segment: 0, offset: 1, index: 0 });
        push(&mut queue, chunk(0, 0..5));
        push(&mut queue, chunk(1, 0..7));
        assert_eq!(refused(&mut queue, &[Outcome::RefusedWhole]), (12, 5));
    }

    #[test]
    fn repeats_after_a_restart_are_at_most_what_can_be_under_way() {
        let mut queue = Queue::new(Settings { max_shards: 2, max_points: 3, ..settings() }, &[]);
        queue.expect_repeats(Position { segment: 9, offset: 0, index: 0 });
        for number in 0..4 {
            push(&mut queue, chunk(number, 0..4));
        }
        assert_eq!(refused(&mut queue, &[Outcome::RefusedWhole]), (16, 6));
    }
}
