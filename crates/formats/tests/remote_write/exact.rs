//! Tests which bodies are exact: those that may be forwarded unchanged, because they contain exactly the data that was
//! kept of them.

use crate::plain::{self, PlainSeries, PlainValue};
use crate::{encode, messages, options, oracle, scramble, unsorted, without_empty_metadata};
use formats::remote_write::{DecodeOptions, Decoded, Encoder, Protocol, decode};
use proptest::prelude::*;
use prost::Message;

fn floats_or_histograms(mut all: Vec<PlainSeries>) -> Vec<PlainSeries> {
    for series in &mut all {
        let float = matches!(series.points[0].value, PlainValue::Float(_));
        series.points.retain(|point| matches!(point.value, PlainValue::Float(_)) == float);
    }
    all
}

fn encode_again(protocol: Protocol, decoded: &Decoded) -> Vec<u8> {
    let batch = &decoded.batch;
    let mut encoder = Encoder::new(protocol);
    for (index, series) in batch.series.iter().enumerate() {
        encoder.push_series(batch.labels(index as u32), batch.metadata.get(series.metadata as usize));
        for point in batch.points.iter().filter(|point| point.series == index as u32) {
            encoder.push_point(batch, point).unwrap();
        }
    }
    encoder.finish().to_vec()
}

fn v1(body: &[u8]) -> Vec<PlainSeries> {
    plain::join(messages::of_v1(&oracle::v1::WriteRequest::decode(body).unwrap()))
}

fn v2(body: &[u8]) -> Vec<PlainSeries> {
    without_empty_metadata(plain::join(messages::of_v2(&oracle::v2::Request::decode(body).unwrap())))
}

proptest! {
    #[test]
    fn bodies_of_our_encoder_are_exact(one in crate::batches(false), two in crate::batches(true)) {
        prop_assert!(decode(Protocol::V1, &encode(Protocol::V1, &one), &options()).unwrap().exact);
        prop_assert!(decode(Protocol::V2, &encode(Protocol::V2, &two), &options()).unwrap().exact);
    }

    #[test]
    fn sorted_bodies_of_another_encoder_are_exact(one in crate::batches(false), two in crate::batches(true)) {
        let (one, two) = (floats_or_histograms(one), floats_or_histograms(two));
        prop_assert!(decode(Protocol::V1, &messages::to_v1(&one).encode_to_vec(), &options()).unwrap().exact);
        prop_assert!(decode(Protocol::V2, &messages::to_v2(&two).encode_to_vec(), &options()).unwrap().exact);
    }

    #[test]
    fn an_exact_body_means_the_same_to_another_decoder(
        one in crate::batches(false), two in crate::batches(true), mut dice in scramble::dice()
    ) {
        let body = messages::to_v1(&unsorted(&one, &mut dice)).encode_to_vec();
        for body in [scramble::scramble(&body, &scramble::V1, &mut dice), body] {
            let decoded = decode(Protocol::V1, &body, &options()).unwrap();
            if decoded.exact {
                prop_assert_eq!(v1(&body), v1(&encode_again(Protocol::V1, &decoded)));
            }
        }
        let body = messages::to_v2(&unsorted(&two, &mut dice)).encode_to_vec();
        for body in [scramble::scramble(&body, &scramble::V2, &mut dice), body] {
            let decoded = decode(Protocol::V2, &body, &options()).unwrap();
            if decoded.exact {
                prop_assert_eq!(v2(&body), v2(&encode_again(Protocol::V2, &decoded)));
            }
        }
    }
}

/// An empty field with number 100.
const UNKNOWN: [u8; 3] = [0xa2, 0x06, 0];

/// A message field.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, u8::try_from(content.len()).unwrap()], content].concat()
}

fn is_exact(protocol: Protocol, body: &[u8]) -> bool {
    decode(protocol, body, &options()).unwrap().exact
}

const VALUE: [u8; 9] = [0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f];

#[test]
fn data_outside_of_the_batch_makes_a_1_0_body_inexact() {
    let label =
        |name: &str, value: &str| field(1, &[field(1, name.as_bytes()), field(2, value.as_bytes())].concat());
    let named = label("__name__", "up");
    let sample = field(2, &[&VALUE[..], &[0x10, 7]].concat());
    let exemplar = |more: &[u8]| field(3, &[label("a", "b"), vec![0x18, 7], more.to_vec()].concat());
    let series = |parts: &[&[u8]]| field(1, &parts.concat());
    let whole = series(&[&named, &label("a", "b"), &sample, &exemplar(&[])]);
    let exact = |parts: &[&[u8]]| is_exact(Protocol::V1, &parts.concat());
    assert!(exact(&[&whole]));
    assert!(exact(&[&whole, &whole]));
    assert!(exact(&[&series(&[&sample, &named])]), "the order of fields has no meaning");
    for (what, body) in [
        ("a field of the request", [&whole[..], &UNKNOWN].concat()),
        ("of a series", series(&[&named, &sample, &UNKNOWN])),
        ("of a sample", series(&[&named, &field(2, &[&VALUE[..], &[0x10, 7], &UNKNOWN].concat())])),
        ("of a label", series(&[&field(1, &[&named[2..], &UNKNOWN].concat()), &sample])),
        ("of an exemplar", series(&[&named, &exemplar(&UNKNOWN)])),
        ("unsorted labels", series(&[&label("b", "c"), &named, &sample])),
        ("unsorted labels of an exemplar", series(&[&named, &exemplar(&label("A", "b"))])),
        ("a label without a value", series(&[&named, &label("a", ""), &sample])),
        ("a series that is refused", [&whole[..], &series(&[&label("a", "b"), &sample])].concat()),
        ("a series without samples", [&whole[..], &series(&[&named])].concat()),
        ("a series with nothing", [&whole[..], &series(&[])].concat()),
        ("metadata", [&whole[..], &field(3, &field(2, b"up"))].concat()),
        ("a histogram beside a sample", series(&[&named, &sample, &field(4, &[0x78, 7])])),
        ("a field of a histogram", series(&[&named, &field(4, &[&[0x78, 7][..], &UNKNOWN].concat())])),
        ("an unknown reset hint", series(&[&named, &field(4, &[0x78, 7, 0x70, 9])])),
    ] {
        assert!(!is_exact(Protocol::V1, &body), "{what}");
    }
    assert!(exact(&[&series(&[&named, &field(4, &[0x78, 7])])]), "a histogram by itself");
}

#[test]
fn data_outside_of_the_batch_makes_a_2_0_body_inexact() {
    let symbols = ["", "__name__", "up", "a", "b", "help"];
    let symbols: Vec<u8> = symbols.iter().flat_map(|symbol| field(4, symbol.as_bytes())).collect();
    let sample = field(2, &[&VALUE[..], &[0x10, 7]].concat());
    let series = |parts: &[&[u8]]| [&symbols[..], &field(5, &parts.concat())].concat();
    let named = field(1, &[1, 2]);
    let metadata = |kind, more: &[u8]| field(5, &[&[0x08, kind, 0x18, 5][..], more].concat());
    let exemplar =
        |references: &[u8], more: &[u8]| field(4, &[&field(1, references)[..], &[0x18, 7], more].concat());
    let whole = series(&[&field(1, &[1, 2, 3, 4]), &sample, &exemplar(&[3, 4], &[]), &metadata(1, &[])]);
    assert!(is_exact(Protocol::V2, &whole));
    assert!(is_exact(Protocol::V2, &series(&[&named, &field(2, &[0x10, 7, 0x18, 5])])), "a start timestamp");
    for (what, body) in [
        ("a field of the request", [&whole[..], &UNKNOWN].concat()),
        ("of a series", series(&[&named, &sample, &UNKNOWN])),
        ("of a sample", series(&[&named, &field(2, &[&VALUE[..], &[0x10, 7], &UNKNOWN].concat())])),
        ("of an exemplar", series(&[&named, &exemplar(&[3, 4], &UNKNOWN)])),
        ("of metadata", series(&[&named, &sample, &metadata(1, &UNKNOWN)])),
        ("unsorted labels", series(&[&field(1, &[3, 4, 1, 2]), &sample])),
        ("unsorted labels of an exemplar", series(&[&named, &exemplar(&[3, 4, 1, 2], &[])])),
        ("a label without a value", series(&[&field(1, &[1, 2, 3, 0]), &sample])),
        ("an unknown type", series(&[&named, &sample, &metadata(77, &[])])),
    ] {
        assert!(!is_exact(Protocol::V2, &body), "{what}");
    }
}

#[test]
fn help_that_is_cut_makes_a_body_inexact() {
    let series = |help: &str| {
        let mut encoder = Encoder::new(Protocol::V2);
        let metadata = model::Metadata { help: help.into(), ..model::Metadata::default() };
        encoder.push_series(model::Labels::from_pairs([("__name__", "up")]).as_ref(), Some(&metadata));
        encoder.push_float(1, 0, 1.0);
        encoder.finish().to_vec()
    };
    let limits = model::Limits { value_bytes: 8, ..model::Limits::default() };
    let options = DecodeOptions { limits, ..DecodeOptions::default() };
    let exact = |help| decode(Protocol::V2, &series(help), &options).unwrap().exact;
    assert_eq!([exact("in short"), exact("at length")], [true, false]);
}

#[test]
fn a_padded_body_is_inexact() {
    let symbols = |more: usize| -> Vec<u8> {
        let own = ["", "__name__", "up"].into_iter().flat_map(|symbol| field(4, symbol.as_bytes()));
        own.chain((0..more).flat_map(|_| field(4, b"nothing refers to this"))).collect()
    };
    let series = field(5, &[field(1, &[1, 2]), field(2, &[&VALUE[..], &[0x10, 7]].concat())].concat());
    let exact = |more| is_exact(Protocol::V2, &[symbols(more), series.clone()].concat());
    assert_eq!([exact(0), exact(1), exact(100)], [true, true, false]);
    let label = field(1, &[field(1, b"__name__"), field(2, b"up")].concat());
    let exact = |times: usize| {
        let sample = [VALUE.repeat(times), vec![0x10, 7]].concat();
        is_exact(Protocol::V1, &field(1, &[label.clone(), field(2, &sample)].concat()))
    };
    assert_eq!([exact(1), exact(2)], [true, true]);
}
