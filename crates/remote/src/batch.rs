//! Requests: points of the queue in, a compressed body out.
//!
//! Several samples of one series share one time series of the request. Nothing is allocated per series:
//! label sets go from the chunks' canonical bytes straight into a buffer that is used again for the next
//! request.

use crate::outgoing::Outgoing;
use bytes::Bytes;
use formats::compress::{Compressor, Encoding, join_snappy};
use formats::remote_write::{Encoder, Protocol};
use model::{Kinds, LabelsRef, Metadata, Point, Series, Value, Verbatim};
use std::sync::Arc;

/// Most bytes of a request before compression, unless the receiver asks for less with 413. Prometheus
/// takes 32 MiB.
pub const REQUEST_BYTES: usize = 4 << 20;
/// It is not lowered below this.
pub const REQUEST_BYTES_MIN: usize = 16 << 10;

/// An encoded request.
#[derive(Debug, Clone)]
pub struct Encoded {
    /// The compressed body; empty where nothing could be sent at all.
    pub body: Bytes,
    /// How it is compressed: in snappy, unless it came in zstd.
    pub encoding: Encoding,
    /// How many points it holds: the first so many of those that were given.
    pub taken: usize,
    /// Of which kinds.
    pub kinds: Kinds,
    /// Points among them that this version of the protocol can't carry.
    pub unsupported: Kinds,
    /// Points among them that go out without their start timestamp, since this version has none.
    pub without_start: u64,
    /// Bytes before compression.
    pub plain_bytes: usize,
    /// The newest timestamp in it, in milliseconds; `None` where there is no sample.
    pub newest: Option<i64>,
    /// Whether it is what came in, rather than encoded here.
    pub verbatim: bool,
}

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
    ) -> Encoded {
        let mut known = Known { find: metadata, last: None };
        if let Some(encoded) = verbatim(protocol, points.clone(), limit, &mut known) {
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
        Encoded {
            body,
            encoding,
            taken,
            kinds,
            unsupported,
            without_start,
            plain_bytes,
            newest,
            verbatim: false,
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

/// The requests in which these points came, where the points are all of them and go out as they came: then
/// nothing has to be encoded. Those of 1.0 in snappy are joined to one, since its messages can be written one
/// after the other; one of 2.0, with its table of symbols, and one in zstd only go alone.
fn verbatim<'a>(
    protocol: Protocol,
    points: impl Iterator<Item = (&'a Outgoing, u32)>,
    limit: usize,
    known: &mut Known<'a, impl Fn(&[u8]) -> Option<Arc<Metadata>>>,
) -> Option<Encoded> {
    let mut requests: Vec<&Verbatim> = Vec::new();
    let (mut taken, mut plain_bytes, mut newest) = (0, 0, None);
    let mut kinds = Kinds::default();
    let mut expected: &[Point] = &[];
    for (source, index) in points {
        if expected.is_empty() {
            let request = source.verbatim()?;
            plain_bytes += request.plain_bytes;
            if request.content_type != protocol.content_type() || plain_bytes > limit {
                return None;
            }
            // 2.0 could say more than came.
            let batch = &source.chunk().batch;
            let mut bare =
                batch.series.iter().enumerate().filter(|(_, series)| series.metadata == Series::NO_METADATA);
            if protocol == Protocol::V2
                && bare.any(|(number, _)| known.of(batch.labels(number as u32)).is_some())
            {
                return None;
            }
            requests.push(request);
            expected = source.chunk().points();
        }
        let (point, rest) = expected.split_first()?;
        if !source.point(index).is_some_and(|given| std::ptr::eq(given, point)) {
            return None;
        }
        if !matches!(point.value, Value::Exemplar(_)) {
            newest = newest.max(Some(point.timestamp));
        }
        kinds.count(&point.value);
        taken += 1;
        expected = rest;
    }
    if !expected.is_empty() {
        return None;
    }
    let snappy = requests.iter().all(|request| request.encoding == Encoding::Snappy.as_str());
    let (body, encoding) = match requests.as_slice() {
        [] => return None,
        [request] => (request.body.clone(), if snappy { Encoding::Snappy } else { Encoding::Zstd }),
        several if snappy && protocol == Protocol::V1 => {
            let joined = join_snappy(several.iter().map(|request| request.body.as_ref()))?;
            (joined.into(), Encoding::Snappy)
        }
        _ => return None,
    };
    // What this version can't carry didn't come in it.
    let (unsupported, without_start) = (Kinds::default(), 0);
    Some(Encoded {
        body,
        encoding,
        taken,
        kinds,
        unsupported,
        without_start,
        plain_bytes,
        newest,
        verbatim: true,
    })
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
mod tests {
    #![allow(clippy::unwrap_used, reason = "helper functions of tests")]
    use super::*;
    use crate::outgoing::Rules;
    use formats::compress::Decompressor;
    use formats::remote_write::{DecodeOptions, decode};
    use model::{Batch, Labels};
    use relabel::AddedLabels;
    use std::time::Duration;
    use storage::Chunk;
    use wal::Position;

    fn outgoing(series: &[&str], points: &[(u32, i64)], rules: &mut Rules) -> Outgoing {
        let mut batch = Batch::new();
        for name in series {
            let labels = Labels::from_pairs([("__name__", *name), ("job", "a")]);
            batch.add_series(labels.as_ref(), model::Series::NO_METADATA);
        }
        for (series, timestamp) in points {
            batch.push_float(*series, *timestamp, *timestamp as f64);
        }
        let refs = (0..series.len() as u64).collect();
        let (start, end) = (Position::default(), Position::start_of(1));
        let arrived = Duration::ZERO;
        Outgoing::new(
            Arc::new(Chunk { batch, refs, segment: 0, records: vec![], start, end, arrived }),
            rules,
        )
    }

    fn decoded(protocol: Protocol, encoded: &Encoded) -> Batch {
        let mut plain = Vec::new();
        Decompressor::new().decode(Encoding::Snappy, &encoded.body, 1 << 30, &mut plain).unwrap();
        assert_eq!(plain.len(), encoded.plain_bytes);
        decode(protocol, &plain, &DecodeOptions::default()).unwrap().batch
    }

    /// The chunk with the request that it came in, of one sample a series; further labels are added on the way
    /// out.
    fn pushed(protocol: Protocol, series: &[&str], external: &[(&str, &str)]) -> Outgoing {
        let points: Vec<(u32, i64)> = (0..series.len() as u32).map(|series| (series, 7)).collect();
        let external: Vec<_> =
            external.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let relabel = relabel::Relabeller::default();
        let mut rules = Rules::new(AddedLabels::new(&external), relabel, true, true);
        let source = outgoing(series, &points, &mut Rules::default());
        let all = (0..points.len() as u32).map(|point| (&source, point));
        let encoded = Batcher::default().encode(protocol, all, usize::MAX, |_| None);
        let mut chunk = Chunk::clone(source.chunk());
        chunk.batch.verbatim = Some(Box::new(Verbatim {
            content_type: protocol.content_type(),
            encoding: "snappy",
            body: encoded.body,
            plain_bytes: encoded.plain_bytes,
        }));
        Outgoing::new(Arc::new(chunk), &mut rules)
    }

    fn all(source: &Outgoing) -> impl Iterator<Item = (&Outgoing, u32)> + Clone {
        (0..source.chunk().points().len() as u32).map(move |point| (source, point))
    }

    #[test]
    fn a_request_that_needs_no_change_goes_out_as_it_came() {
        for protocol in [Protocol::V1, Protocol::V2] {
            let a = pushed(protocol, &["x", "y", "z"], &[]);
            let came = &a.verbatim().unwrap().body;
            let encoded = Batcher::default().encode(protocol, all(&a), usize::MAX, |_| None);
            assert!(encoded.verbatim && encoded.body == came);
            assert_eq!((encoded.taken, encoded.kinds.samples, encoded.newest), (3, 3, Some(7)));
            let other = if protocol == Protocol::V1 { Protocol::V2 } else { Protocol::V1 };
            let encode = |points: &[(&Outgoing, u32)], protocol, limit| {
                let encoded = Batcher::default().encode(protocol, points.iter().copied(), limit, |_| None);
                (encoded.verbatim, encoded.taken, decoded(protocol, &encoded).points.len())
            };
            let points: Vec<_> = all(&a).collect();
            assert_eq!(encode(&points, other, usize::MAX), (false, 3, 3), "in the other version");
            assert_eq!(encode(&points[..2], protocol, usize::MAX), (false, 2, 2), "not to its end");
            assert_eq!(encode(&points[1..], protocol, usize::MAX), (false, 2, 2), "not from its beginning");
            let gap = [points[0], points[2]];
            assert_eq!(encode(&gap, protocol, usize::MAX), (false, 2, 2), "with a gap");
            assert_eq!(encode(&points, protocol, 10), (false, 1, 1), "larger than the receiver takes");
            let b = pushed(protocol, &["x"], &[("region", "eu")]);
            assert_eq!(encode(&[(&b, 0)], protocol, usize::MAX), (false, 1, 1), "with other labels");
            let c = outgoing(&["x"], &[(0, 1)], &mut Rules::default());
            let known = |name: &[u8]| (name == b"z").then(|| Arc::new(Metadata::default()));
            let told = Batcher::default().encode(protocol, all(&a), usize::MAX, known);
            assert_eq!(told.verbatim, protocol == Protocol::V1, "2.0 tells what is known besides");
            let mixed: Vec<_> = all(&a).chain([(&c, 0)]).collect();
            assert_eq!(encode(&mixed, protocol, usize::MAX), (false, 4, 4), "beside what came otherwise");
        }
    }

    #[test]
    fn whole_requests_of_1_0_are_joined_and_those_of_2_0_are_not() {
        for protocol in [Protocol::V1, Protocol::V2] {
            let [a, b] = [&["x", "y"], &["x", "z"]].map(|series| pushed(protocol, series, &[]));
            let both: Vec<_> = all(&a).chain(all(&b)).collect();
            let encoded = Batcher::default().encode(protocol, both.iter().copied(), usize::MAX, |_| None);
            assert_eq!((encoded.verbatim, encoded.taken), (protocol == Protocol::V1, 4));
            let batch = decoded(protocol, &encoded);
            let mut names: Vec<String> =
                batch.points.iter().map(|point| batch.labels(point.series).to_string()).collect();
            names.sort();
            assert_eq!(names, [r#"x{job="a"}"#, r#"x{job="a"}"#, r#"y{job="a"}"#, r#"z{job="a"}"#]);
        }
    }

    #[test]
    fn a_request_in_zstd_goes_out_by_itself_only() {
        let zstd = |series| {
            let mut chunk = Chunk::clone(pushed(Protocol::V1, series, &[]).chunk());
            let mut verbatim = chunk.batch.verbatim.take().unwrap();
            (verbatim.encoding, verbatim.body) = ("zstd", Bytes::from_static(b"in zstd"));
            chunk.batch.verbatim = Some(verbatim);
            Outgoing::new(Arc::new(chunk), &mut Rules::default())
        };
        let (a, b) = (zstd(&["x"]), zstd(&["y"]));
        let alone = Batcher::default().encode(Protocol::V1, all(&a), usize::MAX, |_| None);
        assert_eq!(
            (alone.verbatim, alone.encoding, &alone.body[..]),
            (true, Encoding::Zstd, &b"in zstd"[..])
        );
        let both = Batcher::default().encode(Protocol::V1, all(&a).chain(all(&b)), usize::MAX, |_| None);
        assert_eq!((both.verbatim, both.encoding), (false, Encoding::Snappy));
        assert_eq!(decoded(Protocol::V1, &both).points.len(), 2);
    }

    #[test]
    fn samples_of_one_series_share_a_time_series_across_chunks() {
        let mut rules = Rules::default();
        let a = outgoing(&["x", "y", "x"], &[(0, 1), (1, 1), (2, 2)], &mut rules);
        let b = outgoing(&["y", "x"], &[(0, 2), (1, 3)], &mut rules);
        let mut batcher = Batcher::default();
        for protocol in [Protocol::V1, Protocol::V2] {
            let points = [(&a, 0), (&a, 1), (&a, 2), (&b, 0), (&b, 1)];
            let encoded = batcher.encode(protocol, points.into_iter(), usize::MAX, |_| None);
            assert_eq!((encoded.taken, encoded.kinds.samples, encoded.newest), (5, 5, Some(3)));
            let batch = decoded(protocol, &encoded);
            assert_eq!(batch.series.len(), 2);
            let times: Vec<_> = batch.points.iter().map(|point| (point.series, point.timestamp)).collect();
            assert_eq!(times, [(0, 1), (0, 2), (0, 3), (1, 1), (1, 2)]);
        }
        assert_eq!(a.hash(0), hash_of(a.labels(2)));
    }

    #[test]
    fn external_labels_are_sent() {
        let external = AddedLabels::new(&[("region".into(), "eu".into()), ("job".into(), "b".into())]);
        let mut rules = Rules::new(external, relabel::Relabeller::default(), true, true);
        let a = outgoing(&["x"], &[(0, 1)], &mut rules);
        let encoded = Batcher::default().encode(Protocol::V2, [(&a, 0)].into_iter(), usize::MAX, |_| None);
        let batch = decoded(Protocol::V2, &encoded);
        assert_eq!(batch.labels(0).to_string(), r#"x{job="a",region="eu"}"#);
    }

    #[test]
    fn metadata_is_looked_up_for_2_0() {
        let a = outgoing(&["x"], &[(0, 1)], &mut Rules::default());
        let metadata = |name: &[u8]| {
            assert_eq!(name, b"x");
            Some(Arc::new(Metadata { help: "what it is".into(), ..Metadata::default() }))
        };
        let encoded = Batcher::default().encode(Protocol::V2, [(&a, 0)].into_iter(), usize::MAX, metadata);
        let batch = decoded(Protocol::V2, &encoded);
        assert_eq!(batch.metadata[0].help, "what it is");
    }

    #[test]
    fn the_limit_on_bytes_cuts_the_batch_but_leaves_one_point() {
        let names: Vec<String> = (0..5000).map(|n| format!("metric_{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let points: Vec<(u32, i64)> = (0..5000).map(|n| (n, 1)).collect();
        let a = outgoing(&names, &points, &mut Rules::default());
        let mut batcher = Batcher::default();
        let all = || (0..5000).map(|n| (&a, n));
        let encoded = batcher.encode(Protocol::V1, all(), 100_000, |_| None);
        assert!(encoded.taken > 500 && encoded.taken < 5000, "{}", encoded.taken);
        assert!(encoded.plain_bytes <= 100_000);
        assert_eq!(decoded(Protocol::V1, &encoded).points.len(), encoded.taken);
        let encoded = batcher.encode(Protocol::V1, all(), 1, |_| None);
        assert_eq!(encoded.taken, 1);
        let encoded = batcher.encode(Protocol::V2, all().filter(|_| true), usize::MAX, |_| None);
        assert_eq!(decoded(Protocol::V2, &encoded).series.len(), 5000, "the table grows");
    }
}
