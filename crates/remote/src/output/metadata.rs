//! Metadata in 1.0: types and help texts are sent in requests of their own. They are repeated, because
//! receivers keep them only in memory.

use crate::client::{Client, Post};
use crate::config::MetadataConfig;
use crate::stats::Stats;
use bytes::Bytes;
use formats::compress::{Compressor, Encoding};
use formats::remote_write::{Encoder, Protocol};
use futures_util::future::BoxFuture;
use model::Metadata;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

#[derive(Debug)]
pub(crate) struct MetadataSender {
    config: MetadataConfig,
    next: Duration,
    is_under_way: bool,
}

impl MetadataSender {
    pub(crate) fn new(config: MetadataConfig) -> Self {
        MetadataSender { config, next: Duration::ZERO, is_under_way: false }
    }

    /// Returns how many families a request may have, if metadata is due.
    pub(crate) fn due(&self, now: Duration) -> Option<usize> {
        let is_due = self.config.send && !self.is_under_way && now >= self.next;
        is_due.then_some(self.config.max_samples_per_send)
    }

    /// Notes that metadata is sent.
    pub(crate) fn begin(&mut self, now: Duration) {
        self.next = now + self.config.send_interval;
        self.is_under_way = true;
    }

    /// Notes that metadata was sent, or that its requests failed.
    pub(crate) fn end(&mut self) {
        self.is_under_way = false;
    }
}

/// Sends all metadata once, in requests of `per_request` families, one after another. Failures are counted.
/// The families are sent again the next time.
pub(crate) fn send(
    client: Client,
    all: Vec<Arc<Metadata>>,
    per_request: usize,
    stats: Arc<Stats>,
) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        for some in all.chunks(per_request.max(1)) {
            let count = some.len() as u64;
            let Some(body) = encode(some) else { continue };
            let post = Post { protocol: Protocol::V1, body, encoding: Encoding::Snappy, attempt: 0 };
            match client.post(post, SystemTime::UNIX_EPOCH, &stats.metadata_bytes).await {
                Ok(answer) if (200..300).contains(&answer.status) => stats.metadata.add(count),
                Ok(answer) => {
                    let again = matches!(answer.status, 408 | 429 | 500..);
                    let counter = if again { &stats.metadata_retried } else { &stats.metadata_failed };
                    counter.add(count);
                    tracing::debug!(status = answer.status, words = %answer.words, "metadata was refused");
                }
                Err(error) => {
                    stats.metadata_retried.add(count);
                    tracing::debug!(%error, "metadata could not be sent");
                }
            }
        }
    })
}

fn encode(some: &[Arc<Metadata>]) -> Option<Bytes> {
    let mut encoder = Encoder::new(Protocol::V1);
    for metadata in some {
        encoder.push_metadata(metadata);
    }
    let body = Compressor::new().encode(Encoding::Snappy, encoder.finish()).map(Bytes::copy_from_slice);
    body.ok()
}
