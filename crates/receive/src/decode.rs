//! From a body to a batch: decompressing and decoding, with the memory for it reserved before.

use crate::answer::Refusal;
use crate::options::WORK;
use formats::compress::{DecompressError, Decompressor, Encoding};
use formats::hint::{self, Hint};
use intake::Share;
use std::cell::RefCell;

/// The encodings of texts. As in the Pushgateway `snappy` is the framed format here, unlike in remote write.
pub(crate) const TEXT_ENCODINGS: &[(&str, Encoding)] = &[
    ("gzip", Encoding::Gzip),
    ("snappy", Encoding::SnappyFramed),
    ("zstd", Encoding::Zstd),
    ("identity", Encoding::Identity),
];

/// Bodies that may decompress to more than this are decoded on a thread of their own rather than on one
/// that other requests need.
const INLINE_BYTES: usize = 1 << 20;

/// Where a body doesn't say how large it decompresses to, this many times its size is tried first.
const USUAL_GROWTH: usize = 16;

thread_local! {
    static SCRATCH: RefCell<(Decompressor, Vec<u8>)> = RefCell::default();
}

/// Decompresses `body`, decodes it with `decode`, and reserves `memory` for both before. Returns what `decode`
/// returned, and the body as it was sent.
pub(crate) async fn decode<T: Send + 'static>(
    bytes: Vec<u8>,
    memory: &mut Share,
    encoding: Encoding,
    limit: usize,
    decode: impl Fn(&[u8]) -> T + Send + 'static,
) -> Result<(T, Vec<u8>), Refusal> {
    let held = memory.bytes();
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
        memory.grow(held + size.saturating_mul(WORK)).await?;
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
            Ok(value) => return Ok((value, work.0)),
            Err(error) if error.is_too_large() && within < limit => size = limit,
            Err(error) => return Err(explained(&error, encoding, &work.0)),
        }
    }
}

/// What a body that could not be decompressed is instead, where its first bytes tell.
fn explained(error: &DecompressError, encoding: Encoding, body: &[u8]) -> Refusal {
    if error.is_too_large() {
        return Refusal::DecodedTooLarge(error.to_string());
    }
    match hint::compressed(body) {
        Some(Hint::Compressed(found)) if found != encoding.as_str() || encoding == Encoding::Snappy => {
            let format = if found == "snappy" { "framed snappy" } else { found };
            Refusal::Malformed(format!("{error}: it is {format}"))
        }
        _ => Refusal::Malformed(error.to_string()),
    }
}

/// The encoding that `header` (`Content-Encoding`) names; `default` where there is none, or an empty one.
///
/// The header is a list of what was done to the body, in order. `identity` in it says nothing, and more than one
/// compression is not supported.
pub(crate) fn encoding(
    headers: &http::HeaderMap,
    header: &str,
    default: Encoding,
    known: &[(&str, Encoding)],
) -> Result<Encoding, Refusal> {
    let values = headers.get_all(header).iter();
    let text: Vec<_> = values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    let text = text.join(",");
    let mut names: Vec<&str> = text.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    let identity = |name: &str| name.eq_ignore_ascii_case("identity");
    if names.iter().any(|name| !identity(name)) {
        names.retain(|name| !identity(name));
    } else {
        names.truncate(1);
    }
    let found = match names.as_slice() {
        [] => return Ok(default),
        // RFC 9110: x-gzip is another name of gzip.
        [name] if name.eq_ignore_ascii_case("x-gzip") => known.iter().find(|(known, _)| *known == "gzip"),
        [name] => known.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)),
        _ => None,
    };
    found.map(|(_, encoding)| *encoding).ok_or_else(|| {
        let known: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        let known = known.join(" or ");
        let given: String = names.join(", ").chars().take(40).collect();
        let text = match names.len() {
            1 => format!("content encoding {given:?} is not known here: use {known}"),
            number => format!("the body has {number} content encodings, {given:?}: use one of {known}"),
        };
        Refusal::Unsupported(text)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use http::header::{CONTENT_ENCODING, HeaderMap};

    fn found(values: &[&str], known: &[(&str, Encoding)]) -> Result<Encoding, Refusal> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(CONTENT_ENCODING, value.parse().unwrap());
        }
        encoding(&headers, "content-encoding", Encoding::Snappy, known)
    }

    #[test]
    fn the_header_is_a_list_in_any_case_with_spaces_and_empty_parts() {
        let known = [("gzip", Encoding::Gzip), ("zstd", Encoding::Zstd), ("identity", Encoding::Identity)];
        for (values, wanted) in [
            (&[][..], Encoding::Snappy),
            (&[""], Encoding::Snappy),
            (&[" , "], Encoding::Snappy),
            (&["gzip"], Encoding::Gzip),
            (&[" GZip "], Encoding::Gzip),
            (&["x-gzip"], Encoding::Gzip),
            (&["identity"], Encoding::Identity),
            (&["Identity, identity"], Encoding::Identity),
            (&["identity, zstd"], Encoding::Zstd),
            (&["", "zstd", "identity"], Encoding::Zstd),
        ] {
            assert_eq!(found(values, &known), Ok(wanted), "{values:?}");
        }
        for (values, wanted) in [
            (&["br"][..], "content encoding \"br\" is not known here: use gzip or zstd or identity"),
            (
                &["gzip, zstd"],
                "the body has 2 content encodings, \"gzip, zstd\": use one of gzip or zstd or identity",
            ),
            (
                &["gzip", "gzip"],
                "the body has 2 content encodings, \"gzip, gzip\": use one of gzip or zstd or identity",
            ),
        ] {
            assert_eq!(found(values, &known), Err(Refusal::Unsupported(wanted.into())), "{values:?}");
        }
        let only_snappy = [("snappy", Encoding::Snappy)];
        assert!(found(&["identity"], &only_snappy).is_err());
        assert_eq!(found(&[""], &only_snappy), Ok(Encoding::Snappy));
    }
}
