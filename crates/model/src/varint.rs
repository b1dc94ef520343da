//! Base-128 integers, little-endian groups of seven bits: the encoding that protobuf and Prometheus'
//! log share. Signed values are zigzag-encoded (`sint64` in protobuf, `Varint64` in the log).

/// The most bytes a 64-bit varint may take.
pub const MAX_LEN: usize = 10;

/// Appends `value`.
#[inline]
pub fn put_u64(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends `value`, zigzag-encoded.
#[inline]
pub fn put_i64(out: &mut Vec<u8>, value: i64) {
    put_u64(out, zigzag(value));
}

/// Takes a varint from the front of `input`. `None` where it is cut short or does not fit 64 bits;
/// `input` is then unchanged.
#[inline]
pub fn take_u64(input: &mut &[u8]) -> Option<u64> {
    // One and two bytes are lengths and references; these are most of what is ever read.
    let bytes = *input;
    if let [first, rest @ ..] = bytes
        && *first < 0x80
    {
        *input = rest;
        return Some(u64::from(*first));
    }
    if let [first, second, rest @ ..] = bytes
        && *second < 0x80
    {
        *input = rest;
        return Some(u64::from(*first & 0x7f) | u64::from(*second) << 7);
    }
    take_long(input)
}

/// A varint of three bytes or more. Timestamps have six: up to eight are read in one go, where they are
/// there to be read.
fn take_long(input: &mut &[u8]) -> Option<u64> {
    let Some(chunk) = input.first_chunk::<8>() else { return take_each(input) };
    let word = u64::from_le_bytes(*chunk);
    let ends = !word & 0x8080_8080_8080_8080;
    if ends == 0 {
        return take_each(input);
    }
    let bits = ends.trailing_zeros() + 1;
    *input = input.get(bits as usize / 8..)?;
    // Drop what comes after, then pull groups of 7, 14 and 28 bits together.
    let groups = word & (u64::MAX >> (64 - bits));
    let pairs = (groups & 0x007f_007f_007f_007f) | (groups & 0x7f00_7f00_7f00_7f00) >> 1;
    let halves = (pairs & 0x0000_3fff_0000_3fff) | (pairs & 0x3fff_0000_3fff_0000) >> 2;
    Some((halves & 0x0fff_ffff) | (halves & 0x0fff_ffff_0000_0000) >> 4)
}

/// Any varint, byte by byte.
fn take_each(input: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for (index, &byte) in input.iter().take(MAX_LEN).enumerate() {
        let shift = 7 * index as u32;
        if shift == 63 && byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            *input = input.get(index + 1..)?;
            return Some(value);
        }
    }
    None
}

/// Takes a zigzag-encoded varint from the front of `input`.
#[inline]
pub fn take_i64(input: &mut &[u8]) -> Option<i64> {
    take_u64(input).map(unzigzag)
}

/// Takes a length-prefixed run of bytes from the front of `input`.
#[inline]
pub fn take_bytes<'a>(input: &mut &'a [u8]) -> Option<&'a [u8]> {
    let mut rest = *input;
    let length = usize::try_from(take_u64(&mut rest)?).ok()?;
    let (bytes, rest) = rest.split_at_checked(length)?;
    *input = rest;
    Some(bytes)
}

/// Appends a length-prefixed run of bytes.
#[inline]
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_u64(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// The number of bytes [`put_u64`] writes for `value`.
#[inline]
pub const fn len_u64(value: u64) -> usize {
    // 1 + floor(log2(value) / 7), and one byte for zero.
    (((63 - (value | 1).leading_zeros()) / 7) + 1) as usize
}

/// Maps small magnitudes of either sign to small numbers.
#[inline]
pub const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// The inverse of [`zigzag`].
#[inline]
pub const fn unzigzag(value: u64) -> i64 {
    ((value >> 1) as i64) ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_cut_or_overlong_varint_is_refused_and_leaves_the_input() {
        for bytes in [&[][..], &[0x80], &[0xff; 10], &[0x80; 11]] {
            let mut input = bytes;
            assert_eq!(take_u64(&mut input), None, "{bytes:?}");
            assert_eq!(input, bytes);
        }
        let mut input = &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 7][..];
        assert_eq!(take_u64(&mut input), Some(u64::MAX));
        assert_eq!(input, [7]);
    }

    proptest! {
        #[test]
        fn all_ways_of_reading_agree(mut bytes in prop::collection::vec(any::<u8>(), 0..14), ends in 0usize..14) {
            // Continuation bytes, so that long ones occur at all.
            bytes.iter_mut().take(ends).for_each(|byte| *byte |= 0x80);
            let (mut quick, mut each) = (&bytes[..], &bytes[..]);
            prop_assert_eq!(take_u64(&mut quick), take_each(&mut each));
            prop_assert_eq!(quick, each);
        }

        #[test]
        fn round_trips(value in any::<u64>().prop_flat_map(|value| (0..64u32).prop_map(move |by| value >> by)),
                       signed: i64) {
            let mut out = Vec::new();
            put_u64(&mut out, value);
            prop_assert_eq!(out.len(), len_u64(value));
            put_i64(&mut out, signed);
            let mut input = &out[..];
            prop_assert_eq!(take_u64(&mut input), Some(value));
            prop_assert_eq!(take_i64(&mut input), Some(signed));
            prop_assert!(input.is_empty());
        }
    }
}
