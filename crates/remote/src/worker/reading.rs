//! Chunks of the log on their way into a queue.

use super::{Worker, queue_of};
use crate::outgoing::{Left, Outgoing};
use model::Kinds;
use std::sync::Arc;
use storage::{Chunk, ReadError};

impl Worker {
    /// Takes a chunk of the log in.
    pub(super) fn read(&mut self, chunk: Result<Arc<Chunk>, ReadError>) {
        let chunk = match chunk {
            Ok(chunk) => chunk,
            Err(ReadError::Closed) => {
                self.closed = true;
                return;
            }
            Err(error) => return self.read_failed(&error),
        };
        self.passed.read(&self.storage, &chunk);
        let end = chunk.end;
        let records = chunk.records.len() as u64;
        self.stats.records_read.add(records);
        if self.follower.is_behind() {
            self.stats.records_read_behind.add(records);
            self.behind_until = self.behind_until.max(end);
        }
        self.feed(self.main, chunk, end, |_, _| true);
    }

    /// Says that the log can't be read. The follower tries again by itself, ever more slowly.
    pub(super) fn read_failed(&self, error: &ReadError) {
        self.stats.set_error(error.to_string());
        tracing::error!(destination = %self.name, %error, "the log can't be read; trying again");
    }

    /// Gives a chunk to a queue, up to `end`; of its points those that are `wanted`.
    pub(super) fn feed(
        &mut self,
        queue: u64,
        chunk: Arc<Chunk>,
        end: wal::Position,
        wanted: impl Fn(&Outgoing, u32) -> bool,
    ) {
        let is_there = self.pin.take(chunk.segment, self.read_up_to());
        let now_ms = self.clock.now_ms();
        self.rules.oldest_ms = self.age_limit.map(|limit| now_ms - limit.as_millis() as i64);
        let count = chunk.batch.points.len() as u32;
        let outgoing = Outgoing::new(chunk, &mut self.rules);
        let [mut queued, mut by_rule, mut too_old, mut no_series] = [Kinds::default(); 4];
        let [mut newest, mut newest_queued] = [i64::MIN; 2];
        let rules = &self.rules;
        let main = (self.main, &mut self.queue);
        let into = queue_of(queue, main, &mut self.backlog, &mut self.stragglers, &mut self.aside);
        let Some(into) = into else {
            model::invariant!(false, "what was read belongs to a queue", queue = queue);
            return;
        };
        into.push(outgoing, end, count, |outgoing, index| {
            let Some(point) = outgoing
                .point(index)
                .filter(|_| is_there && outgoing.is_own(index, rules) && wanted(outgoing, index))
            else {
                return false;
            };
            newest = newest.max(point.timestamp);
            match outgoing.left_out(point, rules) {
                None => {
                    queued.count(&point.value);
                    newest_queued = newest_queued.max(point.timestamp);
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
        if newest > i64::MIN {
            self.stats.highest_read_ms.raise(newest);
        }
        if newest_queued > i64::MIN {
            self.stats.highest_ms.raise(newest_queued);
        }
    }
}
