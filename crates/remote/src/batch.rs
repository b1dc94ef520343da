//! Requests: points of the queue in, a compressed body out.
//!
//! Several samples of one series share one time series of the request. Nothing is allocated per series:
//! label sets go from the chunks' canonical bytes straight into a buffer that is used again for the next
//! request.

mod original;

use crate::client::Post;
use crate::outgoing::Outgoing;
use crate::output::Encoded;
use bytes::Bytes;
use formats::compress::{Compressor, Encoding};
use formats::remote_write::{Encoder, Protocol};
use model::{Kinds, LabelsRef, Metadata, Point, Value};
use std::sync::Arc;

/// Most bytes of a request before compression, unless the receiver asks for less with 413. Prometheus
/// takes 32 MiB.
pub const REQUEST_BYTES: usize = 4 << 20;
/// It is not lowered below this.
pub const REQUEST_BYTES_MIN: usize = 16 << 10;

/// Makes requests. Keeps its buffers.
#[derive(Debug)]
pub struct Batcher {
    v1: Encoder,
    v2: Encoder,
    compressor: Compressor,
    table: Vec<u32>,
}

impl Default for Batcher {
    fn default() -> Self {
        Batcher {
            v1: Encoder::new(Protocol::V1),
            v2: Encoder::new(Protocol::V2),
            compressor: Compressor::new(),
            table: Vec::new(),
        }
    }
}

struct Entry<'a> {
    source: &'a Outgoing,
    point: &'a Point,
    next: u32,
}

struct Group {
    hash: u64,
    first: u32,
    last: u32,
}

const NONE: u32 = u32::MAX;

/// What is known of metrics whose series came without. Series of one metric follow each other, as a rule.
struct Known<'a, F> {
    find: F,
    last: Option<(&'a [u8], Option<Arc<Metadata>>)>,
}

impl<'a, F: Fn(&[u8]) -> Option<Arc<Metadata>>> Known<'a, F> {
    fn of(&mut self, labels: LabelsRef<'a>) -> Option<&Metadata> {
        let name = labels.metric_name().unwrap_or_default();
        if self.last.as_ref().is_none_or(|(last, _)| *last != name) {
            self.last = Some((name, (self.find)(name)));
        }
        self.last.as_ref()?.1.as_deref()
    }
}

impl Batcher {
    /// Encodes as many of these points as fit `limit` bytes before compression (at least one). `metadata`
    /// finds what is known of a metric, for what came without.
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
        let (entries, groups, newest) = self.group(points, limit);
        let encoder = match protocol {
            Protocol::V1 => &mut self.v1,
            Protocol::V2 => &mut self.v2,
        };
        encoder.clear();
        let mut kinds = Kinds::default();
        let mut unsupported = Kinds::default();
        let mut without_start = 0;
        for group in &groups {
            let mut next = group.first;
            let Some(first) = entries.get(next as usize) else {
                model::invariant!(false, "each series of a request begins with one of its points");
                continue;
            };
            let labels = first.source.labels(first.point.series);
            let batch = &first.source.chunk().batch;
            let own = batch.series.get(first.point.series as usize);
            let own = own.and_then(|series| batch.metadata.get(series.metadata as usize));
            let own = own.or_else(|| if protocol == Protocol::V2 { known.of(labels) } else { None });
            encoder.push_series(labels, own);
            while let Some(entry) = entries.get(next as usize) {
                kinds.count(&entry.point.value);
                if encoder.push_point(&entry.source.chunk().batch, entry.point).is_err() {
                    unsupported.count(&entry.point.value);
                } else if protocol == Protocol::V1 && entry.point.start_timestamp != 0 {
                    without_start += 1;
                }
                next = entry.next;
            }
        }
        let taken = entries.len();
        let plain = encoder.finish();
        let plain_bytes = plain.len();
        let encoding = Encoding::Snappy;
        let body = match self.compressor.encode(encoding, plain) {
            Ok(_) if plain.is_empty() => Bytes::new(),
            Ok(body) => Bytes::copy_from_slice(body),
            // Snappy refuses only what is over 4 GiB, which `limit` rules out.
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

    /// Puts points of one series together, each series where its first point stands.
    fn group<'a>(
        &mut self,
        points: impl Iterator<Item = (&'a Outgoing, u32)>,
        limit: usize,
    ) -> (Vec<Entry<'a>>, Vec<Group>, Option<i64>) {
        let expected = points.size_hint().0;
        let mut entries: Vec<Entry<'a>> = Vec::with_capacity(expected);
        let mut groups: Vec<Group> = Vec::with_capacity(expected);
        let mut newest = None;
        let mut bytes = 0;
        self.table.clear();
        self.table.resize(1024.max((expected * 2).next_power_of_two()), NONE);
        for (source, index) in points {
            let Some(point) = source.point(index) else {
                model::invariant!(false, "a point of a request is in its chunk", index = index);
                // No point behind it is counted as taken, since those are counted from the front.
                break;
            };
            let hash = source.hash(point.series);
            if groups.len() * 2 > self.table.len() {
                self.grow(&groups);
            }
            let mask = self.table.len() - 1;
            let mut at = (hash >> 8) as usize & mask;
            let group = loop {
                let Some(&number) = self.table.get(at) else { break NONE };
                let Some(group) = groups.get(number as usize) else { break NONE };
                if group.hash == hash
                    && entries.get(group.first as usize).is_some_and(|first| {
                        first.source.labels(first.point.series) == source.labels(point.series)
                    })
                {
                    break number;
                }
                at = (at + 1) & mask;
            };
            bytes += 24 + payload_bytes(source, point);
            if group == NONE {
                bytes += 32 + source.labels(point.series).as_bytes().len() * 5 / 4;
            }
            if bytes > limit && !entries.is_empty() {
                break;
            }
            if !matches!(point.value, Value::Exemplar(_)) {
                newest = newest.max(Some(point.timestamp));
            }
            let number = entries.len() as u32;
            entries.push(Entry { source, point, next: NONE });
            match groups.get_mut(group as usize) {
                Some(group) => {
                    if let Some(last) = entries.get_mut(group.last as usize) {
                        last.next = number;
                    }
                    group.last = number;
                }
                None => {
                    if let Some(slot) = self.table.get_mut(at) {
                        *slot = groups.len() as u32;
                    }
                    groups.push(Group { hash, first: number, last: number });
                }
            }
        }
        (entries, groups, newest)
    }

    fn grow(&mut self, groups: &[Group]) {
        let size = self.table.len() * 2;
        self.table.clear();
        self.table.resize(size, NONE);
        for (number, group) in (0u32..).zip(groups) {
            let mut at = (group.hash >> 8) as usize & (size - 1);
            while self.table.get(at).is_some_and(|slot| *slot != NONE) {
                at = (at + 1) & (size - 1);
            }
            if let Some(slot) = self.table.get_mut(at) {
                *slot = number;
            }
        }
    }
}

/// About how many bytes the point takes beyond its time and value.
fn payload_bytes(source: &Outgoing, point: &Point) -> usize {
    let batch = &source.chunk().batch;
    match point.value {
        Value::Float(_) => 0,
        Value::Histogram(index) => batch.histograms.get(index as usize).map_or(0, |h| 64 + h.heap_bytes()),
        Value::Exemplar(index) => {
            batch.exemplars.get(index as usize).map_or(0, |exemplar| exemplar.labels.len as usize * 5 / 4)
        }
    }
}

/// The hash under which a series is found again in tests.
#[cfg(test)]
fn hash_of(labels: model::LabelsRef<'_>) -> u64 {
    crate::queue::lanes::series_hash(labels.as_bytes())
}

#[cfg(test)]
mod tests;
