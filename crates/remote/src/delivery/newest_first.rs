//! The newest first: after an outage the newest samples are sent at once, and the backlog behind them.
//!
//! ```text
//!                split                                delivered
//!  live ───────────────────► backlog, which ends here ──────────► live
//!                            live, from here on
//! ```
//!
//! That happens once the destination accepts samples again: before, the new live stream would only have become a
//! backlog, too. There is one backlog at a time. What falls behind meanwhile stays in its order in the live stream, and
//! is split off when the backlog is delivered.
//!
//! The receiver refuses what is older than its window. So the backlog goes alone and in order until it lies within a
//! part of the window ([`split_within`]). Should it come close to the window's end later ([`hold_beyond`]), because it
//! is slow or there is another outage, the live stream waits.

use super::{Delivery, Kind, Log};
use crate::disk::positions::Settled;
use crate::output::Output;
use crate::queue::lanes::LANES;
use crate::queue::{self, Queue, STUCK_AFTER};
use std::time::Duration;
use wal::Position;

/// Behind by more than this there is a backlog.
const BEHIND: Duration = Duration::from_secs(30);
/// The destination must have written something this lately.
const WRITES: Duration = Duration::from_secs(15);

/// How old in sample time a backlog may be that is split off: the rest of the window is for delivering it.
fn split_within(window: Duration) -> Duration {
    window / 4 * 3
}

/// With a backlog as old as this, the live stream waits.
fn hold_beyond(window: Duration) -> Duration {
    window / 8 * 7
}

impl<O: Output> Delivery<O> {
    /// The streams with which an earlier run ended: a live one, and a backlog if there was one.
    pub(super) fn begin_streams(&mut self, settled: &Settled) {
        let Settled { lanes, ahead } = settled;
        let live = ahead.map_or(*lanes, |ahead| ahead.lanes);
        let settings = self.queue_settings(ahead.is_some());
        let until = self.settings.until;
        self.add_stream(Kind::Live, false, Queue::new(settings.clone(), &live), until);
        if let Some(ahead) = ahead {
            // For a member that leaves, nothing is its own from there on.
            let until = until.map_or(ahead.from, |until| until.min(ahead.from));
            self.add_stream(Kind::Backlog, false, Queue::new(settings, lanes), Some(until));
            self.share_memory();
            self.is_live_held = true;
            self.hold_or_release();
        }
    }

    /// The settings of a queue that is alone, or one of two.
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

    /// Whether the live stream is to become a backlog now.
    fn is_to_split(&self) -> bool {
        let is_free = !self.is_stopping
            && self.settings.until.is_none()
            && !self.streams.iter().any(|stream| stream.kind == Kind::Backlog);
        let Some(window) = self.settings.window.filter(|_| is_free) else { return false };
        let now = self.clock.monotonic();
        let writes = self.written_at.is_some_and(|at| now <= at + WRITES);
        let oldest = self.live().and_then(|live| live.oldest_moving(now, STUCK_AFTER, &self.health));
        let Some((outgoing, point, newest)) = oldest.filter(|_| writes) else { return false };
        self.age_ms(outgoing, point) > BEHIND.as_millis() as i64
            && self.clock.now_ms() - newest <= split_within(window).as_millis() as i64
    }

    /// Makes a backlog of the live stream. The new live stream begins at the end of the log.
    fn split_live(&mut self, log_end: Position) {
        let Some(at) = self.streams.iter().position(super::is_main_live) else { return };
        let mut backlog = self.streams.remove(at);
        let until = log_end.max(backlog.queue.head());
        let shards = backlog.queue.shards();
        let mut live = Queue::new(self.queue_settings(true), &[until; LANES]);
        // Isolated lanes go on where they are.
        live.serve_only(|lane| backlog.queue.serves(lane));
        live.reshard(shards / 2);
        backlog.queue.reshard(shards - shards / 2);
        (backlog.kind, backlog.until) = (Kind::Backlog, Some(until));
        self.insert(backlog);
        self.add_stream(Kind::Live, false, live, None);
        self.share_memory();
        tracing::info!(destination = %self.name, ?until, "the newest is sent first, and the backlog behind it");
    }

    /// Decides whether the live stream waits for the backlog.
    fn hold_or_release(&mut self) {
        let Some(backlog) = self.main(Kind::Backlog) else { return };
        let is_held = match self.settings.window {
            // The oldest is to be sent first by now.
            None => true,
            Some(window) => {
                match backlog.queue.oldest_moving(self.clock.monotonic(), STUCK_AFTER, &self.health) {
                    Some((_, _, newest)) => {
                        self.clock.now_ms() - newest > hold_beyond(window).as_millis() as i64
                    }
                    // Nothing waits for what is stuck alone.
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

    /// Ends the backlog once it is delivered.
    pub(super) fn end_backlog(&mut self) {
        let Some(at) =
            self.streams.iter().position(|stream| stream.kind == Kind::Backlog && !stream.is_isolated)
        else {
            return;
        };
        let Some(backlog) = self.streams.get_mut(at).filter(|backlog| backlog.is_read()) else { return };
        // Nothing comes any more that could fill a batch up.
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
