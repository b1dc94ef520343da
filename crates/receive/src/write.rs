//! `POST /api/v1/write`: remote write 1.0 and 2.0.
//!
//! The schema is chosen by `Content-Type`. What is invalid is left out, counted and answered with 400; the
//! rest is kept, in both versions. A 2xx, and the `-Written` headers of 2.0, tell of what is on disk.

use crate::Doors;
use crate::answer::Refusal;
use crate::decode::{decode, encoding};
use crate::stats::Door;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use formats::compress::Encoding;
use formats::remote_write::{self, DecodeOptions, Protocol};
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
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
            // Which version it was meant to be is not known; 1.0 is what has no parameter.
            let refusal = Refusal::Unsupported(error.to_string());
            doors.stats().refused(Door::RemoteWriteV1, &refusal);
            let response = refusal.into_response();
            doors.stats().answered(Door::RemoteWriteV1, response.status());
            return response;
        }
    };
    let door = match protocol {
        Protocol::V1 => Door::RemoteWriteV1,
        Protocol::V2 => Door::RemoteWriteV2,
    };
    let mut written = Kinds::default();
    let result = take(&doors, door, protocol, request, &mut written).await;
    let result = result.inspect_err(|refusal| doors.stats().refused(door, refusal));
    let headers = if protocol == Protocol::V2 { written_headers(written) } else { HeaderMap::new() };
    let response = match result {
        Ok(()) => (StatusCode::NO_CONTENT, headers).into_response(),
        Err(refusal) => refusal.respond(headers),
    };
    doors.stats().answered(door, response.status());
    response
}

async fn take(
    doors: &Doors,
    door: Door,
    protocol: Protocol,
    request: Request,
    written: &mut Kinds,
) -> Result<(), Refusal> {
    let _place = doors.admit()?;
    let encoding = encoding(request.headers(), Encoding::Snappy, &ENCODINGS)?;
    let received = doors.receive(door, request.into_body()).await?;
    let bounds = doors.time_bounds();
    let options = DecodeOptions {
        limits: doors.options().limits,
        newest_timestamp: Some(bounds.newest),
        oldest_timestamp: bounds.oldest,
        ..DecodeOptions::default()
    };
    let limit = doors.options().decoded_bytes;
    let decoder = move |bytes: &[u8]| (remote_write::decode(protocol, bytes, &options), bytes.len());
    let ((decoded, plain_bytes), body, mut share) = decode(received, encoding, limit, decoder).await?;
    let mut decoded = decoded.map_err(|error| Refusal::Malformed(error.to_string()))?;
    if decoded.exact {
        let (content_type, encoding) = (protocol.content_type(), encoding.as_str());
        let body = body.into_boxed_slice().into();
        decoded.batch.verbatim = Some(Box::new(Verbatim { content_type, encoding, body, plain_bytes }));
    }
    let bytes = decoded.batch.heap_bytes();
    share.resize(bytes).await?;
    doors.append(decoded.batch).await?;
    *written = decoded.accepted;
    let stats = doors.stats().door(door);
    stats.points.add(written.total());
    let rejected = &decoded.rejected;
    if rejected.is_empty() {
        return Ok(());
    }
    stats.invalid.add(rejected.samples + rejected.histograms + rejected.exemplars);
    Err(Refusal::Malformed(rejected.to_string()))
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
