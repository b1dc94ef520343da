//! Gives chunks of the log to the streams.

use super::{Delivery, Stream, is_main_live};
use crate::outgoing::{Left, Outgoing};
use crate::output::Output;
use crate::queue::Source;
use model::Kinds;
use std::sync::Arc;
use std::time::Duration;
use storage::Chunk;

impl<O: Output> Delivery<O> {
    /// Returns true if the stream needs its next chunk.
    pub(crate) fn wants_chunk(&self, stream: &Stream) -> bool {
        if !stream.follows_log() || stream.is_read() || stream.is_rejoining || !stream.queue.wants_more() {
            return false;
        }
        // The live stream must not read past a stream that is about to rejoin it.
        let mut rejoining = self.streams.iter().filter(|other| other.is_rejoining);
        !is_main_live(stream) || rejoining.all(|other| stream.queue.head() < other.queue.head())
    }

    /// Notes that the log has ended: the stream gets no more chunks.
    pub(crate) fn close(&mut self, number: u64) {
        if let Some(stream) = self.stream_mut(number) {
            stream.is_closed = true;
        }
    }

    /// Gives a chunk to a stream. `is_there` is false if the samples were already counted as lost.
    pub(crate) fn feed(&mut self, number: u64, chunk: Arc<Chunk>, is_from_disk: bool, is_there: bool) {
        let now_ms = self.clock.now_ms();
        self.rules.oldest_ms = self.settings.age_limit.map(|limit| now_ms - limit.as_millis() as i64);
        let Some(stream) = self.streams.iter_mut().find(|stream| stream.number == number) else {
            model::invariant!(false, "a chunk is read for a stream", stream = number);
            return;
        };
        let until = stream.until;
        let (count, end) =
            (chunk.batch.points.len() as u32, until.map_or(chunk.end, |until| until.min(chunk.end)));
        if is_from_disk {
            self.behind_until = self.behind_until.max(end);
        }
        let outgoing = Outgoing::new(chunk, &mut self.rules);
        let [mut queued, mut by_rule, mut too_old, mut no_series] = [Kinds::default(); 4];
        let [mut newest, mut newest_queued] = [None; 2];
        let rules = &self.rules;
        stream.queue.push(outgoing, end, count, |outgoing, index| {
            let is_wanted = || is_there && outgoing.is_own(index, rules) && is_before(outgoing, index, until);
            let Some(point) = outgoing.point(index).filter(|_| is_wanted()) else { return false };
            newest = newest.max(Some(point.timestamp));
            match outgoing.left_out(point, rules) {
                None => {
                    queued.count(&point.value);
                    newest_queued = newest_queued.max(Some(point.timestamp));
                    return true;
                }
                Some(Left::NoSeries) => no_series.count(&point.value),
                Some(Left::Rule) => by_rule.count(&point.value),
                Some(Left::TooOld) => too_old.count(&point.value),
            }
            false
        });
        self.stats.queued.add(queued);
        self.stats.dropped_by_rule.add(by_rule);
        self.stats.dropped_too_old.add(too_old);
        self.stats.dropped_no_series.add(no_series);
        if let Some(newest) = newest {
            self.stats.highest_read_ms.raise(newest);
        }
        if let Some(newest) = newest_queued {
            self.stats.highest_ms.raise(newest);
        }
    }

    /// Returns the age of a point in milliseconds. A point read from disk is dated by its own timestamp,
    /// because it may be from before this start.
    pub(crate) fn age_ms(&self, outgoing: &Outgoing, point: u32) -> i64 {
        if self.is_from_disk(outgoing, point) {
            (self.clock.now_ms() - outgoing.timestamp(point)).max(0)
        } else {
            let age: Duration = self.now().saturating_sub(outgoing.arrived());
            age.as_millis() as i64
        }
    }

    /// Returns true if the point was read from disk, so that its chunk does not say when it arrived.
    pub(crate) fn is_from_disk(&self, outgoing: &Outgoing, point: u32) -> bool {
        outgoing.position(point) < self.behind_until
    }
}

fn is_before(outgoing: &Outgoing, index: u32, until: Option<wal::Position>) -> bool {
    until.is_none_or(|until| outgoing.position(index) < until)
}
