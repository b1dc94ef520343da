//! Newest first: after an outage the newest samples are sent at once, and the backlog behind them.
//!
//! ```text
//!                split                                delivered
//!  live ───────────────────► backlog, which ends here ──────────► live
//!                            live, from here on
//! ```
//!
//! The live stream is split once the destination accepts samples again. If it were split before, the new live
//! stream would become a backlog, too. There is one backlog at a time. Samples that fall behind meanwhile
//! stay in the live stream in their order, and are split off when the backlog is delivered.
//!
//! The receiver refuses samples that are older than its window. So the backlog is sent alone and in order
//! until it lies within a part of the window ([`split_within`]). Later the backlog may come close to the
//! window's end ([`hold_beyond`]), because it is slow or because of another outage. Then the live stream
//! waits.

use super::{Delivery, Kind, Log};
use crate::disk::positions::Settled;
use crate::output::Output;
use crate::queue::lanes::LANES;
use crate::queue::{self, Queue, STUCK_AFTER};
use std::time::Duration;
use wal::Position;

/// A stream that is behind by more than this becomes a backlog.
const BEHIND: Duration = Duration::from_secs(30);
/// The destination must have written samples within this time.
const WRITES: Duration = Duration::from_secs(15);

/// How old in sample time a backlog may be that is split off. The rest of the window is the time to deliver
/// it.
fn split_within(window: Duration) -> Duration {
    window / 4 * 3
}

/// If the backlog is as old as this in sample time, the live stream waits.
fn hold_beyond(window: Duration) -> Duration {
    window / 8 * 7
}

impl<O: Output> Delivery<O> {
    /// Adds the streams with which an earlier run ended: a live one, and a backlog if there was one.
    pub(super) fn begin_streams(&mut self, settled: &Settled) {
        let Settled { lanes, ahead } = settled;
        let live = ahead.map_or(*lanes, |ahead| ahead.lanes);
        let settings = self.queue_settings(ahead.is_some());
        let until = self.settings.until;
        self.add_stream(Kind::Live, false, Queue::new(settings.clone(), &live), until);
        if let Some(ahead) = ahead {
            // A member that leaves owns nothing from there on.
            let until = until.map_or(ahead.from, |until| until.min(ahead.from));
            self.add_stream(Kind::Backlog, false, Queue::new(settings, lanes), Some(until));
            self.share_memory();
            self.is_live_held = true;
            self.hold_or_release();
        }
    }

    /// Returns the settings of the queue, which shares the destination's limits if there is a backlog.
    fn queue_settings(&self, has_backlog: bool) -> queue::Settings {
        let settings = self.settings.queue.clone();
        if has_backlog {
            queue::Settings { min_shards: (settings.min_shards / 2).max(1), ..settings }
        } else {
            settings
        }
    }

    pub(super) fn tick_newest_first(&mut self, log: &impl Log) {
        self.hold_or_release();
        if self.is_to_split() {
            self.split_live(log.end());
        }
    }

    /// Returns true if the live stream should become a backlog now.
    fn is_to_split(&self) -> bool {
        let is_free = !self.is_stopping
            && self.settings.until.is_none()
            && !self.streams.iter().any(|stream| stream.kind == Kind::Backlog);
        let Some(window) = self.settings.window.filter(|_| is_free) else { return false };
        let now = self.now();
        let writes = self.written_at.is_some_and(|at| now <= at + WRITES);
        let oldest = self.live().and_then(|live| live.oldest_moving(now, STUCK_AFTER, &self.health));
        let Some((outgoing, point, newest)) = oldest.filter(|_| writes) else { return false };
        self.age_ms(outgoing, point) > BEHIND.as_millis() as i64
            && self.clock.now_ms() - newest <= split_within(window).as_millis() as i64
    }

    /// Makes the live stream a backlog. The new live stream begins at the end of the log.
    fn split_live(&mut self, log_end: Position) {
        let Some(at) = self.streams.iter().position(super::is_main_live) else { return };
        let mut backlog = self.streams.remove(at);
        let until = log_end.max(backlog.queue.head());
        let shards = backlog.queue.shards();
        let mut live = Queue::new(self.queue_settings(true), &[until; LANES]);
        // Isolated lanes stay in their streams.
        live.serve_only(|lane| backlog.queue.serves(lane));
        live.reshard(shards / 2);
        backlog.queue.reshard(shards - shards / 2);
        (backlog.kind, backlog.until) = (Kind::Backlog, Some(until));
        self.insert(backlog);
        self.add_stream(Kind::Live, false, live, None);
        self.share_memory();
        tracing::info!(destination = %self.name, ?until, "the newest is sent first, and the backlog behind it");
    }

    fn hold_or_release(&mut self) {
        let Some(backlog) = self.main(Kind::Backlog) else { return };
        let is_held = match self.settings.window {
            // Newest first is switched off, so the oldest samples are sent first.
            None => true,
            Some(window) => {
                match backlog.queue.oldest_moving(self.now(), STUCK_AFTER, &self.health) {
                    Some((_, _, newest)) => {
                        self.clock.now_ms() - newest > hold_beyond(window).as_millis() as i64
                    }
                    // Samples that are stuck alone delay nothing else.
                    None if backlog.queue.pending() > 0 => false,
                    None => return,
                }
            }
        };
        if is_held != self.is_live_held {
            self.is_live_held = is_held;
            tracing::info!(destination = %self.name, held = is_held, "whether the newest waits for the backlog");
        }
    }

    pub(super) fn end_backlog(&mut self) {
        let Some(at) =
            self.streams.iter().position(|stream| stream.kind == Kind::Backlog && !stream.is_isolated)
        else {
            return;
        };
        let Some(backlog) = self.streams.get_mut(at).filter(|backlog| backlog.is_read()) else { return };
        // No more chunks come that could fill a batch.
        backlog.queue.set_flushing(true);
        if !backlog.is_delivered() || backlog.is_closed && backlog.until > Some(backlog.queue.head()) {
            return;
        }
        let shards = self.shards().clamp(self.settings.queue.min_shards, self.settings.queue.max_shards);
        self.streams.remove(at);
        self.is_live_held = false;
        self.set_shards(shards);
        self.share_memory();
        tracing::info!(destination = %self.name, "the backlog is delivered");
    }
}
