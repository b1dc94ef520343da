//! The settings of a queue, the chunks it reads, and the requests it returns.

#[cfg(doc)]
use super::{EARLY_INTERVAL, LINGER, Queue};
use std::time::Duration;
use wal::Position;

/// A chunk of the log, as the queue sees it.
pub trait Source {
    /// The position in front of this point.
    fn position(&self, point: u32) -> Position;
    /// Hash of the point's outgoing labels, see [`crate::lanes`].
    fn series(&self, point: u32) -> u64;
    /// In milliseconds.
    fn timestamp(&self, point: u32) -> i64;
    /// When the chunk arrived, by the monotonic clock.
    fn arrived(&self) -> Duration;
    /// True if no client waits for the chunk. Such a chunk is not sent early.
    fn can_wait(&self) -> bool;
    /// True if one request with the whole chunk is cheaper to make than several.
    fn keeps_together(&self) -> bool;
    /// Bytes of memory that the chunk keeps.
    fn bytes(&self) -> usize;
}

#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Number of shards at the start.
    pub min_shards: usize,
    pub max_shards: usize,
    /// References per shard. All shards share the sum.
    pub capacity: usize,
    /// Most points in a request.
    pub max_points: usize,
    /// How long a point waits at most for a batch to fill up. The time counts from the shard's last request,
    /// or is [`LINGER`] if that was long ago.
    pub deadline: Duration,
    /// Whether batches are sent before the deadline while the destination is idle and answers fast, see
    /// [`EARLY_INTERVAL`].
    pub early: bool,
    /// First pause after a failed request.
    pub min_backoff: Duration,
    /// Longest pause after a failed request.
    pub max_backoff: Duration,
    /// Most bytes of chunks.
    pub memory: usize,
    pub narrow: bool,
    /// Whether points that keep failing while other data is delivered are parked.
    pub park: bool,
    /// Whether the points of this queue were parked before, and so have failed while other data was
    /// delivered.
    pub was_parked: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// The shard, to be passed to [`Queue::answer`].
    pub shard: usize,
    /// Number of failed tries before this one.
    pub tries: u32,
    /// Whether this request, or a larger one with its points, was sent before.
    pub sent_before: bool,
    /// Whether the request is a whole batch, so that [`Queue::trim`] may be used.
    pub whole: bool,
}
