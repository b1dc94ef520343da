//! Rewrites a message into another one with the same meaning: fields in another order, unknown fields between them,
//! packed lists unpacked. Every decoder must read all of these forms in the same way.

use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng};

/// Which fields of a message are messages, and which are packed lists of integers.
pub(crate) struct Shape {
    pub(crate) messages: &'static [(u32, &'static Shape)],
    pub(crate) packed: &'static [u32],
}

const FLAT: Shape = Shape { messages: &[], packed: &[] };
const HISTOGRAM: Shape = Shape { messages: &[(8, &FLAT), (11, &FLAT)], packed: &[9, 12] };

pub(crate) const V1: Shape = Shape {
    messages: &[
        (
            1,
            &Shape {
                messages: &[
                    (1, &FLAT),
                    (2, &FLAT),
                    (3, &Shape { messages: &[(1, &FLAT)], packed: &[] }),
                    (4, &HISTOGRAM),
                ],
                packed: &[],
            },
        ),
        (3, &FLAT),
    ],
    packed: &[],
};

pub(crate) const V2: Shape = Shape {
    messages: &[(
        5,
        &Shape {
            messages: &[(2, &FLAT), (3, &HISTOGRAM), (4, &Shape { messages: &[], packed: &[1] }), (5, &FLAT)],
            packed: &[1],
        },
    )],
    packed: &[],
};

/// The source of random numbers for the scrambler.
pub(crate) fn dice() -> impl Strategy<Value = TestRng> {
    any::<[u8; 32]>().prop_map(|seed| TestRng::from_seed(RngAlgorithm::ChaCha, &seed))
}

fn take_varint(input: &mut &[u8]) -> u64 {
    model::varint::take_u64(input).unwrap()
}

/// A field as in the message: its number, and its bytes with the tag.
type Raw = (u32, Vec<u8>);

pub(crate) fn scramble(message: &[u8], shape: &Shape, dice: &mut TestRng) -> Vec<u8> {
    let mut fields: Vec<Raw> = Vec::new();
    let mut input = message;
    while !input.is_empty() {
        let start = input;
        let tag = take_varint(&mut input);
        let number = (tag >> 3) as u32;
        match tag & 7 {
            0 => drop(take_varint(&mut input)),
            1 => input = &input[8..],
            2 => {
                let content = model::varint::take_bytes(&mut input).unwrap();
                if let Some((_, shape)) = shape.messages.iter().find(|(message, _)| *message == number) {
                    fields.push((number, with_length(number, &scramble(content, shape, dice))));
                    continue;
                }
                if shape.packed.contains(&number) && dice.random_bool(0.5) {
                    let mut content = content;
                    while !content.is_empty() {
                        let mut field = Vec::new();
                        model::varint::put_u64(&mut field, u64::from(number) << 3);
                        model::varint::put_u64(&mut field, take_varint(&mut content));
                        fields.push((number, field));
                    }
                    continue;
                }
            }
            other => panic!("wire type {other}"),
        }
        fields.push((number, start[..start.len() - input.len()].to_vec()));
    }
    // Fields with the same number keep their order.
    let mut numbers: Vec<u32> = fields.iter().map(|(number, _)| *number).collect();
    for index in (1..numbers.len()).rev() {
        if dice.random_bool(0.3) {
            numbers.swap(index, dice.random_range(0..=index));
        }
    }
    let mut out = Vec::new();
    for number in numbers {
        if dice.random_bool(0.1) {
            out.extend(unknown(dice));
        }
        let at = fields.iter().position(|(field, _)| *field == number).unwrap();
        out.extend(fields.remove(at).1);
    }
    out
}

fn with_length(number: u32, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    model::varint::put_u64(&mut out, u64::from(number) << 3 | 2);
    model::varint::put_bytes(&mut out, content);
    out
}

/// A field that exists in no version, of any wire type.
fn unknown(dice: &mut TestRng) -> Vec<u8> {
    let number = dice.random_range(100..536_870_911u32);
    let mut out = Vec::new();
    let kind = [0, 1, 2, 5][dice.random_range(0..4)];
    model::varint::put_u64(&mut out, u64::from(number) << 3 | kind);
    match kind {
        0 => model::varint::put_u64(&mut out, dice.random()),
        1 => out.extend([7; 8]),
        2 => model::varint::put_bytes(&mut out, b"from the future"),
        _ => out.extend([7; 4]),
    }
    out
}
