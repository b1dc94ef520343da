#![allow(clippy::unwrap_used)] // helpers of tests

use super::*;
use proptest::prelude::*;
use std::io::Write;

fn gzip(input: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(input).unwrap();
    encoder.finish().unwrap()
}

fn framed(input: &[u8]) -> Vec<u8> {
    let mut encoder = snap::write::FrameEncoder::new(Vec::new());
    encoder.write_all(input).unwrap();
    encoder.into_inner().unwrap()
}

/// A zstd stream that does not have its size in the header.
fn zstd_streamed(input: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
    encoder.include_contentsize(false).unwrap();
    encoder.write_all(input).unwrap();
    encoder.finish().unwrap()
}

fn encode(encoding: Encoding, input: &[u8]) -> Vec<u8> {
    match encoding {
        Encoding::Gzip => gzip(input),
        Encoding::SnappyFramed => framed(input),
        _ => Compressor::new().encode(encoding, input).unwrap().to_vec(),
    }
}

const ALL: [Encoding; 5] =
    [Encoding::Snappy, Encoding::SnappyFramed, Encoding::Zstd, Encoding::Gzip, Encoding::Identity];

fn decode(encoding: Encoding, input: &[u8], limit: usize) -> Result<Vec<u8>, DecompressError> {
    let mut out = vec![1, 2, 3];
    let result = Decompressor::new().decode(encoding, input, limit, &mut out);
    if result.is_err() {
        assert!(out.is_empty(), "nothing half-decoded is left");
        assert!(out.capacity() <= 2 * limit + (128 << 10), "{encoding:?} took {}", out.capacity());
    }
    result.map(|()| out)
}

#[test]
fn the_limit_is_inclusive_and_one_byte_more_is_refused() {
    let body = vec![b'a'; 100_000];
    for encoding in ALL {
        let encoded = encode(encoding, &body);
        assert_eq!(decode(encoding, &encoded, 100_000).unwrap(), body, "{encoding:?}");
        let error = decode(encoding, &encoded, 99_999).unwrap_err();
        assert!(error.is_too_large(), "{encoding:?}: {error}");
    }
}

#[test]
fn a_bomb_is_stopped_at_the_limit() {
    let zeros = vec![0; 64 << 20];
    for encoded in [gzip(&zeros), zstd_streamed(&zeros), framed(&zeros)].iter().zip([
        Encoding::Gzip,
        Encoding::Zstd,
        Encoding::SnappyFramed,
    ]) {
        let (bytes, encoding) = encoded;
        assert_eq!(decode(encoding, bytes, 1 << 20), Err(DecompressError::TooLarge { limit: 1 << 20 }));
    }
}

#[test]
fn a_declared_size_over_the_limit_is_refused_before_decoding() {
    let block = [0xff, 0xff, 0xff, 0xff, 0x0f];
    assert_eq!(
        decode(Encoding::Snappy, &block, 1000),
        Err(DecompressError::DeclaredTooLarge { declared: u64::from(u32::MAX), limit: 1000 })
    );
    let frame = encode(Encoding::Zstd, &[0; 5000]);
    assert_eq!(
        decode(Encoding::Zstd, &frame, 1000),
        Err(DecompressError::DeclaredTooLarge { declared: 5000, limit: 1000 })
    );
}

#[test]
fn a_snappy_block_too_short_for_its_size_is_refused() {
    // 31 MiB declared, four bytes given.
    let error = decode(Encoding::Snappy, &[0x80, 0x80, 0xc0, 0x0f], 32 << 20).unwrap_err();
    let expected = "the body is not valid snappy: 4 bytes can't hold 32505856 decoded ones as declared";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn the_densest_snappy_block_passes_the_growth_check() {
    let body = vec![7; 1 << 20];
    let encoded = encode(Encoding::Snappy, &body);
    assert_eq!(decode(Encoding::Snappy, &encoded, 1 << 20).unwrap(), body);
}

#[test]
fn zstd_frames_can_be_concatenated_and_omit_their_size() {
    let mut two = zstd_streamed(b"hello ");
    two.extend(encode(Encoding::Zstd, b"world"));
    assert_eq!(decode(Encoding::Zstd, &two, 11).unwrap(), b"hello world");
    assert!(decode(Encoding::Zstd, &two, 10).unwrap_err().is_too_large());
}

#[test]
fn a_decompressor_works_after_a_bad_body() {
    let mut decompressor = Decompressor::new();
    let mut out = Vec::new();
    let good = encode(Encoding::Zstd, b"good");
    for _ in 0..3 {
        let cut = &good[..good.len() - 1];
        assert!(decompressor.decode(Encoding::Zstd, cut, 100, &mut out).is_err());
        decompressor.decode(Encoding::Zstd, &good, 100, &mut out).unwrap();
        assert_eq!(out, b"good");
    }
}

proptest! {
    #[test]
    fn round_trips(body: Vec<u8>, repeat in 1usize..50) {
        let body = body.repeat(repeat);
        for encoding in ALL {
            prop_assert_eq!(&decode(encoding, &encode(encoding, &body), body.len()).unwrap(), &body);
        }
    }

    #[test]
    fn joined_blocks_decode_to_their_concatenated_contents(bodies: Vec<Vec<u8>>, repeat in 1usize..5000) {
        let bodies: Vec<Vec<u8>> = bodies.iter().map(|body| body.repeat(repeat)).collect();
        let blocks: Vec<Vec<u8>> = bodies.iter().map(|body| encode(Encoding::Snappy, body)).collect();
        let joined = join_snappy(blocks.iter().map(Vec::as_slice)).unwrap();
        let all = bodies.concat();
        prop_assert_eq!(decode(Encoding::Snappy, &joined, all.len()).unwrap(), all);
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(bytes: Vec<u8>, limit in 0usize..10_000) {
        for encoding in ALL {
            if let Ok(out) = decode(encoding, &bytes, limit) {
                prop_assert!(out.len() <= limit);
            }
        }
    }

    #[test]
    fn damaged_bodies_are_decoded_or_refused(body: Vec<u8>, at: prop::sample::Index, to: u8) {
        for encoding in ALL {
            let mut encoded = encode(encoding, &body);
            if let Some(byte) = (!encoded.is_empty()).then(|| at.index(encoded.len())) {
                encoded[byte] = to;
            }
            let _ = decode(encoding, &encoded, 4096);
        }
    }

    #[test]
    fn a_cut_body_is_an_error(body in prop::collection::vec(any::<u8>(), 1..300), cut: prop::sample::Index) {
        for encoding in [Encoding::Snappy, Encoding::SnappyFramed, Encoding::Zstd, Encoding::Gzip] {
            let encoded = encode(encoding, &body);
            let cut = cut.index(encoded.len());
            if let Ok(out) = decode(encoding, &encoded[..cut], 4096) {
                // A framed stream may end at any frame, and no bytes at all are an empty stream.
                prop_assert!(out.len() < body.len(), "{:?}", encoding);
            }
        }
    }
}
