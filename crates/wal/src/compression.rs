//! Compression of records. Each record is compressed separately.

use crate::MAX_RECORD_BYTES;

/// How records are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Compression {
    /// Records are stored uncompressed.
    None,
    /// Snappy's block format, Prometheus' default.
    #[default]
    Snappy,
    /// Zstandard, at its fastest regular level.
    Zstd,
}

impl std::str::FromStr for Compression {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "none" => Ok(Self::None),
            "snappy" => Ok(Self::Snappy),
            "zstd" => Ok(Self::Zstd),
            _ => Err(format!("{word:?} is no compression of the log; use snappy, zstd or none")),
        }
    }
}

const ZSTD_LEVEL: i32 = 1;

/// Compresses records into buffers that it reuses.
pub(crate) struct Compressor {
    snappy: snap::raw::Encoder,
    zstd: Option<zstd::bulk::Compressor<'static>>,
    out: Vec<u8>,
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compressor").finish_non_exhaustive()
    }
}

impl Compressor {
    pub(crate) fn new() -> Self {
        Compressor { snappy: snap::raw::Encoder::new(), zstd: None, out: Vec::new() }
    }

    /// Returns the bytes to store for `record` and their compression. A record that compression would not
    /// shorten is stored uncompressed.
    pub(crate) fn compress<'a>(&'a mut self, record: &'a [u8], how: Compression) -> (&'a [u8], Compression) {
        let compressed = match how {
            Compression::None => None,
            Compression::Snappy => {
                grow(&mut self.out, snap::raw::max_compress_len(record.len()));
                self.snappy.compress(record, &mut self.out).ok()
            }
            Compression::Zstd => {
                grow(&mut self.out, zstd::zstd_safe::compress_bound(record.len()));
                if self.zstd.is_none() {
                    self.zstd = zstd::bulk::Compressor::new(ZSTD_LEVEL).ok();
                }
                let out = self.out.as_mut_slice();
                self.zstd.as_mut().and_then(|zstd| zstd.compress_to_buffer(record, out).ok())
            }
        };
        match compressed.and_then(|length| self.out.get(..length)) {
            Some(bytes) if bytes.len() < record.len() => (bytes, how),
            _ => (record, Compression::None),
        }
    }
}

pub(crate) struct Decompressor {
    snappy: snap::raw::Decoder,
    zstd: Option<zstd::bulk::Decompressor<'static>>,
}

impl std::fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decompressor").finish_non_exhaustive()
    }
}

impl Decompressor {
    pub(crate) fn new() -> Self {
        Decompressor { snappy: snap::raw::Decoder::new(), zstd: None }
    }

    /// Decompresses `bytes` into the front of `out` and returns the decompressed length. Returns `None` if
    /// the bytes are not valid for this compression, or would decompress to more than [`MAX_RECORD_BYTES`].
    pub(crate) fn decompress(&mut self, bytes: &[u8], how: Compression, out: &mut Vec<u8>) -> Option<usize> {
        match how {
            Compression::None => None,
            Compression::Snappy => {
                let length = snap::raw::decompress_len(bytes).ok().filter(|&len| len <= MAX_RECORD_BYTES)?;
                // Snappy expands at most 3 bytes to 64. The check keeps a wrong length from causing a large
                // allocation.
                if length / 32 > bytes.len() {
                    return None;
                }
                grow(out, length);
                self.snappy.decompress(bytes, out.get_mut(..length)?).ok()
            }
            Compression::Zstd => {
                let bound = zstd::zstd_safe::get_frame_content_size(bytes).ok()?;
                match bound.map(usize::try_from) {
                    Some(Ok(length)) if length <= MAX_RECORD_BYTES => {
                        grow(out, length);
                        self.zstd()?.decompress_to_buffer(bytes, out.as_mut_slice()).ok()
                    }
                    Some(_) => None,
                    None => self.decompress_unsized(bytes, out),
                }
            }
        }
    }

    /// Decompresses a frame that does not state the length of its content, by trying ever larger buffers.
    fn decompress_unsized(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Option<usize> {
        let mut length = bytes.len().max(1024).saturating_mul(4).min(MAX_RECORD_BYTES);
        loop {
            grow(out, length);
            if let Ok(done) = self.zstd()?.decompress_to_buffer(bytes, out.as_mut_slice()) {
                return Some(done);
            }
            if length == MAX_RECORD_BYTES {
                return None;
            }
            length = length.saturating_mul(8).min(MAX_RECORD_BYTES);
        }
    }

    fn zstd(&mut self) -> Option<&mut zstd::bulk::Decompressor<'static>> {
        if self.zstd.is_none() {
            self.zstd = zstd::bulk::Decompressor::new().ok();
        }
        self.zstd.as_mut()
    }
}

/// Makes `out` at least `length` bytes long. `out` never gets shorter, so that each of its bytes is
/// initialised only once.
fn grow(out: &mut Vec<u8>, length: usize) {
    if out.len() < length {
        out.resize(length, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressions_round_trip_and_are_skipped_when_they_gain_nothing() {
        let record = b"one two one two one two one two one two one two".repeat(100);
        let (mut compressor, mut decompressor, mut out) =
            (Compressor::new(), Decompressor::new(), Vec::new());
        for how in [Compression::Snappy, Compression::Zstd] {
            let (bytes, used) = compressor.compress(&record, how);
            assert!(used == how && bytes.len() < record.len() / 10);
            let bytes = bytes.to_vec();
            let length = decompressor.decompress(&bytes, how, &mut out).unwrap();
            assert_eq!(out[..length], record);
            assert_eq!(decompressor.decompress(&bytes[..bytes.len() - 1], how, &mut out), None);
            assert_eq!(compressor.compress(b"abc", how), (&b"abc"[..], Compression::None));
        }
        assert_eq!(compressor.compress(&record, Compression::None), (&record[..], Compression::None));
    }

    #[test]
    fn lengths_above_the_limit_allocate_nothing() {
        let mut bytes = Vec::new();
        model::varint::put_u64(&mut bytes, MAX_RECORD_BYTES as u64 + 1);
        let mut out = Vec::new();
        assert_eq!(Decompressor::new().decompress(&bytes, Compression::Snappy, &mut out), None);
        bytes.clear();
        model::varint::put_u64(&mut bytes, 1 << 20);
        assert_eq!(Decompressor::new().decompress(&bytes, Compression::Snappy, &mut out), None);
        let large = zstd::bulk::compress(&vec![0; MAX_RECORD_BYTES + 1], 1).unwrap();
        assert_eq!(Decompressor::new().decompress(&large, Compression::Zstd, &mut out), None);
        assert!(out.is_empty());
    }

    #[test]
    fn a_zstd_frame_without_a_content_length_is_read() {
        use std::io::Write;
        let record = vec![7u8; 300_000];
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.write_all(&record).unwrap();
        let bytes = encoder.finish().unwrap();
        assert_eq!(zstd::zstd_safe::get_frame_content_size(&bytes).unwrap(), None);
        let mut out = Vec::new();
        let length = Decompressor::new().decompress(&bytes, Compression::Zstd, &mut out).unwrap();
        assert_eq!(out[..length], record);
    }
}
