//! Prometheus remote write, versions 1.0 and 2.0: [`decode`] for received requests, [`Encoder`] for requests to send,
//! [`Protocol`] for the headers that distinguish the versions.
//!
//! Both directions are flat: protocol buffers are read from the slice in which they were received, and written to the
//! buffer from which they are sent. Nothing is allocated per series. Labels are converted between the wire and
//! canonical bytes (see [`model::labels`]) without being strings in between.
//!
//! Field numbers and rules are those of Prometheus' schemas `prometheus.WriteRequest` and
//! `io.prometheus.write.v2.Request` and of the two specifications.
//! `io.prometheus.write.v2.Request` and of the two specifications.

mod common_pairs;
mod decode;
mod encode;
mod error;
mod fast;
mod interner;
mod message;
mod points;
mod symbols;
mod v1;
mod v2;

pub use crate::rejected::Rejected;
pub use decode::{DecodeOptions, Decoded};
pub use encode::{Encoder, Unsupported};
pub use error::DecodeError;

/// The largest body, independent of the options: the length of a string in it is stored in 31 bits.
const MAX_BODY_BYTES: usize = i32::MAX as usize;

/// Decodes the decompressed body of a remote-write request.
///
/// A body that is damaged as a whole is an error. In both versions, invalid parts (a label set, a histogram, a
/// timestamp out of bounds) are left out and counted in [`Decoded::rejected`], and the rest is kept. Labels may be
/// unsorted. Names may be any UTF-8 in both versions, as in Prometheus 3. A series with exemplars only is kept.
pub fn decode(protocol: Protocol, body: &[u8], options: &DecodeOptions) -> Result<Decoded, DecodeError> {
    if body.len() > MAX_BODY_BYTES {
        return Err(DecodeError::TooMany { what: "bytes", limit: MAX_BODY_BYTES });
    }
    let decoder = decode::Decoder::new(options);
    let mut decoded = match protocol {
        Protocol::V1 => v1::decode(decoder, body),
        Protocol::V2 => v2::decode(decoder, body),
    }?;
    if decoded.exact {
        decoded.batch.mark_exact(protocol.content_type());
    }
    Ok(decoded)
}

/// A version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Remote write 1.0: `prometheus.WriteRequest`.
    V1,
    /// Remote write 2.0: `io.prometheus.write.v2.Request`.
    V2,
}

/// A `Content-Type` that is not one of remote write's (the answer is 415).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "content type {given:?} is not remote write: use {:?} (2.0) or {:?} (1.0)",
    Protocol::V2.content_type(),
    Protocol::V1.content_type()
)]
pub struct UnknownContentType {
    /// The header's value, cut to 128 characters.
    pub given: String,
}

impl Protocol {
    /// The name for people and metrics: `1.0` or `2.0`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V1 => "1.0",
            Self::V2 => "2.0",
        }
    }

    /// The `Content-Type` of a request.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::V1 => "application/x-protobuf",
            Self::V2 => "application/x-protobuf;proto=io.prometheus.write.v2.Request",
        }
    }

    /// The `X-Prometheus-Remote-Write-Version` of a request.
    pub const fn version(self) -> &'static str {
        match self {
            Self::V1 => "0.1.0",
            Self::V2 => "2.0.0",
        }
    }

    /// The version that a `Content-Type` header names. A missing header means 1.0, and so does one without `proto=`.
    /// Other parameters are ignored.
    pub fn from_content_type(header: Option<&str>) -> Result<Self, UnknownContentType> {
        let Some(header) = header else { return Ok(Self::V1) };
        let unknown = || UnknownContentType { given: header.chars().take(128).collect() };
        let mut parts = header.split(';').map(str::trim);
        if !parts.next().is_some_and(|media| media.eq_ignore_ascii_case("application/x-protobuf")) {
            return Err(unknown());
        }
        let mut protocol = Self::V1;
        for parameter in parts.filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').ok_or_else(unknown)?;
            if name.trim().eq_ignore_ascii_case("proto") {
                protocol = match value.trim().trim_matches('"') {
                    "prometheus.WriteRequest" => Self::V1,
                    "io.prometheus.write.v2.Request" => Self::V2,
                    _ => return Err(unknown()),
                };
            }
        }
        Ok(protocol)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_name_the_version() {
        let parse = |header| Protocol::from_content_type(header).ok();
        assert_eq!(parse(None), Some(Protocol::V1));
        for protocol in [Protocol::V1, Protocol::V2] {
            assert_eq!(parse(Some(protocol.content_type())), Some(protocol));
        }
        for (header, protocol) in [
            ("application/x-protobuf;proto=prometheus.WriteRequest", Some(Protocol::V1)),
            ("Application/X-Protobuf ; proto = io.prometheus.write.v2.Request", Some(Protocol::V2)),
            ("application/x-protobuf; proto=\"io.prometheus.write.v2.Request\"; q=1", Some(Protocol::V2)),
            ("application/x-protobuf;", Some(Protocol::V1)),
            ("application/x-protobuf;proto=io.prometheus.write.v3.Request", None),
            ("application/x-protobuf;proto", None),
            ("application/json", None),
            ("", None),
        ] {
            assert_eq!(parse(Some(header)), protocol, "{header:?}");
        }
    }

    #[test]
    fn the_error_for_an_unknown_content_type_names_both_versions() {
        assert_eq!(
            Protocol::from_content_type(Some("text/plain")).unwrap_err().to_string(),
            "content type \"text/plain\" is not remote write: use \
             \"application/x-protobuf;proto=io.prometheus.write.v2.Request\" (2.0) or \
             \"application/x-protobuf\" (1.0)"
        );
    }
}
