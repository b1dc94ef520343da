//! From a body to a batch: decompressing and decoding, with the memory for it reserved before.

use crate::answer::Refusal;
use crate::body::Received;
use crate::budget::Share;
use crate::options::WORK;
use formats::compress::{Decompressor, Encoding};
use std::cell::RefCell;

/// Bodies that may decompress to more than this are decoded on a thread of their own rather than on one
/// that other requests need.
const INLINE_BYTES: usize = 1 << 20;

/// Where a body doesn't say how large it decompresses to, this many times its size is tried first.
const USUAL_GROWTH: usize = 16;

thread_local! {
    static SCRATCH: RefCell<(Decompressor, Vec<u8>)> = RefCell::default();
}

/// Decompresses `received` and hands it to `decode`. Returns what `decode` made of it, the body, and the share
/// of memory that it had, for what comes of it.
pub(crate) async fn decode<T: Send + 'static>(
    received: Received,
    encoding: Encoding,
    limit: usize,
    decode: impl Fn(&[u8]) -> T + Send + 'static,
) -> Result<(T, Vec<u8>, Share), Refusal> {
    let Received { bytes, mut share } = received;
    let held = share.bytes();
    let mut size = match encoding {
        Encoding::Identity => bytes.len(),
        // The block format begins with it. What is no number there is refused by the decoder.
        Encoding::Snappy => {
            let declared = model::varint::take_u64(&mut &bytes[..]).unwrap_or(0);
            usize::try_from(declared).unwrap_or(limit).min(limit)
        }
        _ => bytes.len().saturating_mul(USUAL_GROWTH).min(limit),
    };
    let mut work = (bytes, decode);
    loop {
        share.grow(held + size.saturating_mul(WORK)).await?;
        let within = if encoding == Encoding::Snappy { limit } else { size };
        let outcome = if size <= INLINE_BYTES {
            SCRATCH.with_borrow_mut(|(decompressor, out)| {
                let outcome = decompressor.decode(encoding, &work.0, within, out).map(|()| work.1(out));
                if out.capacity() > INLINE_BYTES {
                    *out = Vec::new();
                }
                outcome
            })
        } else {
            let task = tokio::task::spawn_blocking(move || {
                let mut out = Vec::new();
                let decoded = Decompressor::new().decode(encoding, &work.0, within, &mut out);
                (decoded.map(|()| work.1(&out)), work)
            });
            let (outcome, again) = task.await.map_err(|_| Refusal::Stopping)?;
            work = again;
            outcome
        };
        match outcome {
            Ok(value) => return Ok((value, work.0, share)),
            Err(error) if error.is_too_large() && within < limit => size = limit,
            Err(error) => return Err(error.into()),
        }
    }
}

/// The encoding that a `Content-Encoding` header names.
pub(crate) fn encoding(
    headers: &http::HeaderMap,
    missing: Encoding,
    known: &[(&str, Encoding)],
) -> Result<Encoding, Refusal> {
    let Some(header) = headers.get(http::header::CONTENT_ENCODING) else { return Ok(missing) };
    let name = String::from_utf8_lossy(header.as_bytes());
    let name = name.trim();
    let found = known.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.map(|(_, encoding)| *encoding).ok_or_else(|| {
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        let name: String = name.chars().take(40).collect();
        Refusal::Unsupported(format!(
            "content encoding {name:?} is not known here: use {}",
            names.join(" or ")
        ))
    })
}
