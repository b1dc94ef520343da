//! The newest first: after an outage what is new goes out at once, and the backlog behind it.
//!
//! ```text
//!              split                              caught up
//!  one queue ─────────► the queue that was is the ──────────► one queue
//!                       backlog and ends there;
//!                       a new one goes on from the log's end
//! ```
//!
//! It happens once the destination takes things again: before that the new queue would only have become a backlog
//! as well. There is one split at a time: what comes to be behind meanwhile stays in its order behind the new
//! queue's head, and is split when the backlog is done.
//!
//! The receiver refuses what is older than its window. So the backlog goes alone and in order until it lies
//! within a part of the window ([`split_within`]); and should it come close to the window's end later
//! ([`hold_beyond`]), since it is slow or there is another outage, the new queue waits.

use super::Worker;
use super::unread::Passed;
use crate::disk::positions::{Ahead, Lanes, Settled};
use crate::outgoing::Outgoing;
use crate::queue::{Queue, STUCK_AFTER, Settings, Source};
use std::sync::Arc;
use std::time::Duration;
use storage::{Chunk, Follower, ReadError};
use wal::Position;

/// Behind by more than this there is a backlog.
const BEHIND: Duration = Duration::from_secs(30);
/// So lately the destination must have taken something.
const TAKES: Duration = Duration::from_secs(15);

/// What was behind when the newest came first.
pub(crate) struct Backlog {
    pub(crate) number: u64,
    pub(crate) queue: Queue<Outgoing>,
    pub(crate) follower: Follower,
    /// What lies before the follower, and before its end.
    pub(super) passed: [Passed; 2],
    /// It ends here.
    pub(crate) until: Position,
    closed: bool,
}

/// When and how far the newest may be sent first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewestFirst {
    /// What the receiver takes out of order; nothing where the oldest goes first.
    pub(crate) window: Option<Duration>,
    /// When the destination last took something.
    pub(crate) taken_at: Option<Duration>,
    /// The newest waits for the backlog.
    pub(crate) held: bool,
}

/// How old in sample time a backlog may be that is split off: the rest of the window is for working it off.
fn split_within(window: Duration) -> Duration {
    window / 4 * 3
}

/// Where a backlog is as old as this, the newest waits.
fn hold_beyond(window: Duration) -> Duration {
    window / 8 * 7
}

impl Backlog {
    /// Whether it is to be read from.
    pub(super) fn reads(&self) -> bool {
        !self.is_read() && self.queue.wants_more()
    }

    pub(super) fn is_read(&self) -> bool {
        self.closed || self.queue.head() >= self.until
    }
}

/// The next chunk for the backlog.
pub(crate) async fn next_of(backlog: &mut Option<Backlog>) -> Result<Arc<Chunk>, ReadError> {
    match backlog {
        Some(backlog) => backlog.follower.next().await,
        None => std::future::pending().await,
    }
}

impl Worker {
    /// Goes on with a backlog that an earlier run left.
    pub(super) fn resume_backlog(&mut self, done: &Lanes, from: Position) {
        // For a member that leaves nothing is its own from there on.
        let until = self.until.map_or(from, |until| until.min(from));
        let queue = Queue::new(self.half(self.settings.min_shards), done);
        let follower = self.storage.follow(queue.head());
        let passed = [queue.head(), until].map(|at| Passed::before(&self.storage, at));
        self.queue_number += 1;
        let number = self.queue_number;
        self.backlog = Some(Backlog { number, queue, follower, passed, until, closed: false });
        self.share_memory();
        self.newest_first.held = true;
        self.hold_or_not();
    }

    /// The settings of one of two queues.
    fn half(&self, shards: usize) -> Settings {
        Settings {
            memory: self.settings.memory / 2,
            min_shards: (shards / 2).max(1),
            ..self.settings.clone()
        }
    }

    /// To be called every second.
    pub(super) fn tick_backlog(&mut self, now: Duration) {
        if let Some(backlog) = &mut self.backlog {
            backlog.queue.tick(now);
            self.hold_or_not();
        } else if self.is_to_split(now) {
            self.split();
        }
    }

    fn is_to_split(&self, now: Duration) -> bool {
        let Some(window) = self.newest_first.window.filter(|_| !self.stopping && self.until.is_none()) else {
            return false;
        };
        let takes = self.newest_first.taken_at.is_some_and(|at| now <= at + TAKES);
        let Some((outgoing, point, newest)) = self.queue.oldest_moving(now, STUCK_AFTER).filter(|_| takes)
        else {
            return false;
        };
        let age = self.age_ms(outgoing, point);
        age > BEHIND.as_millis() as i64
            && self.clock.now_ms() - newest <= split_within(window).as_millis() as i64
    }

    fn split(&mut self) {
        let until = self.storage.end().max(self.queue.head());
        let shards = self.queue.shards();
        let settings = self.half(shards);
        let mut queue =
            std::mem::replace(&mut self.queue, Queue::new(settings, &[until; crate::queue::lanes::LANES]));
        queue.reshard(shards - shards / 2);
        let follower = std::mem::replace(&mut self.follower, self.storage.follow(until));
        let end = Passed::before(&self.storage, until);
        let passed = [std::mem::replace(&mut self.passed, end), end];
        let number = self.main;
        self.queue_number += 1;
        self.main = self.queue_number;
        self.backlog = Some(Backlog { number, queue, follower, passed, until, closed: false });
        self.share_memory();
        tracing::info!(destination = %self.name, ?until, "the newest is sent first, and the backlog behind it");
    }

    /// Decides whether the newest waits for the backlog.
    fn hold_or_not(&mut self) {
        let Some(backlog) = &self.backlog else { return };
        let Some(window) = self.newest_first.window else {
            // The oldest is to go first by now.
            self.newest_first.held = true;
            return;
        };
        let held = match backlog.queue.oldest_moving(self.clock.monotonic(), STUCK_AFTER) {
            Some((_, _, newest)) => self.clock.now_ms() - newest > hold_beyond(window).as_millis() as i64,
            // For what is stuck alone nothing waits.
            None if backlog.queue.pending() > 0 => false,
            None => return,
        };
        if held != self.newest_first.held {
            self.newest_first.held = held;
            tracing::info!(destination = %self.name, held, "whether the newest waits for the backlog");
        }
    }

    /// Gives the backlog a chunk.
    pub(super) fn read_for_backlog(&mut self, chunk: Result<Arc<Chunk>, ReadError>) {
        let Some(backlog) = &mut self.backlog else { return };
        let (number, until) = (backlog.number, backlog.until);
        match chunk {
            Ok(chunk) => {
                let [passed, _] = &mut backlog.passed;
                passed.read(&self.storage, &chunk);
                let end = chunk.end.min(until);
                if backlog.follower.is_behind() {
                    self.behind_until = self.behind_until.max(end);
                }
                self.feed(number, chunk, end, |outgoing, point| outgoing.position(point) < until);
            }
            Err(ReadError::Closed) => backlog.closed = true,
            Err(error) => self.read_failed(&error),
        }
    }

    /// One queue again, where the backlog is done.
    pub(super) fn end_backlog(&mut self) {
        let Some(backlog) = self.backlog.as_mut().filter(|backlog| backlog.is_read()) else { return };
        // Nothing comes any more that could fill a batch up.
        backlog.queue.set_flushing(true);
        let straggling = self.stragglers.iter().any(|straggler| straggler.parent == backlog.number);
        if backlog.queue.head() < backlog.until || backlog.queue.pending() > 0 || straggling {
            return;
        }
        let shards = self.shards().clamp(self.settings.min_shards, self.settings.max_shards);
        self.backlog = None;
        self.newest_first.held = false;
        self.set_shards(shards);
        self.share_memory();
        tracing::info!(destination = %self.name, "the backlog is delivered");
    }

    /// Shards of both queues.
    pub(super) fn shards(&self) -> usize {
        self.queue.shards() + self.backlog.as_ref().map_or(0, |backlog| backlog.queue.shards())
    }

    /// Divides shards among both queues.
    pub(super) fn set_shards(&mut self, shards: usize) {
        let Some(backlog) = &mut self.backlog else { return self.queue.reshard(shards) };
        backlog.queue.reshard(shards - shards / 2);
        self.queue.reshard(shards / 2);
    }

    /// What of the log is settled, whoever serves it.
    pub(super) fn settled(&mut self) -> Settled {
        let mut lanes = self.queue.positions();
        self.with_stragglers(&mut lanes, self.main);
        let Some(backlog) = &mut self.backlog else {
            if let Some(until) = self.until.filter(|_| self.through) {
                // Its own end may come before: nothing of it lies in between.
                lanes.iter_mut().for_each(|position| *position = until.max(*position));
            }
            return lanes.into();
        };
        let (number, from) = (backlog.number, backlog.until);
        let mut done = backlog.queue.positions();
        self.with_stragglers(&mut done, number);
        Settled { lanes: done, ahead: Some(Ahead { from, lanes }) }
    }

    /// When a point arrived, by the monotonic clock.
    pub(super) fn arrived(&self, outgoing: &Outgoing, point: u32) -> Duration {
        let position = outgoing.position(point);
        if position < self.behind_until { self.storage.arrived(position) } else { outgoing.arrived() }
    }

    /// How old a point is, in milliseconds: what was read from disk by its own time, since it may have been
    /// there before this start.
    pub(super) fn age_ms(&self, outgoing: &Outgoing, point: u32) -> i64 {
        if outgoing.position(point) < self.behind_until {
            (self.clock.now_ms() - outgoing.timestamp(point)).max(0)
        } else {
            self.clock.monotonic().saturating_sub(outgoing.arrived()).as_millis() as i64
        }
    }
}
