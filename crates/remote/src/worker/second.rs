//! What a worker does once a second: it saves, looks after what is stuck, and says how it goes.

use super::{REFRESH_INTERVAL, Worker, metadata};
use crate::outgoing::Outgoing;
use crate::queue::{Queue, SHOWN_STUCK_AFTER, Source, reshard};
use formats::remote_write::Protocol;
use std::time::Duration;
use wal::Position;

impl Worker {
    pub(super) fn every_second(&mut self) {
        let now = self.clock.monotonic();
        self.queue.tick(now);
        self.tick_backlog(now);
        self.leave_behind();
        self.tick_stragglers(now);
        self.tick_aside();
        self.save();
        if now >= self.refresh_at {
            self.refresh(now);
        }
        if self.metadata_config.send
            && now >= self.metadata_at
            && self.metadata.is_none()
            && self.stats.protocol() == Some(Protocol::V1)
        {
            self.metadata_at = now + self.metadata_config.send_interval;
            self.metadata = Some(metadata::send(
                self.client.clone(),
                self.storage.all_metadata(),
                self.metadata_config.max_samples_per_send,
                self.stats.clone(),
            ));
        }
        self.update_gauges();
        let [before, too_old_before] = self.lost;
        let [lost, too_old] = [self.pin.lost(), self.pin.lost_too_old()];
        self.stats.lost.add(lost.minus(before));
        self.stats.lost_too_old.add(too_old.minus(too_old_before));
        self.lost = [lost, too_old];
        if now >= self.rate.last + reshard::INTERVAL {
            self.reshard(now);
        }
    }

    pub(super) fn update_gauges(&self) {
        let stats = &self.stats;
        let behind = self.follower.is_behind();
        let age = |queue: &Queue<Outgoing>| {
            queue.oldest().map_or(0, |(outgoing, point)| self.age_ms(outgoing, point))
        };
        let newest_lag = age(&self.queue);
        let backlog = self.backlog.as_ref().map(|backlog| (&backlog.queue, backlog.follower.is_behind()));
        stats.newest_lag_ms.set(newest_lag);
        stats.newest_first.set(i64::from(backlog.is_some()));
        stats.lag_ms.set(backlog.map_or(0, |(queue, _)| age(queue)).max(newest_lag));
        stats.behind.set(i64::from(behind || backlog.is_some_and(|(_, behind)| behind)));
        let straggling: usize = self.stragglers.iter().map(|straggler| straggler.queue.bytes()).sum();
        let in_backlog = backlog.map_or(0, |(queue, _)| queue.bytes());
        stats.memory_bytes.set((self.queue.bytes() + in_backlog + straggling) as i64);
        stats.lanes_behind.set(self.lanes_behind() as i64);
        let now = self.clock.monotonic();
        let in_queues = self.queue.stuck_lanes(now) + backlog.map_or(0, |(queue, _)| queue.stuck_lanes(now));
        let stuck = self.lanes_behind() + in_queues;
        stats.stuck_lanes.set(stuck as i64);
        if stuck == 0 {
            stats.set_stuck(None);
        }
        self.update_waiting();
        stats.shards.set(self.shards() as i64);
        let lowest = self.saved.lanes.iter().min().copied().unwrap_or_default();
        stats.position_segment.set(lowest.segment as i64);
        stats.position_offset.set(lowest.offset as i64);
        let waits = if self.newest_first.held { None } else { self.queue.waits_until() };
        let waits = waits.into_iter().chain(backlog.and_then(|(queue, _)| queue.waits_until())).min();
        let wait = waits.map(|at| at.saturating_sub(self.clock.monotonic()));
        stats.retry_in_ms.set(wait.map_or(0, |wait| wait.as_millis() as i64));
    }

    /// How much of the log waits for this destination, and for how long.
    fn update_waiting(&self) {
        let (stats, storage) = (&self.stats, &self.storage);
        let unread = storage.waiting(self.follower.position());
        let mut before_open = unread.before_open;
        let mut points = match unread.points {
            0 => 0,
            _ => self.passed.unread(storage),
        };
        if let Some(backlog) = &self.backlog {
            let [passed, until] = backlog.passed;
            points += until.points.saturating_sub(passed.points);
            before_open |= storage.waiting(backlog.follower.position()).before_open;
        }
        let pending = stats.pending();
        points += pending.samples + pending.histograms;
        let settled = points == 0 && !before_open && self.stragglers.is_empty();
        let lowest = self.written.lanes.iter().min().copied().unwrap_or_default();
        let age = self.clock.monotonic().saturating_sub(storage.arrived(lowest)).as_millis() as i64;
        // What is older than this run is dated by its own timestamps.
        before_open |= !settled && storage.waiting(lowest).before_open;
        let age = if before_open { age.max(stats.lag_ms.get()) } else { age };
        stats.waiting.set(i64::try_from(points).unwrap_or(i64::MAX));
        stats.waiting_before_open.set(i64::from(before_open));
        stats.waiting_ms.set(if settled { 0 } else { age.max(1) });
        stats.moving_ms.set(if settled { 0 } else { self.moving_ms() });
    }

    /// How long the oldest sample has waited that is not in a stuck lane.
    fn moving_ms(&self) -> i64 {
        let now = self.clock.monotonic();
        let waited = |at: Position| now.saturating_sub(self.storage.arrived(at)).as_millis() as i64;
        let in_queue = |queue: &Queue<Outgoing>| {
            queue.oldest_moving(now, SHOWN_STUCK_AFTER).map(|(outgoing, point, _)| {
                let at = outgoing.position(point);
                // What is older than this run is dated by its own timestamp.
                let before_open = self.storage.waiting(at).before_open;
                waited(at).max(if before_open { self.age_ms(outgoing, point) } else { 0 })
            })
        };
        let unread = |from: Position, to: Position| (from < to).then(|| waited(from));
        let backlog = self.backlog.as_ref();
        [
            in_queue(&self.queue),
            unread(self.follower.position(), self.storage.end()),
            backlog.and_then(|backlog| in_queue(&backlog.queue)),
            backlog.and_then(|backlog| unread(backlog.follower.position(), backlog.until)),
        ]
        .into_iter()
        .flatten()
        .max()
        .unwrap_or(0)
    }

    /// Reads files with credentials again.
    fn refresh(&mut self, now: Duration) {
        self.refresh_at = now + REFRESH_INTERVAL;
        match self.client.refresh() {
            Ok(true) => {
                self.queues_mut().for_each(|(_, queue)| queue.probe_now(now));
            }
            Ok(false) => {}
            Err(error) => {
                self.stats.set_error(error.to_string());
                tracing::warn!(destination = %self.name, %error, "what was read before stays in use");
            }
        }
    }
}
