//! Parked samples: the destination kept failing on them while it accepted others. They are kept on disk.
//! Every [`RETRY_INTERVAL`] the entries are retried one after the other, the oldest first. Each entry has a
//! stream of its own, so that its refused samples are narrowed like any others.

use super::{Delivery, Kind};
use crate::disk::aside::{self, Entry, Gathered, Shelf};
use crate::disk::keep::Keep;
use crate::outgoing::{Outgoing, Rules};
use crate::output::Output;
use crate::queue::{self, Queue};
use model::Kinds;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use storage::Chunk;
use wal::Position;
use write_client::verdict::Verdict;

pub(crate) const RETRY_INTERVAL: Duration = Duration::from_secs(5 * 60);
/// After this many entries that failed again, the others wait for the next round.
const FAILURES_MAX: u32 = 16;

#[derive(Debug)]
pub(crate) struct Parking {
    shelf: Shelf,
    /// The entry that is being read from disk.
    loading: Option<u64>,
    /// During a round of retries: the next entry has at least this number.
    cursor: Option<u64>,
    /// Number of entries that have failed again in this round.
    failures: u32,
    next_round: Duration,
}

impl Parking {
    pub(crate) fn new(shelf: Shelf, now: Duration) -> Self {
        Parking { shelf, loading: None, cursor: None, failures: 0, next_round: now + RETRY_INTERVAL }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.shelf.is_empty() && self.loading.is_none()
    }
}

impl<O: Output> Delivery<O> {
    /// Parks points, and evicts the oldest entries if there is no room.
    pub(super) fn park(&mut self, gathered: Gathered, words: &str, keep: &mut Keep) {
        let (kinds, now) = (gathered.kinds(), self.now());
        if self.parking.shelf.is_empty() {
            self.parking.next_round = now + RETRY_INTERVAL;
        }
        let bytes = gathered.finish(self.clock.now_ms(), words);
        let id = self.parking.shelf.add(bytes.len() as u64, kinds);
        keep.entry = Some((id, bytes, kinds));
        let current = self.parked_entry().or(self.parking.loading);
        while let Some(oldest) = self.parking.shelf.one_too_many(current) {
            self.parking.shelf.remove(oldest);
            keep.evicted.push(oldest);
        }
        let count = kinds.total();
        tracing::warn!(
            destination = %self.name, count, answer = %words,
            "the destination keeps failing on these samples; parked, retried every 5 min"
        );
    }

    /// Returns the entry that is retried now.
    fn parked_entry(&self) -> Option<u64> {
        self.streams.iter().find_map(|stream| match stream.kind {
            Kind::Parked(id) => Some(id),
            Kind::Live | Kind::Backlog => None,
        })
    }

    pub(super) fn tick_parking(&mut self) {
        let now = self.now();
        let parking = &mut self.parking;
        self.stats.aside_points.set(parking.shelf.points() as i64);
        self.stats.aside_bytes.set(parking.shelf.bytes() as i64);
        if now >= parking.next_round && !parking.shelf.is_empty() {
            parking.next_round = now + RETRY_INTERVAL;
            // Continues where the last round was broken off, or begins with the first entry.
            parking.cursor.get_or_insert(0);
            parking.failures = 0;
        }
    }

    /// Returns the entry to read from disk now. The caller has to call [`Delivery::entry_loaded`] then.
    pub(crate) fn entry_to_load(&mut self) -> Option<u64> {
        let is_busy = self.parked_entry().is_some() || self.is_stopping;
        let parking = &mut self.parking;
        if is_busy || parking.loading.is_some() || parking.failures >= FAILURES_MAX {
            return None;
        }
        let next = parking.shelf.next_from(parking.cursor?);
        parking.cursor = next.map(|id| id + 1);
        parking.loading = next;
        next
    }

    /// Takes the bytes of the entry that was read. `None` if the task that reads it did not finish.
    pub(crate) fn entry_loaded(&mut self, read: Option<io::Result<Vec<u8>>>) {
        let Some(id) = self.parking.loading.take() else { return };
        match read {
            Some(Ok(bytes)) => match aside::read(&bytes) {
                Some(entry) => self.retry_entry(id, entry),
                None => {
                    tracing::error!(destination = %self.name, id, "an entry of parked samples is damaged");
                    self.parking.shelf.remove(id);
                    self.keeps.push(Keep { damaged: Some(id), ..Keep::default() });
                }
            },
            Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
                // The entry could not be written, and was counted at that time.
                self.parking.shelf.remove(id);
            }
            Some(Err(error)) => {
                tracing::error!(destination = %self.name, %error, id, "an entry of parked samples can't be read");
            }
            None => {}
        }
    }

    fn retry_entry(&mut self, id: u64, entry: Entry) {
        let mut readable = Kinds::default();
        entry.batch.points.iter().for_each(|point| readable.count(&point.value));
        self.stats.dropped_no_series.add(entry.kinds.minus(readable));
        let count = entry.batch.points.len();
        let settings = queue::Settings {
            min_shards: 1,
            max_shards: 1,
            capacity: count.max(1),
            max_points: count.max(1),
            min_backoff: RETRY_INTERVAL,
            max_backoff: RETRY_INTERVAL,
            memory: usize::MAX,
            // The entry was parked, even if the configuration switches parking off now.
            park: true,
            was_parked: true,
            ..self.settings.queue.clone()
        };
        let mut queue = Queue::new(settings, &[]);
        queue.set_flushing(true);
        let (start, end) = (Position::default(), Position::start_of(1));
        let refs = (0..entry.batch.series.len() as u64).collect();
        let arrived = self.now();
        let chunk = Chunk { batch: entry.batch, refs, segment: 0, records: Vec::new(), start, end, arrived };
        // The labels of an entry are those that are sent.
        let outgoing = Outgoing::new(Arc::new(chunk), &mut Rules::default());
        queue.push(outgoing, end, count as u32, |_, _| true);
        let number = self.add_stream(Kind::Parked(id), false, queue, None);
        self.parked_answered(number, Verdict::Unsent);
    }

    pub(super) fn parked_answered(&mut self, number: u64, verdict: Verdict) {
        let Some(stream) = self.streams.iter().find(|stream| stream.number == number) else { return };
        let Kind::Parked(id) = stream.kind else { return };
        // Some lanes of the entry may have been isolated.
        let mut all = self.streams.iter().filter(|stream| stream.kind == Kind::Parked(id));
        if all.all(|stream| stream.queue.pending() == 0) {
            self.parking.shelf.remove(id);
            self.keeps.push(Keep { done: Some(id), ..Keep::default() });
        } else {
            match verdict {
                // The entry is read again later, so that the next entry gets its turn. An outage ends the
                // round.
                Verdict::Failed { reached, .. } if !stream.queue.is_narrowing() => {
                    self.parking.failures += if reached.is_answer() { 1 } else { FAILURES_MAX };
                }
                Verdict::Denied => self.parking.failures = FAILURES_MAX,
                _ => return,
            }
        }
        self.streams.retain(|stream| stream.kind != Kind::Parked(id));
    }
}
