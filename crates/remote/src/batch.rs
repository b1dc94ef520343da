//! Makes requests: points of the queue in, a compressed body out.
//!
//! Samples of one series share one time series of the request. Nothing is allocated per series: label sets go
//! from the chunks' canonical bytes straight into a buffer that the next request uses again.

mod original;
mod series;

use self::series::{Groups, SeriesWriter, Written};
use crate::client::Post;
use crate::outgoing::Outgoing;
use crate::output::Encoded;
use bytes::Bytes;
use formats::compress::{Compressor, Encoding};
use formats::remote_write::{Encoder, Protocol};
use model::Metadata;
use std::sync::Arc;

/// Most bytes of a request before compression, unless the receiver asks for less with 413. Prometheus accepts
/// 32 MiB.
pub const REQUEST_BYTES: usize = 4 << 20;
/// A 413 does not lower the limit below this.
pub const REQUEST_BYTES_MIN: usize = 16 << 10;

/// Makes requests, and reuses its buffers.
#[derive(Debug)]
pub struct Batcher {
    v1: Encoder,
    v2: Encoder,
    compressor: Compressor,
    groups: Groups,
    buffer: Vec<u8>,
}

impl Default for Batcher {
    fn default() -> Self {
        Batcher {
            v1: Encoder::new(Protocol::V1),
            v2: Encoder::new(Protocol::V2),
            compressor: Compressor::new(),
            groups: Groups::default(),
            buffer: Vec::new(),
        }
    }
}

/// The metadata of metrics whose series came without. Series of one metric mostly follow each other.
struct Known<'a, F> {
    find: F,
    last: Option<(&'a [u8], Option<Arc<Metadata>>)>,
}

impl<'a, F: Fn(&[u8]) -> Option<Arc<Metadata>>> Known<'a, F> {
    fn of(&mut self, name: &'a [u8]) -> Option<&Metadata> {
        if self.last.as_ref().is_none_or(|(last, _)| *last != name) {
            self.last = Some((name, (self.find)(name)));
        }
        self.last.as_ref()?.1.as_deref()
    }
}

impl Batcher {
    /// Encodes as many of these points as fit into `limit` bytes before compression, at least one. `metadata`
    /// finds the metadata of a metric whose series came without.
    pub fn encode<'a>(
        &mut self,
        protocol: Protocol,
        points: impl Iterator<Item = (&'a Outgoing, u32)> + Clone,
        limit: usize,
        metadata: impl Fn(&[u8]) -> Option<Arc<Metadata>>,
    ) -> Encoded<Post> {
        let mut known = Known { find: metadata, last: None };
        if let Some(encoded) = original::encode(protocol, points.clone(), limit, &mut known) {
            return encoded;
        }
        let Batcher { v1, v2, groups, buffer, .. } = self;
        let encoder = match protocol {
            Protocol::V1 => v1,
            Protocol::V2 => v2,
        };
        encoder.clear();
        let mut writer = SeriesWriter::new(encoder, protocol, known, buffer);
        if groups.is_each_series_once(points.clone()) {
            writer.write_in_order(points, limit);
        } else {
            writer.write_by_series(points, limit, groups);
        }
        let Written { taken, kinds, unsupported, without_start, newest } = writer.written;
        let plain = encoder.finish();
        let plain_bytes = plain.len();
        let encoding = Encoding::Snappy;
        let body = match self.compressor.encode(encoding, plain) {
            Ok(_) if plain.is_empty() => Bytes::new(),
            Ok(body) => Bytes::copy_from_slice(body),
            // Snappy fails only above 4 GiB, which `limit` rules out.
            Err(error) => {
                tracing::error!(%error, "a request could not be compressed");
                Bytes::new()
            }
        };
        encoder.clear();
        let bytes = body.len();
        let message = (bytes > 0).then_some(Post { protocol, body, encoding, attempt: 0 });
        Encoded {
            message,
            taken,
            kinds,
            unsupported,
            without_start,
            newest,
            bytes,
            plain_bytes,
            is_original: false,
        }
    }
}

/// The hash by which tests find a series again.
#[cfg(test)]
fn hash_of(labels: model::LabelsRef<'_>) -> u64 {
    crate::queue::lanes::series_hash(labels.as_bytes())
}

#[cfg(test)]
mod tests;
