//! What a queue is told, and what it tells.

#[cfg(doc)]
use super::{EARLY_INTERVAL, LINGER, Queue};
use std::time::Duration;
use wal::Position;

/// What the queue needs to know of a chunk.
pub trait Source {
    /// The position before this point.
    fn position(&self, point: u32) -> Position;
    /// Hash of the point's series by its outgoing labels, see [`crate::lanes`].
    fn series(&self, point: u32) -> u64;
    /// The point's time in milliseconds.
    fn timestamp(&self, point: u32) -> i64;
    /// When it arrived, by the monotonic clock.
    fn arrived(&self) -> Duration;
    /// Whether no client waits for it, so that no request is sent early because of it.
    fn can_wait(&self) -> bool;
    /// Whether it is cheaper to send all of it in one request.
    fn keeps_together(&self) -> bool;
    /// Bytes of memory it keeps.
    fn bytes(&self) -> usize;
}

/// Settings of a queue.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Shards to begin with.
    pub min_shards: usize,
    /// Most shards.
    pub max_shards: usize,
    /// References per shard; all shards together share them.
    pub capacity: usize,
    /// Points per request.
    pub max_points: usize,
    /// How long a point waits at most for a batch to fill up: so long after the shard's last request, or [`LINGER`]
    /// if that was long ago.
    pub deadline: Duration,
    /// Whether what waits is sent before the deadline while the destination is idle and answers fast: see
    /// [`EARLY_INTERVAL`].
    pub early: bool,
    /// First pause after a failed request.
    pub min_backoff: Duration,
    /// Longest pause after a failed request.
    pub max_backoff: Duration,
    /// Bytes of chunks held.
    pub memory: usize,
    /// Whether batches are narrowed.
    pub narrow: bool,
    /// Whether what keeps failing while other data is delivered is parked.
    pub park: bool,
    /// Whether what it sends was parked, and so has failed while other data was delivered.
    pub was_parked: bool,
}

/// A request to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// The shard, to be given back with the answer.
    pub shard: usize,
    /// Failed tries before this one.
    pub tries: u32,
    /// Whether it, or a larger request with its points, was sent before.
    pub sent_before: bool,
    /// Whether it is a whole batch, so that [`Queue::trim`] may be used.
    pub whole: bool,
}
