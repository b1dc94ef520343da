//! Compression of request bodies. The limit on the decoded size is checked before memory is allocated.
//!
//! Remote write uses snappy's *block* format: one length, one block. The Pushgateway's clients use the *framed* format
//! under the same name `snappy`. The input decides which one it is, so they are two encodings here.

use flate2::bufread::MultiGzDecoder;
use model::words::counted;
use std::io::Read;
use zstd::zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer, get_frame_content_size};

/// How a body is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Snappy's block format, as in remote write.
    Snappy,
    /// Snappy's framed format, as the Pushgateway accepts it.
    SnappyFramed,
    /// Zstandard, as VictoriaMetrics' agents send it.
    Zstd,
    Gzip,
    /// Not compressed.
    Identity,
}

impl Encoding {
    /// The name in a `Content-Encoding` header. Both formats of snappy have the same.
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
    /// The size in its header is over the limit.
    #[error("the body decodes to {declared} bytes, the limit is {limit}")]
    DeclaredTooLarge { declared: u64, limit: usize },
    /// The decoded body is larger than the limit; decoding stopped there.
    #[error("the body decodes to more than the limit of {limit} bytes")]
    TooLarge { limit: usize },
    /// The body is not in the format of its encoding.
    #[error("the body is not valid {encoding}: {reason}")]
    Malformed {
        encoding: &'static str,
        /// The decoder's message.
        reason: String,
    },
}

impl DecompressError {
    /// Returns true if the body is too large, and false if it is damaged.
    pub const fn is_too_large(&self) -> bool {
        matches!(self, Self::DeclaredTooLarge { .. } | Self::TooLarge { .. })
    }
}

/// The smallest window that a zstd stream may use: the size that every decoder should support (RFC 8878).
const ZSTD_WINDOW_LOG_MIN: u32 = 23;

/// The largest growth of a snappy block: its densest element turns 3 bytes into 64.
const SNAPPY_MAX_GROWTH: u64 = 22;

/// The first increment of a buffer whose final size is unknown.
const FIRST_CHUNK_BYTES: usize = 64 << 10;

/// Decompresses bodies. Keeps zstd's context between bodies, because creating it is expensive.
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
    pub fn new() -> Self {
        Self::default()
    }

    /// Decodes `input` into `out`, at most `limit` bytes, and replaces the content of `out`. `out` is empty after an
    /// error. It keeps its memory, so that one buffer serves many bodies.
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
        // The window needs memory too. No frame within the limit needs a larger window than this.
        let window_log = limit.max(1).ilog2().saturating_add(1).clamp(ZSTD_WINDOW_LOG_MIN, 27);
        context.set_parameter(DParameter::WindowLogMax(window_log)).map_err(failed)?;
        let mut source = InBuffer::around(input);
        loop {
            if out.len() == out.capacity() {
                let space = limit.saturating_add(1).saturating_sub(out.len());
                out.reserve(space.min(out.len().max(FIRST_CHUNK_BYTES)).max(1));
            }
            let (before, consumed) = (out.len(), source.pos());
            let mut target = OutBuffer::around_pos(out, before);
            let hint = context.decompress_stream(&mut target, &mut source).map_err(failed)?;
            let filled = target.pos() == target.capacity();
            if out.len() > limit {
                return Err(DecompressError::TooLarge { limit });
            }
            // A hint of 0 marks the end of a frame; another frame may follow.
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
    // No clear() first, so that only the bytes beyond the length of the last body are zeroed.
    out.resize(declared, 0);
    let length =
        snap::raw::Decoder::new().decompress(input, out).map_err(|error| malformed(error.to_string()))?;
    out.truncate(length);
    Ok(())
}

/// Reads to the end, or to one byte beyond the limit.
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

/// The compression level for zstd: the cheapest level that still finds repeated labels.
pub const ZSTD_LEVEL: i32 = 1;

/// Why a body could not be compressed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a body of {bytes} bytes can't be compressed as {encoding}: {reason}")]
pub struct CompressError {
    pub encoding: &'static str,
    pub bytes: usize,
    /// The encoder's message.
    pub reason: String,
}

/// Compresses bodies for sending. It holds the encoders' tables and a scratch buffer, so keep one for each sender.
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
    pub fn new() -> Self {
        Compressor { snappy: snap::raw::Encoder::new(), zstd: None, scratch: Vec::new() }
    }

    /// Encodes `input`. The result is valid until the next call.
    ///
    /// Returns an error for `Gzip` and `SnappyFramed`, which are only decoded.
    pub fn encode(&mut self, encoding: Encoding, input: &[u8]) -> Result<&[u8], CompressError> {
        let name = encoding.as_str();
        let failed = |reason: String| CompressError { encoding: name, bytes: input.len(), reason };
        let most = match encoding {
            Encoding::Snappy => snap::raw::max_compress_len(input.len()),
            Encoding::Zstd => zstd::zstd_safe::compress_bound(input.len()),
            Encoding::Identity => input.len(),
            Encoding::Gzip | Encoding::SnappyFramed => return Err(failed("it is only decoded".into())),
        };
        // The buffer keeps its largest size, so that it is zeroed once and not for each body.
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

/// Joins snappy blocks into one block that decodes to all their contents, one after the other. This needs no decoding:
/// a block is a length and elements, and the elements refer back relative to their own position. Returns `None` if a
/// block has no valid length.
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
