//! Encodes the parts of entries: labels, numbers, texts, lists.

use model::varint::{put_bytes, put_i64, take_bytes, take_i64, take_u64};
use model::{Labels, LabelsRef};

/// The maximum of list elements for which memory is reserved before they are read.
const TRUSTED_LENGTH: usize = 1024;

pub(crate) fn put_labels(out: &mut Vec<u8>, labels: &Labels) {
    put_bytes(out, labels.as_ref().as_bytes());
}

pub(crate) fn take_labels(input: &mut &[u8]) -> Option<Labels> {
    Some(LabelsRef::parse(take_bytes(input)?).ok()?.to_labels())
}

pub(crate) fn put_f64(out: &mut Vec<u8>, value: f64) {
    out.extend_from_slice(&value.to_bits().to_le_bytes());
}

pub(crate) fn take_f64(input: &mut &[u8]) -> Option<f64> {
    Some(f64::from_bits(u64::from_le_bytes(take_array(input)?)))
}

pub(crate) fn take_array<const N: usize>(input: &mut &[u8]) -> Option<[u8; N]> {
    let (bytes, rest) = input.split_first_chunk::<N>()?;
    *input = rest;
    Some(*bytes)
}

pub(crate) fn put_option(out: &mut Vec<u8>, value: Option<i64>) {
    match value {
        None => out.push(0),
        Some(value) => {
            out.push(1);
            put_i64(out, value);
        }
    }
}

pub(crate) fn take_option(input: &mut &[u8]) -> Option<Option<i64>> {
    Some(match take_u8(input)? {
        0 => None,
        1 => Some(take_i64(input)?),
        _ => return None,
    })
}

pub(crate) fn take_u8(input: &mut &[u8]) -> Option<u8> {
    let (first, rest) = input.split_first()?;
    *input = rest;
    Some(*first)
}

pub(crate) fn take_text(input: &mut &[u8]) -> Option<String> {
    String::from_utf8(take_bytes(input)?.to_vec()).ok()
}

pub(crate) fn take_list<T>(
    input: &mut &[u8],
    mut take: impl FnMut(&mut &[u8]) -> Option<T>,
) -> Option<Vec<T>> {
    let length = usize::try_from(take_u64(input)?).ok()?;
    // Each element needs at least one byte, so a greater length is damage.
    if length > input.len() {
        return None;
    }
    let mut list = Vec::with_capacity(length.min(TRUSTED_LENGTH));
    for _ in 0..length {
        list.push(take(input)?);
    }
    Some(list)
}
