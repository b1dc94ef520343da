//! What a worker does once a second: it saves the positions and updates the status.

use super::{Done, Worker};
use crate::delivery::{Kind, Stream};
use crate::outgoing::Outgoing;
use crate::queue::{Queue, SHOWN_STUCK_AFTER, Source};
use std::time::Duration;
use wal::Position;

impl Worker {
    pub(super) fn every_second(&mut self) {
        let now = self.delivery.now();
        self.delivery.every_second(&self.readers.storage);
        self.update();
        self.save();
        self.refresh(now);
        if let Some(sending) = self.delivery.output_mut().metadata_to_send(now) {
            self.tasks.push(Box::pin(async move {
                sending.await;
                Done::MetadataSent
            }));
        }
        self.update_gauges();
        let [before, too_old_before] = self.lost;
        let [lost, too_old] = [self.pin.lost(), self.pin.lost_too_old()];
        let stats = self.delivery.stats();
        stats.lost.add(lost.minus(before));
        stats.lost_too_old.add(too_old.minus(too_old_before));
        self.lost = [lost, too_old];
    }

    pub(super) fn update_gauges(&self) {
        let (delivery, stats) = (&self.delivery, self.delivery.stats());
        let [live, backlog] = [Kind::Live, Kind::Backlog].map(|kind| delivery.main(kind));
        let age = |stream: Option<&Stream>| {
            let oldest = stream.and_then(|stream| stream.queue.oldest());
            oldest.map_or(0, |(outgoing, point)| delivery.age_ms(outgoing, point))
        };
        let reads_disk = |stream: Option<&Stream>| {
            let reader = stream.and_then(|stream| self.readers.of(stream.number));
            reader.is_some_and(|reader| reader.follower.is_behind())
        };
        let newest_lag = age(live);
        stats.newest_lag_ms.set(newest_lag);
        stats.newest_first.set(i64::from(backlog.is_some()));
        stats.lag_ms.set(age(backlog).max(newest_lag));
        stats.behind.set(i64::from(reads_disk(live) || reads_disk(backlog)));
        stats.memory_bytes.set(delivery.log_queues().map(Queue::bytes).sum::<usize>() as i64);
        stats.lanes_behind.set(delivery.lanes_behind() as i64);
        let stuck = delivery.stuck_lanes();
        stats.stuck_lanes.set(stuck as i64);
        if stuck == 0 {
            stats.set_stuck(None);
        }
        self.update_waiting();
        stats.shards.set(delivery.shards() as i64);
        let lowest = self.progress.saved().lanes.iter().min().copied().unwrap_or_default();
        stats.position_segment.set(lowest.segment as i64);
        stats.position_offset.set(lowest.offset as i64);
        let wait = delivery.waits_until().map(|at| at.saturating_sub(self.delivery.now()));
        stats.retry_in_ms.set(wait.map_or(0, |wait| wait.as_millis() as i64));
    }

    /// Updates how many samples wait for this destination, and for how long.
    fn update_waiting(&self) {
        let (delivery, stats, storage) = (&self.delivery, self.delivery.stats(), &self.readers.storage);
        let reader = |kind| delivery.main(kind).and_then(|stream| self.readers.of(stream.number));
        let (mut points, mut before_open) = (0, false);
        if let Some(live) = reader(Kind::Live) {
            let unread = storage.waiting(live.follower.position());
            before_open = unread.before_open;
            points += if unread.points == 0 { 0 } else { live.passed.unread(storage) };
        }
        if let Some(backlog) = reader(Kind::Backlog) {
            let until = backlog.until.map_or(0, |until| until.points);
            points += until.saturating_sub(backlog.passed.points);
            before_open |= storage.waiting(backlog.follower.position()).before_open;
        }
        let pending = stats.pending();
        points += pending.samples + pending.histograms;
        let is_delivered = points == 0 && !before_open && delivery.is_all_delivered();
        let lowest = self.progress.written().lanes.iter().min().copied().unwrap_or_default();
        let age = self.delivery.now().saturating_sub(storage.arrived(lowest)).as_millis() as i64;
        // Samples from before this run are dated by their timestamps.
        before_open |= !is_delivered && storage.waiting(lowest).before_open;
        let age = if before_open { age.max(stats.lag_ms.get()) } else { age };
        stats.waiting.set(i64::try_from(points).unwrap_or(i64::MAX));
        stats.waiting_before_open.set(i64::from(before_open));
        stats.waiting_ms.set(if is_delivered { 0 } else { age.max(1) });
        stats.moving_ms.set(if is_delivered { 0 } else { self.moving_ms() });
    }

    /// Returns how long the oldest sample outside stuck lanes has waited.
    fn moving_ms(&self) -> i64 {
        let (delivery, storage) = (&self.delivery, &self.readers.storage);
        let now = self.delivery.now();
        let waited = |at: Position| now.saturating_sub(storage.arrived(at)).as_millis() as i64;
        let in_queue = |queue: &Queue<Outgoing>| {
            let oldest = queue.oldest_moving(now, SHOWN_STUCK_AFTER, delivery.health());
            oldest.map(|(outgoing, point, _)| {
                let at = outgoing.position(point);
                // Samples from before this run are dated by their timestamps.
                let before_open = storage.waiting(at).before_open;
                waited(at).max(if before_open { delivery.age_ms(outgoing, point) } else { 0 })
            })
        };
        let mains = [Kind::Live, Kind::Backlog].map(|kind| delivery.main(kind));
        let of_stream = |stream: &Stream| {
            let from = self.readers.of(stream.number).map(|reader| reader.follower.position());
            let to = stream.until.unwrap_or(storage.end()).min(storage.end());
            let unread = from.filter(|from| *from < to).map(waited);
            in_queue(&stream.queue).max(unread)
        };
        mains.into_iter().flatten().filter_map(of_stream).max().unwrap_or(0)
    }

    fn refresh(&mut self, now: Duration) {
        match self.delivery.output_mut().refresh(now) {
            Ok(true) => self.delivery.credentials_changed(),
            Ok(false) => {}
            Err(error) => {
                self.delivery.stats().set_error(error.to_string());
                tracing::warn!(
                    destination = self.delivery.name(), %error,
                    "credentials can't be read again; the ones that were read before are used"
                );
            }
        }
    }
}
