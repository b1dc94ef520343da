//! Settings of a destination's queue and of its metadata: Prometheus' keys.

use serde::Deserialize;
use std::time::Duration;

/// The smallest valid `queue_config.max_bytes_per_second`.
pub const BYTES_PER_SECOND_MIN: u64 = 1 << 10;

/// The default of `queue_config.batch_send_deadline`.
pub const BATCH_SEND_DEADLINE: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueueConfig {
    /// Samples that wait in memory, per shard. They are references: destinations share the batches.
    pub capacity: usize,
    /// Most requests under way at once.
    pub max_shards: usize,
    /// Number of shards at the start, and the lowest number.
    pub min_shards: usize,
    /// Most samples in a request.
    pub max_samples_per_send: usize,
    /// How long a sample waits at most for a request to fill up. Prometheus has 5 s.
    #[serde(deserialize_with = "model::duration::deserialize")]
    pub batch_send_deadline: Duration,
    /// The user has set the deadline, so requests are not sent earlier because the destination is idle.
    #[serde(skip)]
    pub deadline_is_set: bool,
    /// Most bytes of compressed bodies that all streams of the destination send in a second. No limit if
    /// absent.
    #[serde(deserialize_with = "model::size::deserialize_rate")]
    pub max_bytes_per_second: Option<u64>,
    /// First pause after a failed request. It doubles with each failure.
    #[serde(deserialize_with = "model::duration::deserialize")]
    pub min_backoff: Duration,
    /// Longest pause after a failed request.
    #[serde(deserialize_with = "model::duration::deserialize")]
    pub max_backoff: Duration,
    /// Whether requests answered with 429 are sent again (off by default in Prometheus).
    pub retry_on_http_429: bool,
    /// Samples older than this are dropped and counted. Off if 0.
    #[serde(deserialize_with = "model::duration::deserialize")]
    pub sample_age_limit: Duration,
}

impl QueueConfig {
    /// Returns the keys that are 0 although then nothing would be sent.
    pub fn zero_keys(&self) -> impl Iterator<Item = &'static str> {
        let keys = [
            ("queue_config.capacity", self.capacity),
            ("queue_config.max_shards", self.max_shards),
            ("queue_config.min_shards", self.min_shards),
            ("queue_config.max_samples_per_send", self.max_samples_per_send),
        ];
        keys.into_iter().filter(|(_, value)| *value == 0).map(|(key, _)| key)
    }
}

impl Default for QueueConfig {
    fn default() -> Self {
        QueueConfig {
            capacity: 10_000,
            max_shards: 50,
            min_shards: 1,
            max_samples_per_send: 2000,
            batch_send_deadline: BATCH_SEND_DEADLINE,
            deadline_is_set: false,
            max_bytes_per_second: None,
            min_backoff: Duration::from_millis(30),
            max_backoff: Duration::from_secs(5),
            retry_on_http_429: true,
            sample_age_limit: Duration::ZERO,
        }
    }
}

/// How metadata is sent in 1.0.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MetadataConfig {
    pub send: bool,
    #[serde(deserialize_with = "model::duration::deserialize")]
    pub send_interval: Duration,
    /// Most families in a request.
    pub max_samples_per_send: usize,
}

impl Default for MetadataConfig {
    fn default() -> Self {
        MetadataConfig { send: true, send_interval: Duration::from_secs(60), max_samples_per_send: 2000 }
    }
}
