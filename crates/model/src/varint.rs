//! Base-128 integers: groups of seven bits in little-endian order, as in protobuf and in Prometheus' log.
//! Signed values are zigzag-encoded (`sint64` in protobuf, `Varint64` in the log).

/// Largest number of bytes of a 64-bit varint.
pub const MAX_LEN: usize = 10;

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

/// Reads a varint from the front of `input`. Returns `None` if it is incomplete or does not fit into 64 bits;
/// `input` is then unchanged.
#[inline]
pub fn take_u64(input: &mut &[u8]) -> Option<u64> {
    // Hot path: lengths and references have one or two bytes, and are most of the varints.
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

/// Reads a varint of three bytes or more. Timestamps have six bytes. Up to eight bytes are read at once if
/// the input has that many.
fn take_long(input: &mut &[u8]) -> Option<u64> {
    let Some(chunk) = input.first_chunk::<8>() else { return take_each(input) };
    let word = u64::from_le_bytes(*chunk);
    let ends = !word & 0x8080_8080_8080_8080;
    if ends == 0 {
        return take_each(input);
    }
    let bits = ends.trailing_zeros() + 1;
    *input = input.get(bits as usize / 8..)?;
    // Drop the bytes after the varint, then join groups of 7, 14 and 28 bits.
    let groups = word & (u64::MAX >> (64 - bits));
    let pairs = (groups & 0x007f_007f_007f_007f) | (groups & 0x7f00_7f00_7f00_7f00) >> 1;
    let halves = (pairs & 0x0000_3fff_0000_3fff) | (pairs & 0x3fff_0000_3fff_0000) >> 2;
    Some((halves & 0x0fff_ffff) | (halves & 0x0fff_ffff_0000_0000) >> 4)
}

/// Reads a varint of any length byte by byte.
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

/// Reads a zigzag-encoded varint from the front of `input`.
#[inline]
pub fn take_i64(input: &mut &[u8]) -> Option<i64> {
    take_u64(input).map(unzigzag)
}

/// Reads a length and that many bytes from the front of `input`.
#[inline]
pub fn take_bytes<'a>(input: &mut &'a [u8]) -> Option<&'a [u8]> {
    let mut rest = *input;
    let length = usize::try_from(take_u64(&mut rest)?).ok()?;
    let (bytes, rest) = rest.split_at_checked(length)?;
    *input = rest;
    Some(bytes)
}

/// Appends the length of `bytes`, then `bytes`.
#[inline]
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_u64(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// The number of bytes that [`put_u64`] writes for `value`.
#[inline]
pub const fn len_u64(value: u64) -> usize {
    // 1 + floor(log2(value) / 7); one byte for zero.
    (((63 - (value | 1).leading_zeros()) / 7) + 1) as usize
}

/// Maps numbers with a small absolute value to small unsigned numbers.
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
    fn incomplete_and_overlong_varints_are_refused() {
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
        fn fast_and_slow_paths_agree(mut bytes in prop::collection::vec(any::<u8>(), 0..14), ends in 0usize..14) {
            // Set continuation bits, so that long varints occur.
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
