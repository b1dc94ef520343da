//! Compression of request bodies, with a limit on the decoded size that holds before memory is taken.
//!
//! Remote write uses snappy's *block* format (one length, one block); the Pushgateway's clients use the
//! *framed* format under the same name `snappy`; which one is meant depends on the door, so they are two
//! encodings here.

use flate2::bufread::MultiGzDecoder;
use model::words::counted;
use std::io::Read;
use zstd::zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer, get_frame_content_size};

/// How a body is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Snappy's block format, as in remote write.
    Snappy,
    /// Snappy's framed format, as the Pushgateway takes it.
    SnappyFramed,
    /// Zstandard, as VictoriaMetrics' agents send it.
    Zstd,
    /// Gzip.
    Gzip,
    /// As it is.
    Identity,
}

impl Encoding {
    /// Its name in a `Content-Encoding` header. Both kinds of snappy have the same.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Snappy | Self::SnappyFramed => "snappy",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
            Self::Identity => "identity",
        }
    }
}

/// Why a body could not be decompressed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecompressError {
    /// It says of itself that it is larger than the limit.
    #[error("the body decodes to {declared} bytes, the limit is {limit}")]
    DeclaredTooLarge {
        /// The size it declares, in bytes.
        declared: u64,
        /// The limit, in bytes.
        limit: usize,
    },
    /// It turned out larger than the limit; decoding stopped there.
    #[error("the body decodes to more than the limit of {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// It is not what its encoding says.
    #[error("the body is not valid {encoding}: {reason}")]
    Malformed {
        /// The encoding's name.
        encoding: &'static str,
        /// What the decoder says.
        reason: String,
    },
}

impl DecompressError {
    /// Whether the size was the reason, rather than damage.
    pub const fn is_too_large(&self) -> bool {
        matches!(self, Self::DeclaredTooLarge { .. } | Self::TooLarge { .. })
    }
}

/// The smallest window that a zstd stream may ask for: what every decoder should support (RFC 8878).
const ZSTD_WINDOW_LOG_MIN: u32 = 23;

/// A snappy block can't grow by more than this: its densest element makes 64 bytes of 3.
const SNAPPY_MAX_GROWTH: u64 = 22;

/// How much a buffer of unknown final size grows at first, in bytes.
const FIRST_CHUNK_BYTES: usize = 64 << 10;

/// Decompresses bodies. Holds contexts that are worth keeping between bodies.
#[derive(Default)]
pub struct Decompressor {
    zstd: Option<DCtx<'static>>,
}

impl std::fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decompressor").finish_non_exhaustive()
    }
}

impl Decompressor {
    /// A decompressor without contexts yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces the contents of `out` with `input` decoded, at most `limit` bytes of it. On an error `out`
    /// is empty. `out` keeps its memory, so that one buffer serves many bodies.
    pub fn decode(
        &mut self,
        encoding: Encoding,
        input: &[u8],
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), DecompressError> {
        let result = match encoding {
            Encoding::Snappy => decode_snappy(input, limit, out),
            Encoding::SnappyFramed => {
                decode_reader("snappy (framed)", snap::read::FrameDecoder::new(input), limit, out)
            }
            Encoding::Zstd => self.decode_zstd(input, limit, out),
            Encoding::Gzip => decode_reader("gzip", MultiGzDecoder::new(input), limit, out),
            Encoding::Identity => decode_identity(input, limit, out),
        };
        if result.is_err() {
            out.clear();
        }
        result
    }

    fn decode_zstd(&mut self, input: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), DecompressError> {
        out.clear();
        let malformed = |reason: String| DecompressError::Malformed { encoding: "zstd", reason };
        let failed = |code| malformed(zstd::zstd_safe::get_error_name(code).to_string());
        let declared = get_frame_content_size(input).map_err(|error| malformed(error.to_string()))?;
        if let Some(declared) = declared {
            if declared > limit as u64 {
                return Err(DecompressError::DeclaredTooLarge { declared, limit });
            }
            out.reserve(declared as usize);
        }
        let context = match &mut self.zstd {
            Some(context) => context,
            None => {
                let context = DCtx::try_create().ok_or_else(|| malformed("no memory".into()))?;
                self.zstd.insert(context)
            }
        };
        context.reset(zstd::zstd_safe::ResetDirective::SessionOnly).map_err(failed)?;
        // The window is memory too: no frame within the limit needs a larger one.
        let window_log = limit.max(1).ilog2().saturating_add(1).clamp(ZSTD_WINDOW_LOG_MIN, 27);
        context.set_parameter(DParameter::WindowLogMax(window_log)).map_err(failed)?;
        let mut source = InBuffer::around(input);
        loop {
            if out.len() == out.capacity() {
                let room = limit.saturating_add(1).saturating_sub(out.len());
                out.reserve(room.min(out.len().max(FIRST_CHUNK_BYTES)).max(1));
            }
            let (before, consumed) = (out.len(), source.pos());
            let mut target = OutBuffer::around_pos(out, before);
            let hint = context.decompress_stream(&mut target, &mut source).map_err(failed)?;
            let filled = target.pos() == target.capacity();
            if out.len() > limit {
                return Err(DecompressError::TooLarge { limit });
            }
            // A hint of 0 is the end of a frame; another may follow.
            let at_end = source.pos() >= input.len();
            if at_end && hint == 0 {
                return Ok(());
            }
            if at_end && !filled {
                return Err(malformed("the stream is cut short".into()));
            }
            if !filled && out.len() == before && source.pos() == consumed {
                return Err(malformed("the stream makes no progress".into()));
            }
        }
    }
}

fn decode_identity(input: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), DecompressError> {
    if input.len() > limit {
        return Err(DecompressError::DeclaredTooLarge { declared: input.len() as u64, limit });
    }
    out.clear();
    out.extend_from_slice(input);
    Ok(())
}

fn decode_snappy(input: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), DecompressError> {
    let malformed = |reason: String| DecompressError::Malformed { encoding: "snappy", reason };
    let declared = snap::raw::decompress_len(input).map_err(|error| malformed(error.to_string()))?;
    if declared > limit {
        return Err(DecompressError::DeclaredTooLarge { declared: declared as u64, limit });
    }
    if declared as u64 > (input.len() as u64).saturating_mul(SNAPPY_MAX_GROWTH) {
        let reason =
            format!("{} can't hold {declared} decoded ones as declared", counted(input.len() as u64, "byte"));
        return Err(malformed(reason));
    }
    // Without a clear first: only what is beyond the last body's length is zeroed.
    out.resize(declared, 0);
    let length =
        snap::raw::Decoder::new().decompress(input, out).map_err(|error| malformed(error.to_string()))?;
    out.truncate(length);
    Ok(())
}

/// Reads to the end, or to one byte past the limit.
fn decode_reader(
    encoding: &'static str,
    reader: impl Read,
    limit: usize,
    out: &mut Vec<u8>,
) -> Result<(), DecompressError> {
    out.clear();
    let most = (limit as u64).saturating_add(1);
    reader
        .take(most)
        .read_to_end(out)
        .map_err(|error| DecompressError::Malformed { encoding, reason: error.to_string() })?;
    if out.len() > limit { Err(DecompressError::TooLarge { limit }) } else { Ok(()) }
}

/// The compression level for zstd: the cheapest that still finds repeated labels.
pub const ZSTD_LEVEL: i32 = 1;

/// Why a body could not be compressed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a body of {bytes} bytes can't be compressed as {encoding}: {reason}")]
pub struct CompressError {
    /// The encoding's name.
    pub encoding: &'static str,
    /// The body's size in bytes.
    pub bytes: usize,
    /// What the encoder says.
    pub reason: String,
}

/// Compresses bodies for sending. Holds the encoders' tables and a scratch buffer, so keep one per sender.
pub struct Compressor {
    snappy: snap::raw::Encoder,
    zstd: Option<zstd::bulk::Compressor<'static>>,
    scratch: Vec<u8>,
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compressor").field("scratch", &self.scratch.capacity()).finish_non_exhaustive()
    }
}

impl Default for Compressor {
    fn default() -> Self {
        Self::new()
    }
}

impl Compressor {
    /// A compressor without tables yet.
    pub fn new() -> Self {
        Compressor { snappy: snap::raw::Encoder::new(), zstd: None, scratch: Vec::new() }
    }

    /// Encodes `input`. What is returned lives in the compressor until the next call.
    ///
    /// `Gzip` and `SnappyFramed` are not written by anything here, and are an error.
    pub fn encode(&mut self, encoding: Encoding, input: &[u8]) -> Result<&[u8], CompressError> {
        let name = encoding.as_str();
        let failed = |reason: String| CompressError { encoding: name, bytes: input.len(), reason };
        let most = match encoding {
            Encoding::Snappy => snap::raw::max_compress_len(input.len()),
            Encoding::Zstd => zstd::zstd_safe::compress_bound(input.len()),
            Encoding::Identity => input.len(),
            Encoding::Gzip | Encoding::SnappyFramed => return Err(failed("it is only decoded".into())),
        };
        // Kept at its largest, so that it is zeroed once and not per body.
        if self.scratch.len() < most {
            self.scratch.resize(most, 0);
        }
        let length = match encoding {
            Encoding::Snappy => {
                self.snappy.compress(input, &mut self.scratch).map_err(|error| failed(error.to_string()))?
            }
            Encoding::Zstd => {
                let encoder = match &mut self.zstd {
                    Some(encoder) => encoder,
                    None => {
                        let encoder = zstd::bulk::Compressor::new(ZSTD_LEVEL)
                            .map_err(|error| failed(error.to_string()))?;
                        self.zstd.insert(encoder)
                    }
                };
                encoder
                    .compress_to_buffer(input, self.scratch.as_mut_slice())
                    .map_err(|error| failed(error.to_string()))?
            }
            _ => {
                if let Some(target) = self.scratch.get_mut(..input.len()) {
                    target.copy_from_slice(input);
                }
                input.len()
            }
        };
        Ok(self.scratch.get(..length).unwrap_or_default())
    }
}

/// Joins blocks of snappy to one that decodes to what they decode to, one after the other. That needs no
/// decoding: a block is its length, then elements that look back from where they are. A block that has no valid
/// length makes it `None`.
pub fn join_snappy<'a>(blocks: impl Iterator<Item = &'a [u8]> + Clone) -> Option<Vec<u8>> {
    let (mut length, mut bytes) = (0u64, model::varint::MAX_LEN);
    for block in blocks.clone() {
        length = length.checked_add(model::varint::take_u64(&mut &block[..])?)?;
        bytes += block.len();
    }
    let mut joined = Vec::with_capacity(bytes);
    model::varint::put_u64(&mut joined, length);
    for block in blocks {
        let mut elements = block;
        model::varint::take_u64(&mut elements)?;
        joined.extend_from_slice(elements);
    }
    Some(joined)
}

#[cfg(test)]
mod tests;
