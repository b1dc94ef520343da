//! Trying what was put aside again: every [`RETRY_INTERVAL`] one entry of the side queue after the other,
//! the oldest first, each with a queue of its own, so that what is refused of it is narrowed down as
//! anything else.

use super::Worker;
use crate::disk::aside::{self, Entry, Files, Gathered, Shelf};
use crate::disk::keep::Keep;
use crate::outgoing::{Outgoing, Rules};
use crate::queue::{Outcome, Queue, Settings};
use model::Kinds;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use storage::Chunk;
use tokio::task::JoinHandle;
use wal::{Filesystem, Position};

/// How often what was put aside is tried again.
pub(crate) const RETRY_INTERVAL: Duration = Duration::from_secs(5 * 60);
/// After as many entries that failed again the rest waits for the next time.
const FAILURES_MAX: u32 = 16;

pub(super) type Loading = JoinHandle<io::Result<Vec<u8>>>;

/// What is being done about the side queue.
pub(super) struct Aside {
    fs: Arc<dyn Filesystem>,
    files: Files,
    shelf: Shelf,
    current: Option<Current>,
    /// The entry that is read.
    loading: Option<(u64, Loading)>,
    /// Going through them: the next has at least this number.
    cursor: Option<u64>,
    failures: u32,
    next_round: Duration,
}

/// The entry that is tried.
struct Current {
    id: u64,
    /// The number of its queue. Each time that an entry is tried it is another one: an answer to a request that was
    /// under way when the entry before was laid down must not be taken for one about this.
    number: u64,
    queue: Queue<Outgoing>,
}

impl Aside {
    pub(super) fn new(fs: Arc<dyn Filesystem>, files: Files, shelf: Shelf, now: Duration) -> Self {
        let next_round = now + RETRY_INTERVAL;
        Aside { fs, files, shelf, current: None, loading: None, cursor: None, failures: 0, next_round }
    }

    /// The queue of the entry that is tried, with its number.
    pub(super) fn queue(&mut self) -> Option<(u64, &mut Queue<Outgoing>)> {
        self.current.as_mut().map(|current| (current.number, &mut current.queue))
    }

    /// The number of that queue.
    pub(super) fn number(&self) -> Option<u64> {
        self.current.as_ref().map(|current| current.number)
    }

    pub(super) fn next_wakeup(&self) -> Option<Duration> {
        self.current.as_ref().and_then(|current| current.queue.next_wakeup())
    }

    /// Whether nothing is put aside.
    pub(super) fn is_empty(&self) -> bool {
        self.shelf.is_empty() && self.current.is_none() && self.loading.is_none()
    }

    pub(super) fn is_loading(&self) -> bool {
        self.loading.is_some()
    }
}

/// Waits for the entry that is read.
pub(super) async fn wait_for_entry(aside: &mut Aside) -> Option<io::Result<Vec<u8>>> {
    match &mut aside.loading {
        Some((_, task)) => task.await.ok(),
        None => None,
    }
}

impl Worker {
    /// Adds points to the side queue, which makes room if it has to.
    pub(super) fn put_aside(&mut self, gathered: Gathered, words: &str, keep: &mut Keep) {
        let (kinds, now) = (gathered.kinds(), self.clock.monotonic());
        if self.aside.shelf.is_empty() {
            self.aside.next_round = now + RETRY_INTERVAL;
        }
        let bytes = gathered.finish(self.clock.now_ms(), words);
        let id = self.aside.shelf.add(bytes.len() as u64, kinds);
        keep.entry = Some((id, bytes, kinds));
        let current = self.aside.current.as_ref().map(|current| current.id);
        while let Some(oldest) = self.aside.shelf.one_too_many(current) {
            self.aside.shelf.remove(oldest);
            keep.evicted.push(oldest);
        }
        let count = kinds.total();
        tracing::warn!(
            destination = %self.name, count, answer = %words,
            "the destination keeps failing over these; they are put aside and tried every five minutes"
        );
    }

    /// To be called every second: begins to go through the side queue, where it is time.
    pub(super) fn tick_aside(&mut self) {
        let now = self.clock.monotonic();
        let aside = &mut self.aside;
        self.stats.aside_points.set(aside.shelf.points() as i64);
        self.stats.aside_bytes.set(aside.shelf.bytes() as i64);
        if now >= aside.next_round && !aside.shelf.is_empty() {
            aside.next_round = now + RETRY_INTERVAL;
            // Where the last round broke off, or from the beginning.
            aside.cursor.get_or_insert(0);
            aside.failures = 0;
        }
        self.take_up();
    }

    /// Begins to read the next entry, if one is to be tried.
    fn take_up(&mut self) {
        let aside = &mut self.aside;
        if aside.current.is_some() || aside.loading.is_some() || aside.failures >= FAILURES_MAX {
            return;
        }
        let Some(cursor) = aside.cursor else { return };
        let Some(id) = aside.shelf.next_from(cursor) else {
            aside.cursor = None;
            return;
        };
        aside.cursor = Some(id + 1);
        let (fs, files) = (aside.fs.clone(), aside.files.clone());
        aside.loading = Some((id, tokio::task::spawn_blocking(move || files.load(&*fs, id))));
    }

    /// An entry has been read.
    pub(super) fn entry_read(&mut self, read: Option<io::Result<Vec<u8>>>) {
        let Some((id, _)) = self.aside.loading.take() else { return };
        match read {
            Some(Ok(bytes)) => match aside::read(&bytes) {
                Some(entry) => self.try_entry(id, entry),
                None => {
                    tracing::error!(destination = %self.name, id, "an entry of the side queue is damaged");
                    self.aside.shelf.remove(id);
                    self.keeper.put(Keep { damaged: Some(id), ..Keep::default() });
                }
            },
            Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
                // It could not be written, and was counted then.
                self.aside.shelf.remove(id);
            }
            Some(Err(error)) => {
                tracing::error!(destination = %self.name, %error, id, "an entry of the side queue can't be read");
            }
            None => {}
        }
        self.take_up();
    }

    fn try_entry(&mut self, id: u64, entry: Entry) {
        let mut readable = Kinds::default();
        entry.batch.points.iter().for_each(|point| readable.count(&point.value));
        self.stats.dropped_no_series.add(entry.kinds.minus(readable));
        let count = entry.batch.points.len();
        let settings = Settings {
            min_shards: 1,
            max_shards: 1,
            capacity: count.max(1),
            max_points: count.max(1),
            min_backoff: RETRY_INTERVAL,
            max_backoff: RETRY_INTERVAL,
            memory: usize::MAX,
            // It was, whatever is wanted now.
            put_aside: true,
            ..self.settings.clone()
        };
        let mut queue = Queue::new(settings, &[]);
        queue.set_flushing(true);
        let (start, end) = (Position::default(), Position::start_of(1));
        let refs = (0..entry.batch.series.len() as u64).collect();
        let arrived = self.clock.monotonic();
        let chunk = Chunk { batch: entry.batch, refs, segment: 0, records: Vec::new(), start, end, arrived };
        // Its labels are those that go out already.
        let outgoing = Outgoing::new(Arc::new(chunk), &mut Rules::default());
        queue.push(outgoing, end, count as u32, |_, _| true);
        self.queue_number += 1;
        self.aside.current = Some(Current { id, number: self.queue_number, queue });
        self.aside_answered(None);
    }

    /// To be called after each answer to a request for an entry.
    pub(super) fn aside_answered(&mut self, outcome: Option<Outcome>) {
        let Some(Current { id, queue, .. }) = &self.aside.current else { return };
        if queue.pending() == 0 {
            let id = *id;
            self.aside.shelf.remove(id);
            self.keeper.put(Keep { done: Some(id), ..Keep::default() });
        } else {
            match outcome {
                // It has to be read again, so that no entry keeps others from their turn.
                Some(Outcome::Retry { reached, .. }) if !queue.is_narrowing() => {
                    self.aside.failures += if reached.is_answer() { 1 } else { FAILURES_MAX };
                }
                Some(Outcome::Denied) => self.aside.failures = FAILURES_MAX,
                _ => return,
            }
        }
        self.aside.current = None;
        self.take_up();
    }
}
