//! A follower reads the log from a position on: from memory while it keeps up, otherwise from disk.

use crate::chunk::Chunk;
use crate::error::ReadError;
use crate::log_reader::LogReader;
use crate::shared::Shared;
use crate::tail::Lookup;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use wal::Position;

/// Returns the chunks of the log in order, each once.
pub struct Follower {
    shared: Arc<Shared>,
    id: u64,
    position: Position,
    changed: watch::Receiver<Position>,
    mode: Mode,
    /// Chunks that were read from disk and not returned yet.
    ready: VecDeque<Arc<Chunk>>,
    /// Number of failed reads in a row, and when the next read may start.
    failures: u32,
    not_before: Option<Instant>,
}

/// The first and the longest pause after a failed read. Each pause is twice as long as the one before.
const READ_BACKOFF: Duration = Duration::from_millis(100);
const READ_BACKOFF_MAX: Duration = Duration::from_secs(10);

type ReadTask = JoinHandle<(LogReader, Result<Vec<Arc<Chunk>>, ReadError>)>;

enum Mode {
    Memory,
    Disk(Box<LogReader>),
    /// A read is running on a thread that may block.
    Reading(ReadTask),
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follower").field("position", &self.position).finish_non_exhaustive()
    }
}

impl Follower {
    pub(crate) fn new(shared: Arc<Shared>, position: Position) -> Self {
        let id = shared.tail.join(position);
        let changed = shared.tail.watch();
        let (mode, ready) = (Mode::Memory, VecDeque::new());
        Follower { shared, id, position, changed, mode, ready, failures: 0, not_before: None }
    }

    /// Everything before this position was returned.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Returns true if the follower reads from disk.
    pub fn is_behind(&self) -> bool {
        !matches!(self.mode, Mode::Memory)
    }

    /// Returns the next chunk, and waits if there is none yet. The first chunk may begin before the position
    /// that was passed to [`crate::Storage::follow`]: see [`Chunk::first_point_from`]. The future can be
    /// dropped at any time without losing a chunk.
    ///
    /// After [`ReadError::Wal`], the next call waits for a while and then retries at the same position.
    pub async fn next(&mut self) -> Result<Arc<Chunk>, ReadError> {
        loop {
            if let Some(chunk) = self.ready.pop_front() {
                self.position = self.position.max(chunk.end);
                return Ok(chunk);
            }
            match &mut self.mode {
                Mode::Memory => {
                    // Marked as seen before the lookup, so that a change between the lookup and the wait ends
                    // the wait.
                    self.changed.borrow_and_update();
                    match self.shared.tail.get(self.id, self.position) {
                        Lookup::Chunk(chunk) => {
                            self.position = chunk.end;
                            return Ok(chunk);
                        }
                        Lookup::CaughtUp => {
                            if self.shared.closed.load(Ordering::Acquire) {
                                return Err(ReadError::Closed);
                            }
                            // Cannot fail: `self.shared` holds the sender.
                            let _ = self.changed.changed().await;
                        }
                        Lookup::Behind => {
                            let reader = LogReader::new(self.shared.clone(), self.position);
                            self.mode = Mode::Disk(Box::new(reader));
                        }
                    }
                }
                Mode::Disk(_) if self.shared.tail.holds(self.position) => self.mode = Mode::Memory,
                Mode::Disk(_) => {
                    if let Some(at) = self.not_before {
                        tokio::time::sleep_until(at).await;
                        self.not_before = None;
                    }
                    let Mode::Disk(mut reader) = std::mem::replace(&mut self.mode, Mode::Memory) else {
                        continue;
                    };
                    self.mode = Mode::Reading(tokio::task::spawn_blocking(move || {
                        let result = reader.read();
                        (*reader, result)
                    }));
                }
                Mode::Reading(task) => {
                    let (reader, result) = match task.await {
                        Ok(done) => done,
                        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                        // The runtime is shutting down.
                        Err(_) => {
                            (LogReader::new(self.shared.clone(), self.position), Err(ReadError::Closed))
                        }
                    };
                    if let Ok(chunks) = &result
                        && chunks.is_empty()
                    {
                        self.position = reader.position();
                    }
                    self.mode = Mode::Disk(Box::new(reader));
                    match result {
                        Ok(chunks) => {
                            self.failures = 0;
                            self.ready.extend(chunks);
                        }
                        Err(error) => {
                            let pause = READ_BACKOFF * (1 << self.failures.min(10));
                            self.failures += 1;
                            self.not_before = Some(Instant::now() + pause.min(READ_BACKOFF_MAX));
                            return Err(error);
                        }
                    }
                }
            }
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.shared.tail.leave(self.id);
    }
}
