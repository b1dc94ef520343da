//! A follower: the log from a position on, from memory while it keeps up and from disk when it doesn't.

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

/// Hands out the log's chunks in order, each once.
pub struct Follower {
    shared: Arc<Shared>,
    id: u64,
    position: Position,
    changed: watch::Receiver<Position>,
    mode: Mode,
    /// Read from disk, not handed out yet.
    ready: VecDeque<Arc<Chunk>>,
    /// Reads that failed in a row, and when the next is tried.
    failures: u32,
    not_before: Option<Instant>,
}

/// The pause after a read of the log that failed, and the longest one: each is twice as long as the one before.
const READ_BACKOFF: Duration = Duration::from_millis(100);
const READ_BACKOFF_MAX: Duration = Duration::from_secs(10);

type ReadTask = JoinHandle<(LogReader, Result<Vec<Arc<Chunk>>, ReadError>)>;

enum Mode {
    Memory,
    Disk(Box<LogReader>),
    /// A read is under way on a thread that may wait for the disk.
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

    /// All before it was handed out.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Whether it reads from disk.
    pub fn is_behind(&self) -> bool {
        !matches!(self.mode, Mode::Memory)
    }

    /// The next chunk; waits where there is none yet. The first may begin before the position that was
    /// asked for: see [`Chunk::first_point_from`]. Can be dropped at any moment without losing anything.
    ///
    /// After [`ReadError::Wal`] the next call waits a little, and then tries again from the same place.
    pub async fn next(&mut self) -> Result<Arc<Chunk>, ReadError> {
        loop {
            if let Some(chunk) = self.ready.pop_front() {
                self.position = self.position.max(chunk.end);
                return Ok(chunk);
            }
            match &mut self.mode {
                Mode::Memory => {
                    // Seen before looking, so that what comes between looking and waiting wakes us.
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
                            // The sender lives in what we share, so this can't fail.
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
                        // The runtime is going away.
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
