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
    // References as the log's registry would give them.
    let refs = series.iter().map(|name| u64::from(crc32c::crc32c(name.as_bytes()))).collect();
    let (start, end) = (Position::default(), Position::start_of(1));
    let arrived = Duration::ZERO;
    Outgoing::new(Arc::new(Chunk { batch, refs, segment: 0, records: vec![], start, end, arrived }), rules)
}

fn post(encoded: &Encoded<Post>) -> &Post {
    encoded.message.as_ref().unwrap()
}

fn decoded(protocol: Protocol, encoded: &Encoded<Post>) -> Batch {
    let mut plain = Vec::new();
    Decompressor::new().decode(Encoding::Snappy, &post(encoded).body, 1 << 30, &mut plain).unwrap();
    assert_eq!(plain.len(), encoded.plain_bytes);
    decode(protocol, &plain, &DecodeOptions::default()).unwrap().batch
}

/// Returns a chunk that keeps the request that it came in, with one sample per series. `external` labels are
/// added when it is sent.
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
    chunk.batch.mark_exact(protocol.content_type());
    chunk.batch.keep_original("snappy", post(&encoded).body.to_vec(), encoded.plain_bytes);
    Outgoing::new(Arc::new(chunk), &mut rules)
}

fn all(source: &Outgoing) -> impl Iterator<Item = (&Outgoing, u32)> + Clone {
    (0..source.chunk().points().len() as u32).map(move |point| (source, point))
}

#[test]
fn request_without_changes_is_sent_as_it_came() {
    for protocol in [Protocol::V1, Protocol::V2] {
        let a = pushed(protocol, &["x", "y", "z"], &[]);
        let came = &a.original().unwrap().body;
        let encoded = Batcher::default().encode(protocol, all(&a), usize::MAX, |_| None);
        assert!(encoded.is_original && post(&encoded).body == came);
        assert_eq!((encoded.taken, encoded.kinds.samples, encoded.newest), (3, 3, Some(7)));
        let other = if protocol == Protocol::V1 { Protocol::V2 } else { Protocol::V1 };
        let encode = |points: &[(&Outgoing, u32)], protocol, limit| {
            let encoded = Batcher::default().encode(protocol, points.iter().copied(), limit, |_| None);
            (encoded.is_original, encoded.taken, decoded(protocol, &encoded).points.len())
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
        assert_eq!(told.is_original, protocol == Protocol::V1, "2.0 tells what is known besides");
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
        assert_eq!((encoded.is_original, encoded.taken), (protocol == Protocol::V1, 4));
        let batch = decoded(protocol, &encoded);
        let mut names: Vec<String> =
            batch.points.iter().map(|point| batch.labels(point.series).to_string()).collect();
        names.sort();
        assert_eq!(names, [r#"x{job="a"}"#, r#"x{job="a"}"#, r#"y{job="a"}"#, r#"z{job="a"}"#]);
    }
}

#[test]
fn zstd_request_is_sent_alone() {
    let zstd = |series| {
        let mut chunk = Chunk::clone(pushed(Protocol::V1, series, &[]).chunk());
        chunk.batch.mark_exact(Protocol::V1.content_type());
        chunk.batch.keep_original("zstd", b"in zstd".to_vec(), 100);
        Outgoing::new(Arc::new(chunk), &mut Rules::default())
    };
    let (a, b) = (zstd(&["x"]), zstd(&["y"]));
    let alone = Batcher::default().encode(Protocol::V1, all(&a), usize::MAX, |_| None);
    assert_eq!(
        (alone.is_original, post(&alone).encoding, &post(&alone).body[..]),
        (true, Encoding::Zstd, &b"in zstd"[..])
    );
    let both = Batcher::default().encode(Protocol::V1, all(&a).chain(all(&b)), usize::MAX, |_| None);
    assert_eq!((both.is_original, post(&both).encoding), (false, Encoding::Snappy));
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
    let encoded = batcher.encode(Protocol::V1, (0..3).map(|point| (&a, point)), usize::MAX, |_| None);
    let times: Vec<_> =
        decoded(Protocol::V1, &encoded).points.iter().map(|point| (point.series, point.timestamp)).collect();
    assert_eq!(times, [(0, 1), (0, 2), (1, 1)], "of one chunk, too");
    assert_eq!(a.hash(0), hash_of(a.labels(2, &mut Vec::new())));
}

/// If no rule sees the labels, only external labels can make two series equal, because a series may have such
/// a label.
#[test]
fn series_made_equal_by_external_labels_stay_in_order() {
    let external = AddedLabels::new(&[("job".into(), "a".into())]);
    let mut rules = Rules::new(external, relabel::Relabeller::default(), true, true);
    let chunk = |reference: u64, pairs: &[(&str, &str)], timestamp, rules: &mut Rules| {
        let mut chunk = Chunk::clone(outgoing(&["x"], &[(0, timestamp)], rules).chunk());
        chunk.batch.set_labels(0, Labels::from_pairs(pairs.iter().copied()).as_ref().as_bytes());
        chunk.refs = vec![reference];
        Outgoing::new(Arc::new(chunk), rules)
    };
    let [own, none] = [&[("__name__", "x"), ("job", "a")][..], &[("__name__", "x")]];
    let chunks = [chunk(1, own, 1, &mut rules), chunk(2, none, 2, &mut rules), chunk(1, own, 3, &mut rules)];
    let points = chunks.iter().map(|chunk| (chunk, 0));
    let encoded = Batcher::default().encode(Protocol::V1, points, usize::MAX, |_| None);
    let batch = decoded(Protocol::V1, &encoded);
    let times: Vec<_> = batch.points.iter().map(|point| (point.series, point.timestamp)).collect();
    assert_eq!((batch.series.len(), times), (1, vec![(0, 1), (0, 2), (0, 3)]));
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
fn byte_limit_cuts_the_batch_but_leaves_one_point() {
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
