//! `POST /api/v1/write`: remote write 1.0 and 2.0.
//!
//! The schema is chosen by `Content-Type`. What is invalid is left out, counted and answered with 400; the
//! rest is kept, in both versions. A 2xx, and the `-Written` headers of 2.0, tell of what is on disk.

use crate::Doors;
use crate::answer::{Refusal, whole};
use crate::decode::{decode, encoding};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use formats::Parsed;
use formats::compress::Encoding;
use formats::remote_write::{self, DecodeOptions, Protocol};
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use intake::{Input, Outcome};
use model::{Kinds, Verbatim};

/// Of VictoriaMetrics' agents: zstd instead of snappy.
const ENCODINGS: [(&str, Encoding); 2] = [("snappy", Encoding::Snappy), ("zstd", Encoding::Zstd)];

/// Handles a request.
pub(crate) async fn write(State(doors): State<Doors>, request: Request) -> Response {
    let header = request.headers().get(CONTENT_TYPE).map(HeaderValue::to_str);
    let content_type = header.map(|value| value.unwrap_or("not text"));
    let protocol = match Protocol::from_content_type(content_type) {
        Ok(protocol) => protocol,
        Err(error) => {
            // The version is not known. A content type without a parameter means 1.0.
            let refusal = Refusal::Unsupported(error.to_string());
            return doors.answer(&doors.inputs().remote_write_v1, Err::<(), _>(refusal));
        }
    };
    let input = match protocol {
        Protocol::V1 => &doors.inputs().remote_write_v1,
        Protocol::V2 => &doors.inputs().remote_write_v2,
    };
    let result = append(&doors, input, protocol, request).await;
    let written = result.as_ref().map_or_else(
        |_| Kinds::default(),
        |outcome| {
            // The sender is not to blame for what our own rules drop.
            outcome.kept.plus(outcome.dropped)
        },
    );
    let headers = if protocol == Protocol::V2 { written_headers(written) } else { HeaderMap::new() };
    let refusal = result.and_then(|outcome| whole(&outcome)).err();
    let response = match &refusal {
        None => (StatusCode::NO_CONTENT, headers).into_response(),
        Some(refusal) => refusal.respond(headers),
    };
    doors.count_answer(input, refusal.as_ref(), response)
}

async fn append(
    doors: &Doors,
    input: &Input,
    protocol: Protocol,
    request: Request,
) -> Result<Outcome, Refusal> {
    let mut admission = input.admit()?;
    let encoding = encoding(request.headers(), Encoding::Snappy, &ENCODINGS)?;
    let body = doors.read_body(&mut admission, request.into_body()).await?;
    let options = DecodeOptions { limits: admission.settings().limits, ..DecodeOptions::default() };
    let limit = doors.options().decoded_bytes;
    let decoder = move |bytes: &[u8]| (remote_write::decode(protocol, bytes, &options), bytes.len());
    let ((decoded, plain_bytes), body) = decode(body, admission.memory(), encoding, limit, decoder).await?;
    let mut decoded = decoded.map_err(|error| Refusal::Malformed(error.to_string()))?;
    if decoded.exact {
        let (content_type, encoding) = (protocol.content_type(), encoding.as_str());
        let body = body.into_boxed_slice().into();
        decoded.batch.verbatim = Some(Box::new(Verbatim { content_type, encoding, body, plain_bytes }));
    }
    let parsed = Parsed { batch: decoded.batch, rejected: decoded.rejected };
    Ok(admission.append(parsed, None).await?)
}

fn written_headers(written: Kinds) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, count) in [
        ("x-prometheus-remote-write-samples-written", written.samples),
        ("x-prometheus-remote-write-histograms-written", written.histograms),
        ("x-prometheus-remote-write-exemplars-written", written.exemplars),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from(count));
    }
    headers
}
