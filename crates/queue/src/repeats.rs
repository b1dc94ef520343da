//! Points that an earlier try may have written.
//!
//! A receiver that has written a request whose answer was lost may refuse the same samples when they are sent
//! again, for example as out of order. No sample is lost then, and such refusals are counted separately. A
//! refused point may be a repeat in three cases:
//!
//! - A request with the point was sent and got no answer from the receiver.
//! - A request with the point was refused because of another point. Many receivers write the other points.
//! - The point was among the first that were read after a restart. Its request may have been under way when
//!   narthex ended.
//!
//! Each lane keeps this as a position, so that it holds wherever the points wait.

use super::{Queue, Source};
use crate::chunks::Ref;
use crate::lanes::lane_of;
use wal::Position;

/// Points that may have been under way when narthex ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Restart {
    /// They are before this position.
    until: Position,
    /// At most this many more points were under way.
    left: usize,
}

impl<C: Source> Queue<C> {
    /// Notes that requests with points before `until` may have been under way when an earlier run ended.
    /// There were at most as many points as all shards can have under way at once.
    pub fn expect_repeats(&mut self, until: Position) {
        let left = self.settings.max_shards.saturating_mul(self.settings.max_points);
        self.restart = Some(Restart { until, left });
    }

    /// Called for each point that was pushed.
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

    /// Notes that the receiver may have written the shard's request, or a part of it.
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

    pub(super) fn may_be_written(&self, at: Ref) -> bool {
        self.chunks.get(at).is_some_and(|chunk| {
            let lane = self.lanes.get(usize::from(lane_of(chunk.series(at.point))));
            lane.is_some_and(|lane| chunk.position(at.point) < lane.tried)
        })
    }
}
