//! `MetricsService/Export`: OTLP over gRPC. One unary method, so its framing is read and written here:
//!
//! ```text
//! ┌────────────┬────────────┬─────────┐
//! │ compressed │ length     │ message │   the flag says whether the encoding of the header grpc-encoding applies
//! │ 1 byte     │ 4 bytes BE │         │
//! └────────────┴────────────┴─────────┘
//! ```
//!
//! The HTTP status of an answer is always 200; what became of the request is in `grpc-status`, behind the message or, where
//! there is none, among the headers.

use super::answer::{Verdict, response};
use super::{More, OtlpInput};
use crate::answer::Refusal;
use crate::http_input::{Conditions, CountedAs, Decoded, HttpInput};
use ::otlp::{Code, Encoding as Format};
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use formats::Rejected;
use formats::compress::Encoding;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http_body_util::{BodyExt, Full};
use http_server::Route;
use intake::{Admission, Input, Intake, Outcome};
use model::words::cut;
use std::convert::Infallible;
use std::sync::Arc;
use totals::Accumulators;

const GRPC: &str = "application/grpc";
const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

/// The flag and the length before a message.
const PREFIX_BYTES: usize = 5;

#[derive(Debug)]
pub(crate) struct OtlpGrpc(OtlpInput);

impl OtlpGrpc {
    pub(crate) fn new(intake: &Intake, deltas: &Arc<Accumulators>) -> Self {
        OtlpGrpc(OtlpInput::new(intake, "otlp_grpc", deltas))
    }
}

impl HttpInput for OtlpGrpc {
    const ROUTES: &'static [Route] = &[Route {
        methods: "POST",
        path: "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        what: "OTLP metrics over gRPC",
    }];
    const ENCODING_HEADER: &'static str = "grpc-encoding";
    const ENCODINGS: &'static [(&'static str, Encoding)] =
        &[("gzip", Encoding::Gzip), ("zstd", Encoding::Zstd), ("identity", Encoding::Identity)];
    const DEFAULT_ENCODING: Encoding = Encoding::Identity;
    type More = More;
    type Head = ();

    fn head(parts: &Parts) -> Result<(), Refusal> {
        let given = super::media_type(&parts.headers).unwrap_or_default();
        match given == GRPC || given == "application/grpc+proto" {
            true => Ok(()),
            false => Err(Refusal::Unsupported(format!("this path is for gRPC: content type {GRPC}"))),
        }
    }

    fn input(&self, _: Option<&()>) -> &Input {
        &self.0.input
    }

    async fn keep(
        &self,
        admission: &mut Admission,
        more: &mut More,
        rejected: &mut Rejected,
    ) -> Result<(), Refusal> {
        self.0.keep(admission, more, rejected).await
    }

    fn count(&self, more: &More, outcome: &Outcome) {
        self.0.count(more, outcome);
    }

    fn unframe(encoding: Encoding, mut body: Vec<u8>) -> Result<(Encoding, Vec<u8>), Refusal> {
        let malformed = |text: &str| Err(Refusal::Malformed(text.into()));
        let Some(([flag, length @ ..], message)) = body.split_first_chunk::<PREFIX_BYTES>() else {
            return malformed("there is no gRPC message in the request");
        };
        let length = u32::from_be_bytes(*length) as usize;
        if length != message.len() {
            let sent = message.len();
            return Err(Refusal::Malformed(format!(
                "the gRPC message has {length} bytes by its prefix, and {sent} were sent"
            )));
        }
        let encoding = match flag {
            0 => Encoding::Identity,
            1 if encoding == Encoding::Identity => {
                return malformed("the gRPC message is compressed, but the header grpc-encoding is missing");
            }
            1 => encoding,
            _ => return malformed("the gRPC message begins with a flag that is neither 0 nor 1"),
        };
        body.drain(..PREFIX_BYTES);
        Ok((encoding, body))
    }

    fn decode(_: &(), body: &[u8], conditions: &Conditions) -> Result<Decoded<More>, Refusal> {
        super::decode(Format::Protobuf, body, conditions)
    }

    fn answer(head: Option<&()>, outcome: Option<&Outcome>, refusal: Option<&Refusal>) -> Response {
        match (head, outcome, refusal) {
            (None, _, Some(refusal)) => refusal.respond(HeaderMap::new()),
            (_, None, Some(refusal)) => refused(refusal),
            (_, outcome, _) => kept(&outcome.map(|it| response(Format::Protobuf, it)).unwrap_or_default()),
        }
    }
}

fn kept(message: &[u8]) -> Response {
    let mut frame = Vec::with_capacity(PREFIX_BYTES + message.len());
    frame.push(0);
    frame.extend_from_slice(&(message.len() as u32).to_be_bytes());
    frame.extend_from_slice(message);
    let mut trailers = HeaderMap::new();
    trailers.insert(STATUS, HeaderValue::from_static("0"));
    let body = Full::new(Bytes::from(frame)).with_trailers(async { Some(Ok::<_, Infallible>(trailers)) });
    (headers(), Body::new(body)).into_response()
}

fn headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(GRPC));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity,gzip,zstd"));
    headers
}

/// An answer that is nothing but a status.
fn only_status(code: Code, message: &str) -> Response {
    let mut headers = headers();
    headers.insert(STATUS, HeaderValue::from(code as u16));
    if let Ok(message) =
        HeaderValue::from_str(&percent_encoded(&cut(message.to_string(), super::MESSAGE_BYTES)))
    {
        headers.insert(MESSAGE, message);
    }
    (headers, Body::empty()).into_response()
}

fn refused(refusal: &Refusal) -> Response {
    let Verdict { status, code, retry_after } = Verdict::of(refusal);
    let mut response = only_status(code, &refusal.to_string());
    if let Some(seconds) = retry_after {
        let details =
            ::otlp::status_with_retry(code, &cut(refusal.to_string(), super::MESSAGE_BYTES), seconds);
        if let Ok(details) = HeaderValue::from_str(&STANDARD_NO_PAD.encode(details)) {
            response.headers_mut().insert(DETAILS, details);
        }
    }
    response.extensions_mut().insert(CountedAs(status));
    response
}

pub(super) fn unimplemented(why: &str) -> Response {
    only_status(Code::Unimplemented, why)
}

/// A message as gRPC's headers have it.
fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'%' | ..b' ' | 0x7f.. => out.push_str(&format!("%{byte:02X}")),
            _ => out.push(char::from(byte)),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unframe(encoding: Encoding, body: &[u8]) -> Result<(Encoding, Vec<u8>), String> {
        OtlpGrpc::unframe(encoding, body.to_vec()).map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn a_frame_is_one_message_with_a_flag() {
        assert_eq!(unframe(Encoding::Gzip, b"\0\0\0\0\x02ab"), Ok((Encoding::Identity, b"ab".to_vec())));
        assert_eq!(unframe(Encoding::Gzip, b"\x01\0\0\0\x02ab"), Ok((Encoding::Gzip, b"ab".to_vec())));
        assert_eq!(unframe(Encoding::Gzip, b"\0\0\0\0\0"), Ok((Encoding::Identity, vec![])));
        for (encoding, body, why) in [
            (Encoding::Gzip, &b"\0\0\0"[..], "there is no gRPC message"),
            (Encoding::Gzip, b"\0\0\0\0\x03ab", "has 3 bytes by its prefix, and 2 were sent"),
            (Encoding::Gzip, b"\0\xff\xff\xff\xffab", "has 4294967295 bytes by its prefix"),
            (Encoding::Gzip, b"\x02\0\0\0\x02ab", "neither 0 nor 1"),
            (Encoding::Identity, b"\x01\0\0\0\x02ab", "the header grpc-encoding is missing"),
        ] {
            let error = unframe(encoding, body).err().unwrap_or_default();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn messages_are_percent_encoded() {
        assert_eq!(percent_encoded("a b%\n\"é~"), "a b%25%0A\"%C3%A9~");
    }
}
