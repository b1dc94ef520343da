//! Remote write as others may send it: labels in any order, exemplars by themselves, symbols in any order and
//! unused ones, fields that are no more. What narthex' own encoder never does, and a receiver has to take.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use axum::body::Body;
use axum::response::Response;
use common::{START, World, answer};
use formats::compress::{Compressor, Encoding};
use http::Request;

const V1: &str = "application/x-protobuf";
const V2: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";

/// A field with bytes in it.
fn bytes(number: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    model::varint::put_bytes(&mut out, content);
    out
}

fn number(field: u8, value: i64) -> Vec<u8> {
    let mut out = vec![field << 3];
    model::varint::put_u64(&mut out, value as u64);
    out
}

fn double(field: u8, value: f64) -> Vec<u8> {
    [&[field << 3 | 1], &value.to_le_bytes()[..]].concat()
}

fn sample(value: f64, time: i64) -> Vec<u8> {
    [double(1, value), number(2, time)].concat()
}

/// Labels of 1.0, in the field with this number.
fn labels(field: u8, pairs: &[(&str, &str)]) -> Vec<u8> {
    let label = |(name, value): &(&str, &str)| {
        bytes(field, &[bytes(1, name.as_bytes()), bytes(2, value.as_bytes())].concat())
    };
    pairs.iter().flat_map(label).collect()
}

/// Symbols of 2.0, each of which a reference means by its place.
fn symbols(all: &[&str]) -> Vec<u8> {
    all.iter().flat_map(|symbol| bytes(4, symbol.as_bytes())).collect()
}

async fn send(world: &World, content_type: &str, message: &[u8]) -> Response {
    let body = Compressor::new().encode(Encoding::Snappy, message).unwrap().to_vec();
    let request = Request::post("/api/v1/write").header("content-type", content_type);
    world.request(request.body(Body::from(body)).unwrap()).await
}

fn exemplars_written(response: &Response) -> &str {
    response.headers()["x-prometheus-remote-write-exemplars-written"].to_str().unwrap()
}

#[tokio::test]
async fn labels_in_any_order_are_sorted_and_are_the_series_they_are_when_sorted() {
    let mut world = World::new().await;
    let series = |pairs: &[(&str, &str)], time| [labels(1, pairs), bytes(2, &sample(1.0, time))].concat();
    let message = [
        bytes(1, &series(&[("zone", "b"), ("__name__", "m"), ("job", "a")], START)),
        bytes(1, &series(&[("__name__", "m"), ("job", "a"), ("zone", "b")], START + 1)),
    ];
    assert_eq!(send(&world, V1, &message.concat()).await.status(), 204);
    let sorted = [r#"m{job="a",zone="b"} 1 +0"#, r#"m{job="a",zone="b"} 1 +1"#];
    assert_eq!(world.texts().await, sorted);
    assert_eq!(world.storage.stats().series.get(), 1, "one series, not two");

    let table = symbols(&["", "zone", "b", "job", "a", "__name__", "m", "nobody refers to this"]);
    let first = [bytes(1, &[1, 2, 5, 6, 3, 4]), bytes(2, &sample(1.0, START))].concat();
    let second = [bytes(1, &[5, 6, 3, 4, 1, 2]), bytes(2, &sample(1.0, START + 1))].concat();
    let message = [table, bytes(5, &first), bytes(5, &second)].concat();
    assert_eq!(send(&world, V2, &message).await.status(), 204);
    assert_eq!(world.texts().await, sorted);
    assert_eq!(world.storage.stats().series.get(), 1);
}

#[tokio::test]
async fn a_name_that_is_there_twice_costs_its_series_whatever_the_order() {
    let mut world = World::new().await;
    let series = |pairs: &[(&str, &str)]| [labels(1, pairs), bytes(2, &sample(1.0, START))].concat();
    let message = [
        bytes(1, &series(&[("a", "1"), ("__name__", "m"), ("a", "2")])),
        bytes(1, &series(&[("__name__", "n")])),
    ];
    let (status, text) = answer(send(&world, V1, &message.concat()).await).await;
    assert_eq!(status, 400);
    assert!(text.starts_with("left out 1 series, 1 sample: time series 0"), "{text}");
    let table = symbols(&["", "a", "1", "__name__", "m", "2", "n"]);
    let message = [
        table,
        bytes(5, &[bytes(1, &[1, 2, 3, 4, 1, 5]), bytes(2, &sample(1.0, START))].concat()),
        bytes(5, &[bytes(1, &[3, 6]), bytes(2, &sample(1.0, START))].concat()),
    ];
    let response = send(&world, V2, &message.concat()).await;
    assert_eq!(response.headers()["x-prometheus-remote-write-samples-written"], "1");
    assert_eq!(response.status(), 400);
    assert_eq!(world.texts().await, ["n 1 +0", "n 1 +0"]);
}

#[tokio::test]
async fn a_series_with_exemplars_only_is_taken() {
    let mut world = World::new().await;
    let exemplar = [labels(1, &[("trace_id", "x")]), double(2, 0.5), number(3, START)].concat();
    let message = bytes(1, &[labels(1, &[("__name__", "m")]), bytes(3, &exemplar)].concat());
    assert_eq!(send(&world, V1, &message).await.status(), 204);
    assert_eq!(world.texts().await, ["m exemplar {trace_id=\"x\"} 0.5 +0"]);

    let exemplar = [bytes(1, &[3, 4]), double(2, 0.5), number(3, START)].concat();
    let series = [bytes(1, &[1, 2]), bytes(4, &exemplar)].concat();
    let message = [symbols(&["", "__name__", "m", "trace_id", "x"]), bytes(5, &series)].concat();
    let response = send(&world, V2, &message).await;
    assert_eq!((response.status().as_u16(), exemplars_written(&response)), (204, "1"));
    assert_eq!(world.texts().await, ["m exemplar {trace_id=\"x\"} 0.5 +0"]);
}

#[tokio::test]
async fn fields_that_are_no_more_and_those_to_come_are_passed_over() {
    let mut world = World::new().await;
    // A start timestamp of the series, as early senders of 2.0 still have it, and fields nobody knows yet.
    let old = [bytes(1, &[1, 2]), number(6, START - 5), bytes(2, &sample(1.0, START)), bytes(15, b"new")];
    let message = [symbols(&["", "__name__", "m"]), bytes(5, &old.concat()), number(14, 7)].concat();
    assert_eq!(send(&world, V2, &message).await.status(), 204);
    assert_eq!(world.texts().await, ["m 1 +0"]);
    // Labels behind the samples.
    let message = bytes(1, &[bytes(2, &sample(2.0, START)), labels(1, &[("__name__", "m")])].concat());
    assert_eq!(send(&world, V1, &message).await.status(), 204);
    assert_eq!(world.texts().await, ["m 2 +0"]);
}

#[tokio::test]
async fn a_series_of_2_0_with_both_floats_and_histograms_is_taken_and_one_of_nothing_is_not() {
    let mut world = World::new().await;
    let histogram = [number(1, 0), number(15, START + 1)].concat();
    let both = [bytes(1, &[1, 2]), bytes(2, &sample(1.0, START)), bytes(3, &histogram)].concat();
    for (series, status) in [(both, 204), (bytes(1, &[1, 2]), 400), (vec![], 400)] {
        let message = [symbols(&["", "__name__", "m"]), bytes(5, &series)].concat();
        let (has, text) = answer(send(&world, V2, &message).await).await;
        assert_eq!(has, status, "{text}");
        assert!(status == 204 || text.ends_with("no sample, histogram or exemplar\n"), "{text}");
    }
    assert_eq!(world.lines().await.len(), 2);
}
